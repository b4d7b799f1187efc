//! `docs/topologies.md`: its sections, each run as it stands there on a machine of its own.

use std::thread;

use crate::{
    cli::{Ran, binary, output},
    fail::OrFail as _,
    lab::Lab,
    netns::Netns,
};

/// The page as it was when the tests were built: a virtual machine has no checkout.
const PAGE: &str = include_str!("../../docs/topologies.md");

/// What the page says of its machine: the words it uses, and a server in the namespace `lan`.
const MACHINE: &str = r#"
asked() {
    if [ $# = 2 ]; then ip netns exec "$1" ping -q -c 1 -W 1 "$2"; else ping -q -c 1 -W 1 "$1"; fi
}
reaches() {
    # Whoever was asked for in vain just before is not asked for again at once, but given up.
    for _ in 1 2 3 4 5 6 7 8; do
        if asked "$@"; then return 0; fi
    done
    return 1
}
misses() {
    if asked "$@"; then return 1; fi
}
ip netns exec lan dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --user=root --no-ping \
    --dhcp-range=10.9.0.100,10.9.0.120,5m --dhcp-option=3,10.9.0.1 --bind-interfaces \
    --dhcp-leasefile=/run/leases --pid-file= --interface=wire0 &
"#;

/// A section of the page.
#[derive(Debug)]
pub struct Section {
    /// Its heading.
    pub title: String,
    commands: String,
}

impl Section {
    /// Whether it needs VLAN devices, which not every kernel has.
    pub fn needs_vlan(&self) -> bool {
        self.commands.contains("type vlan")
    }
}

/// All sections with their commands.
pub fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_command = false;
    for line in PAGE.lines() {
        match (line.strip_prefix("## "), sections.last_mut()) {
            (Some(title), _) if !is_command => {
                sections.push(Section { title: title.to_owned(), commands: String::new() });
            }
            (None, _) if line.starts_with("```") => is_command = line == "```sh",
            (_, Some(section)) if is_command => section.commands += &format!("{line}\n"),
            _ => {}
        }
    }
    sections
}

/// Runs sections side by side, and fails unless each is as it says.
#[track_caller]
pub fn hold(sections: impl Iterator<Item = Section>) {
    thread::scope(|scope| {
        for section in sections {
            assert!(section.commands.contains("reaches "), "{} claims nothing", section.title);
            scope.spawn(move || {
                let ran = run(&section.commands, section.needs_vlan());
                assert!(ran.status.success(), "{}\n{}\n{}", section.title, ran.stdout, ran.stderr);
            });
        }
    });
}

/// Runs commands on a machine of their own. What they leave running ends with them.
#[track_caller]
pub fn run(commands: &str, has_vlan: bool) -> Ran {
    let lab = Lab::new();
    let web = Netns::new();
    lab.mounts().name_netns("lan", &lab.wire.ns);
    lab.mounts().name_netns("web", &web);
    if has_vlan {
        lab.wire.ns.ip_batch(
            ["link add link wire0 name wire0.7 type vlan id 7", "addr add 10.7.0.1/24 dev wire0.7"]
                .map(String::from),
        );
        lab.wire.ns.ip("link set wire0.7 up");
    }
    let mut shell = lab.command(&lab.host.ns, "unshare");
    shell.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euxc"]);
    shell.arg(format!("{MACHINE}{commands}"));
    let ours = binary().parent().or_fail("tell where the program is").display().to_string();
    output(shell.env("PATH", format!("{ours}:/usr/sbin:/usr/bin:/sbin:/bin")))
}
