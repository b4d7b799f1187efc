//! What changes with the number of children: an ARP storm's reach, and what a frame costs.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    bench::{
        contender::{Contender, Wiring},
        crowd::{self, Crowd, Joined},
        effort::Effort,
        path::Path,
        quantity,
        rounds::Cell,
        run::Run,
        wiring::DEVICE,
    },
    lab::{
        arrivals::{received, settled},
        cables::{index_of, mac_of},
        cpu::Cpus,
        frames::{self, Party},
        generator::{Generator, take_generated},
    },
};

/// ARP requests of a storm: more than wait in macvlan's queue (`bc_queue_len_req`, 1000).
const STORM: u32 = 5000;

/// How many hear it.
const STORM_SIZES: [u32; 3] = [10, 100, 1000];

/// How many children there are where a frame's cost is measured.
const COST_SIZES: [u32; 4] = [1, 100, 1000, 4000];

/// Children that are sent to in turn.
const TARGETS: u32 = 8;

/// Frames to each of them.
const FRAMES: u32 = 50_000;

/// Who is stormed: generic XDP does with broadcasts what TC does.
fn is_stormed(contender: &Contender) -> bool {
    matches!(contender.name, "tc" | "xdp-native" | "macvlan" | "bridge")
}

/// Whose frames are measured against the number of children.
fn is_scaled(contender: &Contender) -> bool {
    matches!(contender.name, "tc" | "xdp-native" | "macvlan")
}

/// How many measurements it takes.
pub fn steps(effort: &Effort) -> usize {
    if effort.quick {
        return 0;
    }
    let count = |wanted: fn(&Contender) -> bool| effort.contenders.iter().filter(|one| wanted(one)).count();
    (count(is_stormed) * STORM_SIZES.len() + count(is_scaled) * COST_SIZES.len()) * (effort.rounds.crowds + 1)
}

/// Measures both.
pub fn run(run: &mut Run<'_>) {
    if run.effort.quick {
        return;
    }
    let (cpus, rounds) = (run.cpus, run.effort.rounds.crowds);
    let crowds = crowds(run, &STORM_SIZES, is_stormed);
    let storm = cells(&crowds, |crowd, _| Ok(vec![storm(crowd, cpus)?]));
    run.measure(&quantity::ARP, Some(Path::WireChild), rounds, storm);
    drop(crowds);

    let crowds = self::crowds(run, &COST_SIZES, is_scaled);
    let cost = cells(&crowds, |crowd, children| Ok(vec![cost(crowd, children, cpus, FRAMES)?]));
    run.measure(&quantity::FRAME_COST, Some(Path::WireChild), rounds, cost);
}

/// A crowd of each size for each contender, with its data path.
type Crowds = Vec<(&'static str, u32, Result<Crowd>)>;

fn crowds(run: &Run<'_>, sizes: &[u32], wanted: fn(&Contender) -> bool) -> Crowds {
    run.progress.begin("making many children");
    let contenders = run.effort.contenders.iter().filter(|contender| wanted(contender));
    let wanted = contenders.flat_map(|contender| sizes.iter().map(move |size| (contender, *size)));
    wanted.map(|(contender, size)| (contender.name, size, build(contender, size))).collect()
}

fn build(contender: &Contender, size: u32) -> Result<Crowd> {
    let joined = match contender.wiring {
        Wiring::Bridge { .. } => Joined::Bridge,
        _ => Joined::Macvlan,
    };
    let mut crowd = Crowd::build(joined, size)?;
    crowd.host.netns.run(|| take_generated(DEVICE))?;
    if let Some(options) = contender.datapath {
        crowd.attach(options())?;
    }
    Ok(crowd)
}

fn cells<'a>(
    crowds: &'a Crowds,
    measure: impl Fn(&Crowd, u32) -> Result<Vec<f64>> + Copy + 'a,
) -> Vec<Cell<'a>> {
    let cells = crowds.iter().map(|(contender, children, crowd)| Cell {
        contender,
        children: Some(*children),
        measure: Box::new(move || match crowd {
            Ok(crowd) => measure(crowd, *children),
            Err(error) => bail!("{error:#}"),
        }),
    });
    cells.collect()
}

/// The share of the requests for its address that reaches the owner.
fn storm(crowd: &Crowd, cpus: &Cpus) -> Result<f64> {
    let wire = Party { mac: mac_of(&crowd.wire.netns, DEVICE)?, address: crowd.wire.address };
    let request = frames::arp_request(wire, crowd.owner.address);
    let count = || received(&crowd.owner.netns, DEVICE);
    let before = settled(count)?;
    send(crowd, cpus, &[&request], STORM)?;
    let reached = settled(count)?.saturating_sub(before);
    Ok(reached as f64 / f64::from(STORM))
}

/// What a frame to one of the children costs, the mean over some of them, in seconds.
fn cost(crowd: &Crowd, children: u32, cpus: &Cpus, frames: u32) -> Result<f64> {
    let wire = mac_of(&crowd.wire.netns, DEVICE)?;
    let step = children.div_ceil(TARGETS).max(1);
    let targets = (0..children).step_by(step as usize).cycle().take(TARGETS as usize);
    let frames_of: Vec<Vec<u8>> = targets.map(|number| frames::unspoken(wire, crowd::mac(number))).collect();
    let frames_of: Vec<&[u8]> = frames_of.iter().map(Vec::as_slice).collect();
    let took = send(crowd, cpus, &frames_of, frames)?;
    Ok(took.as_secs_f64() / (f64::from(frames) * f64::from(TARGETS)))
}

/// Sends each frame so many times, and tells what they cost.
fn send(crowd: &Crowd, cpus: &Cpus, frames: &[&[u8]], times: u32) -> Result<Duration> {
    let generator = Generator::new(index_of(&crowd.wire.netns, DEVICE)?);
    crowd.wire.netns.run(|| {
        cpus.take_one()?;
        let mut took = Duration::ZERO;
        for frame in frames {
            took += generator.send(frame, times)?.busy;
        }
        Ok(took)
    })
}
