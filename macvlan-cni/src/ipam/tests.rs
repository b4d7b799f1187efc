use std::fs;

use crate::ipam::*;

fn request(path: &Path) -> Invocation {
    Invocation {
        verb: Verb::Add,
        target: None,
        args: String::new(),
        path: vec![path.into()],
        input: vec![b' '; MOST_INPUT],
    }
}

fn target() -> Target {
    Target { container: "c1".into(), ifname: "eth0".parse().unwrap(), netns: None }
}

fn plugin(script: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn a_name_must_be_that_of_a_program_in_the_path() {
    let directory = plugin("exit 0");
    fs::write(directory.path().join("data"), "").unwrap();
    let request = request(directory.path());
    assert!(Ipam::find("test", &request, None).is_ok());
    for name in ["../test", "/bin/sh", "", "data", "absent"] {
        assert_eq!(Ipam::find(name, &request, None).unwrap_err().code, code::INVALID_CONFIG, "{name:?}");
    }
}

#[test]
fn one_that_reads_nothing_and_says_nothing_is_an_error_and_no_hang() {
    let directory = plugin("exit 3");
    let request = request(directory.path());
    let error = Ipam::find("test", &request, None).unwrap().add(&target()).unwrap_err();
    assert_eq!(error.code, code::FAILED);
}

#[test]
fn one_of_an_older_version_is_spoken_to_in_that() {
    let script = r#"if grep -q '"cniVersion":"1.0.0"'; then echo '{"ips": [{"address": "10.9.0.7/24"}]}'
        else echo '{"code": 1, "msg": "incompatible"}'; exit 1; fi"#;
    let directory = plugin(script);
    let mut request = request(directory.path());
    for (version, succeeds) in [("1.1.0", true), ("1.0.0", true), ("0.4.0", false)] {
        request.input = format!(r#"{{"cniVersion":"{version}"}}"#).into_bytes();
        let added = Ipam::find("test", &request, None).unwrap().add(&target());
        assert_eq!(added.is_ok(), succeeds, "{version}");
    }
}

#[test]
fn a_version_is_spoken_that_is_told() {
    let directory = plugin(r#"echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}'"#);
    let request = request(directory.path());
    let ipam = Ipam::find("test", &request, None).unwrap();
    assert_eq!([Version::V1_0_0, Version::V1_1_0].map(|version| ipam.speaks(version)), [true, false]);
}

#[test]
fn its_own_error_is_handed_on() {
    let directory = plugin(r#"echo '{"code": 11, "msg": "later"}'; exit 1"#);
    let request = request(directory.path());
    let error = Ipam::find("test", &request, None).unwrap().call(Verb::Del, Some(&target())).unwrap_err();
    assert_eq!(error, CniError::new(code::TRY_AGAIN, "later"));
}

#[test]
fn it_is_told_for_whom() {
    let script = r#"echo "{\"ips\": [{\"address\": \"$CNI_CONTAINERID-$CNI_IFNAME-$CNI_COMMAND\"}]}""#;
    let directory = plugin(script);
    let request = request(directory.path());
    let result = Ipam::find("test", &request, None).unwrap().add(&target()).unwrap();
    assert_eq!(result.ips[0].address, "c1-eth0-ADD");
}
