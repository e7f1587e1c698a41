//! posting.
