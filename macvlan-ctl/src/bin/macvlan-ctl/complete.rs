//! What a shell completes: commands and options, and the devices, children, containers, network namespaces and
//! groups that are there when somebody asks.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs, io, process,
};

use anyhow::{Context as _, Result};
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{
    CompleteEnv, Shell,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use macvlan_core::{
    commands::status::status,
    kernel::{
        netlink::{Netlink, link::ListOptions},
        netns::NetnsRef,
    },
    model::{master_name::MasterName, spec::SPEC_KEYS, status::ChildStatus},
};

use crate::args::Cli;

/// The variable by which a shell asks for completions, and that names the shell.
const VARIABLE: &str = "COMPLETE";

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// Answers a shell that asks for completions, and ends; does nothing where none asks.
pub fn answer() {
    let is_asked = env::var_os(VARIABLE).is_some();
    if let Some(netns) = is_asked.then(|| typed_netns(env::args_os())).flatten()
        && netns.open().and_then(|netns| netns.enter()).is_err()
    {
        // It has no devices to offer, and a shell has no place for an error.
        process::exit(0);
    }
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Writes what makes a shell ask.
///
/// # Errors
///
/// `to` cannot be written to.
pub fn write_script(shell: Shell, to: &mut dyn io::Write) -> Result<()> {
    let (name, shells) = (shell.to_string(), Shells::builtins());
    let shell = shells.completer(&name).with_context(|| format!("{name} is no shell that can complete"))?;
    let program = env!("CARGO_BIN_NAME");
    Ok(shell.write_registration(VARIABLE, program, program, program, to)?)
}

/// The namespace in the line that is typed: a shell gives it after "--".
fn typed_netns(words: impl Iterator<Item = OsString>) -> Option<NetnsRef> {
    let line = words.skip_while(|word| word != "--").skip(1);
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(line).ok()?;
    matches.try_get_one("netns").ok().flatten().cloned()
}

fn command() -> Command {
    with_completers(Cli::command())
}

fn with_completers(mut command: Command) -> Command {
    let makes_children = matches!(command.get_name(), "add" | "attach");
    command = command.mut_args(|arg| with_completer(arg, makes_children));
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, below| command.mut_subcommand(below, with_completers))
}

fn with_completer(arg: Arg, makes_children: bool) -> Arg {
    let completer = match arg.get_id().as_str() {
        "device" | "master" | "masters" => ArgValueCompleter::new(|typed: &OsStr| starting(typed, devices())),
        "children" if makes_children => ArgValueCompleter::new(|typed: &OsStr| settings(typed, Vec::new)),
        "children" | "child" => ArgValueCompleter::new(|typed: &OsStr| settings(typed, children)),
        "netns" => ArgValueCompleter::new(|typed: &OsStr| starting(typed, namespaces())),
        _ => return arg,
    };
    arg.add(completer)
}

/// A text to complete to, and what it is.
type Candidate = (String, Option<String>);

fn starting(typed: &OsStr, candidates: Vec<Candidate>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let added = |text: &str| text.strip_prefix(&*typed).is_some_and(is_plain);
    let fitting = candidates.into_iter().filter(|(text, _)| added(text));
    fitting.map(|(text, help)| CompletionCandidate::new(text).help(help.map(Into::into))).collect()
}

/// Whether a text means nothing to a shell or a terminal. A container chooses the names of its devices, `$(reboot)` too,
/// and what is completed is run at the next key.
fn is_plain(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_alphanumeric() || "._-@+:,=".contains(char))
}

/// Completes `NAME[,KEY=VALUE]...`: the name to one of these, a key, or the value of a key.
fn settings(typed: &OsStr, names: impl Fn() -> Vec<Candidate>) -> Vec<CompletionCandidate> {
    let text = typed.to_string_lossy();
    let Some((before, last)) = text.rsplit_once(',') else { return starting(typed, names()) };
    let candidates = match last.split_once('=') {
        None => keys(),
        Some((key, _)) => {
            values(key).into_iter().map(|(value, help)| (format!("{key}={value}"), help)).collect()
        }
    };
    let whole = candidates.into_iter().map(|(setting, help)| (format!("{before},{setting}"), help));
    starting(typed, whole.collect())
}

fn keys() -> Vec<Candidate> {
    let written = |key: &str| if matches!(key, "up" | "down") { key.to_owned() } else { format!("{key}=") };
    SPEC_KEYS.split(", ").map(|key| (written(key), None)).collect()
}

fn values(key: &str) -> Vec<Candidate> {
    let words: &[&str] = match key {
        "netns" => return namespaces().into_iter().chain(containers()).collect(),
        "group" => return groups().into_iter().chain([("none".to_owned(), None)]).collect(),
        "mode" => &["bridge", "vepa", "private", "passthru", "source"],
        "kind" => &["macvlan", "macvtap", "port"],
        "anti-spoof" => &["off", "mac", "ip"],
        "vepa-reflect" => &["switch", "local"],
        "isolation" => &["strict"],
        "rate-scope" => &["all", "wire"],
        "rate-rx" | "rate-tx" => &["off"],
        "host-access" | "sibling-access" | "ra" | "dhcp-server" | "host-control" | "mac-change" => {
            &["on", "off"]
        }
        _ => &[],
    };
    words.iter().map(|word| ((*word).to_owned(), None)).collect()
}

