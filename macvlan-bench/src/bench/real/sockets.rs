//! Sockets that use one device and no other.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use macvlan_core::kernel::{ifname::IfName, netlink::Netlink};
use nix::sys::{
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket,
        sockopt::{BindToDevice, SendTimeout},
    },
    time::{TimeVal, TimeValLike as _},
};
use tokio::runtime::Builder;

use crate::lab::traffic::{PATIENCE, be_patient, wait_patiently};

/// A device that sockets are tied to.
#[derive(Debug, Clone)]
pub struct Device(IfName);

impl Device {
    /// This one.
    pub fn new(name: IfName) -> Self {
        Self(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.as_str()
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When there is no such device, or nobody listens.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let made = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let socket = made.context("cannot make a socket")?;
        self.tie(&socket)?;
        // It limits connecting, too (`inet_stream_connect`).
        let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
        setsockopt(&socket, SendTimeout, &patience).context("cannot limit connecting")?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address))
            .with_context(|| format!("cannot connect to {address}: does \"bench --serve\" run there?"))?;
        let stream = TcpStream::from(socket);
        be_patient(&stream)?;
        Ok(stream)
    }

    /// Listens on any port.
    ///
    /// # Errors
    ///
    /// The port is taken, or the device is gone.
    pub fn listen(&self, address: IpAddr) -> Result<TcpListener> {
        let listener = self.listen_on((address, 0).into())?;
        wait_patiently(&listener)?;
        Ok(listener)
    }

    /// Listens on this port for as long as it takes.
    ///
    /// # Errors
    ///
    /// When somebody else does.
    pub fn listen_on(&self, address: SocketAddr) -> Result<TcpListener> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        self.tie(&listener)?;
        Ok(listener)
    }

    /// A UDP socket with any port.
    ///
    /// # Errors
    ///
    /// The port is taken, or the device is gone.
    pub fn datagrams(&self, address: IpAddr) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((address, 0)).context("cannot make a UDP socket")?;
        self.tie(&socket)?;
        Ok(socket)
    }

    fn tie(&self, socket: &impl std::os::fd::AsFd) -> Result<()> {
        let tied = setsockopt(socket, BindToDevice, &OsString::from(self.name()));
        tied.with_context(|| format!("cannot use {:?}", self.name()))
    }
}

/// The first address of a device, IPv4 before IPv6.
///
/// # Errors
///
/// When there is no such device, or it has no address.
pub fn address_of(device: &IfName) -> Result<IpAddr> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start an event loop")?;
    runtime.block_on(async {
        let netlink = Netlink::open()?;
        let link = netlink.link_by_name(device.as_str()).await?;
        let link = link.with_context(|| format!("cannot use {:?}: no such device", device.as_str()))?;
        let addresses = netlink.addresses(None).await?.remove(&link.index).unwrap_or_default();
        // A link-local address would need its device named on the other node, too.
        let usable = addresses.into_iter().map(|net| net.address).filter(|address| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        });
        let first = usable.min_by_key(IpAddr::is_ipv6);
        first.with_context(|| format!("cannot use {:?}: it has no address", device.as_str()))
    })
}
