//! `run`.

use std::{
    cell::OnceCell,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use anyhow::{Result, bail};
use macvlan_core::{
    config::{Config, master::MasterConfig},
    follow::{
        follower::Follower,
        notes::Note,
        privileges,
        settings::{Settings, WantedMaster},
        snapshot::Tallies,
        watch::change::{Change, What},
    },
    kernel::program::allow_memory,
    model::{master_name::MasterName, request::AttachRequest},
};
use macvlan_ctl::exporter;

use crate::{
    args::{Cli, DEFAULT_CONFIG, MetricsAt, Run},
    commands::teller::Teller,
    outcome::note_forgotten,
    output::print_json,
};

/// Attaches and follows until stopped.
pub async fn run(cli: &Cli, args: &Run) -> Result<()> {
    let config = config(args)?;
    let settings = settings(args, &config)?;
    let listener = metrics_at(args, &config).map(exporter::bind).transpose()?;
    let tallies = Arc::new(Tallies::default());
    let teller = OnceCell::new();
    let mut report = |note: Note<'_>| tell(cli, teller.get(), &note);
    let mut follower = Follower::start(settings.clone(), Arc::clone(&tallies), &mut report).await?;
    let needed = privileges::needed(&settings, follower.guards(), follower.is_single());
    // Later that would take a capability that is given up, where BPF is unavailable before.
    allow_memory();
    privileges::keep_only(&needed)?;
    // Only now, so that the thread has no more rights than this one.
    let json = cli.json;
    let _ = teller.set(Teller::start(move |change| print_change(json, change))?);
    let following = follower.views();
    let served = listener.map(|listener| exporter::serve(listener, following, tallies)).transpose()?;
    let reload = || self::config(args).and_then(|config| self::settings(args, &config));
    follower.run(&reload, &mut report).await?;
    drop(served);
    follower.stop(&mut report).await
}

/// Where to serve metrics, if anywhere.
fn metrics_at(args: &Run, config: &Config) -> Option<SocketAddr> {
    args.metrics.map_or(config.metrics, MetricsAt::address)
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
    let names: Vec<MasterName> = match args.masters.as_slice() {
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
        detach_on_exit: args.detach_on_exit.unwrap_or(config.detach_on_exit),
    })
}

/// What the configuration says of a master, and the command line over it.
fn wanted(args: &Run, config: &Config, name: MasterName) -> WantedMaster {
    let configured = config.masters.iter().find(|master| master.name == name);
    let mut master = configured.cloned().unwrap_or_else(|| MasterConfig {
        name,
        request: AttachRequest::default(),
        policies: Default::default(),
    });
    master.request.options = args.options.to_options().or(master.request.options);
    WantedMaster { config: master, configured: configured.is_some() }
}

/// Warnings and notes go to standard error, changes to standard output: by the teller, once there is one.
fn tell(cli: &Cli, teller: Option<&Teller>, note: &Note<'_>) {
    match note {
        Note::Warning(text) => eprintln!("macvlan-ctl: warning: {text}"),
        Note::Info(_) | Note::Forgotten(_) if cli.quiet => {}
        Note::Forgotten(settings) => note_forgotten(cli, "forgotten", settings),
        Note::Info(text) => eprintln!("macvlan-ctl: {text}"),
        Note::Change(change) if cli.quiet || !(cli.verbose || is_notable(change)) => {}
        Note::Change(change) => match teller {
            Some(teller) => teller.tell(change),
            None => print_change(cli.json, change),
        },
    }
}

/// Whoever reads it may stop reading: that is no reason to stop.
fn print_change(json: bool, change: &Change) {
    match json {
        true => drop(print_json(change)),
        false => drop(writeln!(io::stdout(), "{change}")),
    }
}

/// What people want to read of without asking.
fn is_notable(change: &Change) -> bool {
    !matches!(change.what, What::Marked | What::Addresses | What::Mtu(_))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Command;

    const FILE: &str = "metrics = \"127.0.0.1:9100\"\ndetach-on-exit = true\n\
        [[master]]\nname = \"eth0\"\nxdp = \"off\"\ntc = \"clsact\"\nadopt = false\ndirected-neigh = false\n\
        storm-limit = 5\nmax-children = 16\ndrop-unknown = \"on\"\nvepa-switch = true\n\
        single-mac = true\non-missing-bpf = \"shim\"";

    fn run_of(line: &str) -> Run {
        let cli = Cli::try_parse_from(["macvlan-ctl", "run"].into_iter().chain(line.split_whitespace()));
        match cli.unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_option_on_the_command_line_is_over_that_of_the_file_and_no_other() {
        let config = Config::parse(FILE, Path::new("x.toml")).unwrap();
        let file = config.masters[0].request.options;
        let wanted = |line: &str| settings(&run_of(line), &config).unwrap().masters.remove(0).config.request;
        assert_eq!(wanted("").options, file);
        assert_eq!(wanted("eth0").options, file);
        let lines = [
            "--xdp=auto",
            "--tc=auto",
            "--adopt",
            "--directed-neigh",
            "--storm-limit=off",
            "--max-children=4096",
            "--drop-unknown=off",
            "--vepa-switch=off",
            "--single-mac=auto",
            "--isolation=strict",
            "--on-missing-bpf=plain",
        ];
        for line in lines {
            let alone = run_of(line).options.to_options();
            assert_eq!(wanted(line).options, alone.or(file), "{line}");
            assert_ne!(wanted(line).options, file, "{line}");
        }
        let all = run_of(&lines.join(" ")).options.to_options();
        assert_eq!(wanted(&lines.join(" ")).options, all);
    }

    #[test]
    fn what_the_file_turns_on_the_command_line_turns_off() {
        let config = Config::parse(FILE, Path::new("x.toml")).unwrap();
        let detaches = |line: &str| settings(&run_of(line), &config).unwrap().detach_on_exit;
        assert!(detaches("") && detaches("--detach-on-exit") && !detaches("--detach-on-exit=off"));
        let metrics = |line: &str| metrics_at(&run_of(line), &config).map(|address| address.port());
        assert_eq!(metrics(""), Some(9100));
        assert_eq!((metrics("--metrics"), metrics("--metrics=off")), (Some(10099), None));
        assert!(Cli::try_parse_from(["macvlan-ctl", "run", "--metrics=nowhere"]).is_err());
    }
}
