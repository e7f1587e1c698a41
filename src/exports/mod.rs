//! Rows that finance reads: pure values in, bytes out.
//!
//! # Flow
//! `store::reports` streams domain rows of one snapshot; [`ledger`], [`grants`] and [`customers`] name the columns and
//! turn a row into [`Cell`]s; [`RowWriter`] writes them as CSV ([`csv`]) or JSON Lines ([`jsonl`]).
//!
//! # Always true
//! Same rows, same bytes. A credit amount is an exact decimal without trailing zeros, money is an integer of minor
//! units beside its currency, a time is RFC 3339 in UTC, an id has our prefix, an absent value is an empty cell or
//! `null`. Files are keyed by account: what can be erased (the app's customer id, a reason in words) stands in the
//! `customers` file, and in the last columns of the others only when it is asked for, so that an erasure changes no
//! closed file. No cell of text starts a formula in a spreadsheet, and no amount is ever changed to prevent that.

pub mod csv;
pub mod customers;
pub mod grants;
pub mod jsonl;
pub mod ledger;

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::Timestamp;

/// One value of a row. The kind decides how a format writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'row> {
    /// Nothing known.
    Empty,
    /// Words, names and ids: the only kind that could be read as a formula.
    Text(Cow<'row, str>),
    /// An exact decimal.
    Amount(String),
    /// A whole number: minor units, a line's number.
    Integer(i64),
    /// A time.
    Time(Timestamp),
    /// Yes or no.
    Flag(bool),
}

impl<'row> Cell<'row> {
    /// Text that is there.
    pub fn text(text: &'row str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Something shown as text, such as an id.
    pub fn shown(value: impl std::fmt::Display) -> Self {
        Self::Text(Cow::Owned(value.to_string()))
    }

    /// An exact amount.
    pub fn amount(value: impl std::fmt::Display) -> Self {
        Self::Amount(value.to_string())
    }

    /// A value that may be absent.
    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Empty, cell)
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// Writes rows in one of the formats.
pub enum RowWriter<W: Write> {
    /// As CSV.
    Csv(Box<csv::CsvRows<W>>),
    /// As JSON Lines.
    JsonLines(jsonl::JsonRows<W>),
}

impl<W: Write> RowWriter<W> {
    /// Starts a file with these columns.
    pub fn start(format: Format, out: W, columns: &[&'static str]) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(csv::CsvRows::start(out, columns)?)),
            Format::JsonLines => Self::JsonLines(jsonl::JsonRows::start(out, columns)),
        })
    }

    /// Writes one row; it has a cell for each column.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        match self {
            Self::Csv(rows) => rows.row(cells),
            Self::JsonLines(rows) => rows.row(cells),
        }
    }

    /// Everything is written.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(rows) => rows.finish(),
            Self::JsonLines(rows) => rows.finish(),
        }
    }
}
