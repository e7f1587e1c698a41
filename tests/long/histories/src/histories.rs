//! The reference model of `tests/it/model`, against the domain alone.

#[path = "../../../it/model/mod.rs"]
mod model;
