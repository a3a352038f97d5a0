//! TOML whose unknown keys are errors that name the nearest key.
//!
//! A [`Document`] is parsed once; a [`Table`] is made with the list of every key it may have, so
//! that a misspelt key is found before anything is read. Every error names file, line and key.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most bytes of a document: a description is written by hand.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Where in a document something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// The table or key, as `table.key` or `tables[2].key`; empty for the document itself.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)?;
        if self.key.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.key) }
    }
}

/// Why a document was refused.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than [`DOCUMENT_BYTES_MAX`].
    #[error("{file} has {bytes} bytes, at most {DOCUMENT_BYTES_MAX} allowed")]
    TooLong { file: String, bytes: usize },
    /// Not TOML.
    #[error("{place}: {message}")]
    Syntax { place: Place, message: String },
    /// A key that nothing reads.
    #[error("{place}: unknown key; did you mean `{nearest}`?")]
    UnknownKey { place: Place, nearest: String },
    /// A key that has no default is absent.
    #[error("{place}: is required and has no default")]
    Missing { place: Place },
    /// A value of another type.
    #[error("{place}: expected {want}, found {got}")]
    Type { place: Place, want: &'static str, got: &'static str },
    /// A value that is not allowed.
    #[error("{place}: {got} is not allowed, expected {want}")]
    Value { place: Place, got: String, want: String },
}

impl DocumentError {
    /// Where what was refused stands; of a document that is too long, nowhere.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            DocumentError::TooLong { .. } => None,
            DocumentError::Syntax { place, .. }
            | DocumentError::UnknownKey { place, .. }
            | DocumentError::Missing { place }
            | DocumentError::Type { place, .. }
            | DocumentError::Value { place, .. } => Some(place),
        }
    }
}

/// A parsed document and where its bytes came from.
#[derive(Debug)]
pub struct Document<'a> {
    file: &'a str,
    source: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses `source`; `file` is only used to name it in errors.
    ///
    /// # Errors
    /// [`DocumentError::TooLong`], [`DocumentError::Syntax`].
    pub fn parse(file: &'a str, source: &'a str) -> Result<Self, DocumentError> {
        if source.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLong { file: file.into(), bytes: source.len() });
        }
        match DeTable::parse(source) {
            Ok(root) => Ok(Self { file, source, root }),
            Err(error) => {
                let line = line(source, error.span().map_or(0, |span| span.start));
                let place = Place { file: file.into(), line, key: String::new() };
                Err(DocumentError::Syntax { place, message: error.message().into() })
            }
        }
    }

    /// The document's own table, which may have the keys `known` and no others.
    ///
    /// # Errors
    /// [`DocumentError::UnknownKey`].
    pub fn root(&self, known: &[&str]) -> Result<Table<'_>, DocumentError> {
        let table =
            Table { document: self, path: String::new(), start: 0, table: self.root.get_ref() };
        table.only(known)
    }
}

/// One table of a [`Document`].
#[derive(Clone, Debug)]
pub struct Table<'d> {
    document: &'d Document<'d>,
    path: String,
    start: usize,
    table: &'d DeTable<'d>,
}

