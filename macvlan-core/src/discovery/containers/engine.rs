//! What engines say of their containers, over their sockets: the Docker Engine API, which Podman
//! speaks as well.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use hyper::header::{HeaderMap, SERVER};
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::{
    discovery::containers::{
        cgroup::is_id,
        http::{self, get},
    },
    kernel::netns::NetnsId,
    policy::home::Origin,
};

/// Most bytes of a list of containers, which takes about one KiB for each.
const MAX_LIST_LEN: usize = 8 << 20;

/// Most bytes about one container.
const MAX_INSPECT_LEN: usize = 1 << 20;

/// Longest name: that of a file, which some engines make of it.
const MAX_NAME_LEN: usize = 255;

/// What one engine lists.
#[derive(Debug)]
pub struct Listing {
    /// "docker", "podman".
    pub engine: &'static str,
    /// Its running containers.
    pub containers: Vec<Listed>,
}

/// A container as its engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name, where that is fit to be printed.
    pub name: Option<String>,
    /// The container whose network it shares.
    pub joined: Option<String>,
    /// It has a network namespace of its own, as far as the list tells.
    pub has_netns: bool,
    /// What it was made of, where that is told.
    pub origin: Option<Origin>,
}

/// Asks the engine at `socket` for its running containers.
///
/// # Errors
///
/// When nobody listens there, or the answer is no list.
pub async fn list(stream: UnixStream) -> Result<Listing> {
    let answer = get(stream, "/containers/json", MAX_LIST_LEN).await?;
    let listed: Vec<ListEntry> =
        serde_json::from_slice(&answer.body).context("the answer is no list of containers")?;
    Ok(Listing {
        engine: engine(&answer.headers),
        containers: listed.into_iter().filter_map(ListEntry::into_listed).collect(),
    })
}

/// Asks the engine at `socket` which namespace it made for this container.
///
/// # Errors
///
/// When nobody listens there, or the answer is no container.
pub async fn netns_of(socket: &Path, id: &str) -> Result<Option<NetnsId>> {
    let stream = http::connect(socket).await?;
    let answer = get(stream, &format!("/containers/{id}/json"), MAX_INSPECT_LEN).await?;
    let inspected: Inspected = serde_json::from_slice(&answer.body).context("the answer is no container")?;
    Ok(inspected.netns())
}

/// A name as engines allow them, so that it can do no harm on a terminal or in a table.
pub fn valid_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let valid = !name.is_empty() && name.len() <= MAX_NAME_LEN && name.chars().all(allowed);
    valid.then(|| name.to_owned())
}

/// Which engine answered: Podman's socket often stands in for Docker's.
fn engine(headers: &HeaderMap) -> &'static str {
    let server = headers.get(SERVER).and_then(|server| server.to_str().ok()).unwrap_or_default();
    if server.starts_with("Libpod/") { "podman" } else { "docker" }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListEntry {
    id: String,
    names: Option<Vec<String>>,
    host_config: Option<HostConfig>,
    image: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: Option<String>,
}

impl ListEntry {
    fn into_listed(self) -> Option<Listed> {
        let names = self.names.unwrap_or_default();
        // Links give more names: "/other/alias".
        let name = names.iter().find_map(|name| valid_name(name.strip_prefix('/').unwrap_or(name)));
        let mode = self.host_config.and_then(|config| config.network_mode);
        let mode = mode.as_deref().unwrap_or_default();
        let joined = mode.strip_prefix("container:");
        let has_netns = joined.is_none() && mode != "host";
        let joined = joined.filter(|id| is_id(id)).map(str::to_owned);
        let labels = self.labels.unwrap_or_default().into_iter();
        let labels = labels.map(|(key, value)| format!("{key}={}", value.unwrap_or_default())).collect();
        let origin = self.image.map(|image| Origin { image, labels });
        is_id(&self.id).then_some(Listed { id: self.id, name, joined, has_netns, origin })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: Option<State>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    sandbox_key: Option<String>,
}

impl Inspected {
    fn netns(&self) -> Option<NetnsId> {
        let sandbox = self.network_settings.as_ref().and_then(|settings| settings.sandbox_key.as_deref());
        let sandbox = sandbox.filter(|path| is_sandbox(path)).and_then(NetnsId::of_path);
        sandbox.or_else(|| NetnsId::of_process(self.state.as_ref()?.pid?))
    }
}

/// Whether a path leads where engines keep namespaces, and not to a file system that may hang.
fn is_sandbox(path: &str) -> bool {
    ["/run/", "/var/run/"].iter().any(|root| path.starts_with(root)) && !path.contains("/../")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a";
    const OTHER: &str = "609a6f77d8fa026b7c0c2566c70ec21972c1710a53890801b5f7086500711bf2";

    fn listed(json: &str) -> Option<Listed> {
        serde_json::from_str::<ListEntry>(json).unwrap().into_listed()
    }

    #[test]
    fn a_container_is_listed_by_id_and_name() {
        let json = format!(
            r#"{{"Id":"{ID}","Names":["/db/link","/web"],"HostConfig":{{"NetworkMode":"container:{OTHER}"}},
            "Image":"nginx:1","Labels":{{"tier":"front","empty":null}}}}"#
        );
        let labels = vec!["empty=".to_owned(), "tier=front".to_owned()];
        let expected = Listed {
            id: ID.into(),
            name: Some("web".into()),
            joined: Some(OTHER.into()),
            has_netns: false,
            origin: Some(Origin { image: "nginx:1".into(), labels }),
        };
        assert_eq!(listed(&json), Some(expected));
        let nameless = Listed { id: ID.into(), name: None, joined: None, has_netns: true, origin: None };
        assert_eq!(listed(&format!(r#"{{"Id":"{ID}"}}"#)), Some(nameless.clone()));
        assert_eq!(listed(&format!(r#"{{"Id":"{ID}","Names":null,"HostConfig":null}}"#)), Some(nameless));
    }

    #[test]
    fn what_could_do_harm_is_left_out() {
        assert_eq!(listed(r#"{"Id":"../../etc"}"#), None);
        let json = format!(r#"{{"Id":"{ID}","Names":["/\u001b[2J","/a b",""]}}"#);
        assert_eq!(listed(&json).unwrap().name, None);
        assert_eq!(valid_name(&"x".repeat(256)), None);
        for path in ["/mnt/nfs/ns", "/run/../mnt/ns", "run/netns/x", ""] {
            assert!(!is_sandbox(path), "{path}");
        }
    }

    #[test]
    fn the_namespace_is_that_of_the_sandbox_or_else_of_the_process() {
        let own = NetnsId::of_path("/proc/thread-self/ns/net");
        assert!(own.is_some());
        let netns = |json: &str| serde_json::from_str::<Inspected>(json).unwrap().netns();
        let process = std::process::id();
        assert_eq!(netns(&format!(r#"{{"State":{{"Pid":{process}}}}}"#)), own);
        let gone = r#"{"SandboxKey":"/var/run/docker/netns/no-such-sandbox"}"#;
        assert_eq!(netns(&format!(r#"{{"State":{{"Pid":{process}}},"NetworkSettings":{gone}}}"#)), own);
        assert_eq!(netns(r#"{"State":{"Pid":0},"NetworkSettings":{"SandboxKey":""}}"#), None);
        assert_eq!(netns("{}"), None);
    }

    proptest! {
        #[test]
        fn a_name_is_taken_as_it_is_or_not_at_all(name: String) {
            if let Some(valid) = valid_name(&name) {
                prop_assert!(valid == name && valid.is_ascii());
            }
        }
    }
}
