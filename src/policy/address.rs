//! Addresses: upstreams, the gateway's URL, path prefixes.

use std::fmt;
use std::path::PathBuf;

use crate::seal::Target;
use crate::seal::resp_uri::{Origin, Scheme};

/// Where a legacy server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddr {
    /// `http://host[:port]`
    Http {
        /// Name or address; IPv6 in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `https://host[:port]`
    Https {
        /// Name or address; IPv6 in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:/path`
    Unix(PathBuf),
}

impl UpstreamAddr {
    pub(super) const ALLOWED: &str =
        "\"http://HOST[:PORT]\", \"https://HOST[:PORT]\" or \"unix:/PATH\", without user, path or query";

    pub(super) fn parse(address: &str) -> Option<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return (path.starts_with('/') && !path.ends_with('/') && !path.contains('\0'))
                .then(|| Self::Unix(path.into()));
        }
        let origin: Origin = address.parse().ok()?;
        let (host, port) = (origin.host().to_owned(), origin.port());
        Some(match origin.scheme() {
            Scheme::Http => Self::Http { host, port },
            Scheme::Https => Self::Https { host, port },
        })
    }
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where an agent's gateway is: the path chooses the gateway's route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayUrl {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The path: at least `/`.
    pub path: String,
}

impl GatewayUrl {
    pub(super) const ALLOWED: &str =
        "the gateway's URL, \"http://HOST[:PORT]/PATH\" or \"https://HOST[:PORT]/PATH\", without user or query";

    pub(super) fn parse(url: &str) -> Option<Self> {
        let (origin, rest) = Origin::split(url).ok()?;
        let path = if rest.is_empty() { "/" } else { rest };
        is_path(path).then(|| Self { origin, path: path.to_owned() })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

pub(super) const PREFIX_ALLOWED: &str = "a path such as \"/sync\": printable ASCII after a first /, no \\, ?, #, %2f, %5c \
     or dot segment, and no / at the end";

/// A path that chooses a route, or that a route allows as target.
pub(super) fn prefix(path: &str) -> Option<String> {
    let whole_segments = path == "/" || !path.ends_with('/');
    (is_path(path) && whole_segments).then(|| path.to_owned())
}

/// A path that could stand in a request target (PROTOCOL section 5, Target).
fn is_path(path: &str) -> bool {
    !path.contains('?') && Target::parse(path.as_bytes(), &["/"]).is_ok()
}

/// Whether `path` begins with `prefix` at a segment boundary: `/`, `;` or the end (PROTOCOL section 5).
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with(['/', ';']))
}
