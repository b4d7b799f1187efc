//! What is measured, one kind of question after the other.

pub(crate) mod control;
pub(crate) mod crowds;
pub(crate) mod frames;
pub(crate) mod streams;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    bench::{Effort, Progress},
    contender::{Contender, Described},
    contender_lab::Lab,
    cpu::Cpus,
    measure::{Cell, interleave},
    path::Path,
    quantity::Quantity,
    report::{Failure, Figure, figures},
};

/// A run in the making.
pub struct Run<'a> {
    /// How much is measured.
    pub effort: &'a Effort,
    /// Where threads run.
    pub cpus: &'a Cpus,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
    /// What came out so far.
    pub figures: Vec<Figure>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// Contenders that could not take part, and why.
    pub missing: BTreeMap<&'static str, String>,
    /// Who takes part that is not among the contenders of the data path.
    pub others: Vec<Described>,
}

impl Run<'_> {
    /// Builds the labs of these contenders. One that cannot be built is missing from the run.
    fn labs(&mut self, wanted: impl Fn(&Contender) -> bool) -> Vec<Lab> {
        let mut labs = Vec::new();
        for &contender in self.effort.contenders.iter().filter(|contender| wanted(contender)) {
            if self.missing.contains_key(contender.name) {
                continue;
            }
            match Lab::build(contender) {
                Ok(lab) => labs.push(lab),
                Err(error) => {
                    self.missing.insert(contender.name, format!("{error:#}"));
                }
            }
        }
        labs
    }

    /// Measures a series in so many rounds and keeps what came out.
    fn measure(&mut self, quantities: &[Quantity], path: Option<Path>, rounds: usize, cells: Vec<Cell<'_>>) {
        self.progress.begin(quantities[0].title);
        let columns = interleave(cells, rounds, || self.progress.step());
        let (figures, failures) = figures(quantities, path, &columns);
        self.figures.extend(figures);
        self.failures.extend(failures);
    }
}

/// A cell of a series in which the number of children is not varied.
fn cell<'a>(contender: &'static str, measure: impl FnMut() -> Result<Vec<f64>> + 'a) -> Cell<'a> {
    Cell { contender, children: None, measure: Box::new(measure) }
}

/// How long counters may take to stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long they must do so: the kernel's workers have to come to their turn.
const STILL: Duration = Duration::from_millis(10);

/// A counter once it stands still: queues are worked off after the sender is done.
fn settled(count: impl Fn() -> Result<u64>) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = count()?;
    loop {
        thread::sleep(STILL);
        let now = count()?;
        if now == last {
            return Ok(now);
        }
        if Instant::now() > deadline {
            bail!("frames keep arriving");
        }
        last = now;
    }
}
