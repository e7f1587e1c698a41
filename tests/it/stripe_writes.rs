//! What is written to Stripe: the bytes, how often they are sent, and what is made of the answers.
#![expect(clippy::unwrap_used, reason = "the builders of a test fail it where they stand")]

mod cuts;
mod judged;
pub mod lint;
mod samples;
mod sent;
mod server;
mod simulated;
mod values;
