//! The policy: what a gateway or an agent shall do, from one TOML file each.
//!
//! A file is read whole, and every fault in it is reported at once: unknown keys, values that are not allowed, keys that
//! cannot be read, with line and column. What comes out is checked ([`GatewayPolicy`], [`AgentPolicy`]): key files are
//! loaded, every value is one that can be used. `config/` holds a documented file of each, which tests keep equal to this
//! module. Binding, connecting and doing are left to [`crate::gateway`] and [`crate::agent`].
//!
//! Variables `SYNCSEAL_TABLE__KEY` of an [`Environment`] override keys of tables; they hold a TOML value, or a plain
//! string. Paths are relative to the policy file.

mod address;
mod admin;
mod agent;
mod applied;
mod case;
mod common;
mod dangerous;
mod devices;
mod edit;
mod fault;
mod gateway;
mod keys;
mod listener;
mod objection;
mod reader;
mod rollout;
mod rules;
mod secrets;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod value;
mod view;

use std::path::Path;

use toml::de::DeTable;

pub use address::{GatewayUrl, UpstreamAddr, has_prefix};
pub use admin::{Admin, Needs};
pub use agent::{AgentPolicy, AgentRecipients, Retransmit};
pub use applied::Applied;
pub use case::{Case, Expect};
pub use common::{FILTER_ALLOWED, Limits, Log, LogFormat, parse_filter};
pub use dangerous::Danger;
pub use devices::Devices;
pub use edit::{EditError, activate_key, key_files, retire_keys};
pub use fault::{Cause, Conflict, Fault, Faults, Place};
pub use gateway::{Forwarded, GatewayPolicy, HostField, Rate, Route};
pub use keys::{Recipient, read_public_half};
pub use listener::{ListenAddr, Listener, is_public};
pub use objection::{Declined, Objection};
pub use reader::Environment;
pub use rollout::{Guard, Rollout};
pub use rules::{Decision, Ending, Miss, Plaintext, PlaintextPermit, Rule, Rules, Subject};
pub use secrets::{SECRET_SUFFIX, Secret};
pub use store::Store;
pub use tls::{ClientPattern, ListenerTls, UpstreamTls};
pub use value::parse_duration;
pub use view::FileDigest;

pub use crate::seal::resp_uri::Origin;

use reader::{Known, Reader, Section};

/// A checked policy of either role.
#[derive(Clone, Debug)]
pub enum Policy {
    /// A gateway's.
    Gateway(Box<GatewayPolicy>),
    /// An agent's.
    Agent(Box<AgentPolicy>),
}

impl Policy {
    /// Loads a policy file of either role, which its table `[gateway]` or `[agent]` tells.
    pub fn load(file: &Path, env: &Environment) -> Result<Self, Faults> {
        Self::parse(file, &read(file)?, env)
    }

    /// As [`Policy::load`], of a file with this text.
    pub fn parse(file: &Path, text: &str, env: &Environment) -> Result<Self, Faults> {
        let (table, _) = DeTable::parse_recoverable(text);
        let has = |role: Role| table.get_ref().contains_key(role.table());
        if has(Role::Agent) && !has(Role::Gateway) {
            AgentPolicy::parse(file, text, env).map(|policy| Self::Agent(policy.into()))
        } else {
            GatewayPolicy::parse(file, text, env).map(|policy| Self::Gateway(policy.into()))
        }
    }
}

impl GatewayPolicy {
    /// Loads a gateway's policy file.
    pub fn load(file: &Path, env: &Environment) -> Result<Self, Faults> {
        Self::parse(file, &read(file)?, env)
    }

    /// As [`GatewayPolicy::load`], of a file with this text.
    pub fn parse(file: &Path, text: &str, env: &Environment) -> Result<Self, Faults> {
        parse(file, text, env, Role::Gateway, Self::read).0
    }
}

impl AgentPolicy {
    /// Loads an agent's policy file.
    pub fn load(file: &Path, env: &Environment) -> Result<Self, Faults> {
        Self::parse(file, &read(file)?, env)
    }

    /// As [`AgentPolicy::load`], of a file with this text.
    pub fn parse(file: &Path, text: &str, env: &Environment) -> Result<Self, Faults> {
        parse(file, text, env, Role::Agent, Self::read).0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Gateway,
    Agent,
}

impl Role {
    const fn table(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Agent => "agent",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Gateway => Self::Agent,
            Self::Agent => Self::Gateway,
        }
    }
}

const TOP: Place = Place::File { line: 1, column: 1 };

fn read(file: &Path) -> Result<String, Faults> {
    std::fs::read_to_string(file).map_err(|error| {
        let cause = Cause::Unreadable { file: file.to_owned(), error: error.to_string() };
        let files = Vec::new();
        Faults { file: file.to_owned(), files, faults: vec![Fault { place: TOP, path: String::new(), cause }] }
    })
}

/// The policy in `text`, or every fault; and the keys that it may have.
fn parse<P>(
    file: &Path,
    text: &str,
    env: &Environment,
    role: Role,
    read: impl FnOnce(Section<'_>) -> Option<P>,
) -> (Result<P, Faults>, Vec<Known>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let reader = Reader::new(text, file.parent().unwrap_or_else(|| Path::new("")), env);
    let syntax: Vec<Fault> = errors.iter().map(|error| syntax_fault(&reader, error)).collect();
    let policy = begin(reader.root(&table), role).and_then(read);
    let files = reader.files();
    let (mut faults, known) = reader.finish();
    if !syntax.is_empty() {
        // What could be read around the errors is worth its own faults, but nothing that the errors may have caused.
        faults.retain(|fault| {
            !fault.cause.may_follow_from_syntax() && syntax.iter().all(|error| !same_line(error, fault))
        });
        faults.extend(syntax);
        faults.sort_by(|a, b| a.place.cmp(&b.place));
    }
    let policy = match policy {
        Some(policy) if faults.is_empty() => Ok(policy),
        _ => Err(Faults { file: file.to_owned(), files, faults }),
    };
    (policy, known)
}

fn syntax_fault(reader: &Reader<'_>, error: &toml::de::Error) -> Fault {
    let place = error.span().map_or(TOP, |span| reader.place(&span));
    Fault { place, path: String::new(), cause: Cause::Syntax { message: error.message().to_owned() } }
}

fn same_line(a: &Fault, b: &Fault) -> bool {
    match (&a.place, &b.place) {
        (Place::File { line: a, .. }, Place::File { line: b, .. }) => a == b,
        _ => false,
    }
}

/// Reads what every policy begins with: its version, and for whom it is. `None`, after a fault, if what follows cannot
/// be judged.
fn begin(mut root: Section<'_>, role: Role) -> Option<Section<'_>> {
    let version = root.find("version");
    match &version {
        None => root.report("version", Cause::Missing { allowed: VERSION_ALLOWED.to_owned() }),
        Some(version) if version.value().as_integer().is_some_and(|number| number.as_str() == "1") => {
            if let Some(first) = root.first_key().filter(|first| *first != "version") {
                let first = first.to_owned();
                root.report("version", Cause::VersionNotFirst { first });
            }
        }
        Some(version) => return version.refuse(VERSION_ALLOWED),
    }
    if root.has(role.other().table()) {
        root.report(role.other().table(), Cause::OtherRole { wanted: role.table() });
        if !root.has(role.table()) {
            return None;
        }
        root.ignore(role.other().table());
    }
    Some(root)
}

const VERSION_ALLOWED: &str = "1, as the first key of the file: version = 1";
