//! A contender's own host, wire and two children, connected as it does that.

use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::{
    commands::{attach::attach, detach::detach},
    discovery::access::Access,
    kernel::{ethtool::Ethtool, netlink::kind::Kind, netns::NetnsRef, program::dropping_in_xdp},
    model::{
        options::{MissingChoice, Options, XdpChoice},
        request::AttachRequest,
        spec::{ChildSpec, Settings},
    },
};

use crate::{
    bench::{
        contender::{Contender, Wiring},
        path::Path,
        wiring::{self, DEVICE, Stations},
    },
    lab::{
        cables::{index_of, mac_of, on},
        frames::Party,
        generator::take_generated,
        namespaces::path_of,
        station::Station,
        traffic,
    },
};

/// How long the first frame of a path may take: devices come up in their own time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Host, wire, two children, connected as a contender does.
#[derive(Debug)]
pub struct ContenderLab {
    /// Whose it is.
    pub contender: &'static Contender,
    /// Who is connected.
    pub stations: Stations,
    _drops_all: Option<OwnedFd>,
    attached: bool,
}

impl ContenderLab {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// What this kernel has not got, or refuses.
    pub fn build(contender: &'static Contender) -> Result<Self> {
        let stations = wiring::connect(contender.wiring)?;
        let mut lab = Self { contender, stations, _drops_all: None, attached: false };
        if contender.wiring == Wiring::DropAll {
            lab._drops_all = Some(lab.drop_all()?);
        }
        lab.attach()?;
        Ok(lab)
    }

    /// Puts our data path on the master, where the contender is ours.
    fn attach(&mut self) -> Result<()> {
        let Some(options) = self.contender.datapath else { return Ok(()) };
        let Stations { host, wire, children } = &self.stations;
        match self.contender.wiring {
            Wiring::Port => attach_with_ports(host, wire, options(), children)?,
            _ => attach_to(host, options())?,
        }
        self.attached = true;
        Ok(())
    }

    fn drop_all(&self) -> Result<OwnedFd> {
        let host = &self.stations.host.netns;
        let index = index_of(host, DEVICE)?;
        host.run(|| dropping_in_xdp(index).context("the master has no native XDP"))
    }

    /// Who is at the ends of a path.
    pub fn ends(&self, path: Path) -> (&Station, &Station) {
        let Stations { host, wire, children: [one, other] } = &self.stations;
        match path {
            Path::HostChild => (host, one),
            Path::ChildHost => (one, host),
            Path::ChildChild => (other, one),
            Path::WireChild => (wire, one),
            Path::ChildWire => (one, wire),
        }
    }

    /// Waits until a path carries frames both ways.
    ///
    /// # Errors
    ///
    /// When it does not within seconds.
    pub fn wait_for(&self, path: Path) -> Result<()> {
        let (from, to) = self.ends(path);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match traffic::answers(from.endpoint(), to.endpoint()) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("{} carries nothing", path.title()));
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Makes the device that frames from the wire reach first take those of the generator.
    ///
    /// # Errors
    ///
    /// The device is gone, or has no generic receive offload to switch.
    pub fn take_generated(&self) -> Result<()> {
        let first = match self.contender.wiring {
            Wiring::Direct => &self.stations.children[0],
            _ => &self.stations.host,
        };
        first.netns.run(|| take_generated(DEVICE))
    }

    /// Whom frames from the wire to the first child must name.
    ///
    /// # Errors
    ///
    /// When a device is gone.
    pub fn target(&self) -> Result<Party> {
        let child = &self.stations.children[0];
        // A router, the master that ipvlan children share the address of, and one that has the only MAC on its wire
        // take them first.
        let options = self.contender.datapath.map(|options| options());
        let is_single = options.is_some_and(|options| options.single_mac.is_some());
        let via = match self.contender.wiring {
            Wiring::Routed => &self.stations.host.netns,
            _ if is_single => &self.stations.host.netns,
            _ => &child.netns,
        };
        Ok(Party { mac: mac_of(via, DEVICE)?, address: child.address })
    }
}

impl Drop for ContenderLab {
    fn drop(&mut self) {
        if self.attached {
            // Pins would outlive the namespaces. A failure to remove them is made good when the mount
            // namespace of the bench ends.
            let _ = on(&self.stations.host.netns, async || detach(DEVICE, false, Access::Change).await);
        }
    }
}

/// Attaches our data path to the master in a host's namespace.
///
/// # Errors
///
/// When it cannot be all that was asked for: something less would be measured under its name.
pub fn attach_to(host: &Station, options: Options) -> Result<()> {
    attach_with(host, options, Vec::new())
}

/// The same, with ports in the namespaces of these, which come up. Where native XDP sends frames to them, the wire's end of
/// the veth makes its checksums itself, and leaves the tags of VLANs in its frames.
///
/// # Errors
///
/// As above, or the kernel refuses a port.
pub fn attach_with_ports(host: &Station, wire: &Station, options: Options, ports: &[Station]) -> Result<()> {
    if options.xdp == Some(XdpChoice::Native) {
        host.netns.run(|| Ethtool::open(DEVICE.parse()?)?.leave_tags())?;
        wire.netns.run(|| Ethtool::open(DEVICE.parse()?)?.set_tx_checksum(false))?;
    }
    let children = ports.iter().map(port).collect::<Result<_>>()?;
    attach_with(host, options, children)?;
    ports.iter().try_for_each(Station::come_up)
}

fn attach_with(host: &Station, options: Options, children: Vec<ChildSpec>) -> Result<()> {
    let required = Options { on_missing_bpf: Some(MissingChoice::Fail), ..Options::default() };
    let request = AttachRequest { options: required.or(options), children, ..AttachRequest::default() };
    let attached = on(&host.netns, async || attach(DEVICE, &request).await)?;
    // The other end of a veth is not looked at by who attaches to this one.
    match attached.warnings.iter().find(|warning| !warning.contains("has no checksums")) {
        Some(warning) => bail!("{warning}"),
        None => Ok(()),
    }
}

/// A port in the namespace of a station.
fn port(station: &Station) -> Result<ChildSpec> {
    let netns = Some(NetnsRef::Path(path_of(&station.netns)));
    Ok(ChildSpec {
        name: DEVICE.parse()?,
        settings: Settings { kind: Some(Kind::Port), netns, ..Settings::default() },
    })
}
