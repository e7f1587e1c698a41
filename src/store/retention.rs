//! retention.
