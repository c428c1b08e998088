//! Where the shells take the time from that they hand in.

use std::time::{SystemTime, UNIX_EPOCH};

use super::UnixTime;

/// Tells the time to whoever drives sessions; tests bring one that stands still until it is moved.
pub trait TimeSource: Send + Sync {
    /// The time now.
    fn now(&self) -> UnixTime;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl TimeSource for WallClock {
    fn now(&self) -> UnixTime {
        // A clock before 1970 is wrong in any case; then nothing is early, and nothing idle.
        UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
    }
}
