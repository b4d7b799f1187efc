//! Names from outside, made harmless.

use std::fmt::{self, Display, Write as _};

/// Shows a name that somebody else chose: what would move the cursor, turn the writing or hide is
/// escaped as in Rust's strings (`\u{1b}`), so that it cannot talk to a terminal or begin a line of a log.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\'' => f.write_char(c),
            c => write!(f, "{}", c.escape_debug()),
        })
    }
}

/// [`Printable`] as a text.
pub fn printable(name: &str) -> String {
    Printable(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_on_the_screen() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\u{9b}\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{9b}\\n");
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for name in ["eth0.5", "web's \"db\"", "/run/netns/blau-grün", "漢字"] {
            assert_eq!(printable(name), name);
        }
    }
}
