//! What can be wrong with a policy: each fault with its place, the key it is about, what was found and what is allowed.

use std::fmt;
use std::path::PathBuf;

use crate::crypto::{InvalidKey, InvalidSecret, KeyId};
use crate::seal::InvalidStoreKey;

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the policy file; both counted from 1, columns in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In this environment variable.
    Variable(String),
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands; for what is missing, the table that should hold it.
    pub place: Place,
    /// The key it is about, such as `route[1].upstream` (counted from 0); empty if it is about the file.
    pub path: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The file is not TOML here.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// `version` stands after another key.
    #[error("`version = 1` must be the first key of the file; found `{first}` before it")]
    VersionNotFirst {
        /// The key that is first.
        first: String,
    },
    /// The file is for the other role.
    #[error("found the table of the other role; allowed: one role in a file, here [{wanted}]")]
    OtherRole {
        /// The table that was expected.
        wanted: &'static str,
    },
    /// A key that does not exist here.
    #[error("unknown key{} Allowed here: {}", Nearest(nearest.as_deref()), known.join(", "))]
    UnknownKey {
        /// The known key that is most like it; with its table, if it belongs into another.
        nearest: Option<String>,
        /// Every key that is allowed here.
        known: Vec<String>,
    },
    /// An environment variable that overrides nothing.
    #[error("no such setting{} Allowed: SYNCSEAL_TABLE__KEY for a key of a table, not of a [[route]]", Nearest(nearest.as_deref()))]
    UnknownVariable {
        /// The variable that is most like it.
        nearest: Option<String>,
    },
    /// A key that has no default.
    #[error("missing; allowed: {allowed}")]
    Missing {
        /// What may stand there.
        allowed: String,
    },
    /// A value that is not allowed.
    #[error("found {found}; allowed: {allowed}")]
    Refused {
        /// The value.
        found: String,
        /// What may stand there.
        allowed: String,
    },
    /// A duration or size without its unit.
    #[error("found {found}, a number without a unit; allowed: {allowed}")]
    Unitless {
        /// The number.
        found: String,
        /// What may stand there.
        allowed: String,
    },
    /// A value that stands there already.
    #[error("found {found} a second time; allowed: each once")]
    Twice {
        /// The value.
        found: String,
    },
    /// Two settings that do not go together.
    #[error("{0}")]
    Conflict(Conflict),
    /// Other machines could bring plaintext.
    #[error(
        "found {found}: what comes in is plaintext, and others than this machine could reach it; allowed: an address of \
         this machine alone, a [[listener]] with tls, or public_plaintext_listener = true in [dangerous]"
    )]
    PublicPlaintext {
        /// The address.
        found: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: String,
    },
    /// A private key or a secret that others can read.
    #[error(
        "found {} with mode {mode:04o}: group or others can use it; allowed: 0600 or 0400, and of a file of root's 0640 or \
         0440 (chmod 600 {})",
        file.display(), file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key that cannot be used.
    #[error("{}: {error}", file.display())]
    InvalidKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: InvalidKey,
    },
    /// A directory in which others could put secrets.
    #[error(
        "found {} with mode {mode:04o}: group or others can write to it; allowed: 0700 or 0755 (chmod go-w {})",
        file.display(), file.display()
    )]
    Writable {
        /// The directory.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret that cannot be used.
    #[error("{}: {error}", file.display())]
    InvalidSecret {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: InvalidSecret,
    },
    /// A store key that cannot be used.
    #[error("{}: {error}", file.display())]
    InvalidStoreKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: InvalidStoreKey,
    },
    /// A certificate, or the key of one, that cannot be used for TLS.
    #[error("{}: {error}; {remedy}", file.display())]
    UnusableTls {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file whose name is not that of a secret.
    #[error("{}: {allowed}", file.display())]
    NotAName {
        /// The file.
        file: PathBuf,
        /// What its name may be.
        allowed: String,
    },
    /// A key other than the pinned ones.
    #[error("{} holds {found}; allowed: the key that `pin` names, {}", file.display(), join(pins))]
    PinMismatch {
        /// The key file.
        file: PathBuf,
        /// Its key id.
        found: KeyId,
        /// The pinned key ids.
        pins: Vec<KeyId>,
    },
}

impl Cause {
    /// Whether it may be there only because a part of the file could not be read.
    pub(super) const fn may_follow_from_syntax(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Conflict(_) | Self::VersionNotFirst { .. } | Self::OtherRole { .. })
    }
}

