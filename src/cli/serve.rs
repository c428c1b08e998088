//! What `gateway` and `agent` share: the runtime, the signals, and the end.

use std::future::Future;
use std::io;

use tracing::{error, info, warn};

use super::wishes::Wishes;
use super::{Exit, complain, notify};
use crate::intake::BindError;
use crate::net::drain::{self, Drain};
use crate::net::server::Drained;
use crate::policy::Danger;

/// Runs `server` until it is drained by SIGTERM or SIGINT. Its errors are mapped to exits by `exit`. Wishes for a
/// reload are heard from the start on, by what `wishes` makes.
pub(super) fn serve<E: std::error::Error, F: Future<Output = Result<Drained, E>>>(
    wishes: impl FnOnce() -> io::Result<Wishes>,
    server: impl FnOnce(Wishes, Drain) -> F,
    exit: impl FnOnce(&E) -> Exit,
) -> Result<(), Exit> {
    let no_system = |error: io::Error| {
        complain(format_args!("syncseal: the system does not let this program serve: {error}"));
        Exit::Internal
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_system)?;
    runtime.block_on(async {
        let drain = drain::on_signals().map_err(no_system)?;
        let wishes = wishes().map_err(no_system)?;
        let until = drain.clone();
        tokio::spawn(async move {
            until.draining().await;
            drop(until);
            notify::stopping();
        });
        tokio::spawn(notify::stay_alive());
        match server(wishes, drain).await {
            Ok(Drained::Clean) => {
                info!("drained");
                Ok(())
            }
            Ok(Drained::Forced) => {
                error!("ended before every exchange in progress was finished");
                Err(Exit::Forced)
            }
            Err(error) => {
                error!(%error, "cannot serve");
                Err(exit(&error))
            }
        }
    })
}

/// Warns of each protection that a policy gives up.
pub(super) fn warn_of(dangers: &[Danger]) {
    for danger in dangers {
        warn!(key = danger.key(), "{danger}");
    }
}

/// The exit of one that cannot listen.
pub(super) fn bind_exit(error: &BindError) -> Exit {
    match error {
        BindError::Bind { .. } | BindError::Activation { .. } => Exit::Bind,
        BindError::PublicPlaintext { .. } => Exit::Configuration,
    }
}
