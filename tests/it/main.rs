//! The one integration-test binary: a file per subject.
#![expect(missing_docs, reason = "tests document themselves by their names")]

mod amounts;
mod catalog_diff;
mod catalog_file;
mod catalog_meaning;
mod catalog_refusals;
