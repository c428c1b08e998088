//! The XML reader: tags, text and references read by hand, everything else by quick-xml.
//!
//! Nothing is expanded but the five predefined entities and character references. Namespaces are not looked at: SyncML
//! is told by local names, for peers write any namespace, or none.
//!
//! Most of a document is tags without attributes and text in ASCII. That is looked at many bytes at a time; whatever is not as
//! usual takes the longer way, and every fault is found there. The tests hold this reader to a slower one, which is quick-xml's from end to end.

mod tag;

use std::ops::{ControlFlow, Range};

use fearless_simd::{Level, Simd, dispatch};
use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::{self, BytesRef};

use self::tag::{Open, PlainTag, ends_leaf};
use super::ascii::{CDATA, Marks, PLAIN, XML, same};
use super::event::{Events, Leaf, Leaves, Nesting, Piece, is_xml_char};
use super::well_formed;
use super::{Event, Fault, InvalidDocument, Kind, Limits, Stencil, Strictness, Tag, Text};

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
    /// The open elements.
    open: Vec<Open>,
    /// Whether the name of one of them had a quote in it, so that an end tag may not end at its first `>`.
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

    /// Gives what it reads to `take` until that breaks off, or there is no more.
    #[inline(always)]
    fn read<S: Simd, L: Leaves<'a>, B>(
        &mut self,
        simd: S,
        mut take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
        if self.stage == Stage::Epilog && self.strictness == Strictness::Tolerant {
            return Ok(None);
        }
        let document = self.document;
        // What ends a tag or a text is found many at once, so that one event need not wait for the one before it.
        let mut marks = Marks::new(simd, &PLAIN, document, self.offset);
        // The first at or behind the next byte to be read.
        let mut mark = marks.next();
        loop {
            let start = self.offset;
            let rest = document.get(start..).unwrap_or_default();
            let event = |end, kind| Piece::Event(Event { span: start..end, page: 0, kind });
            // Each kind is given by itself, so that what is done with it is compiled for it.
            let flow = match rest {
                [b'<', b'/', ..] => {
                    let end = marks.next();
                    if self.is_open(rest, end - start) {
                        self.offset = end + 1;
                        mark = marks.next();
                    } else {
                        self.offset += self.odd_end_tag(rest, start)?;
                        mark = marks.seek(self.offset);
                    }
                    self.leave(start)?;
                    take(event(self.offset, Kind::End))
                }
                [b'<', b'!' | b'?', ..] => {
                    if !rest.starts_with(CDATA_START) {
                        self.offset += self.other_markup(rest, start)?;
                        mark = marks.seek(self.offset);
                        continue;
                    }
                    let (text, len) = self.cdata(simd, rest, start)?;
                    self.offset += len;
                    mark = marks.seek(self.offset);
                    take(event(self.offset, Kind::Text(text)))
                }
                [b'<', ..] => {
                    let end = marks.next();
                    if let Some(PlainTag { name, front, empty }) = self.plain_tag(simd, rest, end - start) {
                        let tag = Tag { name, prefix: b"", token: 0 };
                        mark = marks.next();
                        if empty {
                            self.enter(None, start)?;
                            self.offset = end + 1;
                            take(event(self.offset, Kind::Empty(tag)))
                        } else if L::WANTED
                            && self.stage != Stage::Prolog
                            && let Some(last) = ends_leaf(document, mark, front, name.len(), &mut marks)
                            && let content = (end + 1..mark)
                            && let text = Text::Chars(document.get(content.clone()).unwrap_or_default())
                            && let Some(leaf) = L::of(Leaf { span: start..last + 1, page: 0, tag, content, text })
                        {
                            self.enter(None, start)?;
                            self.offset = last + 1;
                            mark = marks.next();
                            take(Piece::Leaf(leaf))
                        } else {
                            self.enter(Some(Open { name: start + 1..start + 1 + name.len(), front }), start)?;
                            self.offset = end + 1;
                            take(event(self.offset, Kind::Start(tag)))
                        }
                    } else {
                        let (tag, empty, len) = self.odd_start_tag(rest, start)?;
                        self.offset += len;
                        mark = marks.seek(self.offset);
                        take(event(self.offset, if empty { Kind::Empty(tag) } else { Kind::Start(tag) }))
                    }
                }
                [b'&', ..] => {
                    let (text, len) = self.reference(rest, start)?;
                    self.offset += len;
                    mark = marks.seek(self.offset);
                    take(event(self.offset, Kind::Text(text)))
                }
                [_, ..] => {
                    // In text a `>` says nothing: behind `]]`, where it must not be, those are marks before it.
                    while document.get(mark) == Some(&b'>') {
                        mark = marks.next();
                    }
                    let is_inside = matches!(self.stage, Stage::Root | Stage::Content);
                    if is_inside && matches!(document.get(mark), Some(b'<' | b'&')) {
                        self.offset = mark;
                    } else {
                        self.offset += self.long_text(rest, start)?.len();
                        mark = marks.seek(self.offset);
                        if !is_inside {
                            // White space between what stands around the root.
                            continue;
                        }
                    }
                    let text = document.get(start..self.offset).unwrap_or_default();
                    take(event(self.offset, Kind::Text(Text::Chars(text))))
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

    /// Reads on as long as what comes is what came before, and tells how many elements there were.
    #[inline(always)]
    fn read_alike<S: Simd>(&mut self, simd: S, stencil: &Stencil, mut take: impl FnMut(Range<usize>)) -> usize {
        let document = self.document;
        let mut marks = Marks::new(simd, &PLAIN, document, self.offset);
        let mut elements = 0;
        loop {
            let (mut content, mut end) = (0, self.offset);
            for run in stencil.runs() {
                if !same(simd, document, run, end) {
                    return elements;
                }
                content = end + run.len();
                end = marks.pass(content);
                // To the end of what is no more than text.
                loop {
                    end = match document.get(end..) {
                        Some([b'>', ..]) => marks.next(),
                        Some(rest @ [b'&', ..]) if let Ok((_, len)) = self.reference(rest, end) => {
                            marks.pass(end + len)
                        }
                        Some(rest @ [b'<', b'!', ..])
                            if rest.starts_with(CDATA_START)
                                && let Ok((_, len)) = self.cdata(simd, rest, end) =>
                        {
                            marks.pass(end + len)
                        }
                        _ => break,
                    }
                }
            }
            let end_tag = stencil.end_tag();
            if !same(simd, document, &end_tag, end) || self.nesting.pass(stencil.elements()).is_none() {
                return elements;
            }
            self.offset = end + end_tag.len();
            elements += stencil.elements();
            if content < end {
                take(content..end);
            }
        }
    }

    /// Leaves the innermost open element, whose end tag begins at `start` and was held to it.
    #[inline(always)]
    fn leave(&mut self, start: usize) -> Result<(), InvalidDocument> {
        self.open.pop();
        self.nesting.leave(start)?;
        if self.nesting.depth() == 0 && self.stage == Stage::Root {
            self.stage = Stage::Epilog;
        }
        Ok(())
    }

    /// Counts the element that begins at `start`, and is inside it from here on if it stays open.
    #[inline(always)]
    fn enter(&mut self, open: Option<Open>, start: usize) -> Result<(), InvalidDocument> {
        self.nesting.enter(open.is_none(), start)?;
        match self.stage {
            Stage::Prolog => self.stage = if open.is_none() { Stage::Epilog } else { Stage::Root },
            Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
            Stage::Root | Stage::Content => {}
        }
        if let Some(open) = open {
            self.open.push(open);
        }
        Ok(())
    }

    /// The text that `rest` begins with, up to what is none.
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
    const REPEATS: bool = true;

    #[inline(always)]
    fn repeat(&mut self, stencil: &Stencil, take: impl FnMut(Range<usize>)) -> (usize, Range<usize>) {
        let elements = dispatch!(Level::new(), simd => self.read_alike(simd, stencil, take));
        (elements, self.offset - stencil.end_tag().len()..self.offset)
    }

    #[inline(always)]
    fn pieces<L: Leaves<'a>, B>(
        &mut self,
        take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
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
