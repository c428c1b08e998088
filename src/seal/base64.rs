//! Canonical base64 (PROTOCOL, preamble): standard alphabet, padding, zero spare bits, no white space.

use std::ops::Range;

use base64_turbo::STANDARD;

use super::Malformed;
use crate::syncml::is_base64_alphabet;

/// Longer texts are coded in parts of so many characters.
const PART: usize = 4096;
/// What a part stands for, in bytes.
const PART_BYTES: usize = PART / 4 * 3;

/// Decodes one canonical text.
pub fn decode_base64(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|_| Malformed::Base64)
}

/// The canonical text of `bytes`.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Length of the canonical text of so many bytes.
pub(super) const fn encoded_len(len: usize) -> usize {
    STANDARD.encoded_len(len)
}

/// Whether it is one canonical text.
#[cfg(test)]
pub(super) fn is_base64(text: &[u8]) -> bool {
    let Some((front, last)) = text.split_last_chunk::<4>() else { return text.is_empty() };
    text.len().is_multiple_of(4) && is_base64_alphabet(front) && ends_text(last)
}

/// Whether the last four characters can end a canonical text.
pub(super) fn ends_text(text: &[u8]) -> bool {
    match text.last_chunk::<4>() {
        Some(last @ [.., b'=']) => STANDARD.decode_slice(last, &mut [0; 3]).is_ok(),
        Some(last) => is_base64_alphabet(last),
        None => text.is_empty(),
    }
}

/// Where texts are decoded. Copied from here, out of the processor's cache, it costs next to nothing that a text and what it
/// stands for are in one buffer.
pub(super) struct Scratch([u8; PART_BYTES]);

impl Scratch {
    pub(super) fn new() -> Self {
        Self([0; PART_BYTES])
    }
}

/// Writes what the one canonical text at `text` stands for to `to`, which is in front of it or where it begins, and gives
/// its length.
pub(super) fn decode_back(
    buffer: &mut [u8],
    text: Range<usize>,
    to: usize,
    Scratch(part): &mut Scratch,
) -> Result<usize, Malformed> {
    let decode = |text: &[u8], place: &mut [u8]| STANDARD.decode_slice(text, place).map_err(|_| Malformed::Base64);
    let Range { start: mut from, end } = text;
    let mut written = to;
    while from < end {
        // As much as there is room for in front of it need not be copied. The room grows with each part.
        let room = from.checked_sub(written).ok_or(Malformed::Base64)? / 3 * 4;
        let len = room.max(PART).min(end - from);
        let (front, back) = buffer.split_at_mut_checked(from).ok_or(Malformed::Base64)?;
        let text = back.get(..len).ok_or(Malformed::Base64)?;
        let decoded = match front.get_mut(written..written + len / 4 * 3) {
            Some(place) => decode(text, place)?,
            None => {
                let decoded = decode(text, part)?;
                let place = buffer.get_mut(written..written + decoded).ok_or(Malformed::Base64)?;
                place.copy_from_slice(part.get(..decoded).ok_or(Malformed::Base64)?);
                decoded
            }
        };
        from += len;
        // Only at the very end there is padding.
        if from < end && decoded < len / 4 * 3 {
            return Err(Malformed::Base64);
        }
        written += decoded;
    }
    Ok(written - to)
}

/// With so much room between the two, what [`encode_forward`] writes never runs into what is still to be encoded.
pub(super) const HEADWAY: usize = PART;

/// Writes the canonical text of the bytes at `from` to `to`, which is in front of them, and gives its length. What was encoded
/// can be written over. Each part is read as soon as it was written, while it is at hand: it is of the alphabet, but for what
/// [ends](ends_text) the text. `None` if the text would run into what is still to be encoded, or is none.
pub(super) fn encode_forward(buffer: &mut [u8], from: Range<usize>, to: usize) -> Option<usize> {
    let Range { start: mut from, end } = from;
    let mut written = to;
    while from < end {
        let part = PART_BYTES.min(end - from);
        let (front, back) = buffer.split_at_mut_checked(from)?;
        let text = front.get_mut(written..written + encoded_len(part))?;
        let len = STANDARD.encode_slice(back.get(..part)?, text).ok()?;
        let alphabet = if part < PART_BYTES { len.checked_sub(4)? } else { len };
        if !is_base64_alphabet(text.get(..alphabet)?) {
            return None;
        }
        written += len;
        from += part;
    }
    Some(written - to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lengths around those at which parts begin and end.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let near_part =
            (0..3usize, -4..5isize).prop_map(|(parts, off)| (parts * PART_BYTES).saturating_add_signed(off));
        let len = prop_oneof![0..200usize, near_part];
        (len, prop::collection::vec(any::<u8>(), 1..50))
            .prop_map(|(len, bytes)| bytes.into_iter().cycle().take(len).collect())
    }

    fn decoded(text: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut buffer = [&[b'!'; 3], text].concat();
        let len = decode_back(&mut buffer, 3..3 + text.len(), 1, &mut Scratch::new())?;
        buffer.truncate(1 + len);
        Ok(buffer.split_off(1))
    }

    proptest! {
        #[test]
        fn in_one_buffer_it_is_the_same(bytes in bytes()) {
            let text = encode_base64(&bytes);
            prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            let mut buffer = vec![0; text.len() + HEADWAY - bytes.len()];
            let from = buffer.len();
            buffer.extend_from_slice(&bytes);
            prop_assert_eq!(encode_forward(&mut buffer, from..from + bytes.len(), 0), Some(text.len()));
            prop_assert_eq!(&buffer[..text.len()], text.as_bytes());
            prop_assert!(is_base64(text.as_bytes()));
            prop_assert_eq!(decoded(text.as_bytes()), Ok(bytes));
        }

        /// Wherever a text is broken, whoever looks at it finds the same.
        #[test]
        fn what_is_not_canonical_is_none(
            bytes in bytes(), at in any::<prop::sample::Index>(), byte in prop_oneof![any::<u8>(), Just(b'=')], more in 0..3usize,
        ) {
            let mut text = encode_base64(&bytes).into_bytes();
            text.extend_from_slice(&b"AA"[..more.min(2)]);
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let whole = decode_base64(&text);
            prop_assert_eq!(is_base64(&text), whole.is_ok());
            prop_assert_eq!(decoded(&text), whole);
        }
    }

    #[test]
    fn padding_ends_a_text() {
        for text in ["QQ==QUJD", "QUI=QUJD"] {
            assert!(!is_base64(text.as_bytes()));
            assert_eq!(decode_base64(text.as_bytes()), Err(Malformed::Base64));
        }
        let mut text = vec![b'A'; 2 * PART];
        text[PART - 1] = b'=';
        assert_eq!(decoded(&text), Err(Malformed::Base64));
        assert!(!is_base64(&text));
    }

    #[test]
    fn what_would_run_into_the_rest_is_not_written() {
        let mut buffer = vec![7; 2 * PART];
        assert_eq!(encode_forward(&mut buffer, PART - 1..PART - 1 + PART_BYTES, 0), None);
        assert_eq!(buffer, vec![7; 2 * PART]);
        assert_eq!(decode_back(&mut [b'A'; 4], 0..4, 2, &mut Scratch::new()), Err(Malformed::Base64));
    }
}
