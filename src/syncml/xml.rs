//! The XML reader: quick-xml's events, held to what SyncML may be.
//!
//! Nothing is expanded but the five predefined entities and character references. Namespaces are not looked at: SyncML
//! is told by local names, for peers write any namespace, or none.

use std::ops::Range;

use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::{self, BytesRef, BytesStart};

use super::event::{Nesting, is_xml_char};
use super::well_formed;
use super::{Event, Fault, InvalidDocument, Kind, Limits, Strictness, Tag, Text};

/// U+FEFF in UTF-8. quick-xml skips one at the very start, and does not count it in its positions.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// A pull reader of an XML document; see [`Reader`](super::Reader).
#[derive(Debug)]
pub struct Reader<'a> {
    document: &'a [u8],
    inner: quick_xml::Reader<&'a [u8]>,
    /// What `inner`'s positions are counted from.
    origin: usize,
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
        let mut inner = quick_xml::Reader::from_reader(document);
        inner.config_mut().check_comments = strictness == Strictness::Strict;
        Self {
            document,
            inner,
            origin: if document.starts_with(BOM) { BOM.len() } else { 0 },
            nesting: Nesting::new(limits),
            max_attributes: limits.attributes,
            strictness,
            stage: Stage::Prolog,
            seen_doctype: false,
        }
    }

    /// Begins to read the content of an element.
    pub(super) fn content(content: &'a [u8], limits: &Limits) -> Self {
        Self { stage: Stage::Content, ..Self::new(content, limits, Strictness::Tolerant) }
    }

    /// Offset of the next byte to be read.
    fn offset(&self) -> usize {
        // A position in a slice fits into usize.
        self.origin + self.inner.buffer_position() as usize
    }

    fn read(&mut self) -> Result<Option<Event<'a>>, InvalidDocument> {
        if self.stage == Stage::Epilog && self.strictness == Strictness::Tolerant {
            return Ok(None);
        }
        loop {
            let start = self.offset();
            // Looked at where it lies: moving it costs as much as reading it.
            let event = self.inner.read_event();
            let event = match &event {
                Ok(event) => event,
                Err(error) => return Err(fault(error).at(start)),
            };
            let span = start..self.offset();
            if self.strictness == Strictness::Strict {
                well_formed::characters(self.slice(&span)).map_err(|e| e.at(start))?;
            }
            let kind = match event {
                events::Event::Start(tag) => Kind::Start(self.open(tag, false, start)?),
                events::Event::Empty(tag) => Kind::Empty(self.open(tag, true, start)?),
                events::Event::End(_) => {
                    self.nesting.leave(start)?;
                    if self.nesting.depth() == 0 && self.stage == Stage::Root {
                        self.stage = Stage::Epilog;
                    }
                    Kind::End
                }
                events::Event::Text(_) => {
                    let text = self.slice(&span);
                    match self.stage {
                        Stage::Root | Stage::Content => {}
                        _ if text.trim_ascii().is_empty() => continue,
                        Stage::Prolog => return Err(Fault::OutsideRoot.at(start)),
                        Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
                    }
                    if self.strictness == Strictness::Strict {
                        well_formed::text(text).map_err(|e| e.at(start))?;
                    }
                    Kind::Text(Text::Chars(text))
                }
                events::Event::CData(_) => {
                    self.inside(start)?;
                    let section = self.slice(&span);
                    let text = section.strip_prefix(b"<![CDATA[").and_then(|text| text.strip_suffix(b"]]>"));
                    Kind::Text(Text::Cdata(text.unwrap_or_default()))
                }
                events::Event::GeneralRef(reference) => {
                    self.inside(start)?;
                    let character = resolve(reference).ok_or_else(|| Fault::Reference.at(start))?;
                    Kind::Text(Text::Reference(character.into()))
                }
                events::Event::DocType(_) => {
                    self.doctype(&span)?;
                    continue;
                }
                events::Event::Decl(declaration) => {
                    if self.strictness == Strictness::Strict {
                        if self.stage != Stage::Prolog || start != self.origin {
                            return Err(Fault::Declaration.at(start));
                        }
                        well_formed::declaration(declaration).map_err(|e| e.at(start))?;
                    }
                    continue;
                }
                events::Event::PI(instruction) => {
                    if self.strictness == Strictness::Strict {
                        well_formed::instruction(instruction.target()).map_err(|e| e.at(start))?;
                    }
                    continue;
                }
                events::Event::Comment(_) => continue,
                events::Event::Eof => {
                    return match self.stage {
                        Stage::Content if self.nesting.depth() == 0 => Ok(None),
                        Stage::Epilog | Stage::Done => Ok(None),
                        Stage::Prolog | Stage::Root | Stage::Content => Err(Fault::Truncated.at(start)),
                    };
                }
            };
            return Ok(Some(Event { span, page: 0, kind }));
        }
    }

    /// The tag that begins at `start`, counted.
    fn open(&mut self, tag: &BytesStart<'_>, empty: bool, start: usize) -> Result<Tag<'a>, InvalidDocument> {
        self.nesting.enter(empty, start)?;
        match self.stage {
            Stage::Prolog => self.stage = if empty { Stage::Epilog } else { Stage::Root },
            Stage::Epilog | Stage::Done => return Err(Fault::Trailing.at(start)),
            Stage::Root | Stage::Content => {}
        }
        if self.strictness == Strictness::Strict {
            well_formed::name(tag.name().as_ref()).map_err(|e| e.at(start))?;
            if !tag.attributes_raw().is_empty() {
                well_formed::attributes(tag.attributes_raw(), self.max_attributes).map_err(|e| e.at(start))?;
            }
        }
        // Out of the document, whose lifetime is longer than the event's.
        let name = self.slice(&(start + 1..start + 1 + tag.name().as_ref().len()));
        let (prefix, name) = match memchr::memchr(b':', name) {
            Some(colon) => (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default()),
            None => (&[][..], name),
        };
        if name.is_empty() {
            return Err(Fault::Name.at(start));
        }
        Ok(Tag { name, prefix, token: 0 })
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
    fn doctype(&mut self, span: &Range<usize>) -> Result<(), InvalidDocument> {
        if self.stage != Stage::Prolog || self.seen_doctype {
            return Err(Fault::Doctype.at(span.start));
        }
        self.seen_doctype = true;
        let mut quote = None;
        for &byte in self.slice(span) {
            match (quote, byte) {
                (None, b'[') => return Err(Fault::InternalSubset.at(span.start)),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                _ => {}
            }
        }
        if quote.is_some() || !self.slice(span).starts_with(b"<!DOCTYPE") {
            return Err(Fault::Markup.at(span.start));
        }
        if self.strictness == Strictness::Strict {
            well_formed::doctype(self.slice(span)).map_err(|e| e.at(span.start))?;
        }
        Ok(())
    }

    fn slice(&self, span: &Range<usize>) -> &'a [u8] {
        self.document.get(span.clone()).unwrap_or_default()
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, InvalidDocument>;

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
