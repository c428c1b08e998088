//! Devices by patterns of their Source LocURI, wherever a policy speaks of some devices.

use std::fmt;

use wildmatch::WildMatch;

use super::reader::Setting;
use super::value::{nonempty_list, text};

/// Devices by patterns of their Source LocURI, in which `*` stands for anything and `?` for one character.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices(Vec<WildMatch>);

/// No name of a device is longer, in bytes: one that is, matches no pattern.
const LONGEST: usize = 256;

const ALLOWED: &str = "a pattern of a Source LocURI, such as \"IMEI:49*\"";

impl Devices {
    /// Reads one pattern or several.
    pub(super) fn read(setting: &Setting<'_>) -> Option<Self> {
        let pattern = text(ALLOWED, |pattern| (!pattern.is_empty()).then(|| WildMatch::new(pattern)));
        nonempty_list(ALLOWED, pattern)(setting).map(Self)
    }

    /// Whether a device with this Source LocURI is among them. White space around it does not count.
    pub fn contain(&self, source: &[u8]) -> bool {
        let source = source.trim_ascii();
        source.len() <= LONGEST
            && std::str::from_utf8(source).is_ok_and(|source| self.0.iter().any(|pattern| pattern.matches(source)))
    }
}

impl fmt::Display for Devices {
    /// The patterns, with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, pattern) in self.0.iter().enumerate() {
            write!(f, "{}{:?}", if n > 0 { ", " } else { "" }, pattern.pattern())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(patterns: &[&str]) -> Devices {
        Devices(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect())
    }

    #[test]
    fn a_pattern_is_of_the_whole_name() {
        let some = devices(&["IMEI:49*", "phone-?"]);
        for source in ["IMEI:49", "IMEI:490154203237518", "phone-1", " phone-1\n"] {
            assert!(some.contain(source.as_bytes()), "{source}");
        }
        for source in ["imei:49", "xIMEI:49", "phone-", "phone-12", ""] {
            assert!(!some.contain(source.as_bytes()), "{source}");
        }
    }

    #[test]
    fn what_can_be_no_name_is_in_no_pattern() {
        let all = devices(&["*"]);
        assert!(all.contain(b""));
        assert!(all.contain(&[b'a'; LONGEST]));
        assert!(!all.contain(&[b'a'; LONGEST + 1]));
        assert!(!all.contain(b"\xff"));
    }
}
