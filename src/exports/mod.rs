//! exports.
