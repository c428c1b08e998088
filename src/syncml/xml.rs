//! The XML reader: tags, text and references read by hand, everything else by quick-xml.
//!
//! Nothing is expanded but the five predefined entities and character references. Namespaces are not looked at: SyncML
//! is told by local names, for peers write any namespace, or none.
//!
//! Most of a document is tags without attributes and text in ASCII. That is looked at many bytes at a time; whatever is not as
//! usual takes the longer way, and every fault is found there. The tests hold this reader to a slower one, which is quick-xml's from end to end.

use std::ops::{ControlFlow, Range};

use fearless_simd::{Level, Simd, dispatch};
use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::{self, BytesRef};

use super::ascii::{CDATA, NAME, TEXT, VALUE, XML};
use super::event::{Events, Nesting, is_xml_char};
use super::well_formed;
use super::{Event, Fault, InvalidDocument, Kind, Limits, Strictness, Tag, Text};

/// U+FEFF in UTF-8. At the very start of a document it is none of its text.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// The XML declaration as nearly everybody writes it.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

const CDATA_START: &[u8] = b"<![CDATA[";
const CDATA_END: &[u8] = b"]]>";

/// A pull reader of an XML document; see [`Reader`](super::Reader).
#[derive(Debug)]
pub struct Reader<'a> {
    document: &'a [u8],
    /// Where the next byte to be read is.
    offset: usize,
    /// Where the names of the open elements are, with their prefixes.
    open: Vec<Range<usize>>,
    /// Whether one of them had a quote in it, so that an end tag may not end at its first `>`.
    seen_quote: bool,
    nesting: Nesting,
    max_attributes: usize,
    strictness: Strictness,
    stage: Stage,
    seen_doctype: bool,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the root.
    Prolog,
    /// Inside the root.
    Root,
    /// Inside the content of an element that was taken out of its document.
    Content,
    /// Behind the root.
    Epilog,
    /// At the end, or after a fault.
    Done,
}

/// A start tag or empty-element tag, and its length.
struct StartTag<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    empty: bool,
    len: usize,
}

impl<'a> Reader<'a> {
    /// Begins to read `document`.
    pub fn new(document: &'a [u8], limits: &Limits, strictness: Strictness) -> Self {
        Self {
            document,
            offset: origin(document),
            open: Vec::new(),
            seen_quote: false,
            nesting: Nesting::new(limits),
            max_attributes: limits.attributes,
            strictness,
            stage: Stage::Prolog,
            seen_doctype: false,
        }
    }

    /// Begins to read the content of an element.
    pub(super) fn content(content: &'a [u8], limits: &Limits, strictness: Strictness) -> Self {
        Self { stage: Stage::Content, ..Self::new(content, limits, strictness) }
    }

