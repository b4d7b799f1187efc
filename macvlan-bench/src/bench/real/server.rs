//! The node that serves: one client at a time, as long as it takes.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::kernel::ifname::IfName;

use crate::{
    bench::real::{
        protocol::{Answer, Lines, Order},
        sockets::{Device, address_of},
    },
    lab::traffic::{
        PATIENCE, be_patient,
        connect::answer_each,
        joined,
        stream::{drain, fill, rate},
        turns::answer,
        udp,
    },
};

/// Serves on the address of a device until the process ends, and tells `log` of clients.
///
/// # Errors
///
/// When the device has no address, or somebody else has the port.
pub fn serve(device: IfName, port: u16, log: &mut dyn Write) -> Result<()> {
    let address = address_of(&device)?;
    let device = Device::new(device);
    let listener = device.listen_on((address, port).into())?;
    writeln!(log, "serving on {address} port {port} of {:?}", device.name())?;
    loop {
        let (stream, client) = listener.accept().context("cannot accept a client")?;
        // Of a client that misbehaves no more than its own connection is lost; nor does it matter
        // whether anybody reads the log.
        let _ = match attend(&device, stream, client) {
            Ok(()) => writeln!(log, "{client}: done"),
            Err(error) => writeln!(log, "{client}: {error:#}"),
        };
    }
}

fn attend(device: &Device, stream: TcpStream, client: SocketAddr) -> Result<()> {
    be_patient(&stream)?;
    stream.set_nodelay(true).context("cannot send at once")?;
    let own = stream.local_addr().context("cannot tell the own address")?.ip();
    let mut lines = Lines::new(stream);
    // A client between two requests makes preparations; it has time for them, but not forever.
    lines.stream().set_read_timeout(Some(6 * PATIENCE)).context("cannot limit reading")?;
    let server = Server { device, own, client: client.ip() };
    while let Some(request) = lines.hear::<Order>()? {
        let done = request.check().and_then(|()| server.serve(request, &mut lines));
        let answer = match done {
            Ok(rate) => Answer::Done(rate),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        lines.say(&answer)?;
    }
    Ok(())
}

/// What one client is served with.
struct Server<'a> {
    device: &'a Device,
    own: IpAddr,
    client: IpAddr,
}

impl Server<'_> {
    fn serve(&self, request: Order, lines: &mut Lines) -> Result<f64> {
        if let Order::Datagrams { packet, millis, back } = request {
            let socket = self.device.datagrams(self.own)?;
            lines.say(&Answer::Ready(socket.local_addr()?.port()))?;
            return if back { self.send(&socket, packet, millis) } else { count(&socket, lines) };
        }
        let listener = self.device.listen(self.own)?;
        lines.say(&Answer::Ready(listener.local_addr()?.port()))?;
        match request {
            Order::Stream { flows, millis, back } => self.stream(&listener, flows, millis, back),
            Order::Turns => answer(self.accept(&listener)?).map(|()| 0.0),
            Order::Connections => answer_each(&listener).map(|()| 0.0),
            Order::Datagrams { .. } | Order::Over => bail!("nothing was begun"),
        }
    }

    /// A connection of this client: nobody else gets anything.
    fn accept(&self, listener: &TcpListener) -> Result<TcpStream> {
        let (stream, peer) = listener.accept().context("the client does not connect")?;
        if peer.ip() != self.client {
            bail!("somebody else connected: {peer}");
        }
        be_patient(&stream)?;
        Ok(stream)
    }

    fn stream(&self, listener: &TcpListener, flows: usize, millis: u32, back: bool) -> Result<f64> {
        let streams: Vec<TcpStream> = (0..flows).map(|_| self.accept(listener)).collect::<Result<_>>()?;
        let time = Duration::from_millis(millis.into());
        thread::scope(|scope| {
            if back {
                let fillers: Vec<_> =
                    streams.into_iter().map(|stream| scope.spawn(move || fill(stream, time))).collect();
                return fillers.into_iter().try_for_each(joined).map(|()| 0.0);
            }
            let drains: Vec<_> = streams.into_iter().map(|stream| scope.spawn(|| drain(stream))).collect();
            let arrived = drains.into_iter().map(joined).collect::<Result<Vec<_>>>()?;
            Ok(rate(&arrived))
        })
    }

    /// Sends to the port of the client that speaks first: never to anybody who did not ask.
    fn send(&self, socket: &UdpSocket, packet: usize, millis: u32) -> Result<f64> {
        socket.set_read_timeout(Some(PATIENCE)).context("cannot limit reading")?;
        let (_, peer) = socket.recv_from(&mut [0; 1]).context("the client says nothing")?;
        if peer.ip() != self.client {
            bail!("somebody else spoke: {peer}");
        }
        socket.connect(peer).context("cannot send datagrams")?;
        let time = Duration::from_millis(millis.into());
        let (sent, _) = udp::send(socket, packet.saturating_sub(udp::HEADERS), time)?;
        Ok(sent as f64)
    }
}

/// Datagrams that arrive until the client says that it is over.
fn count(socket: &UdpSocket, lines: &mut Lines) -> Result<f64> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting = scope.spawn(|| udp::count(socket, &over));
        let said = lines.hear::<Order>();
        over.store(true, Ordering::Relaxed);
        let arrived = joined(counting)?;
        match said? {
            Some(Order::Over) => Ok(arrived as f64),
            _ => bail!("the client broke off"),
        }
    })
}
