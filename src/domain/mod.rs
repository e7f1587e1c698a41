//! What is true of credits, as pure values and functions: no database, no network, no clock, no floats.
//!
//! # Words
//! customer: the app's user or organisation; account: our record of it. feature: boolean, metered, or a credit system
//! (a pool that metered features draw from, each at its cost). grant: an amount of one feature's credits given for one
//! reason. wallet: a named group of a customer's grants of one feature. draw: what one deduction took from one grant.
//! entry: one immutable ledger line. plan, item, attachment: what is sold; what an item gives; a customer having it.
//! shortfall: usage that no grant could pay. command: what an input asks of one account.
//!
//! # Flow
//! [`command::Command`] + [`account::AccountState`] + time go into [`decide::decide`], which answers with changes or a
//! rejection and touches nothing; [`account::AccountState::apply`] makes the next state from them.
//!
//! # Always true
//! A grant's remaining is the signed sum of its entries and never below zero (laws 1, 6); grants burn in one total
//! order (law 5); expiry is a question about time (law 7); amounts are exact (law 8).
#![deny(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod api_key;
pub mod attachment;
pub mod burn;
pub mod catalog;
pub mod check;
pub mod command;
pub mod credits;
pub mod decide;
pub mod entry;
pub mod grant;
pub mod hold;
pub mod ids;
pub mod level;
pub mod limit;
pub mod money;
pub mod overage_bill;
pub mod payment;
pub mod period;
pub mod proration;
pub mod reversal;
pub mod subscription;
pub mod top_up;
pub mod usage;
pub mod usage_record;
pub mod wallet;
