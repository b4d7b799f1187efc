//! The node that measures: every workload to the server and, where that differs, back.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Error, Result, anyhow, bail};
use macvlan_core::{kernel::ifname::IfName, model::printable::Printable};

use crate::{
    bench::{
        Effort, Progress,
        contender::Described,
        machine::Machine,
        quantity::{self, Quantity},
        real::{
            protocol::{Answer, Lines, Order, millis},
            sockets::{Device, address_of},
        },
        report::{Report, figures},
        rounds::{Cell, interleave},
    },
    lab::{
        cpu::Cpus,
        traffic::{
            connect::connect_again,
            joined,
            stream::{drain, fill, rate},
            turns::ask,
            udp,
        },
    },
};

/// There and back, as the report names them.
const THERE: &str = "sent";

const BACK: &str = "received";

/// What is measured, with what the server is asked for on the way there and back.
struct Workload {
    quantities: &'static [Quantity],
    request: fn(&Effort, bool) -> Order,
    both_ways: bool,
}

const WORKLOADS: [Workload; 7] = [
    Workload {
        quantities: &quantity::TCP_1,
        request: |effort, back| stream(effort, 1, back),
        both_ways: false,
    },
    Workload {
        quantities: &quantity::TCP_8,
        request: |effort, back| stream(effort, 8, back),
        both_ways: false,
    },
    Workload { quantities: &quantity::TCP_RR, request: |_, _| Order::Turns, both_ways: true },
    Workload { quantities: &quantity::TCP_CRR, request: |_, _| Order::Connections, both_ways: true },
    Workload {
        quantities: &quantity::UDP_64,
        request: |effort, back| packets(effort, 64, back),
        both_ways: false,
    },
    Workload {
        quantities: &quantity::UDP_512,
        request: |effort, back| packets(effort, 512, back),
        both_ways: false,
    },
    Workload {
        quantities: &quantity::UDP_1500,
        request: |effort, back| packets(effort, 1500, back),
        both_ways: false,
    },
];

fn stream(effort: &Effort, flows: usize, back: bool) -> Order {
    Order::Stream { flows, millis: millis(effort.time), back }
}

fn packets(effort: &Effort, packet: usize, back: bool) -> Order {
    Order::Datagrams { packet, millis: millis(effort.time), back }
}

/// Measures between a device of this node and a server.
///
/// # Errors
///
/// When there is no such device, or nobody serves there.
pub fn measure(
    device: IfName,
    server: SocketAddr,
    effort: &Effort,
    command: String,
    progress: &dyn Progress,
) -> Result<Report> {
    let start = Instant::now();
    let cpus = Cpus::allowed()?;
    let machine = Machine::look(&cpus, device.as_str())?;
    let own = address_of(&device)?;
    let client = Client { device: Device::new(device), own, server };
    // Whether anybody is there at all is told before anything is measured.
    drop(client.device.connect(server)?);
    let each = |workload: &Workload| if workload.both_ways { 1 } else { 2 };
    progress.expect(WORKLOADS.iter().map(each).sum::<usize>() * (effort.rounds.sockets + 1));
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for workload in &WORKLOADS {
        progress.begin(workload.quantities[0].title);
        let ways = if workload.both_ways { &[(THERE, false)][..] } else { &[(THERE, false), (BACK, true)] };
        let cells = ways.iter().map(|&(contender, back)| Cell {
            contender,
            children: None,
            measure: Box::new({
                let client = &client;
                move || client.run((workload.request)(effort, back), effort)
            }),
        });
        let columns = interleave(cells.collect(), effort.rounds.sockets, || progress.step());
        let (figures, failed) = figures(workload.quantities, None, &columns);
        all.extend(figures);
        failures.extend(failed);
    }
    let described = [(THERE, "this node to the other"), (BACK, "the other node to this")];
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        date: crate::bench::report::now(),
        command,
        quick: effort.quick,
        rounds: effort.rounds.sockets,
        took: start.elapsed().as_secs_f64(),
        machine,
        contenders: described
            .map(|(name, title)| Described { name, title, ours: false, limit: false, missing: None })
            .into(),
        figures: all,
        failures,
    })
}

