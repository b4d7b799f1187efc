//! What the configuration file may say, and how it is told what it may not.

mod hostile;

use macvlan_common::child::{Mode, Policy};

use crate::{
    config::*,
    kernel::netlink::kind::Kind,
    model::options::{
        DropUnknown, IngressChoice, Isolation, MissingChoice, OptionValues, Options, SingleMac, StormLimit,
        TcChoice, XdpChoice,
    },
    policy::{change::PolicyChange, groups::Groups, rate::RateLimits},
};

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("/etc/x.toml"))
}

#[track_caller]
fn refused(text: &str) -> String {
    let message = format!("{:#}", parse(text).unwrap_err());
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn what_to_do_without_bpf_is_said_once() {
    let choice = |text: &str| {
        let config = parse(&format!("[[master]]\nname = \"eth0\"\n{text}")).unwrap();
        config.masters[0].request.options.on_missing_bpf
    };
    assert_eq!(choice(""), None);
    assert_eq!(choice("require-bpf = false"), None);
    assert_eq!(choice("require-bpf = true"), Some(MissingChoice::Fail));
    assert_eq!(choice("on-missing-bpf = \"shim\""), Some(MissingChoice::Shim));
    assert_eq!(choice("on-missing-bpf = \"fail\"\nrequire-bpf = true"), Some(MissingChoice::Fail));
    let both = "[[master]]\nname = \"eth0\"\non-missing-bpf = \"shim\"\nrequire-bpf = true";
    assert!(refused(both).contains("contradicts require-bpf"));
    let unknown = "[[master]]\nname = \"eth0\"\non-missing-bpf = \"shims\"";
    assert!(refused(unknown).contains("one of plain, shim, fail"));
}

#[test]
fn every_key_is_understood() {
    let config = parse(
        r#"
        metrics = "127.0.0.1:10099"
        detach-on-exit = true
        [[master]]
        name = "eth0"
        xdp = "native"
        tc = "clsact"
        ingress = "auto"
        adopt = false
        directed-neigh = false
        storm-limit = 5
        drop-unknown = "on"
        vepa-switch = true
        single-mac = "auto"
        isolation = "strict"
        max-children = 0x10
        require-bpf = true
        prune = true
        groups = ["blue"]
        [[master.child]]
        name = "web"
        kind = "macvtap"
        mode = "private"
        mac = "02:00:00:00:00:07"
        mtu = 1400
        netns = "blue"
        ip = ["10.9.0.7/24", "fd00::7/64"]
        gw = ["10.9.0.1", "fd00::1"]
        bcqueuelen = 5_000
        host-access = false
        sibling-access = false
        group = "blue"
        anti-spoof = "mac"
        vepa-reflect = "local"
        rate-rx = "100mbit+50kpps/256k"
        rate-tx = "10mbit"
        rate-scope = "wire"
        ra = false
        dhcp-server = false
        host-control = true
        mac-change = true
        up = true
        [[master.policy]]
        match = { mac = "02:00:00:00:00:08", name = "web*", netns = "blue" }
        host-access = true
        [[master]]
        name = "eth1"
        "#,
    )
    .unwrap();

    assert_eq!(config.metrics, Some("127.0.0.1:10099".parse().unwrap()));
    assert!(config.detach_on_exit);
    let [eth0, eth1] = config.masters.as_slice() else { panic!("two masters are wanted") };
    assert_eq!((eth0.name.as_str(), eth1.name.as_str()), ("eth0", "eth1"));
    let request = &eth0.request;
    assert_eq!(request.options, options_that_are_not_the_default());
    assert!(request.prune && !request.dry_run);
    assert_eq!(request.policies, eth0.policies);
    assert_eq!(
        (&eth1.policies, &eth1.request),
        (&Policies::default(), &crate::model::request::AttachRequest::default())
    );
    // The command line says the same.
    let spec = "web,kind=macvtap,mode=private,mac=02:00:00:00:00:07,mtu=1400,netns=blue,ip=10.9.0.7/24,\
                ip=fd00::7/64,gw=10.9.0.1,gw=fd00::1,bcqueuelen=5000,host-access=off,up,\
                sibling-access=off,new-group=blue,anti-spoof=mac,vepa-reflect=local,ra=off,dhcp-server=off,host-control=on,mac-change=on,\
                rate-rx=50kpps+100mbit/262144,rate-tx=10mbit,rate-scope=wire";
    assert_eq!(request.children, [spec.parse().unwrap()]);
}

#[test]
fn the_example_is_a_configuration_and_so_are_its_defaults() {
    let text = include_str!("../../../../deploy/config.toml");
    let config = Config::parse(text, Path::new("deploy/config.toml")).unwrap();
    assert_eq!(config.masters.len(), 1);
    assert_eq!(config.masters[0].request.children.len(), 2);

    // Keys that are commented out have for values what they are at first.
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let whole = Config::parse(&whole, Path::new("deploy/config.toml")).unwrap();
    assert_eq!(whole.detach_on_exit, config.detach_on_exit);
    let (one, other) = (&whole.masters[0].request, &config.masters[0].request);
    assert_eq!(other.options, Options::default());
    assert_eq!((one.options.on_missing_bpf, one.prune), (Some(MissingChoice::Plain), other.prune));
    assert_eq!(one.options.max_children, Some(crate::model::options::DEFAULT_MAX_CHILDREN));
    // Each is there, and takes back whatever was set.
    let all = options_that_are_not_the_default();
    assert_eq!(one.options.or(all), one.options, "every option has a key in the example");
    assert_eq!(one.options.over(all.over(OptionValues::default())), OptionValues::default());
    let settings = &one.children[0].settings;
    assert_eq!((settings.kind, settings.mode), (Some(Kind::default()), Some(Mode::Bridge)));
    let first = Policy::new(Mode::Bridge, true);
    let all = PolicyChange::of(first, RateLimits::default(), &Groups::default());
    assert_eq!(settings.policy, all, "every key of a policy is in the example");
    assert_eq!(settings.up, Some(true));
}

/// Each is there, and none is what it is at first.
fn options_that_are_not_the_default() -> Options {
    Options {
        xdp: Some(XdpChoice::Native),
        tc: Some(TcChoice::Clsact),
        ingress: Some(IngressChoice::Auto),
        adopt: Some(false),
        directed_neigh: Some(false),
        storm_limit: Some(StormLimit::of(5).unwrap()),
        max_children: Some(16),
        drop_unknown: Some(DropUnknown::On),
        vepa_switch: Some(true),
        single_mac: Some(SingleMac::Auto),
        isolation: Some(Isolation::Strict),
        on_missing_bpf: Some(MissingChoice::Fail),
    }
}

#[test]
fn a_storm_limit_is_turned_off_by_a_word() {
    let limit = |value: &str| {
        let config = parse(&format!("[[master]]\nname = \"eth0\"\nstorm-limit = {value}")).unwrap();
        config.masters[0].request.options.storm_limit
    };
    assert_eq!(limit("\"off\""), Some(StormLimit::Off));
    assert_eq!(limit("1000"), Some(StormLimit::of(1000).unwrap()));
    for nonsense in ["0", "1000000001", "\"none\""] {
        let error = refused(&format!("[[master]]\nname = \"eth0\"\nstorm-limit = {nonsense}"));
        assert!(
            error.starts_with("/etc/x.toml:3: a storm limit is 1 to 1000000000 frames per second or"),
            "{error}"
        );
    }
    assert!(refused("[[master]]\nname = \"eth0\"\nstorm-limit = true").contains("\"storm-limit\" must be"));
}

#[test]
fn a_group_is_declared_before_a_child_is_put_in_it() {
    let text = |groups: &str, child: &str, policy: &str| {
        format!(
            "[[master]]\nname = 'eth0'\n{groups}\n[[master.child]]\nname = 'web'\n{child}\n[[master.policy]]\nmatch = {{ name = '*' }}\nhost-access = true\n{policy}"
        )
    };
    let member = "group = 'blue'";
    for (child, policy, line) in [(member, "", 6), ("", member, 10)] {
        let wanted = "its master has no group \"blue\"; declare it there: groups = [\"blue\"]";
        let error = refused(&text("groups = ['red']", child, policy));
        assert!(error.starts_with(&format!("/etc/x.toml:{line}: ")) && error.ends_with(wanted), "{error}");
        parse(&text("groups = ['red', 'blue']", child, policy)).unwrap();
    }
    assert!(refused(&text("groups = ['none']", "", "")).contains("no group can have the name \"none\""));
    parse(&text("", "group = 'none'", "")).unwrap();
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("# only words\n").unwrap(), Config::default());
}

