//! `macvlan-ctl`: the command line over the library.

mod args;
mod commands;
mod output;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser as _;
use macvlan_ctl::{
    attach, child, cni, container::Containers, demo, detach, model::ChildSpec, rates, stats, status,
    steps::Outcome,
};
use tokio::time::MissedTickBehavior;

use crate::{
    args::{Attach, Child, Cli, Command, Detach, Extent, GuardedSpecs, Specs},
    output::{print_children, print_json, print_stats, print_status},
};

fn main() -> ExitCode {
    if cni::program::is_called() {
        return cni::program::main();
    }
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output may stop reading.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("macvlan-ctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> Result<()> {
    if cli.command.needs_root() && !nix::unistd::geteuid().is_root() {
        bail!("root is needed: try \"sudo macvlan-ctl ...\"");
    }
    // Before any thread is there: the whole process moves, and keeps its mounts.
    if let Some(netns) = &cli.netns {
        netns.open()?.enter()?;
    }
    match &cli.command {
        Command::Demo => return demo::demo(&mut io::stdout()),
        Command::Bench(args) => return commands::bench::bench(cli, args),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Attach(args) => run_attach(cli, args).await,
        Command::Detach(args) => run_detach(cli, args).await,
        Command::Child(Child::Add(specs)) => {
            let Specs { master, extent, .. } = &specs.specs;
            print_outcome(cli, extent, &child::add(master, &guarded(specs)?, extent.access()).await?)
        }
        Command::Child(Child::Del(Specs { master, children, extent })) => {
            print_outcome(cli, extent, &child::del(master, &parse(children)?, extent.access()).await?)
        }
        Command::Child(Child::Set(specs)) => {
            let Specs { master, extent, .. } = &specs.specs;
            print_outcome(cli, extent, &child::set(master, &guarded(specs)?, extent.access()).await?)
        }
        Command::Child(Child::List { master }) => {
            let statuses = status::status(Some(master)).await?;
            print_children(cli.json, &statuses)
        }
        Command::Status { master } => print_status(cli.json, &status::status(master.as_deref()).await?),
        Command::Stats { master, watch } => run_stats(cli, master.as_deref(), *watch).await,
        Command::Run(args) => commands::run::run(cli, args).await,
        Command::Apply { config, extent } => commands::apply::apply(cli, config, extent.access()).await,
        Command::Check { config } => commands::apply::check(cli, config).await,
        Command::Top { master, interval } => commands::top::top(cli, master.as_deref(), *interval).await,
        Command::Monitor { masters } => commands::monitor::monitor(cli, masters).await,
        Command::Trace(args) => commands::trace::trace(cli, args).await,
        Command::Doctor { master } => commands::doctor::doctor(cli, master.as_deref()).await,
        Command::InstallCni(args) => commands::install_cni::install_cni(cli, args),
        Command::Generate(what) => commands::generate::generate(what),
        Command::Demo | Command::Bench(_) => unreachable!("demo and bench have event loops of their own"),
    }
}

async fn run_attach(cli: &Cli, args: &Attach) -> Result<()> {
    let request = attach::Request {
        children: parse(&args.children)?,
        options: args.options.to_options(),
        on_missing_bpf: args.on_missing.to_choice(),
        dry_run: args.extent.dry_run,
        ..attach::Request::default()
    };
    print_outcome(cli, &args.extent, &attach::attach(&args.master, &request).await?)
}

async fn run_detach(cli: &Cli, args: &Detach) -> Result<()> {
    let outcome = detach::detach(&args.master, args.delete_children, args.extent.access()).await?;
    print_steps(cli, &args.extent, &outcome.steps)
}

fn print_outcome(cli: &Cli, extent: &Extent, outcome: &Outcome) -> Result<()> {
    print_steps(cli, extent, &outcome.steps)?;
    warn_all(cli, &outcome.warnings)
}

/// What would be done; what was done only if somebody wants to know.
fn print_steps(cli: &Cli, extent: &Extent, steps: &[String]) -> Result<()> {
    if extent.dry_run && cli.json {
        return print_json(steps);
    }
    if extent.dry_run || cli.verbose {
        let mut out = io::stdout().lock();
        for step in steps {
            writeln!(out, "{step}")?;
        }
    }
    Ok(())
}

fn parse(specs: &[String]) -> Result<Vec<ChildSpec>> {
    specs.iter().map(|spec| spec.parse()).collect()
}

/// The children of these, with what is set for all of them.
fn guarded(specs: &GuardedSpecs) -> Result<Vec<ChildSpec>> {
    let mut children = parse(&specs.specs.children)?;
    for child in &mut children {
        child.settings.policy = child.settings.policy.or(specs.policy());
    }
    Ok(children)
}

async fn run_stats(cli: &Cli, master: Option<&str>, watch: Option<u32>) -> Result<()> {
    let mut containers = Containers::default();
    let mut before = stats::stats(master, &mut containers).await?;
    let mut then = Instant::now();
    let Some(seconds) = watch else {
        return print_stats(cli.json, &before, false);
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds.into()));
    // After a late look the next is a whole interval later: no rate over next to no time.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = stats::stats(master, &mut containers).await?;
        let elapsed = then.elapsed();
        then += elapsed;
        if io::stdout().is_terminal() && !cli.json {
            // Home, then clear below: no flicker.
            print!("\x1b[H\x1b[J");
        }
        print_stats(cli.json, &rates::rates(&now, &before, elapsed), true)?;
        before = now;
    }
}

fn warn_all(cli: &Cli, warnings: &[String]) -> Result<()> {
    if !cli.quiet {
        for warning in warnings {
            eprintln!("macvlan-ctl: warning: {warning}");
        }
    }
    Ok(())
}
