//! The one integration-test binary: a file per subject.

mod amounts;
mod catalog_diff;
mod catalog_file;
mod catalog_meaning;
mod catalog_refusals;
mod devdb;
mod signature;
mod simulator;
mod transport;
mod wire;
