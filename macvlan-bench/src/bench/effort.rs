//! How much is measured, and who is told how far it is.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench::contender::{CONTENDERS, Contender};

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
