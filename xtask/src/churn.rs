//! `churn`: the tests of churn with as many rounds as are promised.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    command::run,
    machine::{self, State},
    test,
};

/// How often.
#[derive(Args)]
pub struct Options {
    /// How often to attach and detach; children come and go ten times as often
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(4..))]
    rounds: u32,
}

/// Attaches and detaches, adds and removes children, and checks that nothing is left.
///
/// # Errors
/// The user is not root, a tool cannot be installed, something is left, or a connection breaks.
pub fn churn(root: &Path, options: &Options) -> Result<()> {
    machine::require_root()?;
    machine::install_tools()?;
    let before = State::now()?;
    let mut tests = test::on_real_devices(root, true)?;
    tests.env("MACVLAN_TESTS_CHURN", options.rounds.to_string());
    run(tests.args(["--test", "churn", "--", "--nocapture"])).context("the tests of churn failed")?;
    before.require_same()
}
