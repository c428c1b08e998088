//! The one reader over both forms, and the events that it gives.

use std::convert::Infallible;
use std::ops::{ControlFlow, Range};

use super::ascii::TEXT;
use super::{Fault, Form, InvalidDocument, Limits, Stencil, Strictness, wbxml, xml};

/// A pull reader of a document in either form.
///
/// An iterator of [`Event`]s: what is a tag or text, in document order, from the root's start tag to its end. Nothing is
/// copied and nothing allocated for an event. After a fault it gives nothing more. It never ends with `None` inside the
/// root: a document that ends there is a [`Fault::Truncated`].
///
/// What lies between the spans of two events is neither tag nor text: comments, processing instructions, declarations
/// (XML), SWITCH_PAGE (WBXML).
///
/// ```
/// use syncseal::syncml::{Form, Kind, Limits, Reader, Strictness};
///
/// let document = b"<SyncML><SyncHdr><VerDTD>1.2</VerDTD></SyncHdr><SyncBody/></SyncML>";
/// let mut outline = String::new();
/// let mut depth = 0;
/// for event in Reader::new(Form::Xml, document, &Limits::default(), Strictness::Tolerant)? {
///     match event?.kind {
///         Kind::Start(tag) => {
///             outline += &format!("{:depth$}{}\n", "", tag.name.escape_ascii());
///             depth += 1;
///         }
///         Kind::Empty(tag) => outline += &format!("{:depth$}{}\n", "", tag.name.escape_ascii()),
///         Kind::Text(text) => outline += &format!("{:depth$}= {}\n", "", text.bytes().escape_ascii()),
///         Kind::End => depth -= 1,
///     }
/// }
/// assert_eq!(outline, "SyncML\n SyncHdr\n  VerDTD\n   = 1.2\n SyncBody\n");
/// # Ok::<(), syncseal::syncml::InvalidDocument>(())
/// ```
#[derive(Debug)]
pub enum Reader<'a> {
    /// Over XML.
    Xml(xml::Reader<'a>),
    /// Over WBXML.
    Wbxml(wbxml::Reader<'a>),
}

impl<'a> Reader<'a> {
    /// Begins to read `document`. Of WBXML that reads all that stands before the body.
    pub fn new(
        form: Form,
        document: &'a [u8],
        limits: &Limits,
        strictness: Strictness,
    ) -> Result<Self, InvalidDocument> {
        Ok(match form {
            Form::Xml => Self::Xml(xml::Reader::new(document, limits, strictness)),
            Form::Wbxml => Self::Wbxml(wbxml::Reader::new(document, limits, strictness)?),
        })
    }

    /// Begins to read the content of an element by itself, strictly: WBXML on code page 0, without a string table. It ends
    /// with `None` where it ended well.
    pub fn content(form: Form, content: &'a [u8], limits: &Limits) -> Self {
        match form {
            Form::Xml => Self::Xml(xml::Reader::content(content, limits, Strictness::Strict)),
            Form::Wbxml => Self::Wbxml(wbxml::Reader::content(content, 0..content.len(), 0..0, limits)),
        }
    }

    /// The code page that is current at the next byte to be read. XML: 0.
    pub fn page(&self) -> u8 {
        match self {
            Self::Xml(_) => 0,
            Self::Wbxml(reader) => reader.page(),
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, InvalidDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Xml(reader) => reader.next(),
            Self::Wbxml(reader) => reader.next(),
        }
    }
}

/// What a reader gives. Whoever takes many at once is served faster than by the iterator, where each is told apart twice:
/// when it is made, and when it is taken.
pub trait Events<'a>: Iterator<Item = Result<Event<'a>, InvalidDocument>> {
    /// Whether there are code pages, and SWITCH_PAGEs between events.
    const HAS_PAGES: bool;

    /// Gives events to `take`, and leaves if those are wanted, until that breaks off. `None` where there are no more.
    ///
    /// # Errors
    /// The document cannot be read on.
    fn pieces<L: Leaves<'a>, B>(
        &mut self,
        take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument>;

    /// Whether what is repeated can be read faster.
    const REPEATS: bool;

    /// Reads on as long as what comes is what came before, and gives the contents to `take`, those that are empty left out.
    /// Tells how many elements there were, and where the end tag of the last content stands, behind which it left off.
    fn repeat(&mut self, stencil: &Stencil, take: impl FnMut(Range<usize>)) -> (usize, Range<usize>);

    /// Gives events to `take` until that breaks off. `None` where there are no more.
    ///
    /// # Errors
    /// The document cannot be read on.
    #[inline(always)]
    fn until<B>(&mut self, mut take: impl FnMut(Event<'a>) -> ControlFlow<B>) -> Result<Option<B>, InvalidDocument> {
        self.pieces(
            #[inline(always)]
            |piece: Piece<'a, Infallible>| match piece {
                Piece::Event(event) => take(event),
                Piece::Leaf(never) => match never {},
            },
        )
    }
}

impl<'a> Events<'a> for Reader<'a> {
    const HAS_PAGES: bool = true;

    const REPEATS: bool = false;

    fn repeat(&mut self, stencil: &Stencil, take: impl FnMut(Range<usize>)) -> (usize, Range<usize>) {
        match self {
            Self::Xml(reader) => reader.repeat(stencil, take),
            Self::Wbxml(reader) => reader.repeat(stencil, take),
        }
    }

    fn pieces<L: Leaves<'a>, B>(
        &mut self,
        take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
        match self {
            Self::Xml(reader) => reader.pieces(take),
            Self::Wbxml(reader) => reader.pieces(take),
        }
    }
}

