//! The reference macvlan plugin's own tests, which call the plugin under test instead: `plugin.go` stands
//! for the reference plugin. Nothing of theirs is here: `cargo xtask test` unpacks Debian's source package.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use macvlan_tests::{
    cni::{REFERENCE, plugin},
    fail::OrFail as _,
    lab::Lab,
    needs, require,
};
use serde_json::json;

/// Names the directory that has Go, what the tests import, and the tests (xtask/src/go.rs).
const UNPACKED: &str = "MACVLAN_TESTS_GO";

/// Where they are in it.
const THEIR_TESTS: &str = "source/plugins/main/macvlan";
const GO: &str = "usr/bin/go";
const PACKAGES: &str = "usr/share/gocode";

/// How many they are, at least.
const LEAST: u32 = 168;

#[test]
fn the_reference_plugins_own_tests_pass() {
    needs!(require::lab, require::cni, go);
    let tests = build(Path::new(&env::var_os(UNPACKED).or_fail("find Go")));
    let lab = Lab::new();
    let mut run = lab.command(&lab.host.ns, &tests);
    let path = env::join_paths([REFERENCE, "/usr/sbin", "/usr/bin", "/sbin", "/bin"]).or_fail("make a PATH");
    run.args(["--ginkgo.no-color", "--ginkgo.timeout=10m"]);
    // They take longer than a command may otherwise.
    let ran = run.env("PATH", path).env("PLUGIN_UNDER_TEST", plugin()).stdin(Stdio::null()).output();
    fs::remove_file(tests).or_fail("remove what was built");
    let ran = ran.or_fail("run the tests");
    let told = String::from_utf8_lossy(&ran.stdout);
    let (passed, others) = counts(&told).or_fail(format!("find how many passed\n{told}"));
    assert!(ran.status.success() && others == "0 Failed | 0 Pending | 0 Skipped", "{told}");
    assert!(passed >= LEAST, "only {passed} tests are there");
}

/// How many passed, and what became of the others, of Ginkgo's last line.
fn counts(told: &str) -> Option<(u32, &str)> {
    let line =
        told.lines().find_map(|line| line.strip_prefix("SUCCESS! -- ").or(line.strip_prefix("FAIL! -- ")))?;
    let (passed, others) = line.split_once(" Passed | ")?;
    Some((passed.parse().ok()?, others))
}

/// Builds the tests, with what stands for the plugin beside them. What Go has compiled it keeps with the rest.
#[track_caller]
fn build(unpacked: &Path) -> PathBuf {
    let directory = unpacked.join(format!("tests-{}", std::process::id()));
    fs::create_dir(&directory).or_fail("make a directory");
    fs::write(directory.join("plugin.go"), include_str!("plugin.go")).or_fail("write what calls the plugin");
    for entry in fs::read_dir(unpacked.join(THEIR_TESTS)).or_fail("list the tests").flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.ends_with("_test.go")) {
            fs::copy(entry.path(), directory.join(name)).or_fail("copy a test");
        }
    }
    let program = directory.with_extension("program");
    let mut go = Command::new(unpacked.join(GO));
    go.current_dir(&directory).args(["test", "-c", "-o"]).arg(&program);
    go.arg("-overlay").arg(veth_for_dummy(unpacked, &directory)).arg(".");
    // As Debian builds: all is in the packages, nothing is fetched.
    for (name, value) in
        [("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0"), ("GOFLAGS", "")]
    {
        go.env(name, value);
    }
    go.env("GOPATH", unpacked.join(PACKAGES)).env("GOCACHE", unpacked.join("cache"));
    // Minutes the first time, so it has no limit of time here.
    let built = go.output().or_fail("run go");
    fs::remove_dir_all(&directory).or_fail("remove the directory");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Their masters are dummy devices, which not every kernel has: a list for Go of what it is to read instead
/// of a file of the library that makes them, so that it makes veth devices, which macvlan takes for nothing
/// else.
#[track_caller]
fn veth_for_dummy(unpacked: &Path, directory: &Path) -> PathBuf {
    let file = unpacked.join(PACKAGES).join("src/github.com/vishvananda/netlink/link.go");
    let text = fs::read_to_string(&file).or_fail("read how a dummy device is made");
    let changed = text.replacen(r#"return "dummy""#, r#"return "veth""#, 1);
    assert_ne!(changed, text, "{} makes no dummy device", file.display());
    let [instead, list] = ["link.changed", "overlay.json"].map(|name| directory.join(name));
    fs::write(&instead, changed).or_fail("write what makes a veth device");
    fs::write(&list, json!({ "Replace": { file.display().to_string(): instead } }).to_string())
        .or_fail("write a list");
    list
}

/// Go and the tests.
fn go() -> Result<(), String> {
    let unpacked = env::var_os(UNPACKED).ok_or_else(|| format!("{UNPACKED} names no directory with Go"))?;
    let missing = [GO, THEIR_TESTS, PACKAGES].map(|path| Path::new(&unpacked).join(path));
    match missing.iter().find(|path| !path.exists()) {
        Some(path) => Err(format!("{} is not there", path.display())),
        None => Ok(()),
    }
}
