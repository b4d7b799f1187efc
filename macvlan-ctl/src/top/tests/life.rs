//! Children and masters that come and go, and counters that begin anew.

use std::time::Duration;

use macvlan_core::model::stats::{BothWays, Pair};
use ratatui::{crossterm::event::KeyCode, style::Modifier};

use crate::top::{
    model::{Key, Phase, Row, bits},
    tests::{Show, busy, mac, master, sample, who},
};

fn row(show: &Show, byte: u8) -> Option<&Row> {
    show.screen.model.rows.get(&Key { master: "eth0".into(), mac: mac(byte) })
}

fn rx_frames(show: &Show, byte: u8) -> Option<u64> {
    Some(row(show, byte)?.rate(None)?.rx.packets)
}

#[test]
fn the_first_look_has_rates_of_0_and_nobody_is_new() {
    let mut show = Show::new();
    show.reads(&[who("web", 1, 1_000_000)]);
    assert_eq!(rx_frames(&show, 1), Some(0));
    assert_eq!(row(&show, 1).map(|row| row.phase), Some(Phase::Here));
    assert_eq!(row(&show, 1).map(|row| row.history.rx().len()), Some(0));
}

#[test]
fn rates_are_over_the_true_time() {
    let mut show = Show::new();
    show.reads(&[who("web", 1, 0)]);
    let late = show.now + Duration::from_millis(2500);
    show.screen.take(Ok(sample(late, vec![master("eth0", &[who("web", 1, 1000)])])), late);
    // 1000 from the wire and 100 from the host.
    assert_eq!(rx_frames(&show, 1), Some(440));
    assert_eq!(row(&show, 1).map(|row| row.history.rx().collect()), Some(vec![440 * 8000]));
}

#[test]
fn counters_that_began_anew_have_rates_of_0() {
    let mut show = busy();
    assert_eq!(rx_frames(&show, 1), Some(1320));
    show.reads(&[who("web", 1, 100), who("db", 2, 150), who("mail", 3, 0)]);
    assert_eq!((rx_frames(&show, 1), rx_frames(&show, 2)), (Some(0), Some(110)));
    show.reads(&[who("web", 1, 200), who("db", 2, 150), who("mail", 3, 0)]);
    assert_eq!(rx_frames(&show, 1), Some(110));
}

#[test]
fn who_comes_begins_at_0_and_is_marked_for_a_while() {
    let mut show = busy();
    show.reads(&[who("web", 1, 1200), who("late", 4, 5000)]);
    assert_eq!(rx_frames(&show, 4), Some(0));
    let marked = |show: &mut Show| show.lines(80, 24).iter().any(|line| line.starts_with("+ late"));
    assert!(marked(&mut show));
    show.reads(&[who("web", 1, 1200), who("late", 4, 6000)]);
    assert_eq!(rx_frames(&show, 4), Some(1100));
    assert!(marked(&mut show));
    show.waits(5);
    assert!(!marked(&mut show));
    assert!(show.names().contains(&"late".to_owned()));
}

#[test]
fn who_goes_is_shown_faint_for_a_while() {
    let mut show = busy();
    show.reads(&[who("web", 1, 1200), who("mail", 3, 0)]);
    let terminal = show.terminal(80, 24);
    let buffer = terminal.backend().buffer();
    let line = (0..24).find(|y| buffer[(0, *y)].symbol() == "x").unwrap();
    assert!(buffer[(2, line)].modifier.contains(Modifier::DIM));
    assert!(show.lines(80, 24)[usize::from(line)].starts_with("x db "));
    assert_eq!(rx_frames(&show, 2), None);
    show.waits(4);
    assert!(row(&show, 2).is_some());
    show.waits(1);
    assert!(row(&show, 2).is_none());
}

#[test]
fn who_comes_back_in_time_was_never_new() {
    let mut show = busy();
    show.reads(&[who("web", 1, 1200)]);
    show.reads(&[who("web", 1, 1200), who("db", 2, 50), who("mail", 3, 0)]);
    assert_eq!(row(&show, 2).map(|row| row.phase), Some(Phase::Here));
    assert_eq!(rx_frames(&show, 2), Some(0));
}

#[test]
fn a_master_that_goes_is_told_of_and_waited_for() {
    let mut show = busy();
    show.fails();
    let lines = show.lines(80, 24);
    assert_eq!(lines[1], "cannot tell of \"eth0\": no such device; trying again");
    assert!(lines.iter().any(|line| line.starts_with("x web")));
    show.waits(5);
    assert!(show.screen.model.rows.is_empty());
    assert!(show.lines(80, 24).iter().any(|line| line.contains("no children")));
    // There again, with counters that are higher by now: nobody knows since when.
    show.reads(&[who("web", 1, 9000)]);
    assert!(!show.lines(80, 24)[1].contains("cannot"));
    assert_eq!(rx_frames(&show, 1), Some(0));
}

