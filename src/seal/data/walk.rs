//! The walk over a document of the data layer: one strict pass that meets spans, the place of the seal and seals, and refuses
//! what section 6 refuses.

use std::ops::{ControlFlow, Range};

use super::insertion::Insertion;
use super::{Flaw, Unfit};
use crate::syncml::{Event, Events, Fault, Form, Kind, Leaf, Piece, Stencil, Tag, Text};

/// What every marker of ours begins with.
const MARK: &[u8] = b"syncseal";
/// How deep the children of SyncHdr are; the root is at depth 1.
const HEADER_CHILD: usize = 3;

/// For so many spans it is not worth looking for what repeats itself.
pub(super) const FEW: usize = 8;

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

/// What an element is to the spans.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its content is a span, unless it is in a Status or Alert.
    Data,
    /// Its content is a span.
    LocName,
    /// A Status or Alert.
    Clear,
    Other,
}

impl Role {
    /// Of an element of that local name.
    #[inline(always)]
    fn of(name: &[u8]) -> Self {
        // Most names are told by that alone.
        match (name.len(), name.first()) {
            (4, Some(b'D')) if name == b"Data" => Self::Data,
            (7, Some(b'L')) if name == b"LocName" => Self::LocName,
            (6, Some(b'S')) if name == b"Status" => Self::Clear,
            (5, Some(b'A')) if name == b"Alert" => Self::Clear,
            _ => Self::Other,
        }
    }

    /// Whether the content of such an element is a span, unless it is in one; `in_clear` says that its parent is a Status or
    /// Alert.
    #[inline(always)]
    fn is_span(self, in_clear: bool) -> bool {
        self == Self::LocName || self == Self::Data && !in_clear
    }
}

/// Why the walk behind SyncHdr leaves off.
enum Stop {
    Unfit(Unfit),
    /// What comes next may be like what came last.
    Alike,
}

/// How far the walk is with SyncHdr.
#[derive(Debug)]
pub(super) enum Header {
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
pub(super) struct Walk<'a> {
    form: Form,
    document: &'a [u8],
    depth: usize,
    /// Depth of the innermost open Status or Alert, whose Data is no span.
    clear: Option<usize>,
    /// Of those around it.
    outer_clears: Vec<usize>,
    /// The spans that ended, in order.
    pub(super) spans: Vec<Range<usize>>,
    /// Depth and content of the span that is being read.
    span: Option<(usize, usize)>,
    /// How many of them are in SyncHdr, once that is behind.
    pub(super) header_spans: usize,
    /// How many elements there were that are in no span.
    pub(super) elements: usize,
    /// How deep the deepest element was whose content is a span.
    pub(super) max_depth: usize,
    pub(super) header: Header,
    /// Where the Meta of SyncHdr begins that is being read.
    meta: Option<usize>,
    /// The place for a seal in the last Meta of SyncHdr, if it can be there.
    meta_end: Option<Result<Place, Unfit>>,
    emi: Option<Emi>,
    /// The first two seals in SyncHdr: one is what there should be.
    pub(super) marks: [Option<Mark>; 2],
    /// The last span ended on another code page than it began on, and no SWITCH_PAGE followed: with the piece in its
    /// place, another page is current here.
    strayed: bool,
    /// Where the last event ended.
    read_to: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(form: Form, document: &'a [u8]) -> Self {
        Self {
            form,
            document,
            depth: 0,
            clear: None,
            outer_clears: Vec::new(),
            spans: Vec::new(),
            span: None,
            header_spans: 0,
            elements: 0,
            max_depth: 0,
            header: Header::Ahead,
            meta: None,
            meta_end: None,
            emi: None,
            marks: [None, None],
            strayed: false,
            read_to: 0,
        }
    }

    /// Takes a whole document.
    pub(super) fn take_all(&mut self, mut events: impl Events<'a>) -> Result<(), Unfit> {
        self.take_header(&mut events)?;
        self.take_body(events)
    }

    /// Takes what there is up to the end of SyncHdr.
    pub(super) fn take_header(&mut self, events: &mut impl Events<'a>) -> Result<(), Unfit> {
        let stop = events.pieces(
            #[inline(always)]
            |piece| {
                let result = match piece {
                    Piece::Event(event) => self.take(&event),
                    Piece::Leaf(leaf) => self.leaf(leaf),
                };
                match result {
                    Ok(()) if !matches!(self.header, Header::Behind(_)) => ControlFlow::Continue(()),
                    result => ControlFlow::Break(result),
                }
            },
        );
        stop?.unwrap_or(Ok(()))
    }