/// An event, or a leaf in the place of its events.
pub enum Piece<'a, L> {
    /// An event.
    Event(Event<'a>),
    /// A start tag, the text behind it if there is any, and the end tag.
    Leaf(L),
}

/// Whether leaves are given by themselves: of [`Leaf`] they are, of [`Infallible`] they are not.
pub trait Leaves<'a>: Sized {
    /// Whether it is worth looking for one.
    const WANTED: bool;
    /// What is given for a leaf; `None` to have its events.
    fn of(leaf: Leaf<'a>) -> Option<Self>;
}

impl<'a> Leaves<'a> for Leaf<'a> {
    const WANTED: bool = true;

    #[inline(always)]
    fn of(leaf: Self) -> Option<Self> {
        Some(leaf)
    }
}

impl<'a> Leaves<'a> for Infallible {
    const WANTED: bool = false;

    fn of(_: Leaf<'a>) -> Option<Self> {
        None
    }
}

/// An element that holds one run of text at the most, and no references, comments or the like. Not every such element is
/// given as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// From its start tag to its end tag.
    pub span: Range<usize>,
    /// WBXML: the code page from before its tag to behind its end. XML: 0.
    pub page: u8,
    /// What its start tag says. XML: it has no prefix.
    pub tag: Tag<'a>,
    /// What stands between its tags.
    pub content: Range<usize>,
    /// The text there, which is none out of a string table; empty if nothing stands there.
    pub text: Text<'a>,
}

impl<'a> Leaf<'a> {
    /// The events that it stands for.
    #[inline(always)]
    pub fn events(self) -> (Event<'a>, Option<Event<'a>>, Event<'a>) {
        let Self { span, page, tag, content, text } = self;
        let event = |span, kind| Event { span, page, kind };
        (
            event(span.start..content.start, Kind::Start(tag)),
            (!content.is_empty()).then(|| event(content.clone(), Kind::Text(text))),
            event(content.end..span.end, Kind::End),
        )
    }
}

/// A tag or a run of text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The bytes of the document that it stands for: the whole tag with its attributes, the whole CDATA section or
    /// reference, the token with its payload.
    pub span: Range<usize>,
    /// WBXML: the code page that is current from here on, until a SWITCH_PAGE. XML: 0.
    pub page: u8,
    /// What it is.
    pub kind: Kind<'a>,
}

