//! `generate`: man pages and completions, from the definition of the command line.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use macvlan_common::neigh::LIFETIME;

use crate::{
    args::{Cli, Generate},
    commands::terms,
    complete,
};

/// The name of the program and of its first page.
const NAME: &str = "macvlan-ctl";

/// The name of the page about the configuration.
const CONFIGURATION: &str = "macvlan-ctl-config";

/// A configuration with every key.
const EXAMPLE: &str = include_str!("../../../../../deploy/config.toml");

/// Writes what was asked for.
pub fn generate(what: &Generate) -> Result<()> {
    match what {
        Generate::Man { directory } => write_pages(directory),
        Generate::Completions { shell } => complete::write_script(*shell, &mut io::stdout()),
    }
}

/// A page for the program and one for each of its commands, named as `git` names them.
fn write_pages(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {directory:?}"))?;
    for (name, page) in pages()? {
        let path = directory.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {path:?}"))?;
    }
    Ok(())
}

/// File names and contents of all pages.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command();
    // Fills in what commands inherit.
    root.build();
    let mut pages = Vec::new();
    collect(&root, NAME, &mut pages)?;
    pages.push((format!("{CONFIGURATION}.5"), configuration()?));
    Ok(pages)
}

/// The page about the configuration: the example in the package, which has every key with its default.
fn configuration() -> Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{CONFIGURATION} - what run, apply and check bring a machine to"))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(crate::args::DEFAULT_CONFIG)]);
    roff.control("SH", ["DESCRIPTION"]);
    literal(&mut roff, EXAMPLE);
    let mut page = title(CONFIGURATION, 5).into_bytes();
    roff.to_writer(&mut page)?;
    see_also(CONFIGURATION).to_writer(&mut page)?;
    Ok(page)
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    // The commands' own pages say more than a list of what is below them would.
    let below: Vec<&Command> = command.get_subcommands().filter(|below| is_shown(below)).collect();
    pages.push((format!("{name}.8"), page(command, name, &below)?));
    for command in below {
        collect(command, &format!("{name}-{}", command.get_name()), pages)?;
    }
    Ok(())
}

/// Whether a command gets a page: not those for packagers, nor clap's own `help`.
fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn page(command: &Command, name: &str, below: &[&Command]) -> Result<Vec<u8>> {
    let man = Man::new(command.clone().subcommand_value_name("command"));
    let mut page = title(name, 8).into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if !below.is_empty() {
        commands(name, below).to_writer(&mut page)?;
    }
    if let Some(help) = command.get_after_long_help().or(command.get_after_help())
        && name != NAME
    {
        notes(&help.to_string()).to_writer(&mut page)?;
    }
    if let Some((title, meanings)) = terms::of_page(name) {
        let mut roff = Roff::new();
        roff.control("SH", [title]);
        definitions(&mut roff, &meanings);
        roff.to_writer(&mut page)?;
    }
    addresses(name).to_writer(&mut page)?;
    examples(name).to_writer(&mut page)?;
    exit_status(name).to_writer(&mut page)?;
    if name == NAME {
        files().to_writer(&mut page)?;
    }
    see_also(name).to_writer(&mut page)?;
    Ok(page)
}

/// The page's title, without a date: pages of the same version are the same whenever they were made.
/// Written here because clap_mangen drops an empty date, and takes the version for it.
fn title(name: &str, section: u8) -> String {
    let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    let manual = if section == 5 { "File formats" } else { "System administration" };
    format!(".TH {title} {section} \"\" \"{NAME} {version}\" \"{manual}\"\n")
}

