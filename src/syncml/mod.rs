//! SyncML documents, XML and WBXML, read in place.
//!
//! Pure: bytes in, values out. One pass finds what a proxy needs, as byte spans of the document; nothing is copied, no
//! tree is built, nothing is ever re-serialised: an edit replaces the bytes of a span and keeps every other byte.
//! Knows nothing of HTTP, cryptography or sessions. Uses no module of ours.
//!
//! - [`Reader`] gives the tags and texts of either form as [`Event`]s, with their spans; [`xml::Reader`] and
//!   [`wbxml::Reader`] are the two under it.
//! - [`Document::scan`] is one pass over it for SyncHdr and SyncBody, [`Document::text`] decodes a field.
//! - [`Document::with_resp_uri`] and [`splice()`] edit; [`Heading`] makes the small documents that answer or announce
//!   one; [`Writer`] writes documents of one's own.
//!
//! Original messages are never written again from what was read: a document that went through here is the same bytes.

mod ascii;
mod command;
pub mod element;
mod event;
mod fault;
mod heading;
mod media_type;
mod refusal;
mod scan;
mod splice;
mod stencil;
pub mod wbxml;
mod well_formed;
mod writer;
pub mod xml;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use ascii::is_base64_alphabet;
pub use command::{Command, Commands};
pub use element::Vocabulary;
pub use event::{Character, Event, Events, Kind, Leaf, Leaves, Piece, Reader, Tag, Text, is_text};
pub use fault::{Fault, InvalidDocument, Limits, Strictness};
pub use heading::Heading;
pub use media_type::MediaType;
pub use splice::splice;
pub use stencil::Stencil;
pub use writer::Writer;

/// How a document is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// XML.
    Xml,
    /// WAP Binary XML.
    Wbxml,
}

/// The text of an element: the span of its content, between the start tag and the end tag (XML), or between the tag
/// token and its END (WBXML).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where the content stands.
    pub span: Range<usize>,
}

/// What the header says. A field is `None` if there is no such element, or if it has no content by form: `<MsgID/>`, or a
/// WBXML tag without the content bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncHdr {
    /// VerDTD.
    pub ver_dtd: Option<Field>,
    /// VerProto.
    pub ver_proto: Option<Field>,
    /// SessionID.
    pub session_id: Option<Field>,
    /// MsgID.
    pub msg_id: Option<Field>,
    /// Target's LocURI.
    pub target: Option<Field>,
    /// Source's LocURI.
    pub source: Option<Field>,
    /// RespURI.
    pub resp_uri: Option<Field>,
    /// Whether there is a Cred.
    pub has_cred: bool,
    /// How many EMI elements in its Meta children have text that starts with `syncseal` (PROTOCOL section 6).
    pub seal_marks: usize,
}

/// What the body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncBody {
    /// The commands at any depth, inside Atomic, Sequence and Sync too.
    pub commands: Commands,
    /// How many commands there are, at any depth; Final is none.
    pub n_commands: usize,
    /// The Status code for the peer's SyncHdr (CmdRef 0, Cmd SyncHdr), if there is one that is a number.
    pub hdr_status: Option<u16>,
    /// Whether any Status holds a Chal.
    pub has_chal: bool,
    /// Whether the package ends here.
    pub is_final: bool,
}

/// A document that was scanned, with its bytes.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// The document.
    pub bytes: &'a [u8],
    /// Its form.
    pub form: Form,
    /// Its SyncHdr.
    pub header: SyncHdr,
    /// Its SyncBody.
    pub body: SyncBody,
    /// Where its string table stands (WBXML). The body begins where it ends.
    string_table: Range<usize>,
}
