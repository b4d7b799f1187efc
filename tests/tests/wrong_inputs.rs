//! What a person may get wrong on a command line, and the words that each mistake gets: one line that names the
//! object and what helps. Nothing is changed by any of them.

use macvlan_common::child::Mode;
use macvlan_tests::{lab::Lab, leak::Traces, needs, require};

/// A command line, its exit status, and the first line on standard error, of which only the prefix that every
/// one has is left out. Of an error of usage that is `error: `, else `macvlan-ctl: `.
/// Words that end with three dots go on.
type Mistake = (&'static [&'static str], i32, &'static str);

const MISTAKES: [Mistake; 68] = [
    // Usage: devices, options and numbers.
    (&["attach"], 2, "the following required arguments were not provided:"),
    (&["child", "add", "eth0"], 2, "the following required arguments were not provided:"),
    (&["child", "del", "eth0"], 2, "the following required arguments were not provided:"),
    (&["dance"], 2, "unrecognized subcommand 'dance'"),
    (&["statsu"], 2, "unrecognized subcommand 'statsu'"),
    (&["attach", "eth0", "--no-such-option"], 2, "unexpected argument '--no-such-option' found"),
    (&["-v", "-q", "status"], 2, "the argument '--verbose' cannot be used with '--quiet'"),
    (&["attach", "eth0", "--xdp", "sideways"], 2, "invalid value 'sideways' for '--xdp <XDP>'"),
    (&["attach", "eth0", "--tc", "cls"], 2, "invalid value 'cls' for '--tc <TC>'"),
    (
        &["attach", "eth0", "--max-children", "0"],
        2,
        "invalid value '0' for '--max-children <N>': it must be a whole number from 1 to 1048576",
    ),
    (
        &["attach", "eth0", "--max-children", "many"],
        2,
        "invalid value 'many' for '--max-children <N>': it must be a whole number from 1 to 1048576",
    ),
    (
        &["attach", "eth0", "--storm-limit", "fast"],
        2,
        "invalid value 'fast' for '--storm-limit <PPS|off>': a storm limit is 1 to 1000000000 frames per second or \
         \"off\", not fast",
    ),
    (
        &["stats", "--watch", "0"],
        2,
        "invalid value '0' for '--watch <SECONDS>': it must be a whole number from 1 to 86400",
    ),
    (
        &["stats", "--watch", "x"],
        2,
        "invalid value 'x' for '--watch <SECONDS>': it must be a whole number from 1 to 86400",
    ),
    (
        &["trace", "eth0", "--count", "0"],
        2,
        "invalid value '0' for '--count <N>': it must be a whole number from 1 to 18446744073709551615",
    ),
    (&["trace", "eth0", "--sample", "-1"], 2, "unexpected argument '-1' found"),
    (
        &["run", "eth0", "--metrics", "nonsense"],
        2,
        "invalid value 'nonsense' for '--metrics [<ADDRESS:PORT|off>]': it is neither ADDRESS:PORT, like \
         127.0.0.1:10099, nor \"off\"",
    ),
    (
        &["run", "eth0", "--metrics", "127.0.0.1:99999"],
        2,
        "invalid value '127.0.0.1:99999' for '--metrics [<ADDRESS:PORT|off>]': it is neither ADDRESS:PORT, like \
         127.0.0.1:10099, nor \"off\"",
    ),
    // Usage: what a new child is to be.
    (&["child", "add", "eth0", ""], 2, "invalid value '' for '<CHILD>...': a device name must not be empty"),
    (
        &["child", "add", "eth0", "a-name-that-is-too-long"],
        2,
        "invalid value 'a-name-that-is-too-long' for '<CHILD>...': device name \"a-name-that-is-too-long\" is too \
         long: 23 bytes, at most 15",
    ),
    (
        &["child", "add", "eth0", "db,mac=zz"],
        2,
        "invalid value 'db,mac=zz' for '<CHILD>...': in child \"db\": bad MAC \"zz\": not a MAC address of the form \
         aa:bb:cc:dd:ee:ff",
    ),
    (
        &["child", "add", "eth0", "db,mac=01:00:5e:00:00:01"],
        2,
        "invalid value 'db,mac=01:00:5e:00:00:01' for '<CHILD>...': in child \"db\": MAC 01:00:5e:00:00:01 is a \
         multicast address: the lowest bit of its first byte must be 0",
    ),
    (
        &["child", "add", "eth0", "db,ip=10.9.0.30"],
        2,
        "invalid value 'db,ip=10.9.0.30' for '<CHILD>...': in child \"db\": address \"10.9.0.30\" lacks its prefix \
         length, as in 10.9.0.30/24; for the address alone: 10.9.0.30/32",
    ),
    (
        &["child", "add", "eth0", "db,ip=10.9.0.300/24"],
        2,
        "invalid value 'db,ip=10.9.0.300/24' for '<CHILD>...': in child \"db\": \"10.9.0.300/24\" is not an IP \
         address with prefix length",
    ),
    (
        &["child", "add", "eth0", "db,ip=10.9.0.3/33"],
        2,
        "invalid value 'db,ip=10.9.0.3/33' for '<CHILD>...': in child \"db\": the prefix of \"10.9.0.3/33\" is \
         longer than 32",
    ),
    (
        &["child", "add", "eth0", "db,gw=nowhere"],
        2,
        "invalid value 'db,gw=nowhere' for '<CHILD>...': in child \"db\": gateway \"nowhere\" is not an IP \
         address",
    ),
    (
        &["child", "add", "eth0", "db,mode=brigde"],
        2,
        "invalid value 'db,mode=brigde' for '<CHILD>...': in child \"db\": unknown mode \"brigde\": bridge, vepa, \
         private, passthru or source",
    ),
    (
        &["child", "add", "eth0", "db,mtu=many"],
        2,
        "invalid value 'db,mtu=many' for '<CHILD>...': in child \"db\": mtu \"many\" is not a whole \
         number, or too large",
    ),
    (
        &["child", "add", "eth0", "db,rate-rx=fast"],
        2,
        "invalid value 'db,rate-rx=fast' for '<CHILD>...': in child \"db\": bad rate \"fast\": \"fast\" is not a \
         number with bit, kbit, mbit, gbit or tbit, or with pps, kpps or mpps",
    ),
    (
        &["child", "add", "eth0", "db,host-access=maybe"],
        2,
        "invalid value 'db,host-access=maybe' for '<CHILD>...': in child \"db\": host-access \"maybe\" is neither on \
         nor off",
    ),
    (
        &["child", "set", "eth0", "web"],
        2,
        "nothing to change of child \"web\"; write what: web,KEY=VALUE, see: macvlan-ctl help child set",
    ),
    (
        &["child", "set", "eth0", "web,anti-spoof=maybe"],
        2,
        "invalid value 'web,anti-spoof=maybe' for '<CHILD>...': in child \"web\": unknown anti-spoof \"maybe\": off, \
         mac or ip",
    ),
    (
        &["child", "set", "eth0", "a b,ra=off"],
        2,
        "invalid value 'a b,ra=off' for '<CHILD>...': \"a b\" names no child: it must have no space or \
         control character",
    ),
    (
        &["child", "add", "eth0", "a/b"],
        2,
        "invalid value 'a/b' for '<CHILD>...': device name \"a/b\" is not allowed: it must have no slash, \
         colon, space or control character",
    ),
    (
        &["child", "add", "eth0", "all"],
        2,
        "invalid value 'all' for '<CHILD>...': device name \"all\" is not allowed: the kernel keeps \
         settings under it",
    ),
    (
        &["child", "add", "eth0", "db,mac=00:00:00:00:00:00"],
        2,
        "invalid value 'db,mac=00:00:00:00:00:00' for '<CHILD>...': in child \"db\": MAC 00:00:00:00:00:00 \
         cannot be a device's own",
    ),
    (
        &["child", "add", "eth0", "db,modus=bridge"],
        2,
        "invalid value 'db,modus=bridge' for '<CHILD>...': in child \"db\": unknown key \"modus\"; keys \
         are: ...",
    ),
    (
        &["child", "set", "eth0", ",ra=off"],
        2,
        "invalid value ',ra=off' for '<CHILD>...': a child must have a name: give its container, MAC, IP \
         address or interface",
    ),
    (
        &["child", "set", "eth0", "docker:web,rate-rx=fast"],
        2,
        "invalid value 'docker:web,rate-rx=fast' for '<CHILD>...': in child \"docker:web\": bad rate \
         \"fast\": \"fast\" is not a number with bit, kbit, mbit, gbit or tbit, or with pps, kpps or mpps",
    ),
    (
        &["child", "set", "eth0", "web,netns=blue"],
        2,
        "nothing to change of child \"web\"; write what: web,KEY=VALUE, see: macvlan-ctl help child set",
    ),
    // Devices that cannot be masters, or are not there.
    (&["attach", "eth9"], 1, "cannot attach to \"eth9\": no such device; see: ip link"),
    (&["detach", "eth9"], 1, "cannot detach from \"eth9\": no such device; see: ip link"),
    (&["status", "eth9"], 1, "cannot tell of \"eth9\": no such device; see: ip link"),
    (&["stats", "eth9"], 1, "cannot tell of \"eth9\": no such device; see: ip link"),
    (&["child", "list", "eth9"], 1, "cannot tell of \"eth9\": no such device; see: ip link"),
    (
        &["trace", "eth0", "--pcap", "/dev/null"],
        1,
        "cannot create capture \"/dev/null\": it is there already; remove it, or choose another name",
    ),
    (&["trace", "eth9"], 1, "cannot trace \"eth9\": no such device; see: ip link"),
    (&["monitor", "eth9"], 1, "cannot watch \"eth9\": no such device; see: ip link"),
    (&["child", "add", "eth9", "db"], 1, "cannot change children of \"eth9\": no such device; see: ip link"),
    (&["child", "del", "eth9", "db"], 1, "cannot change children of \"eth9\": no such device; see: ip link"),
    (
        &["child", "set", "eth9", "db,up"],
        1,
        "cannot change children of \"eth9\": no such device; see: ip link",
    ),
    (
        &["attach", "eth0/1"],
        1,
        "cannot attach to \"eth0/1\": device name \"eth0/1\" is not allowed: it must have no slash, colon, space or \
         control character",
    ),
    (
        &["attach", "sixteen-bytes-xx"],
        1,
        "cannot attach to \"sixteen-bytes-xx\": device name \"sixteen-bytes-xx\" is too long: 16 bytes, at \
         most 15",
    ),
    (
        &["attach", "lo"],
        1,
        "cannot attach to \"lo\": the loopback device carries no macvlan; name a physical, VLAN, bond or \
         bridge device",
    ),
    // Children that cannot be, or are not there.
    (
        &["attach", "eth0", "--child", "web,mtu=9"],
        1,
        "cannot attach to \"eth0\": cannot add child \"web\": MTU 9 is below the least of 68",
    ),
    (
        &["child", "add", "eth0", "db,mtu=90000"],
        1,
        "cannot add child \"db\": MTU 90000 is above the 1500 of \"eth0\"; raise that first",
    ),
    (
        &["attach", "eth0", "--child", "db", "--child", "db"],
        1,
        "cannot attach to \"eth0\": cannot add child \"db\": it is given twice",
    ),
    (
        &["attach", "eth0", "--child", "db,netns=nowhere"],
        1,
        "cannot attach to \"eth0\": cannot add child \"db\": no network namespace \"nowhere\": see \"ip \
         netns list\"",
    ),
    (
        &["attach", "eth0", "--child", "db,netns=/etc/passwd"],
        1,
        "cannot attach to \"eth0\": cannot add child \"db\": cannot use \"/etc/passwd\": it is not a network \
         namespace: see \"ip netns list\"",
    ),
    (
        &["attach", "eth0", "--child", "db,netns=4194999"],
        1,
        "cannot attach to \"eth0\": cannot add child \"db\": no process 4194999",
    ),
    (
        &["child", "del", "eth0", "nobody"],
        1,
        "cannot delete child \"nobody\": \"eth0\" has no such child; see: macvlan-ctl child list eth0",
    ),
    (
        &["child", "set", "eth0", "nobody,ra=off"],
        1,
        "cannot change child \"nobody\": \"eth0\" has no such child; see: macvlan-ctl child list eth0",
    ),
    (
        &["trace", "eth0", "--child", "nobody"],
        1,
        "cannot trace \"eth0\": cannot find child \"nobody\": \"eth0\" has no such child; see: macvlan-ctl child \
         list eth0",
    ),
    // Files.
    (
        &["run", "--config", "/nowhere.toml"],
        1,
        "cannot read configuration \"/nowhere.toml\": no such file or directory",
    ),
    (
        &["apply", "--config", "/nowhere.toml"],
        1,
        "cannot read configuration \"/nowhere.toml\": no such file or directory",
    ),
    (
        &["check", "--config", "/nowhere.toml"],
        2,
        "cannot read configuration \"/nowhere.toml\": no such file or directory",
    ),
    (
        &["top"],
        1,
        "cannot show a screen: standard output is not a terminal; see: macvlan-ctl stats --watch 1",
    ),
    (&["bench", "--only", "nothing"], 1, "no contender \"nothing\": there are ..."),
];

fn is_meant(words: &str, told: &str) -> bool {
    match words.strip_suffix("...") {
        Some(start) => told.starts_with(start),
        None => told == words,
    }
}

#[test]
fn every_mistake_gets_its_own_words_and_changes_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    let before = Traces::of(&lab);
    let mut wrong = Vec::new();
    for (line, code, words) in MISTAKES {
        let ran = lab.ctl(line);
        let first = ran.stderr.lines().next().unwrap_or_default();
        let told = first.strip_prefix("macvlan-ctl: ").or(first.strip_prefix("error: "));
        if ran.code() != code || !told.is_some_and(|told| is_meant(words, told)) || !ran.stdout.is_empty() {
            wrong.push(format!("{line:?}\n  wanted {code}: {words}\n  got    {}: {first}", ran.code()));
        }
        assert_eq!(Traces::of(&lab), before, "{line:?} changed something");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
