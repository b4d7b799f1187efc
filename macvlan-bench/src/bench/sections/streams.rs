//! What programs see: streams, turns, connections and datagrams over sockets.

use anyhow::Result;

use crate::{
    bench::{
        contender::Contender,
        contender_lab::ContenderLab,
        effort::Effort,
        path::{PATHS, Path},
        quantity::{self, Quantity},
        rounds::Cell,
        run::Run,
    },
    lab::{
        cpu::Cpus,
        traffic::{Endpoint, connect::connections, stream::stream, turns::turns, udp::datagrams},
    },
};

/// Bytes of a stream's payload are told in bits.
const OCTET: f64 = 8.0;

/// Something that two programs do.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// What is measured.
    pub quantities: &'static [Quantity],
    /// How.
    pub measure: fn(&Cpus, Endpoint<'_>, Endpoint<'_>, &Effort) -> Result<Vec<f64>>,
    /// It goes both ways by itself.
    pub both_ways: bool,
    /// Also in a quick run.
    pub quick: bool,
}

/// All of them.
pub const WORKLOADS: [Workload; 8] = [
    Workload {
        quantities: &quantity::TCP_1,
        measure: |cpus, near, far, effort| Ok(vec![OCTET * stream(cpus, near, far, 1, effort.time)?]),
        both_ways: false,
        quick: true,
    },
    Workload {
        quantities: &quantity::TCP_1_ONE_CPU,
        measure: |cpus, near, far, effort| {
            Ok(vec![OCTET * stream(&cpus.only_one(), near, far, 1, effort.time)?])
        },
        both_ways: false,
        quick: true,
    },
    Workload {
        quantities: &quantity::TCP_8,
        measure: |cpus, near, far, effort| Ok(vec![OCTET * stream(cpus, near, far, 8, effort.time)?]),
        both_ways: false,
        quick: false,
    },
    Workload {
        quantities: &quantity::TCP_RR,
        measure: |cpus, near, far, effort| {
            let turns = turns(cpus, near, far, effort.time)?;
            Ok(vec![turns.median, turns.p99, turns.p999])
        },
        both_ways: true,
        quick: true,
    },
    Workload {
        quantities: &quantity::TCP_CRR,
        measure: |cpus, near, far, effort| Ok(vec![connections(cpus, near, far, effort.time)?]),
        both_ways: true,
        quick: false,
    },
    udp(&quantity::UDP_64, |cpus, near, far, effort| packets(cpus, near, far, 64, effort), true),
    udp(&quantity::UDP_512, |cpus, near, far, effort| packets(cpus, near, far, 512, effort), false),
    udp(&quantity::UDP_1500, |cpus, near, far, effort| packets(cpus, near, far, 1500, effort), false),
];

const fn udp(
    quantities: &'static [Quantity],
    measure: fn(&Cpus, Endpoint<'_>, Endpoint<'_>, &Effort) -> Result<Vec<f64>>,
    quick: bool,
) -> Workload {
    Workload { quantities, measure, both_ways: false, quick }
}

fn packets(
    cpus: &Cpus,
    near: Endpoint<'_>,
    far: Endpoint<'_>,
    bytes: usize,
    effort: &Effort,
) -> Result<Vec<f64>> {
    let sent = datagrams(cpus, near, far, bytes, effort.time)?;
    Ok(vec![sent.rate(), sent.lost()])
}

/// Which of them go which way in this run.
fn planned(effort: &Effort) -> impl Iterator<Item = (&'static Workload, Path)> {
    let quick = effort.quick;
    let workloads = WORKLOADS.iter().filter(move |workload| workload.quick || !quick);
    let paths =
        PATHS.into_iter().filter(move |path| !quick || matches!(path, Path::HostChild | Path::WireChild));
    workloads.flat_map(move |workload| {
        let paths = paths.clone().filter(move |path| !(workload.both_ways && path.is_way_back()));
        paths.map(move |path| (workload, path))
    })
}

fn carries(contender: &Contender, path: Path) -> bool {
    !contender.flood_only && contender.carries(path)
}

fn carries_any(contender: &Contender) -> bool {
    PATHS.into_iter().any(|path| carries(contender, path))
}

/// How many measurements it takes.
pub fn steps(effort: &Effort) -> usize {
    let each = planned(effort)
        .map(|(_, path)| effort.contenders.iter().filter(|contender| carries(contender, path)).count());
    each.sum::<usize>() * (effort.rounds.sockets + 1)
}

/// Measures all of them.
pub fn run(run: &mut Run<'_>) {
    let labs = run.labs(carries_any);
    let (cpus, effort) = (run.cpus, run.effort);
    for (workload, path) in planned(effort) {
        let cells: Vec<Cell<'_>> = labs
            .iter()
            .filter(|lab| carries(lab.contender, path))
            .map(|lab| {
                let mut ready = false;
                Cell::new(lab.contender.name, move || {
                    if !ready {
                        lab.wait_for(path)?;
                        ready = true;
                    }
                    between(lab, path, |near, far| (workload.measure)(cpus, near, far, effort))
                })
            })
            .collect();
        run.measure(workload.quantities, Some(path), effort.rounds.sockets, cells);
    }
}

fn between<T>(
    lab: &ContenderLab,
    path: Path,
    measure: impl FnOnce(Endpoint<'_>, Endpoint<'_>) -> Result<T>,
) -> Result<T> {
    let (near, far) = lab.ends(path);
    measure(near.endpoint(), far.endpoint())
}
