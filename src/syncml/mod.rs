//! SyncML documents, XML and WBXML, read in place.
//!
//! Pure: bytes in, values out. One pass finds what a proxy needs, as byte spans of the document; nothing is copied, no
//! tree is built, nothing is ever re-serialised: an edit replaces the bytes of a span and keeps every other byte.
//! Knows nothing of HTTP, cryptography or sessions. Uses no module of ours.

use std::borrow::Cow;
use std::ops::Range;

/// How a document is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// XML.
    Xml,
    /// WAP Binary XML.
    Wbxml,
}

/// A SyncML media type, with its charset parameter if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// The form of its documents.
    pub form: Form,
    /// Whether it is of OMA Device Management.
    pub dm: bool,
    /// The charset parameter, unquoted, as written.
    pub charset: Option<String>,
}

impl MediaType {
    /// Reads a Content-Type field value (RFC 9110 comparison). `None` if it is not one of SyncML's four types.
    pub fn parse(_field: &[u8]) -> Option<Self> {
        unimplemented!()
    }
}

/// Bounds on what a document may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of elements.
    pub depth: usize,
    /// Elements in total.
    pub elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 100, elements: 1_000_000 }
    }
}

/// Why a document cannot be read: what was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct InvalidDocument {
    /// What is wrong.
    pub kind: Fault,
    /// Offset into the document, in bytes.
    pub offset: usize,
}

/// What can be wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too early.
    #[error("unexpected end")]
    Truncated,
}

/// The text of an element: the span of its content, between the start tag and the end tag (XML), or between the tag
/// token and its END (WBXML).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where the content stands.
    pub span: Range<usize>,
}

/// The names of the commands of a SyncBody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Command {
    Add,
    Alert,
    Atomic,
    Copy,
    Delete,
    Exec,
    Get,
    Map,
    Move,
    Put,
    Replace,
    Results,
    Search,
    Sequence,
    Status,
    Sync,
    /// An element of SyncBody, or of a container in it, that is none of the others.
    Unknown,
}

/// What the header says.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug, Default)]
pub struct SyncBody {
    /// The commands at any depth, each name once, in the order of their first appearance.
    pub commands: Vec<Command>,
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
}

impl<'a> Document<'a> {
    /// Scans a document in one pass. It has exactly one SyncHdr among the root's children.
    pub fn scan(_form: Form, _bytes: &'a [u8], _limits: &Limits) -> Result<Self, InvalidDocument> {
        unimplemented!()
    }

    /// The decoded text of a field: entities and CDATA (XML), STR_I, STR_T, OPAQUE and ENTITY (WBXML) joined.
    pub fn text(&self, _field: &Field) -> Cow<'a, [u8]> {
        unimplemented!()
    }

    /// The document with another RespURI, in the form in which it stood (XML: text, escaped; WBXML: STR_I). `None`
    /// if it has none.
    pub fn with_resp_uri(&self, _uri: &str) -> Option<Vec<u8>> {
        unimplemented!()
    }

    /// The document that refuses this one (PROTOCOL section 7): same form and version, Target and Source exchanged, one
    /// Status for SyncHdr with `status`, an EMI with `syncseal?:` and `refusal_map`, and `sentence` as Data.
    pub fn refusal(&self, _status: u16, _refusal_map: &[u8], _sentence: &str) -> Vec<u8> {
        unimplemented!()
    }
}
