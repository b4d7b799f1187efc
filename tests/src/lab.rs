//! A host with a macvlan master, a wire behind it, and children: each in a namespace of its own.

use std::{
    cell::{Cell, RefCell},
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use macvlan_bench::lab::cables::{self, CableEnd, cable, create, move_to, on};
use macvlan_common::{
    cases::{HOST, OUTSIDE},
    child::Mode,
    mac::Mac,
};
use macvlan_core::kernel::{
    ethtool::Ethtool,
    netlink::{Netlink, kind::Kind},
};

use crate::{cli, fail::OrFail as _, mounts::Mounts, netns::Netns, station::Ipv6};

pub use crate::station::{FAMILIES, Family, Station};

/// What stands behind the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// The station `wire`, at the other end of the cable.
    None,
    /// A bridge that sends frames back out of the port they came in by, as a switch for VEPA does;
    /// the station `wire` is the bridge itself.
    Reflective,
}

/// A lab in the making; see [`Lab::with`].
#[derive(Debug)]
pub struct Builder {
    switch: Switch,
    ipv6: Ipv6,
    mtu: u32,
    master: String,
    kind: Kind,
}

impl Builder {
    /// With a reflective switch as the wire.
    pub fn reflective_switch(self) -> Self {
        Self { switch: Switch::Reflective, ..self }
    }

    /// With IPv6 addresses, but no frames the test did not ask for except MLD reports.
    pub fn ipv6(self) -> Self {
        Self { ipv6: Ipv6::Quiet, ..self }
    }

    /// With IPv6 as the kernel does it: link-local addresses and duplicate address detection.
    pub fn full_ipv6(self) -> Self {
        Self { ipv6: Ipv6::Full, ..self }
    }

    /// With this MTU on every device.
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }

    /// With this name for the master.
    pub fn master(self, name: &str) -> Self {
        Self { master: name.into(), ..self }
    }

    /// With ports for children.
    pub fn ports(self) -> Self {
        Self { kind: Kind::Port, ..self }
    }

    /// The lab; the mounts its own.
    #[track_caller]
    pub fn build(self) -> Lab {
        self.build_in(Mounts::new())
    }

    /// The lab, in these mounts.
    #[track_caller]
    pub fn build_in(self, mounts: impl Into<std::sync::Arc<Mounts>>) -> Lab {
        let (wire, port) = match self.switch {
            Switch::None => ("wire0", "wire0"),
            Switch::Reflective => ("br0", "port0"),
        };
        self.connected(mounts, (wire, port), Lab::plug_in).0
    }

    /// The lab in these mounts, with the wire's device and its port of these names. `connect` makes them and the master,
    /// which need not be up yet; what it gives comes with the lab.
    #[track_caller]
    pub fn connected<T>(
        self,
        mounts: impl Into<std::sync::Arc<Mounts>>,
        (wire, port): (&str, &str),
        connect: impl FnOnce(&Lab) -> T,
    ) -> (Lab, T) {
        let lab = Lab {
            wire: self.station(1, OUTSIDE, wire),
            host: self.station(2, HOST, &self.master),
            port: port.to_owned(),
            mounts: mounts.into(),
            builder: self,
            children: RefCell::default(),
            newcomers: Cell::default(),
        };
        let connection = connect(&lab);
        for station in [&lab.wire, &lab.host] {
            station.come_up(lab.builder.ipv6);
        }
        for station in [&lab.wire, &lab.host] {
            station.wait_until_up();
        }
        if lab.builder.kind == Kind::Port {
            lab.leave_tags();
        }
        (lab, connection)
    }

    /// A namespace and the addresses for a device that is yet to come.
    fn station(&self, number: u8, mac: Mac, dev: &str) -> Station {
        let ns = Netns::new();
        for (name, value) in self.ipv6.settings() {
            ns.sysctl(name, value);
        }
        let ip = Ipv4Addr::new(10, 9, 0, number);
        let ip6 = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number.into());
        Station { ns, dev: dev.into(), mac, ip, ip6 }
    }
}

/// The switch's own end of the cable.
const PORT: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xed]);

/// What a lab remembers of a child it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildRecord {
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its mode.
    pub mode: Mode,
}

/// Wire, host, children.
#[derive(Debug)]
pub struct Lab {
    /// Whoever is behind the master.
    pub wire: Station,
    /// The stack that owns the master.
    pub host: Station,
    /// The other end of the master's cable, in the wire's namespace: its device, or a bridge port.
    pub port: String,
    mounts: std::sync::Arc<Mounts>,
    builder: Builder,
    children: RefCell<Vec<ChildRecord>>,
    newcomers: Cell<u8>,
}

impl Lab {
    /// A quiet one without IPv6, the wire a plain cable.
    #[track_caller]
    pub fn new() -> Self {
        Self::with().build()
    }

    /// One with something else.
    pub fn with() -> Builder {
        Builder {
            switch: Switch::None,
            ipv6: Ipv6::Off,
            mtu: 1500,
            master: "eth0".into(),
            kind: Kind::Macvlan,
        }
    }

