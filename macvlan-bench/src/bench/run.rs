//! A run in the making: what came out so far.

use std::collections::BTreeMap;

use crate::{
    bench::{
        contender::{Contender, Described},
        contender_lab::ContenderLab,
        effort::{Effort, Progress},
        path::Path,
        quantity::Quantity,
        report::{Failure, Figure, figures},
        rounds::{Cell, interleave},
    },
    lab::cpu::Cpus,
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
    pub fn labs(&mut self, wanted: impl Fn(&Contender) -> bool) -> Vec<ContenderLab> {
        let mut labs = Vec::new();
        for &contender in self.effort.contenders.iter().filter(|contender| wanted(contender)) {
            if self.missing.contains_key(contender.name) {
                continue;
            }
            match ContenderLab::build(contender) {
                Ok(lab) => labs.push(lab),
                Err(error) => {
                    self.missing.insert(contender.name, format!("{error:#}"));
                }
            }
        }
        labs
    }

    /// Measures a series in so many rounds and keeps what came out.
    pub fn measure(
        &mut self,
        quantities: &[Quantity],
        path: Option<Path>,
        rounds: usize,
        cells: Vec<Cell<'_>>,
    ) {
        self.progress.begin(quantities[0].title);
        let columns = interleave(cells, rounds, || self.progress.step());
        let (figures, failures) = figures(quantities, path, &columns);
        self.figures.extend(figures);
        self.failures.extend(failures);
    }
}
