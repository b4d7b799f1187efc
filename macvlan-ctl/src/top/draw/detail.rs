//! One child, with all that is known of it.

use macvlan_common::counters::{DROP_REASONS, PATHS, Path};
use macvlan_core::model::{
    container::Container,
    printable::printable,
    stats::{BothWays, Pair},
};
use ratatui::style::Style;
use textwrap::Options;

use crate::top::{
    columns::netns,
    draw::pen::Pen,
    model::{Phase, Row, bits},
    screen::Screen,
    text::{bars, join_fitting, si, width},
};

/// Columns of a number and the blank before it.
const CELL: usize = 8;

/// Columns of the name before the numbers.
const NAME: usize = 10;

/// Lines that paths take with their titles, and drops with theirs.
const PATH_LINES: usize = 2 + PATHS.len();

const DROP_LINES: usize = 1 + DROP_REASONS.len();

/// Attachment, paths, drops, and charts in what is left.
pub(crate) fn detail(screen: &Screen, pen: &mut Pen<'_>) {
    let Some(row) = screen.selected() else { return };
    draw_identity(screen, row, pen);
    let is_roomy = pen.lines() >= PATH_LINES + DROP_LINES + 2;
    draw_paths(screen, row, pen);
    if is_roomy {
        pen.line("", screen.theme.faint());
    }
    draw_drops(screen, row, pen);
    if is_roomy {
        pen.line("", screen.theme.faint());
    }
    draw_charts(screen, row, pen);
}

fn draw_identity(screen: &Screen, row: &Row, pen: &mut Pen<'_>) {
    let (theme, about) = (screen.theme, &row.about);
    let (phase, style) = match row.phase {
        Phase::Here => ("", theme.strong()),
        Phase::New(_) => ("new", theme.newcomer()),
        Phase::Gone(_) => ("gone", theme.faint()),
    };
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    let first = [
        row.name.clone(),
        phase.to_owned(),
        format!("{} on {}", printable(&about.ifname), printable(&row.key.master)),
        row.key.mac.to_string(),
        format!("netns {}", netns(about)),
        about.container.as_ref().map_or(String::new(), Container::with_engine),
    ];
    let second = [
        format!("{} {}", about.kind.as_str(), about.mode),
        if about.up { "up" } else { "down" }.to_owned(),
        format!("host access {}", on(about.host_access)),
        format!("mtu {}", about.mtu),
        format!("index {}", about.ifindex),
        if about.owned { "made by macvlan-ctl" } else { "made by others" }.to_owned(),
    ];
    let columns = pen.columns();
    let line = |parts: &[String]| join_fitting(parts.iter().map(String::as_str), "  ", columns);
    pen.line(&line(&first), style);
    if pen.lines() > PATH_LINES {
        pen.line(&line(&second), theme.faint());
    }
    draw_facts("addresses", about.addresses.iter().map(ToString::to_string).collect(), theme.faint(), pen);
    draw_facts("guards and rates", about.policy.phrases(), theme.faint(), pen);
}

/// As many lines as the facts take, where there is room for them and the paths.
fn draw_facts(what: &str, facts: Vec<String>, style: Style, pen: &mut Pen<'_>) {
    if facts.is_empty() {
        return;
    }
    let text = format!("{what}: {}", facts.iter().map(|fact| printable(fact)).collect::<Vec<_>>().join(", "));
    for line in textwrap::wrap(&text, Options::new(pen.columns()).subsequent_indent("  ")) {
        if pen.lines() > PATH_LINES {
            pen.line(&line, style);
        }
    }
}

fn draw_paths(screen: &Screen, row: &Row, pen: &mut Pen<'_>) {
    let theme = screen.theme;
    let titles = ["RX b/s", "TX b/s", "RX p/s", "TX p/s", "RX BYT", "TX BYT", "RX PKT", "TX PKT"];
    pen.line(&cells("PATH", titles.into_iter(), pen.columns()), theme.heading());
    for path in PATHS.map(Some).into_iter().chain([None]) {
        let name = path.map_or("all", Path::as_str);
        let numbers =
            numbers(row.rate(path), bits).into_iter().chain(numbers(row.total(path), |pair| pair.bytes));
        let numbers: Vec<String> = numbers.collect();
        let style = if path.is_none() { theme.strong() } else { Style::new() };
        pen.line(&cells(name, numbers.iter().map(String::as_str), pen.columns()), style);
    }
}

/// Volume and frames, received and sent.
fn numbers(both: Option<BothWays>, volume: fn(Pair) -> u64) -> [String; 4] {
    let text = |pick: &dyn Fn(BothWays) -> u64| both.map_or("-".to_owned(), |both| si(pick(both)));
    [
        text(&|both| volume(both.rx)),
        text(&|both| volume(both.tx)),
        text(&|both| both.rx.packets),
        text(&|both| both.tx.packets),
    ]
}

fn draw_drops(screen: &Screen, row: &Row, pen: &mut Pen<'_>) {
    let theme = screen.theme;
    let titles = ["DROP/s", "DROPS", "BYTES"];
    pen.line(&cells("REASON", titles.into_iter(), pen.columns()), theme.heading());
    for reason in DROP_REASONS {
        let (rate, total) = (row.drop_rate(Some(reason)), row.drop_total(Some(reason)));
        let text =
            |pair: Option<Pair>, pick: fn(Pair) -> u64| pair.map_or("-".to_owned(), |pair| si(pick(pair)));
        let numbers = [
            text(rate, |pair| pair.packets),
            text(total, |pair| pair.packets),
            text(total, |pair| pair.bytes),
        ];
        let is_dropping = rate.is_some_and(|rate| rate.packets > 0);
        let style = if is_dropping { theme.bad() } else { Style::new() };
        pen.line(&cells(reason.as_str(), numbers.iter().map(String::as_str), pen.columns()), style);
    }
}

/// A name and numbers, as many as fit.
fn cells<'t>(name: &str, numbers: impl Iterator<Item = &'t str>, columns: usize) -> String {
    let mut line = format!("{name:NAME$}");
    for number in numbers {
        if width(&line) + CELL <= columns {
            line.push_str(&format!("{number:>CELL$}"));
        }
    }
    line
}

/// Received above sent; together where there is less room.
fn draw_charts(screen: &Screen, row: &Row, pen: &mut Pen<'_>) {
    let (history, lines) = (&row.history, pen.lines());
    if lines >= 6 {
        let half = lines / 2;
        draw_chart(screen, "received", history.rx(), half, pen);
        draw_chart(screen, "sent", history.tx(), half, pen);
    } else if lines >= 2 {
        draw_chart(screen, "received and sent", history.both(), lines, pen);
    }
}

fn draw_chart(
    screen: &Screen,
    what: &str,
    values: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone,
    lines: usize,
    pen: &mut Pen<'_>,
) {
    let columns = pen.columns();
    let highest = values.clone().rev().take(columns).max().unwrap_or(0);
    pen.line(&format!("{what}, at most {} b/s", si(highest)), screen.theme.heading());
    for bar in bars(values, highest, (columns, lines - 1), screen.theme.unicode) {
        pen.line(&bar, screen.theme.bars());
    }
}
