//! Where such a program runs: a child, the host that has it, and the wire.

use anyhow::{Context as _, Result};
use macvlan_common::{child::Mode, mac::Mac};
use macvlan_core::{
    commands::detach::detach,
    discovery::access::Access,
    kernel::netlink::{Netlink, kind::Kind},
    model::options::{Options, XdpChoice},
};

use crate::{
    bench::{
        contender_lab::attach_with_ports,
        wiring::{self, DEVICE},
    },
    lab::{
        cables::{self, cable, index_of, mac_of, on},
        frames::{self, Party},
        generator::take_generated,
        station,
    },
};

/// A child of its own master, in a namespace of its own, and who is around it.
#[derive(Debug)]
pub struct Station {
    host: station::Station,
    child: station::Station,
    /// Who is beyond the master.
    pub wire: station::Station,
    attached: bool,
}

impl Station {
    /// Makes all of it: for a port with our data path and native XDP, else without us.
    ///
    /// # Errors
    ///
    /// This is not root, or the kernel lacks something.
    pub fn build(kind: Kind) -> Result<Self> {
        let [host, wire, child] = [1, 2, 11].map(wiring::station);
        let mut built = Self { host: host?, wire: wire?, child: child?, attached: false };
        let Self { host, wire, .. } = &built;
        on(&host.netns, async || cable(&Netlink::open()?, host.cable_end(), wire.cable_end()).await)?;
        host.come_up()?;
        wire.come_up()?;
        match kind {
            Kind::Port => built.attach()?,
            Kind::Macvlan | Kind::Macvtap => built.make_child(kind)?,
        }
        built.host.netns.run(|| take_generated(DEVICE))?;
        built.introduce()?;
        Ok(built)
    }

    fn make_child(&self, kind: Kind) -> Result<()> {
        on(&self.host.netns, async || {
            let netlink = Netlink::open()?;
            let master = netlink.link_by_name(DEVICE).await?.context("the master is gone")?.index;
            let inside = self.child.netns.visit(Netlink::open)?;
            let device = cables::child(kind, DEVICE, master, Mode::Bridge, None);
            netlink.create_inside(device, DEVICE, &self.child.netns, &inside).await.map(drop)
        })?;
        self.child.come_up()
    }

    fn attach(&mut self) -> Result<()> {
        let options = Options { xdp: Some(XdpChoice::Native), ..Options::default() };
        attach_with_ports(&self.host, &self.wire, options, std::slice::from_ref(&self.child))?;
        self.attached = true;
        Ok(())
    }

    /// The wire knows the child's MAC: nobody answers for it but the program.
    fn introduce(&self) -> Result<()> {
        let mac = self.mac()?;
        on(&self.wire.netns, async || {
            let netlink = Netlink::open()?;
            let index = netlink.link_by_name(DEVICE).await?.context("the wire's device is gone")?.index;
            netlink.set_neighbour(index, self.child.address.into(), mac).await
        })
    }

    fn mac(&self) -> Result<Mac> {
        mac_of(&self.child.netns, DEVICE)
    }

    /// Name of the child's device.
    pub const fn device(&self) -> &'static str {
        DEVICE
    }

    /// Index of the child's device.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn index(&self) -> Result<u32> {
        index_of(&self.child.netns, DEVICE)
    }

    /// Runs a task in the child's namespace.
    ///
    /// # Errors
    ///
    /// Those of the task, or the namespace cannot be entered.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.child.netns.run(task)
    }

    /// Takes the address off the child's device: its stack answers nobody.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub fn forget_address(&self) -> Result<()> {
        on(&self.child.netns, async || {
            let netlink = Netlink::open()?;
            netlink.remove_address_if_there(self.index()?, self.child.ip_net()).await
        })
    }

    /// A datagram to the wire.
    ///
    /// # Errors
    ///
    /// A device is gone.
    pub fn datagram(&self) -> Result<Vec<u8>> {
        frames::datagram(self.party()?, self.wire.party()?)
    }

    /// The child, as frames name it.
    ///
    /// # Errors
    ///
    /// Its device is gone.
    pub fn party(&self) -> Result<Party> {
        Ok(Party { mac: self.mac()?, address: self.child.address })
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if self.attached {
            // Pins would outlive the namespaces, until the mount namespace of the bench ends.
            let _ = on(&self.host.netns, async || detach(DEVICE, false, Access::Change).await);
        }
    }
}
