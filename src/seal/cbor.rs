//! CBOR as the protocol has it (RFC 8949, 4.2.1): shortest forms, definite lengths, sorted keys, nothing twice, nothing
//! after. Read in place and in order; no item is copied, no length is believed before it is compared with what is left.

use std::convert::Infallible;
use std::ops::Range;

use ciborium_ll::{Decoder, Encoder, Header, simple};

use super::Malformed;

/// Nesting of arrays, maps and tags in an item that is walked without being looked at.
const MAX_DEPTH: usize = 16;

/// The longest head of an item: one byte, and a length or value of eight.
const MAX_HEAD: usize = 9;

/// Checks that `item` is one item of deterministic CBOR, of the types that the protocol uses (integers, strings, arrays,
/// maps with integers and text as keys, tags, booleans and null), and nothing else.
pub fn check_item(item: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(item);
    reader.skip()?;
    reader.finish()
}

/// The key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Int(i128),
    Text(&'a str),
}

/// What is left of a map that is being read.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    left: usize,
    last_key: Option<&'a [u8]>,
}

/// A cursor over deterministic CBOR.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The offset of what is read next.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Nothing may follow.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Malformed::Cbor) }
    }

    pub(super) fn uint(&mut self) -> Result<u64, Malformed> {
        match self.head()? {
            Header::Positive(value) => Ok(value),
            _ => Err(Malformed::Cbor),
        }
    }

    pub(super) fn int(&mut self) -> Result<i128, Malformed> {
        int(self.head()?).ok_or(Malformed::Cbor)
    }

    /// `true`, the only boolean that the protocol uses.
    pub(super) fn literal_true(&mut self) -> Result<(), Malformed> {
        match self.head()? {
            Header::Simple(simple::TRUE) => Ok(()),
            _ => Err(Malformed::Cbor),
        }
    }

    pub(super) fn tag(&mut self) -> Result<u64, Malformed> {
        match self.head()? {
            Header::Tag(number) => Ok(number),
            _ => Err(Malformed::Cbor),
        }
    }

    /// A byte string, as the range of its content.
    pub(super) fn bytes_range(&mut self) -> Result<Range<usize>, Malformed> {
        match self.head()? {
            Header::Bytes(Some(len)) => self.take(len),
            _ => Err(Malformed::Cbor),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let range = self.bytes_range()?;
        self.bytes.get(range).ok_or(Malformed::Cbor)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        match self.head()? {
            Header::Text(Some(len)) => self.take_text(len),
            _ => Err(Malformed::Cbor),
        }
    }

    /// The head of an array: the count of its items.
    pub(super) fn array(&mut self) -> Result<usize, Malformed> {
        match self.head()? {
            Header::Array(Some(count)) => self.count(count, 1),
            _ => Err(Malformed::Cbor),
        }
    }

    /// The head of a map, whose entries [`Reader::next_key`] begins one by one.
    pub(super) fn map(&mut self) -> Result<Entries<'a>, Malformed> {
        match self.head()? {
            Header::Map(Some(count)) => Ok(Entries { left: self.count(count, 2)?, last_key: None }),
            _ => Err(Malformed::Cbor),
        }
    }

    /// The next key of a map; its value is read next. Keys ascend by their encoding, so that none comes twice.
    pub(super) fn next_key(&mut self, entries: &mut Entries<'a>) -> Result<Option<Key<'a>>, Malformed> {
        let Some(left) = entries.left.checked_sub(1) else { return Ok(None) };
        entries.left = left;
        let start = self.at;
        let key = match self.head()? {
            Header::Text(Some(len)) => Key::Text(self.take_text(len)?),
            head => Key::Int(int(head).ok_or(Malformed::Cbor)?),
        };
        let encoded = self.bytes.get(start..self.at).ok_or(Malformed::Cbor)?;
        if entries.last_key.is_some_and(|last_key| encoded <= last_key) {
            return Err(Malformed::Cbor);
        }
        entries.last_key = Some(encoded);
        Ok(Some(key))
    }

    /// Walks over one item of any type.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        self.skip_nested(MAX_DEPTH)
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Cbor)?;
        let start = self.at;
        match self.head()? {
            Header::Positive(_) | Header::Negative(_) | Header::Simple(simple::FALSE | simple::TRUE | simple::NULL) => {
                Ok(())
            }
            Header::Bytes(Some(len)) => self.take(len).map(drop),
            Header::Text(Some(len)) => self.take_text(len).map(drop),
            Header::Tag(_) => self.skip_nested(depth),
            Header::Array(Some(count)) => (0..self.count(count, 1)?).try_for_each(|_| self.skip_nested(depth)),
            Header::Map(Some(_)) => {
                self.at = start;
                let mut entries = self.map()?;
                while self.next_key(&mut entries)?.is_some() {
                    self.skip_nested(depth)?;
                }
                Ok(())
            }
            _ => Err(Malformed::Cbor),
        }
    }

    /// The next head, which must stand in its shortest form.
    fn head(&mut self) -> Result<Header, Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(Malformed::Cbor)?;
        let mut decoder = Decoder::from(rest);
        let head = decoder.pull().map_err(|_| Malformed::Cbor)?;
        let len = decoder.offset();
        let mut shortest = [0; MAX_HEAD];
        Encoder::from(&mut shortest[..]).push(head).map_err(|_| Malformed::Cbor)?;
        // The first byte says how long a head is, so that a shorter form differs in it.
        if rest.get(..len) != shortest.get(..len) {
            return Err(Malformed::Cbor);
        }
        self.at += len;
        Ok(head)
    }

    fn take(&mut self, len: usize) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        if len > self.bytes.len() - start {
            return Err(Malformed::Cbor);
        }
        self.at += len;
        Ok(start..self.at)
    }

    fn take_text(&mut self, len: usize) -> Result<&'a str, Malformed> {
        let range = self.take(len)?;
        self.bytes.get(range).and_then(|text| std::str::from_utf8(text).ok()).ok_or(Malformed::Cbor)
    }

    /// A count of entries that have `items` items each, of at least a byte.
    fn count(&self, count: usize, items: usize) -> Result<usize, Malformed> {
        if count > (self.bytes.len() - self.at) / items { Err(Malformed::Cbor) } else { Ok(count) }
    }
}

fn int(head: Header) -> Option<i128> {
    match head {
        Header::Positive(value) => Some(value.into()),
        Header::Negative(value) => Some(-1 - i128::from(value)),
        _ => None,
    }
}

/// Appends the head of an item.
#[inline]
pub(super) fn push_head(out: &mut Vec<u8>, head: Header) {
    let Ok(()) = Encoder::from(Bytewise(out)).push(head);
}

/// Takes what is written to it byte by byte: a head is so short that it costs less than copying it as a slice.
struct Bytewise<'a>(&'a mut Vec<u8>);

impl ciborium_io::Write for Bytewise<'_> {
    type Error = Infallible;

    #[inline(always)]
    fn write_all(&mut self, data: &[u8]) -> Result<(), Infallible> {
        for byte in data {
            self.0.push(*byte);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Length of the head of a string or array of so many bytes or items, or of an integer of that value.
pub(super) fn head_len(value: usize) -> usize {
    match value as u64 {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Appends a byte string.
pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_head(out, Header::Bytes(Some(bytes.len())));
    out.extend_from_slice(bytes);
}

/// Appends a text string.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_head(out, Header::Text(Some(text.len())));
    out.extend_from_slice(text.as_bytes());
}
