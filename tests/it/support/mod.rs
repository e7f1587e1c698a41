//! What the tests stand on.

pub mod app;
pub mod binary;
pub mod catalog;
pub mod customer;
pub mod database;
pub mod events;
pub mod fixtures;
pub mod garbled;
pub mod plans;
pub mod world;
