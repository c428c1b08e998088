//! `syncseal keys retire`.

use std::path::PathBuf;

use serde::Serialize;

use super::{Exit, Key, Ring, State, cannot_edit, complain, print, print_json};
use crate::policy::{Environment, retire_keys};

/// Takes keys out of a policy: those that have expired, or the ones that are named, at once.
///
/// The active key stays: rotate first. The files stay as well; what to do with them is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal keys retire gateway.toml --dry-run
  syncseal keys retire gateway.toml
  syncseal keys retire gateway.toml gateway-2026-01-01.pem")]
pub(super) struct Args {
    /// The gateway's policy.
    policy: PathBuf,

    /// A key by its file, as the policy has it, or by its id (sha256//...), expired or not.
    key: Vec<String>,

    /// Change nothing, and say what would be.
    #[arg(long)]
    dry_run: bool,

    /// Print JSON: dry_run, retired (keys) and kept (keys).
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Retired {
    dry_run: bool,
    retired: Vec<Key>,
    kept: Vec<Key>,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let mut ring = Ring::load(&args.policy, env)?;
    let places = places(&ring.keys, &args.key)?;
    if !args.dry_run && !places.is_empty() {
        let text = retire_keys(&ring.text, &places).map_err(|error| cannot_edit(ring.file, &error))?;
        ring.replace(&text)?;
    }
    let (mut retired, mut kept) = (Vec::new(), Vec::new());
    for (place, key) in std::mem::take(&mut ring.keys).into_iter().enumerate() {
        if places.contains(&place) { retired.push(key) } else { kept.push(key) }
    }
    let retired = Retired { dry_run: args.dry_run, retired, kept };
    if args.json {
        return print_json(&retired);
    }
    for key in &retired.retired {
        let verb = if args.dry_run { "would be retired" } else { "retired" };
        print(&format!("{}  {}  {verb}\n", key.kid, key.file));
    }
    if retired.retired.is_empty() {
        complain("No key has expired.");
    } else if !args.dry_run {
        complain(
            "A gateway that runs takes this over by itself; with [reload] watch = false, tell it to. When its log says \
             `reloaded`, destroy the files of these keys, and every copy: whoever has one, and a recording, can read early \
             messages and sessions without a key exchange.",
        );
    }
    Ok(())
}

/// The places of the keys to retire.
fn places(keys: &[Key], named: &[String]) -> Result<Vec<usize>, Exit> {
    let expired = |(place, key): (usize, &Key)| (key.state == State::Expired).then_some(place);
    if named.is_empty() {
        return Ok(keys.iter().enumerate().filter_map(expired).collect());
    }
    let place = |name: &String| match keys.iter().position(|key| [&key.file, &key.kid].contains(&name)) {
        Some(0) => {
            complain(format_args!("syncseal: {name} is the active key; make another active first: keys rotate"));
            Err(Exit::Usage)
        }
        Some(place) => Ok(place),
        None => {
            complain(format_args!("syncseal: the policy has no key {name}; keys list shows those that it has"));
            Err(Exit::Usage)
        }
    };
    named.iter().map(place).collect()
}
