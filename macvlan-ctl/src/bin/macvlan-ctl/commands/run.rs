//! `run`.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Result, bail};
use macvlan_core::{
    config::{Config, master::MasterConfig},
    datapath::bpf::object::allow_memory,
    follow::{
        follower::Follower,
        notes::Note,
        privileges,
        settings::{Settings, WantedMaster},
        snapshot::Tallies,
        watch::change::{Change, What},
    },
    kernel::ifname::IfName,
    model::request::AttachRequest,
};
use macvlan_ctl::exporter;

use crate::{
    args::{Cli, DEFAULT_CONFIG, Run},
    output::print_json,
};

/// Attaches and follows until stopped.
pub async fn run(cli: &Cli, args: &Run) -> Result<()> {
    let config = config(args)?;
    let settings = settings(args, &config)?;
    let listener = args.metrics.or(config.metrics).map(exporter::bind).transpose()?;
    let tallies = Arc::new(Tallies::default());
    let mut report = |note: Note<'_>| tell(cli, &note);
    let needed = privileges::needed(&settings);
    let mut follower = Follower::start(settings, Arc::clone(&tallies), &mut report).await?;
    // Later that would take a capability that is given up, where BPF cannot be had before.
    allow_memory();
    privileges::keep_only(&needed)?;
    let following = follower.views();
    let served = listener.map(|listener| exporter::serve(listener, following, tallies)).transpose()?;
    let reload = || self::config(args).and_then(|config| self::settings(args, &config));
    follower.run(&reload, &mut report).await?;
    drop(served);
    follower.stop().await
}

/// The configuration: that named or, if it is there, the one in its usual place.
fn config(args: &Run) -> Result<Config> {
    match &args.config {
        Some(path) => Config::read(path),
        None if Path::new(DEFAULT_CONFIG).exists() => Config::read(Path::new(DEFAULT_CONFIG)),
        None => Ok(Config::default()),
    }
}

/// What the command line and the configuration ask for.
fn settings(args: &Run, config: &Config) -> Result<Settings> {
    let names: Vec<IfName> = match args.masters.as_slice() {
        [] => config.masters.iter().map(|master| master.name.clone()).collect(),
        named => named.iter().map(|name| name.parse()).collect::<Result<_>>()?,
    };
    if names.is_empty() {
        bail!("nothing to follow: name a device, or put one into {DEFAULT_CONFIG:?}");
    }
    if let Some(twin) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        bail!("cannot follow {:?} twice", twin.1);
    }
    Ok(Settings {
        masters: names.into_iter().map(|name| wanted(args, config, name)).collect(),
        detach_on_exit: args.detach_on_exit || config.detach_on_exit,
    })
}

/// What the configuration says of a master, and the command line over it.
fn wanted(args: &Run, config: &Config, name: IfName) -> WantedMaster {
    let configured = config.masters.iter().find(|master| master.name == name);
    let mut master = configured.cloned().unwrap_or_else(|| MasterConfig {
        name,
        request: AttachRequest::default(),
        policies: Default::default(),
    });
    let (request, options) = (&mut master.request, args.options.to_options());
    request.options.xdp = options.xdp.or(request.options.xdp);
    request.options.tc = options.tc.or(request.options.tc);
    request.options.max_children = options.max_children.or(request.options.max_children);
    request.options.no_adopt |= options.no_adopt;
    request.options.storm_limit = options.storm_limit.or(request.options.storm_limit);
    request.options.no_directed_neigh |= options.no_directed_neigh;
    request.on_missing_bpf = args.on_missing.to_choice().or(request.on_missing_bpf);
    WantedMaster { config: master, configured: configured.is_some() }
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
