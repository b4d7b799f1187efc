//! A network's configuration: the keys of the reference `macvlan` plugin, and our own.

use std::time::Duration;

use clap::ValueEnum as _;
use macvlan_common::{child::Mode, mac::Mac};
use serde::Deserialize;
use serde_json::Value;

use super::{
    announce::PROBING,
    error::{CniError, CniResult, code},
    request::{Target, is_name},
    result::AddResult,
};
use crate::{
    datapath::choose::XdpChoice,
    ids::IfName,
    model::{parse_mac, parse_mode},
};

/// What to do where the programs cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissingBpf {
    /// Go on with plain kernel macvlan, and say so.
    #[default]
    Continue,
    /// Refuse.
    Fail,
}

/// One network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// The lower device; the default route's if `None`.
    pub master: Option<IfName>,
    /// Mode of the children.
    pub mode: Mode,
    /// Largest L3 packet; the master's if `None`.
    pub mtu: Option<u32>,
    /// The child's MAC, from the configuration, `CNI_ARGS` or the runtime, the last one winning.
    pub mac: Option<Mac>,
    /// The master is in the container's namespace.
    pub link_in_container: bool,
    /// Frames that wait for broadcast delivery; the kernel's default if `None`.
    pub bcqueuelen: Option<u32>,
    /// The plugin that manages addresses; `None` for a device without any.
    pub ipam: Option<String>,
    /// Handed on in results.
    pub dns: Value,
    /// Whether host and children may talk; `None` is yes, where it can be.
    pub host_access: Option<bool>,
    /// Where to demultiplex, when the data path is not there yet.
    pub xdp: Option<XdpChoice>,
    /// What to do where the programs cannot be had.
    pub on_missing_bpf: OnMissingBpf,
    /// How long to wait for somebody who has an address of the container already; zero is not to ask.
    pub duplicate_wait: Duration,
    /// What ADD answered.
    pub prev_result: Option<AddResult>,
    /// Attachments that GC is to leave alone; `None` where the configuration has no such list.
    pub valid_attachments: Option<Vec<Attachment>>,
}

/// An attachment that the runtime knows of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// The container's id.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The device's name in it.
    pub ifname: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    name: String,
    #[serde(default)]
    master: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    mtu: i64,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    link_in_container: bool,
    // In lower case, as the reference plugin has it.
    #[serde(default, rename = "bcqueuelen")]
    bcqueuelen: i64,
    #[serde(default)]
    ipam: Option<RawIpam>,
    #[serde(default)]
    dns: Option<Value>,
    #[serde(default)]
    runtime_config: Option<RawRuntime>,
    host_access: Option<bool>,
    anti_spoof: Option<bool>,
    group: Option<String>,
    rate: Option<Value>,
    xdp: Option<String>,
    #[serde(default)]
    on_missing_bpf: OnMissingBpf,
    duplicate_wait: Option<i64>,
    prev_result: Option<AddResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
