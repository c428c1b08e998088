//! Where things stand in a document of the data layer: spans, the place of the seal, and a seal that is there. One strict
//! pass finds them, and refuses what section 6 refuses.

use std::ops::Range;

use super::insertion::Insertion;
use super::{Flaw, Unfit, aad};
use crate::syncml::{Event, Fault, Form, InvalidDocument, Kind, Limits, Reader, Strictness, Tag, Text};

/// What every marker of ours begins with.
const MARK: &[u8] = b"syncseal";
/// How deep the children of SyncHdr are; the root is at depth 1.
const HEADER_CHILD: usize = 3;

/// A document without a seal, as the data layer sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The spans, in document order: what is encrypted.
    pub(super) spans: Vec<Range<usize>>,
    /// Where the seal goes.
    pub(super) place: Place,
}

/// Where the seal goes, and how it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) insertion: Insertion,
}

/// An EMI of ours in a Meta of SyncHdr.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// From its start tag to its end tag.
    pub(super) emi: Range<usize>,
    /// What stands between them.
    pub(super) content: Range<usize>,
    /// The child of SyncHdr that it is in, in the same way.
    pub(super) meta: Range<usize>,
}

impl Layout {
    /// Reads a whole document that holds no seal.
    pub(super) fn read(form: Form, document: &[u8]) -> Result<Self, Unfit> {
        let mut walk = Walk::new(form, document);
        // A loop for each form: it is where the time goes.
        match reader(form, document)? {
            Reader::Xml(events) => walk.take_all(events)?,
            Reader::Wbxml(events) => walk.take_all(events)?,
        }
        if let Some(mark) = walk.marks.first() {
            return Err(Flaw::Sealed.at(mark.emi.start));
        }
        match walk.header {
            Header::Behind(place) => Ok(Self { spans: walk.spans, place }),
            Header::Ahead | Header::Inside => Err(Fault::NotOneSyncHdr.into()).map_err(|flaw: Flaw| flaw.at(0)),
        }
    }

    /// Reads a whole document that should differ from the one that was read here in what its spans hold alone: those stand
    /// at `slots` now. The one that was read here has `skeleton` around its spans. `is_text` tells content that is text
    /// alone.
    ///
    /// The outcome is that of [`read`](Self::read), always. Behind an element a reader is where it would be had the element
    /// held something else; if not, for its span strayed to another code page, there was no layout. So if what stands around
    /// the spans is the same, byte for byte, and there is nothing but text at `slots`, then these are the spans, and the
    /// place is where it was between them. If that cannot be told, the document is read.
    pub(super) fn read_alike<'s>(
        &self,
        form: Form,
        skeleton: impl Iterator<Item = &'s [u8]>,
        document: &[u8],
        slots: &[Range<usize>],
        is_text: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, Unfit> {
        let is_alike = slots.len() == self.spans.len()
            && aad::skeleton(document, slots).eq(skeleton)
            && slots
                .iter()
                .all(|slot| document.get(slot.clone()).is_some_and(|text| !text.is_empty() && is_text(text)));
        if !is_alike {
            return Self::read(form, document);
        }
        let Place { offset, insertion } = &self.place;
        let before = self.spans.iter().zip(slots).take_while(|(span, _)| span.end <= *offset).last();
        let offset = before.map_or(*offset, |(span, slot)| slot.end + (offset - span.end));
        Ok(Self { spans: slots.to_vec(), place: Place { offset, insertion: insertion.clone() } })
    }
}

/// The one EMI of ours in the SyncHdr of a document, which is read no further.
pub(super) fn find_mark(form: Form, document: &[u8]) -> Result<Mark, Unfit> {
    let mut walk = Walk::new(form, document);
    for event in reader(form, document)? {
        walk.take(&event?)?;
        if matches!(walk.header, Header::Behind(_)) {
            break;
        }
    }
    match &walk.marks[..] {
        [mark] => Ok(mark.clone()),
        [] => Err(Flaw::NotSealed.at(0)),
        [_, second, ..] => Err(Flaw::SealedTwice.at(second.emi.start)),
    }
}

fn reader(form: Form, document: &[u8]) -> Result<Reader<'_>, Unfit> {
    Ok(Reader::new(form, document, &Limits::default(), Strictness::Strict)?)
}

/// How far the walk is with SyncHdr.
#[derive(Debug)]
enum Header {
    Ahead,
    Inside,
    Behind(Place),
}

/// An EMI that is being read.
#[derive(Debug)]
struct Emi {
    start: usize,
    content: usize,
    /// As much of its decoded text as tells whether it is one of ours.
    text: [u8; MARK.len()],
    len: usize,
}

/// A walk over a document.
#[derive(Debug)]
struct Walk<'a> {
    form: Form,
    document: &'a [u8],
    depth: usize,
    /// A bit for each open element, the innermost the lowest: whether it is a Status or Alert, whose Data is no span. No
    /// document is deeper than it has bits.
    in_clear: u128,
    spans: Vec<Range<usize>>,
    /// Depth and content of the span that is being read.
    span: Option<(usize, usize)>,
    header: Header,
    /// Where the Meta of SyncHdr begins that is being read.
    meta: Option<usize>,
    /// The place for a seal in the last Meta of SyncHdr, if it can be there.
    meta_end: Option<Result<Place, Unfit>>,
    emi: Option<Emi>,
    marks: Vec<Mark>,
    /// The last span ended on another code page than it began on, and no SWITCH_PAGE followed: with the piece in its
    /// place, another page is current here.
    strayed: bool,
    /// Where the last event ended.
    read_to: usize,
}

