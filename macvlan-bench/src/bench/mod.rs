//! `bench`: what our data path gives and costs, beside everything else that connects containers.
//!
//! Each contender has namespaces of its own; all of them are measured in turn, round by round
//! (`rounds`), and compared within the round (`report`). `sections` holds what is measured. `real`
//! measures between two nodes without a lab.

mod batch;
pub mod contender;
pub mod contender_lab;
pub mod crowd;
pub mod effort;
mod machine;
mod memory;
pub mod page;
pub mod path;
mod quantity;
pub mod real;
pub mod report;
pub mod rounds;
mod run;
mod sections;
pub mod table;
pub mod user_space;
mod wiring;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result};

use crate::{
    bench::{
        contender::{CONTENDERS, Described, Wiring},
        contender_lab::ContenderLab,
        effort::{Effort, Progress},
        machine::Machine,
        report::Report,
        run::Run,
        wiring::DEVICE,
    },
    lab::cpu::Cpus,
};

/// Measures everything. Call [`separate`](crate::lab::mounts::separate) first, so that nothing can stay behind.
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
        limit: contender.is_limit(),
        missing: run.missing.get(contender.name).cloned(),
    });
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        date: report::now(),
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

const SECTIONS: [Section; 5] = [
    Section { steps: sections::streams::steps, run: sections::streams::run },
    Section { steps: sections::frames::steps, run: sections::frames::run },
    Section { steps: sections::crowds::steps, run: sections::crowds::run },
    Section { steps: sections::user_space::steps, run: sections::user_space::run },
    Section { steps: sections::control::steps, run: sections::control::run },
];

/// The machine, by a device like the masters that are measured.
fn look(cpus: &Cpus) -> Result<Machine> {
    let bare = CONTENDERS.iter().find(|contender| contender.wiring == Wiring::Direct);
    let lab = ContenderLab::build(bare.context("no contender is a bare veth pair")?)?;
    lab.stations.wire.netns.run(|| Machine::look(cpus, DEVICE))
}