struct Client {
    device: Device,
    own: IpAddr,
    server: SocketAddr,
}

impl Client {
    /// One measurement, over a connection of its own: what went wrong before does not matter then.
    fn run(&self, request: Order, effort: &Effort) -> Result<Vec<f64>> {
        let mut lines = Lines::new(self.device.connect(self.server)?);
        lines.stream().set_nodelay(true)?;
        lines.say(&request)?;
        let port = match lines.hear()? {
            Some(Answer::Ready(port)) => port,
            Some(Answer::Failed(reason)) => return Err(failed(&reason)),
            _ => bail!("the other node says nothing of use"),
        };
        let there = SocketAddr::new(self.server.ip(), port);
        match request {
            Order::Stream { flows, back, .. } => {
                let connect = (0..flows).map(|_| self.device.connect(there));
                let streams = connect.collect::<Result<Vec<_>>>()?;
                let own = run_streams(streams, back, effort)?;
                let theirs = done(&mut lines)?;
                Ok(vec![8.0 * if back { own } else { theirs }])
            }
            Order::Turns => {
                let turns = ask(self.device.connect(there)?, effort.time)?;
                done(&mut lines)?;
                Ok(vec![turns.median, turns.p99, turns.p999])
            }
            Order::Connections => {
                let rate = connect_again(|| self.device.connect(there), effort.time)?;
                done(&mut lines)?;
                Ok(vec![rate])
            }
            Order::Datagrams { packet, back, .. } => {
                let socket = self.device.datagrams(self.own)?;
                socket.connect(there)?;
                if back {
                    socket.send(&[0])?;
                    let start = Instant::now();
                    let over = AtomicBool::new(false);
                    let (arrived, sent) = thread::scope(|scope| {
                        let counting = scope.spawn(|| udp::count(&socket, &over));
                        let sent = done(&mut lines);
                        over.store(true, Ordering::Relaxed);
                        Ok::<_, Error>((joined(counting)?, sent?))
                    })?;
                    // The server sends for as long as it was asked to.
                    let time = effort.time.min(start.elapsed());
                    let datagrams = udp::Datagrams { sent: sent as u64, arrived, time };
                    return Ok(vec![datagrams.rate(), datagrams.lost()]);
                }
                let (sent, time) = udp::send(&socket, packet.saturating_sub(udp::HEADERS), effort.time)?;
                lines.say(&Order::Over)?;
                let arrived = done(&mut lines)? as u64;
                let datagrams = udp::Datagrams { sent, arrived, time };
                Ok(vec![datagrams.rate(), datagrams.lost()])
            }
            Order::Over => bail!("nothing was begun"),
        }
    }
}

fn run_streams(streams: Vec<TcpStream>, back: bool, effort: &Effort) -> Result<f64> {
    thread::scope(|scope| {
        if back {
            let drains: Vec<_> = streams.into_iter().map(|stream| scope.spawn(|| drain(stream))).collect();
            return Ok(rate(&drains.into_iter().map(joined).collect::<Result<Vec<_>>>()?));
        }
        let time = effort.time;
        let fillers: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || fill(stream, time))).collect();
        fillers.into_iter().try_for_each(joined).map(|()| 0.0)
    })
}

/// What the server's side came to.
fn done(lines: &mut Lines) -> Result<f64> {
    match lines.hear()? {
        Some(Answer::Done(value)) => Ok(value),
        Some(Answer::Failed(reason)) => Err(failed(&reason)),
        _ => bail!("the other node broke off"),
    }
}

/// What the other node gives as its reason. It may be anybody's.
fn failed(reason: &str) -> Error {
    anyhow!("the other node: {}", Printable(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_node_cannot_write_on_the_screen() {
        assert_eq!(failed("a\x1b[2Jb").to_string(), "the other node: a\\u{1b}[2Jb");
    }
}
