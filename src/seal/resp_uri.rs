//! Addresses that a server hands out (PROTOCOL section 8.3): whether a RespURI may pass, must name the public URL instead,
//! or cannot be passed on.
//!
//! Used by the gateway with the server's names and its own public URL, by the agent with the gateway's public URL and its
//! own. Works on decoded text; reading and replacing it in a document is left to [`crate::syncml`].

use std::fmt;
use std::str::FromStr;

/// Scheme, host and port of an address. Compared with the scheme's default port filled in and case ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The schemes that SyncML over HTTP knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`, default port 80.
    Http,
    /// `https`, default port 443.
    Https,
}

impl Scheme {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Its default port.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Not scheme, host and port of an `http` or `https` address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form http://host[:port] or https://host[:port]")]
pub struct InvalidOrigin;

impl Origin {
    /// The origin with these parts; `host` is a name, an IPv4 address or a bracketed IPv6 address.
    pub fn new(scheme: Scheme, host: &str, port: Option<u16>) -> Result<Self, InvalidOrigin> {
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
            }
        };
        if !valid {
            return Err(InvalidOrigin);
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port: port.unwrap_or_else(|| scheme.default_port()) })
    }

    /// Its scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its host, in lower case, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, the scheme's default if none was written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and, unless it is the default, port: what a Host field says.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Splits an absolute address into its origin and what follows (path, query, fragment).
    pub fn split(address: &str) -> Result<(Self, &str), InvalidOrigin> {
        let (scheme, rest) = address.split_once("://").ok_or(InvalidOrigin)?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(scheme))
            .ok_or(InvalidOrigin)?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // Userinfo and backslashes can dress a foreign host up as a known one; nobody needs them here.
        if authority.contains('@') || rest.starts_with('\\') {
            return Err(InvalidOrigin);
        }
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => (&authority[..colon], &authority[colon + 1..]),
            _ => (authority, ""),
        };
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| InvalidOrigin)?)
            }
            _ => return Err(InvalidOrigin),
        };
        Ok((Self::new(scheme, host, port)?, rest))
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        match Self::split(text)? {
            (origin, "" | "/") => Ok(origin),
            _ => Err(InvalidOrigin),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// What to do with a RespURI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RespUri {
    /// Leave it alone.
    Keep,
    /// Put this in its place.
    Replace(String),
    /// The answer cannot be passed on.
    Foreign,
}

/// Judges a decoded RespURI: `names` are the addresses that the far side goes by, `public` what stands for them on
/// this side, `asked` the Target LocURI of the request, which is the address that the client itself used.
pub fn judge(uri: &[u8], names: &[Origin], public: Option<&Origin>, asked: Option<&[u8]>) -> RespUri {
    let Ok(uri) = std::str::from_utf8(uri).map(str::trim) else {
        return RespUri::Foreign;
    };
    // Some readers drop control characters and read what is left.
    if uri.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return RespUri::Foreign;
    }
    if is_relative(uri) {
        return RespUri::Keep;
    }
    let Ok((origin, rest)) = Origin::split(uri) else {
        return RespUri::Foreign;
    };
    if names.contains(&origin) {
        return match public {
            Some(public) => RespUri::Replace(format!("{public}{rest}")),
            None => RespUri::Foreign,
        };
    }
    let asked =
        asked.and_then(|asked| std::str::from_utf8(asked).ok()).and_then(|asked| Origin::split(asked.trim()).ok());
    match asked {
        Some((asked, _)) if asked == origin => RespUri::Keep,
        _ => RespUri::Foreign,
    }
}

/// The request target, path and query, of a decoded RespURI: what a client will ask for that follows it. `None` for one
/// whose path is not absolute.
pub fn target(uri: &[u8]) -> Option<&str> {
    let uri = std::str::from_utf8(uri).ok()?.trim();
    let target = if is_relative(uri) { uri } else { Origin::split(uri).ok()?.1 };
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    match target {
        "" => Some("/"),
        _ if target.starts_with('/') => Some(target),
        _ => None,
    }
}

/// Whether it has neither a scheme nor an authority, so that it cannot lead to another host.
fn is_relative(uri: &str) -> bool {
    let head = &uri[..uri.find(['/', '\\', '?', '#']).unwrap_or(uri.len())];
    !head.contains(':') && !uri.starts_with("//") && !uri.starts_with('\\') && !uri.starts_with("/\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(uri: &str) -> RespUri {
        let names = ["http://10.0.0.1:8080", "https://internal.example", "http://[fd00::1]:81"];
        let names: Vec<Origin> = names.iter().map(|name| name.parse().unwrap()).collect();
        let public = "https://gateway.example".parse().unwrap();
        judge(uri.as_bytes(), &names, Some(&public), Some(b"http://server.example/sync"))
    }

    #[test]
    fn a_server_name_is_replaced_and_path_and_query_stay() {
        for (uri, replaced) in [
            ("http://10.0.0.1:8080/sync;jsessionid=1?a=1&b=2", "https://gateway.example/sync;jsessionid=1?a=1&b=2"),
            ("HTTPS://Internal.Example/sync", "https://gateway.example/sync"),
            ("https://internal.example:443", "https://gateway.example"),
            ("https://internal.example:/a", "https://gateway.example/a"),
            ("http://[FD00::1]:81?x", "https://gateway.example?x"),
            (" https://internal.example/a\n", "https://gateway.example/a"),
        ] {
            assert_eq!(judged(uri), RespUri::Replace(replaced.into()), "{uri}");
        }
    }

    #[test]
    fn the_address_that_the_client_used_and_relative_ones_stay() {
        for uri in
            ["http://server.example/sync?s=1", "http://SERVER.example:80/other", "/sync?s=1", "sync;x", "?a=b:c", ""]
        {
            assert_eq!(judged(uri), RespUri::Keep, "{uri}");
        }
    }

    #[test]
    fn everything_else_is_foreign() {
        for uri in [
            "http://evil.example/sync",
            "http://10.0.0.1/sync",
            "https://10.0.0.1:8080/sync",
            "http://10.0.0.1:8080@evil.example/sync",
            "http://internal.example@10.0.0.1:8080/",
            "http://10.0.0.1:8080\\@evil.example/",
            "//evil.example/sync",
            "/\\evil.example",
            "\\\\evil.example",
            "ftp://10.0.0.1:8080/",
            "mailto:a@b",
            "http:10.0.0.1:8080/",
            "http://10.0.0.1:80800/",
            "http://10.0.0.1:+8080/",
            "http:///sync",
            "/\t/evil.example",
        ] {
            let judged = judged(uri);
            assert!(matches!(judged, RespUri::Foreign), "{uri}: {judged:?}");
        }
        assert_eq!(judge(b"http://\xff/", &[], None, None), RespUri::Foreign);
    }

    #[test]
    fn without_a_public_url_a_server_name_cannot_be_passed_on() {
        let names = ["http://10.0.0.1".parse().unwrap()];
        assert_eq!(judge(b"http://10.0.0.1/a", &names, None, Some(b"http://10.0.0.1/")), RespUri::Foreign);
    }

    #[test]
    fn the_target_is_path_and_query() {
        assert_eq!(target(b"http://h:1/a;s=1?b=2#c"), Some("/a;s=1?b=2"));
        assert_eq!(target(b"http://h"), Some("/"));
        assert_eq!(target(b"/a?b"), Some("/a?b"));
        assert_eq!(target(b"a?b"), None);
        assert_eq!(target(b"http://h?b"), None);
    }
}