struct RawIpam {
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawRuntime {
    #[serde(default)]
    mac: String,
}

impl Config {
    /// Reads a configuration, with what `CNI_ARGS` says.
    ///
    /// # Errors
    ///
    /// Code 6 when it is not JSON of that shape, 7 when a value is invalid or this build cannot do
    /// what it asks for, 4 when `CNI_ARGS` is invalid.
    pub fn read(input: &[u8], args: &str) -> CniResult<Self> {
        let raw: Raw = serde_json::from_slice(input).map_err(|error| {
            CniError::new(code::DECODING_FAILURE, "cannot understand the network configuration")
                .with_details(error)
        })?;
        if !is_name(&raw.name) {
            return Err(invalid(match raw.name.as_str() {
                "" => "the network has no name".into(),
                name => format!("network name {name:?} is invalid"),
            }));
        }
        refuse_what_is_not_there(&raw)?;
        let from_args = mac_of_args(args)?;
        let from_runtime = raw.runtime_config.map(|runtime| runtime.mac).filter(|mac| !mac.is_empty());
        let mac = from_runtime.or(from_args).or(Some(raw.mac)).filter(|mac| !mac.is_empty());
        let mode = if raw.mode.is_empty() { "bridge" } else { &raw.mode };
        let mode = parse_mode(mode).map_err(|error| invalid(format!("{error:#}")))?;
        if mode == Mode::Source {
            return Err(invalid("mode \"source\" needs a list of sources, which CNI has not".into()));
        }
        Ok(Self {
            name: raw.name,
            master: match raw.master.as_str() {
                "" => None,
                name => Some(name.parse().map_err(|error| invalid(format!("master: {error:#}")))?),
            },
            mode,
            mtu: number("mtu", raw.mtu)?,
            mac: match mac {
                Some(mac) => Some(parse_mac(&mac).map_err(|error| invalid(format!("{error:#}")))?),
                None => None,
            },
            link_in_container: raw.link_in_container,
            bcqueuelen: number("bcqueuelen", raw.bcqueuelen)?,
            ipam: raw.ipam.map(|ipam| ipam.kind).filter(|kind| !kind.is_empty()),
            dns: raw.dns.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            host_access: raw.host_access,
            xdp: match raw.xdp {
                Some(word) => Some(xdp(&word)?),
                None => None,
            },
            on_missing_bpf: raw.on_missing_bpf,
            duplicate_wait: raw.duplicate_wait.map_or(Ok(PROBING), duplicate_wait)?,
            prev_result: raw.prev_result,
            valid_attachments: raw.valid_attachments,
        })
    }

    /// Whether the data path is to be there for a child.
    pub fn wants_host_access(&self) -> bool {
        // The host of a master that a container has is the container itself; other modes than these
        // have their way to the host through the switch, or none.
        self.host_access.unwrap_or(!self.link_in_container && self.mode.is_hairpinned())
    }

    /// Whether GC is to leave this attachment alone.
    pub fn is_valid(&self, target: &Target) -> bool {
        let valid = self.valid_attachments.iter().flatten();
        valid.into_iter().any(|one| one.container == target.container && one.ifname == target.ifname.as_str())
    }
}

/// Keys that are ours, but ask for what this build has not.
fn refuse_what_is_not_there(raw: &Raw) -> CniResult<()> {
    let asked = [
        ("antiSpoof", raw.anti_spoof == Some(true)),
        ("group", raw.group.as_ref().is_some_and(|group| !group.is_empty())),
        ("rate", raw.rate.as_ref().is_some_and(|rate| !rate.is_null())),
    ];
    if let Some((key, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(invalid(format!("{key:?} is more than this build of macvlan-cni can do; leave it out")));
    }
    if raw.link_in_container && raw.host_access == Some(true) {
        return Err(invalid(
            "hostAccess needs a master of the host, and linkInContainer puts it into the container".into(),
        ));
    }
    Ok(())
}

/// The value of `MAC` in `CNI_ARGS`. Other keys are other plugins'.
fn mac_of_args(args: &str) -> CniResult<Option<String>> {
    let mut mac = None;
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(CniError::new(
                code::INVALID_ENVIRONMENT,
                format!("CNI_ARGS: {pair:?} is not KEY=VALUE"),
            ));
        };
        if key == "MAC" {
            mac = Some(value.to_owned());
        }
    }
    Ok(mac)
}

/// Zero is "not given", as the reference plugin has it.
fn number(key: &str, value: i64) -> CniResult<Option<u32>> {
    let value = u32::try_from(value).map_err(|_| invalid(format!("{key} {value} is out of range")))?;
    Ok(Some(value).filter(|value| *value != 0))
}

