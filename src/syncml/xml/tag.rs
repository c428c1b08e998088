//! Tags: most are told by a look at a few bytes at once, the others are read with care.

use std::ops::Range;

use fearless_simd::Simd;

use super::super::ascii::{Marks, NAME, VALUE};
use super::super::{Fault, InvalidDocument, Strictness, Tag, well_formed};
use super::Reader;

/// An element that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// Where its name stands, with its prefix.
    pub(super) name: Range<usize>,
    /// Its [`front`].
    pub(super) front: u128,
}

/// A start tag or empty-element tag with a name without prefix.
pub(super) struct PlainTag<'a> {
    pub(super) name: &'a [u8],
    /// The [`front`] of the name.
    pub(super) front: u128,
    pub(super) empty: bool,
}

impl<'a> Reader<'a> {
    /// Whether `rest` begins with the end tag of the innermost open element, and nothing can be odd about it. The first mark
    /// behind its `<` is at `end`.
    #[inline(always)]
    pub(super) fn is_open(&self, rest: &[u8], end: usize) -> bool {
        let Some(open) = self.open.last() else { return false };
        let len = open.name.len();
        let is_name = || rest.get(2..2 + len) == self.document.get(open.name.clone());
        let is_it = match rest.first_chunk() {
            Some(window) => ends_element(window, end, open.front, len) && (len <= FRONT_LEN || is_name()),
            None => is_name() && end == len + 2 && rest.get(end) == Some(&b'>'),
        };
        is_it && !self.seen_quote
    }

    /// Holds an end tag that is not simply the open element's to it; there may be white space behind its name.
    #[cold]
    pub(super) fn odd_end_tag(&self, rest: &[u8], start: usize) -> Result<usize, InvalidDocument> {
        let tag = tag(rest).ok_or_else(|| Fault::Truncated.at(start))?;
        let characters = self.characters(tag);
        let name = tag.strip_prefix(b"</").and_then(|tag| tag.strip_suffix(b">")).unwrap_or_default();
        let space = name.iter().rev().take_while(|&&byte| is_space(byte)).count();
        match characters {
            Err(Fault::NotUtf8) => Err(Fault::NotUtf8.at(start)),
            _ if self.open.last().and_then(|open| self.document.get(open.name.clone()))
                != name.get(..name.len() - space) =>
            {
                Err(Fault::EndTag.at(start))
            }
            result => result.map(|()| tag.len()).map_err(|e| e.at(start)),
        }
    }

