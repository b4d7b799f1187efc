//! One look around the machine: which namespace belongs to which container.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    discovery::containers::{
        cgroup::Mention,
        engine::{Listed, Listing, list, netns_of},
        http::connect,
        processes::containers_by_netns,
        storage::stored,
    },
    kernel::netns::NetnsId,
    model::container::Container,
    policy::home::{Facts, Home},
};

/// How long reading files may take, and then an engine for everything that it is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an engine that did not answer well is left alone.
const REST: Duration = Duration::from_secs(60);

/// Most containers that one engine is asked about one by one.
const MAX_INSPECTED: usize = 100;

/// An engine's socket.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    rests_until: Option<Instant>,
}

/// Engines at these sockets.
pub fn sources(sockets: impl IntoIterator<Item = PathBuf>) -> Vec<Source> {
    let mut seen = BTreeSet::new();
    let new = sockets.into_iter().filter(|path| seen.insert(path.clone()));
    new.map(|path| Source { path, rests_until: None }).collect()
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Look {
    /// By the cgroups of processes.
    mentions: HashMap<NetnsId, Vec<Mention>>,
    /// By id: as listed by an engine.
    listed: HashMap<String, (&'static str, Listed)>,
    /// By id: as Podman's files have it.
    stored: HashMap<String, Listed>,
    /// Id by namespace: by an engine's word alone.
    inspected: HashMap<NetnsId, String>,
    /// Why not all of it was seen.
    pub silent: Option<String>,
}

impl Look {
    /// Looks at all processes, and asks all engines at once.
    pub async fn around(sources: &mut [Source], storage: &Path) -> Self {
        let storage = storage.to_owned();
        // Many small files on a large machine: not on the thread that follows events.
        let files = spawn_blocking(move || (containers_by_netns(), stored(&storage)));
        let read = timeout(PATIENCE, files).await.map(Result::ok).ok().flatten();
        let silent = read.is_none().then(|| "the processes could not be looked through in time".to_owned());
        let (mentions, stored) = read.unwrap_or_default();
        let mentioned: BTreeSet<&str> =
            mentions.values().flatten().map(|mention| mention.id.as_str()).collect();
        let told = join_all(sources.iter_mut().map(|source| source.ask(&mentioned))).await;

        let mut look = Self { mentions, silent, ..Self::default() };
        look.stored = stored.into_iter().map(|listed| (listed.id.clone(), listed)).collect();
        for told in told {
            for listed in told.listed {
                look.listed.entry(listed.id.clone()).or_insert((told.engine, listed));
            }
            look.inspected.extend(told.inspected);
            look.silent = look.silent.or(told.silent);
        }
        look
    }

    /// The container that a namespace belongs to.
    pub fn of(&self, netns: NetnsId) -> Option<Container> {
        let mentions = self.mentions.get(&netns).map_or(&[][..], Vec::as_slice);
        let inspected = || self.listed.get(self.inspected.get(&netns)?);
        if let Some((engine, listed)) =
            mentions.iter().find_map(|mention| self.listed.get(&mention.id)).or_else(inspected)
        {
            return Some(self.owner(engine, listed));
        }
        let mention = mentions.iter().find(|mention| mention.engine.is_some())?;
        let name = self.stored.get(&mention.id).and_then(|stored| stored.name.clone());
        Some(Container { engine: mention.engine?, id: mention.id.clone(), name })
    }

    /// Whose a namespace is, to decide by: the outermost cgroup of its processes tells, as a container can make
    /// others below its own. Nobody's it is where all was seen and nobody has it.
    pub fn home(&self, netns: NetnsId) -> Home {
        for mention in self.mentions.get(&netns).into_iter().flatten() {
            match (self.listed.get(&mention.id), mention.engine) {
                (Some((engine, listed)), _) => return self.facts(engine, listed),
                (None, Some(engine)) => {
                    let name = self.stored.get(&mention.id).and_then(|stored| stored.name.clone());
                    let id = mention.id.clone();
                    return Home::Container(Facts { engine, id, name, origin: None });
                }
                (None, None) => {}
            }
        }
        match self.inspected.get(&netns).and_then(|id| self.listed.get(id)) {
            Some((engine, listed)) => self.facts(engine, listed),
            None if self.silent.is_some() => Home::Unknown,
            None => Home::Nobody,
        }
    }

    fn facts(&self, engine: &'static str, listed: &Listed) -> Home {
        let joined = listed.joined.as_ref().and_then(|id| self.listed.get(id));
        let (engine, listed) = joined.map_or((engine, listed), |(engine, listed)| (*engine, listed));
        let Listed { id, name, origin, .. } = listed.clone();
        Home::Container(Facts { engine, id, name, origin })
    }

    /// The container itself, or the one whose network it has joined.
    fn owner(&self, engine: &'static str, listed: &Listed) -> Container {
        let joined = listed.joined.as_ref().and_then(|id| self.listed.get(id));
        let (engine, listed) = joined.map_or((engine, listed), |(engine, listed)| (*engine, listed));
        Container { engine, id: listed.id.clone(), name: listed.name.clone() }
    }
}

/// What one engine told.
#[derive(Debug, Default)]
struct Told {
    engine: &'static str,
    listed: Vec<Listed>,
    inspected: HashMap<NetnsId, String>,
    silent: Option<String>,
}

impl Source {
    /// Asks it again, though it was to be left alone.
    pub fn wake(&mut self) {
        self.rests_until = None;
    }

    /// Asks for all containers, and for the namespaces of those that no process `mentioned`.
    async fn ask(&mut self, mentioned: &BTreeSet<&str>) -> Told {
        let mut told = Told::default();
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            told.silent = Some(format!("the engine at \"{}\" did not answer well", self.path.display()));
            return told;
        }
        // No engine there is the ordinary case, and costs nothing to find out.
        let Ok(stream) = connect(&self.path).await else { return told };
        let asked = timeout(PATIENCE, async {
            let Listing { engine, containers } = list(stream).await?;
            (told.engine, told.listed) = (engine, containers);
            let silent = |listed: &&Listed| listed.has_netns && !mentioned.contains(listed.id.as_str());
            for Listed { id, .. } in told.listed.iter().filter(silent).take(MAX_INSPECTED) {
                // It may just have ended.
                if let Ok(Some(netns)) = netns_of(&self.path, id).await {
                    told.inspected.insert(netns, id.clone());
                }
            }
            let hidden = told.listed.iter().filter(silent).count();
            ensure!(hidden <= MAX_INSPECTED, "the processes of {hidden} containers cannot be seen");
            Result::<_>::Ok(())
        });
        let outcome = asked.await.context("no answer in time").flatten();
        self.rests_until = outcome.as_ref().err().map(|_| Instant::now() + REST);
        if let Err(error) = outcome {
            let silent = format!("cannot ask the engine at \"{}\": {error:#}", self.path.display());
            log::debug!("{silent}");
            told.silent = Some(silent);
        }
        told
    }
}
