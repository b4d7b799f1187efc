//! `bench`: progress on a terminal, then the report.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use macvlan_bench::{
    bench::{
        self,
        effort::{Effort, Progress},
        page::{charts, page},
        real::{client, server},
        report::Report,
        table::table,
    },
    lab::mounts::{self, Output, OutputDirectory},
};
use macvlan_core::kernel::ifname::IfName;

use crate::{
    args::{Bench, Cli},
    output::print_json,
};

/// Measures and prints.
pub fn bench(cli: &Cli, args: &Bench) -> Result<()> {
    let effort = if args.quick { Effort::quick() } else { Effort::full() };
    if let Some(device) = &args.real {
        return between_nodes(cli, args, device, &effort);
    }
    let effort = if args.only.is_empty() { effort } else { effort.only(&args.only)? };
    let outputs = Outputs::reserve(args)?;
    mounts::separate()?;
    let report = bench::bench(&effort, command_line(), &Bar::new(cli.quiet))?;
    print(cli, &report)?;
    outputs.write(&report)
}

/// Serves, or measures to a node that does.
fn between_nodes(cli: &Cli, args: &Bench, device: &IfName, effort: &Effort) -> Result<()> {
    match args.to {
        None => server::serve(device.clone(), args.port, &mut io::stderr()),
        Some(address) => {
            let server = (address, args.port).into();
            let bar = Bar::new(cli.quiet);
            print(cli, &client::measure(device.clone(), server, effort, command_line(), &bar)?)
        }
    }
}

fn print(cli: &Cli, report: &Report) -> Result<()> {
    if cli.json {
        return print_json(report);
    }
    write!(io::stdout(), "{}", table(report))?;
    Ok(())
}

/// Files to write, checked before anything is measured.
struct Outputs {
    html: Option<Output>,
    svg: Option<OutputDirectory>,
}

impl Outputs {
    fn reserve(args: &Bench) -> Result<Self> {
        Ok(Self {
            html: args.html.as_deref().map(Output::reserve).transpose()?,
            svg: args.svg.as_deref().map(OutputDirectory::reserve).transpose()?,
        })
    }

    fn write(&self, report: &Report) -> Result<()> {
        if let Some(html) = &self.html {
            html.write(&page(report))?;
        }
        if let Some(svg) = &self.svg {
            for chart in charts(report) {
                svg.file(&chart.name)?.write(&chart.svg)?;
            }
        }
        Ok(())
    }
}

/// The command as it was typed.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("macvlan-ctl {}", words.join(" "))
}

/// A bar with the time left; nothing where nobody looks.
struct Bar(ProgressBar);

impl Bar {
    fn new(quiet: bool) -> Self {
        let target = if quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta_precise} left  {wide_msg}");
        // The template is ours; should it be wrong, the default bar does.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }
}

impl Progress for Bar {
    fn expect(&self, steps: usize) {
        self.0.set_length(steps as u64);
    }

    fn begin(&self, title: &str) {
        self.0.set_message(title.to_owned());
    }

    fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
