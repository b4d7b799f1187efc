//! `monitor`.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::{
    discovery::{
        access::Access,
        masters::{find_link, missing},
    },
    follow::watch::{
        change::{Change, Subject, What},
        container_names::ContainerNames,
        datapath_watch::DatapathWatch,
        watcher::Watcher,
    },
    kernel::netlink::{Netlink, link::Link},
    model::master_name::MasterName,
};
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{args::Cli, output::print_json};

/// How often to look whether anything was missed.
const CHECK: Duration = Duration::from_secs(5);

/// How often to look at what no event tells: data paths, what their programs learn, names of containers.
const LOOK: Duration = Duration::from_secs(1);

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
    let mut found = Vec::new();
    for name in names {
        found.push(named(name).await.with_context(|| format!("cannot watch {name:?}"))?);
    }
    let mut masters: BTreeSet<u32> = found.iter().map(|link| link.index).collect();
    let names: Vec<String> = found.into_iter().map(|link| link.name).collect();
    let names = names.as_slice();
    let (mut check, mut look) = (interval(CHECK), interval(LOOK));
    let (mut containers, mut datapaths) = (ContainerNames::default(), DatapathWatch::default());
    loop {
        let changes = tokio::select! {
            events = watcher.events() => watcher.digest(events?).await?.1,
            _ = check.tick() => watcher.check().await,
            _ = look.tick() => {
                let links = watched(&watcher, names, &masters);
                let mut changes = datapaths.look(&watcher, &links).await;
                changes.extend(containers.news().await);
                changes
            }
        };
        watcher.name_places().await;
        for change in &changes {
            if concerns(change, names, &mut masters) && (cli.verbose || change.what != What::Marked) {
                let mut named = watcher.named(change);
                containers.name(&mut named).await;
                print(cli, &named)?;
            }
        }
    }
}

/// The device that is called so.
async fn named(name: &str) -> Result<Link> {
    let name: MasterName = name.parse()?;
    match find_link(&Netlink::open()?, &name).await? {
        Some(link) => Ok(link),
        None => bail!("{}; see: ip link", missing(&name)),
    }
}

fn interval(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The devices whose data paths are watched.
fn watched(watcher: &Watcher, names: &[String], masters: &BTreeSet<u32>) -> Vec<Link> {
    match names {
        [] => watcher.masters().cloned().collect(),
        _ => masters.iter().filter_map(|index| watcher.device(*index).cloned()).collect(),
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
