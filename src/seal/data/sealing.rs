//! Sealing a document in the data layer.

use std::ops::Range;

use bytes::Bytes;
use ciborium_ll::Header as Head;

use super::aad::{Envelope, Skeleton, enc_structure, skeleton};
use super::insertion::Carrier;
use super::layout::{Layout, find_mark};
use super::{Flaw, Unfit, check_charset};
use crate::crypto::TAG_LEN;
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
        let Self { form, document, layout: Layout { spans, place, .. }, .. } = self;
        let lengths = spans.iter().map(ExactSizeIterator::len);
        let plaintext_len = lengths.clone().sum::<usize>();
        let encoded_len = lengths.clone().map(|len| encoded_len(*form, len)).sum::<usize>();
        let envelope = Envelope { direction, target: target.map(str::as_bytes), content_type: &self.content_type };
        let aad = enc_structure(protected, envelope, &Skeleton::new(document, spans), lengths);

        let inserted_len = place.insertion.bytes(*form, &seal_of(protected, &[0; TAG_LEN])).len();

        let size = document.len() - plaintext_len + encoded_len + inserted_len;
        let mut out = Output::new(size, plaintext_len);
        for span in spans {
            out.bytes.extend_from_slice(document.get(span.clone()).unwrap_or_default());
        }
        let tag = key.seal_detached(number, &aad, out.pieces());
        let inserted = place.insertion.bytes(*form, &seal_of(protected, &tag));

        let failed = || Flaw::SelfCheck.at(place.offset);
        let mut slots = Vec::with_capacity(spans.len());
        // Up to where the document was read; how much longer the output is for the seal.
        let (mut read, mut shift) = (0, 0);
        for (part, span) in skeleton(document, spans).zip(spans.iter().map(Some).chain([None])) {
            match place.offset.checked_sub(read).and_then(|at| part.split_at_checked(at)) {
                Some((before, after)) if shift == 0 => {
                    shift = inserted.len();
                    out.push(before).and_then(|()| out.push(&inserted)).and_then(|()| out.push(after))
                }
                _ => out.push(part),
            }
            .ok_or_else(failed)?;
            if let Some(span) = span {
                let piece = out.push_piece(*form, span.len()).ok_or_else(failed)?;
                slots.push(piece.start - shift..piece.end - shift);
                read = span.end;
            }
        }
        let mut out = out.finish();
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

/// A sealed document while it is written, in one buffer: from its front, while the pieces that are still to be put into
/// their places stand far enough behind.
struct Output {
    bytes: Vec<u8>,
    /// Up to here it is written.
    written: usize,
    /// From here on the pieces stand.
    pieces: usize,
}

impl Output {
    /// Of a document of so many bytes with so many in its spans, which are to be appended to its bytes first.
    fn new(size: usize, plaintext_len: usize) -> Self {
        let pieces = size + base64::HEADWAY - plaintext_len;
        let mut bytes = Vec::with_capacity(size + base64::HEADWAY);
        bytes.resize(pieces, 0);
        Self { bytes, written: 0, pieces }
    }

    /// All pieces, as long as none was put into its place.
    fn pieces(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.pieces..).unwrap_or_default()
    }

    /// Writes `bytes`. `None`, here and below, if that would run into the pieces, which is a fault of ours.
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.written + bytes.len();
        self.bytes.get_mut(self.written..end).filter(|_| end <= self.pieces)?.copy_from_slice(bytes);
        self.written = end;
        Some(())
    }

    /// Writes the next piece, of so many bytes, and tells where it stands.
    fn push_piece(&mut self, form: Form, len: usize) -> Option<Range<usize>> {
        let start = self.written;
        match form {
            Form::Xml => self.written += base64::encode_forward(&mut self.bytes, self.pieces, len, start)?,
            Form::Wbxml => {
                let content = start + wbxml::opaque_head_len(len);
                wbxml::write_opaque_head(self.bytes.get_mut(start..content)?, len);
                let piece = self.pieces..self.pieces.checked_add(len).filter(|&end| end <= self.bytes.len())?;
                (content <= piece.start).then(|| self.bytes.copy_within(piece, content))?;
                self.written = content + len;
            }
        }
        self.pieces += len;
        Some(start..self.written)
    }

    /// What was written.
    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.written);
        self.bytes
    }
}

/// The COSE_Encrypt0 of a document, whose ciphertext is the tag alone.
fn seal_of(protected: &[u8], tag: &[u8; TAG_LEN]) -> Vec<u8> {
    let mut seal = Vec::with_capacity(protected.len() + tag.len() + 8);
    push_head(&mut seal, Head::Array(Some(3)));
    push_bytes(&mut seal, protected);
    push_head(&mut seal, Head::Map(Some(0)));
    push_bytes(&mut seal, tag);
    seal
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
