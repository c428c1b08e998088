//! What can be wrong with a document, and how much of one is taken.

/// Bounds on what a document may be. Whatever a document says of itself, reading it costs time in proportion to its
/// length and memory in proportion to these.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of elements; the root is at depth 1.
    pub depth: usize,
    /// Elements in total.
    pub elements: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Bytes that all references into a WBXML string table may stand for together: a table is written once and can be
    /// referred to without end.
    pub expansion: usize,
}

impl Limits {
    /// None, for what was held to them before.
    pub(super) const NONE: Self =
        Self { depth: usize::MAX, elements: usize::MAX, attributes: usize::MAX, expansion: usize::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 100, elements: 1_000_000, attributes: 32, expansion: 16 << 20 }
    }
}

/// How much a reader lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Takes what real peers send: bytes after the root, an odd XML declaration or encoding name, `]]>` or control
    /// characters in text, attributes that nobody looks at. What could be read in two ways is a fault all the same:
    /// mismatched tags, undeclared entities, an internal DTD subset, tokens that SyncML does not use.
    #[default]
    Tolerant,
    /// Well-formed XML 1.0 in UTF-8 without a DTD, or WBXML in UTF-8 or US-ASCII that ends where its root ends, and
    /// nothing else (PROTOCOL section 6).
    Strict,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too early.
    #[error("unexpected end")]
    Truncated,
    /// Something follows the root element.
    #[error("something after the root element")]
    Trailing,
    /// Text before the root element.
    #[error("text outside the root element")]
    OutsideRoot,

    /// XML: an end tag of another element, or of none. WBXML: END without an element.
    #[error("an end tag that closes no open element")]
    EndTag,
    /// XML: markup that is none.
    #[error("markup that is not XML")]
    Markup,
    /// XML: an element, attribute or instruction whose name is none.
    #[error("a name that is not an XML name")]
    Name,
    /// XML: an attribute that is not `name="value"`.
    #[error("an attribute that is not well-formed")]
    Attribute,
    /// XML: an attribute twice.
    #[error("an attribute twice")]
    AttributeTwice,
    /// XML: `&` that begins no character reference and none of the five entities.
    #[error("a reference to nothing that is declared")]
    Reference,
    /// XML: `]]>` in text.
    #[error("`]]>` in text")]
    CdataEnd,
    /// XML: `--` inside a comment.
    #[error("`--` in a comment")]
    Comment,
    /// XML: an XML declaration that is not first, or not of version 1.
    #[error("a bad or misplaced XML declaration")]
    Declaration,
    /// XML: an encoding other than UTF-8 is declared.
    #[error("an encoding other than UTF-8")]
    Encoding,
    /// XML: bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// A character that XML does not have, such as NUL.
    #[error("a character that is none in XML")]
    Character,
    /// XML: a document type declaration that is not before the root, or a second one.
    #[error("a misplaced document type declaration")]
    Doctype,
    /// XML: a document type declaration with an internal subset.
    #[error("a document type declaration with an internal subset")]
    InternalSubset,

    /// WBXML: a version other than 1.0 to 1.3; the byte as it stands.
    #[error("WBXML version byte {0:#04x}")]
    Version(u8),
    /// WBXML: a charset that is not taken, by its MIBenum.
    #[error("charset {0}")]
    Charset(u32),
    /// WBXML: an mb_u_int32 of more than 5 bytes or 32 bits.
    #[error("an integer that is too long")]
    Integer,
    /// WBXML: a length or offset that leads out of the document or its string table.
    #[error("a length or offset out of bounds")]
    Bounds,
    /// WBXML: a global token that SyncML does not use.
    #[error("token {0:#04x}")]
    Token(u8),
    /// WBXML: attributes on an element other than the root.
    #[error("attributes below the root element")]
    Attributes,

    /// Elements are nested too deep ([`Limits::depth`]).
    #[error("elements nested too deep")]
    TooDeep,
    /// There are too many elements ([`Limits::elements`]).
    #[error("too many elements")]
    TooManyElements,
    /// There are too many attributes ([`Limits::attributes`]).
    #[error("too many attributes")]
    TooManyAttributes,
    /// The string table is referred to too often ([`Limits::expansion`]).
    #[error("too much text out of the string table")]
    TooMuchText,

    /// The root element is not SyncML.
    #[error("a root element other than SyncML")]
    NotSyncml,
    /// The root has no child SyncHdr, or more than one.
    #[error("not exactly one SyncHdr")]
    NotOneSyncHdr,
    /// SyncHdr, or its Target or Source, has a child twice that it can have once.
    #[error("a second {0}")]
    Twice(&'static str),
    /// An element inside one of SyncHdr that holds text only.
    #[error("an element inside {0}")]
    NotText(&'static str),
}

impl Fault {
    /// This fault, found at `offset`.
    pub(super) fn at(self, offset: usize) -> InvalidDocument {
        InvalidDocument { kind: self, offset }
    }
}
