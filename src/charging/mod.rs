//! Charging: what the charger has Stripe do, request by request, each written down before it is sent.

pub mod cards;
