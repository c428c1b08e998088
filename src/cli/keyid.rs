//! `syncseal keyid`.

use std::path::PathBuf;

use super::{Exit, complain, print};
use crate::policy::read_public_half;

/// Prints the key id (pin) of a public or private key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal keyid gateway.pub.pem")]
pub(super) struct Args {
    /// A public key, or a private one (PEM).
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let key = read_public_half(&args.file).map_err(|cause| {
        complain(format_args!("syncseal: {cause}"));
        Exit::Usage
    })?;
    print(&format!("{}\n", key.key_id()));
    Ok(())
}
