//! What the kernel's generator gets through: frames delivered, what one costs, floods.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context as _, Result, bail};
use macvlan_common::mac::Mac;

use crate::{
    bench::{
        contender::Contender, contender_lab::ContenderLab, effort::Effort, path::Path, quantity,
        rounds::Cell, run::Run, wiring::DEVICE,
    },
    lab::{
        arrivals::{packets_delivered, settled},
        cables::index_of,
        cpu::Cpus,
        frames::{self, PORT, Party},
        generator::Generator,
    },
};

/// A MAC that nobody has.
const NOBODY: Mac = Mac::new([0x02, 0x6d, 0x76, 0, 0, 0]);

/// Frames for nobody to each one for a child, in a flood that a child has to live with.
const FLOOD_SHARE: u32 = 9;

/// How often these take turns.
const TURNS: u32 = 4;

/// Series, and who is in each.
const SERIES: [fn(&Contender) -> bool; 3] = [delivers, is_flooded, delivers_in_flood];

fn delivers(contender: &Contender) -> bool {
    carries(contender) && !contender.flood_only
}

fn carries(contender: &Contender) -> bool {
    contender.carries(Path::WireChild)
}

fn is_flooded(contender: &Contender) -> bool {
    contender.is_flooded()
}

fn delivers_in_flood(contender: &Contender) -> bool {
    carries(contender) && is_flooded(contender)
}

/// How many measurements it takes.
pub fn steps(effort: &Effort) -> usize {
    let each = SERIES.iter().map(|wanted| effort.contenders.iter().filter(|one| wanted(one)).count());
    each.sum::<usize>() * (effort.rounds.bursts + 1)
}

/// Measures all of them.
pub fn run(run: &mut Run<'_>) {
    let labs = run.labs(|contender| SERIES.iter().any(|wanted| wanted(contender)));
    let sources: Vec<(&ContenderLab, Result<Source<'_>>)> =
        labs.iter().map(|lab| (lab, Source::new(lab))).collect();
    let (frames, rounds) = (run.effort.frames, run.effort.rounds.bursts);
    let cpus = run.cpus;
    let saturate = cells(&sources, delivers, |source| source.saturate(cpus, frames));
    run.measure(&quantity::FRAMES, Some(Path::WireChild), rounds, saturate);
    let flood = cells(&sources, is_flooded, |source| source.flood(cpus, frames));
    run.measure(&quantity::FLOOD, None, rounds, flood);
    let goodput = cells(&sources, delivers_in_flood, |source| source.deliver_in_flood(cpus, frames));
    run.measure(&quantity::GOODPUT, Some(Path::WireChild), rounds, goodput);
}

/// A cell for each source that is wanted; one that could not be made says why.
fn cells<'a>(
    sources: &'a [(&ContenderLab, Result<Source<'_>>)],
    wanted: fn(&Contender) -> bool,
    measure: impl Fn(&Source<'_>) -> Result<Vec<f64>> + Copy + 'a,
) -> Vec<Cell<'a>> {
    let wanted = sources.iter().filter(|(lab, _)| wanted(lab.contender));
    let cells = wanted.map(|(lab, source)| {
        Cell::new(lab.contender.name, move || match source {
            Ok(source) => measure(source),
            Err(error) => bail!("{error:#}"),
        })
    });
    cells.collect()
}

/// The wire of a lab as a source of frames.
struct Source<'a> {
    lab: &'a ContenderLab,
    generator: Generator,
    /// For the first child.
    frame: Vec<u8>,
    /// For nobody.
    flood: Vec<u8>,
    /// Takes what comes and never reads it.
    _sink: UdpSocket,
}

impl<'a> Source<'a> {
    fn new(lab: &'a ContenderLab) -> Result<Self> {
        lab.take_generated()?;
        let wire = lab.stations.wire.party()?;
        let child = &lab.stations.children[0];
        let nobody = Party { mac: NOBODY, address: child.address };
        let carries = carries(lab.contender);
        if carries {
            // Also lets those who learn or resolve addresses do so.
            lab.wait_for(Path::WireChild)?;
        }
        let target = if carries { lab.target()? } else { nobody };
        Ok(Self {
            lab,
            generator: Generator::new(index_of(&lab.stations.wire.netns, DEVICE)?),
            frame: frames::datagram(wire, target)?,
            flood: frames::datagram(wire, nobody)?,
            _sink: child.netns.run(|| UdpSocket::bind(("0.0.0.0", PORT)).context("cannot take datagrams"))?,
        })
    }

    /// Frames to the child as fast as they go: delivered per second, lost, time for each.
    fn saturate(&self, cpus: &Cpus, frames: u32) -> Result<Vec<f64>> {
        self.lab.wait_for(Path::WireChild)?;
        let before = self.received()?;
        let took = self.send(cpus, &[(&self.frame, frames)], 1)?;
        let delivered = self.settled()?.saturating_sub(before);
        if delivered == 0 {
            bail!("not one of {frames} frames arrived");
        }
        let (delivered, seconds) = (delivered as f64, took.as_secs_f64());
        Ok(vec![delivered / seconds, (1.0 - delivered / f64::from(frames)).max(0.0), seconds / delivered])
    }

    /// Frames for nobody, absorbed per second.
    fn flood(&self, cpus: &Cpus, frames: u32) -> Result<Vec<f64>> {
        let took = self.send(cpus, &[(&self.flood, frames)], 1)?;
        Ok(vec![f64::from(frames) / took.as_secs_f64()])
    }

    /// The child's frames delivered per second, among many for nobody.
    fn deliver_in_flood(&self, cpus: &Cpus, frames: u32) -> Result<Vec<f64>> {
        self.lab.wait_for(Path::WireChild)?;
        let before = self.received()?;
        let run = frames / (TURNS * (FLOOD_SHARE + 1));
        let took = self.send(cpus, &[(&self.flood, run * FLOOD_SHARE), (&self.frame, run)], TURNS)?;
        let delivered = self.settled()?.saturating_sub(before);
        Ok(vec![delivered as f64 / took.as_secs_f64()])
    }

    /// Sends these frames in turn, so many times, undisturbed.
    fn send(&self, cpus: &Cpus, frames: &[(&[u8], u32)], times: u32) -> Result<Duration> {
        self.lab.stations.wire.netns.run(|| {
            cpus.take_one()?;
            let mut took = Duration::ZERO;
            for (frame, count) in (0..times).flat_map(|_| frames) {
                took += self.generator.send(frame, *count)?.busy;
            }
            Ok(took)
        })
    }

    fn received(&self) -> Result<u64> {
        packets_delivered(&self.lab.stations.children[0].netns)
    }

    fn settled(&self) -> Result<u64> {
        settled(|| self.received())
    }
}
