//! Screens without a terminal, times without a clock.

mod choice;
mod columns;
mod golden;
mod life;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use macvlan_common::{
    counters::{DROP_REASONS, DropReason},
    mac::Mac,
};
use macvlan_core::{
    kernel::netlink::kind::Kind,
    model::{
        container::Container,
        description::{Carrier, Degraded, Demux, Hairpin, HostFlood},
        options::{DropUnknown, Isolation},
        stats::{BothWays, ChildStats, MasterStats, Pair},
        status::{ChildStatus, MasterStatus},
    },
    policy::status::PolicyStatus,
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Cell,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use crate::top::{
    draw::theme::Theme,
    feed::Sample,
    screen::{Reaction, Screen},
};

/// A child in the making: the name of its container, the last byte of its MAC, and frames counted on all paths.
#[derive(Clone, Copy)]
struct Who {
    name: &'static str,
    byte: u8,
    frames: u64,
}

fn who(name: &'static str, byte: u8, frames: u64) -> Who {
    Who { name, byte, frames }
}

fn mac(byte: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, byte])
}

/// So many frames of a thousand bytes.
fn pair(packets: u64) -> Pair {
    Pair { packets, bytes: packets * 1000 }
}

fn about(who: Who) -> ChildStatus {
    let container = Container {
        engine: "docker",
        id: format!("{:064x}", 0x9abc_def0 + u64::from(who.byte)),
        name: Some(who.name.into()),
    };
    ChildStatus {
        ifname: "eth0".into(),
        ifindex: 7,
        netns: Some(format!("/run/netns/{}-ns", who.name)),
        netnsid: Some(who.byte.into()),
        address: mac(who.byte),
        mode: "bridge",
        kind: Kind::Macvlan,
        mtu: 1500,
        up: true,
        local: true,
        elsewhere: false,
        host_owned: false,
        adopted: true,
        host_access: true,
        host_access_reason: None,
        unsettled: false,
        policy: PolicyStatus::default(),
        owned: true,
        container: Some(container),
        wire_addresses: Vec::new(),
        addresses: vec![
            format!("10.9.0.{}/24", who.byte).parse().unwrap(),
            format!("fd09::{:x}/64", who.byte).parse().unwrap(),
        ],
    }
}

/// On the wire half sent of what is received, with the host a tenth, with siblings nothing.
fn counted(who: Who) -> ChildStats {
    let both = |rx, tx| Some(BothWays { rx: pair(rx), tx: pair(tx) });
    ChildStats {
        ifname: "eth0".into(),
        netns: Some(format!("/run/netns/{}-ns", who.name)),
        netnsid: Some(who.byte.into()),
        address: mac(who.byte),
        stats64: None,
        wire: both(who.frames, who.frames / 2),
        host: both(who.frames / 10, who.frames / 10),
        sibling: both(0, 0),
        container: None,
        drops: Some(
            DROP_REASONS
                .map(|reason| {
                    let frames = if reason == DropReason::Isolated { who.frames / 100 } else { 0 };
                    (reason.as_str(), pair(frames))
                })
                .into(),
        ),
    }
}

fn master(name: &str, children: &[Who]) -> (MasterStatus, MasterStats) {
    let status = MasterStatus {
        ifname: name.into(),
        ifindex: 2,
        address: mac(0xff),
        netns: None,
        datapath: Carrier::Bpf,
        demux: Demux::Tc,
        hairpin: Hairpin::Tcx,
        ingress: true,
        directed_neigh: true,
        host_flood: HostFlood::Device,
        storm_limit: None,
        degraded: vec![Degraded::new("demux", "xdp-native", "tc", "veth copies")],
        drop_unknown: DropUnknown::Off,
        vepa_switch: false,
        isolation: Isolation::Off,
        single_mac: false,
        children: children.iter().map(|child| about(*child)).collect(),
    };
    let stats = MasterStats {
        ifname: name.into(),
        unknown_unicast: Some(pair(3)),
        flood: None,
        drops: Some(DROP_REASONS.map(|reason| (reason.as_str(), pair(0))).into()),
        copy_failed: Some(pair(0)),
        kernel_rx_dropped: None,
        children: children.iter().map(|child| counted(*child)).collect(),
    };
    (status, stats)
}

fn sample(at: Instant, masters: Vec<(MasterStatus, MasterStats)>) -> Sample {
    let (status, stats) = masters.into_iter().unzip();
    Sample { at, status: Arc::new(status), stats }
}

/// A screen, and the time that it is shown at.
struct Show {
    screen: Screen,
    now: Instant,
}

impl Show {
    fn new() -> Self {
        let theme = Theme { color: true, unicode: true };
        Self { screen: Screen::new(theme, Duration::from_secs(1)), now: Instant::now() }
    }

    /// Has read these children of `eth0`, a second after what was read before.
    fn reads(&mut self, children: &[Who]) {
        self.reads_masters(vec![master("eth0", children)]);
    }

    fn reads_masters(&mut self, masters: Vec<(MasterStatus, MasterStats)>) {
        self.now += Duration::from_secs(1);
        self.screen.take(Ok(sample(self.now, masters)), self.now);
    }

    fn fails(&mut self) {
        self.now += Duration::from_secs(1);
        self.screen.take(Err("cannot tell of \"eth0\": no such device".into()), self.now);
    }

    fn waits(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.screen.tick(self.now);
    }

    fn press(&mut self, code: KeyCode) -> Reaction {
        self.screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Presses the keys of these characters.
    fn types(&mut self, text: &str) {
        for c in text.chars() {
            self.press(KeyCode::Char(c));
        }
    }

    fn control(&mut self, c: char) -> Reaction {
        self.screen.press(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
    }

    fn terminal(&mut self, columns: u16, lines: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| self.screen.draw(frame)).unwrap();
        terminal
    }

    /// The lines of a screen of this size, without blanks at their ends.
    fn lines(&mut self, columns: u16, lines: u16) -> Vec<String> {
        let terminal = self.terminal(columns, lines);
        let cells = terminal.backend().buffer().content();
        let line = |cells: &[Cell]| {
            let text: String = cells.iter().map(Cell::symbol).collect();
            text.trim_end().to_owned()
        };
        cells.chunks(columns.into()).map(line).collect()
    }

    /// The names in the table, from the top.
    fn names(&mut self) -> Vec<String> {
        let known = self.screen.model.rows.values().map(|row| row.name.clone());
        let known: Vec<String> = known.collect();
        let lines = self.lines(80, 24);
        let name = |line: &String| {
            let row = ["  ", "+ ", "x "].iter().find_map(|mark| line.strip_prefix(mark))?;
            row.split_whitespace().next().map(str::to_owned)
        };
        lines.iter().filter_map(name).filter(|name| known.contains(name)).collect()
    }

    /// The name in the reversed row.
    fn selected(&mut self) -> Option<String> {
        let terminal = self.terminal(80, 24);
        let buffer = terminal.backend().buffer();
        let is_reversed = |y: u16| {
            let ends = [0, 79].map(|x| buffer[(x, y)].modifier.contains(ratatui::style::Modifier::REVERSED));
            ends == [true, true]
        };
        let row = (0..24).find(|y| is_reversed(*y))?;
        let text: String = (2..16).map(|x| buffer[(x, row)].symbol()).collect();
        Some(text.trim_end().to_owned())
    }
}

/// Two looks at three children.
fn busy() -> Show {
    let mut show = Show::new();
    show.reads(&[who("web", 1, 0), who("db", 2, 0), who("mail", 3, 0)]);
    show.reads(&[who("web", 1, 1200), who("db", 2, 50), who("mail", 3, 0)]);
    show
}
