//! An engine that says of its containers what a test wants it to, by the Docker Engine API.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::sys::socket::{Shutdown, shutdown};

use crate::{fail::OrFail as _, lab::Lab, netns::Netns};

const SOCKET: &str = "/run/docker.sock";

/// An engine in a lab's host.
#[derive(Debug)]
pub struct FakeEngine<'lab> {
    lab: &'lab Lab,
    told: Arc<Mutex<Told>>,
    listener: UnixListener,
}

#[derive(Debug, Default)]
struct Told {
    containers: Vec<FakeContainer>,
    is_silent: bool,
    /// Names of namespaces so far.
    names: u32,
    /// Those who wait for an answer.
    waiting: Vec<UnixStream>,
}

/// A container that the engine lists.
#[derive(Debug, Clone)]
pub struct FakeContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its labels, as the members of a JSON object.
    pub labels: String,
    id: String,
    netns: String,
}

impl<'lab> FakeEngine<'lab> {
    /// Starts it, with no container.
    #[track_caller]
    pub fn start(lab: &'lab Lab) -> Self {
        let listener = lab.mounts().enter(|| UnixListener::bind(SOCKET)).or_fail("listen as an engine");
        let told = Arc::<Mutex<Told>>::default();
        let (heard, served) = (listener.try_clone().or_fail("keep a socket"), Arc::clone(&told));
        thread::spawn(move || {
            while let Ok((stream, _)) = heard.accept() {
                serve(stream, &served);
            }
        });
        Self { lab, told, listener }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a container with this name and image in a namespace. One of the same name has the same id always.
    #[track_caller]
    pub fn add(&self, name: &str, image: &str, labels: &str, ns: &Netns) {
        let mut told = self.told();
        told.names += 1;
        let netns = format!("sandbox{}", told.names);
        self.lab.mounts().name_netns(&netns, ns);
        let mut id = String::new();
        name.bytes().cycle().take(32).for_each(|byte| write!(id, "{byte:02x}").or_fail("write an id"));
        let (name, image, labels) = (name.into(), image.into(), labels.into());
        told.containers.push(FakeContainer { name, image, labels, id, netns });
    }

    /// The same for one that had the name `was` when it was made.
    #[track_caller]
    pub fn add_renamed(&self, was: &str, name: &str, ns: &Netns) {
        self.add(was, "nginx:1", "", ns);
        let mut told = self.told();
        told.containers
            .iter_mut()
            .filter(|container| container.name == was)
            .for_each(|found| found.name = name.into());
    }

    /// Lists a container no more.
    pub fn remove(&self, name: &str) {
        self.told().containers.retain(|container| container.name != name);
    }

    /// Lets it answer, or not.
    pub fn set_silent(&self, is_silent: bool) {
        let mut told = self.told();
        told.is_silent = is_silent;
        told.waiting.clear();
    }
}

impl Drop for FakeEngine<'_> {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn serve(mut stream: UnixStream, told: &Mutex<Told>) {
    let mut request = [0; 4096];
    let len = stream.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..len]).into_owned();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_silent {
        told.waiting.push(stream);
        return;
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json")) {
        None => {
            let list: Vec<String> = told.containers.iter().map(FakeContainer::listed).collect();
            format!("[{}]", list.join(","))
        }
        Some(id) => match told.containers.iter().find(|container| container.id == id) {
            Some(found) => {
                format!("{{\"NetworkSettings\":{{\"SandboxKey\":\"/run/netns/{}\"}}}}", found.netns)
            }
            None => String::new(),
        },
    };
    // Whoever asked may be gone.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nServer: Docker/27\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

impl FakeContainer {
    fn listed(&self) -> String {
        let Self { id, name, image, labels, .. } = self;
        format!(
            "{{\"Id\":\"{id}\",\"Names\":[\"/{name}\"],\"Image\":\"{image}\",\"Labels\":{{{labels}}},\
             \"HostConfig\":{{\"NetworkMode\":\"lan\"}}}}"
        )
    }
}
