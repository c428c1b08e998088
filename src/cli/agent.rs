//! `syncseal agent`.

use std::path::{Path, PathBuf};

use super::log::{LogArgs, LogFilter};
use super::wishes::{Outcome, Wishes};
use super::{Exit, complain, notify, serve};
use crate::agent::{self, Agent, RunError};
use crate::net::drain::Drain;
use crate::policy::{AgentPolicy, Environment};

/// Runs an agent: seals the messages of a SyncML client on this machine.
///
/// Serves until SIGTERM or SIGINT, then finishes the exchanges in progress and ends; at once at the second signal. Reads
/// the policy again on SIGHUP, and when its files change.
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
    let filter = args.log.start(&policy.log);
    serve::warn_of(&policy.dangers);
    let (watch, files) = (policy.watch, policy.files.clone());
    let wishes = || Wishes::new(&args.file, watch, &files);
    let server = |wishes: Wishes, drain: Drain| {
        let (file, env, until, operators) = (args.file.clone(), env.clone(), drain.clone(), wishes.sender());
        let started = move |agent: Agent| {
            notify::ready();
            tokio::spawn(wishes.grant(move |_| reload(&agent, &file, &env, &filter), until));
        };
        agent::run(policy, Some(operators), started, drain)
    };
    serve::serve(wishes, server, exit)
}

/// Reads the policy again, and lets the agent go on under it.
fn reload(agent: &Agent, file: &Path, env: &Environment, filter: &LogFilter) -> Outcome {
    let policy = match AgentPolicy::load(file, env) {
        Ok(policy) => policy,
        Err(faults) => return faults.into(),
    };
    let (log, files, watch, dangers) = (policy.log.clone(), policy.files.clone(), policy.watch, policy.dangers.clone());
    match agent.reload(policy) {
        Ok(applied) => {
            filter.set(&log);
            serve::warn_of(&dangers);
            Outcome::Applied { applied, watched: watch.then_some(files) }
        }
        Err(error) => Outcome::Refused { faults: vec![error.to_string()], files },
    }
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
