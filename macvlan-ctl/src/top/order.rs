//! Which rows are shown, and in which order.

use std::cmp::Ordering;

use crate::top::{
    columns::{Column, Measure, Value, View, netns},
    model::Row,
};

/// The column that rows are sorted by, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: Column,
    /// Against its own way: numbers go down by themselves, names up.
    pub reversed: bool,
}

impl Sort {
    /// By this column, its own way.
    pub const fn by(column: Column) -> Self {
        Self { column, reversed: false }
    }

    /// Whether the highest comes first.
    pub const fn is_downwards(self) -> bool {
        self.column.is_number() != self.reversed
    }

    /// The same for another view, as far as it has such a column.
    pub fn in_view(self, view: View) -> Self {
        let column = match (view, self.column) {
            (View::All, Column::Rate(_, measure) | Column::Total(_, measure)) => Column::Rate(None, measure),
            (View::Path(path), Column::Rate(_, measure)) => Column::Rate(Some(path), measure),
            (View::Path(path), Column::Total(_, measure)) => Column::Total(Some(path), measure),
            (View::All | View::Drops, Column::DropRate(_)) => Column::DropRate(None),
            (View::All | View::Drops, Column::DropTotal(_)) => Column::DropTotal(None),
            (View::Drops, Column::Rate(..) | Column::Total(..) | Column::History) => Column::DropRate(None),
            (View::Path(path), column) if column.is_number() => Column::Rate(Some(path), Measure::RxBits),
            (_, column) => column,
        };
        Self { column, ..self }
    }

    /// The rows that match, in this order. Where nothing is counted comes last either way; equals
    /// stand by name, then by MAC.
    pub fn apply<'a>(self, rows: impl Iterator<Item = &'a Row>, filter: &Filter) -> Vec<&'a Row> {
        let rows = rows.filter(|row| filter.matches(row));
        let mut valued: Vec<(Value, &Row)> = rows.map(|row| (self.column.value(row), row)).collect();
        valued.sort_by(|(a, row_a), (b, row_b)| {
            let unknown_last = (*a == Value::Unknown).cmp(&(*b == Value::Unknown));
            let by_value = if self.is_downwards() { b.cmp(a) } else { a.cmp(b) };
            unknown_last.then(by_value).then_with(|| by_name(row_a, row_b))
        });
        valued.into_iter().map(|(_, row)| row).collect()
    }
}

fn by_name(a: &Row, b: &Row) -> Ordering {
    a.name.cmp(&b.name).then_with(|| a.about.ifname.cmp(&b.about.ifname)).then_with(|| a.key.cmp(&b.key))
}

/// A text that rows must contain in one of their names, whatever the case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Longest text: longer than any name that can be on a screen.
    const LONGEST: usize = 64;

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Adds a character, as long as there is room.
    pub fn push(&mut self, c: char) {
        if self.0.chars().count() < Self::LONGEST && !c.is_control() {
            self.0.push(c);
        }
    }

    /// Takes the last character away.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// Takes all characters away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether a child is to be shown: by its container, MAC, addresses, interface, namespace or master.
    pub fn matches(&self, row: &Row) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let wanted = self.0.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let about = &row.about;
        has(&row.name)
            || has(&about.ifname)
            || has(&row.key.mac.to_string())
            || has(&netns(about))
            || about.netns.as_deref().is_some_and(has)
            || about.container.as_ref().is_some_and(|container| {
                has(&container.id)
                    || container
                        .name
                        .as_deref()
                        .is_some_and(|name| has(&format!("{}:{name}", container.engine)))
            })
            || about.addresses.iter().any(|address| has(&address.to_string()))
            || has(&row.key.master)
    }
}
