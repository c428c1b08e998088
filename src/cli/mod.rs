//! The command line: one file a verb, and what they share. Each verb prints its result to stdout and what went wrong to
//! stderr, and ends with an [`Exit`].
//!
//! Reads nothing from the environment but what it is given; policies are left to [`crate::policy`], serving to
//! [`crate::gateway`] and [`crate::agent`].

mod agent;
mod captured;
mod check;
mod completions;
mod demo;
mod exit;
mod explain;
mod gateway;
mod health;
mod inspect;
mod keygen;
mod keyid;
mod keys;
mod log;
mod man;
mod notify;
mod reload;
mod report;
mod sample_server;
mod serve;
mod version;
mod watch;
mod window;
mod wishes;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Parser, Subcommand};

pub use exit::Exit;

use crate::policy::Environment;

/// Encrypts SyncML between terminals and servers that know nothing of it.
///
/// A gateway stands in front of a SyncML server and takes sealed messages for it; an agent seals the messages of a
/// client. Both do what a policy file tells them: start from config/gateway.toml and config/agent.toml.
#[derive(Debug, Parser)]
#[command(name = "syncseal", version, after_long_help = HELP, disable_help_subcommand = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

const HELP: &str = "\
To see it at work:
  syncseal demo

To put it in front of a server:
  syncseal keygen gateway.pem       make the gateway's key
  syncseal check gateway.toml       see whether the policy is right
  syncseal gateway gateway.toml     serve

Exit statuses:
  0   done, or drained
  1   ended before every exchange in progress was finished
  64  usage: the command line, or a file that it names, is not what the verb needs
  69  unavailable: the session store, or the gateway that is asked, is out of reach or not ready
  70  internal: a fault of syncseal, or of the system
  71  cannot bind an address
  78  configuration: the policy, or a file that it names, is wrong";

#[derive(Debug, Subcommand)]
enum Verb {
    Gateway(gateway::Args),
    Agent(agent::Args),
    Check(check::Args),
    Explain(explain::Args),
    Report(report::Args),
    Health(health::Args),
    Reload(reload::Args),
    Keygen(keygen::Args),
    Keyid(keyid::Args),
    Keys(keys::Args),
    Inspect(inspect::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
    #[command(hide = true)]
    SampleServer(sample_server::Args),
    Version(version::Args),
}

impl Command {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    /// [`Exit::Usage`], after saying why; [`Exit::Done`], after help.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(args).map_err(|error| {
            // Nowhere to say that it cannot be said.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }
}

/// Runs one verb. `env` overrides keys of policies.
///
/// # Errors
/// Any [`Exit`] but [`Exit::Done`], after saying why.
pub fn run(command: Command, env: &Environment) -> Result<(), Exit> {
    match command.verb {
        Verb::Gateway(args) => gateway::run(&args, env),
        Verb::Agent(args) => agent::run(&args, env),
        Verb::Check(args) => check::run(&args, env),
        Verb::Explain(args) => explain::run(&args, env),
        Verb::Report(args) => report::run(&args),
        Verb::Health(args) => health::run(&args),
        Verb::Reload(args) => reload::run(&args),
        Verb::Keygen(args) => keygen::run(&args),
        Verb::Keyid(args) => keyid::run(&args),
        Verb::Keys(args) => keys::run(&args, env),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::SampleServer(args) => sample_server::run(&args),
        Verb::Version(args) => version::run(&args),
    }
}

/// Writes a result to stdout. Whoever closed it has read enough.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Says on stderr what went wrong.
fn complain(problem: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{problem}");
}
