//! `syncseal man`, for whoever makes packages.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Command, Exit, complain};

/// Writes the manual pages: one of the command, and one of each verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal man target/man && man target/man/syncseal-gateway.1")]
pub(super) struct Args {
    /// The directory to write them to, made if there is none.
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let written = std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(Command::command(), &args.directory));
    written.map_err(|error| {
        complain(format_args!("syncseal: cannot write to {}: {error}", args.directory.display()));
        Exit::Usage
    })
}
