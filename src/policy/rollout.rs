//! What is kept while devices move over, from `[rollout]`.

use std::path::PathBuf;

use super::keys;
use super::reader::Section;
use super::value::count;

/// The register of the devices that were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The file in which it outlives the process, if it does.
    pub state: Option<PathBuf>,
    /// The most devices in it.
    pub devices: usize,
}

impl Rollout {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let rollout = Self {
            state: section
                .optional("state", |state| keys::path_to_write(state, "the path of a file that the gateway may write")),
            devices: section.or("devices", 65_536, count(1..=1_000_000)),
        };
        section.finish();
        rollout
    }
}
