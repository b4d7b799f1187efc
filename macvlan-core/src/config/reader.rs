//! TOML tables read key by key: what is wrong is told with file and line.

use std::{fmt, path::Path};

use anyhow::{Error, Result, anyhow};
use toml::de::{DeTable, DeValue};

/// Least likeness (Jaro and Winkler's, 0 to 1) at which one key may have been meant by another.
const ALIKE: f64 = 0.75;

/// A file's text and name.
#[derive(Debug)]
pub struct Source<'s> {
    path: &'s Path,
    text: &'s str,
}

impl<'s> Source<'s> {
    /// The text of the file at `path`.
    pub fn new(path: &'s Path, text: &'s str) -> Self {
        Self { path, text }
    }

    /// The line, from 1, that the byte at `at` is in.
    pub fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// An error about what is at byte `at`.
    pub fn error(&self, at: usize, what: impl fmt::Display) -> Error {
        anyhow!("{}:{}: {what:#}", self.path.display(), self.line(at))
    }
}

/// A table whose keys are still to be read.
#[derive(Debug)]
pub struct Fields<'s> {
    source: &'s Source<'s>,
    table: DeTable<'s>,
    at: usize,
    known: &'static [&'static str],
}

/// A value and where it stands.
struct Found<'s> {
    at: usize,
    value: DeValue<'s>,
}

impl<'s> Fields<'s> {
    /// The whole document, which may have the keys `known`.
    pub fn of_document(source: &'s Source<'s>, known: &'static [&'static str]) -> Result<Self> {
        let parsed = DeTable::parse(source.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', " ");
            source.error(at, message.trim())
        })?;
        Self::new(source, parsed.into_inner(), 0).knowing(known)
    }

    fn new(source: &'s Source<'s>, table: DeTable<'s>, at: usize) -> Self {
        Self { source, table, at, known: &[] }
    }

    /// The same table, which may have the keys `known` and no other.
    ///
    /// # Errors
    ///
    /// When it has another: the first in the file.
    pub fn knowing(mut self, known: &'static [&'static str]) -> Result<Self> {
        self.known = known;
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            Some(key) => Err(self.source.error(key.span().start, unknown_key(key.get_ref(), known))),
            None => Ok(self),
        }
    }

    /// Where the table begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The file.
    pub fn source(&self) -> &'s Source<'s> {
        self.source
    }

    /// An error about the table as a whole.
    pub fn error(&self, what: impl fmt::Display) -> Error {
        self.source.error(self.at, what)
    }

    /// Where the value of `key` stands, or the table where it has none.
    pub fn place_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.at, |value| value.span().start)
    }

    /// Whether nothing is left to read.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A text, as `parse` understands it.
    pub fn text<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(None) };
        let DeValue::String(text) = value else {
            return Err(self.wrong(at, key, "a text in quotes", &value));
        };
        parse(&text).map(Some).map_err(|error| self.source.error(at, format!("{error:#}")))
    }

    /// Whether the value of `key` is a text.
    pub fn is_text(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::String(_)))
    }

    /// A list of texts, each as `parse` understands it.
    pub fn texts<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(Vec::new()) };
        let wanted = "a list of texts, like [\"a\", \"b\"]";
        let DeValue::Array(items) = value else { return Err(self.wrong(at, key, wanted, &value)) };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let at = item.span().start;
            let DeValue::String(text) = item.get_ref() else {
                return Err(self.wrong(at, key, wanted, item.get_ref()));
            };
            texts.push(parse(text).map_err(|error| self.source.error(at, format!("{error:#}")))?);
        }
        Ok(texts)
    }

    /// Yes or no.
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(None) };
        match value {
            DeValue::Boolean(yes) => Ok(Some(yes)),
            _ => Err(self.wrong(at, key, "true or false", &value)),
        }
    }

    /// A whole number that fits.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u32>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(None) };
        let number = match &value {
            DeValue::Integer(digits) => u32::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let wanted = "a whole number from 0 to 4294967295";
        number.map(Some).ok_or_else(|| self.wrong(at, key, wanted, &value))
    }

    /// A table of its own.
    pub fn table(&mut self, key: &'static str) -> Result<Option<Self>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(None) };
        match value {
            DeValue::Table(table) => Ok(Some(Self::new(self.source, table, at))),
            _ => Err(self.wrong(at, key, "a table, like { name = \"web\" }", &value)),
        }
    }

    /// A list of tables: what `[[key]]` begins.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Self>> {
        let Some(Found { at, value }) = self.take(key) else { return Ok(Vec::new()) };
        let wanted = format!("a list of tables, each beginning with [[...{key}]]");
        let DeValue::Array(items) = value else { return Err(self.wrong(at, key, &wanted, &value)) };
        let mut tables = Vec::with_capacity(items.len());
        for item in items {
            let at = item.span().start;
            match item.into_inner() {
                DeValue::Table(table) => tables.push(Self::new(self.source, table, at)),
                other => return Err(self.wrong(at, key, &wanted, &other)),
            }
        }
        Ok(tables)
    }

    fn take(&mut self, key: &'static str) -> Option<Found<'s>> {
        debug_assert!(self.known.contains(&key), "{key:?} is read but not known");
        let spanned = self.table.remove(key)?;
        Some(Found { at: spanned.span().start, value: spanned.into_inner() })
    }

    fn wrong(&self, at: usize, key: &str, wanted: &str, value: &DeValue<'_>) -> Error {
        self.source.error(at, format!("{key:?} must be {wanted}, not {}", kind(value)))
    }
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(_) => "a fraction".into(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let alike = known.iter().map(|known| (strsim::jaro_winkler(key, known), known));
    match alike.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((likeness, nearest)) if likeness >= ALIKE => {
            format!("unknown key {key:?}; did you mean {nearest:?}?")
        }
        _ => format!("unknown key {key:?}; keys here are: {}", known.join(", ")),
    }
}

/// Says that something is given twice.
pub fn twice(what: &str, name: &impl fmt::Debug, first: usize) -> Error {
    anyhow!("{what} {name:?} is given twice, first in line {first}")
}