#[test]
fn unknown_keys_are_named_with_line_and_nearest_key() {
    let text = "[[master]]\nname = \"eth0\"\n\n[[master.child]]\nname = \"web\"\n\nmodee = \"bridge\"\n";
    assert_eq!(refused(text), r#"/etc/x.toml:7: unknown key "modee"; did you mean "mode"?"#);
    for (text, line, key, nearest) in [
        ("metricss = 1", 1, "metricss", "metrics"),
        ("\n[[masters]]\nname = 'e'", 2, "masters", "master"),
        ("[[master]]\nnam = 'eth0'", 2, "nam", "name"),
        ("[[master]]\nname = 'e'\nmax_children = 3", 3, "max_children", "max-children"),
        (
            "[[master]]\nname = 'e'\n[[master.child]]\nname='w'\nhost_access = true",
            5,
            "host_access",
            "host-access",
        ),
        ("[[master]]\nname='e'\n[[master.policy]]\nmatch={nmae='w'}\nhost-access=true", 4, "nmae", "name"),
        (
            "[[master]]\nname='e'\n[[master.policy]]\nmatch={name='w'}\nhostaccess=true",
            5,
            "hostaccess",
            "host-access",
        ),
    ] {
        let wanted = format!("/etc/x.toml:{line}: unknown key {key:?}; did you mean {nearest:?}?");
        assert_eq!(refused(text), wanted);
    }
    // Nothing is like it: all are named. Of two the first in the file is.
    assert_eq!(
        refused("zzz = 1\naaaa = 2"),
        r#"/etc/x.toml:1: unknown key "zzz"; keys here are: metrics, detach-on-exit, master"#
    );
}

#[test]
fn wrong_values_are_named_with_their_line() {
    let in_master = |line: &str| format!("[[master]]\nname = \"eth0\"\n{line}\n");
    let in_child =
        |line: &str| format!("[[master]]\nname = \"eth0\"\n[[master.child]]\nname = \"web\"\n{line}\n");
    let in_policy = |line: &str| format!("[[master]]\nname = \"eth0\"\n[[master.policy]]\n{line}\n");
    for (text, line, part) in [
        ("metrics = \"here\"".to_owned(), 1, "\"here\" is not ADDRESS:PORT"),
        ("metrics = 10099".into(), 1, "\"metrics\" must be a text in quotes, not 10099"),
        ("detach-on-exit = \"yes\"".into(), 1, "\"detach-on-exit\" must be true or false, not \"yes\""),
        ("master = 1".into(), 1, "\"master\" must be a list of tables"),
        ("master = [1]".into(), 1, "\"master\" must be a list of tables"),
        ("\n[master]\nname = \"eth0\"".into(), 2, "beginning with [[...master]], not a table"),
        ("\n[[master]]\nadopt = true".into(), 2, "the master lacks \"name\""),
        ("[[master]]\nname = \"a name too long for it\"".into(), 2, "too long"),
        ("[[master]]\nname = \"a\"\n[[master]]\nname = \"a\"".into(), 3, "given twice, first in line 1"),
        (in_master("xdp = \"maybe\""), 3, "unknown xdp \"maybe\": one of auto, native, generic, off"),
        (in_master("tc = \"\""), 3, "unknown tc \"\": one of auto, tcx, clsact"),
        (in_master("max-children = 0"), 3, "max-children is 1 to 1048576, not 0"),
        (in_master("max-children = 1048577"), 3, "max-children is 1 to 1048576"),
        (in_master("max-children = -1"), 3, "a whole number from 0 to 4294967295, not -1"),
        (in_master("max-children = 99999999999999999999999"), 3, "a whole number"),
        (in_master("max-children = 1.5"), 3, "not a fraction"),
        (in_master("[[master.child]]\nmode = \"bridge\""), 3, "the child lacks \"name\""),
        (in_child("mode = \"brigde\""), 5, "unknown mode \"brigde\": bridge, vepa"),
        (in_child("kind = \"veth\""), 5, "unknown kind \"veth\": macvlan, macvtap or port"),
        (in_child("mac = \"03:00:00:00:00:01\""), 5, "multicast"),
        (in_child("mac = \"zz\""), 5, "bad MAC \"zz\""),
        (in_child("mtu = \"1500\""), 5, "\"mtu\" must be a whole number"),
        (in_child("netns = \"..\""), 5, "is not a namespace"),
        (in_child("ip = \"10.0.0.1/8\""), 5, "\"ip\" must be a list of texts"),
        (in_child("ip = [\n\"10.0.0.1/8\",\n\"10.0.0.2/33\"]"), 7, "longer than 32"),
        (in_child("ip = [1]"), 5, "\"ip\" must be a list of texts"),
        (
            in_child("ip = [\"10.0.0.1/8\", \"10.0.0.1/24\"]"),
            3,
            "in child \"web\": \"ip\" has 10.0.0.1 twice",
        ),
        (in_child("gw = [\"there\"]"), 5, "gateway \"there\" is not an IP address"),
        (in_child("gw = [\"10.0.0.1\", \"10.0.0.2\"]"), 3, "two of one family"),
        (in_child("gw = [\"10.0.0.1\"]\nup = false"), 3, "needs the device up"),
        (in_child("[[master.child]]\nname = \"web\""), 5, "child \"web\" is given twice, first in line 3"),
        (in_policy("host-access = false"), 3, "the policy lacks \"match\""),
        (in_policy("match = {}\nhost-access = false"), 4, "\"match\" is empty"),
        (in_policy("match = \"web\"\nhost-access = false"), 4, "\"match\" must be a table"),
        (in_policy("match = { name = \"web\" }"), 3, "the policy sets nothing"),
        (in_policy("match = { name = \"\" }\nhost-access = false"), 4, "1 to 4096 bytes, not 0"),
        (in_policy("match = { name = \"a/b\" }\nhost-access = false"), 4, "not allowed"),
        (in_policy("match = { mac = \"02\" }\nhost-access = false"), 4, "bad MAC"),
        ("a = ".into(), 1, ""),
        ("\n\n= 1".into(), 3, ""),
        ("[[master]]\nname = \"a\"\nname = \"b\"".into(), 3, "duplicate key"),
        ("x = \"\u{1}\"".into(), 1, ""),
    ] {
        let message = refused(&text);
        assert!(message.starts_with(&format!("/etc/x.toml:{line}: ")), "{text}\n{message}");
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn one_name_in_two_namespaces_is_two_children() {
    let two = "[[master]]\nname='a'\n[[master.child]]\nname='w'\n[[master.child]]\nname='w'\nnetns='blue'";
    assert_eq!(parse(two).unwrap().masters[0].request.children.len(), 2);
    // Whatever master it is on: no namespace has a name twice.
    let twice =
        "[[master]]\nname='a'\n[[master.child]]\nname='w'\n[[master]]\nname='b'\n[[master.child]]\nname='w'";
    assert!(refused(twice).contains(":7: child \"w\" is given twice, first in line 3"));
}
