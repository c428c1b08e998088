//! Opening a document in the data layer, in the buffer in which it came.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::aad::{Envelope, Skeleton, enc_structure};
use super::insertion::Carrier;
use super::layout::{Layout, find_mark};
use super::weave::{self, Loom};
use super::{Flaw, Unfit, check_charset};
use crate::crypto::OpenFailed;
use crate::seal::base64::{self, Scratch};
use crate::seal::header::Encrypt0;
use crate::seal::schedule::DirectionKey;
use crate::seal::{Number, NumberedHeader, OpenedInit, Reason, SessionKeys, UnwrappedInit};
use crate::syncml::{self, Form, wbxml};

/// A document out of which the seal was taken. Its pieces are decoded, and as secret as before.
pub struct SealedDocument {
    form: Form,
    content_type: Box<[u8]>,
    /// In which it came.
    buffer: BytesMut,
    /// Where the pieces stand in it, decoded, one behind the other. All else there is of no use any more.
    pieces: Range<usize>,
    /// Where in it the opened document begins.
    start: usize,
    /// Which piece stands where it did; zero if none does.
    turn: usize,
    /// Of the document as it came, with the encoded pieces in its spans.
    layout: Layout,
    skeleton: Skeleton,
    /// How long each piece is.
    lengths: Vec<usize>,
}

impl SealedDocument {
    /// Takes the seal out of a document that came with the Content-Type field value `content_type`, and finds and decodes
    /// its pieces. Gives the COSE_Encrypt0, to be decoded, and the document to be opened with it.
    ///
    /// # Errors
    /// The document is not one that a sealer makes: `malformed`.
    pub fn split(form: Form, content_type: &[u8], mut buffer: BytesMut) -> Result<(BytesMut, Self), Unfit> {
        check_charset(form, content_type)?;
        let mark = find_mark(form, &buffer)?;
        let Carrier { seal, range } = Carrier::read(form, &buffer, &mark)?;
        let flaw = || Flaw::Carrier.at(mark.emi.start);
        let inserted = buffer.get(range.clone()).ok_or_else(flaw)?.to_vec();
        // What stands before the seal moves behind it; that is the shorter way.
        buffer.copy_within(..range.start, inserted.len());
        buffer.advance(inserted.len());
        let layout = Layout::read(form, &buffer)?;
        // Inserted again it would be the same bytes, in the same place.
        if layout.place.offset != range.start || layout.place.insertion.bytes(form, &seal) != inserted {
            return Err(flaw());
        }
        let skeleton = Skeleton::new(&buffer, &layout.spans);
        let content_type = content_type.into();
        let mut document =
            Self { form, content_type, buffer, pieces: 0..0, start: 0, turn: 0, layout, skeleton, lengths: Vec::new() };
        match form {
            Form::Xml => document.decode_base64()?,
            Form::Wbxml => document.take_opaques()?,
        }
        Ok((seal, document))
    }

    /// Decodes the pieces to the front of the buffer. A piece is shorter than it was, so that what is decoded never reaches what is
    /// still to be read.
    fn decode_base64(&mut self) -> Result<(), Unfit> {
        let mut scratch = Scratch::new();
        self.lengths.reserve_exact(self.layout.spans.len());
        for slot in &self.layout.spans {
            let len = base64::decode_back(&mut self.buffer, slot.clone(), self.pieces.end, &mut scratch);
            let len = len.map_err(|_| Flaw::Piece.at(slot.start))?;
            self.lengths.push(len);
            self.pieces.end += len;
        }
        Ok(())
    }

    /// Brings the pieces together around the longest, which is best left where it is.
    fn take_opaques(&mut self) -> Result<(), Unfit> {
        let Self { buffer, pieces, start, turn, layout, lengths, .. } = self;
        lengths.reserve_exact(layout.spans.len());
        for slot in &layout.spans {
            // A sealer has no empty pieces.
            let piece = buffer.get(slot.clone()).and_then(wbxml::sole_opaque).filter(|piece| !piece.is_empty());
            lengths.push(piece.ok_or_else(|| Flaw::Piece.at(slot.start))?.len());
        }
        let before;
        (*turn, before) = weave::anchor(lengths.iter().copied());
        let Some(anchor) = layout.spans.get(*turn) else { return Ok(()) };
        let len = lengths.get(*turn).copied().unwrap_or_default();
        *pieces = anchor.end - len - before..anchor.end;
        // Where it stands in the opened document there are no heads before it, its own included.
        *start = layout.spans.iter().zip(&*lengths).take(*turn + 1).map(|(slot, len)| slot.len() - len).sum();
        let mut place = pieces.end - len;
        for (slot, len) in layout.spans.iter().zip(&*lengths).take(*turn).rev() {
            place -= len;
            buffer.copy_within(slot.end - len..slot.end, place);
        }
        for (slot, len) in layout.spans.iter().zip(&*lengths).skip(*turn + 1) {
            buffer.copy_within(slot.end - len..slot.end, pieces.end);
            pieces.end += len;
        }
        Ok(())
    }

