//! Canonical base64 (PROTOCOL, preamble): standard alphabet, padding, zero spare bits, no white space.

use base64_simd::STANDARD;

use super::Malformed;

/// Decodes one canonical text.
pub fn decode_base64(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode_to_vec(text).map_err(|_| Malformed::Base64)
}

/// The canonical text of `bytes`.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// Appends the canonical text of `bytes`.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

/// Length of the canonical text of so many bytes.
pub(super) fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// Whether it is one canonical text.
pub(super) fn is_base64(text: &[u8]) -> bool {
    STANDARD.check(text).is_ok()
}

/// Decodes one canonical text where it stands, and gives the number of bytes, which stand where it began.
pub(super) fn decode_in_place(text: &mut [u8]) -> Result<usize, Malformed> {
    STANDARD.decode_inplace(text).map(|bytes| bytes.len()).map_err(|_| Malformed::Base64)
}
