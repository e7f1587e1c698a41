//! JSON Lines: one object a row, keys in the columns' order, texts as they are, exact amounts as strings.

use std::io::{self, Write};

use super::Cell;

/// Writes rows as JSON Lines.
pub struct JsonRows<W: Write> {
    out: W,
    columns: Vec<&'static str>,
}

impl<W: Write> JsonRows<W> {
    /// Takes the keys; nothing is written before the first row.
    pub fn start(out: W, columns: &[&'static str]) -> Self {
        Self { out, columns: columns.to_vec() }
    }

    /// Writes one row.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        let mut separator = "{";
        for (column, cell) in self.columns.iter().zip(cells) {
            self.out.write_all(separator.as_bytes())?;
            separator = ",";
            serde_json::to_writer(&mut self.out, column)?;
            self.out.write_all(b":")?;
            match cell {
                Cell::Empty => self.out.write_all(b"null")?,
                Cell::Text(text) => serde_json::to_writer(&mut self.out, text)?,
                Cell::Amount(amount) => serde_json::to_writer(&mut self.out, amount)?,
                Cell::Integer(number) => serde_json::to_writer(&mut self.out, number)?,
                Cell::Time(at) => serde_json::to_writer(&mut self.out, at)?,
                Cell::Flag(flag) => serde_json::to_writer(&mut self.out, flag)?,
            }
        }
        self.out.write_all(b"}\n")
    }

    /// Hands everything to the target.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