/// Settings that are good each for itself, but not together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A key exchange is demanded, but there is no group for it.
    #[error("found no group, but dangerous.require_key_exchange is true; allowed: at least one group")]
    ExchangeWithoutGroup,
    /// Clients are asked for certificates, and none could count.
    #[error("client certificates must lead to one that is known; missing: client_ca")]
    ClientAuthWithoutCa,
    /// A route is for clients with certificates, and nobody is asked for one.
    #[error("nobody is asked for a certificate; missing: client_ca in the tls of a [[listener]]")]
    ClientsWithoutCa,
    /// A mode for a socket that has no file, or one that is not ours.
    #[error("only the socket of an address \"unix:/PATH\" has a mode here; allowed: no mode")]
    ModeWithoutFile,
    /// Sessions are kept in one place.
    #[error("found \"memory\" among servers; allowed: \"memory\", or servers")]
    MemoryAmongServers,
    /// Several servers, of which nobody knows which is the master.
    #[error("several servers are sentinels, which know the master by a name; missing: sessions.store_sentinel")]
    ServersWithoutSentinel,
    /// Sentinels and the master are asked in one way.
    #[error("found servers with TLS and without; allowed: \"rediss://…\" for all, or for none")]
    SomeServersWithoutTls,
    /// Certificates that nobody looks at.
    #[error("certificates count with TLS only, and no server has it; allowed: with \"rediss://…\" in sessions.store")]
    CaWithoutTls,
    /// RespURI is to be replaced, but by nothing.
    #[error("server_names are replaced by the gateway's public URL; missing: gateway.public_url")]
    NamesWithoutPublicUrl,
    /// Shared secrets are allowed, but there is no place for them.
    #[error("found \"A256KW\", but no secrets; missing: gateway.secrets, or leave \"A256KW\" out")]
    SecretsMissing,
    /// The active key has an end.
    #[error("the first key is the active one, which terminals are to use; allowed: no accept_until")]
    ActiveKeyEnds,
    /// A rule after which no other is ever asked.
    #[error(
        "a rule without conditions applies to everything, and those after it to nothing; allowed: it is the last [[rule]]"
    )]
    CatchAllNotLast,
    /// What no rule is about.
    #[error(
        "the last [[rule]] decides about all that no other is about; allowed: no route, devices, addresses and until in it"
    )]
    NoCatchAll,
    /// A key of earlier versions.
    #[error(
        "this is said by rules now; allowed: a table [[rule]] with name = \"everybody\" and plaintext = \"observe\", \
         \"permit\" or \"require\", and before it others for some routes, devices or addresses. Without any [[rule]], \
         plaintext is refused"
    )]
    PlaintextIsInRules,
    /// A key of earlier versions, by the way that it is written now.
    #[error("this is less safe than it would be by itself, and stands in a table of such keys now; allowed: {0}")]
    IsDangerous(&'static str),
    /// TLS is set up toward a server that is reached without.
    #[error("these are about TLS to the server; allowed with upstream = \"https://HOST[:PORT]\" only")]
    TlsWithoutHttps,
    /// A pin without the key.
    #[error(
        "a pin alone cannot wrap a session key; missing: agent.key, a file with the gateway's public key. Take the .pub.pem that \
         `syncseal keygen` wrote, or fetch it with `curl GATEWAY/.well-known/syncseal` and compare it with the pin by `syncseal keyid FILE`"
    )]
    PinWithoutKey,
}

fn join(pins: &[KeyId]) -> String {
    let pins: Vec<String> = pins.iter().map(KeyId::to_string).collect();
    pins.join(", ")
}

struct Nearest<'a>(Option<&'a str>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean `{name}`?"),
            None => f.write_str("."),
        }
    }
}

/// Everything that is wrong with a policy, in the order of the file. Displays as one line a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The policy file.
    pub file: PathBuf,
    /// The files and directories that it names, as far as it could be read: a change to them may mend it.
    pub files: Vec<PathBuf>,
    /// The faults: at least one.
    pub faults: Vec<Fault>,
}

impl Faults {
    /// A line for each fault: where it is, and what it is.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| {
            let mut line = match &fault.place {
                Place::File { line, column } => format!("{}:{line}:{column}: ", self.file.display()),
                Place::Variable(name) => format!("environment variable {name}: "),
            };
            if !fault.path.is_empty() {
                line.push_str(&fault.path);
                line.push_str(": ");
            }
            line.push_str(&fault.cause.to_string());
            line
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