#[test]
fn while_paused_nothing_changes_and_after_it_rates_are_over_the_pause() {
    let mut show = busy();
    show.types(" ");
    let paused = show.lines(80, 24);
    assert!(paused[0].contains("PAUSED"));
    show.reads(&[who("new", 9, 0)]);
    show.fails();
    show.waits(60);
    assert_eq!(show.lines(80, 24), paused);
    show.types(" ");
    show.reads(&[who("web", 1, 7600), who("db", 2, 50), who("mail", 3, 0)]);
    // 6400 more in 63 seconds, and a tenth of that from the host.
    assert_eq!(rx_frames(&show, 1), Some(112));
}

#[test]
fn the_open_child_may_go() {
    let mut show = busy();
    show.press(KeyCode::Enter);
    show.reads(&[who("db", 2, 50)]);
    assert!(show.lines(80, 24)[1].starts_with("web  gone  eth0 on eth0"));
    show.waits(5);
    assert_eq!(show.names(), ["db"]);
}

#[test]
fn of_two_with_one_mac_the_one_that_is_up_is_shown() {
    for downs in [0, 1] {
        let mut show = Show::new();
        let (mut status, mut stats) = master("eth0", &[who("one", 1, 7), who("two", 1, 7)]);
        (status.children[1].netnsid, stats.children[1].netnsid) = (Some(2), Some(2));
        status.children[downs].up = false;
        show.reads_masters(vec![(status, stats)]);
        assert_eq!(show.names(), [["two", "one"][downs]]);
    }
}

#[test]
fn two_masters_may_have_children_of_one_mac() {
    let mut show = Show::new();
    let masters = |frames| vec![master("eth0", &[who("a", 1, frames)]), master("eth1", &[who("b", 1, 0)])];
    show.reads_masters(masters(0));
    show.reads_masters(masters(100));
    assert_eq!(show.names(), ["a", "b"]);
    let lines = show.lines(80, 24);
    assert!(lines.iter().any(|line| line.contains("MASTER")));
    assert!(
        lines[1].starts_with("eth0: bpf") && lines[2].trim_start().starts_with("rx 880k tx 480k b/s"),
        "{lines:#?}"
    );
    // More masters than a quarter of the screen.
    let many = (0..9).map(|_| master("eth0", &[])).collect();
    show.reads_masters(many);
    assert!(show.lines(80, 24).iter().any(|line| line == "and 4 more devices"), "{:#?}", show.lines(80, 24));
}

#[test]
fn a_name_cannot_write_on_the_screen() {
    let mut show = Show::new();
    let (mut status, mut stats) = master("eth0", &[who("a\x1b[1mb\nc", 1, 0)]);
    for ifname in [&mut status.children[0].ifname, &mut stats.children[0].ifname] {
        *ifname = "e\u{202e}\r".into();
    }
    show.reads_masters(vec![(status, stats)]);
    let escaped = (r"a\u{1b}[1mb\nc", r"e\u{202e}\r");
    let lines = show.lines(120, 24);
    let begin = format!("  {} {} ", escaped.0, escaped.1);
    assert!(lines.iter().any(|line| line.starts_with(&begin)), "{lines:#?}");
    show.press(KeyCode::Enter);
    assert!(show.lines(120, 24)[1].starts_with(&format!("{}  {} on eth0", escaped.0, escaped.1)));
}

#[test]
fn without_a_container_the_namespace_and_the_interface_name_a_child() {
    let mut show = Show::new();
    let (mut status, mut stats) = master("eth0", &[who("web", 1, 0), who("db", 2, 0)]);
    status.children.iter_mut().for_each(|child| child.container = None);
    // The second is in the master's own namespace, which has a name as well.
    status.netns = status.children[1].netns.clone();
    (status.children[1].netnsid, stats.children[1].netnsid) = (None, None);
    show.reads_masters(vec![(status, stats)]);
    assert_eq!(show.names(), ["eth0", "web-ns/eth0"]);
}

#[test]
fn the_engine_is_told_where_two_have_a_container_of_one_name() {
    let mut show = Show::new();
    let (mut status, stats) = master("eth0", &[who("web", 1, 0), who("web", 2, 0), who("db", 3, 0)]);
    status.children[1].container.as_mut().unwrap().engine = "podman";
    show.reads_masters(vec![(status, stats)]);
    assert_eq!(show.names(), ["db", "docker:web", "podman:web"]);
}

#[test]
fn counters_at_their_end_do_not_overflow() {
    let mut show = Show::new();
    let most = Pair { packets: u64::MAX, bytes: u64::MAX };
    assert_eq!(bits(most), u64::MAX);
    for counted in [Pair::default(), most] {
        let (status, mut stats) = master("eth0", &[who("web", 1, 0)]);
        let both = Some(BothWays { rx: counted, tx: counted });
        (stats.children[0].wire, stats.children[0].host) = (both, both);
        show.reads_masters(vec![(status, stats)]);
    }
    assert_eq!(rx_frames(&show, 1), Some(u64::MAX));
    show.lines(200, 40);
}
