//! Whole screens, to the letter.

use macvlan_core::model::{
    description::{Carrier, Demux, Hairpin},
    stats::ChildStats,
};
use ratatui::{
    crossterm::event::KeyCode,
    style::{Color, Modifier},
};

use crate::top::tests::{Show, busy, master, who};

/// Compares, runs of blank lines told by their number.
fn check(shown: &[String], wanted: &str) {
    let mut text = String::new();
    for lines in shown.chunk_by(|a, b| a.is_empty() && b.is_empty()) {
        match lines {
            [line] => text.push_str(line),
            blank => text.push_str(&format!("[{} blank lines]", blank.len())),
        }
        text.push('\n');
    }
    assert_eq!(text, wanted.trim_start(), "\n{text}");
}

/// Rates that go up and down.
fn varied() -> Show {
    let mut show = busy();
    for (web, db) in [(1500, 50), (2700, 100), (3300, 350), (3450, 350)] {
        show.reads(&[who("web", 1, web), who("db", 2, db), who("mail", 3, 0)]);
    }
    show
}

#[test]
fn eighty_by_twenty_four() {
    check(
        &varied().lines(80, 24),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 3 children
  rx 1.32M tx 720k b/s, drops 1/s, 37 in all, for nobody 0/s
                 ───────────────────── all paths ───────── drops
 CHILD            RX p/s RX b/s▼  TX p/s  TX b/s  DROP/s   DROPS HISTORY
 web                 165   1.32M      90    720k       1      34          █▂█▄▁
 db                    0       0       0       0       0       3          ▂ ▂█
 mail                  0       0       0       0       0       0
[15 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn a_hundred_and_twenty_by_forty_has_the_paths_as_well() {
    check(
        &varied().lines(120, 40),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 3 children
  rx 1.32M tx 720k b/s, drops 1/s, 37 in all, for nobody 0/s
                 ───────────────────── all paths ────────── wire ────────── host ─────── sibling ─ drops
 CHILD            RX p/s RX b/s▼  TX p/s  TX b/s  RX b/s  TX b/s  RX b/s  TX b/s  RX b/s  TX b/s  DROP/s HISTORY
 web                 165   1.32M      90    720k   1.20M    600k    120k    120k       0       0       1          █▂█▄▁
 db                    0       0       0       0       0       0       0       0       0       0       0          ▂ ▂█
 mail                  0       0       0       0       0       0       0       0       0       0       0
[31 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause  +- interval
"#,
    );
}

#[test]
fn forty_by_eight_has_what_matters_most() {
    check(
        &varied().lines(40, 8),
        r#"
top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx
 CHILD           RX b/s▼  TX b/s  DROP/s
 web               1.32M    720k       1
 db                    0       0       0
 mail                  0       0       0

q quit  ? help  / filter  <> sort
"#,
    );
}

#[test]
fn one_path_with_what_was_counted_in_all() {
    let mut show = varied();
    show.types("3");
    check(
        &show.lines(80, 12),
        r#"
macvlan-ctl top  host  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 3 children, rx 1.32M tx 720k b/s
 CHILD            RX p/s RX b/s▼  TX p/s  TX b/s  RX PKT  RX BYT  TX PKT  TX BYT
 web                  15    120k      15    120k     345    345k     345    345k
 db                    0       0       0       0      35   35.0k      35   35.0k
 mail                  0       0       0       0       0       0       0       0
[5 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn drops_by_reason() {
    let mut show = varied();
    show.types("5");
    check(
        &show.lines(80, 12),
        r#"
macvlan-ctl top  drops  by DROP/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 3 children, rx 1.32M tx 720k b/s
                 ───────── drops ────── isolated ───── reflected ─────── unknown
 CHILD           DROP/s▼   DROPS  DROP/s   DROPS  DROP/s   DROPS  DROP/s   DROPS
 web                   1      34       1      34       0       0       0       0
 db                    0       3       0       3       0       0       0       0
 mail                  0       0       0       0       0       0       0       0
[4 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn one_child_with_all_that_is_known() {
    let mut show = varied();
    show.press(KeyCode::Enter);
    check(
        &show.lines(80, 24),
        r#"
macvlan-ctl top  every 1s
web on eth0  02:00:00:00:00:01  netns web-ns  docker container shop-1
macvlan bridge  up  host access on  mtu 1500  index 7  made by macvlan-ctl
PATH        RX b/s  TX b/s  RX p/s  TX p/s  RX BYT  TX BYT  RX PKT  TX PKT
wire         1.20M    600k     150      75   3.45M   1.73M   3.45k   1.73k
host          120k    120k      15      15    345k    345k     345     345
sibling          0       0       0       0       0       0       0       0
all          1.32M    720k     165      90   3.79M   2.07M   3.79k   2.07k

REASON      DROP/s   DROPS   BYTES
isolated         1      34   34.0k
reflected        0       0       0
unknown          0       0       0
spoofed          0       0       0
storm            0       0       0
ra_guard         0       0       0
dhcp_guard       0       0       0
rate             0       0       0

received and sent, at most 16.3M b/s
                                                                           █ █
                                                                           █ █▄
                                                                           █▆██▃
q quit  Esc back  j k next  Space pause  ? help
"#,
    );
    check(
        &show.lines(40, 8),
        r#"
top  every 1s
web on eth0  02:00:00:00:00:01
PATH        RX b/s  TX b/s  RX p/s
wire         1.20M    600k     150
host          120k    120k      15
sibling          0       0       0
all          1.32M    720k     165
q quit  Esc back  j k next  Space pause
"#,
    );
}

#[test]
fn nothing_is_counted_where_the_kernel_carries() {
    let mut show = Show::new();
    let (mut status, mut stats) = master("eth0", &[who("web", 1, 5)]);
    (status.datapath, status.demux, status.hairpin) = (Carrier::Kernel, Demux::Kernel, Hairpin::Off);
    (stats.unknown_unicast, stats.drops) = (None, None);
    let uncounted =
        ChildStats { wire: None, host: None, sibling: None, drops: None, ..stats.children[0].clone() };
    stats.children = vec![uncounted];
    show.reads_masters(vec![(status, stats)]);
    check(
        &show.lines(80, 10),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: kernel, demux kernel, hairpin off, 1 degraded, 1 child, nothing is counted
 CHILD            RX p/s RX b/s▼  TX p/s  TX b/s  DROP/s   DROPS HISTORY
 web                   -       -       -       -       -       -
[5 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn what_the_kernel_counts_is_of_all_paths() {
    let mut show = Show::new();
    let counted = |frames| {
        let (mut status, mut stats) = master("eth0", &[who("web", 1, frames)]);
        (status.datapath, status.demux, status.hairpin) = (Carrier::Kernel, Demux::Kernel, Hairpin::Shim);
        (stats.unknown_unicast, stats.drops) = (None, None);
        let stats64 = stats.children[0].wire;
        stats.children[0] = ChildStats {
            stats64,
            wire: None,
            host: None,
            sibling: None,
            drops: None,
            ..stats.children[0].clone()
        };
        (status, stats)
    };
    show.reads_masters(vec![counted(1000)]);
    show.reads_masters(vec![counted(3000)]);
    check(
        &show.lines(80, 10),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: kernel, demux kernel, hairpin shim, 1 degraded, 1 child
 CHILD            RX p/s RX b/s▼  TX p/s  TX b/s  DROP/s   DROPS HISTORY
 web               2.00k   16.0M   1.00k   8.00M       -       -              █
[5 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn the_keys() {
    let mut show = busy();
    show.types("?");
    let lines = show.lines(80, 24);
    assert_eq!(lines[1], "q, Ctrl-C                       quit");
    for (keys, meaning) in crate::top::keys::HELP {
        assert!(lines.iter().any(|line| line.starts_with(keys) && line.ends_with(meaning)), "{keys}");
    }
    // Narrower, they stand below each other, and scroll.
    show.types("jj");
    assert_eq!(show.lines(40, 8)[1], "Enter");
    show.types("x");
    assert_eq!(show.names(), ["web", "db", "mail"]);
}

#[test]
fn without_colours_nothing_has_one_and_nothing_is_lost() {
    let mut show = busy();
    show.reads(&[who("web", 1, 2000), who("late", 4, 0)]);
    let colored = show.lines(80, 24);
    assert!(show.terminal(80, 24).backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset));
    show.screen.theme.color = false;
    assert_eq!(show.lines(80, 24), colored);
    let plain = show.terminal(80, 24);
    let cells = plain.backend().buffer().content();
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(cells.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn without_unicode_nothing_is_beyond_ascii() {
    let mut show = busy();
    show.screen.theme.unicode = false;
    for _ in 0..2 {
        for line in show.lines(200, 40) {
            assert!(line.is_ascii(), "{line}");
        }
        show.press(KeyCode::Enter);
    }
}