impl<'d> Table<'d> {
    /// Whether the key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where `key` stands, or where this table begins if it has no such key.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        let start = self.table.get(key).map_or(self.start, |value| value.span().start);
        self.document.place(start, join(&self.path, key))
    }

    /// The error that `key` is required.
    #[must_use]
    pub fn missing(&self, key: &str) -> DocumentError {
        DocumentError::Missing { place: self.place(key) }
    }

    /// The error that the value of `key` is not allowed.
    #[must_use]
    pub fn refuse(&self, key: &str, got: impl fmt::Display, want: &str) -> DocumentError {
        DocumentError::Value { place: self.place(key), got: got.to_string(), want: want.into() }
    }

    /// A string.
    ///
    /// # Errors
    /// [`DocumentError::Type`] if it is none.
    pub fn text(&self, key: &str) -> Result<Option<&'d str>, DocumentError> {
        self.get(key, "a string", |value| value.as_str())
    }

    /// A string that has no default.
    ///
    /// # Errors
    /// [`DocumentError::Missing`], [`DocumentError::Type`].
    pub fn text_required(&self, key: &str) -> Result<&'d str, DocumentError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// One of the names in `choices`, each with what it stands for.
    ///
    /// # Errors
    /// [`DocumentError::Value`] for any other name, [`DocumentError::Type`].
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, DocumentError> {
        let Some(name) = self.text(key)? else { return Ok(None) };
        if let Some((_, value)) = choices.iter().find(|(known, _)| *known == name) {
            return Ok(Some(*value));
        }
        let names: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
        let want = format!("`{}` (one of {})", nearest(name, &names), names.join(", "));
        Err(self.refuse(key, format_args!("`{name}`"), &want))
    }

    /// A whole number inside `bounds`.
    ///
    /// # Errors
    /// [`DocumentError::Value`] outside of them, [`DocumentError::Type`].
    pub fn integer(
        &self,
        key: &str,
        bounds: RangeInclusive<i64>,
    ) -> Result<Option<i64>, DocumentError> {
        let number = self.get(key, "a whole number", |value| value.as_integer())?;
        let Some(number) = number else { return Ok(None) };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) if bounds.contains(&value) => Ok(Some(value)),
            Ok(_) | Err(_) => {
                let want = format!("{} to {}", bounds.start(), bounds.end());
                Err(self.refuse(key, number, &want))
            }
        }
    }

    /// A finite number inside `bounds`; a whole number is one too.
    ///
    /// # Errors
    /// [`DocumentError::Value`] outside of them, [`DocumentError::Type`].
    pub fn number(
        &self,
        key: &str,
        bounds: RangeInclusive<f64>,
    ) -> Result<Option<f64>, DocumentError> {
        let Some(number) = self.get(key, "a number", number)? else { return Ok(None) };
        if !number.is_finite() || !bounds.contains(&number) {
            let want = format!("{} to {}", bounds.start(), bounds.end());
            return Err(self.refuse(key, number, &want));
        }
        Ok(Some(number))
    }

    /// True or false.
    ///
    /// # Errors
    /// [`DocumentError::Type`] if it is neither.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, DocumentError> {
        self.get(key, "true or false", |value| value.as_bool())
    }

    /// A list of strings; an absent key is an empty list.
    ///
    /// # Errors
    /// [`DocumentError::Type`] if it is none.
    pub fn texts(&self, key: &str) -> Result<Vec<&'d str>, DocumentError> {
        let texts = self.get(key, "a list of strings", |value| {
            value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect()
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Strings: one by itself, or a list.
    ///
    /// # Errors
    /// [`DocumentError::Type`] if it is neither.
    pub fn one_or_more(&self, key: &str) -> Result<Vec<&'d str>, DocumentError> {
        let texts =
            self.get(key, "a string or a list of strings", |value| match value.as_str() {
                Some(one) => Some(vec![one]),
                None => value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect(),
            })?;
        Ok(texts.unwrap_or_default())
    }

    /// A list of finite numbers.
    ///
    /// # Errors
    /// [`DocumentError::Type`] if it is none.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, DocumentError> {
        let finite = |value| number(value).filter(|number| number.is_finite());
        self.get(key, "a list of finite numbers", |value| {
            value.as_array()?.iter().map(|item| finite(item.get_ref())).collect()
        })
    }

    /// A table which may have the keys `known` and no others.
    ///
    /// # Errors
    /// [`DocumentError::UnknownKey`], [`DocumentError::Type`].
    pub fn table(&self, key: &str, known: &[&str]) -> Result<Option<Table<'d>>, DocumentError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let path = join(&self.path, key);
        self.document.table(path, value)?.only(known).map(Some)
    }

    /// A list of tables, each of which may have the keys `known` and no others; an absent key is
    /// an empty list.
    ///
    /// # Errors
    /// [`DocumentError::UnknownKey`], [`DocumentError::Type`].
    pub fn tables(&self, key: &str, known: &[&str]) -> Result<Vec<Table<'d>>, DocumentError> {
        let items = self.get(key, "a list of tables", |value| value.as_array())?;
        let items = items.map_or(&[][..], |array| array.as_ref()).iter().enumerate();
        items
            .map(|(index, item)| {
                let path = format!("{}[{index}]", join(&self.path, key));
                self.document.table(path, item)?.only(known)
            })
            .collect()
    }

    fn get<T>(
        &self,
        key: &str,
        want: &'static str,
        read: impl Fn(&'d DeValue<'d>) -> Option<T>,
    ) -> Result<Option<T>, DocumentError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        match read(value.get_ref()) {
            Some(read) => Ok(Some(read)),
            None => {
                let got = value.get_ref().type_str();
                Err(DocumentError::Type { place: self.place(key), want, got })
            }
        }
    }

    fn only(self, known: &[&str]) -> Result<Self, DocumentError> {
        match self.table.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            None => Ok(self),
            Some(unknown) => {
                let key: &str = unknown.get_ref().as_ref();
                let place = self.document.place(unknown.span().start, join(&self.path, key));
                Err(DocumentError::UnknownKey { place, nearest: nearest(key, known).into() })
            }
        }
    }
}

