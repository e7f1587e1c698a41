//! `creditd openapi`: the API's document, for generators and people.

use std::io::Write;

use crate::http::openapi::document;

/// Prints it.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{:#}", document())?;
    Ok(())
}
