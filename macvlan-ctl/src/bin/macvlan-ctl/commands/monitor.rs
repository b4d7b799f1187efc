//! `monitor`.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use anyhow::{Result, bail};
use macvlan_core::{
    discovery::access::Access,
    follow::watch::{
        change::{Change, Subject, What},
        watcher::Watcher,
    },
};
use serde::Serialize;

use crate::{args::Cli, output::print_json};

/// How often to look whether anything was missed.
const CHECK: Duration = Duration::from_secs(5);

/// One line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    change: &'a Change,
}

/// Prints changes until stopped.
pub async fn monitor(cli: &Cli, names: &[String]) -> Result<()> {
    let mut watcher = Watcher::open(Access::Read).await?;
    let mut masters = BTreeSet::new();
    for name in names {
        match watcher.device_named(name) {
            Some(link) => masters.extend([link.index]),
            None => bail!("cannot watch {name:?}: no such device; see: ip link"),
        }
    }
    let mut check = tokio::time::interval(CHECK);
    loop {
        let changes = tokio::select! {
            events = watcher.events() => watcher.digest(events?).await?.1,
            _ = check.tick() => watcher.check().await,
        };
        watcher.name_places().await;
        for change in &changes {
            if concerns(change, names, &mut masters) && (cli.verbose || change.what != What::Marked) {
                print(cli, &watcher.named(change))?;
            }
        }
    }
}

/// Whether a change is about a master that is watched: one of those named, by whatever name it
/// bears now or a device that came in its place, or any that has had children.
fn concerns(change: &Change, names: &[String], masters: &mut BTreeSet<u32>) -> bool {
    let is_named = match &change.subject {
        Subject::Child { .. } => names.is_empty(),
        Subject::Device(link) => names.contains(&link.name),
    };
    if is_named {
        masters.insert(change.master());
    }
    masters.contains(&change.master())
}

fn print(cli: &Cli, change: &Change) -> Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    if cli.json {
        return print_json(&Line { time, change });
    }
    writeln!(io::stdout(), "{time} {change}")?;
    Ok(())
}
