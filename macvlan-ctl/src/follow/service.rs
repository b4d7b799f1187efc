//! What the service manager is told (`sd_notify(3)`); without one, nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The service is ready, or has read its configuration.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The service reads its configuration.
pub fn reloading() {
    // `Type=notify-reload` asks for the time as well.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The service is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    // A service manager that does not listen is no reason to fail.
    let _ = sd_notify::notify(states);
}

/// Shows the service manager that the event loop turns.
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// As often as the service manager asks for, twice over; never if it does not.
    pub fn new() -> Self {
        let ticks = sd_notify::watchdog_enabled().filter(|period| *period > Duration::ZERO).map(|period| {
            let mut ticks = interval(period / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self(ticks)
    }

    /// Waits until the next sign is due, and gives it.
    pub async fn tick(&mut self) {
        match &mut self.0 {
            Some(ticks) => {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}
