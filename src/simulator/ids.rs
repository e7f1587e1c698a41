//! Ids that look like Stripe's: a prefix and random letters and digits.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Random characters of an id; 24 of 62 give 142 bits, so ids of two runs never meet.
const RANDOM_LENGTH: usize = 24;

/// A fresh id, such as `cus_` and 24 characters.
pub fn fresh(prefix: &str) -> String {
    let random: String = rand::rng().sample_iter(Alphanumeric).take(RANDOM_LENGTH).map(char::from).collect();
    format!("{prefix}_{random}")
}
