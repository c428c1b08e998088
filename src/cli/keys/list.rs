//! `syncseal keys list`.

use std::path::PathBuf;

use super::{Exit, Ring, print, print_json};
use crate::policy::Environment;

/// Shows the keys of a policy, the active one first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal keys list gateway.toml
  syncseal keys list gateway.toml --json | jq -r '.[0].kid'")]
pub(super) struct Args {
    /// The gateway's policy.
    policy: PathBuf,

    /// Print JSON: a list of keys with kid, file, bits, state (active, accepted, expired) and accept_until.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let ring = Ring::load(&args.policy, env)?;
    if args.json {
        return print_json(&ring.keys);
    }
    for key in &ring.keys {
        print(&format!("{}  RSA {}  {}  {}\n", key.kid, key.bits, key.file, key.standing()));
    }
    Ok(())
}
