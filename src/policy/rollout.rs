//! What is kept while devices move over, from `[rollout]`.

use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::reader::Section;
use super::value::count;

/// The register of the devices that were seen, and what it is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The file in which it outlives the process, if it does.
    pub state: Option<PathBuf>,
    /// The most devices in it.
    pub devices: usize,
    /// What a reload may not do.
    pub guard: Guard,
}

/// How many devices a reload may cut off without being forced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Of the devices that were seen, so many in a hundred.
    pub percent: usize,
    /// Devices count that were seen within this time.
    pub within: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Rollout {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let rollout = Self {
            state: section
                .optional("state", |state| keys::path_to_write(state, "the path of a file that the gateway may write")),
            devices: section.or("devices", 65_536, count(1..=1_000_000)),
            guard: Guard {
                percent: section.or("guard_percent", 5, count(0..=100)),
                within: DAY * u32::try_from(section.or("guard_days", 7, count(1..=366))).unwrap_or(u32::MAX),
            },
        };
        section.finish();
        rollout
    }
}
