//! A network's configuration: the keys of the reference `macvlan` plugin, and our own.

pub mod keys;
mod rate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use macvlan_common::{
    child::{AntiSpoof, Mode},
    group::GroupName,
    mac::Mac,
};
use macvlan_core::{
    kernel::netlink::kind::Kind,
    model::{
        keyword::parse_keyword,
        master_name::MasterName,
        options::{SingleMac, XdpChoice},
        parse::{parse_kind, parse_mac, parse_mode},
        spec::{Settings, parse_isolation},
    },
    policy::change::{PolicyChange, Reflection, parse_anti_spoof, parse_group},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    announce::PROBING,
    config::rate::{Rate, RawBandwidth, RawRate},
    error::{CniError, CniResult, code},
    request::{Target, is_name},
    result::AddResult,
};

/// What to do where the programs are unavailable.
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
    pub master: Option<MasterName>,
    /// What the children are: macvlans or ports.
    pub kind: Kind,
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
    /// The only siblings that it may talk to.
    pub group: Option<GroupName>,
    /// How far it is held to its addresses.
    pub anti_spoof: AntiSpoof,
    /// A MAC that is set from inside counts.
    pub mac_change: bool,
    /// Who reflects its frames in mode vepa; `None` is the switch.
    pub vepa_reflect: Option<Reflection>,
    /// How much it may receive and send.
    pub rate: Rate,
    /// Where to demultiplex, when the data path is not there yet.
    pub xdp: Option<XdpChoice>,
    /// Whether containers have the master's MAC on the wire, when the data path is not there yet.
    pub single_mac: Option<SingleMac>,
    /// What to do where the programs are unavailable.
    pub on_missing_bpf: OnMissingBpf,
    /// How long to wait for somebody who has an address of the container already; zero is not to ask.
    pub duplicate_wait: Duration,
    /// What ADD answered.
    pub prev_result: Option<AddResult>,
    /// Attachments that GC is to leave alone; `None` where the runtime says nothing of them.
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
    kind: Option<String>,
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
    anti_spoof: Option<RawAntiSpoof>,
    isolation: Option<String>,
    mac_change: Option<bool>,
    group: Option<String>,
    rate: Option<RawRate>,
    xdp: Option<String>,
    single_mac: Option<bool>,
    #[serde(default)]
    on_missing_bpf: OnMissingBpf,
    duplicate_wait: Option<i64>,
    prev_result: Option<AddResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
    #[serde(rename = "cni.dev/attachments")]
    former_valid_attachments: Option<Vec<Attachment>>,
}

/// A degree by its name; `true` is the MAC.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawAntiSpoof {
    Switch(bool),
    Degree(String),
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
    bandwidth: Option<RawBandwidth>,
}

impl Config {
    /// Reads a configuration whose keys are spelled as [`keys::object`] spells them, with what `CNI_ARGS`
    /// says.
    ///
    /// # Errors
    ///
    /// Code 6 when it is not of that shape, 2 when a rate has a key that is none, 7 when a value is invalid or this build cannot do
    /// what it asks for, 4 when `CNI_ARGS` is invalid.
    pub fn read(object: Map<String, Value>, args: &str) -> CniResult<Self> {
        let raw: Raw = serde_json::from_value(Value::Object(object)).map_err(|error| {
            CniError::new(code::DECODING_FAILURE, "cannot understand the network configuration")
                .with_details(error)
        })?;
        if !is_name(&raw.name) {
            return Err(invalid(match raw.name.as_str() {
                "" => "the network has no name".into(),
                name => format!("network name {name:?} is invalid"),
            }));
        }
        let from_args = mac_of_args(args)?;
        let (from_runtime, bandwidth) =
            raw.runtime_config.map(|runtime| (runtime.mac, runtime.bandwidth)).unzip();
        let from_runtime = from_runtime.filter(|mac| !mac.is_empty());
        let mac = from_runtime.or(from_args).or(Some(raw.mac)).filter(|mac| !mac.is_empty());
        let wrong = |error: anyhow::Error| invalid(format!("{error:#}"));
        let asked = (!raw.mode.is_empty()).then(|| parse_mode(&raw.mode)).transpose().map_err(wrong)?;
        let anti_spoof = match raw.anti_spoof {
            None => None,
            Some(RawAntiSpoof::Switch(on)) => Some(if on { AntiSpoof::Mac } else { AntiSpoof::Off }),
            Some(RawAntiSpoof::Degree(word)) => Some(parse_anti_spoof(&word).map_err(wrong)?),
        };
        let policy = PolicyChange { anti_spoof, ..PolicyChange::default() };
        let mut settings = Settings { mode: asked, policy, ..Settings::default() };
        if let Some(word) = &raw.isolation {
            parse_isolation(word).and_then(|()| settings.isolate()).map_err(wrong)?;
        }
        let mode = settings.mode.unwrap_or(Mode::Bridge);
        if mode == Mode::Source {
            return Err(invalid("mode \"source\" needs a list of sources, which CNI has not".into()));
        }
        let config = Self {
            name: raw.name,
            master: match raw.master.as_str() {
                "" => None,
                name => Some(name.parse().map_err(|error| invalid(format!("master: {error:#}")))?),
            },
            kind: raw.kind.as_deref().map_or(Ok(Kind::Macvlan), kind)?,
            mode,
            mtu: number("mtu", raw.mtu)?,
            mac: match mac {
                Some(mac) => Some(parse_mac(&mac).map_err(|error| invalid(format!("{error:#}")))?),
                None => None,
            },
            link_in_container: raw.link_in_container,
            bcqueuelen: number("bcqueuelen", raw.bcqueuelen)?,
            ipam: raw.ipam.map(|ipam| ipam.kind).filter(|kind| !kind.is_empty()),
            dns: raw.dns.unwrap_or_else(|| Value::Object(Map::new())),
            host_access: raw.host_access,
            group: match raw.group.as_deref() {
                None | Some("") => None,
                Some(name) => parse_group(name).map_err(|error| invalid(format!("{error:#}")))?,
            },
            anti_spoof: settings.policy.anti_spoof.unwrap_or(AntiSpoof::Off),
            mac_change: raw.mac_change.unwrap_or(false),
            vepa_reflect: settings.policy.vepa_reflect,
            rate: Rate::read(raw.rate, bandwidth.flatten())?,
            single_mac: raw.single_mac.map(|on| if on { SingleMac::On } else { SingleMac::Off }),
            xdp: match raw.xdp {
                Some(word) => Some(xdp(&word)?),
                None => None,
            },
            on_missing_bpf: raw.on_missing_bpf,
            duplicate_wait: raw.duplicate_wait.map_or(Ok(PROBING), duplicate_wait)?,
            prev_result: raw.prev_result,
            valid_attachments: raw.valid_attachments.or(raw.former_valid_attachments),
        };
        refuse_what_cannot_be(&config)?;
        Ok(config)
    }

