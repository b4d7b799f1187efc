//! `macvlan-ctl`: the command line over the library.

mod args;
mod commands;
mod complete;
mod keyword;
mod options;
mod outcome;
mod output;
mod spec_help;
mod xsk_args;

use std::{io, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use macvlan_core::commands::status::status;

use crate::{
    args::{Child, Cli, Command},
    commands::{
        apply, attach, bench, child, detach, doctor, generate, install_cni, monitor, run, stats, top, trace,
        xsk,
    },
    output::{print_children, print_status},
    xsk_args::Xsk,
};

/// musl's allocator maps and unmaps memory for nearly every netlink message.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    complete::answer();
    let cli = Cli::parse();
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output may stop reading.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(usage) => usage.exit(),
            None => {
                eprintln!("macvlan-ctl: {error:#}");
                failure(&cli.command, &error)
            }
        },
    }
}

/// 1; for `check`, which answers a question, 2 where it cannot.
fn failure(command: &Command, error: &anyhow::Error) -> ExitCode {
    match command {
        Command::Check { .. } if !error.is::<apply::Differs>() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn start(cli: &Cli) -> Result<()> {
    if cli.command.needs_root() && !nix::unistd::geteuid().is_root() {
        bail!("root is needed: try \"sudo macvlan-ctl ...\"");
    }
    // Before any thread is there: the whole process moves, and keeps its mounts.
    if let Some(netns) = &cli.netns {
        netns.open()?.enter()?;
    }
    match &cli.command {
        Command::Demo => return macvlan_bench::demo::demo(&mut io::stdout()),
        Command::Bench(args) => return bench::bench(cli, args),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Attach(args) => attach::attach(cli, args).await,
        Command::Detach(args) => detach::detach(cli, args).await,
        Command::Child(Child::Add(specs)) => child::add(cli, specs).await,
        Command::Child(Child::Del(specs)) => child::del(cli, specs).await,
        Command::Child(Child::Set(specs)) => child::set(cli, specs).await,
        Command::Child(Child::List { master }) => print_children(cli.json, &status(Some(master)).await?),
        Command::Status { master } => print_status(cli.json, &status(master.as_deref()).await?),
        Command::Stats { master, watch } => stats::stats(cli, master.as_deref(), *watch).await,
        Command::Run(args) => run::run(cli, args).await,
        Command::Apply { config, extent } => apply::apply(cli, config, extent.access()).await,
        Command::Check { config } => apply::check(cli, config).await,
        Command::Top { master, interval } => top::top(cli, master.as_deref(), *interval).await,
        Command::Monitor { masters } => monitor::monitor(cli, masters).await,
        Command::Trace(args) => trace::trace(cli, args).await,
        Command::Doctor { master } => doctor::doctor(cli, master.as_deref()).await,
        Command::InstallCni(args) => install_cni::install_cni(cli, args),
        Command::Xsk(Xsk::Serve(args)) => xsk::serve(cli, args).await,
        Command::Generate(what) => generate::generate(what),
        Command::Demo | Command::Bench(_) => unreachable!("demo and bench have event loops of their own"),
    }
}
