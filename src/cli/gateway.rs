//! `syncseal gateway`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::log::{LogArgs, LogFilter};
use super::wishes::{Outcome, Wishes};
use super::{Exit, complain, notify, serve};
use crate::crypto::RSA_TIMING_WARNING;
use crate::gateway::{self, Reload, ReloadError, ReloadResult, RunError};
use crate::net::drain::Drain;
use crate::policy::{Environment, GatewayPolicy};
use crate::session::redis::StartError;

/// Runs a gateway: takes sealed messages for a SyncML server.
///
/// Serves until SIGTERM or SIGINT, then finishes the exchanges in progress and ends; at once at the second signal. Reads
/// the policy again on SIGHUP, and when its files change.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal gateway gateway.toml
  SYNCSEAL_GATEWAY__LISTEN=0.0.0.0:8080 syncseal gateway gateway.toml --log-format json")]
pub(super) struct Args {
    /// The policy file; config/gateway.toml is one to start from.
    file: PathBuf,

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let policy = GatewayPolicy::load(&args.file, env).map_err(|faults| {
        complain(faults);
        Exit::Configuration
    })?;
    let filter = args.log.start(&policy.log);
    if let Some(warning) = RSA_TIMING_WARNING {
        warn!("{warning}");
    }
    serve::warn_of(&policy.dangers);
    warn_of_exposed(&policy);
    let (watch, files) = (policy.watch, policy.files.clone());
    let wishes = || Wishes::new(&args.file, watch, &files);
    let server = |wishes: Wishes, drain: Drain| {
        let (file, env, until, operators) = (args.file.clone(), env.clone(), drain.clone(), wishes.sender());
        let started = move |gateway: Arc<dyn Reload>| {
            notify::ready();
            tokio::spawn(wishes.grant(move |force| reload(&*gateway, force, &file, &env, &filter), until));
        };
        gateway::run(policy, Some(operators), started, drain)
    };
    serve::serve(wishes, server, exit)
}

/// Warns of listeners that take unsealed messages from other machines.
fn warn_of_exposed(policy: &GatewayPolicy) {
    for listener in policy.exposed() {
        warn!(addr = %listener.address, "{EXPOSED}");
    }
}

/// Reads the policy again, and lets the gateway go on under it.
fn reload(gateway: &dyn Reload, force: bool, file: &Path, env: &Environment, filter: &LogFilter) -> Outcome {
    let outcome =
        GatewayPolicy::load(file, env).map_or_else(Outcome::from, |policy| match gateway.reload(&policy, force) {
            Ok(applied) => {
                filter.set(&policy.log);
                serve::warn_of(&policy.dangers);
                warn_of_exposed(&policy);
                Outcome::Applied { applied, watched: policy.watch.then_some(policy.files) }
            }
            Err(ReloadError::LocksOut(locked_out)) => Outcome::Guarded { locked_out, files: policy.files },
            Err(error) => Outcome::Refused { faults: vec![error.to_string()], files: policy.files },
        });
    gateway.metrics().reloaded(match &outcome {
        Outcome::Applied { .. } => ReloadResult::Applied,
        Outcome::Guarded { .. } => ReloadResult::Guarded,
        Outcome::Refused { .. } => ReloadResult::Faulty,
    });
    outcome
}

/// What is to be said of a listener over which plaintext may come.
pub(super) const EXPOSED: &str = "the listener takes plaintext HTTP from other machines, and a [[rule]] takes messages that are \
     not sealed: unsealed messages may come over it and be read on the way; give it tls";

/// The exit of a gateway that does not run.
pub(super) fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Bind(error) => serve::bind_exit(error),
        RunError::Admin(_) => Exit::Bind,
        RunError::Upstream { .. } | RunError::State { .. } => Exit::Configuration,
        RunError::Random(_) | RunError::Store(StartError::Random(_)) => Exit::Internal,
        RunError::Store(StartError::Unavailable { .. }) => Exit::Unavailable,
        RunError::Store(StartError::Evicts { .. }) => Exit::Configuration,
    }
}