/// Devices that may be masters.
fn devices() -> Vec<Candidate> {
    let links = wait_for(async { Netlink::open()?.links(ListOptions::default()).await });
    let masters = links.unwrap_or_default().into_iter().filter(|link| !link.is_child() && link.name != "lo");
    let by_route = (MasterName::DEFAULT_ROUTE.to_owned(), Some("the device of the default route".to_owned()));
    masters.map(|link| (link.name, None)).chain([by_route]).collect()
}

/// Children, by the container they are in and by their interface.
fn children() -> Vec<Candidate> {
    let names = known_children().into_iter().flat_map(|child| {
        let mac = child.address.to_string();
        let container = child.container.as_ref().map(|container| container.known_name().to_owned());
        [container, Some(child.ifname)].into_iter().flatten().map(move |name| (name, Some(mac.clone())))
    });
    // Two children of a name are told apart by other means than their name.
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn containers() -> Vec<Candidate> {
    let names = known_children().into_iter().filter_map(|child| child.container);
    let names: BTreeSet<String> = names.map(|container| container.known_name().to_owned()).collect();
    names.into_iter().map(|name| (name, None)).collect()
}

fn groups() -> Vec<Candidate> {
    let groups: BTreeSet<String> =
        known_children().into_iter().filter_map(|child| child.policy.group).collect();
    groups.into_iter().map(|name| (name, None)).collect()
}

fn namespaces() -> Vec<Candidate> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, None))).collect()
}

/// Every child that can be seen: an ordinary user may see none.
fn known_children() -> Vec<ChildStatus> {
    let masters = wait_for(status(None)).unwrap_or_default();
    masters.into_iter().flat_map(|master| master.children).collect()
}

fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(candidates: Vec<CompletionCandidate>) -> Vec<String> {
        candidates.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    fn of_setting(typed: &str) -> Vec<String> {
        let names = || vec![("web".to_owned(), None), ("db".to_owned(), None)];
        texts(settings(OsStr::new(typed), names))
    }

    #[test]
    fn names_keys_and_values_are_completed_one_after_the_other() {
        assert_eq!(of_setting(""), ["web", "db"]);
        assert_eq!(of_setting("w"), ["web"]);
        assert_eq!(of_setting("web,anti"), ["web,anti-spoof="]);
        assert_eq!(of_setting("web,ra=off,vepa"), ["web,ra=off,vepa-reflect="]);
        assert_eq!(of_setting("web,mode=p"), ["web,mode=private", "web,mode=passthru"]);
        assert_eq!(of_setting("web,ra="), ["web,ra=on", "web,ra=off"]);
        assert_eq!(of_setting("web,u"), ["web,up"]);
        assert!(of_setting("web,mac=").is_empty());
        assert_eq!(of_setting("web,").len(), SPEC_KEYS.split(", ").count());
    }

    #[test]
    fn the_namespace_is_that_of_the_line() {
        let netns = |line: &str| typed_netns(line.split_whitespace().map(OsString::from));
        assert_eq!(netns("x -- macvlan-ctl -n web child set eth0 w"), "web".parse().ok());
        assert_eq!(netns("x -- macvlan-ctl status --netns=web e"), "web".parse().ok());
        assert_eq!(netns("x -- macvlan-ctl child set eth0"), None);
        assert_eq!(netns("x -n web"), None);
    }

    #[test]
    fn a_name_that_a_shell_or_a_terminal_would_act_on_is_not_offered() {
        let hostile = [
            "$(reboot)",
            "`id`",
            "a;b",
            "a|b",
            "a&b",
            "a>b",
            "a\"b",
            "a'b",
            "a\\b",
            "a*",
            "~a",
            "#a",
            "\u{1b}[2J",
            "a b",
        ];
        let names =
            hostile.into_iter().chain(["web", "eth0.5", "a-b_c@d"]).map(|name| (name.to_owned(), None));
        assert_eq!(texts(starting(OsStr::new(""), names.collect())), ["web", "eth0.5", "a-b_c@d"]);
    }

    #[test]
    fn every_command_keeps_its_arguments_and_devices_are_asked_for() {
        command().debug_assert();
        let with = |command: &Command, id: &str| {
            command.get_arguments().any(|arg| arg.get_id() == id && arg.get::<ArgValueCompleter>().is_some())
        };
        let root = command();
        for name in ["attach", "detach", "status", "stats", "top", "trace", "doctor"] {
            assert!(with(root.find_subcommand(name).unwrap(), "master"), "{name}");
        }
        let child = root.find_subcommand("child").unwrap();
        for name in ["add", "set", "del"] {
            assert!(with(child.find_subcommand(name).unwrap(), "children"), "{name}");
        }
        assert!(with(&root, "netns"));
    }
}
