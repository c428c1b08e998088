//! Sealing a document in the data layer.

use std::ops::Range;

use bytes::Bytes;
use ciborium_ll::Header as Head;

use super::aad::{Aad, Envelope, skeleton};
use super::insertion::Carrier;
use super::layout::{Layout, find_mark};
use super::{Flaw, Unfit, check_charset};
use crate::seal::base64;
use crate::seal::cbor::{push_bytes, push_head};
use crate::seal::header::encode_numbered;
use crate::seal::schedule::DirectionKey;
use crate::seal::{Direction, InitRequest, InitResponse, Number, PendingInit, SessionKeys};
use crate::syncml::{Form, wbxml};

/// A document that can be sealed for certain: it was read strictly, and what is to be encrypted in it was found.
#[derive(Debug)]
pub struct Sealable {
    form: Form,
    content_type: Box<[u8]>,
    document: Bytes,
    layout: Layout,
}

impl Sealable {
    /// Reads `document`, to be sent with the Content-Type field value `content_type`.
    ///
    /// # Errors
    /// What section 6 has a sealer refuse, and where it stands.
    pub fn new(form: Form, content_type: &[u8], document: Bytes) -> Result<Self, Unfit> {
        check_charset(form, content_type)?;
        let layout = Layout::read(form, &document)?;
        Ok(Self { form, content_type: content_type.into(), document, layout })
    }

    /// Where stands what will be encrypted.
    pub fn spans(&self) -> &[Range<usize>] {
        &self.layout.spans
    }

    /// The sealed document.
    fn seal(
        &self,
        key: &DirectionKey,
        direction: Direction,
        number: Number,
        protected: &[u8],
        target: Option<&str>,
    ) -> Result<Bytes, Unfit> {
        let spans = &self.layout.spans;
        let lengths = spans.iter().map(ExactSizeIterator::len);
        let mut pieces = Vec::with_capacity(lengths.clone().sum());
        for span in spans {
            pieces.extend_from_slice(self.document.get(span.clone()).unwrap_or_default());
        }
        let envelope = Envelope { direction, target: target.map(str::as_bytes), content_type: &self.content_type };
        let aad = Aad::new(protected, envelope, &self.document, spans, lengths);
        let tag = key.seal_detached(number, &aad.bytes, &mut pieces);
        let mut seal = Vec::with_capacity(protected.len() + tag.len() + 8);
        push_head(&mut seal, Head::Array(Some(3)));
        push_bytes(&mut seal, protected);
        push_head(&mut seal, Head::Map(Some(0)));
        push_bytes(&mut seal, &tag);
        self.assemble(&pieces, &seal)
    }

    /// The document with the pieces in their places and the seal in its own, checked.
    fn assemble(&self, mut pieces: &[u8], seal: &[u8]) -> Result<Bytes, Unfit> {
        let Self { form, document, layout: Layout { spans, place }, .. } = self;
        let inserted = place.insertion.bytes(*form, seal);
        let encoded = spans.iter().map(|span| encoded_len(*form, span.len())).sum::<usize>();
        let size = document.len() - pieces.len() + encoded + inserted.len();

        let mut out = Vec::with_capacity(size);
        let mut slots = Vec::with_capacity(spans.len());
        // Offsets in the document, and in the output without the seal.
        let (mut read, mut has_seal) = (0, false);
        let mut parts = skeleton(document, spans);
        let mut push_part = |out: &mut Vec<u8>, read: usize| {
            let part = parts.next().unwrap_or_default();
            match place.offset.checked_sub(read).and_then(|at| part.split_at_checked(at)) {
                Some((before, after)) if !has_seal => {
                    out.extend_from_slice(before);
                    out.extend_from_slice(&inserted);
                    out.extend_from_slice(after);
                    has_seal = true;
                    inserted.len()
                }
                _ => {
                    out.extend_from_slice(part);
                    0
                }
            }
        };
        let mut shift = push_part(&mut out, read);
        for span in spans {
            let (piece, rest) = pieces.split_at_checked(span.len()).ok_or_else(|| Flaw::SelfCheck.at(span.start))?;
            pieces = rest;
            let start = out.len();
            push_piece(&mut out, *form, piece);
            slots.push(start - shift..out.len() - shift);
            read = span.end;
            shift += push_part(&mut out, read);
        }
        debug_assert_eq!(out.len(), size);
        self.check(&mut out, &inserted, &slots)?;
        Ok(out.into())
    }

