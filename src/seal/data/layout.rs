//! Where things stand in a document of the data layer: spans, the place of the seal, and a seal that is there.

use std::ops::Range;

use super::walk::{Header, Mark, Place, Walk, local_name};
use super::{Flaw, Unfit, aad};
use crate::syncml::{Event, Fault, Form, Kind, Limits, Reader, Strictness, Text, wbxml};

/// A document without a seal, as the data layer sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The spans, in document order: what is encrypted.
    pub(super) spans: Vec<Range<usize>>,
    /// Where the seal goes.
    pub(super) place: Place,
    /// How many of the spans are in SyncHdr.
    header_spans: usize,
    /// How many elements there are that are in no span.
    elements: usize,
    /// How deep the deepest element is whose content is a span.
    depth: usize,
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
        if let Some(mark) = &walk.marks[0] {
            return Err(Flaw::Sealed.at(mark.emi.start));
        }
        match walk.header {
            Header::Behind(place) => Ok(Self {
                spans: walk.spans,
                place,
                header_spans: walk.header_spans,
                elements: walk.elements,
                depth: walk.max_depth,
            }),
            Header::Ahead | Header::Inside => Err(Fault::NotOneSyncHdr.into()).map_err(|flaw: Flaw| flaw.at(0)),
        }
    }

    /// Tells whether a whole document that should differ from the one that was read here in what its spans hold alone has its
    /// layout: those stand at `slots` now. The one that was read here has `skeleton` around its spans. `is_text` tells content that is
    /// text alone, by its index.
    ///
    /// What is told is what [`read`](Self::read) says, always. Behind an element a reader is where it would be had the element
    /// held something else; if not, for its span strayed to another code page, there was no layout. So if what stands around
    /// the spans is the same, byte for byte, and what is at `slots` is well-formed by itself and keeps within the limits,
    /// then these are the spans, and the place is where it was between them. If that cannot be told, the document has to be
    /// read.
    pub(super) fn tells<'s>(
        &self,
        form: Form,
        skeleton: impl Iterator<Item = &'s [u8]>,
        document: &[u8],
        slots: &[Range<usize>],
        is_text: impl Fn(usize, &[u8]) -> bool,
    ) -> bool {
        let limits = Limits::default();
        let mut elements = self.elements;
        let mut is_content = |(index, slot): (usize, &Range<usize>)| {
            let Some(content) = document.get(slot.clone()).filter(|content| !content.is_empty()) else { return false };
            // In SyncHdr there is more to see than spans.
            is_text(index, content)
                || index >= self.header_spans
                    && Markup::read(form, content).is_some_and(|markup| {
                        elements += markup.elements;
                        let stays =
                            markup.page == 0 || switches_before_tag(document.get(slot.end..).unwrap_or_default());
                        stays && elements <= limits.elements && self.depth + markup.depth <= limits.depth
                    })
        };
        slots.len() == self.spans.len()
            && aad::skeleton(document, slots).eq(skeleton)
            && slots.iter().enumerate().all(&mut is_content)
    }

    /// The layout of a document, [told](Self::tells) by this one or read anew.
    #[cfg(test)]
    pub(super) fn read_alike<'s>(
        &self,
        form: Form,
        skeleton: impl Iterator<Item = &'s [u8]>,
        document: &[u8],
        slots: &[Range<usize>],
        is_text: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, Unfit> {
        if !self.tells(form, skeleton, document, slots, |_, content| is_text(content)) {
            return Self::read(form, document);
        }
        let Place { offset, insertion } = &self.place;
        let before = self.spans.iter().zip(slots).take_while(|(span, _)| span.end <= *offset).last();
        let offset = before.map_or(*offset, |(span, slot)| slot.end + (offset - span.end));
        Ok(Self { spans: slots.to_vec(), place: Place { offset, insertion: insertion.clone() }, ..*self })
    }
}

/// What stands in an element, read by itself.
struct Markup {
    /// How many elements.
    elements: usize,
    /// How deep the deepest is; the outermost are at depth 1.
    depth: usize,
    /// WBXML: the code page at its end.
    page: u8,
}

impl Markup {
    /// Reads the content of an element. `None` if it is not well-formed by itself, or if that does not tell what it is in
    /// its document.
    fn read(form: Form, content: &[u8]) -> Option<Self> {
        let mut markup = Self { elements: 0, depth: 0, page: 0 };
        let mut depth = 0;
        let mut events = Reader::content(form, content, &Limits::default());
        for event in events.by_ref() {
            match event.ok()? {
                Event { kind: Kind::Start(tag), span, .. } => {
                    local_name(form, content, &span, &tag).ok()?;
                    markup.elements += 1;
                    depth += 1;
                    markup.depth = markup.depth.max(depth);
                }
                Event { kind: Kind::Empty(tag), span, .. } => {
                    local_name(form, content, &span, &tag).ok()?;
                    markup.elements += 1;
                    markup.depth = markup.depth.max(depth + 1);
                }
                Event { kind: Kind::Text(Text::Table(_)), .. } => return None,
                Event { kind: Kind::Text(_), .. } => {}
                Event { kind: Kind::End, .. } => depth -= 1,
            }
        }
        markup.page = events.page();
        Some(markup)
    }
}

/// WBXML: whether a SWITCH_PAGE follows with nothing but ENDs before it.
fn switches_before_tag(document: &[u8]) -> bool {
    document.iter().find(|&&token| token != wbxml::END) == Some(&wbxml::SWITCH_PAGE)
}

/// The one EMI of ours in the SyncHdr of a document, which is read no further.
pub(super) fn find_mark(form: Form, document: &[u8]) -> Result<Mark, Unfit> {
    let mut walk = Walk::new(form, document);
    match reader(form, document)? {
        Reader::Xml(mut events) => walk.take_header(&mut events)?,
        Reader::Wbxml(mut events) => walk.take_header(&mut events)?,
    }
    match walk.marks {
        [_, Some(second)] => Err(Flaw::SealedTwice.at(second.emi.start)),
        [Some(mark), None] => Ok(mark),
        [None, None] => Err(Flaw::NotSealed.at(0)),
    }
}

fn reader(form: Form, document: &[u8]) -> Result<Reader<'_>, Unfit> {
    Ok(Reader::new(form, document, &Limits::default(), Strictness::Strict)?)
}
