//! The keys.

use crate::top::{draw::pen::Pen, keys::HELP, screen::Screen, text::width};

/// Keys and what they do, from this line on.
pub(crate) fn help(screen: &mut Screen, first: usize, pen: &mut Pen<'_>) {
    let narrow = pen.columns() < 80;
    let widest = HELP.iter().map(|(keys, _)| width(keys)).max().unwrap_or(0);
    screen.page = pen.lines().max(1);
    for (keys, meaning) in &HELP[first.min(HELP.len())..] {
        // Where both do not stand side by side, they stand below each other.
        let gap = if narrow { "" } else { "  " };
        let keys = if narrow { (*keys).to_owned() } else { format!("{keys:widest$}") };
        if narrow {
            pen.line(&keys, screen.theme.strong());
            pen.line(&format!("  {meaning}"), screen.theme.faint());
        } else {
            pen.spans([
                (keys.as_str(), screen.theme.strong()),
                (gap, screen.theme.faint()),
                (meaning, screen.theme.faint()),
            ]);
        }
    }
}
