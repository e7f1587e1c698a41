//! What is true of credits, as pure values and functions.
#![deny(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod catalog;
pub mod credits;
pub mod ids;
pub mod money;
