//! The XML reader: tags, text and references read by hand, everything else by quick-xml.
//!
//! Nothing is expanded but the five predefined entities and character references. Namespaces are not looked at: SyncML
//! is told by local names, for peers write any namespace, or none.
//!
//! Most of a document is tags without attributes and text in ASCII. What is short of that is told byte by byte with a
//! table, what is long many bytes at a time; whatever is not as usual takes the longer way, and every fault is found
//! there. The tests hold this reader to a slower one, which is quick-xml's from end to end.

use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::{self, BytesRef};

use super::event::{Nesting, is_xml_char};
use super::well_formed;
use super::{Event, Fault, InvalidDocument, Kind, Limits, Strictness, Tag, Text};

/// U+FEFF in UTF-8. At the very start of a document it is none of its text.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

const CDATA_START: &[u8] = b"<![CDATA[";
const CDATA_END: &[u8] = b"]]>";

/// Up to so many bytes of a text or name are looked at one by one.
const SHORT: usize = 16;

/// A pull reader of an XML document; see [`Reader`](super::Reader).
#[derive(Debug)]
pub struct Reader<'a> {
    document: &'a [u8],
    /// Where the next byte to be read is.
    offset: usize,
    /// The names of the open elements, with their prefixes.
    open: Vec<&'a [u8]>,
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

    #[inline(always)]
    fn read(&mut self) -> Result<Option<Event<'a>>, InvalidDocument> {
        if self.stage == Stage::Epilog && self.strictness == Strictness::Tolerant {
            return Ok(None);
        }
        loop {
            let start = self.offset;
            let rest = self.document.get(start..).unwrap_or_default();
            let (kind, len) = match rest {
                [b'<', b'/', ..] => (Kind::End, self.end_tag(rest, start)?),
                [b'<', b'!', ..] if rest.starts_with(CDATA_START) => {
                    let (text, len) = self.cdata(rest, start)?;
                    (Kind::Text(text), len)
                }
                [b'<', b'!' | b'?', ..] => {
                    self.offset += self.other_markup(rest, start)?;
                    continue;
                }
                [b'<', ..] => {
                    let StartTag { name, prefix, empty, len } = self.start_tag(rest, start)?;
                    let tag = Tag { name, prefix, token: 0 };
                    (if empty { Kind::Empty(tag) } else { Kind::Start(tag) }, len)
                }
                [b'&', ..] => {
                    let (text, len) = self.reference(rest, start)?;
                    (Kind::Text(text), len)
                }
                [_, ..] => {
                    let text = self.text(rest, start)?;
                    if !matches!(self.stage, Stage::Root | Stage::Content) {
                        // White space between what stands around the root.
                        self.offset += text.len();
                        continue;
                    }
                    (Kind::Text(Text::Chars(text)), text.len())
                }
                [] => {
                    return match self.stage {
                        Stage::Content if self.nesting.depth() == 0 => Ok(None),
                        Stage::Epilog | Stage::Done => Ok(None),
                        Stage::Prolog | Stage::Root | Stage::Content => Err(Fault::Truncated.at(start)),
                    };
                }
            };
            self.offset = start + len;
            return Ok(Some(Event { span: start..self.offset, page: 0, kind }));
        }
    }

    /// Takes the end tag that `rest` begins with, and gives its length.
    #[inline(always)]
    fn end_tag(&mut self, rest: &[u8], start: usize) -> Result<usize, InvalidDocument> {
        let len = match self.open.last() {
            Some(name) if ends(rest, name) && !self.seen_quote => name.len() + 3,
            _ => self.odd_end_tag(rest, start)?,
        };
        self.open.pop();
        self.nesting.leave(start)?;
        if self.nesting.depth() == 0 && self.stage == Stage::Root {
            self.stage = Stage::Epilog;
        }
        Ok(len)
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
            _ if self.open.last().copied() != name.get(..name.len() - space) => Err(Fault::EndTag.at(start)),
            result => result.map(|()| tag.len()).map_err(|e| e.at(start)),
        }
    }

    /// Takes the start tag or empty-element tag that `rest` begins with, and gives its length.
    #[inline(always)]
    fn start_tag(&mut self, rest: &'a [u8], start: usize) -> Result<StartTag<'a>, InvalidDocument> {
        let name = rest.get(1..).unwrap_or_default();
        let len = run(name, NAME);
        let starts = name.first().is_some_and(|&byte| is(byte, NAME_START));
        let (name, behind) = name.split_at(len);
        let empty = match behind {
            [b'>', ..] if starts => false,
            [b'/', b'>', ..] if starts => true,
            _ => return self.odd_start_tag(rest, start),
        };
        self.enter(name, empty, start)?;
        Ok(StartTag { name, prefix: b"", empty, len: len + if empty { 3 } else { 2 } })
    }

    /// Takes a start tag with more than a plain name in it.
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
        self.enter(name, empty, start)?;
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

    /// Counts the element that begins at `start`, and is inside it from here on unless it is empty.
    #[inline(always)]
    fn enter(&mut self, name: &'a [u8], empty: bool, start: usize) -> Result<(), InvalidDocument> {
        self.nesting.enter(empty, start)?;
        match self.stage {
            Stage::Prolog => self.stage = if empty { Stage::Epilog } else { Stage::Root },
            Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
            Stage::Root | Stage::Content => {}
        }
        if !empty {
            self.open.push(name);
        }
        Ok(())
    }

    /// The text that `rest` begins with, up to what is none.
    #[inline(always)]
    fn text(&self, rest: &'a [u8], start: usize) -> Result<&'a [u8], InvalidDocument> {
        let plain = run(rest, TEXT);
        match rest.get(plain) {
            Some(b'<') if matches!(self.stage, Stage::Root | Stage::Content) => {
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
    fn cdata(&self, rest: &'a [u8], start: usize) -> Result<(Text<'a>, usize), InvalidDocument> {
        let content = rest.get(CDATA_START.len()..).unwrap_or_default();
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
            Strictness::Strict if well_formed::is_plain(bytes) => Ok(()),
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

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.stage == Stage::Done {
            return None;
        }
        let item = self.read().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.stage = Stage::Done;
        }
        item
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

/// Whether `rest` begins with the end tag of the element `name`.
#[inline]
fn ends(rest: &[u8], name: &[u8]) -> bool {
    rest.get(2..2 + name.len()) == Some(name) && rest.get(2 + name.len()) == Some(&b'>')
}

/// White space, production 3.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// ASCII in a name without a colon.
const NAME: u8 = 1;
/// ASCII that such a name can start with.
const NAME_START: u8 = 2;
/// ASCII in text that needs no second look.
const TEXT: u8 = 4;

/// What each byte can be.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        let class = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => NAME | NAME_START | TEXT,
            b'0'..=b'9' | b'-' | b'.' => NAME | TEXT,
            b'<' | b'&' | b']' => 0,
            b'\t' | b'\n' | b'\r' | b' '.. => TEXT,
            _ => 0,
        };
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};

/// How many bytes at the front are of that class, as far as bytes are looked at one by one.
#[inline(always)]
fn run(bytes: &[u8], class: u8) -> usize {
    let end = |bytes: &[u8]| bytes.iter().position(|&byte| !is(byte, class)).unwrap_or(bytes.len());
    // Of a length that is known the loop is unrolled.
    bytes.first_chunk::<SHORT>().map_or_else(|| end(bytes), |bytes| end(bytes))
}

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

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