    /// Refuses what no container can be attached with. Whatever it says, one that is attached can be
    /// detached.
    ///
    /// # Errors
    ///
    /// Code 7.
    pub fn require_attachable(&self) -> CniResult<()> {
        if self.anti_spoof == AntiSpoof::Ip && self.ipam.is_none() {
            return Err(invalid(
                "antiSpoof \"ip\" lets a container send from its addresses alone, and without ipam it has none: \
                 use \"mac\", or give the network an ipam"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Whether the data path is to be there for a child.
    pub fn wants_host_access(&self) -> bool {
        // The host of a master that a container has is the container itself; other modes than these
        // have their way to the host through the switch, or none.
        self.host_access.unwrap_or(!self.link_in_container && self.mode.is_hairpinned())
    }

    /// Whether a child needs the data path at all.
    pub fn wants_data_path(&self) -> bool {
        self.wants_host_access() || self.is_guarded()
    }

    fn is_guarded(&self) -> bool {
        self.group.is_some() || self.anti_spoof != AntiSpoof::Off || !self.rate.limits.is_empty()
    }

    /// Whether GC is to leave this attachment alone.
    pub fn is_valid(&self, target: &Target) -> bool {
        let valid = self.valid_attachments.iter().flatten();
        valid.into_iter().any(|one| one.container == target.container && one.ifname == target.ifname.as_str())
    }
}

/// Our own keys, where they ask for what cannot be.
fn refuse_what_cannot_be(config: &Config) -> CniResult<()> {
    if config.mac_change && config.anti_spoof == AntiSpoof::Off {
        return Err(invalid(
            "macChange lets a container change the MAC that antiSpoof holds it to: give it antiSpoof, too, or neither".into(),
        ));
    }
    if config.link_in_container && (config.host_access == Some(true) || config.is_guarded()) {
        return Err(invalid(
            "hostAccess, group, antiSpoof and rates need a master of the host, and linkInContainer puts it into the container".into(),
        ));
    }
    if config.kind == Kind::Port && config.link_in_container {
        return Err(invalid(
            "kind \"port\" needs a master of the host, and linkInContainer puts it into the container".into(),
        ));
    }
    if config.kind == Kind::Port && config.mode == Mode::Passthru {
        return Err(invalid("a port cannot be in mode passthru".into()));
    }
    Ok(())
}

/// The stack of a container reads no macvtap.
fn kind(word: &str) -> CniResult<Kind> {
    match parse_kind(word) {
        Ok(kind) if kind != Kind::Macvtap => Ok(kind),
        _ => Err(invalid(format!("unknown kind {word:?}: macvlan or port"))),
    }
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
    parse_keyword("xdp", word).map_err(|error| invalid(error.to_string()))
}

fn invalid(msg: String) -> CniError {
    CniError::new(code::INVALID_CONFIG, msg)
}