    /// Takes what is behind SyncHdr. Nothing but spans is looked for there, so that it is a shorter way than
    /// [`take`](Self::take).
    fn take_body<E: Events<'a>>(&mut self, mut events: E) -> Result<(), Unfit> {
        let Self {
            form, document, mut depth, mut clear, mut elements, mut strayed, mut read_to, mut max_depth, ..
        } = *self;
        let (outer_clears, spans) = (&mut self.outer_clears, &mut self.spans);
        // Where the span begins that is being read; how deep in it, 1 being its own element, 0 no span.
        let (mut content, mut inside) = (0, 0);
        let mut stencil = Stencil::default();
        // How many elements there were where the stretch began that is being read.
        let mut elements_before = elements;
        let is_repeatable = |spans: &[Range<usize>]| E::REPEATS && spans.len() >= FEW;
        loop {
            let stop = events.pieces(
                #[inline(always)]
                |piece| {
                    let Event { span, page, kind } = match piece {
                        Piece::Event(event) => event,
                        Piece::Leaf(Leaf { span, tag, content, .. }) => {
                            if E::HAS_PAGES {
                                strayed &= span.start == read_to;
                                read_to = span.end;
                                if strayed {
                                    return ControlFlow::Break(Stop::Unfit(Flaw::Page.at(span.start)));
                                }
                            }
                            if inside > 0 {
                                return ControlFlow::Continue(());
                            }
                            if depth == 1 && tag.name == b"SyncHdr" {
                                let flaw = Flaw::from(Fault::NotOneSyncHdr);
                                return ControlFlow::Break(Stop::Unfit(flaw.at(span.start)));
                            }
                            elements += 1;
                            if !Role::of(tag.name).is_span(clear == Some(depth)) {
                                if is_repeatable(spans) {
                                    stencil.text(content);
                                }
                                return ControlFlow::Continue(());
                            }
                            // A span on code page 0, where it ends, too.
                            max_depth = max_depth.max(depth + 1);
                            if is_repeatable(spans) {
                                stencil.end(document, content.start, elements - elements_before);
                            }
                            let end_tag = content.end..span.end;
                            if !content.is_empty() {
                                spans.push(content);
                            }
                            if is_repeatable(spans) {
                                stencil.begin(end_tag);
                                elements_before = elements;
                                if stencil.is_sure() {
                                    return ControlFlow::Break(Stop::Alike);
                                }
                            }
                            return ControlFlow::Continue(());
                        }
                    };
                    if E::HAS_PAGES {
                        strayed &= span.start == read_to;
                        read_to = span.end;
                    }
                    match kind {
                        Kind::Start(tag) | Kind::Empty(tag) => {
                            if E::HAS_PAGES && strayed {
                                return ControlFlow::Break(Stop::Unfit(Flaw::Page.at(span.start)));
                            }
                            if let Err(unfit) = local_name(form, document, &span, &tag) {
                                return ControlFlow::Break(Stop::Unfit(unfit));
                            }
                            let has_content = matches!(kind, Kind::Start(_));
                            if inside > 0 {
                                inside += usize::from(has_content);
                                return ControlFlow::Continue(());
                            }
                            if depth == 1 && tag.name == b"SyncHdr" {
                                let flaw = Flaw::from(Fault::NotOneSyncHdr);
                                return ControlFlow::Break(Stop::Unfit(flaw.at(span.start)));
                            }
                            elements += 1;
                            if !has_content {
                                return ControlFlow::Continue(());
                            }
                            match Role::of(tag.name) {
                                Role::Data if clear == Some(depth) => depth += 1,
                                Role::Data | Role::LocName => {
                                    (content, inside) = (span.end, 1);
                                    max_depth = max_depth.max(depth + 1);
                                    if is_repeatable(spans) {
                                        stencil.end(document, content, elements - elements_before);
                                    }
                                }
                                Role::Clear => {
                                    depth += 1;
                                    outer_clears.extend(clear.replace(depth));
                                }
                                Role::Other => depth += 1,
                            }
                        }
                        Kind::Text(Text::Table(_)) if inside > 0 => {
                            return ControlFlow::Break(Stop::Unfit(Flaw::StringTable.at(span.start)));
                        }
                        Kind::Text(Text::Chars(_)) if inside == 0 && is_repeatable(spans) => {
                            stencil.text(span);
                        }
                        Kind::Text(_) => {}
                        Kind::End if inside > 1 => inside -= 1,
                        Kind::End if inside == 1 => {
                            inside = 0;
                            strayed = page != 0;
                            if content < span.start {
                                spans.push(content..span.start);
                            }
                            if is_repeatable(spans) {
                                stencil.begin(span);
                                elements_before = elements;
                                if stencil.is_sure() {
                                    return ControlFlow::Break(Stop::Alike);
                                }
                            }
                        }
                        Kind::End => {
                            if clear == Some(depth) {
                                clear = outer_clears.pop();
                            }
                            depth = depth.saturating_sub(1);
                        }
                    }
                    ControlFlow::Continue(())
                },
            )?;
            match stop {
                None => break,
                Some(Stop::Unfit(unfit)) => return Err(unfit),
                Some(Stop::Alike) => {
                    let (read, end_tag) = events.repeat(&stencil, |content| spans.push(content));
                    elements += read;
                    elements_before = elements;
                    stencil.begin(end_tag);
                }
            }
        }
        (self.elements, self.max_depth) = (elements, max_depth);
        Ok(())
    }

    /// Takes a leaf: most say nothing here.
    #[inline(always)]
    fn leaf(&mut self, leaf: Leaf<'_>) -> Result<(), Unfit> {
        let is_plain = Role::of(leaf.tag.name) == Role::Other && !matches!(leaf.tag.name, b"EMI" | b"Meta");
        if !is_plain || self.depth + 1 < HEADER_CHILD || self.strayed || self.emi.is_some() {
            let (start, text, end) = leaf.events();
            self.take(&start)?;
            if let Some(text) = text {
                self.take(&text)?;
            }
            return self.take(&end);
        }
        self.read_to = leaf.span.end;
        self.elements += usize::from(self.span.is_none());
        Ok(())
    }

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
                if Role::of(tag.name) == Role::Clear {
                    self.outer_clears.extend(self.clear.replace(self.depth));
                }
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
        local_name(self.form, self.document, &event.span, tag)?;
        self.elements += usize::from(self.span.is_none());
        match (self.depth, &self.header) {
            (0, _) if tag.name != b"SyncML" => return fault(Fault::NotSyncml),
            (1, Header::Ahead) if tag.name != b"SyncHdr" => return Err(Flaw::HeaderNotFirst.at(at)),
            (1, Header::Ahead) if !has_content => return Err(Flaw::HeaderWithoutEnd.at(at)),
            (1, Header::Ahead) => self.header = Header::Inside,
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
        if self.span.is_none() && Role::of(tag.name).is_span(self.clear == Some(self.depth)) {
            self.span = Some((self.depth + 1, event.span.end));
            self.max_depth = self.max_depth.max(self.depth + 1);
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
            let mark = Mark { emi: emi.start..event.span.end, content: emi.content..at, meta: meta..event.span.end };
            if let Some(place) = self.marks.iter_mut().find(|mark| mark.is_none()) {
                *place = Some(mark);
            }
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
            for mark in self.marks.iter_mut().flatten().filter(|mark| mark.meta.start == start) {
                mark.meta.end = event.span.end;
            }
            self.meta_end = Some(self.place(at, Insertion::InMeta { page: event.page }));
        }
        if self.depth == HEADER_CHILD - 1 && matches!(self.header, Header::Inside) {
            let place = self.meta_end.take().unwrap_or_else(|| {
                self.place(at, Insertion::WithMeta { page: event.page, prefix: self.prefix(&event.span) })
            });
            self.header = Header::Behind(place?);
            self.header_spans = self.spans.len();
        }
        if self.clear == Some(self.depth) {
            self.clear = self.outer_clears.pop();
        }
        self.depth = self.depth.saturating_sub(1);
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

/// Of a name with an empty prefix or two colons, nobody can be sure what its local name is.
#[inline(always)]
pub(super) fn local_name(form: Form, document: &[u8], span: &Range<usize>, tag: &Tag<'_>) -> Result<(), Unfit> {
    // A tag that is nothing but a local name.
    if form == Form::Wbxml || span.len() == tag.name.len() + 2 {
        return Ok(());
    }
    let has_colon = || memchr::memchr(b':', tag.name).is_some();
    if !tag.prefix.is_empty() && has_colon() || document.get(span.start + 1) == Some(&b':') {
        return Err(Flaw::from(Fault::Name).at(span.start));
    }
    Ok(())
}
