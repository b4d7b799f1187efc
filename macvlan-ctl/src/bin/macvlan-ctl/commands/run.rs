//! `run`.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::{Result, bail};
use macvlan_ctl::{
    attach,
    follow::{Follower, Note, Settings, Wanted, privileges},
    view::Tallies,
    watch::{Change, What},
};

use crate::{
    args::{Cli, Run},
    output::print_json,
};

/// Attaches and follows until stopped.
pub async fn run(cli: &Cli, args: &Run) -> Result<()> {
    let settings = settings(args)?;
    let tallies = Arc::new(Tallies::default());
    let mut report = |note: Note<'_>| tell(cli, &note);
    let needed = privileges::needed(&settings);
    let mut follower = Follower::start(settings, Arc::clone(&tallies), &mut report).await?;
    privileges::keep_only(&needed)?;
    follower.run(&|| self::settings(args), &mut report).await?;
    follower.stop().await
}

/// What the command line and the configuration ask for.
fn settings(args: &Run) -> Result<Settings> {
    if args.masters.is_empty() {
        bail!("nothing to follow: name a device");
    }
    let request = attach::Request {
        options: args.options.to_options(),
        require_bpf: args.require_bpf,
        ..attach::Request::default()
    };
    let wanted =
        |name: &String| Wanted { name: name.clone(), request: request.clone(), policies: Default::default() };
    Ok(Settings { masters: args.masters.iter().map(wanted).collect(), detach_on_exit: args.detach_on_exit })
}

/// Warnings and notes go to standard error, changes to standard output.
fn tell(cli: &Cli, note: &Note<'_>) {
    match note {
        Note::Warning(text) => eprintln!("macvlan-ctl: warning: {text}"),
        Note::Info(_) if cli.quiet => {}
        Note::Info(text) => eprintln!("macvlan-ctl: {text}"),
        Note::Change(change) if cli.quiet || !(cli.verbose || is_notable(change)) => {}
        // Whoever reads them may stop reading: that is no reason to stop.
        Note::Change(change) if cli.json => drop(print_json(change)),
        Note::Change(change) => drop(writeln!(io::stdout(), "{change}")),
    }
}

/// What people want to read of without asking.
fn is_notable(change: &Change) -> bool {
    !matches!(change.what, What::Marked | What::Addresses | What::Mtu(_))
}
