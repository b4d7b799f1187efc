use proptest::prelude::*;

use crate::config::*;

fn read(json: &str, args: &str) -> CniResult<Config> {
    Config::read(keys::object(json.as_bytes())?, args)
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
        (r#"{"name": "lan", "antiSpoof": "dna"}"#, "", code::INVALID_CONFIG),
        (r#"{"name": "lan", "antiSpoof": 2}"#, "", code::DECODING_FAILURE),
        (r#"{"name": "lan", "group": "light blue"}"#, "", code::INVALID_CONFIG),
        (r#"{"name": "lan", "group": "blue", "linkInContainer": true}"#, "", code::INVALID_CONFIG),
        (r#"{"name": "lan", "rate": {"in": "1mbit"}}"#, "", code::UNSUPPORTED_FIELD),
        (r#"{"name": "lan", "rate": {"rx": 1}}"#, "", code::DECODING_FAILURE),
        (r#"{"name": "lan", "rate": "1mbit"}"#, "", code::DECODING_FAILURE),
        (r#"{"name": "lan", "rate": {"rx": "1mbit"}, "linkInContainer": true}"#, "", code::INVALID_CONFIG),
        (
            r#"{"name": "lan", "runtimeConfig": {"bandwidth": {"egressRate": -1}}}"#,
            "",
            code::DECODING_FAILURE,
        ),
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
    assert!(!config.wants_data_path());
    assert_eq!((config.xdp, config.on_missing_bpf), (Some(XdpChoice::Off), OnMissingBpf::Fail));
}

#[test]
fn without_addresses_nobody_can_be_held_to_them() {
    for (keys, is_attachable) in [
        (r#""antiSpoof": "ip", "ipam": {"type": "static"}"#, true),
        (r#""antiSpoof": "ip", "ipam": {}"#, false),
        (r#""antiSpoof": "ip""#, false),
        (r#""antiSpoof": "mac""#, true),
        (r#""antiSpoof": "off""#, true),
    ] {
        let config = read(&format!(r#"{{"name": "lan", {keys}}}"#), "").unwrap();
        let refused = config.require_attachable().err().map(|error| error.code);
        assert_eq!(refused, (!is_attachable).then_some(code::INVALID_CONFIG), "{keys}");
    }
}

#[test]
fn attachments_have_two_names_of_which_the_later_wins() {
    let valid = |keys: &str| {
        let config = read(&format!(r#"{{"name": "lan"{keys}}}"#), "").unwrap();
        config.valid_attachments.map(|valid| valid.len())
    };
    let one = r#"[{"containerID": "c1", "ifname": "eth0"}]"#;
    assert_eq!(valid(""), None);
    assert_eq!(valid(r#", "cni.dev/valid-attachments": null"#), Some(0));
    assert_eq!(valid(&format!(r#", "cni.dev/attachments": {one}"#)), Some(1));
    assert_eq!(
        valid(&format!(r#", "cni.dev/attachments": {one}, "cni.dev/valid-attachments": []"#)),
        Some(0)
    );
}

#[test]
fn a_guard_is_read_and_needs_the_data_path() {
    for (value, degree) in [
        ("false", AntiSpoof::Off),
        ("\"off\"", AntiSpoof::Off),
        ("true", AntiSpoof::Mac),
        ("\"mac\"", AntiSpoof::Mac),
        ("\"ip\"", AntiSpoof::Ip),
    ] {
        let json = format!(r#"{{"name": "lan", "hostAccess": false, "antiSpoof": {value}}}"#);
        let config = read(&json, "").unwrap();
        assert_eq!((config.anti_spoof, config.wants_data_path()), (degree, degree != AntiSpoof::Off));
    }
    let config = read(r#"{"name": "lan", "hostAccess": false, "group": "blue"}"#, "").unwrap();
    assert!(config.wants_data_path());
    assert_eq!(config.group.map(|name| name.to_string()).as_deref(), Some("blue"));
    let config = read(r#"{"name": "lan", "hostAccess": false, "rate": {"tx": "1mbit"}}"#, "").unwrap();
    assert!(config.wants_data_path());
}

#[test]
fn a_mac_may_change_that_a_container_is_held_to() {
    let config = read(r#"{"name": "lan", "antiSpoof": true, "macChange": true}"#, "").unwrap();
    assert!(config.mac_change);
    assert!(!read(r#"{"name": "lan", "antiSpoof": true}"#, "").unwrap().mac_change);
    let error = read(r#"{"name": "lan", "macChange": true}"#, "").unwrap_err();
    assert_eq!((error.code, error.msg.contains("give it antiSpoof")), (code::INVALID_CONFIG, true));
}

#[test]
fn isolation_is_what_it_is_made_of() {
    let strict = |keys: &str| {
        let config = read(&format!(r#"{{"name": "lan", "isolation": "strict"{keys}}}"#), "");
        config.map(|config| (config.mode, config.vepa_reflect, config.anti_spoof))
    };
    let whole = (Mode::Vepa, Some(Reflection::Local), AntiSpoof::Mac);
    for keys in ["", r#", "mode": "vepa""#, r#", "antiSpoof": true"#] {
        assert_eq!(strict(keys).unwrap(), whole, "{keys}");
    }
    assert_eq!(strict(r#", "antiSpoof": "ip", "ipam": {"type": "static"}"#).unwrap().2, AntiSpoof::Ip);
    for contrary in [r#", "mode": "bridge""#, r#", "antiSpoof": false"#] {
        let error = strict(contrary).unwrap_err();
        assert_eq!(error.code, code::INVALID_CONFIG, "{contrary}");
        assert!(error.msg.starts_with("isolation=strict is "), "{}", error.msg);
    }
    assert_eq!(read(r#"{"name": "lan", "isolation": "off"}"#, "").unwrap_err().code, code::INVALID_CONFIG);
}

proptest! {
    #[test]
    fn any_input_is_read_without_a_panic(input: Vec<u8>, args: String) {
        let _ = keys::object(&input).and_then(|object| Config::read(object, &args));
    }
}
