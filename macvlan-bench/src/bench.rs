//! `bench`: what our data path gives and costs, beside everything else that connects containers.
//!
//! Each contender has namespaces of its own; all of them are measured in turn, round by round
//! ([`measure`]), and compared within the round ([`report`]). [`sections`] holds what is measured,
//! [`traffic`] and [`generator`] make it. [`real`] measures between two nodes without a lab.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    contender::{CONTENDERS, Contender, Described, Wiring},
    contender_lab::{DEVICE, Lab},
    cpu::Cpus,
    machine::Machine,
    report::Report,
    sections::{self, Run},
};

/// How often all contenders take their turn. The shorter a measurement, the more often: a shared machine
/// is slower for longer than one burst takes, and a median of many is nearer to the truth.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Bursts of generated frames.
    pub bursts: usize,
    /// What programs do over sockets.
    pub sockets: usize,
    /// What is done with many children.
    pub crowds: usize,
}

impl Rounds {
    /// As often as each is measured at least.
    pub fn fewest(self) -> usize {
        self.bursts.min(self.sockets).min(self.crowds)
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Shortened.
    pub quick: bool,
    /// Rounds that count.
    pub rounds: Rounds,
    /// How long each workload over sockets lasts.
    pub time: Duration,
    /// Frames of each burst.
    pub frames: u32,
    /// Who takes part.
    pub contenders: Vec<&'static Contender>,
}

impl Effort {
    /// All there is.
    pub fn full() -> Self {
        Self {
            quick: false,
            rounds: Rounds { bursts: 31, sockets: 11, crowds: 5 },
            time: Duration::from_millis(100),
            frames: 60_000,
            contenders: CONTENDERS.iter().collect(),
        }
    }

    /// What fits in a minute.
    pub fn quick() -> Self {
        Self {
            quick: true,
            rounds: Rounds { bursts: 11, sockets: 5, crowds: 5 },
            time: Duration::from_millis(60),
            frames: 40_000,
            contenders: CONTENDERS.iter().filter(|contender| contender.quick).collect(),
        }
    }

    /// With these contenders alone.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn only(mut self, names: &[String]) -> Result<Self> {
        self.contenders = Vec::new();
        for name in names {
            match Contender::named(name) {
                Some(contender) => self.contenders.push(contender),
                None => {
                    let all: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
                    bail!("no contender {name:?}: there are {}", all.join(", "));
                }
            }
        }
        Ok(self)
    }
}

/// Who is told how far it is.
pub trait Progress {
    /// So many measurements there will be.
    fn expect(&self, steps: usize);

    /// This is measured next.
    fn begin(&self, title: &str);

    /// One is done.
    fn step(&self);
}

/// Measures everything. Call [`mounts::separate`] first, so that nothing can stay behind.
///
/// # Errors
///
/// When no namespace can be made, or not even a bare veth pair: a contender that this kernel has not
/// got is told in the report.
pub fn bench(effort: &Effort, command: String, progress: &dyn Progress) -> Result<Report> {
    let start = Instant::now();
    let cpus = Cpus::allowed()?;
    let machine = look(&cpus)?;
    let mut run = Run {
        effort,
        cpus: &cpus,
        progress,
        figures: Vec::new(),
        failures: Vec::new(),
        missing: BTreeMap::new(),
        others: Vec::new(),
    };
    progress.expect(SECTIONS.iter().map(|section| (section.steps)(effort)).sum());
    for section in SECTIONS {
        (section.run)(&mut run);
    }
    let described = effort.contenders.iter().map(|contender| Described {
        name: contender.name,
        title: contender.title,
        ours: contender.is_ours(),
        floor: contender.is_floor(),
        missing: run.missing.get(contender.name).cloned(),
    });
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        command,
        quick: effort.quick,
        rounds: effort.rounds.fewest(),
        contenders: described.chain(run.others).collect(),
        figures: run.figures,
        failures: run.failures,
        machine,
        took: start.elapsed().as_secs_f64(),
    })
}

/// A kind of question: how many measurements it takes, and what makes them.
struct Section {
    steps: fn(&Effort) -> usize,
    run: fn(&mut Run<'_>),
}

const SECTIONS: [Section; 4] = [
    Section { steps: sections::streams::steps, run: sections::streams::run },
    Section { steps: sections::frames::steps, run: sections::frames::run },
    Section { steps: sections::crowds::steps, run: sections::crowds::run },
    Section { steps: sections::control::steps, run: sections::control::run },
];

/// The machine, by a device like the masters that are measured.
fn look(cpus: &Cpus) -> Result<Machine> {
    let bare = CONTENDERS.iter().find(|contender| contender.wiring == Wiring::Direct);
    let lab = Lab::build(bare.context("no contender is a bare veth pair")?)?;
    lab.wire.netns.run(|| Machine::look(cpus, DEVICE))
}
