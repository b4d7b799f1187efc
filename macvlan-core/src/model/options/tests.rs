//! Every option is set, kept and turned off by itself.

use super::*;

/// Every option, with a value that is not its default.
const ALL: Options = Options {
    xdp: Some(XdpChoice::Native),
    tc: Some(TcChoice::Clsact),
    ingress: Some(IngressChoice::Off),
    adopt: Some(false),
    directed_neigh: Some(false),
    storm_limit: Some(StormLimit::PerSecond(NonZeroU32::MIN)),
    max_children: Some(16),
    drop_unknown: Some(DropUnknown::Force),
    vepa_switch: Some(true),
    single_mac: Some(SingleMac::Auto),
    isolation: Some(Isolation::Strict),
    on_missing_bpf: Some(MissingChoice::Shim),
};

/// Every option, turned back to what it is at first.
const BACK: Options = Options {
    xdp: Some(XdpChoice::Auto),
    tc: Some(TcChoice::Auto),
    ingress: Some(IngressChoice::On),
    adopt: Some(true),
    directed_neigh: Some(true),
    storm_limit: Some(StormLimit::Off),
    max_children: Some(DEFAULT_MAX_CHILDREN),
    drop_unknown: Some(DropUnknown::Off),
    vepa_switch: Some(false),
    single_mac: Some(SingleMac::Off),
    isolation: Some(Isolation::Off),
    on_missing_bpf: Some(MissingChoice::Plain),
};

/// Options of which each has one alone: that of `all`.
fn one_by_one(all: Options) -> [Options; 12] {
    let none = Options::default;
    let Options {
        xdp,
        tc,
        ingress,
        adopt,
        directed_neigh,
        storm_limit,
        max_children,
        drop_unknown,
        vepa_switch,
        single_mac,
        isolation,
        on_missing_bpf,
    } = all;
    [
        Options { xdp, ..none() },
        Options { tc, ..none() },
        Options { ingress, ..none() },
        Options { adopt, ..none() },
        Options { directed_neigh, ..none() },
        Options { storm_limit, ..none() },
        Options { max_children, ..none() },
        Options { drop_unknown, ..none() },
        Options { vepa_switch, ..none() },
        Options { single_mac, ..none() },
        Options { isolation, ..none() },
        Options { on_missing_bpf, ..none() },
    ]
}

#[test]
fn what_is_left_out_is_taken_from_the_other_options() {
    assert_eq!(Options::default().or(ALL), ALL);
    assert_eq!(ALL.or(Options::default()), ALL);
    assert_eq!(BACK.or(ALL), BACK, "what is said counts, a default too");
    for (one, back) in one_by_one(ALL).into_iter().zip(one_by_one(BACK)) {
        assert_ne!(one, Options::default());
        let mixed = one.or(BACK);
        assert_ne!(mixed, BACK, "{one:?} counts");
        assert_eq!(back.or(mixed), BACK, "{one:?} alone counts");
    }
    let none = Options::default();
    assert_eq!(one_by_one(ALL).into_iter().fold(none, Options::or), ALL);
}

#[test]
fn what_is_left_out_stays_as_it_is() {
    let at_first = OptionValues::default();
    let all = ALL.over(at_first);
    assert_eq!(Options::default().over(all), all);
    assert_eq!(Options::default().over(at_first), at_first);
    assert_eq!(BACK.over(all), at_first);
    let in_turn = one_by_one(ALL).into_iter().fold(at_first, |present, one| one.over(present));
    assert_eq!(in_turn, all, "none undoes another");
    assert_eq!(all.unusual().len(), 10);
    for (one, back) in one_by_one(ALL).into_iter().zip(one_by_one(BACK)) {
        let alone = one.over(at_first);
        let is_value = one.max_children.is_none() && one.on_missing_bpf.is_none();
        assert_eq!(alone != at_first, is_value, "{one:?}");
        assert_eq!(alone.unusual().len(), usize::from(is_value), "{alone:?}");
        assert_eq!(back.over(alone), at_first, "{back:?} turns it back");
    }
}

#[test]
fn values_are_told_as_the_command_line_has_them() {
    let words = "xdp native, tc clsact, ingress off, adopt off, directed-neigh off, storm-limit 1, \
                 drop-unknown force, vepa-switch on, single-mac auto, isolation strict";
    assert_eq!(ALL.over(OptionValues::default()).unusual().join(", "), words);
    assert!(OptionValues::default().unusual().is_empty());
}

#[test]
fn values_that_another_version_left_out_are_the_defaults() {
    let read = |text: &str| serde_json::from_str::<OptionValues>(text).unwrap();
    assert_eq!(read("{}"), OptionValues::default());
    // As written before these were one structure.
    let all = r#"{"xdp":"native","tc":"clsact","ingress":"off","adopts":false,"drop_unknown":"force","vepa_switch":true,
        "directs":false,"storm_limit":1,"single_mac":"auto","isolation":"strict"}"#;
    assert_eq!(read(all), ALL.over(OptionValues::default()));
    assert_eq!(read(r#"{"storm_limit":null}"#), OptionValues::default());
}

#[test]
fn a_storm_limit_is_a_number_or_off() {
    let limit = |text| parse_storm_limit(text).ok();
    assert_eq!(limit("off"), Some(StormLimit::Off));
    assert_eq!(limit("1").and_then(StormLimit::per_second), Some(NonZeroU32::MIN));
    for nonsense in ["0", "many", "1000000001", "-1", "1e3", "", "Off"] {
        let error = parse_storm_limit(nonsense).unwrap_err().to_string();
        assert!(error.ends_with(&format!("frames per second or \"off\", not {nonsense}")), "{error}");
    }
}
