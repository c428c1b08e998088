//! Ending in order: first take nothing new, then finish what is in flight, then close.
//!
//! A [`Trigger`] is held by whoever decides that the end has come, a [`Drain`] by whatever has to end. What has ended
//! drops its [`Drain`], and [`Trigger::released`] tells when the last one is gone. [`on_signals`] makes the process's
//! signals the one who decides.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// How far the end has come. Phases only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Ending,
}

/// Decides that everything holding one of its [`Drain`]s ends. Dropped before it decided, it drains.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// Tells its holder when to end, and by being held that the holder has not yet ended.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

impl Trigger {
    /// A trigger that has not decided anything.
    #[expect(clippy::new_without_default, reason = "dropped at once it means drain, which no default should")]
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    /// A new holder.
    pub fn subscribe(&self) -> Drain {
        Drain(self.0.subscribe())
    }

    /// Asks all holders to take nothing new and to finish what they have.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Asks all holders to stop at once.
    pub fn end(&self) {
        self.advance(Phase::Ending);
    }

    /// Waits until nobody holds a [`Drain`] of this trigger.
    pub async fn released(&self) {
        self.0.closed().await;
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let later = *phase < to;
            if later {
                *phase = to;
            }
            later
        });
    }
}

impl Drain {
    /// Whether it is time to take nothing new.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining || self.0.has_changed().is_err()
    }

    /// Waits until it is time to take nothing new.
    pub async fn draining(&self) {
        // An error says that the trigger is gone: nobody is left to decide, which drains.
        let _ = self.0.clone().wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Waits until it is time to drop what is in flight.
    pub async fn ending(&self) {
        if self.0.clone().wait_for(|phase| *phase >= Phase::Ending).await.is_err() {
            pending::<()>().await;
        }
    }
}

/// A [`Drain`] that drains at the first SIGTERM or SIGINT of this process and ends at once at the second.
///
/// # Errors
/// The system's, when the handlers cannot be installed.
///
/// # Panics
/// Outside a tokio runtime with its I/O driver.
pub fn on_signals() -> io::Result<Drain> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let trigger = Trigger::new();
    let drain = trigger.subscribe();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        info!(signal = name, "draining; a second signal ends at once");
        trigger.drain();
        let name = either(&mut terminate, &mut interrupt).await;
        warn!(signal = name, "ending at once");
        trigger.end();
    });
    Ok(drain)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn phase(drain: &Drain) -> Phase {
        *drain.0.borrow()
    }

    #[tokio::test]
    async fn phases_only_grow() {
        let trigger = Trigger::new();
        let drain = trigger.subscribe();
        assert_eq!(phase(&drain), Phase::Serving);
        trigger.end();
        trigger.drain();
        assert_eq!(phase(&drain), Phase::Ending);
        drain.draining().await;
        drain.ending().await;
    }

    #[tokio::test]
    async fn a_dropped_trigger_drains_and_does_not_end() {
        let trigger = Trigger::new();
        let drain = trigger.subscribe();
        drop(trigger);
        tokio::select! {
            biased;
            () = drain.ending() => panic!("ended"),
            () = drain.draining() => {}
        }
    }

    #[tokio::test]
    async fn released_waits_for_the_last_holder() {
        let trigger = Trigger::new();
        let first = trigger.subscribe();
        let second = first.clone();
        drop(first);
        tokio::select! {
            biased;
            () = trigger.released() => panic!("one is still held"),
            () = std::future::ready(()) => {}
        }
        drop(second);
        trigger.released().await;
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_ends() {
        let drain = on_signals().unwrap();
        let kill = |name: &str| {
            let status = Command::new("kill").args([name, &std::process::id().to_string()]).status().unwrap();
            assert!(status.success());
        };
        assert_eq!(phase(&drain), Phase::Serving);
        kill("-TERM");
        drain.draining().await;
        assert_eq!(phase(&drain), Phase::Draining);
        kill("-INT");
        drain.ending().await;
    }
}
