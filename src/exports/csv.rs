//! CSV by RFC 4180: a header line, CRLF, quotes where they are needed, and no cell that a spreadsheet would run.

use std::borrow::Cow;
use std::io::{self, Write};

use csv::{Terminator, WriterBuilder};

use super::Cell;

/// What makes a spreadsheet read a cell as a formula when it comes first (OWASP ASVS 1.2.10), full-width forms included.
const STARTS_A_FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠'];

/// Writes rows as CSV.
pub struct CsvRows<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> CsvRows<W> {
    /// Writes the header line.
    pub fn start(out: W, columns: &[&'static str]) -> io::Result<Self> {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
        writer.write_record(columns)?;
        Ok(Self { writer })
    }

    /// Writes one row.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for cell in cells {
            match cell {
                Cell::Empty => self.writer.write_field("")?,
                Cell::Text(text) => self.writer.write_field(guarded(text).as_bytes())?,
                Cell::Amount(amount) => self.writer.write_field(amount)?,
                Cell::Integer(number) => self.writer.write_field(number.to_string())?,
                Cell::Time(at) => self.writer.write_field(at.to_string())?,
                Cell::Flag(flag) => self.writer.write_field(if *flag { "true" } else { "false" })?,
            }
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// Hands everything to the target.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The text with an apostrophe before it when it would start a formula. A text that already looks guarded gets one more,
/// so that taking one apostrophe away from a guarded cell always gives the stored text back.
pub fn guarded(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(STARTS_A_FORMULA) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}
