//! The one integration-test binary: a file per subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod burn_order;
mod constraints;
mod domain_laws;
mod exports;
mod periods;
mod races;
mod schema;
mod support;
mod verify;
