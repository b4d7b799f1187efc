//! A snapshot as text, in the exposition format of Prometheus (version 0.0.4).

mod boolean;
mod children;
mod masters;
#[cfg(test)]
pub mod tests;

use macvlan_core::follow::snapshot::Tallies;
use prometheus::Result;

use crate::exporter::{
    family::Family,
    metrics::{self, Metric},
    scrape::Scrape,
};

/// What the exporter counts of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnCounts {
    /// Masters that could not be read, over all scrapes.
    pub errors: u64,
    /// Clients hung up on in favour of later ones.
    pub evicted: u64,
}

/// The text of one scrape.
///
/// Written family by family, so that 4,096 children are held as text alone.
///
/// # Errors
///
/// Never, as every metric has a name.
pub fn render(snapshot: &Scrape, tallies: &Tallies, own: OwnCounts) -> Result<String> {
    let mut text = String::new();
    one(&mut text, &metrics::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0)?;
    children::write(snapshot, &mut text)?;
    masters::write(snapshot, &mut text)?;
    for (metric, tally) in [
        (&metrics::FOLLOWER_EVENTS, &tallies.events),
        (&metrics::FOLLOWER_MALFORMED_EVENTS, &tallies.malformed),
        (&metrics::FOLLOWER_OVERRUNS, &tallies.overruns),
        (&metrics::FOLLOWER_RESYNCS, &tallies.resyncs),
        (&metrics::FOLLOWER_SYNCS, &tallies.syncs),
        (&metrics::FOLLOWER_SYNC_ERRORS, &tallies.errors),
    ] {
        one(&mut text, metric, &[], tally.get() as f64)?;
    }
    one(&mut text, &metrics::SCRAPE_DURATION, &[], snapshot.duration.as_secs_f64())?;
    one(&mut text, &metrics::SCRAPE_ERRORS, &[], own.errors as f64)?;
    one(&mut text, &metrics::EVICTED, &[], own.evicted as f64)?;
    Ok(text)
}

fn one(text: &mut String, metric: &Metric, labels: &[&str], value: f64) -> Result<()> {
    let mut family = Family::new(metric);
    family.add(labels, value);
    family.write(text)
}
