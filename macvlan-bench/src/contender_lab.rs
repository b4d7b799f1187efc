//! A contender's own host, wire and two children: namespaces, devices, addresses.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use macvlan_common::mac::Mac;
use macvlan_core::{
    commands::{attach::attach, detach::detach},
    discovery::access::Access,
    kernel::{netlink::Netlink, netns::Netns},
    model::{
        options::{MissingChoice, Options},
        request::AttachRequest,
    },
};

use crate::{
    contender::{Contender, Wiring},
    frame::Party,
    generator::take_generated,
    lab::cables::on,
    path::Path,
    program::{ProgramType, XDP_DROP, attach_xdp, returning},
    traffic::{self, End},
    wiring,
};

/// The device that each of them talks through, in its own namespace: the host's is the master.
pub const DEVICE: &str = "eth0";

/// Everybody's network.
pub const PREFIX: u8 = 24;

/// How long the first frame of a path may take: devices come up in their own time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody on the network.
#[derive(Debug)]
pub struct Station {
    /// Where it lives.
    pub netns: Netns,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Station {
    pub(crate) fn new(last: u8) -> Result<Self> {
        let station = Self { netns: Netns::create()?, address: Ipv4Addr::new(10, 97, 0, last) };
        // No frames that nobody asked for: no router solicitations, no duplicate address detection.
        for which in ["all", "default"] {
            station.set(&format!("ipv6/conf/{which}/disable_ipv6"), "1")?;
        }
        Ok(station)
    }

    /// Sets `/proc/sys/net/NAME` of its namespace; that there is no such setting is no error.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<bool> {
        let path = format!("/proc/sys/net/{name}");
        self.netns.run(|| match fs::write(&path, value) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot write {path:?}")),
        })
    }

    /// As the traffic workloads take it.
    pub fn end(&self) -> End<'_> {
        End { netns: &self.netns, address: self.address }
    }

    /// As frames name it.
    ///
    /// # Errors
    ///
    /// When its device is gone.
    pub fn party(&self) -> Result<Party> {
        Ok(Party { mac: mac_of(&self.netns, DEVICE)?, address: self.address })
    }
}

/// The MAC of a device.
///
/// # Errors
///
/// When there is no such device.
pub fn mac_of(netns: &Netns, device: &str) -> Result<Mac> {
    let link = on(netns, async || Netlink::open()?.link_by_name(device).await)?;
    link.and_then(|link| link.mac).ok_or_else(|| anyhow!("{device:?} has no MAC"))
}

/// The index of a device.
///
/// # Errors
///
/// When there is no such device.
pub fn index_of(netns: &Netns, device: &str) -> Result<u32> {
    let link = on(netns, async || Netlink::open()?.link_by_name(device).await)?;
    link.map(|link| link.index).ok_or_else(|| anyhow!("no device {device:?}"))
}

/// Host, wire, two children, connected as a contender does.
#[derive(Debug)]
pub struct Lab {
    /// Whose it is.
    pub contender: &'static Contender,
    /// Who owns the master.
    pub host: Station,
    /// Who is beyond the master.
    pub wire: Station,
    /// The children.
    pub children: [Station; 2],
    _drops_all: Option<OwnedFd>,
    attached: bool,
}

impl Lab {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// What this kernel has not got, or refuses.
    pub fn build(contender: &'static Contender) -> Result<Self> {
        let host = Station::new(if contender.wiring == Wiring::Shim { 3 } else { 1 })?;
        let children = [Station::new(11)?, Station::new(12)?];
        let wire = Station::new(2)?;
        let mut lab = Self { contender, host, wire, children, _drops_all: None, attached: false };
        wiring::connect(&lab)?;
        if contender.wiring == Wiring::DropAll {
            lab._drops_all = Some(lab.drop_all()?);
        }
        lab.attach()?;
        Ok(lab)
    }

    /// Puts our data path on the master, where the contender is ours.
    fn attach(&mut self) -> Result<()> {
        let Some(options) = self.contender.datapath else { return Ok(()) };
        attach_to(&self.host, options())?;
        self.attached = true;
        Ok(())
    }

    fn drop_all(&self) -> Result<OwnedFd> {
        let program = returning(ProgramType::Xdp, XDP_DROP).context("cannot load an XDP program")?;
        let index = index_of(&self.host.netns, DEVICE)?;
        self.host.netns.run(|| attach_xdp(program.as_fd(), index).context("the master has no native XDP"))
    }

    /// Who is at the ends of a path.
    pub fn ends(&self, path: Path) -> (&Station, &Station) {
        let [one, other] = &self.children;
        match path {
            Path::HostChild => (&self.host, one),
            Path::ChildHost => (one, &self.host),
            Path::ChildChild => (other, one),
            Path::WireChild => (&self.wire, one),
            Path::ChildWire => (one, &self.wire),
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
            match traffic::answers(from.end(), to.end()) {
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
    /// When the kernel refuses.
    pub fn take_generated(&self) -> Result<()> {
        let first = match self.contender.wiring {
            Wiring::Direct => &self.children[0],
            _ => &self.host,
        };
        first.netns.run(|| take_generated(DEVICE))
    }

    /// Whom frames from the wire to the first child must name.
    ///
    /// # Errors
    ///
    /// When a device is gone.
    pub fn target(&self) -> Result<Party> {
        let child = &self.children[0];
        // A router, and the master that ipvlan children share the address of, take them first.
        let via = match self.contender.wiring {
            Wiring::Routed => &self.host.netns,
            _ => &child.netns,
        };
        Ok(Party { mac: mac_of(via, DEVICE)?, address: child.address })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.attached {
            // Pins would outlive the namespaces. A failure to remove them is made good when the mount
            // namespace of the bench ends.
            let _ = on(&self.host.netns, async || detach(DEVICE, false, Access::Change).await);
        }
    }
}

/// Attaches our data path to the master in a host's namespace.
///
/// # Errors
///
/// When it cannot be all that was asked for: something less would be measured under its name.
pub fn attach_to(host: &Station, options: Options) -> Result<()> {
    let required = Options { on_missing_bpf: Some(MissingChoice::Fail), ..Options::default() };
    let request = AttachRequest { options: required.or(options), ..AttachRequest::default() };
    let outcome = on(&host.netns, async || attach(DEVICE, &request).await)?;
    match outcome.warnings.first() {
        Some(warning) => bail!("{warning}"),
        None => Ok(()),
    }
}
