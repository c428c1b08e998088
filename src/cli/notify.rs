//! Tells the service manager how things stand (sd_notify(3)): ready, reloading, stopping, and still alive. Without one,
//! which `NOTIFY_SOCKET` in the environment tells, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// All listeners are bound; or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub(super) fn reloading() {
    // The time tells the manager which of its wishes this is about. There is a clock on every system that it runs on.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says for ever that this process is alive, as often as the manager wants to hear it; if it does.
pub(super) async fn stay_alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| *patience > Duration::from_millis(1)) else {
        return;
    };
    let mut ticks = interval(patience / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager cannot be told");
    }
}
