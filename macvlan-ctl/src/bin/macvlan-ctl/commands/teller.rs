//! Telling of changes with the names of containers: asking an engine takes its time, so that is a thread's work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use macvlan_core::follow::watch::{change::Change, container_names::ContainerNames};

/// How often to ask again for names that no engine told.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells of changes in their order; dropping it waits for what was handed over.
pub struct Teller {
    changes: Option<Sender<Change>>,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Starts the thread, with the rights of the calling one; `tell` gets each change.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(tell: impl Fn(&Change) + Send + 'static) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the event loop of the names")?;
        let (changes, received) = channel::<Change>();
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&is_ending);
        let work = move || {
            let mut names = ContainerNames::default();
            loop {
                let next = received.recv_timeout(AGAIN);
                let is_ending = ending.load(Ordering::Relaxed);
                match next {
                    Ok(mut change) => {
                        // Nobody waits for an engine at the end.
                        if !is_ending {
                            runtime.block_on(names.name(&mut change));
                        }
                        tell(&change);
                    }
                    Err(RecvTimeoutError::Timeout) => runtime.block_on(names.news()).iter().for_each(&tell),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("names".into()).spawn(work);
        let thread = thread.context("cannot start the thread of the names")?;
        Ok(Self { changes: Some(changes), is_ending, thread: Some(thread) })
    }

    /// Hands a change over.
    pub fn tell(&self, change: &Change) {
        if let Some(changes) = &self.changes {
            // It ends with this, not before.
            let _ = changes.send(change.clone());
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.changes.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the names panicked");
        }
    }
}
