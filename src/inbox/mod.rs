//! A stored event becomes commands.
//!
//! # Flow
//! [`receive`] verifies a delivery's raw bytes and stores one row; nothing is decided in the request. Later the worker
//! calls [`interpret::interpret`] with the event, the answers of Stripe it has so far and the catalogue; the answer is
//! what to do ([`intent::Intent`]), what to ask Stripe first, why it is none of our business, or why it has to wait.
//! One file per family of objects: [`checkout`], [`invoice`] with [`proration`] and [`overage`], [`subscription`], [`payment_intent`], [`customer`],
//! [`reversal`], [`top_up`] for what the charger made, [`card`] for what it charges; [`families`] lists every type of event that is known, with what it does or why it does nothing.
//!
//! # Always true
//! All but `receive` is pure: the same event with the same answers under the same catalogue gives the same intents, so
//! a replay reads the stored answers and asks nobody. No handler needs an earlier event. A money fact that is missing
//! on something claimed as ours parks the event and is never guessed. What neither our metadata nor the catalogue
//! claims is ignored.

pub mod card;
pub mod checkout;
pub mod customer;
pub mod described;
pub mod facts;
pub mod families;
pub mod intent;
pub mod interpret;
pub mod invoice;
pub mod overage;
pub mod payment_intent;
pub mod proration;
pub mod receive;
pub mod reversal;
pub mod subscription;
pub mod synthetic;
pub mod top_up;
