//! Typed views of the TOML tree. Every getter answers `None` where a value does not fit and notes the mistake.

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::NAME_MAX;
use super::CatalogMistake;
use crate::domain::credits::AmountError;

/// Longest key that is compared with the known ones: the comparison is quadratic.
const COMPARED_BYTES_MAX: usize = 64;

/// Most mistakes that are told: beyond that the file is of another kind, and a list would not help.
const MISTAKES_MAX: usize = 1_000;

/// Where something stands: the dotted path for people, the byte for line and column.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) at: usize,
}

impl Place {
    pub(super) const fn top() -> Self {
        Self { path: String::new(), at: 0 }
    }

    fn child(&self, key: &str, at: usize) -> Self {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Self { path, at }
    }
}

/// The mistakes found so far.
pub(super) struct Mistakes<'text> {
    text: &'text str,
    line_starts: Vec<usize>,
    list: Vec<CatalogMistake>,
    /// Found beyond [`MISTAKES_MAX`].
    untold: usize,
}

impl<'text> Mistakes<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self { text, line_starts: std::iter::once(0).chain(after_breaks).collect(), list: Vec::new(), untold: 0 }
    }

    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        if self.list.len() >= MISTAKES_MAX {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        let (line, column) = (self.line_of(place.at), self.column_of(place.at));
        self.list.push(CatalogMistake { line, column, key: place.path.clone(), message: message.into() });
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    fn column_of(&self, at: usize) -> usize {
        let line_start = self.line_starts.get(self.line_of(at).saturating_sub(1)).copied().unwrap_or(0);
        self.text.get(line_start..at).map_or(1, |before| before.chars().count().saturating_add(1))
    }

    /// How many there are, to tell whether a part was read without one.
    pub(super) fn count(&self) -> usize {
        self.list.len().saturating_add(self.untold)
    }

    pub(super) fn sorted(mut self) -> Vec<CatalogMistake> {
        self.list.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        if let (Some(last), 1..) = (self.list.last(), self.untold) {
            let message = format!("and {} more mistakes; mend those above first", self.untold);
            self.list.push(CatalogMistake { key: String::new(), message, ..last.clone() });
        }
        self.list
    }
}

/// A table with its place.
#[derive(Clone, Debug)]
pub(super) struct Section<'doc> {
    table: &'doc DeTable<'doc>,
    place: Place,
}

impl<'doc> Section<'doc> {
    pub(super) fn top(table: &'doc DeTable<'doc>) -> Self {
        Self { table, place: Place::top() }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn field(&self, key: &str) -> Option<Field<'doc>> {
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.entry(name.get_ref(), name.span().start, value).2)
    }

    /// Where a key stands; for one that is missing, where its table stands.
    pub(super) fn key(&self, key: &str) -> Place {
        let at = self.table.get_key_value(key).map_or(self.place.at, |(name, _)| name.span().start);
        self.place.child(key, at)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Every key with its place and value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'doc str, Place, Field<'doc>)> {
        self.table.iter().map(|(name, value)| self.entry(name.get_ref(), name.span().start, value))
    }

    fn entry(
        &self,
        name: &'doc str,
        at: usize,
        value: &'doc Spanned<DeValue<'doc>>,
    ) -> (&'doc str, Place, Field<'doc>) {
        let place = self.place.child(name, at);
        (name, place.clone(), Field { value, place })
    }

    /// Notes every key that is not known here, with the nearest one that is.
    pub(super) fn refuse_unknown(&self, known: &[&str], mistakes: &mut Mistakes<'_>) {
        for (name, place, _) in self.entries() {
            if known.contains(&name) {
                continue;
            }
            let message = match nearest(name, known) {
                Some(near) => format!("is not a known key; did you mean `{near}`?"),
                None => format!("is not a known key; known here are {}", known.join(", ")),
            };
            mistakes.add(&place, message);
        }
    }
}

/// A value with its key's place.
#[derive(Clone, Debug)]
pub(super) struct Field<'doc> {
    value: &'doc Spanned<DeValue<'doc>>,
    place: Place,
}

impl<'doc> Field<'doc> {
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Is it `true`?
    pub(super) fn is_on(&self) -> bool {
        self.value.get_ref().as_bool() == Some(true)
    }