    /// Gives events to `take` until that breaks off, or there are no more.
    #[inline(always)]
    fn read<S: Simd, B>(
        &mut self,
        simd: S,
        mut take: impl FnMut(Event<'a>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
        if self.stage == Stage::Epilog && self.strictness == Strictness::Tolerant {
            return Ok(None);
        }
        loop {
            let start = self.offset;
            let rest = self.document.get(start..).unwrap_or_default();
            let event = |len, kind| Event { span: start..start + len, page: 0, kind };
            // Each kind is given by itself, so that what is done with it is compiled for it.
            let flow = match rest {
                [b'<', b'/', ..] => {
                    let len = self.end_tag(rest, start)?;
                    self.offset += len;
                    take(event(len, Kind::End))
                }
                [b'<', b'!', ..] if rest.starts_with(CDATA_START) => {
                    let (text, len) = self.cdata(simd, rest, start)?;
                    self.offset += len;
                    take(event(len, Kind::Text(text)))
                }
                [b'<', b'!' | b'?', ..] => {
                    self.offset += self.other_markup(rest, start)?;
                    continue;
                }
                [b'<', ..] => {
                    let StartTag { name, prefix, empty, len } = self.start_tag(simd, rest, start)?;
                    self.offset += len;
                    let tag = Tag { name, prefix, token: 0 };
                    take(event(len, if empty { Kind::Empty(tag) } else { Kind::Start(tag) }))
                }
                [b'&', ..] => {
                    let (text, len) = self.reference(rest, start)?;
                    self.offset += len;
                    take(event(len, Kind::Text(text)))
                }
                [_, ..] => {
                    let text = self.text(simd, rest, start)?;
                    self.offset += text.len();
                    if !matches!(self.stage, Stage::Root | Stage::Content) {
                        // White space between what stands around the root.
                        continue;
                    }
                    take(event(text.len(), Kind::Text(Text::Chars(text))))
                }
                [] => {
                    return match self.stage {
                        Stage::Content if self.nesting.depth() == 0 => Ok(None),
                        Stage::Epilog | Stage::Done => Ok(None),
                        Stage::Prolog | Stage::Root | Stage::Content => Err(Fault::Truncated.at(start)),
                    };
                }
            };
            if let ControlFlow::Break(value) = flow {
                return Ok(Some(value));
            }
            if self.stage == Stage::Epilog && self.strictness == Strictness::Tolerant {
                return Ok(None);
            }
        }
    }

    /// Takes the end tag that `rest` begins with, and gives its length.
    #[inline(always)]
    fn end_tag(&mut self, rest: &[u8], start: usize) -> Result<usize, InvalidDocument> {
        let len = match self.open.last() {
            Some(name) if !self.seen_quote && self.ends(rest, name) => name.len() + 3,
            _ => self.odd_end_tag(rest, start)?,
        };
        self.open.pop();
        self.nesting.leave(start)?;
        if self.nesting.depth() == 0 && self.stage == Stage::Root {
            self.stage = Stage::Epilog;
        }
        Ok(len)
    }

    /// Whether `rest` begins with the end tag of the open element whose name stands at `name`.
    #[inline(always)]
    fn ends(&self, rest: &[u8], name: &Range<usize>) -> bool {
        let behind = rest.get(2..).unwrap_or_default();
        let lanes = (behind.first_chunk::<16>(), self.document.get(name.start..).and_then(<[u8]>::first_chunk::<16>));
        let is_same = match (lanes, FRONT.get(name.len())) {
            ((Some(&tag), Some(&name)), Some(front)) => {
                (u128::from_le_bytes(tag) ^ u128::from_le_bytes(name)) & front == 0
            }
            _ => behind.get(..name.len()) == self.document.get(name.clone()),
        };
        is_same && behind.get(name.len()) == Some(&b'>')
    }

    /// Holds an end tag that is not simply the open element's to it; there may be white space behind its name.
    #[cold]
    fn odd_end_tag(&self, rest: &[u8], start: usize) -> Result<usize, InvalidDocument> {
        let tag = tag(rest).ok_or_else(|| Fault::Truncated.at(start))?;
        let characters = self.characters(tag);
        let name = tag.strip_prefix(b"</").and_then(|tag| tag.strip_suffix(b">")).unwrap_or_default();
        let space = name.iter().rev().take_while(|&&byte| is_space(byte)).count();
        match characters {
            Err(Fault::NotUtf8) => Err(Fault::NotUtf8.at(start)),
            _ if self.open.last().and_then(|open| self.document.get(open.clone()))
                != name.get(..name.len() - space) =>
            {
                Err(Fault::EndTag.at(start))
            }
            result => result.map(|()| tag.len()).map_err(|e| e.at(start)),
        }
    }

    /// Takes the start tag or empty-element tag that `rest` begins with, and gives its length.
    #[inline(always)]
    fn start_tag<S: Simd>(&mut self, simd: S, rest: &'a [u8], start: usize) -> Result<StartTag<'a>, InvalidDocument> {
        let name = rest.get(1..).unwrap_or_default();
        let len = NAME.run(simd, name);
        let starts = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let (name, behind) = name.split_at(len);
        let (attribute, empty) = match behind {
            [b'>', ..] if starts => (0, false),
            [b'/', b'>', ..] if starts => (0, true),
            _ => {
                let attribute = self.namespace_len(simd, behind);
                match behind.get(attribute..) {
                    Some([b'>', ..]) if starts && attribute > 0 => (attribute, false),
                    _ => return self.odd_start_tag(rest, start),
                }
            }
        };
        self.enter(len, empty, start)?;
        Ok(StartTag { name, prefix: b"", empty, len: len + attribute + if empty { 3 } else { 2 } })
    }

    /// Length of the one attribute that SyncML knows, if that is what `rest` begins with and needs no second look.
    #[inline(always)]
    fn namespace_len<S: Simd>(&self, simd: S, rest: &[u8]) -> usize {
        match rest.strip_prefix(b" xmlns=") {
            Some([quote @ (b'"' | b'\''), value @ ..]) if self.max_attributes > 0 => {
                let len = VALUE.run(simd, value);
                if value.get(len) == Some(quote) { b" xmlns=".len() + 1 + len + 1 } else { 0 }
            }
            _ => 0,
        }
    }

    /// Takes a start tag with more than a plain name and a namespace in it.
    fn odd_start_tag(&mut self, rest: &'a [u8], start: usize) -> Result<StartTag<'a>, InvalidDocument> {
        let tag = tag(rest).ok_or_else(|| Fault::Truncated.at(start))?;
        self.characters(tag).map_err(|e| e.at(start))?;
        let (inner, empty) = match (tag.strip_suffix(b"/>"), tag.strip_suffix(b">")) {
            (Some(inner), _) => (inner, true),
            (None, inner) => (inner.unwrap_or_default(), false),
        };
        let inner = inner.strip_prefix(b"<").unwrap_or_default();
        let len = inner.iter().position(|&byte| is_space(byte)).unwrap_or(inner.len());
        let name = inner.get(..len).unwrap_or_default();
        self.seen_quote |= memchr::memchr2(b'"', b'\'', name).is_some();
        self.enter(len, empty, start)?;
        if self.strictness == Strictness::Strict {
            let text = std::str::from_utf8(inner).map_err(|_| Fault::NotUtf8.at(start))?;
            let (name, attributes) = text.split_at(len);
            well_formed::name(name).map_err(|e| e.at(start))?;
            well_formed::attributes(attributes, self.max_attributes).map_err(|e| e.at(start))?;
        }
        let (prefix, name) = match memchr::memchr(b':', name) {
            Some(colon) => (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default()),
            None => (&[][..], name),
        };
        if name.is_empty() {
            return Err(Fault::Name.at(start));
        }
        Ok(StartTag { name, prefix, empty, len: tag.len() })
    }

    /// Counts the element that begins at `start`, with a name of so many bytes, and is inside it from here on unless it is empty.
    #[inline(always)]
    fn enter(&mut self, name: usize, empty: bool, start: usize) -> Result<(), InvalidDocument> {
        self.nesting.enter(empty, start)?;
        match self.stage {
            Stage::Prolog => self.stage = if empty { Stage::Epilog } else { Stage::Root },
            Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
            Stage::Root | Stage::Content => {}
        }
        if !empty {
            self.open.push(start + 1..start + 1 + name);
        }
        Ok(())
    }

    /// The text that `rest` begins with, up to what is none.
    #[inline(always)]
    fn text<S: Simd>(&self, simd: S, rest: &'a [u8], start: usize) -> Result<&'a [u8], InvalidDocument> {
        let plain = TEXT.run(simd, rest);
        match rest.get(plain) {
            Some(b'<' | b'&') if matches!(self.stage, Stage::Root | Stage::Content) => {
                Ok(rest.get(..plain).unwrap_or_default())
            }
            _ => self.long_text(rest, start),
        }
    }

    fn long_text(&self, rest: &'a [u8], start: usize) -> Result<&'a [u8], InvalidDocument> {
        let (mut len, mut has_cdata_end) = (0, false);
        loop {
            let behind = rest.get(len..).unwrap_or_default();
            match memchr::memchr3(b'<', b'&', b']', behind) {
                None => len = rest.len(),
                Some(at) if behind.get(at) == Some(&b']') => {
                    has_cdata_end |= behind.get(at..).is_some_and(|behind| behind.starts_with(CDATA_END));
                    len += at + 1;
                    continue;
                }
                Some(at) => len += at,
            }
            break;
        }
        let text = rest.get(..len).unwrap_or_default();
        self.characters(text).map_err(|e| e.at(start))?;
        match self.stage {
            Stage::Root | Stage::Content => {}
            _ if text.trim_ascii().is_empty() => return Ok(text),
            Stage::Prolog => return Err(Fault::OutsideRoot.at(start)),
            Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
        }
        if has_cdata_end && self.strictness == Strictness::Strict {
            return Err(Fault::CdataEnd.at(start));
        }
        Ok(text)
    }

    /// The CDATA section that `rest` begins with, and its length.
    #[inline(always)]
    fn cdata<S: Simd>(&self, simd: S, rest: &'a [u8], start: usize) -> Result<(Text<'a>, usize), InvalidDocument> {
        let content = rest.get(CDATA_START.len()..).unwrap_or_default();
        let plain = CDATA.run(simd, content);
        if content.get(plain..).is_some_and(|behind| behind.starts_with(CDATA_END)) {
            self.inside(start)?;
            let text = Text::Cdata(content.get(..plain).unwrap_or_default());
            return Ok((text, CDATA_START.len() + plain + CDATA_END.len()));
        }
        let len = memchr::memchr_iter(b'>', content)
            .filter_map(|at| content.get(..at)?.strip_suffix(b"]]"))
            .next()
            .ok_or_else(|| Fault::Truncated.at(start))?
            .len();
        let content = content.get(..len).unwrap_or_default();
        self.characters(content).map_err(|e| e.at(start))?;
        self.inside(start)?;
        Ok((Text::Cdata(content), CDATA_START.len() + len + CDATA_END.len()))
    }

    /// The reference that `rest` begins with, and its length.
    fn reference(&self, rest: &[u8], start: usize) -> Result<(Text<'a>, usize), InvalidDocument> {
        let behind = rest.get(1..).unwrap_or_default();
        let len = memchr::memchr3(b';', b'&', b'<', behind).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(len);
        let name = std::str::from_utf8(name).map_err(|_| Fault::NotUtf8.at(start))?;
        if behind.first() != Some(&b';') {
            return Err(Fault::Reference.at(start));
        }
        self.characters(name.as_bytes()).map_err(|e| e.at(start))?;
        self.inside(start)?;
        let character = resolve(&BytesRef::new(name)).ok_or_else(|| Fault::Reference.at(start))?;
        Ok((Text::Reference(character.into()), len + 2))
    }

    /// Takes markup that is neither tag nor text, and gives its length: a comment, an instruction, a declaration.
    #[cold]
    fn other_markup(&mut self, rest: &[u8], start: usize) -> Result<usize, InvalidDocument> {
        if self.stage == Stage::Prolog && start == origin(self.document) && rest.starts_with(DECLARATION) {
            return Ok(DECLARATION.len());
        }
        let mut inner = quick_xml::Reader::from_reader(rest);
        inner.config_mut().check_comments = self.strictness == Strictness::Strict;
        let event = inner.read_event().map_err(|e| fault(&e).at(start))?;
        // A position in a slice fits into usize.
        let len = inner.buffer_position() as usize;
        let markup = rest.get(..len).unwrap_or_default();
        self.characters(markup).map_err(|e| e.at(start))?;
        let is_strict = self.strictness == Strictness::Strict;
        match event {
            events::Event::Comment(_) => {}
            events::Event::DocType(_) => self.doctype(markup).map_err(|e| e.at(start))?,
            events::Event::Decl(declaration) if is_strict => {
                if self.stage != Stage::Prolog || start != origin(self.document) {
                    return Err(Fault::Declaration.at(start));
                }
                well_formed::declaration(&declaration).map_err(|e| e.at(start))?;
            }
            events::Event::PI(instruction) if is_strict => {
                well_formed::instruction(instruction.target()).map_err(|e| e.at(start))?;
            }
            events::Event::Decl(_) | events::Event::PI(_) => {}
            _ => return Err(Fault::Markup.at(start)),
        }
        Ok(len)
    }

    /// Holds bytes of the document to UTF-8 and, if it is read strictly, to the characters of XML.
    fn characters(&self, bytes: &[u8]) -> Result<(), Fault> {
        match self.strictness {
            Strictness::Strict if XML.holds(bytes) => Ok(()),
            Strictness::Strict => {
                std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?;
                well_formed::characters(bytes)
            }
            Strictness::Tolerant => std::str::from_utf8(bytes).map(drop).map_err(|_| Fault::NotUtf8),
        }
    }

    /// Refuses text outside the root.
    fn inside(&self, start: usize) -> Result<(), InvalidDocument> {
        match self.stage {
            Stage::Root | Stage::Content => Ok(()),
            Stage::Prolog => Err(Fault::OutsideRoot.at(start)),
            Stage::Epilog | Stage::Done => Err(Fault::Trailing.at(start)),
        }
    }

    /// Takes one document type declaration before the root, of which nothing is used. An internal subset could declare
    /// entities, and make the document mean something else to whoever reads it.
    fn doctype(&mut self, markup: &[u8]) -> Result<(), Fault> {
        if self.stage != Stage::Prolog || self.seen_doctype {
            return Err(Fault::Doctype);
        }
        self.seen_doctype = true;
        let mut quote = None;
        for &byte in markup {
            match (quote, byte) {
                (None, b'[') => return Err(Fault::InternalSubset),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                _ => {}
            }
        }
        if quote.is_some() || !markup.starts_with(b"<!DOCTYPE") {
            return Err(Fault::Markup);
        }
        if self.strictness == Strictness::Strict { well_formed::doctype(markup) } else { Ok(()) }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, InvalidDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.until(ControlFlow::Break).transpose()
    }
}

impl<'a> Events<'a> for Reader<'a> {
    const HAS_PAGES: bool = false;

    #[inline(always)]
    fn until<B>(&mut self, take: impl FnMut(Event<'a>) -> ControlFlow<B>) -> Result<Option<B>, InvalidDocument> {
        if self.stage == Stage::Done {
            return Ok(None);
        }
        // Compiled for each kind of processor there is, `take` included.
        let result = dispatch!(Level::new(), simd => self.read(simd, take));
        if !matches!(result, Ok(Some(_))) {
            self.stage = Stage::Done;
        }
        result
    }
}

/// Where the text of a document begins.
fn origin(document: &[u8]) -> usize {
    if document.starts_with(BOM) { BOM.len() } else { 0 }
}

/// The tag that `rest` begins with, up to the first `>` outside of quotes.
fn tag(rest: &[u8]) -> Option<&[u8]> {
    let mut quote = None;
    let end = memchr::memchr3_iter(b'>', b'"', b'\'', rest).find(|&at| match (quote, rest.get(at)) {
        (None, Some(b'>')) => true,
        (None, byte) => {
            quote = byte;
            false
        }
        (Some(_), byte) => {
            if quote == byte {
                quote = None;
            }
            false
        }
    })?;
    rest.get(..=end)
}

/// White space, production 3.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// As many bytes at the front as an index, as bits.
static FRONT: [u128; 16] = {
    let mut front = [0; 16];
    let mut len = 1;
    while len < 16 {
        front[len] = front[len - 1] << 8 | 0xff;
        len += 1;
    }
    front
};

/// The character that a reference stands for.
pub(super) fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Some(character).filter(|&c| is_xml_char(c)),
        Ok(None) => quick_xml::escape::resolve_xml_entity(reference)?.chars().next(),
        Err(_) => None,
    }
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Syntax(SyntaxError::InvalidBangMarkup) => Fault::Markup,
        Error::Syntax(_) => Fault::Truncated,
        Error::IllFormed(IllFormedError::MissingEndTag(_)) => Fault::Truncated,
        Error::IllFormed(IllFormedError::UnmatchedEndTag(_) | IllFormedError::MismatchedEndTag { .. }) => Fault::EndTag,
        Error::IllFormed(IllFormedError::DoubleHyphenInComment) => Fault::Comment,
        Error::IllFormed(IllFormedError::UnclosedReference) => Fault::Reference,
        Error::IllFormed(IllFormedError::MissingDoctypeName) => Fault::Doctype,
        Error::IllFormed(IllFormedError::MissingDeclVersion(_) | IllFormedError::UnknownVersion) => Fault::Declaration,
        Error::Encoding(_) => Fault::NotUtf8,
        Error::InvalidAttr(_) => Fault::Attribute,
        Error::Io(_) | Error::Escape(_) | Error::Namespace(_) => Fault::Markup,
    }
}
