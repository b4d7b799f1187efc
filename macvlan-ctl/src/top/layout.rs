//! Which columns a screen of some width shows.

use macvlan_common::counters::{DROP_REASONS, DropReason, Path};

use crate::top::{
    columns::{
        Column,
        Measure::{self, RxBits, RxPackets, TxBits, TxPackets},
        View,
    },
    text::width,
};

/// What some rows have in common that decides about columns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    /// They have more than one master.
    pub masters: bool,
    /// Columns of the longest name.
    pub name: usize,
    /// Columns of the longest name of an interface.
    pub interface: usize,
}

/// Columns before a row: what happened to it, and a blank.
pub const MARK: u16 = 2;

/// The columns of a view, left to right, each with its width. The name is always there; of the
/// others the more telling ones, as far as they fit beside the mark and a blank after each. What is left
/// makes room for longer names, then for the history.
pub fn layout(view: View, screen: u16, traits: Traits) -> Vec<(Column, u16)> {
    let mut room = screen.saturating_sub(MARK);
    // A long name comes before much else, but not before everything.
    let name = u16::try_from(traits.name).unwrap_or(u16::MAX).min(screen / 4).max(Column::Name.width());
    let width_of = |column: Column| if column == Column::Name { name } else { column.width() };
    let mut chosen: Vec<Column> = Vec::new();
    for group in wanted(view, traits) {
        let needed: u16 = group.iter().map(|column| width_of(*column) + 1).sum();
        // The last one needs no blank after it.
        if chosen.is_empty() || needed <= room + 1 {
            room = room.saturating_sub(needed);
            chosen.extend(group);
        }
    }
    chosen.sort_by_key(|column| place(*column));
    let mut columns: Vec<(Column, u16)> =
        chosen.into_iter().map(|column| (column, width_of(column))).collect();
    for (column, wanted) in
        [(Column::Name, traits.name), (Column::Interface, traits.interface), (Column::History, usize::MAX)]
    {
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        for (_, width) in columns.iter_mut().filter(|(shown, _)| *shown == column) {
            let more = wanted.saturating_sub(*width).min(room);
            *width += more;
            room -= more;
        }
    }
    columns
}

/// Groups of columns that come together or not at all, the most telling ones first.
fn wanted(view: View, traits: Traits) -> Vec<Vec<Column>> {
    use Column::{DropRate, DropTotal, History, Interface, Mac, Master, Mode, Name, Netns, Rate, Total};
    let each = |measures: [Measure; 2]| {
        let paths = [Path::Wire, Path::Host, Path::Sibling].into_iter();
        paths.flat_map(|path| measures.map(|measure| Rate(Some(path), measure))).collect()
    };
    let mut groups = vec![vec![Name]];
    match view {
        View::All => groups.extend([
            vec![Rate(None, RxBits), Rate(None, TxBits)],
            vec![DropRate(None)],
            vec![Interface],
        ]),
        View::Path(path) => {
            let path = Some(path);
            groups.extend([
                vec![Rate(path, RxBits), Rate(path, TxBits)],
                vec![Rate(path, RxPackets), Rate(path, TxPackets)],
            ]);
        }
        View::Drops => groups.push(vec![DropRate(None), DropTotal(None)]),
    }
    if traits.masters {
        groups.push(vec![Master]);
    }
    match view {
        View::All => groups.extend([
            vec![Mac],
            vec![History],
            vec![Rate(None, RxPackets), Rate(None, TxPackets)],
            vec![DropTotal(None)],
            each([RxBits, TxBits]),
        ]),
        View::Path(path) => {
            let measures = [RxPackets, RxBits, TxPackets, TxBits];
            groups.push(measures.map(|measure| Total(Some(path), measure)).to_vec());
        }
        View::Drops => {
            groups.extend(DROP_REASONS.map(|reason| vec![DropRate(Some(reason)), DropTotal(Some(reason))]));
        }
    }
    if view == View::All {
        groups.push(vec![Netns]);
        groups.push(each([RxPackets, TxPackets]));
    } else {
        groups.extend([vec![Interface], vec![Mac], vec![Netns]]);
    }
    groups.push(vec![Mode]);
    groups
}

/// Where a column stands among all.
fn place(column: Column) -> (usize, usize) {
    let measure = |measure: Measure| measure as usize;
    let path = |path: Option<Path>| path.map_or(0, |path| 1 + path as usize);
    let reason = |reason: Option<DropReason>| reason.map_or(0, |reason| 1 + reason as usize);
    match column {
        Column::Name => (0, 0),
        Column::Interface => (0, 1),
        Column::Mac => (0, 2),
        Column::Master => (0, 3),
        Column::Netns => (0, 4),
        Column::Mode => (0, 5),
        Column::Rate(on, what) => (1 + path(on), measure(what)),
        Column::Total(on, what) => (5 + path(on), measure(what)),
        Column::DropRate(why) => (10 + reason(why), 0),
        Column::DropTotal(why) => (10 + reason(why), 1),
        Column::History => (20, 0),
    }
}

/// The runs of columns that belong together: what they belong to, and how wide they are.
pub fn groups(columns: &[(Column, u16)]) -> Vec<(&'static str, usize)> {
    let mut groups: Vec<(&'static str, usize)> = Vec::new();
    for (column, columns) in columns {
        let wide = usize::from(*columns) + 1;
        match groups.last_mut() {
            Some((name, total)) if *name == column.group() => *total += wide,
            _ => groups.push((column.group(), wide)),
        }
    }
    debug_assert!(groups.iter().all(|(name, columns)| width(name) <= *columns));
    groups
}
