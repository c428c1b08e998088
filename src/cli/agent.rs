//! `syncseal agent`.

use std::path::PathBuf;

use super::log::LogArgs;
use super::{Exit, complain, serve};
use crate::agent::{self, RunError};
use crate::policy::{AgentPolicy, Environment};

/// Runs an agent: seals the messages of a SyncML client on this machine.
///
/// Serves until SIGTERM or SIGINT, then finishes the exchanges in progress and ends; at once at the second signal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal agent agent.toml
  SYNCSEAL_AGENT__LISTEN=127.0.0.1:9000 syncseal agent agent.toml --log-level debug

Then let the client ask http://127.0.0.1:8070 (agent.listen) instead of the server.")]
pub(super) struct Args {
    /// The policy file; config/agent.toml is one to start from.
    file: PathBuf,

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let policy = AgentPolicy::load(&args.file, env).map_err(|faults| {
        complain(faults);
        Exit::Configuration
    })?;
    args.log.start(&policy.log);
    serve::warn_of(&policy.dangers);
    serve::serve(|drain| agent::run(policy, drain), exit)
}

/// The exit of an agent that does not run.
pub(super) fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Bind(error) => serve::bind_exit(error),
        RunError::Admin(_) => Exit::Bind,
        RunError::Gateway { .. } => Exit::Configuration,
        RunError::Random(_) => Exit::Internal,
    }
}
