//! Sealing a document in the data layer.

use std::ops::Range;

use bytes::Bytes;
use ciborium_ll::Header as Head;

use super::aad::{Envelope, enc_structure, skeleton};
use super::insertion::Carrier;
use super::layout::{Layout, find_mark};
use super::weave::{self, Loom};
use super::{Flaw, Unfit, aad, check_charset};
use crate::crypto::TAG_LEN;
use crate::seal::base64;
use crate::seal::cbor::{head_len, push_bytes, push_head};
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
        let envelope = Envelope { direction, target: target.map(str::as_bytes), content_type: &self.content_type };
        let lengths = spans.iter().map(ExactSizeIterator::len);
        let aad = enc_structure(protected, envelope, skeleton(document, spans), lengths);
        let mut output = Output::new(self, place.insertion.len(*form, seal_len(protected)));
        let tag = key.seal_detached(number, &aad, output.pieces());
        let inserted = place.insertion.bytes(*form, &seal_of(protected, &tag));
        let failed = || Flaw::SelfCheck.at(place.offset);
        output.weave(&inserted).ok_or_else(failed)?;
        output.check(&inserted)?;
        Ok(output.bytes.into())
    }
}

/// Length of a piece of so many bytes as it stands in a document.
fn encoded_len(form: Form, len: usize) -> usize {
    match form {
        Form::Xml => base64::encoded_len(len),
        Form::Wbxml => wbxml::opaque_head_len(len) + len,
    }
}

/// A sealed document while it is written, in one buffer.
struct Output<'a> {
    sealable: &'a Sealable,
    bytes: Vec<u8>,
    /// How many bytes it will have.
    size: usize,
    /// Where each piece will stand.
    slots: Vec<Range<usize>>,
    /// Where the seal will stand.
    seal: Range<usize>,
    /// Where the pieces stand, one behind the other, until they are woven in.
    pieces: Range<usize>,
    /// Which of them is not moved; the number of all if none is.
    turn: usize,
}

impl<'a> Output<'a> {
    /// With the plaintext of the pieces, and room for a seal that is so long with what carries it.
    fn new(sealable: &'a Sealable, seal_len: usize) -> Self {
        let Sealable { form, document, layout: Layout { spans, place, .. }, .. } = sealable;
        let mut slots = Vec::with_capacity(spans.len());
        // How much further behind it stands than in the document.
        let (mut grown, mut seal, mut plaintext_len) = (0, 0..0, 0);
        for span in spans.iter().map(Some).chain([None]) {
            if seal.is_empty() && span.is_none_or(|span| place.offset < span.start) {
                seal = place.offset + grown..place.offset + grown + seal_len;
                grown += seal_len;
            }
            let Some(span) = span else { break };
            let (start, len) = (span.start + grown, encoded_len(*form, span.len()));
            slots.push(start..start + len);
            grown += len - span.len();
            plaintext_len += span.len();
        }
        let size = document.len() + grown;
        let (start, turn) = match form {
            // Encoding writes from the front, while what is still to be encoded stands far enough behind.
            Form::Xml => (size + base64::HEADWAY - plaintext_len, spans.len()),
            Form::Wbxml => {
                let (turn, before) = weave::anchor(spans.iter().map(ExactSizeIterator::len));
                let end = slots.get(turn).map_or(0, |slot| slot.end);
                (end - before - spans.get(turn).map_or(0, ExactSizeIterator::len), turn)
            }
        };
        let pieces = start..start + plaintext_len;
        let mut bytes = Vec::with_capacity(size.max(pieces.end));
        bytes.resize(start, 0);
        for span in spans {
            bytes.extend_from_slice(document.get(span.clone()).unwrap_or_default());
        }
        bytes.resize(size.max(pieces.end), 0);
        Self { sealable, bytes, size, slots, seal, pieces, turn }
    }

