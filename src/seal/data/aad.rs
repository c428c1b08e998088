//! What the AEAD authenticates in the data layer: the COSE Enc_structure (RFC 9052, 5.3) with the skeleton of the document
//! in its external_aad.

use std::ops::Range;

use ciborium_ll::Header as Head;

use crate::seal::cbor::{head_len, push_bytes, push_head, push_text};
use crate::seal::{Direction, Layer};

const CONTEXT: &str = "Encrypt0";
const VERSION: &str = "syncseal v1";

/// What is authenticated beside a document: what HTTP says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) direction: Direction,
    /// Of a request, path and query.
    pub(super) target: Option<&'a [u8]>,
    /// The Content-Type field value.
    pub(super) content_type: &'a [u8],
}

/// The Enc_structure of a document whose spans have those `lengths`, and have the parts of the `skeleton` around them: a part
/// more than there are spans.
pub(super) fn enc_structure<'s>(
    protected: &[u8],
    envelope: Envelope<'_>,
    skeleton: impl Iterator<Item = &'s [u8]> + Clone,
    lengths: impl ExactSizeIterator<Item = usize> + Clone,
) -> Vec<u8> {
    let string_len = |len: usize| head_len(len) + len;
    let external_len = 1
        + string_len(VERSION.len())
        + 2
        + envelope.target.map_or(1, |target| string_len(target.len()))
        + string_len(envelope.content_type.len())
        + head_len(lengths.len() + 1)
        + skeleton.clone().map(|part| string_len(part.len())).sum::<usize>()
        + head_len(lengths.len())
        + lengths.clone().map(head_len).sum::<usize>();
    let total = 1 + string_len(CONTEXT.len()) + string_len(protected.len()) + string_len(external_len);

    let mut bytes = Vec::with_capacity(total);
    push_head(&mut bytes, Head::Array(Some(3)));
    push_text(&mut bytes, CONTEXT);
    push_bytes(&mut bytes, protected);
    push_head(&mut bytes, Head::Bytes(Some(external_len)));
    push_head(&mut bytes, Head::Array(Some(7)));
    push_text(&mut bytes, VERSION);
    push_head(&mut bytes, Head::Positive(Layer::Data.number().into()));
    push_head(&mut bytes, Head::Positive(envelope.direction.number().into()));
    match envelope.target {
        Some(target) => push_bytes(&mut bytes, target),
        None => push_head(&mut bytes, Head::Simple(ciborium_ll::simple::NULL)),
    }
    push_bytes(&mut bytes, envelope.content_type);
    push_head(&mut bytes, Head::Array(Some(lengths.len() + 1)));
    for part in skeleton {
        push_bytes(&mut bytes, part);
    }
    push_head(&mut bytes, Head::Array(Some(lengths.len())));
    for length in lengths {
        push_head(&mut bytes, Head::Positive(length as u64));
    }
    debug_assert_eq!(bytes.len(), total);
    bytes
}

/// What stands around the slots of a document, copied: the document can be written over.
#[derive(Debug)]
pub(super) struct Skeleton {
    bytes: Vec<u8>,
    /// Where each part ends in them.
    ends: Vec<usize>,
}

impl Skeleton {
    /// Of `document`, with `slots` between its parts.
    pub(super) fn new(document: &[u8], slots: &[Range<usize>]) -> Self {
        let len = document.len() - slots.iter().map(ExactSizeIterator::len).sum::<usize>();
        let mut skeleton = Self { bytes: Vec::with_capacity(len), ends: Vec::with_capacity(slots.len() + 1) };
        for part in self::skeleton(document, slots) {
            skeleton.bytes.extend_from_slice(part);
            skeleton.ends.push(skeleton.bytes.len());
        }
        skeleton
    }

    /// Length of all parts.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The part in front of the slot of that index, or behind the last.
    pub(super) fn part(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.ends.get(index).and_then(|&end| self.bytes.get(start..end)).unwrap_or_default()
    }

    /// Its parts, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|index| self.part(index))
    }
}

/// What stands around `slots`: a part more than there are slots.
pub(super) fn skeleton<'a>(document: &'a [u8], slots: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> + Clone {
    (0..=slots.len()).map(|index| document.get(part(document.len(), slots, index)).unwrap_or_default())
}

/// Where the part stands that is in front of the slot of that index, or behind the last, in a document of so many bytes.
pub(super) fn part(len: usize, slots: &[Range<usize>], index: usize) -> Range<usize> {
    let start = index.checked_sub(1).and_then(|last| slots.get(last)).map_or(0, |slot| slot.end);
    start..slots.get(index).map_or(len, |slot| slot.start)
}
