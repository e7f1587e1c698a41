//! The one integration-test binary: a file per subject.
#![expect(missing_docs, reason = "tests document themselves by their names")]

mod constraints;
mod domain_laws;
mod exports;
mod periods;
mod schema;
mod support;
mod verify;
