//! creditd stands between Stripe and an app: verified webhooks become credit grants, app backends check and track.
//!
//! # How things flow
//!
//! ```text
//!             Stripe                          the app's backend                 finance
//!               | signed webhook                | check, track, grants            | export, verify
//!               v                               v                                 v
//!        http::webhook                    http::native                     commands, exports
//!               | raw bytes                     | typed fields                    ^
//!               v                               |                                 | one snapshot
//!        inbox::receive   verify, store, 200    |                          store::reports
//!               | one row, nothing decided      |                                 ^
//!               v                               |                                 |
//!        workers::inbox   lease a due event     |                                 |
//!               | asks Stripe what is missing   |                                 |
//!               | through stripe::client        |                                 |
//!               v                               |                                 |
//!        inbox::interpret  pure: what to do     |                                 |
//!               | commands                      | commands                        |
//!               v                               v                                 |
//!        posting   lock the account; read time and state; domain::decide, in memory; write; commit
//!               |                                                                 |
//!               v                                                                 |
//!        store     entries (only ever added to), grants, balances ----------------+
//! ```
//!
//! What has to be paid for goes out by [`selling`], what the door decides to charge, and usage beyond the balance, by
//! [`charging`]: a row, then a request to Stripe; what comes of it comes back as a webhook.
//!
//! # The laws
//!
//! 1. Every credit is an entry of the ledger. What a grant holds is the sum of its entries, and never below zero.
//! 2. A payment grants each thing it bought once, however often, in whatever order and on however many daemons its
//!    events arrive.
//! 3. A request's key works once: the same key and content gives the same answer, the same key with other content is
//!    refused.
//! 4. Nothing is written before a signature holds, and nothing is decided while Stripe waits.
//! 5. A missing fact about money is asked of Stripe or waits for a person; it is never guessed.
//! 6. Amounts are integers and exact decimals. An amount that does not fit is refused; nothing is rounded silently.
//! 7. What is owed to a customer does not hang on a worker having run: periods and expiries are questions about time,
//!    which comes from the database, after the lock.
//! 8. Postgres is the only authority: no daemon remembers anything that another would have to know.
//! 9. Lines of an account form a chain of hashes; `creditd verify` recomputes all of them.
//!
//! # The map of the house
//!
//! | room | duty | may use from this crate |
//! |---|---|---|
//! | [`clock`] | time and fresh ids, injected | nothing |
//! | [`meters`] | what is counted and timed, each metric described once | `clock` |
//! | [`config`] | environment and file, typed and checked | `store`, `http`, `domain`, `stripe::signature`, `stripe::transport`, `devdb` |
//! | [`domain`] | what is true of credits; pure | nothing |
//! | [`stripe`] | signatures, lenient shapes, the client | `domain::money` |
//! | [`inbox`] | a stored event becomes commands; pure | `domain`, `stripe::wire`, `stripe::client` |
//! | [`inbox::receive`] | a delivery is verified and stored | `store`, `stripe::signature`, `stripe::wire`, `stripe::client`, `clock`, `meters` |
//! | [`store`] | all SQL | `domain`, `clock` |
//! | [`posting`] | the only door to the ledger | `domain`, `store`, `clock`, `meters` |
//! | [`charging`] | what was decided is charged, followed, or given back | `posting`, `store`, `stripe::client`, `stripe::frozen`, `stripe::outcome`, `stripe::wire`, `stripe::write`, `domain`, `clock`, `meters` |
//! | [`selling`] | plans and packs are sold through Stripe, or attached | `posting`, `store`, `stripe::client`, `stripe::frozen`, `stripe::outcome`, `stripe::wire`, `stripe::write`, `domain`, `clock`, `meters` |
//! | [`http`] | the outside surface | `posting`, `selling`, `store`, `stripe::client::StripeId`, `domain`, `clock`, `meters` |
//! | [`workers`] | what is due gets done | `posting`, `charging`, `inbox`, `inbox::receive`, `stripe::client`, `stripe::frozen`, `stripe::outcome`, `stripe::wire`, `stripe::write`, `store`, `domain`, `clock`, `meters` |
//! | [`exports`] | rows finance reads | `domain`, `store::reports` |
//! | [`simulator`] | a stateful Stripe on loopback | `clock`, `domain::money` |
//! | [`devdb`] | an embedded Postgres for `dev` and the tests | `clock` |
//! | [`commands`] | what the binary can do, a file each | everything |
//!
//! A room may always use itself; where one of its files has a row of its own, that row alone counts for it.
//!
//! Some crates are known in few places, so that they can be changed there:
//!
//! | outside crate | known only to |
//! |---|---|
//! | `sqlx` | `store`, `posting`, `devdb` |
//! | `jiff_sqlx` | `store` |
//! | `axum` | `http`, `simulator`, `commands::daemon` |
//! | `tower_http` | `http` |
//! | `hyper` | `stripe`, `http`, `simulator` |
//! | `stripe_billing`, `stripe_checkout`, `stripe_client_core`, `stripe_core`, `stripe_product`, `stripe_types` | `stripe::requests` |
//! | `reqwest` | `stripe::transport`, `simulator`, `commands::tour` |
//! | `tokio` | `commands`, `devdb`, `http`, `inbox::receive`, `posting`, `selling`, `simulator`, `store`, `stripe::transport`, `workers` |
//! | `tracing` | `charging`, `commands`, `devdb`, `http`, `inbox::receive`, `posting`, `selling`, `simulator`, `store`, `stripe::transport`, `workers` |
//! | `rand` | `commands`, `simulator`, `stripe::transport` |
//! | `nix` | `devdb`, `commands::bench` |
//! | `metrics`, `metrics_exporter_prometheus` | `meters` |
//! | `sd_notify` | `commands` |
//! | `anyhow` | `commands` |
//!
//! `tests/it/tidy.rs` holds both tables against the code, with the other rules of the house that a machine can read.

pub mod charging;
pub mod clock;
pub mod commands;
pub mod config;
pub mod devdb;
pub mod domain;
pub mod exports;
pub mod http;
pub mod inbox;
pub mod meters;
pub mod posting;
pub mod selling;
pub mod simulator;
pub mod store;
pub mod stripe;
pub mod workers;
