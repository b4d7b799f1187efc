//! Sending without a pause while something else is done, to see that not one frame is lost by it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

/// What was sent meanwhile.
#[derive(Debug)]
pub struct Sent {
    /// All of them.
    pub frames: u64,
    /// Frames per second, in the fastest burst: others may want the processor too.
    pub rate: f64,
}

/// Sends without a pause, a `burst` at a time, until `work` is done.
///
/// # Panics
///
/// When either does.
#[track_caller]
pub fn send_while(mut burst: impl FnMut() -> u64 + Send, work: impl FnOnce()) -> Sent {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut frames, mut rate) = (0, 0.0_f64);
            while !done.load(Ordering::Relaxed) {
                let (start, sent) = (Instant::now(), burst());
                rate = rate.max(sent as f64 / start.elapsed().as_secs_f64());
                frames += sent;
            }
            (frames, rate)
        });
        // The sender ends even if this panics.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let sent = sender.join();
        worked.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let (frames, rate) = sent.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        println!("{frames} frames, up to {rate:.0} per second");
        Sent { frames, rate }
    })
}