impl<'a> Walk<'a> {
    fn new(form: Form, document: &'a [u8]) -> Self {
        Self {
            form,
            document,
            depth: 0,
            in_clear: 0,
            spans: Vec::new(),
            span: None,
            header: Header::Ahead,
            meta: None,
            meta_end: None,
            emi: None,
            marks: Vec::new(),
            strayed: false,
            read_to: 0,
        }
    }

    fn take_all(&mut self, events: impl Iterator<Item = Result<Event<'a>, InvalidDocument>>) -> Result<(), Unfit> {
        for event in events {
            self.take(&event?)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn take(&mut self, event: &Event<'_>) -> Result<(), Unfit> {
        // Between two tokens stands nothing but SWITCH_PAGE. In XML nothing strays.
        if event.span.start != self.read_to {
            self.strayed = false;
        }
        self.read_to = event.span.end;
        match &event.kind {
            Kind::Start(tag) => {
                self.tag(event, tag, true)?;
                self.depth += 1;
                self.in_clear = self.in_clear << 1 | u128::from(matches!(tag.name, b"Status" | b"Alert"));
                Ok(())
            }
            Kind::Empty(tag) => self.tag(event, tag, false),
            Kind::Text(text) => self.text(event, text),
            Kind::End => self.end(event),
        }
    }

    #[inline(always)]
    fn tag(&mut self, event: &Event<'_>, tag: &Tag<'_>, has_content: bool) -> Result<(), Unfit> {
        let at = event.span.start;
        let fault = |fault: Fault| Err(Flaw::from(fault).at(at));
        if self.strayed {
            return Err(Flaw::Page.at(at));
        }
        if self.emi.is_some() {
            return fault(Fault::NotText("EMI"));
        }
        // Of a name with an empty prefix or two colons, nobody can be sure what its local name is.
        let has_colon = || memchr::memchr(b':', tag.name).is_some();
        if self.form == Form::Xml && (!tag.prefix.is_empty() && has_colon() || self.document.get(at + 1) == Some(&b':'))
        {
            return fault(Fault::Name);
        }
        match (self.depth, &self.header) {
            (0, _) if tag.name != b"SyncML" => return fault(Fault::NotSyncml),
            (1, Header::Ahead) if tag.name != b"SyncHdr" => return Err(Flaw::HeaderNotFirst.at(at)),
            (1, Header::Ahead) if !has_content => return Err(Flaw::HeaderWithoutEnd.at(at)),
            (1, Header::Ahead) => self.header = Header::Inside,
            (1, _) if tag.name == b"SyncHdr" => return fault(Fault::NotOneSyncHdr),
            _ => {}
        }
        if !has_content {
            return Ok(());
        }
        if self.meta.is_some() {
            if tag.name == b"EMI" {
                self.emi = Some(Emi { start: at, content: event.span.end, text: [0; MARK.len()], len: 0 });
            }
        } else if self.depth + 1 == HEADER_CHILD && matches!(self.header, Header::Inside) && tag.name == b"Meta" {
            self.meta = Some(at);
        }
        if self.span.is_none() {
            let is_span = match tag.name {
                b"Data" => self.in_clear & 1 == 0,
                b"LocName" => true,
                _ => false,
            };
            if is_span {
                self.span = Some((self.depth + 1, event.span.end));
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, event: &Event<'_>, text: &Text<'_>) -> Result<(), Unfit> {
        if self.span.is_some() && matches!(text, Text::Table(_)) {
            return Err(Flaw::StringTable.at(event.span.start));
        }
        if let Some(emi) = &mut self.emi {
            for (place, byte) in emi.text.iter_mut().skip(emi.len).zip(text.bytes()) {
                *place = *byte;
                emi.len += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, event: &Event<'_>) -> Result<(), Unfit> {
        let at = event.span.start;
        if let Some(emi) = self.emi.take()
            && emi.text == MARK
        {
            let meta = self.meta.unwrap_or(emi.start);
            self.marks.push(Mark {
                emi: emi.start..event.span.end,
                content: emi.content..at,
                meta: meta..event.span.end,
            });
        }
        if let Some((depth, content)) = self.span
            && depth == self.depth
        {
            if content < at {
                self.spans.push(content..at);
            }
            self.strayed = event.page != 0;
            self.span = None;
        }
        if self.depth == HEADER_CHILD
            && let Some(start) = self.meta.take()
        {
            for mark in self.marks.iter_mut().filter(|mark| mark.meta.start == start) {
                mark.meta.end = event.span.end;
            }
            self.meta_end = Some(self.place(at, Insertion::InMeta { page: event.page }));
        }
        if self.depth == HEADER_CHILD - 1 && matches!(self.header, Header::Inside) {
            let place = self.meta_end.take().unwrap_or_else(|| {
                self.place(at, Insertion::WithMeta { page: event.page, prefix: self.prefix(&event.span) })
            });
            self.header = Header::Behind(place?);
        }
        self.depth = self.depth.saturating_sub(1);
        self.in_clear >>= 1;
        Ok(())
    }

    /// A place for the seal, at an end tag. The code page there has to survive the pieces.
    fn place(&self, offset: usize, insertion: Insertion) -> Result<Place, Unfit> {
        if self.strayed { Err(Flaw::Page.at(offset)) } else { Ok(Place { offset, insertion }) }
    }

    /// The namespace prefix of an end tag, with its colon; empty if there is none.
    fn prefix(&self, end_tag: &Range<usize>) -> Vec<u8> {
        let tag = self.document.get(end_tag.clone()).unwrap_or_default();
        match (self.form, memchr::memchr(b':', tag)) {
            (Form::Xml, Some(colon)) => tag.get(2..=colon).unwrap_or_default().to_vec(),
            _ => Vec::new(),
        }
    }
}