    /// All pieces.
    fn pieces(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.pieces.clone()).unwrap_or_default()
    }

    /// Writes the document around the pieces, and puts those into their places. `None`, here and below, if that cannot be done,
    /// which is a fault of ours.
    fn weave(&mut self, inserted: &[u8]) -> Option<()> {
        let lengths = self.sealable.layout.spans.iter().map(ExactSizeIterator::len);
        weave::weave(self.pieces.clone(), lengths, self.turn, self)?;
        self.bytes.truncate(self.size);
        weave::put(&mut self.bytes, self.seal.start, inserted)
    }

    /// The part of that index in the document.
    fn part(&self, index: usize) -> Option<Part<'a>> {
        let Sealable { document, layout, .. } = self.sealable;
        let part = document.get(aad::part(document.len(), &layout.spans, index))?;
        let at = aad::part(self.size, &self.slots, index);
        // If all of it is in front, what is behind is an empty slice that stands in the document. To compare `&[]`, which stands at
        // address one, may cost a fault that the processor hides.
        let is_whole = part.len() == at.len();
        let len = if is_whole { part.len() } else { self.seal.start.checked_sub(at.start)? };
        let (before, behind) = part.split_at_checked(len)?;
        let end = if is_whole { at.end } else { self.seal.end };
        (end + behind.len() == at.end).then_some(Part { before, start: at.start, behind, end })
    }

    /// Opens the output as far as it goes without a key: the one seal is found where it was put, and what stands around it and
    /// around the pieces is the document, byte for byte. In each slot stands one piece, so that, with the seal taken out, skeleton
    /// and pieces are the same as before.
    fn check(&self, inserted: &[u8]) -> Result<(), Unfit> {
        let form = self.sealable.form;
        let mark = find_mark(form, &self.bytes)?;
        let (_, range) = Carrier::find(form, &self.bytes, &mark)?;
        let is_same = range == self.seal
            && self.bytes.get(self.seal.clone()) == Some(inserted)
            && (0..=self.slots.len()).all(|index| self.is_part(index))
            && self.slots.iter().all(|slot| self.is_piece(slot));
        if is_same { Ok(()) } else { Err(Flaw::SelfCheck.at(self.seal.start)) }
    }

    fn is_part(&self, index: usize) -> bool {
        let is_there = |bytes: &[u8], at: usize| self.bytes.get(at..at + bytes.len()) == Some(bytes);
        self.part(index).is_some_and(|part| is_there(part.before, part.start) && is_there(part.behind, part.end))
    }

    fn is_piece(&self, slot: &Range<usize>) -> bool {
        let Some(content) = self.bytes.get(slot.clone()) else { return false };
        match self.sealable.form {
            // The rest of it was looked at when it was written.
            Form::Xml => base64::ends_text(content),
            Form::Wbxml => wbxml::sole_opaque(content).is_some(),
        }
    }
}

impl Loom for Output<'_> {
    fn part(&mut self, index: usize) -> Option<()> {
        let Part { before, start, behind, end } = Self::part(self, index)?;
        weave::put(&mut self.bytes, start, before)?;
        weave::put(&mut self.bytes, end, behind)
    }

    /// In XML the piece is read, too, as soon as it was written: nothing is written there a second time.
    fn piece(&mut self, index: usize, piece: Range<usize>) -> Option<()> {
        let slot = self.slots.get(index)?.clone();
        match self.sealable.form {
            Form::Xml => {
                let len = base64::encode_forward(&mut self.bytes, piece, slot.start)?;
                (len == slot.len()).then_some(())
            }
            Form::Wbxml => {
                let content = slot.end.checked_sub(piece.len())?;
                let len = piece.len();
                weave::shift(&mut self.bytes, piece, content)?;
                wbxml::write_opaque_head(self.bytes.get_mut(slot.start..content)?, len);
                Some(())
            }
        }
    }
}

/// A part of the document, in front of the seal and behind it, and where in the output each stands. Where there is no seal in it,
/// all of it is in front.
struct Part<'a> {
    before: &'a [u8],
    start: usize,
    behind: &'a [u8],
    end: usize,
}

/// Length of the COSE_Encrypt0 of a document.
fn seal_len(protected: &[u8]) -> usize {
    // Four heads, of which only that of the header can be more than a byte.
    3 + head_len(protected.len()) + protected.len() + TAG_LEN
}

/// The COSE_Encrypt0 of a document, whose ciphertext is the tag alone.
fn seal_of(protected: &[u8], tag: &[u8; TAG_LEN]) -> Vec<u8> {
    let mut seal = Vec::with_capacity(seal_len(protected));
    push_head(&mut seal, Head::Array(Some(3)));
    push_bytes(&mut seal, protected);
    push_head(&mut seal, Head::Map(Some(0)));
    push_bytes(&mut seal, tag);
    debug_assert_eq!(seal.len(), seal_len(protected));
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
