//! What is wrong with a configuration file, and where.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

/// Something in the configuration file is wrong. Shown as `file:line: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Counted from 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    pub message: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl ConfigError {
    /// An error at a place in the text, or about the file as a whole.
    pub(super) fn at(file: &Path, text: &str, span: Option<Range<usize>>, message: String) -> Self {
        let line = span.map(|span| {
            let before = text.get(..span.start).unwrap_or(text);
            before.matches('\n').count() + 1
        });
        Self { file: file.to_owned(), line, message }
    }

    pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message();
        let span = error.span();
        let message = unknown_key(message).unwrap_or_else(|| {
            match span.as_ref().and_then(|span| key_before(text, span.start)) {
                Some(key) if !message.contains(key) => format!("{key}: {message}"),
                _ => message.to_owned(),
            }
        });
        Self::at(file, text, span, message.replace('\n', "; "))
    }
}

/// serde's ``unknown field `lisen`, expected one of `listen`, …`` in our words,
/// with the nearest of the valid keys.
fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, expected) = rest.split_once('`')?;
    let valid: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let nearest = valid
        .iter()
        .map(|name| (strsim::damerau_levenshtein(key, name), *name))
        .min()
        // Further away than this it is no slip of the finger any more.
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3);
    Some(match nearest {
        Some((_, name)) => format!("unknown key {key:?}, did you mean {name:?}?"),
        None if valid.is_empty() => format!("unknown key {key:?}"),
        None => format!("unknown key {key:?}; the keys here are {}", valid.join(", ")),
    })
}

/// The key whose value starts here, if it stands in the same line.
fn key_before(text: &str, value_start: usize) -> Option<&str> {
    let before = text.get(..value_start)?;
    let line = before.rsplit('\n').next()?;
    let (left, _) = line.rsplit_once('=')?;
    let key = left.trim_end();
    let start = key.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
    let key = &key[start.map_or(0, |at| at + key[at..].chars().next().map_or(1, char::len_utf8))..];
    (!key.is_empty()).then_some(key)
}
