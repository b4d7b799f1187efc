//! `top`: the terminal, the keys and the readings, brought together.

use std::{
    env,
    io::{self, IsTerminal as _, Stdout},
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use macvlan_ctl::top::{
    draw::theme::Theme,
    feed::{Feed, Sample},
    screen::{Reaction, Screen},
};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::args::Cli;

/// How often marks and children that are gone are looked at, between two readings.
const BEAT: Duration = Duration::from_secs(1);

/// Shows the screen until `q` or a signal.
pub async fn top(cli: &Cli, master: Option<&str>, seconds: u32) -> Result<()> {
    if cli.json {
        bail!("top shows a screen, not JSON; see: macvlan-ctl -j stats --watch 1");
    }
    let cannot = "cannot show a screen";
    if !io::stdout().is_terminal() {
        bail!("{cannot}: standard output is not a terminal; see: macvlan-ctl stats --watch 1");
    }
    if env::var_os("TERM").is_some_and(|term| term == "dumb") {
        bail!("{cannot}: the terminal has none (TERM=dumb); see: macvlan-ctl stats --watch 1");
    }
    let mut stop = Stop::new()?;
    let every = Duration::from_secs(seconds.into());
    let (change_interval, wanted) = watch::channel(every);
    let mut readings = start_reading(master, wanted)?;
    // What fails at once is an ordinary error, not a screen.
    let first = tokio::select! {
        first = readings.recv() => first.ok_or_else(reader_ended)??,
        () = stop.asked() => return Ok(()),
    };
    let mut screen = Screen::new(Theme::of_environment(|name| env::var_os(name)), every);
    screen.take(Ok(first), Instant::now());

    restore_on_panic();
    let mut terminal = FullScreen::enter().context(cannot)?;
    let mut events = start_events()?;
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.0.draw(|frame| screen.draw(frame)).context("cannot write to the terminal")?;
        tokio::select! {
            reading = readings.recv() => {
                let reading = reading.ok_or_else(reader_ended)?;
                screen.take(reading.map_err(|error| format!("{error:#}")), Instant::now());
            }
            event = events.recv() => {
                let mut next = Some(event.ok_or_else(|| anyhow!("nobody reads the keys any more"))?);
                // A key that is held down must not be ahead of the screen.
                while let Some(event) = next {
                    let Event::Key(key) = event.context("cannot read keys")? else { break };
                    match screen.press(key) {
                        Reaction::Draw => {}
                        Reaction::Redraw => terminal.0.clear().context("cannot write to the terminal")?,
                        Reaction::Interval(every) => change_interval.send(every).map_err(|_| reader_ended())?,
                        Reaction::Suspend => terminal = terminal.suspend()?,
                        Reaction::Quit => return Ok(()),
                    }
                    next = events.try_recv().ok();
                }
            }
            _ = beat.tick() => screen.tick(Instant::now()),
            () = stop.asked() => return Ok(()),
        }
    }
}

fn reader_ended() -> anyhow::Error {
    anyhow!("nobody reads the counters any more")
}

/// Reads on a thread of its own, so that a slow look does not hold up the keys. It is in the
/// namespaces of this one.
fn start_reading(
    master: Option<&str>,
    wanted: watch::Receiver<Duration>,
) -> Result<mpsc::Receiver<Result<Sample>>> {
    let (sender, readings) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop of the readings")?;
    let master = master.map(str::to_owned);
    let read = move || runtime.block_on(read(master.as_deref(), &sender, wanted));
    thread::Builder::new().name("readings".into()).spawn(read).context("cannot start a thread")?;
    Ok(readings)
}

async fn read(
    master: Option<&str>,
    readings: &mpsc::Sender<Result<Sample>>,
    mut wanted: watch::Receiver<Duration>,
) {
    let mut feed = match Feed::open(master) {
        Ok(feed) => feed,
        // Nobody listens once the program ends: so be it, here and below.
        Err(error) => return readings.send(Err(error)).await.unwrap_or_default(),
    };
    loop {
        let began = tokio::time::Instant::now();
        if readings.send(feed.read().await).await.is_err() {
            return;
        }
        loop {
            let every = *wanted.borrow_and_update();
            tokio::select! {
                () = sleep_until(began + every) => break,
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Waits for keys on a thread of its own: that cannot be interrupted.
fn start_events() -> Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, events) = mpsc::channel(64);
    let read = move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read).context("cannot start a thread")?;
    Ok(events)
}

/// The signals by which others ask this program to end.
struct Stop([Signal; 4]);

impl Stop {
    fn new() -> Result<Self> {
        let kinds =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let [a, b, c, d] = kinds.map(signal);
        let cannot = "cannot wait for signals";
        Ok(Self([a.context(cannot)?, b.context(cannot)?, c.context(cannot)?, d.context(cannot)?]))
    }

    async fn asked(&mut self) {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
            _ = d.recv() => {}
        }
    }
}

/// The terminal's second screen, with keys as they are typed; given back when dropped.
struct FullScreen(Terminal<CrosstermBackend<Stdout>>);

impl FullScreen {
    fn enter() -> io::Result<Self> {
        IS_TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide));
        match taken.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout()))) {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Leaves the terminal to the shell until that says to go on.
    fn suspend(self) -> Result<Self> {
        drop(self);
        // SAFETY: sends a signal to this process, whose action is the kernel's own: to stop.
        unsafe { libc::raise(libc::SIGTSTP) };
        Self::enter().context("cannot take the terminal again")
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether the terminal is to be given back. Twice would put the cursor where it was before, over
/// what has been written since.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back as it was, once. Where that fails the terminal is gone.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Makes a panic readable, on whatever thread it is.
fn restore_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |cause| {
        give_back();
        report(cause);
    }));
}
