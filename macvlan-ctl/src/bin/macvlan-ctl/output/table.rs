//! Tables that fit a terminal, and the cells that several of them have.

use std::ops::Range;

use macvlan_core::model::container::Container;
use tabled::{
    builder::Builder,
    settings::{Alignment, Modify, Padding, Style, object::Columns},
};

/// Columns of a terminal that nobody has widened.
pub const WIDTH: usize = 80;

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

/// Cuts the cells of one column to what the others leave of a line.
pub fn fit<const COLUMNS: usize>(records: &mut [[String; COLUMNS]], column: usize) {
    let width = |column: usize| records.iter().map(|record| record[column].chars().count()).max();
    let others = (0..COLUMNS).filter(|other| *other != column);
    // A blank between any two columns.
    let taken: usize = others.map(|other| width(other).unwrap_or_default() + 1).sum();
    let room = WIDTH.saturating_sub(taken).max(NARROWEST_CELL);
    for record in records {
        let cell = &mut record[column];
        if cell.chars().count() > room {
            *cell = cell.chars().take(room - 1).chain(['~']).collect();
        }
    }
}

/// `docker:web`; without a name, the short id that engines show.
pub fn container_cell(container: &Container) -> String {
    const SHORT: usize = 12;
    let short = container.id.get(..SHORT).unwrap_or(&container.id);
    format!("{}:{}", container.engine, container.name.as_deref().unwrap_or(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_shown_by_its_name_or_a_short_id() {
        let cell = |name: Option<&str>| {
            let id = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a".into();
            container_cell(&Container { engine: "docker", id, name: name.map(Into::into) })
        };
        assert_eq!((cell(Some("web")), cell(None)), ("docker:web".into(), "docker:ed6e59f70b86".into()));
    }
}
