//! What the binary can do.

pub mod export;
pub mod verify;
