//! The table of children.

use ratatui::style::Style;

use crate::top::{
    columns::Column,
    draw::pen::Pen,
    layout::{MARK, groups, layout},
    model::{Phase, Row},
    screen::Screen,
    text::{bars, cut, width},
};

/// Lines from which on there is one above the titles, with the paths: where titles alone are clear,
/// and where they are not.
const ROOM_FOR_GROUPS: (usize, usize) = (12, 3);

/// Titles, then as many rows as there is room for.
pub(crate) fn table(screen: &mut Screen, pen: &mut Pen<'_>) {
    let columns = layout(screen.view, pen.area.width, screen.traits());
    screen.shown = columns.iter().map(|(column, _)| *column).collect();
    let are_titles_clear = screen
        .shown
        .iter()
        .all(|column| screen.shown.iter().all(|other| other == column || other.title() != column.title()));
    let room = if are_titles_clear { ROOM_FOR_GROUPS.0 } else { ROOM_FOR_GROUPS.1 };
    if pen.lines() >= room {
        draw_groups(screen, &columns, pen);
    }
    draw_titles(screen, &columns, pen);

    let rows = screen.rows();
    let (count, selected) = (rows.len(), screen.selected_among(&rows));
    screen.scroll_to(selected, pen.lines(), count);
    let rows = screen.rows();
    if rows.is_empty() {
        let text = if screen.filter.text().is_empty() {
            "no children"
        } else {
            "nothing matches the filter; Esc clears it"
        };
        pen.line(text, screen.theme.faint());
    }
    // One scale for all: bars that are as high mean as much.
    let samples = columns.iter().find(|(column, _)| *column == Column::History).map_or(0, |(_, wide)| *wide);
    let highest = rows.iter().map(|row| row.history.highest(samples.into())).max().unwrap_or(0);
    for (place, row) in rows.iter().enumerate().skip(screen.offset).take(pen.lines()) {
        draw_row(screen, row, highest, &columns, pen);
        if Some(place) == selected {
            pen.style_last_line(screen.theme.chosen());
        }
    }
}

fn draw_groups(screen: &Screen, columns: &[(Column, u16)], pen: &mut Pen<'_>) {
    // Below the mark of a row.
    let mut text = " ".repeat(MARK.into());
    for (name, columns) in groups(columns) {
        let room = columns - 1;
        let rule = if screen.theme.unicode { "─" } else { "-" };
        let rules = room.saturating_sub(width(name) + 1);
        match name {
            "" => text.push_str(&" ".repeat(columns)),
            _ if rules == 0 => text.push_str(&format!("{:>room$} ", cut(name, room))),
            _ => text.push_str(&format!("{} {name} ", rule.repeat(rules))),
        }
    }
    pen.line(&text, screen.theme.faint());
}

fn draw_titles(screen: &Screen, columns: &[(Column, u16)], pen: &mut Pen<'_>) {
    let theme = screen.theme;
    let mut spans = vec![(" ".repeat(MARK.into()), theme.heading())];
    for (column, columns) in columns {
        let is_sorted = screen.sort.column == *column;
        let mut title = column.title().to_owned();
        if is_sorted {
            title.push(theme.arrow(screen.sort.is_downwards()));
        }
        let style = if is_sorted { theme.heading().patch(theme.chosen()) } else { theme.heading() };
        spans.push((aligned(*column, &title, (*columns).into()), style));
        spans.push((" ".to_owned(), theme.heading()));
    }
    pen.spans(spans.iter().map(|(text, style)| (text.as_str(), *style)));
}

/// `highest` is what fills the history, bits per second.
fn draw_row(screen: &Screen, row: &Row, highest: u64, columns: &[(Column, u16)], pen: &mut Pen<'_>) {
    let theme = screen.theme;
    let (mark, style) = match row.phase {
        Phase::Here => ("  ", Style::new()),
        Phase::New(_) => ("+ ", theme.newcomer()),
        Phase::Gone(_) => ("x ", theme.faint()),
    };
    let mut spans = vec![(mark.to_owned(), style)];
    for (column, columns) in columns {
        let wide = usize::from(*columns);
        let (text, own) = match column {
            Column::History => {
                let bars = bars(row.history.both(), highest, (wide, 1), theme.unicode);
                (bars.concat(), theme.bars())
            }
            Column::DropRate(reason) => {
                let dropping = row.drop_rate(*reason).is_some_and(|drops| drops.packets > 0);
                (column.text(row), if dropping { theme.bad() } else { style })
            }
            Column::Name => (column.text(row), style),
            _ => (column.text(row), if matches!(row.phase, Phase::Gone(_)) { style } else { Style::new() }),
        };
        spans.push((aligned(*column, &text, wide), own));
        spans.push((" ".to_owned(), Style::new()));
    }
    pen.spans(spans.iter().map(|(text, style)| (text.as_str(), *style)));
}

/// A text in exactly so many columns: numbers right, names left.
fn aligned(column: Column, text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let blank = " ".repeat(columns - width(&text));
    if column.is_number() && column != Column::History { blank + &text } else { text + &blank }
}
