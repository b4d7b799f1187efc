//! Tables that fit a terminal, and the cells that several of them have.

use std::{env, io::IsTerminal as _, ops::Range};

use ratatui::crossterm::terminal;
use tabled::{
    builder::Builder,
    settings::{Alignment, Modify, Padding, Style, object::Columns},
};

/// Columns of a terminal that nobody has widened.
pub const WIDTH: usize = 80;

/// Columns that a table may take: as many as `COLUMNS` says, or the terminal has. `None`, where output goes
/// elsewhere, is no limit: what reads it wants all.
pub fn room() -> Option<usize> {
    let told = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        let (columns, _) = std::io::stdout().is_terminal().then(terminal::size)?.ok()?;
        Some(columns.into())
    };
    told.or_else(terminal).filter(|columns| *columns > 0)
}

/// Narrowest cell of a namespace or a container, where other cells take most of a line.
const NARROWEST_CELL: usize = 14;

/// A table of these rows, titles first, without borders. Numbers are aligned right.
pub fn table<const COLUMNS: usize>(records: Vec<[String; COLUMNS]>, right_aligned: Range<usize>) -> String {
    let mut rows = Builder::new();
    records.into_iter().for_each(|record| rows.push_record(record));
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 1, 0, 0));
    table.with(Modify::new(Columns::new(right_aligned)).with(Alignment::right()));
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Cuts the cells of one column to what the others leave of a line of `room` columns, if that is limited.
pub fn fit<const COLUMNS: usize>(records: &mut [[String; COLUMNS]], column: usize, room: Option<usize>) {
    let Some(room) = room else { return };
    let width = |column: usize| records.iter().map(|record| record[column].chars().count()).max();
    let others = (0..COLUMNS).filter(|other| *other != column);
    // A blank between any two columns.
    let taken: usize = others.map(|other| width(other).unwrap_or_default() + 1).sum();
    let room = room.saturating_sub(taken).max(NARROWEST_CELL);
    for record in records {
        let cell = &mut record[column];
        if cell.chars().count() > room {
            *cell = cell.chars().take(room - 1).chain(['~']).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_cut_where_room_is_limited_alone() {
        let records = [["a-name-that-is-too-long-for-its-line".to_owned(), "1".repeat(20)]];
        let cell = |room| {
            let mut records = records.clone();
            fit(&mut records, 0, room);
            records[0][0].clone()
        };
        assert_eq!(cell(None), records[0][0]);
        assert_eq!(cell(Some(40)), "a-name-that-is-too~");
        assert_eq!(cell(Some(10)), "a-name-that-i~");
    }
}
