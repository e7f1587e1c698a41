//! The one integration-test binary: a file per subject.

mod amounts;
mod catalog_diff;
mod catalog_file;
mod catalog_meaning;
mod catalog_refusals;
mod constraints;
mod devdb;
mod domain_laws;
mod exports;
mod periods;
mod schema;
mod signature;
mod simulator;
mod support;
mod transport;
mod verify;
mod wire;