    /// Is it this text?
    pub(super) fn says(&self, text: &str) -> bool {
        self.value.get_ref().as_str() == Some(text)
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    fn refuse(&self, wanted: &str, mistakes: &mut Mistakes<'_>) {
        mistakes.add(&self.place, format!("has to be {wanted}, not {}", self.value.get_ref().type_str()));
    }

    pub(super) fn section(&self, mistakes: &mut Mistakes<'_>) -> Option<Section<'doc>> {
        let table = self.value.get_ref().as_table();
        if table.is_none() {
            self.refuse("a table", mistakes);
        }
        table.map(|table| Section { table, place: self.place.clone() })
    }

    /// The values of a list, each with its index in the path.
    pub(super) fn list(&self, most: usize, mistakes: &mut Mistakes<'_>) -> Vec<Field<'doc>> {
        let Some(list) = self.value.get_ref().as_array() else {
            self.refuse("a list", mistakes);
            return Vec::new();
        };
        if list.len() > most {
            mistakes.add(&self.place, format!("has {} entries; at most {most} are kept", list.len()));
            return Vec::new();
        }
        let place = |index: usize, at: usize| Place { path: format!("{}[{index}]", self.place.path), at };
        list.iter().enumerate().map(|(index, value)| Field { value, place: place(index, value.span().start) }).collect()
    }

    /// The tables of a list.
    pub(super) fn sections(&self, most: usize, mistakes: &mut Mistakes<'_>) -> Vec<Section<'doc>> {
        self.list(most, mistakes).iter().filter_map(|entry| entry.section(mistakes)).collect()
    }

    pub(super) fn text(&self, mistakes: &mut Mistakes<'_>) -> Option<&'doc str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.refuse("text in quotes", mistakes);
        }
        text
    }

    pub(super) fn flag(&self, mistakes: &mut Mistakes<'_>) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.refuse("true or false", mistakes);
        }
        flag
    }

    /// Text for people: not empty, no control characters, at most [`NAME_MAX`] bytes.
    pub(super) fn label(&self, mistakes: &mut Mistakes<'_>) -> Option<String> {
        let text = self.text(mistakes)?;
        let fits = !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control);
        if !fits {
            mistakes.add(&self.place, format!("has to be 1 to {NAME_MAX} bytes of text on one line"));
        }
        fits.then(|| text.to_owned())
    }

    /// A whole number inside a range.
    pub(super) fn whole<T>(&self, range: &RangeInclusive<T>, mistakes: &mut Mistakes<'_>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let number = self.value.get_ref().as_integer();
        let number = number.and_then(|digits| i64::from_str_radix(digits.as_str(), digits.radix()).ok());
        let inside = number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        if inside.is_none() {
            let message = format!("has to be a whole number from {} to {}", range.start(), range.end());
            mistakes.add(&self.place, message);
        }
        inside
    }

    /// The text of a decimal; a bare number is refused with the text it should have been.
    pub(super) fn decimal_text(&self, mistakes: &mut Mistakes<'_>) -> Option<&'doc str> {
        let value = self.value.get_ref();
        let number = value.as_integer().map(ToString::to_string).or_else(|| value.as_float().map(ToString::to_string));
        if let Some(number) = number {
            let message = format!("write \"{number}\" in quotes: amounts are exact decimals, never floats");
            mistakes.add(&self.place, message);
            return None;
        }
        if !self.is_text() {
            self.refuse("a decimal in quotes, such as \"12.5\"", mistakes);
            return None;
        }
        value.as_str()
    }

    /// An exact decimal.
    pub(super) fn decimal<T: FromStr<Err = AmountError>>(&self, mistakes: &mut Mistakes<'_>) -> Option<T> {
        let text = self.decimal_text(mistakes)?;
        text.parse().map_err(|error| mistakes.add(&self.place, format!("{text:?} {error}"))).ok()
    }
}

/// The known word that a mistyped one most likely meant.
pub(super) fn nearest<'known>(word: &str, known: &[&'known str]) -> Option<&'known str> {
    if word.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let near = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    let most = word.len().checked_div(3).unwrap_or(0).clamp(1, 3);
    let longer = known.iter().find(|candidate| candidate.len() > 2 && word.starts_with(**candidate)).copied();
    if near.0 <= most { Some(near.1) } else { longer }
}

/// Letters to add, drop or change, the classic way: one row of the table at a time.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (above_left, (above, wanted)) in row.iter().zip(row.iter().skip(1).zip(&other)) {
            let change = above_left.saturating_add(usize::from(letter != *wanted));
            left = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
