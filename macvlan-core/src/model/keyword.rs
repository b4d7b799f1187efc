//! Settings whose value is one of a few words.

use std::fmt;

use anyhow::{Result, anyhow};

/// A setting whose value is one of a few words, the same on the command line, in the configuration
/// and in JSON.
pub trait Keyword: Copy + fmt::Debug + Send + Sync + 'static {
    /// All values, in the order in which help lists them.
    const ALL: &'static [Self];

    /// The word.
    fn as_str(self) -> &'static str;

    /// What the value means, in one sentence.
    fn about(self) -> &'static str;
}

/// The value of setting `key` that `text` names.
///
/// # Errors
///
/// No value has this word; the error lists those there are.
pub fn parse_keyword<T: Keyword>(key: &str, text: &str) -> Result<T> {
    let found = T::ALL.iter().copied().find(|value| value.as_str() == text);
    found.ok_or_else(|| {
        let words: Vec<&str> = T::ALL.iter().map(|value| value.as_str()).collect();
        anyhow!("unknown {key} {text:?}: one of {}", words.join(", "))
    })
}
