//! Painting the screen on a frame.

mod detail;
mod header;
mod help;
mod pen;
mod table;
pub mod theme;

use ratatui::{Frame, layout::Position, style::Style};

use crate::top::{
    draw::pen::{Pen, last_line},
    screen::{Mode, Screen},
    text::{join_fitting, width},
};

/// A screen that has less than this shows that it is too small.
const SMALLEST: (u16, u16) = (20, 3);

impl Screen {
    /// Paints everything, as far as there is room.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let mut pen = Pen { area, buffer: frame.buffer_mut() };
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            return pen.line("too small", Style::new());
        }
        if self.mode == Mode::Detail && self.selected().is_none() {
            self.mode = Mode::Table;
        }
        let footer = pen.take_last_line_if(area.height >= 6);
        header::title(self, &mut pen);
        match self.mode {
            Mode::Table | Mode::Filter => {
                header::masters(&self.model.masters, self.theme, &mut pen);
                table::table(self, &mut pen);
            }
            Mode::Detail => detail::detail(self, &mut pen),
            Mode::Help(line) => help::help(self, line, &mut pen),
        }
        // While it is typed the filter must be seen, were it over the last row.
        let footer = footer.or_else(|| (self.mode == Mode::Filter).then(|| last_line(area)));
        if let Some(area) = footer {
            let cursor = self.draw_footer(&mut Pen { area, buffer: frame.buffer_mut() });
            if let Some(cursor) = cursor {
                frame.set_cursor_position(cursor);
            }
        }
    }

    /// The keys that matter here, or the filter that is typed and where its cursor is.
    fn draw_footer(&self, pen: &mut Pen<'_>) -> Option<Position> {
        let columns = usize::from(pen.area.width);
        let hints: &[&str] = match self.mode {
            Mode::Filter => {
                // The end of a long text is where it is typed.
                let mut text = self.filter.text();
                while width(text) + 2 > columns {
                    text = text.char_indices().nth(1).map_or("", |(at, _)| &text[at..]);
                }
                let cursor = Position::new(pen.area.x + 1 + width(text) as u16, pen.area.y);
                pen.line(&format!("/{text}{}", " ".repeat(columns)), self.theme.strong());
                return Some(cursor);
            }
            Mode::Table => &[
                "q quit",
                "? help",
                "/ filter",
                "<> sort",
                "r reverse",
                "v view",
                "Enter detail",
                "Space pause",
                "+- interval",
            ],
            Mode::Detail => &["q quit", "Esc back", "j k next", "Space pause", "? help"],
            Mode::Help(_) => &["q quit", "Esc back", "j k scroll"],
        };
        pen.line(&join_fitting(hints.iter().copied(), "  ", columns), self.theme.faint());
        None
    }
}
