//! Names that people know: the container a child belongs to.
//!
//! Best effort, from what is there: the cgroups of the processes in a namespace name their
//! container, the engines' sockets and Podman's files give the name that belongs to the id, and for a
//! container whose cgroups do not tell, its engine says which namespace it has. Nothing here is
//! ever required or an error. What decides by it asks for [`homes`](Containers::homes): an answer is a fact there, or
//! it is none.

mod cgroup;
mod engine;
#[cfg(test)]
mod fake;
mod http;
mod look;
mod processes;
mod storage;

use std::{
    collections::HashMap,
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    discovery::containers::look::{Look, Source},
    kernel::netns::{NetnsId, place::Place},
    model::container::Container,
    policy::home::Home,
};

/// How long an answer holds: a container can be renamed.
const HOLDS: Duration = Duration::from_secs(60);

/// How long it holds that a namespace is no container's: it may be one in the making.
const HOLDS_NOT: Duration = Duration::from_secs(5);

/// How long one look at the machine serves: for all children of one listing.
const LOOK_HOLDS: Duration = Duration::from_millis(500);

/// Where engines listen.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];

/// Looks containers up, and remembers: asking an engine is slow.
#[derive(Debug)]
pub struct Containers {
    sources: Vec<Source>,
    storage: PathBuf,
    answers: HashMap<(String, NetnsId), Answer>,
    look: Option<(Instant, Look)>,
}

#[derive(Debug)]
struct Answer {
    until: Instant,
    container: Option<Container>,
}

impl Default for Containers {
    /// With the sockets of Docker and Podman, and the one that `DOCKER_HOST` names.
    fn default() -> Self {
        let chosen = env::var("DOCKER_HOST").ok();
        let chosen = chosen.as_deref().and_then(|host| host.strip_prefix("unix://"));
        let chosen = chosen.filter(|path| path.starts_with('/')).map(PathBuf::from);
        Self::new(chosen.into_iter().chain(SOCKETS.map(PathBuf::from)), storage::STORAGE)
    }
}

impl Containers {
    /// With engines that listen at these sockets, and Podman's files in this directory.
    pub fn new(sockets: impl IntoIterator<Item = PathBuf>, storage: impl Into<PathBuf>) -> Self {
        Self { sources: look::sources(sockets), storage: storage.into(), answers: HashMap::new(), look: None }
    }

    /// The container whose namespace this is; `None` where there is none or nobody tells.
    ///
    /// Takes two seconds at most, and no time for a namespace asked about a moment ago or for the
    /// master's own.
    pub async fn of(&mut self, place: &Place) -> Option<Container> {
        place.nsid?;
        let label = place.label.clone()?;
        // Numbers of namespaces are used again; paths to them, of the same number, hardly ever.
        let key = (label, NetnsId::of_label(place.label.as_ref()?)?);
        if let Some(answer) = self.answers.get(&key).filter(|answer| Instant::now() < answer.until) {
            return answer.container.clone();
        }
        let container = self.look().await.of(key.1);
        let until = Instant::now() + if container.is_some() { HOLDS } else { HOLDS_NOT };
        self.answers.insert(key, Answer { until, container: container.clone() });
        container
    }

    /// Whose these namespaces are, as far as everybody who knows tells now; and why not all of them do.
    /// Takes two seconds at most.
    pub async fn homes(&mut self, asked: &[(i32, NetnsId)]) -> (Vec<(i32, Home)>, Option<String>) {
        self.sources.iter_mut().for_each(Source::wake);
        let look = Look::around(&mut self.sources, &self.storage).await;
        let homes = asked.iter().map(|(nsid, netns)| (*nsid, look.home(*netns))).collect();
        let silent = look.silent.clone();
        self.look = Some((Instant::now(), look));
        (homes, silent)
    }

    async fn look(&mut self) -> &Look {
        let fresh = |(made, _): &(Instant, Look)| made.elapsed() < LOOK_HOLDS;
        let look = match self.look.take().filter(fresh) {
            Some(look) => look,
            None => {
                let now = Instant::now();
                self.answers.retain(|_, answer| now < answer.until);
                let look = Look::around(&mut self.sources, &self.storage).await;
                (Instant::now(), look)
            }
        };
        &self.look.insert(look).1
    }
}
