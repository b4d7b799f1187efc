//! Colours and characters that a terminal can show and a user wants to see.

use std::ffi::OsString;

use ratatui::style::{Color, Modifier, Style};

/// What may be used to tell one thing from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Colours. Nothing is told by colour alone.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

impl Theme {
    /// What these environment variables ask for: `NO_COLOR` (no-color.org), and the character set
    /// of the locale (locale(7)).
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(value);
        let locale = locale.unwrap_or_default().to_string_lossy().to_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { color: value("NO_COLOR").is_none(), unicode }
    }

    /// Titles of columns.
    pub fn heading(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The title that rows are sorted by, and the selected row.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What matters.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What has gone, and explanations.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What has just come.
    pub fn newcomer(self) -> Style {
        self.colored(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// What is less than the best.
    pub fn warning(self) -> Style {
        self.colored(Color::Yellow)
    }

    /// What went wrong or was dropped.
    pub fn bad(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Bars.
    pub fn bars(self) -> Style {
        self.colored(Color::Green)
    }

    /// The mark at the sorted column.
    pub const fn arrow(self, is_downwards: bool) -> char {
        match (self.unicode, is_downwards) {
            (true, true) => '▼',
            (true, false) => '▲',
            (false, true) => 'v',
            (false, false) => '^',
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let theme = |pairs: &[(&str, &str)]| {
            let found =
                |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            let Theme { color, unicode } = Theme::of_environment(found);
            (color, unicode)
        };
        assert_eq!(theme(&[]), (true, false));
        assert_eq!(theme(&[("LANG", "de_DE.UTF-8"), ("NO_COLOR", "")]), (true, true));
        assert_eq!(theme(&[("LANG", "C.utf8"), ("LC_ALL", "C"), ("NO_COLOR", "1")]), (false, false));
    }
}