impl<'a> Document<'a> {
    fn place(&self, start: usize, key: String) -> Place {
        Place { file: self.file.into(), line: line(self.source, start), key }
    }

    fn table<'d>(
        &'d self,
        path: String,
        value: &'d Spanned<DeValue<'a>>,
    ) -> Result<Table<'d>, DocumentError>
    where
        'a: 'd,
    {
        let start = value.span().start;
        match value.get_ref().as_table() {
            Some(table) => Ok(Table { document: self, path, start, table }),
            None => {
                let place = self.place(start, path);
                let got = value.get_ref().type_str();
                Err(DocumentError::Type { place, want: "a table", got })
            }
        }
    }
}

/// The name in `known` that is fewest edits away from `name`; of equals the first.
///
/// # Panics
/// If `known` is empty.
#[must_use]
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> &'k str {
    known
        .iter()
        .min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
        .expect("a table without any key is not declared")
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match (value.as_float(), value.as_integer()) {
        (Some(float), _) => float.as_str().parse().ok(),
        (None, Some(integer)) => {
            Some(i64::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64)
        }
        (None, None) => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

fn line(source: &str, start: usize) -> usize {
    1 + source.bytes().take(start).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(source: &str, read: impl Fn(&Table<'_>) -> Result<(), DocumentError>) -> String {
        let document = Document::parse("a.toml", source).unwrap();
        let table = document.root(&["width", "height", "inner", "list"]);
        table.and_then(|table| read(&table)).unwrap_err().to_string()
    }

    #[test]
    fn unknown_key_names_file_line_and_the_nearest_key() {
        let said = error("width = 1\n\nheigth = 2\n", |_| Ok(()));
        assert_eq!(said, "a.toml:3: heigth: unknown key; did you mean `height`?");
    }

    #[test]
    fn unknown_key_of_an_inner_table_is_named_with_its_path() {
        let said = error("list = [{ field = 1 },\n { fild = 2 }]\n", |table| {
            table.tables("list", &["field"]).map(|_| ())
        });
        assert_eq!(said, "a.toml:2: list[1].fild: unknown key; did you mean `field`?");
    }

    #[test]
    fn wrong_type_says_what_was_wanted_and_found() {
        let said = error("width = 'a'\n", |table| table.integer("width", 1..=9).map(|_| ()));
        assert_eq!(said, "a.toml:1: width: expected a whole number, found string");
    }

    #[test]
    fn number_outside_its_bounds_is_refused_and_the_bounds_are_named() {
        let said = error("width = 0x10\n", |table| table.integer("width", 1..=15).map(|_| ()));
        assert_eq!(said, "a.toml:1: width: 0x10 is not allowed, expected 1 to 15");
        let said = error("width = nan\n", |table| table.number("width", 0.0..=1.0).map(|_| ()));
        assert_eq!(said, "a.toml:1: width: NaN is not allowed, expected 0 to 1");
    }

    #[test]
    fn choice_names_the_nearest_of_its_names() {
        let said = error("width = 'nwhc'\n", |table| {
            table.choice("width", &[("nchw", 0), ("nhwc", 1)]).map(|_| ())
        });
        let want = "a.toml:1: width: `nwhc` is not allowed, expected `nhwc` (one of nchw, nhwc)";
        assert_eq!(said, want);
    }

    #[test]
    fn broken_toml_names_its_line() {
        let error = Document::parse("a.toml", "width = 1\nheight = = 2\n").unwrap_err();
        assert!(error.to_string().starts_with("a.toml:2: "), "{error}");
    }

    #[test]
    fn document_of_one_byte_too_many_is_refused() {
        let source = " ".repeat(DOCUMENT_BYTES_MAX + 1);
        let error = Document::parse("a.toml", &source).unwrap_err();
        assert!(matches!(error, DocumentError::TooLong { .. }));
        assert!(Document::parse("a.toml", &source[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(source in "[a-z0-9=\\[\\]{}.,'\"\\n -]{0,60}") {
            if let Ok(document) = Document::parse("a.toml", &source) {
                drop(document.root(&["a", "b"]));
            }
        }
    }
}
