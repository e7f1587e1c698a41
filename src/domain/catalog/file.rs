//! The catalogue file.
