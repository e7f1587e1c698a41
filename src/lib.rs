//! creditd stands between Stripe and an app: verified webhooks become credit grants, app backends check and track.
//!
//! # The map of the house
//!
//! | room | duty | may use from this crate |
//! |---|---|---|
//! | [`domain`] | what is true of credits; pure | itself |
//! | [`stripe`] | signatures, lenient shapes, the client | `domain::{money, ids}`; `stripe::transport` alone knows async-stripe |
//! | [`inbox`] | a stored event becomes commands; pure but for `receive` | `domain`, `stripe::wire` |
//! | [`store`] | all SQL | `domain` |
//! | [`posting`] | the only door to the ledger | `domain`, `store`, `clock` |
//! | [`http`] | the outside surface | `posting`, `inbox::receive`, `stripe::signature`, `store` reads, `domain`, `clock` |
//! | [`workers`] | what is due gets done | `posting`, `inbox`, `stripe::client`, `store`, `domain`, `clock` |
//! | [`exports`] | rows finance reads | `domain`, `store::reports` |
//! | [`simulator`] | a stateful Stripe on loopback | `clock`, `stripe::signature` |
//! | [`devdb`] | an embedded Postgres for `dev` and the tests | nothing |
//! | [`commands`] | what the binary can do, a file each | everything |
//!
//! `tests/it/tidy.rs` holds this table against the code.

pub mod clock;
pub mod commands;
pub mod config;
pub mod devdb;
pub mod domain;
pub mod exports;
pub mod http;
pub mod inbox;
pub mod posting;
pub mod simulator;
pub mod store;
pub mod stripe;
pub mod workers;
