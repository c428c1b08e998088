//! The data layer (PROTOCOL section 6): a SyncML document in which the user's data is encrypted, while the rest stays
//! readable and is authenticated, with its target and content type.
//!
//! [`Sealable`] reads a document strictly and finds what is to be encrypted; [`SessionKeys`](super::SessionKeys),
//! [`InitRequest`](super::InitRequest) and [`InitResponse`](super::InitResponse) seal it.
//! [`SealedDocument::split`] takes a received document apart; with its seal decoded, the same types open it. The checks of
//! section 6 on either side are part of it and cannot be passed over.
//!
//! What the document says is left to [`crate::syncml`], whether its target is allowed to [`super::Target`].

mod aad;
mod insertion;
mod layout;
mod opening;
mod sealing;
#[cfg(test)]
mod tests;
mod walk;
mod weave;

pub use opening::{OpenedDocument, SealedDocument};
pub use sealing::Sealable;

use super::{Malformed, Reason};
use crate::syncml::{Fault, Form, InvalidDocument, MediaType};

/// Why a document cannot be sealed for certain, or is no sealed one: what was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flaw} at byte {offset}")]
pub struct Unfit {
    /// What is wrong.
    pub flaw: Flaw,
    /// Offset into the document, in bytes.
    pub offset: usize,
}

/// What makes a document unfit for the data layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not well-formed, or not SyncML.
    #[error(transparent)]
    Document(#[from] Fault),
    /// Its Content-Type names another charset.
    #[error("a Content-Type with another charset than the document's")]
    Charset,
    /// The first child of the root is not SyncHdr.
    #[error("an element before SyncHdr")]
    HeaderNotFirst,
    /// SyncHdr has no end tag, so that there is no place for a seal.
    #[error("a SyncHdr without content")]
    HeaderWithoutEnd,
    /// WBXML: a reference into the string table inside what would be encrypted.
    #[error("a string of the string table inside user data")]
    StringTable,
    /// WBXML: a span leaves its code page to what follows.
    #[error("a code page that user data switched to")]
    Page,
    /// It holds a SyncSeal EMI already.
    #[error("a SyncSeal EMI")]
    Sealed,

    /// It holds no SyncSeal EMI.
    #[error("no SyncSeal EMI")]
    NotSealed,
    /// It holds more than one SyncSeal EMI.
    #[error("a second SyncSeal EMI")]
    SealedTwice,
    /// The seal is not written exactly as a sealer writes it, or not where.
    #[error("a SyncSeal EMI in another form or place than a sealer's")]
    Carrier,
    /// The content of a span is not exactly one piece.
    #[error("user data that is not one piece of ciphertext")]
    Piece,
    /// The opened document has other spans than those that were put back.
    #[error("other user data than was encrypted")]
    OtherSpans,
    /// What was sealed does not come apart again. This is a fault of ours.
    #[error("a result that the sealer's check refuses")]
    SelfCheck,
}

impl Flaw {
    fn at(self, offset: usize) -> Unfit {
        Unfit { flaw: self, offset }
    }
}

impl From<InvalidDocument> for Unfit {
    fn from(invalid: InvalidDocument) -> Self {
        Flaw::Document(invalid.kind).at(invalid.offset)
    }
}

impl From<Unfit> for Malformed {
    fn from(_: Unfit) -> Self {
        Self::Document
    }
}

impl From<Unfit> for Reason {
    fn from(_: Unfit) -> Self {
        Self::Malformed
    }
}

/// Refuses a Content-Type whose charset parameter is not that of the form, or of which one cannot be sure.
fn check_charset(form: Form, content_type: &[u8]) -> Result<(), Unfit> {
    let mentions = content_type.windows(7).filter(|window| window.eq_ignore_ascii_case(b"charset")).count();
    let is = |name: &str| MediaType::charset_of(content_type).is_some_and(|charset| charset.eq_ignore_ascii_case(name));
    match mentions {
        0 => Ok(()),
        1 if is("utf-8") || form == Form::Wbxml && is("us-ascii") => Ok(()),
        _ => Err(Flaw::Charset.at(0)),
    }
}
