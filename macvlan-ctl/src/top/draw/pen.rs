//! Writing on a part of the screen.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

/// Writes line after line from the top, and nothing beyond the bottom.
pub struct Pen<'a> {
    /// What is left.
    pub area: Rect,
    /// What is written to.
    pub buffer: &'a mut Buffer,
}

impl Pen<'_> {
    /// Lines left.
    pub fn lines(&self) -> usize {
        self.area.height.into()
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.area.width.into()
    }

    /// Takes the last line away, if that is wanted.
    pub fn take_last_line_if(&mut self, wanted: bool) -> Option<Rect> {
        let last = last_line(self.area);
        if wanted {
            self.area.height -= 1;
        }
        wanted.then_some(last)
    }

    /// A line of one style.
    pub fn line(&mut self, text: &str, style: Style) {
        self.spans([(text, style)]);
    }

    /// A line of several styles.
    pub fn spans<'t>(&mut self, spans: impl IntoIterator<Item = (&'t str, Style)>) {
        if self.area.height == 0 {
            return;
        }
        let Rect { mut x, y, .. } = self.area;
        for (text, style) in spans {
            let room = usize::from(self.area.right().saturating_sub(x));
            (x, _) = self.buffer.set_stringn(x, y, text, room, style);
        }
        self.area.y += 1;
        self.area.height -= 1;
    }

    /// Puts a style on the whole of the line written last.
    pub fn style_last_line(&mut self, style: Style) {
        let y = self.area.y.saturating_sub(1);
        self.buffer.set_style(Rect { y, height: 1, ..self.area }, style);
    }
}

/// The lowest line of an area.
pub fn last_line(area: Rect) -> Rect {
    Rect { y: area.bottom() - 1, height: 1, ..area }
}
