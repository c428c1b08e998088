//! Opening a document in the data layer, in the buffer in which it came.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::aad::{Envelope, Skeleton, enc_structure};
use super::insertion::Carrier;
use super::layout::{Layout, find_mark};
use super::{Flaw, Unfit, check_charset};
use crate::crypto::{OpenFailed, TAG_LEN};
use crate::seal::base64::{self, Scratch};
use crate::seal::header::Encrypt0;
use crate::seal::schedule::DirectionKey;
use crate::seal::{Number, NumberedHeader, OpenedInit, Reason, SessionKeys, UnwrappedInit};
use crate::syncml::{self, Form, wbxml};

/// A document out of which the seal was taken. Its pieces are decoded, and as secret as before.
pub struct SealedDocument {
    form: Form,
    content_type: Box<[u8]>,
    /// The pieces, decoded, one behind the other. What stands behind them is of no use any more.
    buffer: BytesMut,
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
        let start = inserted.len();
        buffer.copy_within(..range.start, start);
        let document = buffer.get(start..).ok_or_else(flaw)?;
        let layout = Layout::read(form, document)?;
        // Inserted again it would be the same bytes, in the same place.
        if layout.place.offset != range.start || layout.place.insertion.bytes(form, &seal) != inserted {
            return Err(flaw());
        }
        let skeleton = Skeleton::new(document, &layout.spans);
        // A piece is shorter than it was, so that what is decoded never reaches what is still to be read.
        let (mut end, mut scratch) = (0, Scratch::new());
        let mut lengths = Vec::with_capacity(layout.spans.len());
        for slot in &layout.spans {
            let len = decode_back(form, &mut buffer, start + slot.start..start + slot.end, end, &mut scratch);
            let len = len.ok_or_else(|| Flaw::Piece.at(slot.start))?;
            lengths.push(len);
            end += len;
        }
        Ok((seal, Self { form, content_type: content_type.into(), buffer, layout, skeleton, lengths }))
    }

    /// Opens it, and puts the pieces back between the parts of the skeleton, all in the buffer in which it came.
    pub(in crate::seal) fn open<H>(
        self,
        key: &DirectionKey,
        number: Number,
        sealed: &Encrypt0<H>,
        target: Option<&str>,
    ) -> Result<OpenedDocument, OpenFailed> {
        let Self { form, content_type, mut buffer, layout, skeleton, lengths } = self;
        let envelope =
            Envelope { direction: sealed.direction, target: target.map(str::as_bytes), content_type: &content_type };
        let aad = enc_structure(sealed.protected(), envelope, &skeleton, lengths.iter().copied());
        // There is room for the tag: the seal that was taken out is longer.
        let mut end = lengths.iter().sum::<usize>();
        let tag = buffer.get_mut(end..end + TAG_LEN).ok_or(OpenFailed)?;
        tag.copy_from_slice(sealed.ciphertext().get(..TAG_LEN).ok_or(OpenFailed)?);
        let ciphertext = buffer.get_mut(..end + TAG_LEN).ok_or(OpenFailed)?;
        key.open_detached(number, &aad, ciphertext)?;

        // Apart again, from the back: nothing comes to stand further in front than it was.
        let opened = skeleton.parts().map(<[u8]>::len).sum::<usize>() + end;
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(lengths.len());
        let mut to = opened;
        let mut lengths = lengths.iter().rev();
        for part in skeleton.parts().rev() {
            let place = to.checked_sub(part.len()).and_then(|from| buffer.get_mut(from..to));
            place.ok_or(OpenFailed)?.copy_from_slice(part);
            to -= part.len();
            let Some(length) = lengths.next() else { break };
            buffer.copy_within(end - length..end, to - length);
            spans.push(to - length..to);
            end -= length;
            to -= length;
        }
        spans.reverse();
        buffer.truncate(opened);
        Ok(OpenedDocument { form, bytes: buffer.freeze(), spans, sealed: layout, skeleton })
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

/// Writes what the one piece at `slot` stands for to `to`, which is in front of it, and gives its length.
fn decode_back(form: Form, buffer: &mut [u8], slot: Range<usize>, to: usize, scratch: &mut Scratch) -> Option<usize> {
    match form {
        Form::Xml => base64::decode_back(buffer, slot, to, scratch).ok(),
        Form::Wbxml => {
            // A sealer has no empty pieces.
            let len = wbxml::sole_opaque(buffer.get(slot.clone())?).filter(|piece| !piece.is_empty())?.len();
            buffer.copy_within(slot.end - len..slot.end, to);
            Some(len)
        }
    }
}

/// A document that opened: its sender has the keys. What it says is shown when it was [checked](Self::check).
pub struct OpenedDocument {
    form: Form,
    bytes: Bytes,
    spans: Vec<Range<usize>>,
    /// Of the document that it was opened from.
    sealed: Layout,
    /// Of both.
    skeleton: Skeleton,
}

impl OpenedDocument {
    /// The original document, byte for byte.
    ///
    /// # Errors
    /// It is none that a sealer takes, or its spans are not those that were put back: `malformed`.
    pub fn check(self) -> Result<Bytes, Unfit> {
        let Self { form, bytes, spans, sealed, skeleton } = self;
        let layout =
            sealed.read_alike(form, skeleton.parts(), &bytes, &spans, |content| syncml::is_text(form, content))?;
        if layout.spans == spans { Ok(bytes) } else { Err(Flaw::OtherSpans.at(0)) }
    }
}

impl fmt::Debug for OpenedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedDocument").field("form", &self.form).field("len", &self.bytes.len()).finish()
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
