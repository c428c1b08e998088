//! What a gateway does beside exchanges: it writes its register of devices to the state file, and says when rules end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;

use super::devices::{self, Devices, StateError};
use super::{Gateway, RunError};
use crate::policy::Rollout;
use crate::seal::SessionKeys;
use crate::session::SessionStore;

/// How often it is done.
const PERIOD: Duration = Duration::from_secs(60);

/// The register of devices, with what is known from before.
pub(super) fn remembered(rollout: &Rollout) -> Result<Devices, RunError> {
    let Some(file) = &rollout.state else { return Ok(Devices::new(rollout.devices)) };
    let snapshot = devices::load(file).map_err(|source| RunError::State { file: file.clone(), source })?;
    Ok(snapshot.map_or_else(|| Devices::new(rollout.devices), |known| Devices::restored(rollout.devices, known)))
}

/// The work that is done now and then, until it is ended.
pub(super) struct Upkeep {
    end: oneshot::Sender<()>,
    working: JoinHandle<()>,
}

impl Upkeep {
    /// Begins, and writes the state for the first time.
    ///
    /// # Errors
    /// [`RunError::State`]: a place that cannot be written to is told at once.
    pub(super) async fn begin<S>(gateway: Gateway<S>, state: Option<PathBuf>) -> Result<Self, RunError>
    where
        S: SessionStore<Keys = SessionKeys>,
    {
        if let Some(file) = &state {
            let saved = save(&gateway, file).await;
            saved.map_err(|source| RunError::State { file: file.clone(), source })?;
        }
        let (end, ended) = oneshot::channel();
        Ok(Self { end, working: tokio::spawn(work(gateway, state, ended)) })
    }

    /// Ends it, with all that happened up to now written.
    pub(super) async fn end(self) {
        drop(self.end);
        let _ = self.working.await;
    }
}

async fn work<S>(gateway: Gateway<S>, state: Option<PathBuf>, mut end: oneshot::Receiver<()>)
where
    S: SessionStore<Keys = SessionKeys>,
{
    let mut told = warn_of_endings(&gateway, &[]);
    loop {
        let has_ended = tokio::time::timeout(PERIOD, &mut end).await.is_ok();
        if let Some(file) = &state
            && let Err(error) = save(&gateway, file).await
        {
            warn!(file = %file.display(), %error, "the register of devices cannot be written");
        }
        if has_ended {
            return;
        }
        told = warn_of_endings(&gateway, &told);
    }
}

/// Says which rules end, but for what was told before; gives all that there is to say.
fn warn_of_endings<S>(gateway: &Gateway<S>, told: &[String]) -> Vec<String> {
    let current = gateway.shared.current.load_full();
    let endings = current.rules.endings(gateway.shared.surroundings.time.now());
    for ending in endings.iter().filter(|ending| !told.contains(&ending.to_string())) {
        warn!(rule = ending.rule, until = %ending.until, "{ending}");
    }
    endings.iter().map(ToString::to_string).collect()
}

async fn save<S>(gateway: &Gateway<S>, file: &Path) -> Result<(), StateError>
where
    S: SessionStore<Keys = SessionKeys>,
{
    let (snapshot, file) = (gateway.snapshot(), file.to_owned());
    let saved = tokio::task::spawn_blocking(move || devices::save(&file, &snapshot)).await;
    saved.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}