    /// Native XDP on the master sees the tags of VLANs that are in frames: it sends frames to ports itself then.
    #[track_caller]
    pub fn leave_tags(&self) {
        let Station { ns, dev, .. } = &self.host;
        on(ns, async || Ethtool::open(dev.parse()?)?.leave_tags())
            .or_fail("leave the tags of VLANs in frames");
    }

    /// A cable between wire and host.
    #[track_caller]
    fn plug_in(&self) {
        let Self { wire, host, port, builder, .. } = self;
        let far_mac = if builder.switch == Switch::None { wire.mac } else { PORT };
        let near = CableEnd::new(&host.ns, &host.dev).mac(host.mac).mtu(builder.mtu);
        let far = CableEnd::new(&wire.ns, port).mac(far_mac).mtu(builder.mtu);
        on(&host.ns, async || cable(&Netlink::open()?, near, far).await).or_fail("connect host and wire");
        if builder.switch == Switch::Reflective {
            wire.ns.ip_batch([
                format!("link add br0 address {} mtu {} type bridge mcast_snooping 0", wire.mac, builder.mtu),
                format!("link set {port} master br0 up"),
                format!("link set {port} type bridge_slave hairpin on"),
            ]);
        }
    }

    /// A child of the master in a namespace of its own: a macvlan, unless the lab was made with others.
    #[track_caller]
    pub fn child(&self, name: &str, mode: Mode) -> Station {
        self.child_of_kind(self.builder.kind, name, mode)
    }

    /// A macvtap child of the master in a namespace of its own.
    #[track_caller]
    pub fn macvtap(&self, name: &str, mode: Mode) -> Station {
        self.child_of_kind(Kind::Macvtap, name, mode)
    }

    /// Another station on this lab's network, with a MAC and addresses but no device yet.
    pub fn newcomer(&self, name: &str) -> Station {
        let number = 1 + self.newcomers.get();
        self.newcomers.set(number);
        let mac = Mac::new([0x02, 0, 0, 0, 1, number]);
        self.builder.station(10 + number, mac, name)
    }

    #[track_caller]
    fn child_of_kind(&self, kind: Kind, name: &str, mode: Mode) -> Station {
        let mut child = self.newcomer(name);
        if mode == Mode::Passthru {
            child.mac = self.host.mac;
        }
        match kind {
            Kind::Port => self.make_port(&child, mode),
            Kind::Macvlan | Kind::Macvtap => self.make_macvlan(kind, &child, mode),
        }
        child.come_up(self.builder.ipv6);
        child.wait_until_up();
        self.children.borrow_mut().push(ChildRecord { name: name.into(), mac: child.mac, mode });
        child
    }

    /// Made here and moved, as container engines do it: the kernel numbers the namespace then.
    #[track_caller]
    fn make_macvlan(&self, kind: Kind, child: &Station, mode: Mode) {
        let name = child.dev.as_str();
        let host = &self.host.ns;
        let master = host.ifindex(&self.host.dev);
        on(host, async || {
            let netlink = Netlink::open()?;
            create(&netlink, cables::child(kind, name, master, mode, Some(child.mac))).await?;
            move_to(&netlink, name, &child.ns).await
        })
        .or_fail(format!("make {name}"));
    }

    /// Made by the program under test. The data path that it needs for that goes again; the port stays.
    #[track_caller]
    fn make_port(&self, child: &Station, mode: Mode) {
        let master = self.host.dev.as_str();
        self.host.ns.ip(&format!("link set {master} up"));
        let Station { ns, dev, mac, .. } = child;
        let port = format!("{dev},kind=port,mode={},netns={},mac={mac}", mode.as_str(), ns.path().display());
        self.ctl(&["attach", master, "--child", &port]).succeeded();
        self.ctl(&["detach", master]).succeeded();
    }

    /// The children made so far.
    pub fn children(&self) -> Vec<ChildRecord> {
        self.children.borrow().clone()
    }

    /// Gives all of these permanent neighbours of each other.
    #[track_caller]
    pub fn introduce(&self, stations: &[&Station]) {
        for station in stations {
            for other in stations.iter().filter(|other| other.mac != station.mac) {
                station.knows(other);
                if self.builder.ipv6 != Ipv6::Off {
                    station.knows6(other);
                }
            }
        }
    }

    /// The lab's mounts.
    pub fn mounts(&self) -> &std::sync::Arc<Mounts> {
        &self.mounts
    }

    /// A command in one of the lab's namespaces and in its mounts.
    pub fn command(&self, ns: &Netns, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = ns.command(program);
        self.mounts.put_inside(&mut command);
        command
    }

    /// Runs the program under test with `-n` and the host's namespace, then these arguments.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> cli::Ran {
        cli::output(&mut self.ctl_command(args))
    }

    /// The program under test, ready to run with `-n` and the host's namespace.
    pub fn ctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cli::binary());
        self.mounts.put_inside(&mut command);
        command.arg("-n").arg(self.host.ns.path()).args(args);
        command
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}
