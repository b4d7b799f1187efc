//! CNI plugins called as libcni calls them: variables, and a configuration on standard input.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use macvlan_common::mac::Mac;
use serde_json::{Value, json};

use crate::{
    cli::{Ran, binary, output},
    fail::OrFail as _,
    lab::{Lab, Station},
    netns::Netns,
};

/// Where Debian puts the reference plugins.
pub const REFERENCE: &str = "/usr/lib/cni";

/// The plugin under test: it is built beside the command.
pub fn plugin() -> PathBuf {
    binary().with_file_name("macvlan-cni")
}

/// The reference `macvlan` plugin.
pub fn reference() -> PathBuf {
    Path::new(REFERENCE).join("macvlan")
}

/// Everything that a runtime says when it calls a plugin.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The plugin.
    pub plugin: PathBuf,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
    /// `CNI_ARGS`.
    pub args: &'a str,
    /// `CNI_PATH`.
    pub path: String,
    /// Standard input.
    pub config: Value,
}

impl Call<'_> {
    /// A call for `eth0` of this container.
    pub fn new(plugin: PathBuf, container: &str, netns: &Netns, config: Value) -> Self {
        Self {
            plugin,
            container: container.into(),
            netns: Some(netns.path()),
            ifname: "eth0",
            args: "",
            path: REFERENCE.into(),
            config,
        }
    }

    /// Runs a verb on the lab's host.
    #[track_caller]
    pub fn run(&self, lab: &Lab, verb: &str) -> Ran {
        self.run_with(lab, verb, self.config.to_string().into_bytes())
    }

    /// Runs a verb with other input.
    #[track_caller]
    pub fn run_with(&self, lab: &Lab, verb: &str, input: Vec<u8>) -> Ran {
        feed(self.command(lab, verb), input)
    }

    /// The command of a verb, without its input.
    pub fn command(&self, lab: &Lab, verb: &str) -> Command {
        let mut command = lab.command(&lab.host.ns, &self.plugin);
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &self.container);
        command.env("CNI_IFNAME", self.ifname).env("CNI_ARGS", self.args).env("CNI_PATH", &self.path);
        command.env("CNI_NETNS", self.netns.as_deref().unwrap_or(Path::new("")));
        command
    }

    /// Runs ADD, which must succeed, and gives its result.
    #[track_caller]
    pub fn add(&self, lab: &Lab) -> Value {
        self.run(lab, "ADD").succeeded().json()
    }

    /// Runs DEL, which must succeed.
    #[track_caller]
    pub fn del(&self, lab: &Lab) {
        let ran = self.run(lab, "DEL").succeeded();
        assert_eq!(ran.stdout, "", "DEL prints nothing");
    }

    /// Runs a verb that must fail, and gives the error's code and message.
    #[track_caller]
    pub fn refused(&self, lab: &Lab, verb: &str) -> (u64, String) {
        error(&self.run(lab, verb))
    }
}

/// Runs a plugin with this on its standard input.
#[track_caller]
pub fn feed(mut command: Command, input: Vec<u8>) -> Ran {
    let (reader, writer) = io::pipe().or_fail("make a pipe");
    command.stdin(Stdio::from(reader));
    thread::scope(|scope| {
        // Who refuses to read all of it closes the pipe.
        scope.spawn(move || { writer }.write_all(&input));
        let ran = output(&mut command);
        // The last reader: else the writer would wait for it.
        drop(command);
        ran
    })
}

/// Code and message of an error, as the specification has it.
///
/// # Panics
///
/// When the plugin did not fail, or printed something else than an error.
#[track_caller]
pub fn error(ran: &Ran) -> (u64, String) {
    assert!(!ran.status.success(), "{}", ran.report());
    let error = ran.json();
    let code = error["code"].as_u64().or_fail(format!("read the code\n{}", ran.report()));
    (code, error["msg"].as_str().or_fail("read the message").to_owned())
}

/// A network whose addresses `host-local` manages, from 10.9.0.50 on.
pub fn network(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "lan", "type": "macvlan-cni", "master": "eth0",
        "ipam": {
            "type": "host-local", "dataDir": BOOKS,
            "ranges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.50", "gateway": "10.9.0.1"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}

/// Where `host-local` keeps its books, in the lab's mounts.
const BOOKS: &str = "/run/host-local";

/// The addresses that `host-local` has given away.
pub fn reserved(lab: &Lab) -> Vec<String> {
    let list = || -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(Path::new(BOOKS).join("lan"))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    let mut names = lab.mounts().enter(list).unwrap_or_default();
    names.retain(|name| name.starts_with(|first: char| first.is_ascii_digit()));
    names
}

/// The container of a result, as a station of the lab.
#[track_caller]
pub fn station(ns: &Netns, result: &Value) -> Station {
    let interface = &result["interfaces"][0];
    let mac: Option<Mac> = interface["mac"].as_str().and_then(|mac| mac.parse().ok());
    let ip = result["ips"][0]["address"].as_str().and_then(|ip| ip.split('/').next()?.parse().ok());
    Station {
        ns: ns.share(),
        dev: interface["name"].as_str().or_fail("read a device's name").into(),
        mac: mac.or_fail("read the container's MAC"),
        ip: ip.or_fail("read the container's address"),
        ip6: std::net::Ipv6Addr::UNSPECIFIED,
    }
}
