//! Stripe: what reaches us is verified and read leniently, what we ask is built by their types and sent by us.
//!
//! Flow: a delivery's raw bytes pass [`signature`]; [`wire`] reads them, whatever API version shaped them; where a
//! fact is missing the reader asks through [`client`], which [`transport`] carries to Stripe. What Stripe is to do is a
//! [`write::Write`], made [`frozen`] bytes by [`requests`], kept, then carried; what became of it is an [`outcome`].
//!
//! Always true:
//! - `signature` and `wire` are pure: no clock, no network, no database;
//! - an amount is an integer of minor units beside its currency, never a float;
//! - a field of the wrong type is an error that names the field, an absent one is `None`, an unknown one is ignored;
//! - what is asked of Stripe is a [`client::Fetch`], whose path is also the key its answer is stored under;
//! - a write is bytes under a key before it is sent, and after an unknown outcome the same bytes are sent under it again;
//! - `requests` alone knows async-stripe, and it only takes requests from it: neither its client nor its parsers.

pub mod client;
pub mod fake;
pub mod frozen;
pub mod outcome;
pub mod requests;
pub mod signature;
pub mod transport;
pub mod wire;
pub mod write;
