//! The CNI plugin `macvlan-cni`: a drop-in for the reference `macvlan` plugin whose containers can
//! talk with their host.
//!
//! One request (`request`, `config`, `version`) goes to one verb: `add`, `del`, `check`,
//! `gc`, `status`. A verb works at a `site`, the two namespaces and the master, and has
//! addresses managed by another plugin (`ipam`); `settings` puts them on the device,
//! `announce` looks for duplicates and tells the neighbours. Nothing is kept in files: the mark of
//! a device says whose it is (`kernel::marks` and `model::attachment` of the core). `program` is what runtimes run.

mod add;
mod announce;
mod background;
mod check;
mod config;
mod del;
mod error;
mod gc;
mod host_access;
mod ipam;
mod port;
pub mod program;
mod request;
mod result;
mod settings;
mod site;
mod status;
mod task;
mod version;
mod warning;

use std::{io::Read, time::Duration};

use anyhow::Context as _;
use macvlan_core::kernel::lock::Lock;
use serde_json::{Value, json};

use crate::{
    config::{Config, keys},
    error::CniResult,
    request::{Invocation, Verb},
    task::Task,
    version::Version,
};

/// How long a DEL or an ADD waits for what was begun before.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does what the variables and standard input ask for, and gives what to print.
///
/// # Errors
///
/// What to print instead, before the program ends with 1.
pub fn serve(var: impl Fn(&str) -> Option<String>, input: impl Read) -> Result<Option<Value>, Value> {
    let mut version = Version::NEWEST;
    serve_in(&mut version, var, input).map_err(|error| {
        let mut answer = json!(error);
        answer["cniVersion"] = version.as_str().into();
        answer
    })
}

fn serve_in(
    version: &mut Version,
    var: impl Fn(&str) -> Option<String>,
    input: impl Read,
) -> CniResult<Option<Value>> {
    let request = Invocation::read(var, input)?;
    if request.verb == Verb::Version {
        return Ok(Some(versions(&request.input)));
    }
    let object = keys::object(&request.input)?;
    *version = Version::of(&object)?;
    match request.verb {
        Verb::Check => version.require(Version::V0_4_0, "CHECK")?,
        Verb::Status => version.require(Version::V1_1_0, "STATUS")?,
        Verb::Gc => version.require(Version::V1_1_0, "GC")?,
        Verb::Add | Verb::Del | Verb::Version => {}
    }
    // What is attached can be looked at and detached, though it was attached by a version that let this pass.
    let attaches = matches!(request.verb, Verb::Add | Verb::Status);
    if attaches {
        keys::refuse_unknown(&object)?;
    }
    let config = Config::read(object, &request.args)?;
    if attaches {
        config.require_attachable()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    let attachment = runtime.block_on(hold(&request, &config));
    let task = Task { request: &request, config, version: *version, runtime, attachment };
    match request.verb {
        Verb::Add => add::add(&task).map(Some),
        Verb::Del => del::del(&task).map(|()| None),
        Verb::Check => check::check(&task).map(|()| None),
        Verb::Gc => gc::gc(&task).map(|()| None),
        Verb::Status | Verb::Version => status::status(&task).map(|()| None),
    }
}

/// The lock of the attachment that an ADD or a DEL is about. Whoever cannot have it goes on: a plugin
/// that never ends must not keep a DEL from clearing what it can, nor must a full `/run`.
async fn hold(request: &Invocation, config: &Config) -> Option<Lock> {
    let target = request.target.as_ref().filter(|_| matches!(request.verb, Verb::Add | Verb::Del))?;
    Lock::take_for_attachment(&target.attachment(&config.name).digest(), PATIENCE).await.ok()?
}

/// The answer to VERSION, in the version that was asked in.
fn versions(input: &[u8]) -> Value {
    let asked = keys::object(input).ok().filter(|config| config.contains_key("cniVersion"));
    let version = asked.and_then(|config| Version::of(&config).ok()).unwrap_or(Version::NEWEST);
    json!({ "cniVersion": version.as_str(), "supportedVersions": Version::ALL.map(Version::as_str) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve_verb(verb: &'static str, input: &str) -> Result<Option<Value>, Value> {
        let var = move |name: &str| match name {
            "CNI_COMMAND" => Some(verb.to_owned()),
            "CNI_CONTAINERID" => Some("c1".to_owned()),
            "CNI_IFNAME" => Some("eth0".to_owned()),
            "CNI_NETNS" => Some("/nowhere".to_owned()),
            "CNI_PATH" => Some("/usr/lib/cni".to_owned()),
            _ => None,
        };
        serve(var, input.as_bytes())
    }

    #[test]
    fn versions_are_told_without_a_configuration() {
        for input in ["", r#"{"cniVersion": "0.3.1"}"#, "rubbish"] {
            let answer = serve_verb("VERSION", input).unwrap().unwrap();
            let spoken = json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
            assert_eq!(answer["supportedVersions"], spoken);
        }
        let asked = serve_verb("VERSION", r#"{"cniVersion": "0.3.1"}"#).unwrap().unwrap();
        assert_eq!(asked["cniVersion"], "0.3.1");
    }

    #[test]
    fn a_version_has_the_verbs_that_came_with_it() {
        for (verb, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0"), ("CHECK", "")] {
            let input = format!(r#"{{"cniVersion": "{version}", "name": "lan"}}"#);
            let error = serve_verb(verb, &input).unwrap_err();
            let msg = format!("config version does not allow {verb}");
            assert_eq!((&error["code"], &error["msg"]), (&json!(1), &json!(msg)), "{version}");
        }
        let error = serve_verb("ADD", r#"{"cniVersion": "9.0.0", "name": "lan"}"#).unwrap_err();
        assert_eq!(error["code"], 1);
    }

    #[test]
    fn what_an_add_refuses_a_del_takes() {
        for key in [r#""hostAcess": true"#, r#""antiSpoof": "ip""#] {
            let input =
                format!(r#"{{"cniVersion": "1.1.0", "name": "lan", "linkInContainer": false, {key}}}"#);
            for (verb, refused) in [("ADD", true), ("STATUS", true), ("CHECK", false), ("GC", false)] {
                let error = serve_verb(verb, &input).err().unwrap_or_default();
                let is_about_it = error["msg"].as_str().unwrap_or_default().contains(&key[1..8]);
                assert_eq!(is_about_it, refused, "{verb} {error}");
            }
        }
    }

    #[test]
    fn an_error_bears_the_version_that_was_asked_in() {
        let error = serve_verb("ADD", r#"{"cniVersion": "0.4.0", "name": ""}"#).unwrap_err();
        assert_eq!((&error["cniVersion"], &error["code"]), (&json!("0.4.0"), &json!(7)));
    }
}
