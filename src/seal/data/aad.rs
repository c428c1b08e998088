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

/// What stands around the spans of a document, as it is authenticated: an array of byte strings.
#[derive(Debug)]
pub(super) struct Skeleton {
    array: Vec<u8>,
    /// Where each part stands in it.
    parts: Vec<Range<usize>>,
}

impl Skeleton {
    /// Of `document`, whose spans stand at `slots`, encrypted or not.
    pub(super) fn new(document: &[u8], slots: &[Range<usize>]) -> Self {
        let parts = skeleton(document, slots);
        let len = parts.clone().map(|part| head_len(part.len()) + part.len()).sum::<usize>();
        let mut array = Vec::with_capacity(head_len(slots.len() + 1) + len);
        push_head(&mut array, Head::Array(Some(slots.len() + 1)));
        let mut ranges = Vec::with_capacity(slots.len() + 1);
        for part in parts {
            push_bytes(&mut array, part);
            ranges.push(array.len() - part.len()..array.len());
        }
        Self { array, parts: ranges }
    }

    /// Its parts, in order; from the back, too.
    pub(super) fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.parts.iter().map(|part| self.array.get(part.clone()).unwrap_or_default())
    }
}

/// The Enc_structure of a document whose spans have those `lengths`.
pub(super) fn enc_structure(
    protected: &[u8],
    envelope: Envelope<'_>,
    skeleton: &Skeleton,
    lengths: impl ExactSizeIterator<Item = usize> + Clone,
) -> Vec<u8> {
    let string_len = |len: usize| head_len(len) + len;
    let external_len = 1
        + string_len(VERSION.len())
        + 2
        + envelope.target.map_or(1, |target| string_len(target.len()))
        + string_len(envelope.content_type.len())
        + skeleton.array.len()
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
    bytes.extend_from_slice(&skeleton.array);
    push_head(&mut bytes, Head::Array(Some(lengths.len())));
    for length in lengths {
        push_head(&mut bytes, Head::Positive(length as u64));
    }
    debug_assert_eq!(bytes.len(), total);
    bytes
}

/// What stands around `slots`: a part more than there are slots.
pub(super) fn skeleton<'a>(document: &'a [u8], slots: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> + Clone {
    let starts = std::iter::once(0).chain(slots.iter().map(|slot| slot.end));
    let ends = slots.iter().map(|slot| slot.start).chain([document.len()]);
    starts.zip(ends).map(|(start, end)| document.get(start..end).unwrap_or_default())
}
