//! Order, filter, selection, views: what keys change.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::crossterm::event::KeyCode;

use crate::top::{
    columns::{Column, Measure, VIEWS, Value, View},
    screen::Reaction,
    tests::{Show, busy, master, who},
};

#[test]
fn rows_go_down_by_bits_received_and_the_column_is_marked() {
    let mut show = busy();
    assert_eq!(show.names(), ["web", "db", "mail"]);
    assert!(show.lines(80, 24).iter().any(|line| line.contains("RX b/s▼")));
    show.types("r");
    assert_eq!(show.names(), ["mail", "db", "web"]);
    assert!(show.lines(80, 24).iter().any(|line| line.contains("RX b/s▲")));
}

#[test]
fn every_column_on_the_screen_can_be_sorted_by() {
    let mut show = busy();
    for view in ['1', '2', '3', '4', '5'] {
        show.types(&view.to_string());
        show.lines(200, 24);
        let columns = show.screen.shown.clone();
        let mut sorted = Vec::new();
        for _ in &columns {
            show.types(">");
            let lines = show.lines(200, 24);
            let arrow = if show.screen.sort.is_downwards() { "▼" } else { "▲" };
            let title = format!("{}{arrow}", show.screen.sort.column.title());
            assert!(lines[2..].iter().any(|line| line.contains(&title)), "{title}: {lines:#?}");
            let values: Vec<Value> =
                show.screen.rows().iter().map(|row| show.screen.sort.column.value(row)).collect();
            let down = show.screen.sort.is_downwards();
            assert!(
                values.windows(2).all(|two| if down { two[0] >= two[1] } else { two[0] <= two[1] }),
                "{values:?}"
            );
            sorted.push(show.screen.sort.column);
        }
        assert!(columns.iter().all(|column| sorted.contains(column)), "{columns:?} {sorted:?}");
        let last = show.screen.sort;
        show.types("<>");
        assert_eq!(show.screen.sort, last);
    }
}

#[test]
fn direct_keys_sort_and_pressed_again_by_the_other() {
    let mut show = busy();
    for (key, first, second) in [
        ("N", Column::Name, Column::Netns),
        ("P", Column::Rate(None, Measure::RxPackets), Column::Rate(None, Measure::TxPackets)),
        ("B", Column::Rate(None, Measure::RxBits), Column::Rate(None, Measure::TxBits)),
        ("D", Column::DropRate(None), Column::DropTotal(None)),
        ("M", Column::Mac, Column::Master),
    ] {
        show.types(key);
        assert_eq!(show.screen.sort.column, first);
        show.types(key);
        assert_eq!(show.screen.sort.column, second);
    }
}

#[test]
fn another_view_keeps_the_order_as_far_as_it_has_it() {
    let mut show = busy();
    show.types("P2");
    let path = macvlan_common::counters::Path::Wire;
    assert_eq!(show.screen.sort.column, Column::Rate(Some(path), Measure::RxPackets));
    show.types("5");
    assert_eq!(show.screen.sort.column, Column::DropRate(None));
    show.types("N");
    for _ in VIEWS {
        show.press(KeyCode::Tab);
        assert_eq!(show.screen.sort.column, Column::Name);
    }
    assert_eq!(show.screen.view, View::Drops);
    show.press(KeyCode::BackTab);
    assert_eq!(show.screen.view, View::Path(macvlan_common::counters::Path::Sibling));
}

#[test]
fn where_nothing_is_counted_comes_last_either_way() {
    let mut show = Show::new();
    let (status, mut stats) = master("eth0", &[who("a", 1, 0), who("b", 2, 0)]);
    (stats.children[0].wire, stats.children[0].host, stats.children[0].sibling) = (None, None, None);
    show.reads_masters(vec![(status, stats)]);
    assert_eq!(show.names(), ["b", "a"]);
    show.types("r");
    assert_eq!(show.names(), ["b", "a"]);
}

#[test]
fn a_filter_looks_at_every_name() {
    for (text, found) in [
        ("WE", vec!["web"]),
        ("00:02", vec!["db"]),
        ("mail-ns", vec!["mail"]),
        ("run/netns/db", vec!["db"]),
        ("docker:db", vec!["db"]),
        ("9abcdef1", vec!["web"]),
        ("10.9.0.3", vec!["mail"]),
        ("fd09::2", vec!["db"]),
        ("eth0", vec!["web", "db", "mail"]),
        ("nobody", vec![]),
    ] {
        let mut show = busy();
        show.types("/");
        show.types(text);
        assert_eq!(show.names(), found, "{text}");
        assert!(show.lines(80, 24)[23].starts_with(&format!("/{text}")));
        show.press(KeyCode::Enter);
        assert!(show.lines(80, 24)[0].contains(&format!("filter {text:?}")));
        assert_eq!(show.names(), found, "{text}");
        show.press(KeyCode::Esc);
        assert_eq!(show.names().len(), 3);
    }
}

