//! `trace`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use macvlan_core::kernel::errno::errno;
use macvlan_ctl::trace::{
    Trace as Running, TraceRequest,
    capture::{Capture, SNAP_LEN},
    event::Event,
    reader::Events,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time,
};

use crate::args::{Cli, Trace};

/// How often to look whether another command has replaced the programs.
const LOOK: Duration = Duration::from_millis(250);

/// How long a reader of our output may keep us once the trace has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prints sampled verdicts until stopped.
pub async fn trace(cli: &Cli, args: &Trace) -> Result<()> {
    // From here on no signal ends us before the programs are back.
    let mut stops = Stops::listen()?;
    let output = Output::open(cli, args)?;
    let request = TraceRequest { child: args.child.clone(), sample: args.sample };
    let started = Running::start(&args.master, &request).await;
    let (trace, events) = match started {
        Ok(started) => started,
        Err(error) => {
            output.discard(args);
            return Err(error);
        }
    };
    if cli.verbose {
        eprintln!("macvlan-ctl: tracing {:?}", args.master);
    }
    let (done, mut is_done) = oneshot::channel();
    // A thread of its own: whoever reads our output may let it wait, and must not keep the programs.
    let printer = thread::Builder::new().name("print".into()).spawn(move || {
        let printed = output.print(events);
        // Nobody waits for it any more where the trace was stopped.
        let _ = done.send(());
        printed
    });
    let mut look = time::interval(LOOK);
    let is_in_place = loop {
        tokio::select! {
            () = stops.next() => break true,
            _ = &mut is_done => break true,
            _ = look.tick() => if !trace.is_in_place() { break false },
        }
    };
    let summary = trace.stop().await?;
    finish(printer.context("cannot start a thread")?).await?;
    for message in summary.messages.iter().filter(|_| !cli.quiet) {
        eprintln!("macvlan-ctl: warning: {message}");
    }
    if summary.lost > 0 && !cli.quiet {
        let (lost, recorded) = (summary.lost, summary.recorded);
        eprintln!(
            "macvlan-ctl: warning: {lost} of {recorded} records were lost; take fewer: --sample, --child"
        );
    }
    if !is_in_place {
        bail!("cannot trace {:?} any longer: another command has taken the traced programs off", args.master);
    }
    Ok(())
}

/// Waits for the printer, but not for ever.
async fn finish(printer: JoinHandle<Result<()>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !printer.is_finished() {
        if Instant::now() >= deadline {
            bail!("nobody reads the output: what was left of it is lost");
        }
        time::sleep(Duration::from_millis(5)).await;
    }
    printer.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

/// The signals that end a trace.
struct Stops([Signal; 4]);

impl Stops {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::quit())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Where events go.
struct Output {
    json: bool,
    count: u64,
    capture: Option<Capture<Box<dyn Write + Send>>>,
    /// `--pcap -`: standard output is the capture's.
    is_silent: bool,
}

impl Output {
    fn open(cli: &Cli, args: &Trace) -> Result<Self> {
        let is_silent = args.pcap.as_deref().is_some_and(is_stdout);
        let capture = match &args.pcap {
            None => None,
            Some(path) => {
                let file: Box<dyn Write + Send> = if is_silent {
                    Box::new(BufWriter::new(io::stdout()))
                } else {
                    Box::new(BufWriter::new(create(path)?))
                };
                Some(Capture::new(file, &args.master)?)
            }
        };
        if capture.is_some() && cli.verbose {
            eprintln!("macvlan-ctl: the capture holds drops and turned frames, {SNAP_LEN} bytes of each");
        }
        Ok(Self { json: cli.json, count: args.count.unwrap_or(u64::MAX), capture, is_silent })
    }

    /// Takes a capture back that nothing will come into.
    fn discard(self, args: &Trace) {
        if let Some(path) = args.pcap.as_deref().filter(|path| !is_stdout(path)) {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(path);
        }
    }

    fn print(mut self, mut events: Events) -> Result<()> {
        let mut out = BufWriter::new(io::stdout());
        for _ in 0..self.count {
            let Some(event) = events.next(|| self.flush(&mut out))? else { break };
            self.print_one(&mut out, &event)?;
        }
        self.flush(&mut out)
    }

    fn print_one(&mut self, out: &mut impl Write, event: &Event) -> Result<()> {
        if let Some(capture) = &mut self.capture {
            capture.add(event)?;
        }
        if self.is_silent {
            return Ok(());
        }
        if self.json {
            serde_json::to_writer(&mut *out, event).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{event}")?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut impl Write) -> Result<()> {
        out.flush()?;
        match &mut self.capture {
            Some(capture) => capture.flush(),
            None => Ok(()),
        }
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A new file, for us alone: frames may hold what others are not to read.
fn create(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("cannot create capture {path:?}: it is there already; remove it, or choose another name")
        }
        _ => anyhow!("cannot create capture {path:?}: {}", errno(&error)),
    })
}