/// What an [`Event`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A start tag. Its [`Kind::End`] follows, after its content.
    Start(Tag<'a>),
    /// An element without content: an empty-element tag (XML), a tag token without the content bit (WBXML). No
    /// [`Kind::End`] follows.
    Empty(Tag<'a>),
    /// A run of text. An element's text is that of all its runs joined; it can be split anywhere.
    Text(Text<'a>),
    /// The end tag of the innermost open element: in XML of the same name, which was checked; in WBXML END.
    End,
}

/// What a tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Its local name. Empty for a WBXML token that the tables do not name.
    pub name: &'a [u8],
    /// XML: its namespace prefix, without the colon; empty if there is none.
    pub prefix: &'a [u8],
    /// WBXML: its identity, 0x05 to 0x3F, on the event's page. XML: 0.
    pub token: u8,
}

/// A run of text, and the way in which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// XML: character data between markup, as it stands (line ends too).
    Chars(&'a [u8]),
    /// XML: the content of a CDATA section.
    Cdata(&'a [u8]),
    /// A character by its number or name: a reference (XML) or an ENTITY (WBXML).
    Reference(Character),
    /// WBXML: STR_I.
    Inline(&'a [u8]),
    /// WBXML: STR_T, the string that it refers to.
    Table(&'a [u8]),
    /// WBXML: OPAQUE.
    Opaque(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The text, decoded.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Reference(character) => character.as_bytes(),
            Self::Chars(text) | Self::Cdata(text) | Self::Inline(text) | Self::Table(text) | Self::Opaque(text) => text,
        }
    }

    /// The text as it stands in the document, unless it is a [`Text::Reference`].
    pub fn borrowed(&self) -> Option<&'a [u8]> {
        match self {
            Self::Reference(_) => None,
            Self::Chars(text) | Self::Cdata(text) | Self::Inline(text) | Self::Table(text) | Self::Opaque(text) => {
                Some(text)
            }
        }
    }
}

/// One character, in UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Character {
    utf8: [u8; 4],
    len: usize,
}

impl Character {
    /// The character, in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        self.utf8.get(..self.len).unwrap_or_default()
    }
}

impl From<char> for Character {
    fn from(character: char) -> Self {
        let mut utf8 = [0; 4];
        let len = character.encode_utf8(&mut utf8).len();
        Self { utf8, len }
    }
}

/// Whether the content of an element, by itself, is text alone and read strictly: no tags, no comments or instructions (XML),
/// no SWITCH_PAGE and no reference into a string table (WBXML).
pub fn is_text(form: Form, content: &[u8]) -> bool {
    match form {
        Form::Xml => {
            TEXT.holds(content)
                || is_text_run(xml::Reader::content(content, &Limits::NONE, Strictness::Strict), content.len())
        }
        Form::Wbxml => {
            is_text_run(wbxml::Reader::content(content, 0..content.len(), 0..0, &Limits::NONE), content.len())
        }
    }
}

/// Whether nothing but text is read from 0 to `len`, with nothing in between.
#[inline(always)]
fn is_text_run<'a>(mut events: impl Events<'a>, len: usize) -> bool {
    let mut end = 0;
    let other = events.until(
        #[inline(always)]
        |Event { span, kind, .. }| match kind {
            Kind::Text(text) if span.start == end && !matches!(text, Text::Table(_)) => {
                end = span.end;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        },
    );
    matches!(other, Ok(None)) && end == len
}

/// Whether XML 1.0 has this character (production 2).
pub(super) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// How deep a reader is, and how much it may still read.
#[derive(Debug)]
pub(super) struct Nesting {
    depth: usize,
    max_depth: usize,
    elements_left: usize,
}

impl Nesting {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { depth: 0, max_depth: limits.depth, elements_left: limits.elements }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Counts an element that begins at `offset`, and is inside it from here on unless it is empty.
    #[inline(always)]
    pub(super) fn enter(&mut self, empty: bool, offset: usize) -> Result<(), InvalidDocument> {
        self.elements_left = self.elements_left.checked_sub(1).ok_or_else(|| Fault::TooManyElements.at(offset))?;
        if self.depth == self.max_depth {
            return Err(Fault::TooDeep.at(offset));
        }
        self.depth += usize::from(!empty);
        Ok(())
    }

    /// Counts so many elements, none of which stays open or is deeper than one before. `None` if those are too many.
    pub(super) fn pass(&mut self, elements: usize) -> Option<()> {
        self.elements_left = self.elements_left.checked_sub(elements)?;
        Some(())
    }

    /// Leaves the innermost element by the end tag at `offset`.
    #[inline(always)]
    pub(super) fn leave(&mut self, offset: usize) -> Result<(), InvalidDocument> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Fault::EndTag.at(offset))?;
        Ok(())
    }
}