/// Longest wait for somebody who has an address: what RFC 5227 takes in all.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Milliseconds.
fn duplicate_wait(value: i64) -> CniResult<Duration> {
    let wait = u64::try_from(value).map(Duration::from_millis).ok().filter(|wait| *wait <= LONGEST_WAIT);
    wait.ok_or_else(|| {
        let most = LONGEST_WAIT.as_millis();
        invalid(format!("duplicateWait {value} is out of range: 0 to {most} milliseconds"))
    })
}

fn xdp(word: &str) -> CniResult<XdpChoice> {
    XdpChoice::from_str(word, false)
        .map_err(|_| invalid(format!("xdp {word:?} is none of auto, native, generic and off")))
}

fn invalid(msg: String) -> CniError {
    CniError::new(code::INVALID_CONFIG, msg)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str, args: &str) -> CniResult<Config> {
        Config::read(json.as_bytes(), args)
    }

    #[test]
    fn what_is_left_out_is_as_the_reference_plugin_has_it() {
        let config = read(r#"{"name": "lan", "type": "macvlan-cni", "unheard": [1]}"#, "").unwrap();
        assert_eq!(
            (config.master, config.mode, config.mtu, config.mac, config.bcqueuelen, config.ipam),
            (None, Mode::Bridge, None, None, None, None)
        );
        assert_eq!(config.host_access, None);
    }

    #[test]
    fn the_runtimes_mac_wins_over_that_of_the_arguments_over_that_of_the_file() {
        let file = r#"{"name": "lan", "mac": "02:00:00:00:00:01"}"#;
        let both = r#"{"name": "lan", "mac": "02:00:00:00:00:01",
                       "runtimeConfig": {"mac": "02:00:00:00:00:03"}}"#;
        let mac = |json, args| read(json, args).unwrap().mac.unwrap().octets()[5];
        assert_eq!(mac(file, ""), 1);
        assert_eq!(mac(file, "IgnoreUnknown=1;MAC=02:00:00:00:00:02"), 2);
        assert_eq!(mac(both, "MAC=02:00:00:00:00:02"), 3);
    }

    #[test]
    fn every_bad_value_has_its_code() {
        for (json, args, code) in [
            ("", "", code::DECODING_FAILURE),
            ("[]", "", code::DECODING_FAILURE),
            (r#"{"name": "lan", "mtu": "big"}"#, "", code::DECODING_FAILURE),
            (r#"{"name": "lan", "onMissingBpf": "panic"}"#, "", code::DECODING_FAILURE),
            ("{}", "", code::INVALID_CONFIG),
            (r#"{"name": "../lan"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "master": "a/b"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "mode": "router"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "mode": "source"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "mtu": -1}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "bcqueuelen": 4294967296}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "mac": "01:00:00:00:00:01"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "xdp": "always"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "duplicateWait": -1}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "duplicateWait": 10001}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "antiSpoof": true}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "group": "blue"}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "rate": {"in": 1}}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan", "hostAccess": true, "linkInContainer": true}"#, "", code::INVALID_CONFIG),
            (r#"{"name": "lan"}"#, "MAC", code::INVALID_ENVIRONMENT),
            (r#"{"name": "lan"}"#, "MAC=nonsense", code::INVALID_CONFIG),
        ] {
            assert_eq!(read(json, args).unwrap_err().code, code, "{json} {args}");
        }
    }

    #[test]
    fn own_keys_that_ask_for_nothing_are_taken() {
        let json = r#"{"name": "lan", "antiSpoof": false, "group": "", "rate": null, "xdp": "off",
                       "hostAccess": false, "onMissingBpf": "fail"}"#;
        let config = read(json, "").unwrap();
        assert!(!config.wants_host_access());
        assert_eq!((config.xdp, config.on_missing_bpf), (Some(XdpChoice::Off), OnMissingBpf::Fail));
    }

    proptest! {
        #[test]
        fn any_input_is_read_without_a_panic(input: Vec<u8>, args: String) {
            let _ = Config::read(&input, &args);
        }
    }
}
