//! `stats`, once or as rates.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use macvlan_core::{commands::stats, discovery::containers::Containers, model::rates::rates};
use tokio::time::MissedTickBehavior;

use crate::{args::Cli, output::print_stats};

/// Prints what was counted or, with `watch`, rates every so many seconds until stopped.
pub async fn stats(cli: &Cli, master: Option<&str>, watch: Option<u32>) -> Result<()> {
    let mut containers = Containers::default();
    let mut before = stats::stats(master, &mut containers).await?;
    let mut then = Instant::now();
    let Some(seconds) = watch else {
        return print_stats(cli.json, &before, None);
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds.into()));
    // After a late look the next is a whole interval later: no rate over next to no time.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = stats::stats(master, &mut containers).await?;
        let elapsed = then.elapsed();
        then += elapsed;
        if io::stdout().is_terminal() && !cli.json {
            // Home, then clear below: no flicker.
            print!("\x1b[H\x1b[J");
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        print_stats(cli.json, &rates(&now, &before, elapsed), Some(&time))?;
        before = now;
    }
}
