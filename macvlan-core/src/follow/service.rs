//! What the service manager is told (`sd_notify(3)`); without one, nothing.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// A line to the service manager, and the watchdog that it keeps.
///
/// The socket blocks while nobody reads it, so a thread of its own writes to it: a service manager
/// that hangs holds nothing up.
pub struct ServiceManager {
    words: Option<SyncSender<Word>>,
    watchdog: Option<Interval>,
}

enum Word {
    Ready(String),
    Reloading,
    Stopping,
    Alive,
}

/// Words that may wait for the service manager; more would be of no use to it.
const WAITING: usize = 8;

impl ServiceManager {
    /// The service manager that started this process, if one did.
    pub fn new() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { words: None, watchdog: None };
        }
        let (words, waiting) = sync_channel::<Word>(WAITING);
        thread::spawn(move || waiting.into_iter().for_each(|word| tell(&word)));
        let period = sd_notify::watchdog_enabled().filter(|period| *period > Duration::ZERO);
        let watchdog = period.map(|period| {
            let mut ticks = interval(period / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { words: Some(words), watchdog }
    }

    /// The service is ready, or has read its configuration.
    pub fn ready(&self, status: String) {
        self.say(Word::Ready(status));
    }

    /// The service reads its configuration.
    pub fn reloading(&self) {
        self.say(Word::Reloading);
    }

    /// The service is about to end.
    pub fn stopping(&self) {
        self.say(Word::Stopping);
    }

    /// Waits until the next sign of life is due, and gives it: it shows that the event loop turns.
    /// Twice as often as asked for; never where nobody asks.
    pub async fn watchdog(&mut self) {
        match &mut self.watchdog {
            Some(ticks) => {
                ticks.tick().await;
                self.say(Word::Alive);
            }
            None => std::future::pending().await,
        }
    }

    fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            // Full: the service manager has enough to read.
            let _ = words.try_send(word);
        }
    }
}

fn tell(word: &Word) {
    let told = match word {
        Word::Ready(status) => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]),
        // `Type=notify-reload` asks for the time as well.
        Word::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
            Err(_) => sd_notify::notify(&[NotifyState::Reloading]),
        },
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    // A service manager that does not listen is no reason to fail.
    drop(told);
}
