//! The domain alone, as the daemon has it, so that its random histories can be built optimised in a minute.

#[path = "../../../../src/domain/mod.rs"]
pub mod domain;

/// What the model asks of the daemon's configuration.
pub mod config {
    /// A variable of this process.
    #[must_use]
    pub fn process_environment(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
