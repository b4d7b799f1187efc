//! What a runtime hands over: a verb, variables of the environment, and JSON on standard input.

use std::{io::Read, path::PathBuf, str::FromStr};

use macvlan_core::{
    kernel::ifname::IfName,
    model::attachment::{Attachment, is_cni_name},
};

use crate::error::{CniError, CniResult, code};

/// Most bytes of a configuration: runtimes send a few hundred, with a large result in it some
/// thousand.
pub const MOST_INPUT: usize = 1 << 20;

/// Longest container id and network name: they are parts of file names elsewhere.
const LONGEST_NAME: usize = 255;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make an attachment.
    Add,
    /// Undo one.
    Del,
    /// Say whether one is as it was made.
    Check,
    /// Say whether ADD could be served.
    Status,
    /// Undo all attachments of a network but some.
    Gc,
    /// Say which versions of the specification are spoken.
    Version,
}

impl Verb {
    /// The word in `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

impl FromStr for Verb {
    type Err = CniError;

    fn from_str(text: &str) -> CniResult<Self> {
        let all = [Self::Add, Self::Del, Self::Check, Self::Status, Self::Gc, Self::Version];
        all.into_iter()
            .find(|verb| verb.as_str() == text)
            .ok_or_else(|| invalid(format!("CNI_COMMAND {text:?} is unknown")))
    }
}

/// The container's end of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The container's id.
    pub container: String,
    /// The name of the device in the container.
    pub ifname: IfName,
    /// Where its network namespace can be opened; a DEL may come without.
    pub netns: Option<PathBuf>,
}

impl Target {
    /// Its attachment to this network.
    pub fn attachment(&self, network: &str) -> Attachment {
        Attachment::new(network, &self.container, &self.ifname)
    }

    /// Whom an attachment names; `None` when the container's id was too long to be kept.
    pub fn of(attachment: &Attachment) -> Option<Self> {
        let (container, ifname) = attachment.target()?;
        Some(Self { container: container.to_owned(), ifname, netns: None })
    }
}

/// A request, its parts checked one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What is to be done.
    pub verb: Verb,
    /// For whom: ADD, DEL and CHECK alone have one.
    pub target: Option<Target>,
    /// `CNI_ARGS`.
    pub args: String,
    /// Directories of `CNI_PATH`, where other plugins are.
    pub path: Vec<PathBuf>,
    /// Standard input as it came.
    pub input: Vec<u8>,
}

impl Invocation {
    /// Reads a request from variables and standard input.
    ///
    /// # Errors
    ///
    /// Code 4 for variables, 5 for input that cannot be read or is longer than [`MOST_INPUT`].
    pub fn read(var: impl Fn(&str) -> Option<String>, input: impl Read) -> CniResult<Self> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let verb: Verb = required(&var, "CNI_COMMAND")?.parse()?;
        let target = match verb {
            Verb::Add | Verb::Check => {
                required(&var, "CNI_NETNS")?;
                Some(target(&var)?)
            }
            Verb::Del => Some(target(&var)?),
            Verb::Status | Verb::Gc | Verb::Version => None,
        };
        let path = match verb {
            Verb::Version | Verb::Status => var("CNI_PATH").unwrap_or_default(),
            _ => required(&var, "CNI_PATH")?,
        };
        let path = std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect();
        Ok(Self { verb, target, args: var("CNI_ARGS").unwrap_or_default(), path, input: read(input)? })
    }
}

fn target(var: &impl Fn(&str) -> Option<String>) -> CniResult<Target> {
    let container = required(var, "CNI_CONTAINERID")?;
    if !is_name(&container) {
        return Err(invalid(format!(
            "CNI_CONTAINERID {container:?} is invalid: letters, digits, \"_\", \".\" and \"-\" are allowed, the first a letter or digit"
        )));
    }
    let ifname = required(var, "CNI_IFNAME")?;
    let ifname = ifname.parse().map_err(|error| invalid(format!("CNI_IFNAME: {error:#}")))?;
    Ok(Target { container, ifname, netns: var("CNI_NETNS").map(PathBuf::from) })
}

/// Whether a container or a network may be called so (`[a-zA-Z0-9][a-zA-Z0-9_.-]*`).
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && is_cni_name(text)
}

fn required(var: &impl Fn(&str) -> Option<String>, name: &str) -> CniResult<String> {
    var(name).ok_or_else(|| invalid(format!("{name} is not set")))
}

fn invalid(msg: String) -> CniError {
    CniError::new(code::INVALID_ENVIRONMENT, msg)
}

fn read(input: impl Read) -> CniResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| {
        CniError::new(code::IO_FAILURE, "cannot read the configuration").with_details(error)
    };
    input.take(MOST_INPUT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MOST_INPUT {
        return Err(CniError::new(
            code::IO_FAILURE,
            format!("the configuration is longer than {MOST_INPUT} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_with(pairs: &[(&str, &str)]) -> CniResult<Invocation> {
        let var =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Invocation::read(var, &b"{}"[..])
    }

    const WHOLE: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin:relative:/usr/lib/cni"),
    ];

    #[test]
    fn each_verb_asks_for_what_it_needs() {
        let needs = |verb: &'static str| {
            let missing = |skip: &str| {
                let mut pairs = WHOLE.to_vec();
                pairs[0].1 = verb;
                pairs.retain(|(key, _)| *key != skip);
                read_with(&pairs).is_err_and(|error| error.code == code::INVALID_ENVIRONMENT)
            };
            WHOLE.iter().map(|(key, _)| missing(key)).collect::<Vec<_>>()
        };
        assert_eq!(needs("ADD"), [true; 5]);
        assert_eq!(needs("CHECK"), [true; 5]);
        assert_eq!(needs("DEL"), [true, true, false, true, true]);
        assert_eq!(needs("GC"), [true, false, false, false, true]);
        assert_eq!(needs("STATUS"), [true, false, false, false, false]);
        assert_eq!(needs("VERSION"), [true, false, false, false, false]);
    }

    #[test]
    fn a_whole_request_is_read() {
        let request = read_with(&WHOLE).unwrap();
        assert_eq!(request.path, [PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")]);
        assert_eq!(request.target.unwrap().ifname.as_str(), "eth0");
    }

    #[test]
    fn tricks_with_names_are_refused() {
        for (key, value) in [
            ("CNI_CONTAINERID", "../../etc"),
            ("CNI_CONTAINERID", "-c"),
            ("CNI_CONTAINERID", "a b"),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", "sixteen-letters-"),
            ("CNI_COMMAND", "add"),
        ] {
            let mut pairs = WHOLE.to_vec();
            pairs.iter_mut().filter(|(name, _)| *name == key).for_each(|pair| pair.1 = value);
            assert_eq!(read_with(&pairs).unwrap_err().code, code::INVALID_ENVIRONMENT, "{key} {value}");
        }
    }

    #[test]
    fn endless_input_is_cut_short() {
        let var = |name: &str| (name == "CNI_COMMAND").then(|| "VERSION".to_owned());
        let error = Invocation::read(var, std::io::repeat(b' ')).unwrap_err();
        assert_eq!(error.code, code::IO_FAILURE);
    }

    proptest! {
        #[test]
        fn a_name_is_never_a_path(text: String) {
            prop_assert!(!is_name(&text) || !text.contains('/') && text != "." && text != "..");
        }
    }
}