    /// The start tag or empty-element tag that `rest` begins with, if it holds nothing but a name, or a namespace. The first
    /// mark behind its `<` is at `end`.
    #[inline(always)]
    pub(super) fn plain_tag<S: Simd>(&self, simd: S, rest: &'a [u8], end: usize) -> Option<PlainTag<'a>> {
        let window: &[u8; WINDOW] = rest.first_chunk()?;
        let [_, lanes @ ..] = window;
        let lanes = lanes.first_chunk()?;
        let starts = window[1].is_ascii_alphabetic() || window[1] == b'_';
        let empty = window[end.wrapping_sub(1) % WINDOW] == b'/';
        let len = end.wrapping_sub(1 + usize::from(empty));
        if end < WINDOW && window[end] == b'>' && NAME.short_run(simd, lanes) == len && starts && len < FRONT_LEN {
            let name = window.get(1..1 + len)?;
            return Some(PlainTag { name, front: u128::from_le_bytes(*lanes) & FRONT[len], empty });
        }
        self.long_tag(simd, rest, end)
    }

    /// The same of a tag with a namespace, a longer name, or little behind it.
    #[inline(always)]
    fn long_tag<S: Simd>(&self, simd: S, rest: &'a [u8], end: usize) -> Option<PlainTag<'a>> {
        let (content, empty) = match rest.get(1..end)? {
            [content @ .., b'/'] => (content, true),
            content => (content, false),
        };
        let starts = content.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        // What is looked at goes on behind the tag, so that there is enough of it to look at.
        let len = NAME.run(simd, rest.get(1..)?);
        let attribute = content.len().checked_sub(len)?;
        let is_plain =
            attribute == 0 || !empty && self.namespace_len(simd, rest.get(1 + len..).unwrap_or_default()) == attribute;
        let is_whole = starts && is_plain && rest.get(end) == Some(&b'>');
        let name = content.get(..len)?;
        is_whole.then(|| PlainTag { name, front: front(name), empty })
    }

    /// Length of the one attribute that SyncML knows, if that is what `rest` begins with and needs no second look.
    #[inline(always)]
    fn namespace_len<S: Simd>(&self, simd: S, rest: &[u8]) -> usize {
        match rest.strip_prefix(b" xmlns=") {
            Some([quote @ (b'"' | b'\''), value @ ..]) if self.max_attributes > 0 => {
                let len = VALUE.run(simd, value);
                if value.get(len) == Some(quote) { b" xmlns=".len() + 1 + len + 1 } else { 0 }
            }
            _ => 0,
        }
    }

    /// Takes a start tag or empty-element tag with more than a plain name and a namespace in it. Tells whether it is the latter,
    /// and its length.
    #[cold]
    pub(super) fn odd_start_tag(
        &mut self,
        rest: &'a [u8],
        start: usize,
    ) -> Result<(Tag<'a>, bool, usize), InvalidDocument> {
        let tag = tag(rest).ok_or_else(|| Fault::Truncated.at(start))?;
        self.characters(tag).map_err(|e| e.at(start))?;
        let (inner, empty) = match (tag.strip_suffix(b"/>"), tag.strip_suffix(b">")) {
            (Some(inner), _) => (inner, true),
            (None, inner) => (inner.unwrap_or_default(), false),
        };
        let inner = inner.strip_prefix(b"<").unwrap_or_default();
        let len = inner.iter().position(|&byte| is_space(byte)).unwrap_or(inner.len());
        let name = inner.get(..len).unwrap_or_default();
        self.seen_quote |= memchr::memchr2(b'"', b'\'', name).is_some();
        let open = Open { name: start + 1..start + 1 + len, front: front(name) };
        self.enter((!empty).then_some(open), start)?;
        if self.strictness == Strictness::Strict {
            let text = std::str::from_utf8(inner).map_err(|_| Fault::NotUtf8.at(start))?;
            let (name, attributes) = text.split_at(len);
            well_formed::name(name).map_err(|e| e.at(start))?;
            well_formed::attributes(attributes, self.max_attributes).map_err(|e| e.at(start))?;
        }
        let (prefix, name) = match memchr::memchr(b':', name) {
            Some(colon) => (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default()),
            None => (&[][..], name),
        };
        if name.is_empty() {
            return Err(Fault::Name.at(start));
        }
        Ok((Tag { name, prefix, token: 0 }, empty, tag.len()))
    }
}

/// So many bytes are looked at of a tag that is as most are.
const WINDOW: usize = 32;

/// The first bytes of a name, and zeros behind a shorter one. Those of most are all of it.
#[inline(always)]
fn front(name: &[u8]) -> u128 {
    let mut front = [0; FRONT_LEN];
    let len = name.len().min(FRONT_LEN);
    front[..len].copy_from_slice(&name[..len]);
    u128::from_le_bytes(front)
}

/// How many bytes are in a [`front`].
const FRONT_LEN: usize = 16;

/// So many bytes at the front as an index, as bits.
static FRONT: [u128; FRONT_LEN + 1] = {
    let mut front = [0; FRONT_LEN + 1];
    let mut len = 1;
    while len <= FRONT_LEN {
        front[len] = front[len - 1] << 8 | 0xff;
        len += 1;
    }
    front
};

/// Whether `window` begins with an end tag that ends at `end`, and its name is `len` bytes long and has that [`front`].
#[inline(always)]
fn ends_element(window: &[u8; WINDOW], end: usize, name: u128, len: usize) -> bool {
    let [_, _, lanes @ ..] = window;
    let Some(lanes) = lanes.first_chunk() else { return false };
    let is_front = (u128::from_le_bytes(*lanes) ^ name) & FRONT[len.min(FRONT_LEN)] == 0;
    end == len + 2 && end < WINDOW && window[end] == b'>' && is_front
}

/// Where the end tag ends that begins at `mark`, if it is that of an element whose name is `len` bytes long and has that
/// [`front`]. Otherwise no mark is taken.
#[inline(always)]
pub(super) fn ends_leaf<S: Simd>(
    document: &[u8],
    mark: usize,
    name: u128,
    len: usize,
    marks: &mut Marks<'_, S>,
) -> Option<usize> {
    let window: &[u8; WINDOW] = document.get(mark..)?.first_chunk()?;
    if !window.starts_with(b"</") || len > FRONT_LEN {
        return None;
    }
    let mut behind = *marks;
    let end = behind.next();
    ends_element(window, end - mark, name, len).then(|| {
        *marks = behind;
        end
    })
}

/// The tag that `rest` begins with, up to the first `>` outside of quotes.
fn tag(rest: &[u8]) -> Option<&[u8]> {
    let mut quote = None;
    let end = memchr::memchr3_iter(b'>', b'"', b'\'', rest).find(|&at| match (quote, rest.get(at)) {
        (None, Some(b'>')) => true,
        (None, byte) => {
            quote = byte;
            false
        }
        (Some(_), byte) => {
            if quote == byte {
                quote = None;
            }
            false
        }
    })?;
    rest.get(..=end)
}

/// White space, production 3.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
