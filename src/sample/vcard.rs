//! What the sample knows of vCards: which type one is, and whether two say the same.

use sha2::{Digest, Sha256};

/// The media type of a card: vCard 2.1 has one of its own.
pub(super) fn media_type(card: &[u8]) -> &'static str {
    let version = lines(card).into_iter().find_map(|line| line.strip_prefix(b"VERSION:").map(<[u8]>::to_vec));
    if version.is_some_and(|version| version.trim_ascii() == b"2.1") { "text/x-vcard" } else { "text/vcard" }
}

/// A hash that is the same for cards that say the same: whatever the order and the folding of their lines, and
/// whichever program wrote them when (PRODID, REV).
pub(super) fn meaning(card: &[u8]) -> String {
    let mut lines = lines(card);
    lines.retain(|line| !line.is_empty() && !line.starts_with(b"PRODID:") && !line.starts_with(b"REV:"));
    lines.sort_unstable();
    hash(&lines.join(&b'\n'))
}

/// The hash of a card's bytes, in hexadecimal.
pub(super) fn hash(card: &[u8]) -> String {
    Sha256::digest(card).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The content lines, unfolded (RFC 6350, 3.2), without the white space at their ends.
fn lines(card: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in card.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line, lines.last_mut()) {
            ([b' ' | b'\t', folded @ ..], Some(previous)) => previous.extend_from_slice(folded),
            _ => lines.push(line.to_vec()),
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_ascii_end().len());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_order_and_bookkeeping_do_not_change_the_meaning() {
        let one = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada\r\nNOTE:one long\r\n  line\r\nEND:VCARD\r\n";
        let two = b"BEGIN:VCARD\nVERSION:3.0\nNOTE:one long line\nREV:20100328T103410Z\nPRODID:-//X\nFN:Ada\nEND:VCARD";
        assert_eq!(meaning(one), meaning(two));
        assert_ne!(hash(one), hash(two));
        assert_ne!(meaning(one), meaning(b"BEGIN:VCARD\nVERSION:3.0\nNOTE:one long line\nFN:Bo\nEND:VCARD"));
    }

    #[test]
    fn vcard_2_1_has_its_own_type() {
        assert_eq!(media_type(b"BEGIN:VCARD\r\nVERSION:2.1\r\nEND:VCARD\r\n"), "text/x-vcard");
        assert_eq!(media_type(b"BEGIN:VCARD\r\nVERSION:4.0\r\nEND:VCARD\r\n"), "text/vcard");
    }
}
