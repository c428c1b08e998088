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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_origin_or_a_socket() {
        let http = |host: &str, port| Some(UpstreamAddr::Http { host: host.into(), port });
        let https = |host: &str, port| Some(UpstreamAddr::Https { host: host.into(), port });
        for (text, address) in [
            ("http://server", http("server", 80)),
            ("http://Server:8080/", http("server", 8080)),
            ("HTTPS://10.0.0.1", https("10.0.0.1", 443)),
            ("https://[fd00::1]:8443", https("[fd00::1]", 8443)),
            ("unix:/run/server.sock", Some(UpstreamAddr::Unix("/run/server.sock".into()))),
            ("unix:run/server.sock", None),
            ("unix:/run/", None),
            ("unix:", None),
            ("http://server/path", None),
            ("http://server?query", None),
            ("http://user@server", None),
            ("http://server:99999", None),
            ("http://", None),
            ("server:80", None),
            ("ftp://server", None),
            ("", None),
        ] {
            assert_eq!(UpstreamAddr::parse(text), address, "{text}");
        }
    }

    #[test]
    fn an_upstream_is_shown_as_it_can_be_written() {
        for text in ["http://server:80", "https://[fd00::1]:443", "unix:/run/server.sock"] {
            assert_eq!(UpstreamAddr::parse(text).map(|address| address.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_gateway_url_has_a_path_and_nothing_behind_it() {
        for (text, shown) in [
            ("http://gateway", Some("http://gateway/")),
            ("HTTP://Gateway:80/Sync/", Some("http://gateway/Sync/")),
            ("https://gateway:8443/a/b;c=1", Some("https://gateway:8443/a/b;c=1")),
            ("http://gateway?a", None),
            ("http://gateway/a?b", None),
            ("http://gateway/a#b", None),
            ("http://gateway/../a", None),
            ("http://gateway/a b", None),
            ("http://user:password@gateway/", None),
            ("/sync", None),
        ] {
            assert_eq!(GatewayUrl::parse(text).map(|url| url.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_prefix_is_made_of_whole_segments() {
        for path in ["/", "/sync", "/a/b.c;d=1", "/a%20b"] {
            assert_eq!(prefix(path).as_deref(), Some(path));
        }
        for path in
            ["", "sync", "/sync/", "//", "//a", "/a?b", "/a#b", "/a\\b", "/./a", "/%2E%2e/a", "/a%2fb", "/a b", "/ä"]
        {
            assert_eq!(prefix(path), None, "{path}");
        }
    }
}
