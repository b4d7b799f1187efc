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
                                            ───── all paths ─ drops
  CHILD          IFACE    MAC               RX b/s▼  TX b/s  DROP/s HISTORY
  web            eth0     02:00:00:00:00:01   1.32M    720k       1       █▂█▄▁
  db             eth0     02:00:00:00:00:02       0       0       0       ▁ ▁▂
  mail           eth0     02:00:00:00:00:03       0       0       0
[15 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
}

#[test]
fn a_hundred_and_twenty_by_forty_has_packets_as_well() {
    check(
        &varied().lines(120, 40),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 3 children
  rx 1.32M tx 720k b/s, drops 1/s, 37 in all, for nobody 0/s
                                                         ───────────────────── all paths ───────── drops
  CHILD          IFACE    MAC               NETNS         RX p/s RX b/s▼  TX p/s  TX b/s  DROP/s   DROPS HISTORY
  web            eth0     02:00:00:00:00:01 web-ns           165   1.32M      90    720k       1      34          █▂█▄▁
  db             eth0     02:00:00:00:00:02 db-ns              0       0       0       0       0       3          ▁ ▁▂
  mail           eth0     02:00:00:00:00:03 mail-ns            0       0       0       0       0       0
[31 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause  +- interval
"#,
    );
}

/// Twelve containers, as a machine at home may have them, and what is set for one.
fn twelve() -> Show {
    const NAMES: [&str; 12] = [
        "pihole",
        "home-assistant",
        "mosquitto",
        "zigbee2mqtt",
        "jellyfin",
        "nextcloud-aio-mastercontainer",
        "grafana",
        "prometheus",
        "unifi-network-application",
        "frigate",
        "plex",
        "adguard",
    ];
    let mut show = Show::new();
    for round in 0..6_u64 {
        let frames = |number: u8| u64::from(number) * round * (50 + 30 * (round % 3));
        let children: Vec<_> =
            (1..).zip(NAMES).map(|(number, name)| who(name, number, frames(number))).collect();
        let (mut status, stats) = master("eth0", &children);
        let policy = &mut status.children[11].policy;
        (policy.ra, policy.anti_spoof, policy.rate_rx) = (false, "mac", Some("50mbit".parse().unwrap()));
        show.reads_masters(vec![(status, stats)]);
    }
    show
}

#[test]
fn twelve_containers_on_screens_of_three_sizes() {
    check(
        &twelve().lines(80, 24),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 12 children
  rx 158M tx 86.1M b/s, drops 181/s, 426 in all, for nobody 0/s
                                                        ───── all paths ─ drops
  CHILD                      IFACE    MAC               RX b/s▼  TX b/s  DROP/s
  adguard                    eth0     02:00:00:00:00:0c   24.3M   13.2M      28
  plex                       eth0     02:00:00:00:00:0b   22.3M   12.1M      25
  frigate                    eth0     02:00:00:00:00:0a   20.2M   11.0M      23
  unifi-network-application  eth0     02:00:00:00:00:09   18.2M   9.94M      21
  prometheus                 eth0     02:00:00:00:00:08   16.2M   8.83M      19
  grafana                    eth0     02:00:00:00:00:07   14.2M   7.73M      16
  nextcloud-aio-masterconta~ eth0     02:00:00:00:00:06   12.1M   6.62M      14
  jellyfin                   eth0     02:00:00:00:00:05   10.1M   5.52M      11
  zigbee2mqtt                eth0     02:00:00:00:00:04   8.10M   4.42M      10
  mosquitto                  eth0     02:00:00:00:00:03   6.07M   3.31M       7
  home-assistant             eth0     02:00:00:00:00:02   4.05M   2.21M       5
  pihole                     eth0     02:00:00:00:00:01   2.02M   1.10M       2
[6 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause
"#,
    );
    check(
        &twelve().lines(120, 40),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 12 children
  rx 158M tx 86.1M b/s, drops 181/s, 426 in all, for nobody 0/s
                                                           ───────────────────── all paths ───────── drops
  CHILD                         IFACE    MAC                RX p/s RX b/s▼  TX p/s  TX b/s  DROP/s   DROPS HISTORY
  adguard                       eth0     02:00:00:00:00:0c   3.04k   24.3M   1.66k   13.2M      28      66        ▃▅ ▆█
  plex                          eth0     02:00:00:00:00:0b   2.78k   22.3M   1.52k   12.1M      25      60        ▃▅ ▆█
  frigate                       eth0     02:00:00:00:00:0a   2.53k   20.2M   1.38k   11.0M      23      55        ▃▅ ▅▇
  unifi-network-application     eth0     02:00:00:00:00:09   2.28k   18.2M   1.24k   9.94M      21      49        ▃▄ ▅▆
  prometheus                    eth0     02:00:00:00:00:08   2.02k   16.2M   1.10k   8.83M      19      44        ▂▄ ▄▆
  grafana                       eth0     02:00:00:00:00:07   1.77k   14.2M     966   7.73M      16      38        ▂▃ ▄▅
  nextcloud-aio-mastercontainer eth0     02:00:00:00:00:06   1.52k   12.1M     828   6.62M      14      33        ▂▃ ▃▄
  jellyfin                      eth0     02:00:00:00:00:05   1.26k   10.1M     690   5.52M      11      27        ▂▃ ▃▄
  zigbee2mqtt                   eth0     02:00:00:00:00:04   1.01k   8.10M     552   4.42M      10      22        ▁▂ ▂▃
  mosquitto                     eth0     02:00:00:00:00:03     759   6.07M     414   3.31M       7      16        ▁▂ ▂▂
  home-assistant                eth0     02:00:00:00:00:02     506   4.05M     276   2.21M       5      11        ▁▁ ▁▂
  pihole                        eth0     02:00:00:00:00:01     253   2.02M     138   1.10M       2       5        ▁▁ ▁▁
[22 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause  +- interval
"#,
    );
    check(
        &twelve().lines(200, 50),
        r#"
macvlan-ctl top  all paths  by RX b/s▼  every 1s
eth0: bpf, demux tc, hairpin tcx, 1 degraded, 12 children
  rx 158M tx 86.1M b/s, drops 181/s, 426 in all, for nobody 0/s
                                                                                 ───────────────────── all paths ────────── wire ────────── host ─────── sibling ───────── drops
  CHILD                         IFACE    MAC               NETNS        MODE      RX p/s RX b/s▼  TX p/s  TX b/s  RX b/s  TX b/s  RX b/s  TX b/s  RX b/s  TX b/s  DROP/s   DROPS HISTORY
  adguard                       eth0     02:00:00:00:00:0c adguard-ns   bridge     3.04k   24.3M   1.66k   13.2M   22.1M   11.0M   2.21M   2.21M       0       0      28      66                  ▃▅ ▆█
  plex                          eth0     02:00:00:00:00:0b plex-ns      bridge     2.78k   22.3M   1.52k   12.1M   20.2M   10.1M   2.02M   2.02M       0       0      25      60                  ▃▅ ▆█
  frigate                       eth0     02:00:00:00:00:0a frigate-ns   bridge     2.53k   20.2M   1.38k   11.0M   18.4M   9.20M   1.84M   1.84M       0       0      23      55                  ▃▅ ▅▇
  unifi-network-application     eth0     02:00:00:00:00:09 unifi-netwo~ bridge     2.28k   18.2M   1.24k   9.94M   16.6M   8.28M   1.66M   1.66M       0       0      21      49                  ▃▄ ▅▆
  prometheus                    eth0     02:00:00:00:00:08 prometheus-~ bridge     2.02k   16.2M   1.10k   8.83M   14.7M   7.36M   1.47M   1.47M       0       0      19      44                  ▂▄ ▄▆
  grafana                       eth0     02:00:00:00:00:07 grafana-ns   bridge     1.77k   14.2M     966   7.73M   12.9M   6.44M   1.29M   1.29M       0       0      16      38                  ▂▃ ▄▅
  nextcloud-aio-mastercontainer eth0     02:00:00:00:00:06 nextcloud-a~ bridge     1.52k   12.1M     828   6.62M   11.0M   5.52M   1.10M   1.10M       0       0      14      33                  ▂▃ ▃▄
  jellyfin                      eth0     02:00:00:00:00:05 jellyfin-ns  bridge     1.26k   10.1M     690   5.52M   9.20M   4.60M    920k    920k       0       0      11      27                  ▂▃ ▃▄
  zigbee2mqtt                   eth0     02:00:00:00:00:04 zigbee2mqtt~ bridge     1.01k   8.10M     552   4.42M   7.36M   3.68M    736k    736k       0       0      10      22                  ▁▂ ▂▃
  mosquitto                     eth0     02:00:00:00:00:03 mosquitto-ns bridge       759   6.07M     414   3.31M   5.52M   2.76M    552k    552k       0       0       7      16                  ▁▂ ▂▂
  home-assistant                eth0     02:00:00:00:00:02 home-assist~ bridge       506   4.05M     276   2.21M   3.68M   1.84M    368k    368k       0       0       5      11                  ▁▁ ▁▂
  pihole                        eth0     02:00:00:00:00:01 pihole-ns    bridge       253   2.02M     138   1.10M   1.84M    920k    184k    184k       0       0       2       5                  ▁▁ ▁▁
[32 blank lines]
q quit  ? help  / filter  <> sort  r reverse  v view  Enter detail  Space pause  +- interval
"#,
    );
}

#[test]
fn guards_and_rates_are_with_the_child() {
    let mut show = twelve();
    show.press(KeyCode::Enter);
    check(
        &show.lines(80, 28),
        r#"
macvlan-ctl top  every 1s
adguard  eth0 on eth0  02:00:00:00:00:0c  netns adguard-ns  docker:adguard
macvlan bridge  up  host access on  mtu 1500  index 7  made by macvlan-ctl
addresses: 10.9.0.12/24, fd09::c/64
guards and rates: anti-spoof mac, rate-rx 50mbit, ra off
PATH        RX b/s  TX b/s  RX p/s  TX p/s  RX BYT  TX BYT  RX PKT  TX PKT
wire         22.1M   11.0M   2.76k   1.38k   6.60M   3.30M   6.60k   3.30k
host         2.21M   2.21M     276     276    660k    660k     660     660
sibling          0       0       0       0       0       0       0       0
all          24.3M   13.2M   3.04k   1.66k   7.26M   3.96M   7.26k   3.96k

REASON      DROP/s   DROPS   BYTES
isolated        28      66   66.0k
reflected        0       0       0
unknown          0       0       0
spoofed          0       0       0
storm            0       0       0
ra_guard         0       0       0
dhcp_guard       0       0       0
rate             0       0       0
stranger         0       0       0
foreign          0       0       0

received and sent, at most 37.5M b/s
                                                                              ▂█
                                                                           ▁▇ ██
                                                                           ██ ██
q quit  Esc back  j k next  Space pause  ? help
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
  CHILD          RX b/s▼  TX b/s  DROP/s
  web              1.32M    720k       1
  db                   0       0       0
  mail                 0       0       0

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
  CHILD           RX p/s RX b/s▼  TX p/s  TX b/s  RX PKT  RX BYT  TX PKT  TX BYT
  web                 15    120k      15    120k     345    345k     345    345k
  db                   0       0       0       0      35   35.0k      35   35.0k
  mail                 0       0       0       0       0       0       0       0
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
  CHILD          DROP/s▼   DROPS  DROP/s   DROPS  DROP/s   DROPS  DROP/s   DROPS
  web                  1      34       1      34       0       0       0       0
  db                   0       3       0       3       0       0       0       0
  mail                 0       0       0       0       0       0       0       0
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
        &show.lines(80, 26),
        r#"
macvlan-ctl top  every 1s
web  eth0 on eth0  02:00:00:00:00:01  netns web-ns  docker:web
macvlan bridge  up  host access on  mtu 1500  index 7  made by macvlan-ctl
addresses: 10.9.0.1/24, fd09::1/64
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
stranger         0       0       0
foreign          0       0       0

received and sent, at most 16.3M b/s
                                                                           █ █
                                                                           █▄██▂
q quit  Esc back  j k next  Space pause  ? help
"#,
    );
    check(
        &show.lines(40, 8),
        r#"
top  every 1s
web  eth0 on eth0  02:00:00:00:00:01
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
  CHILD          IFACE    MAC               RX b/s▼  TX b/s  DROP/s HISTORY
  web            eth0     02:00:00:00:00:01       -       -       -
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
  CHILD          IFACE    MAC               RX b/s▼  TX b/s  DROP/s HISTORY
  web            eth0     02:00:00:00:00:01   16.0M   8.00M       -           █
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