#[test]
fn a_filter_is_typed_as_elsewhere() {
    let mut show = busy();
    // Also what otherwise are keys.
    show.types("/qqwx");
    show.press(KeyCode::Backspace);
    assert_eq!(show.screen.filter.text(), "qqw");
    show.control('u');
    show.types("web");
    assert_eq!(show.names(), ["web"]);
    assert_eq!(show.terminal(80, 24).get_cursor_position().unwrap(), (4, 23).into());
    show.press(KeyCode::Esc);
    assert_eq!(show.names().len(), 3);
    show.types("/");
    assert_eq!(show.control('c'), Reaction::Quit);
}

#[test]
fn what_is_selected_stays_so_when_the_order_changes() {
    let mut show = busy();
    assert_eq!(show.selected().as_deref(), Some("web"));
    show.types("j");
    assert_eq!(show.selected().as_deref(), Some("db"));
    show.reads(&[who("web", 1, 1200), who("db", 2, 9000), who("mail", 3, 500)]);
    assert_eq!(show.names(), ["db", "mail", "web"]);
    assert_eq!(show.selected().as_deref(), Some("db"));
    show.types("NG");
    assert_eq!(show.selected().as_deref(), Some("web"));
    // Renamed, it has its MAC still.
    show.reads(&[who("aaa", 1, 1200), who("db", 2, 9000), who("mail", 3, 500)]);
    assert_eq!(show.names(), ["aaa", "db", "mail"]);
    assert_eq!(show.selected().as_deref(), Some("aaa"));
}

#[test]
fn when_the_selected_one_is_hidden_its_place_is_selected() {
    let mut show = busy();
    show.types("jj");
    assert_eq!(show.selected().as_deref(), Some("mail"));
    show.types("/b-ns");
    assert_eq!(show.selected().as_deref(), Some("db"));
    show.press(KeyCode::Esc);
    assert_eq!(show.selected().as_deref(), Some("mail"));
}

#[test]
fn many_rows_scroll_with_the_selection() {
    let mut show = Show::new();
    let children: Vec<_> = (0..200).map(|n| who(name(n.into()), n, 0)).collect();
    show.reads(&children);
    show.types("N");
    let (first, page) = (show.names(), show.screen.page);
    assert!((10..24).contains(&page) && first.len() == page);
    show.press(KeyCode::PageDown);
    assert_eq!(show.selected().as_deref(), Some(name(page)));
    show.press(KeyCode::End);
    assert_eq!(show.names().last().map(String::as_str), Some(name(199)));
    show.press(KeyCode::Up);
    // No row moves while the selected one is on the screen.
    assert_eq!(show.names().last().map(String::as_str), Some(name(199)));
    show.press(KeyCode::PageUp);
    show.types("k");
    assert_eq!(show.selected().as_deref(), Some(name(197 - page)));
    show.press(KeyCode::Home);
    assert_eq!(show.names(), first);
}

#[test]
fn looks_come_as_often_as_asked_for() {
    let mut show = busy();
    assert_eq!(show.press(KeyCode::Char('+')), Reaction::Interval(Duration::from_secs(2)));
    assert!(show.lines(80, 24)[0].ends_with("every 2s"));
    assert_eq!(show.press(KeyCode::Char('-')), Reaction::Interval(Duration::from_secs(1)));
    assert_eq!(show.press(KeyCode::Char('-')), Reaction::Interval(Duration::from_millis(500)));
    assert!(show.lines(80, 24)[0].ends_with("every 0.5s"));
    assert_eq!(show.press(KeyCode::Char('-')), Reaction::Draw);
}

#[test]
fn keys_that_end_or_leave() {
    let mut show = busy();
    assert_eq!(show.control('c'), Reaction::Quit);
    assert_eq!(show.control('z'), Reaction::Suspend);
    assert_eq!(show.control('l'), Reaction::Redraw);
    for before in ["", "?"] {
        show.types(before);
        assert_eq!(show.press(KeyCode::Char('q')), Reaction::Quit);
    }
}

/// A name that sorts as its number does.
fn name(number: usize) -> &'static str {
    format!("{number:03}").leak()
}

fn any_key() -> impl Strategy<Value = KeyCode> {
    prop_oneof![
        6 => prop::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => Just(KeyCode::Enter),
        1 => Just(KeyCode::Esc),
        1 => Just(KeyCode::PageDown),
        1 => Just(KeyCode::End),
        1 => Just(KeyCode::Tab),
        1 => any::<char>().prop_map(KeyCode::Char),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_keys_on_no_screen_make_it_stumble(
        keys in prop::collection::vec((any_key(), 1..200_u16, 1..40_u16), 1..20),
        children in 0..20_u8,
    ) {
        let mut show = Show::new();
        let children: Vec<_> = (0..children).map(|n| who(name(n.into()), n, n.into())).collect();
        show.reads(&children);
        for (number, (key, columns, lines)) in keys.into_iter().enumerate() {
            show.press(key);
            show.lines(columns, lines);
            match number % 4 {
                1 => show.reads(&children[number % (children.len() + 1)..]),
                3 => show.fails(),
                _ => {}
            }
        }
    }
}
