//! The one integration-test binary: a file per subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod amounts;
mod burn_order;
mod catalog_diff;
mod catalog_file;
mod catalog_meaning;
mod catalog_refusals;
mod constraints;
mod devdb;
mod domain_laws;
mod exports;
mod first_light;
mod http_api;
mod http_native;
mod http_refusals;
mod http_scopes;
mod periods;
mod races;
mod schema;
mod signature;
mod simulator;
mod support;
mod tidy;
mod transport;
mod verify;
mod wire;
