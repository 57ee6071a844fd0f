//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong with a configuration. It shows as one sentence:
/// `FILE:LINE:COLUMN: KEY: WHAT IS WRONG: REMEDY`, without the place when the value did not come from a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    file: Option<PathBuf>,
    place: Option<Place>,
    key: Option<String>,
    message: String,
}

/// A place in a file, counted from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` of `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl ConfigError {
    /// What is wrong with `key`, without a place.
    pub(super) fn of_key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: None, place: None, key: Some(key.into()), message: message.into() }
    }

    /// What is wrong with the file as a whole.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: Some(file.into()), place: None, key: None, message: message.into() }
    }

    /// What is wrong with the syntax.
    pub(super) fn of_syntax(place: Option<Place>, message: impl Into<String>) -> Self {
        Self { file: None, place, key: None, message: message.into() }
    }

    /// The same at a place.
    pub(super) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// The same in a file.
    pub(super) fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The file; `None` when the configuration did not come from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where in the file.
    pub const fn place(&self) -> Option<Place> {
        self.place
    }

    /// The key with its table, as in `tcp.rto_min_ms`; `None` for an error of the syntax.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is wrong and the remedy, without the place and the key.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.place) {
            (Some(file), Some(place)) => write!(f, "{}:{}:{}: ", file.display(), place.line, place.column)?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some(place)) => write!(f, "line {}, column {}: ", place.line, place.column)?,
            (None, None) => {}
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\n\u{e9}\u{e9} = 2\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 6), Place { line: 2, column: 1 });
        assert_eq!(Place::of(text, 10), Place { line: 2, column: 3 });
        assert_eq!(Place::of(text, 999).line, 3);
    }
}
