//! The reference model of `tests/it/model`, against the domain alone.

#[path = "../../../it/support/catalog.rs"]
#[allow(dead_code, reason = "other tests make items by it too")]
mod catalog;
#[path = "../../../it/model/mod.rs"]
mod model;

/// What the model shares with the other tests.
mod support {
    pub(crate) use super::catalog;
}
