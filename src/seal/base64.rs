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
