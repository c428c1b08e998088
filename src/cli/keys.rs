//! `syncseal keys`: the RSA keys of a gateway's policy, from one to the next.
//!
//! What is changed is the policy's list of keys and nothing else in it. A policy is replaced as a whole, and only by one
//! that loads.

mod list;
mod retire;
mod rotate;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{Exit, complain, print};
use crate::policy::{Environment, GatewayPolicy, Recipient, key_files};
use crate::session::{TimeSource, UnixTime, WallClock};

/// Shows and changes the RSA keys of a gateway's policy.
///
/// The gateway takes up a changed policy when it is started the next time. docs/keys.md says what to do when.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "Example:
  syncseal keys list gateway.toml
  syncseal keys rotate gateway.toml --overlap \"60 d\" --dry-run
  syncseal keys rotate gateway.toml --overlap \"60 d\"
  syncseal keys retire gateway.toml"
)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Args),
    Rotate(rotate::Args),
    Retire(retire::Args),
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    match &args.verb {
        Verb::List(args) => list::run(args, env),
        Verb::Rotate(args) => rotate::run(args, env),
        Verb::Retire(args) => retire::run(args, env),
    }
}

/// A key of a policy.
#[derive(Debug, Serialize)]
struct Key {
    /// Its id: the pin.
    kid: String,
    /// Its file, as the policy has it.
    file: String,
    /// Length of the modulus.
    bits: usize,
    state: State,
    /// When it is no longer accepted, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_until: Option<String>,
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Terminals are told to use it.
    Active,
    /// Terminals may use it.
    Accepted,
    /// Its time is over.
    Expired,
}

impl Key {
    fn new(place: usize, recipient: &Recipient, file: &str, now: UnixTime) -> Self {
        let state = match recipient.accept_until {
            _ if place == 0 => State::Active,
            Some(until) if now >= until => State::Expired,
            _ => State::Accepted,
        };
        Self {
            kid: recipient.key_id().to_string(),
            file: file.to_owned(),
            bits: recipient.public.modulus_len() * 8,
            state,
            accept_until: recipient.accept_until.map(|until| until.to_string()),
        }
    }

    /// What it is good for, in words.
    fn standing(&self) -> String {
        match (self.state, &self.accept_until) {
            (State::Active, _) => "active".to_owned(),
            (State::Accepted, None) => "accepted".to_owned(),
            (State::Accepted, Some(until)) => format!("accepted until {until}"),
            (State::Expired, until) => format!("expired {}", until.as_deref().unwrap_or_default()),
        }
    }
}

/// A gateway's policy that loads, with its text and its keys.
struct Ring<'a> {
    file: &'a Path,
    env: &'a Environment,
    text: String,
    keys: Vec<Key>,
}

impl<'a> Ring<'a> {
    fn load(file: &'a Path, env: &'a Environment) -> Result<Self, Exit> {
        let text = fs::read_to_string(file).map_err(|error| {
            complain(format_args!("syncseal: cannot read {}: {error}", file.display()));
            Exit::Configuration
        })?;
        if env.overrides("gateway", "keys") {
            complain("syncseal: SYNCSEAL_GATEWAY__KEYS stands before what the policy says; unset it");
            return Err(Exit::Usage);
        }
        let policy = GatewayPolicy::parse(file, &text, env).map_err(|faults| {
            complain(faults);
            Exit::Configuration
        })?;
        let now = WallClock.now();
        let files = match &policy.recipients[..] {
            [] => {
                complain(format_args!("syncseal: {} has no RSA keys", file.display()));
                return Err(Exit::Configuration);
            }
            _ => key_files(&text).map_err(|error| cannot_edit(file, &error))?,
        };
        let keys = policy.recipients.iter().zip(&files).enumerate();
        let keys = keys.map(|(place, (recipient, name))| Key::new(place, recipient, name, now)).collect();
        Ok(Self { file, env, text, keys })
    }

    /// A file that the policy names, where it is.
    fn resolve(&self, name: &str) -> PathBuf {
        self.file.parent().unwrap_or_else(|| Path::new("")).join(name)
    }

    /// Puts `text` in the place of the policy, if it is one that loads.
    fn replace(&self, text: &str) -> Result<(), Exit> {
        GatewayPolicy::parse(self.file, text, self.env).map_err(|faults| {
            complain(format_args!("syncseal: the policy would not load, so it stays as it was:\n{faults}"));
            Exit::Internal
        })?;
        replace(self.file, text).map_err(|error| {
            complain(format_args!("syncseal: cannot write {}: {error}", self.file.display()));
            Exit::Usage
        })
    }
}

fn cannot_edit(file: &Path, error: &dyn std::error::Error) -> Exit {
    complain(format_args!("syncseal: {}: {error}", file.display()));
    Exit::Configuration
}

/// Replaces a file in one step by one with the same owner and mode, so that whoever reads it meanwhile has the one or the
/// other. A link stays a link.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize()?;
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".new");
    let new_file = file.with_file_name(name);
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let write = |mut new: File| {
        new.write_all(text.as_bytes())?;
        new.set_permissions(fs::Permissions::from_mode(mode))?;
        own_like(&new_file, &file)?;
        new.sync_all()?;
        fs::rename(&new_file, &file)
    };
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new_file)?;
    write(new).inspect_err(|_| {
        let _ = fs::remove_file(&new_file);
    })
}

/// Gives a new file to the owner of another, as one must who runs this as root for a gateway that does not.
fn own_like(new: &Path, other: &Path) -> io::Result<()> {
    let (new_owner, owner) = (new.metadata()?, other.metadata()?);
    if (new_owner.uid(), new_owner.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    chown(new, Some(owner.uid()), Some(owner.gid()))
}

/// Prints a result as JSON.
fn print_json(result: &impl Serialize) -> Result<(), Exit> {
    let json = serde_json::to_string_pretty(result).map_err(|_| Exit::Internal)?;
    print(&format!("{json}\n"));
    Ok(())
}
