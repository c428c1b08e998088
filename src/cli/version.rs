//! `syncseal version`.

use super::{Exit, print};
use crate::crypto;

/// Prints the version, that of the protocol, and what is built in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal version")]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Result<(), Exit> {
    let providers: Vec<&str> = crypto::providers().iter().map(|provider| provider.name()).collect();
    print(&format!("syncseal {}\nprotocol 1\ncryptography {}\n", env!("CARGO_PKG_VERSION"), providers.join(", ")));
    Ok(())
}
