//! Request targets out of a seal (PROTOCOL section 5, "Target"): a proof that one may be appended to a server's address.

use super::Malformed;

/// A request target, path and query, that stays below a path that its route allows, however the server reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target<'a>(&'a str);

impl<'a> Target<'a> {
    /// Takes `target` if it begins with one of `prefixes` at a segment boundary and holds nothing that a server could
    /// read as another path or another host.
    pub fn parse<P: AsRef<str>>(target: &'a [u8], prefixes: &[P]) -> Result<Self, Malformed> {
        let target = std::str::from_utf8(target).map_err(|_| Malformed::Target)?;
        let path = target.split('?').next().unwrap_or_default();
        let allowed = target.starts_with('/')
            && !target.starts_with("//")
            && target.bytes().all(|byte| matches!(byte, 0x21..=0x7E) && !matches!(byte, b'#' | b'\\'))
            && !path.split('/').any(is_dot_segment)
            && !has_encoded_separator(path)
            && prefixes.iter().any(|prefix| is_below(path, prefix.as_ref()));
        if allowed { Ok(Self(target)) } else { Err(Malformed::Target) }
    }

    /// The target, as the client wrote it.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Whether a segment, up to its first `;`, is `.` or `..`, each dot plain or percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let dots = name.replace("%2e", ".").replace("%2E", ".");
    matches!(dots.as_str(), "." | "..")
}

/// Whether a path holds an encoded `/` or `\`, which some servers decode before they split it.
fn has_encoded_separator(path: &str) -> bool {
    path.as_bytes().windows(3).any(|window| window.eq_ignore_ascii_case(b"%2f") || window.eq_ignore_ascii_case(b"%5c"))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', ';']))
}
