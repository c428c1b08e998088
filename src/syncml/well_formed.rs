//! What XML 1.0 asks of the inside of markup and text: names, attributes, characters, declarations.

use quick_xml::events::{BytesDecl, BytesRef};

use super::{Fault, xml};

/// Holds bytes that are UTF-8 to the characters that XML has (production 2).
pub(super) fn characters(bytes: &[u8]) -> Result<(), Fault> {
    if !all(bytes, |byte| (byte >= b' ') | (byte.wrapping_sub(b'\t') < 2) | (byte == b'\r')) {
        return Err(Fault::Character);
    }
    // U+FFFE and U+FFFF are the only others; a surrogate is not UTF-8.
    let is_noncharacter = |at| matches!(bytes.get(at + 1..at + 3), Some([0xbf, 0xbe | 0xbf]));
    if memchr::memchr_iter(0xef, bytes).any(is_noncharacter) { Err(Fault::Character) } else { Ok(()) }
}

/// Whether every byte is such a one. Without a way out in the middle, a chunk is looked at many bytes at a time.
#[inline]
fn all(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    let (chunks, rest) = bytes.as_chunks::<256>();
    let whole = |chunk: &[u8]| chunk.iter().fold(true, |all, &byte| all & is_such(byte));
    chunks.iter().all(|chunk| whole(chunk)) && whole(rest)
}

/// Holds a name to production 5.
pub(super) fn name(name: &str) -> Result<(), Fault> {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(is_name_start);
    if starts && characters.all(is_name_char) { Ok(()) } else { Err(Fault::Name) }
}

/// Holds what follows the name in a tag to productions 40 and 41: each attribute once, and no more than `max`.
pub(super) fn attributes(raw: &str, max: usize) -> Result<(), Fault> {
    // Most tags have one at the most, for which nothing need be allocated.
    let (mut earlier, mut last) = (Vec::new(), None);
    let mut rest = raw;
    while let Some(attribute) = Attribute::split(&mut rest)? {
        if max == earlier.len() + usize::from(last.is_some()) {
            return Err(Fault::TooManyAttributes);
        }
        if last == Some(attribute.name) || earlier.contains(&attribute.name) {
            return Err(Fault::AttributeTwice);
        }
        earlier.extend(last.replace(attribute.name));
    }
    Ok(())
}

/// Holds an XML declaration to production 23, and its encoding to UTF-8.
pub(super) fn declaration(declaration: &BytesDecl<'_>) -> Result<(), Fault> {
    let mut rest = declaration.strip_prefix("xml").ok_or(Fault::Declaration)?;
    let version = Attribute::split(&mut rest)?.ok_or(Fault::Declaration)?;
    let minor = version.value.strip_prefix("1.").unwrap_or_default();
    if version.name != "version" || minor.is_empty() || !minor.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::Declaration);
    }
    let mut next = Attribute::split(&mut rest)?;
    if let Some(encoding) = next.as_ref().filter(|attribute| attribute.name == "encoding") {
        if !encoding.value.eq_ignore_ascii_case("UTF-8") {
            return Err(Fault::Encoding);
        }
        next = Attribute::split(&mut rest)?;
    }
    if let Some(standalone) = next.as_ref().filter(|attribute| attribute.name == "standalone") {
        if !matches!(standalone.value, "yes" | "no") {
            return Err(Fault::Declaration);
        }
        next = Attribute::split(&mut rest)?;
    }
    if next.is_some() { Err(Fault::Declaration) } else { Ok(()) }
}

/// Holds a document type declaration without an internal subset to productions 28 and 75.
pub(super) fn doctype(declaration: &[u8]) -> Result<(), Fault> {
    let text = std::str::from_utf8(declaration).map_err(|_| Fault::NotUtf8)?;
    let text = text.strip_prefix("<!DOCTYPE").and_then(|text| text.strip_suffix('>')).ok_or(Fault::Doctype)?;
    let rest = skip_space(text.trim_end_matches(is_space))?;
    let (root, rest) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
    name(root)?;
    if rest.is_empty() {
        return Ok(());
    }
    let rest = skip_space(rest)?;
    let rest = match (rest.strip_prefix("SYSTEM"), rest.strip_prefix("PUBLIC")) {
        (Some(rest), _) => rest,
        (None, Some(rest)) => {
            let (public_id, rest) = literal(rest)?;
            if !public_id.chars().all(is_pubid_char) {
                return Err(Fault::Doctype);
            }
            rest
        }
        (None, None) => return Err(Fault::Doctype),
    };
    let (_, rest) = literal(rest)?;
    if rest.is_empty() { Ok(()) } else { Err(Fault::Doctype) }
}

/// A quoted literal behind white space, and what follows it.
fn literal(rest: &str) -> Result<(&str, &str), Fault> {
    let rest = skip_space(rest)?;
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(Fault::Doctype)?;
    rest.get(1..).and_then(|rest| rest.split_once(quote)).ok_or(Fault::Doctype)
}

/// What follows the white space that there has to be.
fn skip_space(rest: &str) -> Result<&str, Fault> {
    let trimmed = rest.trim_start_matches(is_space);
    if trimmed.len() < rest.len() { Ok(trimmed) } else { Err(Fault::Doctype) }
}

/// Production 13.
fn is_pubid_char(c: char) -> bool {
    matches!(c, ' ' | '\r' | '\n') || c.is_ascii_alphanumeric() || "-'()+,./:=?;!*#@$_%".contains(c)
}

/// Holds the target of a processing instruction to production 17.
pub(super) fn instruction(target: &str) -> Result<(), Fault> {
    name(target)?;
    if target.eq_ignore_ascii_case("xml") { Err(Fault::Declaration) } else { Ok(()) }
}

struct Attribute<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> Attribute<'a> {
    /// Takes the next attribute from `rest`, with the white space before it; `None` if nothing but white space is left.
    fn split(rest: &mut &'a str) -> Result<Option<Self>, Fault> {
        let trimmed = rest.trim_start_matches(is_space);
        if trimmed.is_empty() {
            return Ok(None);
        }
        if trimmed.len() == rest.len() {
            return Err(Fault::Attribute);
        }
        let (name, value) = trimmed.split_once('=').ok_or(Fault::Attribute)?;
        let (name, value) = (name.trim_end_matches(is_space), value.trim_start_matches(is_space));
        self::name(name)?;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(Fault::Attribute)?;
        let (value, after) = value.get(1..).and_then(|v| v.split_once(quote)).ok_or(Fault::Attribute)?;
        *rest = after;
        if value.contains('<') {
            return Err(Fault::Attribute);
        }
        let mut references = value.split('&');
        references.next();
        for reference in references {
            let (reference, _) = reference.split_once(';').ok_or(Fault::Reference)?;
            xml::resolve(&BytesRef::new(reference)).ok_or(Fault::Reference)?;
        }
        Ok(Some(Self { name, value }))
    }
}

/// White space, production 3.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Production 4.
fn is_name_start(c: char) -> bool {
    matches!(c,
        ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

/// Production 4a.
fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
