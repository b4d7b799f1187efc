//! What a newcomer types first.

use std::fs;

use macvlan_tests::{cli::workspace, fail::OrFail as _};

/// There are two programs: which one `cargo run` is to run, the package says.
#[test]
fn the_first_command_of_the_readme_finds_its_program() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).or_fail(format!("read {path}"));
    let has = |text: &str, wanted: &str| text.lines().any(|line| line == wanted);
    assert!(has(&read("README.md"), "cargo run --release -p macvlan-ctl -- demo"));
    assert!(has(&read("macvlan-ctl/Cargo.toml"), "default-run = \"macvlan-ctl\""));
}
