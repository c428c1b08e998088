//! The `syncseal` command: reads the command line, runs one verb, and says by the exit status how it went.
#![forbid(unsafe_code)]

use std::panic;
use std::process::ExitCode;

use syncseal::cli::{self, Command, Exit};

fn main() -> ExitCode {
    let run = || {
        let command = Command::from_args(std::env::args_os())?;
        cli::run(command, &std::env::vars_os().collect())
    };
    // What panicked has been told by the panic hook.
    let outcome = panic::catch_unwind(run).unwrap_or(Err(Exit::Internal));
    outcome.err().unwrap_or(Exit::Done).into()
}
