//! What a child's rates were, as far back as a wide screen shows.

use std::collections::VecDeque;

/// Samples kept: the columns of a wide terminal.
const KEPT: usize = 300;

/// Bits per second received and sent, one pair for each sample, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(VecDeque<(u64, u64)>);

impl History {
    /// Adds the newest, and forgets what is older than any screen is wide.
    pub fn push(&mut self, rx: u64, tx: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((rx, tx));
    }

    /// Received, bits per second.
    pub fn rx(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone + '_ {
        self.0.iter().map(|(rx, _)| *rx)
    }

    /// Sent, bits per second.
    pub fn tx(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone + '_ {
        self.0.iter().map(|(_, tx)| *tx)
    }

    /// Both together.
    pub fn both(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone + '_ {
        self.0.iter().map(|(rx, tx)| rx.saturating_add(*tx))
    }

    /// The highest of both together among the newest `samples`, bits per second.
    pub fn highest(&self, samples: usize) -> u64 {
        self.both().rev().take(samples).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        (0..=KEPT as u64).for_each(|rate| history.push(rate, u64::MAX));
        assert_eq!(history.rx().len(), KEPT);
        assert_eq!(history.rx().next(), Some(1));
        assert_eq!(history.both().last(), Some(u64::MAX));
        assert_eq!(history.highest(1), u64::MAX);
    }
}