fn commands(name: &str, below: &[&Command]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in below {
        roff.control("TP", []);
        roff.text([bold(format!("{name}-{}(8)", command.get_name()))]);
        roff.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

/// Text whose columns matter.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]);
    literal(&mut roff, text);
    roff
}

fn literal(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// How long requests for an address are directed, where that is decided.
fn addresses(name: &str) -> Roff {
    let mut roff = Roff::new();
    if !matches!(name, "macvlan-ctl-attach" | "macvlan-ctl-run") {
        return roff;
    }
    let minutes = LIFETIME / 60_000_000_000;
    roff.control("SH", ["ADDRESSES"]);
    roff.text([roman(format!(
        "An ARP request or neighbour solicitation for a known address goes to its owner alone, one of the host to \
         the wire as well. An address is believed for {minutes} minutes after it was last heard of: in ARP and \
         neighbour discovery that its owner itself sends, or from the kernel. attach, apply and child ask the \
         kernel once; run goes on asking, so that what it knows does not expire. Requests for an address that was \
         forgotten, that nobody here has, that two have claimed, or that its owner does not answer for go to \
         everybody, as without macvlan-ctl. The host looks for its gateways on the wire alone."
    ))]);
    roff
}

/// What a user may type, by page. A command without an entry has its synopsis alone.
const EXAMPLES: [(&str, &str); 13] = [
    (
        "macvlan-ctl",
        "macvlan-ctl attach eth0\nmacvlan-ctl status eth0\nmacvlan-ctl -j stats eth0\nmacvlan-ctl detach eth0",
    ),
    (
        "macvlan-ctl-attach",
        "macvlan-ctl attach eth0\nmacvlan-ctl attach eth0 --child web,netns=web,ip=192.0.2.60/24,gw=192.0.2.1",
    ),
    ("macvlan-ctl-detach", "macvlan-ctl detach eth0 --delete-children"),
    ("macvlan-ctl-status", "macvlan-ctl status\nmacvlan-ctl -j status eth0"),
    ("macvlan-ctl-stats", "macvlan-ctl stats eth0 --watch 1"),
    ("macvlan-ctl-child-add", "macvlan-ctl child add eth0 cache,netns=cache,mode=private"),
    ("macvlan-ctl-child-set", "macvlan-ctl child set eth0 db,host-access=off"),
    ("macvlan-ctl-child-del", "macvlan-ctl child del eth0 cache"),
    ("macvlan-ctl-run", "macvlan-ctl run eth0\nsystemctl enable --now macvlan-ctl@eth0.service"),
    ("macvlan-ctl-apply", "macvlan-ctl apply --dry-run\nmacvlan-ctl apply"),
    ("macvlan-ctl-trace", "macvlan-ctl trace eth0 --child web --count 10"),
    ("macvlan-ctl-doctor", "macvlan-ctl doctor eth0\nmacvlan-ctl -j doctor"),
    ("macvlan-ctl-xsk-serve", "macvlan-ctl -n shop xsk serve eth0 /run/shop/xsk.sock --uid 1000"),
];

fn examples(name: &str) -> Roff {
    let mut roff = Roff::new();
    if let Some((_, text)) = EXAMPLES.iter().find(|(page, _)| *page == name) {
        roff.control("SH", ["EXAMPLES"]);
        literal(&mut roff, text);
    }
    roff
}

fn exit_status(name: &str) -> Roff {
    let wrong = match name {
        "macvlan-ctl-check" => "That cannot be told, or the command line is wrong.",
        _ => "The command line is wrong.",
    };
    let (done, failed) = match name {
        "macvlan-ctl-doctor" => ("No problem was found.", "A problem was found, or looking failed."),
        "macvlan-ctl-check" => ("Nothing would change.", "Something would change."),
        _ => ("Done, with a warning where less than asked for was possible.", "Failed."),
    };
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    definitions(&mut roff, &[("0", done), ("1", failed), ("2", wrong)]);
    roff
}

fn files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    definitions(
        &mut roff,
        &[
            (crate::args::DEFAULT_CONFIG, "What run, apply and check bring the machine to."),
            ("/sys/fs/bpf/macvlan-ctl", "What is attached: maps, programs and links of each master."),
            ("/run/macvlan-ctl", "Locks, while commands run."),
        ],
    );
    roff
}

fn definitions(roff: &mut Roff, entries: &[(&str, &str)]) {
    for (term, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}

fn see_also(name: &str) -> Roff {
    let mut others = vec!["macvlan-ctl-config(5)", "ip-link(8)", "tc-bpf(8)"];
    others.retain(|other| !other.starts_with(&format!("{name}(")));
    if name != NAME {
        others.insert(0, "macvlan-ctl(8)");
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(others.join(", "))]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_the_sections_that_it_needs() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["macvlan-ctl.8", "macvlan-ctl-attach.8", "macvlan-ctl-child-add.8", "macvlan-ctl-doctor.8"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("generate") || name.contains("help")), "{names:?}");
        let told: Vec<&str> = pages
            .iter()
            .filter(|(_, page)| String::from_utf8_lossy(page).contains("believed for 5 minutes after"))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(told, ["macvlan-ctl-attach.8", "macvlan-ctl-run.8"]);
        for (name, page) in &pages {
            let page = String::from_utf8(page.clone()).unwrap();
            let of_commands = if name.ends_with(".8") { &["OPTIONS", "EXIT STATUS"][..] } else { &[] };
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"].iter().chain(of_commands) {
                let heading = |line: &str| line.trim_start_matches(".SH ").trim_matches('"') == *section;
                assert!(page.lines().any(heading), "{name} has no {section}");
            }
        }
        for (name, section, terms) in [
            ("macvlan-ctl-top.8", "KEYS", &["quit", "show the selected child"][..]),
            ("macvlan-ctl-trace.8", "VERDICTS", &["turned around at the master", "dhcp_guard"]),
            ("macvlan-ctl-stats.8", "DROP REASONS", &["isolated", "storm", "rate"]),
        ] {
            let (_, page) = pages.iter().find(|(page, _)| page == name).unwrap();
            let page = String::from_utf8_lossy(page);
            assert!(page.contains(section), "{name} has no {section}");
            terms.iter().for_each(|term| assert!(page.contains(term), "{name} lacks {term}"));
        }
        let (name, page) = pages.last().unwrap();
        let page = String::from_utf8_lossy(page);
        assert_eq!(name, "macvlan-ctl-config.5");
        assert!(page.contains("storm\\-limit") || page.contains("storm-limit"), "{page}");
        let first = String::from_utf8(pages[0].1.clone()).unwrap();
        assert!(first.contains("FILES") && first.contains("EXAMPLES"));
    }

    #[test]
    fn every_example_belongs_to_a_page_and_is_a_command_line() {
        let pages = pages().unwrap();
        for (name, text) in EXAMPLES {
            assert!(pages.iter().any(|(page, _)| *page == format!("{name}.8")), "{name}");
            for line in text.lines().filter(|line| line.starts_with(NAME)) {
                let words = line.split_whitespace();
                assert!(Cli::command().try_get_matches_from(words).is_ok(), "{line}");
            }
        }
    }
}
