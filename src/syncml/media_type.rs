//! SyncML's media types.

use super::Form;

/// A SyncML media type, with its charset parameter if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// The form of its documents.
    pub form: Form,
    /// Whether it is of OMA Device Management.
    pub dm: bool,
    /// The charset parameter, unquoted, as written.
    pub charset: Option<String>,
}

impl MediaType {
    /// Reads a Content-Type field value (RFC 9110, 8.3.1: case is ignored, parameters may be there). `None` if it is not
    /// one of SyncML's four types. Parameters that are not well-formed are passed over, as real receivers do.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let mut parts = field.splitn(2, |&b| b == b';');
        let essence = parts.next()?.trim_ascii();
        let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        let (form, dm) = if is("application/vnd.syncml+xml") {
            (Form::Xml, false)
        } else if is("application/vnd.syncml+wbxml") {
            (Form::Wbxml, false)
        } else if is("application/vnd.syncml.dm+xml") {
            (Form::Xml, true)
        } else if is("application/vnd.syncml.dm+wbxml") {
            (Form::Wbxml, true)
        } else {
            return None;
        };
        Some(Self { form, dm, charset: parts.next().and_then(charset) })
    }

    /// The value of the first charset parameter of a Content-Type field value of any media type, unquoted.
    pub fn charset_of(field: &[u8]) -> Option<String> {
        field.splitn(2, |&b| b == b';').nth(1).and_then(charset)
    }
}

/// The value of the first charset parameter.
fn charset(mut parameters: &[u8]) -> Option<String> {
    loop {
        let equals = memchr::memchr2(b'=', b';', parameters)?;
        let (name, rest) = parameters.split_at_checked(equals)?;
        let Some(rest) = rest.strip_prefix(b"=") else {
            parameters = rest.get(1..)?;
            continue;
        };
        let (value, rest) = value(rest)?;
        if name.trim_ascii().eq_ignore_ascii_case(b"charset") {
            return String::from_utf8(value).ok();
        }
        parameters = match memchr::memchr(b';', rest) {
            Some(end) => rest.get(end + 1..)?,
            None => return None,
        };
    }
}

/// A token or quoted string (RFC 9110, 5.6.4), unquoted, and what follows it.
fn value(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = input.strip_prefix(b"\"") else {
        let (token, rest) = input.split_at_checked(memchr::memchr(b';', input).unwrap_or(input.len()))?;
        return Some((token.trim_ascii().to_vec(), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((index, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, quoted.get(index + 1..)?)),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}
