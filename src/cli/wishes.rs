//! Reading the policy again while serving: asked for by SIGHUP, by a watch over its files or by an operator through the
//! window of [`crate::admin`], one reload at a time, each with one outcome that is logged, fault by fault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::notify;
use super::watch::Watch;
use crate::admin::{self, ReloadAnswer, ReloadSender, Reloads};
use crate::gateway::LockOut;
use crate::net::drain::Drain;
use crate::policy::{Applied, Faults};

/// What came of a reload.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The new policy is in force.
    Applied {
        /// What is told of it.
        applied: Applied,
        /// The files that it is made from, if they are to be watched.
        watched: Option<Vec<PathBuf>>,
    },
    /// The policy that was in force still is: the new one would cut devices off.
    Guarded {
        /// Which.
        locked_out: LockOut,
        /// Further files a change to which may mend it.
        files: Vec<PathBuf>,
    },
    /// The policy that was in force still is.
    Refused {
        /// Why not, each with its place.
        faults: Vec<String>,
        /// Further files a change to which may mend it.
        files: Vec<PathBuf>,
    },
}

/// Devices that an operator is told by name.
const NAMED: usize = 20;

impl From<Faults> for Outcome {
    fn from(faults: Faults) -> Self {
        Self::Refused { faults: faults.lines().collect(), files: faults.files }
    }
}

impl Outcome {
    /// As an operator hears of it.
    fn to_answer(&self) -> ReloadAnswer {
        match self {
            Self::Applied { applied: Applied { generation, kept }, .. } => {
                ReloadAnswer { status: StatusCode::OK, body: json!({ "generation": generation, "kept": kept }) }
            }
            Self::Guarded { locked_out: LockOut { guard, seen, devices }, .. } => {
                let names =
                    devices.iter().take(NAMED).map(|(route, device)| json!({ "route": route, "device": device }));
                let body = json!({ "locked_out": {
                    "seen": seen,
                    "cut_off": devices.len(),
                    "guard_percent": guard.percent,
                    "devices": names.collect::<Vec<_>>(),
                } });
                ReloadAnswer { status: StatusCode::CONFLICT, body }
            }
            Self::Refused { faults, .. } => {
                ReloadAnswer { status: StatusCode::UNPROCESSABLE_ENTITY, body: json!({ "faults": faults }) }
            }
        }
    }
}

/// What hears the wishes for a reload.
#[derive(Debug)]
pub(super) struct Wishes {
    file: PathBuf,
    hangups: Signal,
    watch: Option<Watch>,
    operators: Reloads,
    sender: ReloadSender,
}

impl Wishes {
    /// Hears them from here on, about the policy in `file`, made from `files`, which are watched if `watch` says so.
    ///
    /// # Errors
    /// The system's, when the handler of SIGHUP cannot be installed.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver.
    pub(super) fn new(file: &Path, watch: bool, files: &[PathBuf]) -> io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        let watch = watch.then(|| Watch::new(with(file, files)));
        let (sender, operators) = admin::reloads();
        Ok(Self { file: file.to_owned(), hangups, watch, operators, sender })
    }

    /// Where operators' wishes are sent from.
    pub(super) fn sender(&self) -> ReloadSender {
        self.sender.clone()
    }

    /// Grants them by `reload`, which is told whether it is forced, until it is drained.
    pub(super) async fn grant(mut self, reload: impl Fn(bool) -> Outcome + Send + Sync + 'static, drain: Drain) {
        let reload = Arc::new(reload);
        loop {
            let (by, wish) = tokio::select! {
                biased;
                () = drain.draining() => return,
                Some(()) = self.hangups.recv() => ("SIGHUP", None),
                Some(wish) = self.operators.next() => ("operator", Some(wish)),
                () = changed(self.watch.as_ref()) => ("watch", None),
            };
            notify::reloading();
            // Whatever changes while it is read is a change again.
            if let Some(watch) = &mut self.watch {
                watch.look();
            }
            let force = wish.as_ref().is_some_and(|wish| wish.force);
            let reload = Arc::clone(&reload);
            // It reads files, and computes with keys.
            let outcome = tokio::task::spawn_blocking(move || reload(force)).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Refused {
                faults: vec!["the reload broke off; this is a fault of syncseal".to_owned()],
                files: Vec::new(),
            });
            log(by, &outcome);
            if let Some(wish) = wish {
                wish.answer(outcome.to_answer());
            }
            self.follow(outcome);
            notify::ready();
        }
    }

    /// Watches what an outcome says.
    fn follow(&mut self, outcome: Outcome) {
        match (outcome, &mut self.watch) {
            (Outcome::Applied { watched: None, .. }, _) => self.watch = None,
            (Outcome::Applied { watched: Some(files), .. }, Some(watch)) => watch.follow(with(&self.file, &files)),
            (Outcome::Applied { watched: Some(files), .. }, None) => {
                self.watch = Some(Watch::new(with(&self.file, &files)))
            }
            (Outcome::Guarded { files, .. } | Outcome::Refused { files, .. }, Some(watch)) => watch.follow_also(files),
            (Outcome::Guarded { .. } | Outcome::Refused { .. }, None) => {}
        }
    }
}

/// Waits for a change to watched files; for ever if none are.
async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

fn with(file: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    std::iter::once(file.to_owned()).chain(files.iter().cloned()).collect()
}

fn log(by: &'static str, outcome: &Outcome) {
    match outcome {
        Outcome::Applied { applied: Applied { generation, kept }, .. } => {
            info!(by, generation, "reloaded");
            for key in kept {
                warn!(by, key, "this change waits for the next start");
            }
        }
        Outcome::Guarded { locked_out, .. } => {
            error!(by, fault = %locked_out, "not reloaded; the policy in force stays")
        }
        Outcome::Refused { faults, .. } => {
            for fault in faults {
                error!(by, fault, "not reloaded; the policy in force stays");
            }
        }
    }
}