    /// Opens the output as far as it goes without a key: the seal is found and taken out, and what is left is read anew.
    /// The pieces must be found where they were put, so that skeleton and pieces are the same, and the seal must belong
    /// where it was.
    fn check(&self, out: &mut [u8], inserted: &[u8], slots: &[Range<usize>]) -> Result<(), Unfit> {
        let mark = find_mark(self.form, out)?;
        let carrier = Carrier::read(self.form, out, &mark)?;
        let Range { start, end } = carrier.range;
        let failed = || Flaw::SelfCheck.at(start);
        // What stands before the seal moves behind it, and is put back afterwards.
        let head = out.get(..end).ok_or_else(failed)?.to_vec();
        let before = head.get(..start).ok_or_else(failed)?;
        out.get_mut(end - start..end).ok_or_else(failed)?.copy_from_slice(before);
        let document = out.get(end - start..).ok_or_else(failed)?;
        let is_piece = |content: &[u8]| match self.form {
            Form::Xml => base64::is_base64(content),
            Form::Wbxml => wbxml::sole_opaque(content).is_some(),
        };
        let original = skeleton(&self.document, &self.layout.spans);
        let layout = self.layout.read_alike(self.form, original, document, slots, is_piece)?;
        let is_same = head.get(start..) == Some(inserted)
            && layout.spans == slots
            && layout.place.offset == start
            && layout.place.insertion == self.layout.place.insertion;
        out.get_mut(..end).ok_or_else(failed)?.copy_from_slice(&head);
        if is_same { Ok(()) } else { Err(failed()) }
    }
}

/// Length of a piece of so many bytes as it stands in a document.
fn encoded_len(form: Form, len: usize) -> usize {
    match form {
        Form::Xml => base64::encoded_len(len),
        Form::Wbxml => wbxml::opaque_head_len(len) + len,
    }
}

fn push_piece(out: &mut Vec<u8>, form: Form, piece: &[u8]) {
    match form {
        Form::Xml => base64::append(out, piece),
        Form::Wbxml => {
            wbxml::push_opaque_head(out, piece.len());
            out.extend_from_slice(piece);
        }
    }
}

impl SessionKeys {
    /// Seals a request's document, to be sent to `target` (path and query). The caller never gives one number to two
    /// messages (PROTOCOL section 3.4).
    ///
    /// # Errors
    /// The check of section 6 on the result failed, and nothing of it may be sent.
    ///
    /// # Panics
    /// If `number` is zero, which belongs to the init request.
    pub fn seal_request_document(&self, number: Number, target: &str, document: &Sealable) -> Result<Bytes, Unfit> {
        assert_ne!(number, Number::ZERO, "requests are numbered from 1");
        let protected = encode_numbered(self.algorithm(), self.sid(), number, false);
        document.seal(&self.c2s, Direction::C2s, number, &protected, Some(target))
    }

    /// Seals the document of the one response to the request of that number; `end` says that the session ends (PROTOCOL
    /// section 3.6).
    ///
    /// # Errors
    /// The check of section 6 on the result failed, and nothing of it may be sent.
    ///
    /// # Panics
    /// If `number` is zero, which belongs to the init response.
    pub fn seal_response_document(&self, number: Number, end: bool, document: &Sealable) -> Result<Bytes, Unfit> {
        assert_ne!(number, Number::ZERO, "requests are numbered from 1");
        let protected = encode_numbered(self.algorithm(), self.sid(), number, end);
        document.seal(&self.s2c, Direction::S2c, number, &protected, None)
    }
}

impl InitRequest {
    /// Seals it in the data layer, in a document to be sent to `target` (path and query): a handshake's, or the message
    /// that was announced by a time of issue.
    ///
    /// # Errors
    /// The check of section 6 on the result failed, and nothing of it may be sent.
    pub fn seal_document(self, target: &str, document: &Sealable) -> Result<(Bytes, PendingInit), Unfit> {
        let key = &self.keys.init;
        let sealed = document.seal(key, Direction::C2s, Number::ZERO, self.protected(), Some(target))?;
        Ok((sealed, PendingInit(self)))
    }
}

impl InitResponse {
    /// Seals it in the data layer, and gives the keys for what follows.
    ///
    /// # Errors
    /// The check of section 6 on the result failed, and nothing of it may be sent.
    pub fn seal_document(self, document: &Sealable) -> Result<(Bytes, SessionKeys), Unfit> {
        let sealed = document.seal(&self.keys.s2c, Direction::S2c, Number::ZERO, &self.r, None)?;
        Ok((sealed, self.keys))
    }
}
