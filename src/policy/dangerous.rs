//! `[dangerous]`: what makes it less safe than it would be by itself stands here and nowhere else, under keys that say what
//! is given up. Each that is used is told at every start.

use std::fmt;

use super::fault::{Cause, Conflict};
use super::reader::Section;
use super::value::boolean;

/// A protection that a policy gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// `dangerous.require_key_exchange = false`
    NoKeyExchange,
    /// `dangerous.public_plaintext_listener = true`
    PublicPlaintextListener,
    /// `dangerous.public_admin_listener = true`
    PublicAdminListener,
    /// `route.dangerous.bind_sessions = false`, of the route with this path.
    UnboundSessions(String),
}

impl Danger {
    /// The key that says so.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::NoKeyExchange => "dangerous.require_key_exchange",
            Self::PublicPlaintextListener => "dangerous.public_plaintext_listener",
            Self::PublicAdminListener => "dangerous.public_admin_listener",
            Self::UnboundSessions(_) => "route.dangerous.bind_sessions",
        }
    }
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyExchange => f.write_str(
                "sealed sessions may begin without a key exchange: whoever gets the recipient key later can read what \
                 was recorded of them",
            ),
            Self::PublicPlaintextListener => f.write_str(
                "the agent may take plaintext from other machines: whoever is between them and this one can read and \
                 change it",
            ),
            Self::PublicAdminListener => f.write_str(
                "the window for operators may be open to other machines: it has no password, and whoever can connect may look \
                 and ask for a reload",
            ),
            Self::UnboundSessions(route) => write!(
                f,
                "on the route {route}, the messages of a SyncML session are taken from whoever knows its names, not only \
                 from the sealed session that it began in"
            ),
        }
    }
}

impl Section<'_> {
    /// Reports `key`, if it is there: it is written otherwise since it stands among the dangerous ones.
    pub(super) fn moved_to_dangerous(&mut self, key: &'static str, now: &'static str) {
        if self.has(key) {
            self.report(key, Cause::Conflict(Conflict::IsDangerous(now)));
            self.ignore(key);
        }
    }
}

/// What `[dangerous]` of either role says.
#[derive(Debug)]
pub(super) struct Dangerous {
    pub(super) require_exchange: bool,
    pub(super) public_plaintext_listener: bool,
    pub(super) public_admin_listener: bool,
}

impl Dangerous {
    pub(super) fn read_gateway(section: Section<'_>) -> Self {
        Self::read(section, |_| false)
    }

    pub(super) fn read_agent(section: Section<'_>) -> Self {
        Self::read(section, |section| section.or("public_plaintext_listener", false, boolean))
    }

    fn read(mut section: Section<'_>, public_plaintext_listener: impl FnOnce(&mut Section<'_>) -> bool) -> Self {
        let dangerous = Self {
            require_exchange: section.or("require_key_exchange", true, boolean),
            public_plaintext_listener: public_plaintext_listener(&mut section),
            public_admin_listener: section.or("public_admin_listener", false, boolean),
        };
        section.finish();
        dangerous
    }

    /// What is given up.
    pub(super) fn dangers(&self) -> Vec<Danger> {
        let all = [
            (!self.require_exchange, Danger::NoKeyExchange),
            (self.public_plaintext_listener, Danger::PublicPlaintextListener),
            (self.public_admin_listener, Danger::PublicAdminListener),
        ];
        all.into_iter().filter_map(|(used, danger)| used.then_some(danger)).collect()
    }
}
