//! The one integration-test binary: a file per subject.
#![expect(missing_docs, reason = "tests document themselves by their names")]

mod devdb;
