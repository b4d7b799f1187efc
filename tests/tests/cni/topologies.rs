//! `docs/topologies.md`, run as it stands there.

use std::{fs, thread};

use macvlan_tests::{
    cli::{Ran, output, workspace},
    cni::plugin,
    fail::OrFail as _,
    lab::Lab,
    needs,
    netns::Netns,
    require,
};

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
struct Section {
    title: String,
    commands: String,
}

fn sections() -> Vec<Section> {
    let page = fs::read_to_string(workspace().join("docs/topologies.md")).or_fail("read the page");
    let mut sections: Vec<Section> = Vec::new();
    let mut is_command = false;
    for line in page.lines() {
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

/// Runs commands on a machine of their own. What they leave running ends with them.
#[track_caller]
fn run(commands: &str, has_vlan: bool) -> Ran {
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
    let ours = plugin().parent().or_fail("tell where the program is").display().to_string();
    output(shell.env("PATH", format!("{ours}:/usr/sbin:/usr/bin:/sbin:/bin")))
}

/// Whether the kernel has VLAN devices.
fn has_vlan() -> bool {
    let ns = Netns::new();
    ns.ip("link add lo0 type veth peer name lo1");
    output(ns.command("ip").args("link add link lo0 name lo0.7 type vlan id 7".split(' '))).status.success()
}

#[test]
fn every_topology_is_as_the_page_says() {
    needs!(require::lab, require::cni, require::binary, require::ping_command, dnsmasq);
    let mut sections = sections();
    assert_eq!(sections.len(), 7, "sections of the page");
    let has_vlan = has_vlan();
    if !has_vlan {
        let before = sections.len();
        sections.retain(|section| !section.commands.contains("type vlan"));
        assert_eq!(sections.len(), before - 1);
        eprintln!("this kernel has no 8021q: the section about VLANs is left to one that has");
    }
    thread::scope(|scope| {
        for section in &sections {
            assert!(section.commands.contains("reaches "), "{} claims nothing", section.title);
            scope.spawn(move || {
                let ran = run(&section.commands, has_vlan);
                assert!(ran.status.success(), "{}\n{}\n{}", section.title, ran.stdout, ran.stderr);
            });
        }
    });
}

#[test]
fn a_claim_of_the_page_that_does_not_hold_is_found() {
    needs!(require::lab, require::cni, require::binary, require::ping_command, dnsmasq);
    for claim in ["reaches 10.9.0.99", "misses 10.9.0.1", "reaches web 10.9.0.2", "misses lan 10.9.0.2"] {
        assert!(!run(&format!("{claim}\ntrue\n"), false).status.success(), "{claim}");
    }
}

fn dnsmasq() -> Result<(), String> {
    require::program("dnsmasq")
}