    /// Opens it, in the buffer in which it came.
    pub(in crate::seal) fn open<H>(
        mut self,
        key: &DirectionKey,
        number: Number,
        sealed: &Encrypt0<H>,
        target: Option<&str>,
    ) -> Result<OpenedDocument, OpenFailed> {
        let Self { content_type, buffer, pieces, skeleton, lengths, .. } = &mut self;
        let envelope = Envelope { direction: sealed.direction, target: target.map(str::as_bytes), content_type };
        let aad = enc_structure(sealed.protected(), envelope, skeleton.parts(), lengths.iter().copied());
        let ciphertext = buffer.get_mut(pieces.clone()).ok_or(OpenFailed)?;
        key.open_detached(number, &aad, ciphertext, sealed.ciphertext().first_chunk().ok_or(OpenFailed)?)?;
        Ok(OpenedDocument(self))
    }

    /// Puts the opened pieces back between the parts of the skeleton. Gives where they stand then, and which are not text alone, in
    /// order. `None` if there is no room, which is a fault of ours.
    fn weave(&mut self) -> Option<(Vec<Range<usize>>, Vec<usize>)> {
        let Self { form, buffer, pieces, start, turn, skeleton, lengths, .. } = self;
        let mut slots = Vec::with_capacity(lengths.len());
        let mut end = *start;
        for (index, len) in lengths.iter().enumerate() {
            end += skeleton.part(index).len() + len;
            slots.push(end - len..end);
        }
        let size = skeleton.len() + pieces.len();
        let mut opening = Opening { form: *form, buffer, start: *start, slots: &slots, skeleton, markup: Vec::new() };
        weave::weave(pieces.clone(), lengths.iter().copied(), *turn, &mut opening)?;
        let mut markup = opening.markup;
        buffer.advance(*start);
        buffer.truncate(size);
        for slot in &mut slots {
            *slot = slot.start - *start..slot.end - *start;
        }
        markup.sort_unstable();
        Some((slots, markup))
    }
}

/// A document into which the opened pieces are woven.
struct Opening<'a> {
    form: Form,
    buffer: &'a mut BytesMut,
    /// Where it begins.
    start: usize,
    slots: &'a [Range<usize>],
    skeleton: &'a Skeleton,
    /// The pieces that are not text alone.
    markup: Vec<usize>,
}

impl Loom for Opening<'_> {
    fn part(&mut self, index: usize) -> Option<()> {
        let at = index.checked_sub(1).map_or(Some(self.start), |last| self.slots.get(last).map(|slot| slot.end))?;
        weave::put(self.buffer, at, self.skeleton.part(index))
    }

    fn piece(&mut self, index: usize, piece: Range<usize>) -> Option<()> {
        let slot = self.slots.get(index)?.clone();
        weave::shift(self.buffer, piece, slot.start)?;
        // While it is at hand.
        if !syncml::is_text(self.form, self.buffer.get(slot)?) {
            self.markup.push(index);
        }
        Some(())
    }
}

impl fmt::Display for SealedDocument {
    /// How much is encrypted in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pieces, {} bytes", self.lengths.len(), self.lengths.iter().sum::<usize>())
    }
}

impl fmt::Debug for SealedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedDocument").field("form", &self.form).field("pieces", &self.lengths.len()).finish()
    }
}

/// A document that opened: its sender has the keys. What it says is shown when it was [checked](Self::check).
pub struct OpenedDocument(SealedDocument);

impl OpenedDocument {
    /// The original document, byte for byte.
    ///
    /// # Errors
    /// It is none that a sealer takes, or its spans are not those that were put back: `malformed`.
    pub fn check(mut self) -> Result<Bytes, Unfit> {
        let (spans, markup) = self.0.weave().ok_or_else(|| Flaw::SelfCheck.at(0))?;
        let SealedDocument { form, buffer, layout, skeleton, .. } = self.0;
        let is_text = |index: usize, _: &[u8]| markup.binary_search(&index).is_err();
        let is_told = layout.tells(form, skeleton.parts(), &buffer, &spans, is_text);
        if !is_told && Layout::read(form, &buffer)?.spans != spans {
            return Err(Flaw::OtherSpans.at(0));
        }
        Ok(buffer.freeze())
    }
}

impl fmt::Debug for OpenedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenedDocument").field(&self.0).finish()
    }
}

impl SessionKeys {
    /// Opens the document of a request to `target`, or of a response. A failure says [`Reason::Malformed`] for a seal of
    /// another algorithm or layer, otherwise [`Reason::CannotOpen`].
    pub fn open_document(
        &self,
        sealed: &Encrypt0<NumberedHeader>,
        document: SealedDocument,
        target: Option<&str>,
    ) -> Result<OpenedDocument, Reason> {
        let key = self.key_for(sealed)?;
        let number = sealed.header.number;
        document.open(key, number, sealed, target).map_err(|OpenFailed| Reason::CannotOpen)
    }
}

impl UnwrappedInit {
    /// Opens it in the data layer, with the document that it came in. If there was no time of issue, that is a
    /// handshake's.
    pub fn open_document(
        self,
        document: SealedDocument,
        target: &str,
    ) -> Result<(OpenedInit, OpenedDocument), OpenFailed> {
        let opened = document.open(&self.keys.init, Number::ZERO, &self.sealed, Some(target))?;
        Ok((self.into_opened(), opened))
    }
}
