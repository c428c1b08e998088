//! A plain XML reader, which is quick-xml's from end to end and looks at every character of every event, and that the
//! reader in use agrees with it about every document: the same events at the same places, and the same fault.

use std::ops::{ControlFlow, Range};

use proptest::prelude::*;
use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::{self, BytesRef, BytesStart};

use super::*;
use crate::syncml::event::{Events, Leaf, Nesting, Piece, is_xml_char};
use crate::syncml::well_formed;

/// What a reader makes of a document.
#[derive(Debug, PartialEq)]
struct Reading<'a> {
    events: Vec<Event<'a>>,
    fault: Option<InvalidDocument>,
}

impl<'a> Reading<'a> {
    fn of(mut reader: impl Iterator<Item = Result<Event<'a>, InvalidDocument>>) -> Self {
        let mut events = Vec::new();
        let fault = reader.find_map(|event| event.map(|event| events.push(event)).err());
        Self { events, fault }
    }

    /// The same, taken all at once.
    fn at_once(mut reader: impl Events<'a>) -> Self {
        let mut events = Vec::new();
        let end = reader.until(|event| {
            events.push(event);
            ControlFlow::<()>::Continue(())
        });
        Self { events, fault: end.err() }
    }
}

/// Whether a reading that gives leaves by themselves is the same when those are taken apart. A leaf is given or refused as a
/// whole: of one with a fault in it nothing was said, of which its events say the beginning.
fn leaves_are_their_events<'a>(mut reader: impl Events<'a>, reading: &Reading<'a>, leaves: &mut usize) -> bool {
    let mut events = Vec::new();
    let end = reader.pieces(|piece| {
        match piece {
            Piece::Event(event) => events.push(event),
            Piece::Leaf(leaf) => {
                *leaves += 1;
                let (start, text, end) = Leaf::events(leaf);
                events.extend([Some(start), text, Some(end)].into_iter().flatten());
            }
        }
        ControlFlow::<()>::Continue(())
    });
    (events, end.err()) == (reading.events.clone(), reading.fault.clone())
}

/// A reader, as plain as can be.
struct Plain<'a> {
    document: &'a [u8],
    inner: quick_xml::Reader<&'a [u8]>,
    /// What `inner`'s positions are counted from.
    origin: usize,
    nesting: Nesting,
    limits: Limits,
    is_strict: bool,
    seen_root: bool,
    seen_doctype: bool,
    is_done: bool,
}

impl<'a> Plain<'a> {
    fn new(document: &'a [u8], limits: &Limits, strictness: Strictness) -> Self {
        let is_strict = strictness == Strictness::Strict;
        let mut inner = quick_xml::Reader::from_reader(document);
        inner.config_mut().check_comments = is_strict;
        Self {
            document,
            inner,
            origin: if document.starts_with(xml::BOM) { xml::BOM.len() } else { 0 },
            nesting: Nesting::new(limits),
            limits: *limits,
            is_strict,
            seen_root: false,
            seen_doctype: false,
            is_done: false,
        }
    }

    fn offset(&self) -> usize {
        self.origin + self.inner.buffer_position() as usize
    }

    fn is_inside(&self) -> bool {
        self.nesting.depth() > 0
    }

    /// What is wrong with text outside of the root.
    fn outside(&self) -> Fault {
        if self.seen_root { Fault::Trailing } else { Fault::OutsideRoot }
    }

    /// The next event, or `None` at the end.
    fn read(&mut self) -> Result<Option<Event<'a>>, InvalidDocument> {
        loop {
            if !self.is_strict && self.seen_root && !self.is_inside() {
                return Ok(None);
            }
            let start = self.offset();
            let event = self.inner.read_event().map_err(|e| fault(&e).at(start))?;
            if matches!(event, events::Event::Eof) {
                let is_whole = self.seen_root && !self.is_inside();
                return if is_whole { Ok(None) } else { Err(Fault::Truncated.at(start)) };
            }
            let span = start..self.offset();
            if let Some(kind) = self.kind(event, &span).map_err(|e| e.at(start))? {
                return Ok(Some(Event { span, page: 0, kind }));
            }
        }
    }

    /// What an event of quick-xml's is; `None` if it is none of ours.
    fn kind(&mut self, event: events::Event<'a>, span: &Range<usize>) -> Result<Option<Kind<'a>>, Fault> {
        let markup = std::str::from_utf8(&self.document[span.clone()]).expect("quick-xml checks it");
        if self.is_strict && !markup.chars().all(is_xml_char) {
            return Err(Fault::Character);
        }
        Ok(Some(match event {
            events::Event::Start(tag) => Kind::Start(self.tag(&tag, false, span)?),
            events::Event::Empty(tag) => Kind::Empty(self.tag(&tag, true, span)?),
            events::Event::End(_) => {
                self.nesting.leave(0).map_err(|e| e.kind)?;
                Kind::End
            }
            events::Event::Text(_) if self.is_inside() => {
                if self.is_strict && markup.contains("]]>") {
                    return Err(Fault::CdataEnd);
                }
                Kind::Text(Text::Chars(markup.as_bytes()))
            }
            events::Event::Text(_) if markup.bytes().all(|b| b.is_ascii_whitespace()) => return Ok(None),
            events::Event::CData(_) if self.is_inside() => {
                Kind::Text(Text::Cdata(&self.document[span.start + "<![CDATA[".len()..span.end - "]]>".len()]))
            }
            events::Event::GeneralRef(reference) if self.is_inside() => {
                Kind::Text(Text::Reference(resolve(&reference).ok_or(Fault::Reference)?.into()))
            }
            events::Event::Text(_) | events::Event::CData(_) | events::Event::GeneralRef(_) => {
                return Err(self.outside());
            }
            events::Event::DocType(_) => {
                if self.seen_root || self.seen_doctype {
                    return Err(Fault::Doctype);
                }
                self.seen_doctype = true;
                let mut quote = None;
                for c in markup.chars() {
                    match (quote, c) {
                        (None, '[') => return Err(Fault::InternalSubset),
                        (None, '"' | '\'') => quote = Some(c),
                        (Some(open), c) if open == c => quote = None,
                        _ => {}
                    }
                }
                if quote.is_some() || !markup.starts_with("<!DOCTYPE") {
                    return Err(Fault::Markup);
                }
                if self.is_strict {
                    well_formed::doctype(markup.as_bytes())?;
                }
                return Ok(None);
            }
            events::Event::Decl(declaration) => {
                if self.is_strict {
                    if self.seen_root || span.start != self.origin {
                        return Err(Fault::Declaration);
                    }
                    well_formed::declaration(&declaration)?;
                }
                return Ok(None);
            }
            events::Event::PI(instruction) => {
                if self.is_strict {
                    well_formed::instruction(instruction.target())?;
                }
                return Ok(None);
            }
            events::Event::Comment(_) => return Ok(None),
            events::Event::Eof => unreachable!("it was looked for"),
        }))
    }

    fn tag(&mut self, tag: &BytesStart<'_>, empty: bool, span: &Range<usize>) -> Result<Tag<'a>, Fault> {
        let is_second_root = self.seen_root && !self.is_inside();
        self.nesting.enter(empty, 0).map_err(|e| e.kind)?;
        if is_second_root {
            return Err(Fault::Trailing);
        }
        self.seen_root = true;
        if self.is_strict {
            well_formed::name(tag.name().as_ref())?;
            well_formed::attributes(tag.attributes_raw(), self.limits.attributes)?;
        }
        let name = &self.document[span.start + 1..span.start + 1 + tag.name().as_ref().len()];
        let (prefix, name) = match name.iter().position(|&b| b == b':') {
            Some(colon) => (&name[..colon], &name[colon + 1..]),
            None => (&[][..], name),
        };
        if name.is_empty() { Err(Fault::Name) } else { Ok(Tag { name, prefix, token: 0 }) }
    }
}

impl<'a> Iterator for Plain<'a> {
    type Item = Result<Event<'a>, InvalidDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = if self.is_done { None } else { self.read().transpose() };
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }
}

fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    match reference.resolve_char_ref().ok()? {
        Some(character) => is_xml_char(character).then_some(character),
        None => quick_xml::escape::resolve_xml_entity(reference)?.chars().next(),
    }
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Syntax(SyntaxError::InvalidBangMarkup) => Fault::Markup,
        Error::Syntax(_) => Fault::Truncated,
        Error::IllFormed(IllFormedError::UnmatchedEndTag(_) | IllFormedError::MismatchedEndTag { .. }) => Fault::EndTag,
        Error::IllFormed(IllFormedError::DoubleHyphenInComment) => Fault::Comment,
        Error::IllFormed(IllFormedError::UnclosedReference) => Fault::Reference,
        Error::IllFormed(IllFormedError::MissingDoctypeName) => Fault::Doctype,
        Error::Encoding(_) => Fault::NotUtf8,
        other => panic!("{other}"),
    }
}

/// Pieces of documents, good and bad. Put together at random, they make every turn that a reader can take.
const PIECES: [&[u8]; 73] = [
    b"<a>",
    b"<a>",
    b"<a>",
    b"</a>",
    b"</a>",
    b"</a>",
    b"<a/>",
    b"<b x='1'>",
    b"<b xmlns='syncml:metinf'>",
    b"<b xmlns=\"x>]y\">",
    b" xmlns='",
    b" xmlns=\"&amp;\"",
    b"</b>",
    b"</b \n>",
    b"<s:c.d-1 y=\"\">",
    b"</s:c.d-1>",
    b"<q' '>",
    b"</q'>",
    b"text",
    b"longer text, longer than sixteen",
    b" longer than what is looked at in one go, which is two hundred and fifty-six bytes; therefore it is here a good \
      number of words, and some more of them, which say nothing in particular, nor should they; they are but read, by one \
      and by the other, and both should say the same of them",
    "ä€𝄞, längerer Text in UTF-8".as_bytes(),
    "\u{ffff}".as_bytes(),
    "\u{fffd}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{7f}\u{85}".as_bytes(),
    b"&amp;",
    b"&#65;",
    b"&#x20ac;",
    b"&#0;",
    b"&nbsp;",
    b"&",
    b";",
    b"<![CDATA[",
    b"<![CDATA[x]]>",
    b"<![cdata[",
    b"]]>",
    b"]]",
    b"]",
    b"<!--",
    b"-->",
    b"--",
    b"<!-- x -->",
    b"<?p x?>",
    b"<?",
    b"?>",
    b"<?xml version='1.0'?>",
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    b"<!DOCTYPE a>",
    b"<!DOCTYPE a SYSTEM '>'>",
    b"<!DOCTYPE a [",
    b"<!d",
    b"<!",
    b"<",
    b"</",
    b"<:",
    b"<a:",
    b">",
    b"/",
    b"/>",
    b"'",
    b"\"",
    b"=",
    b" ",
    b"\n",
    b"\t",
    b"x='1'",
    b"x",
    b"\0",
    b"\x1f",
    b"\xc3",
    b"\xff",
    b"\x0c",
];

/// Documents of those pieces, many of them inside a root that is closed, cut off anywhere.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24);
    (any::<bool>(), pieces, any::<bool>(), 0..4usize).prop_map(|(opened, pieces, closed, cut)| {
        let start: &[u8] = if opened { b"<a>" } else { b"" };
        let end: &[u8] = if closed { b"</a>" } else { b"" };
        let mut document = [&[start], &pieces[..], &[end]].concat().concat();
        document.truncate(document.len().saturating_sub(cut));
        document
    })
}

/// A capture with some bytes changed, left out and put in.
fn captures() -> impl Strategy<Value = Vec<u8>> {
    let captures: [&[u8]; 2] = [
        include_bytes!("../../../tests/captures/syncevolution-xml/02.req"),
        include_bytes!("../../../tests/captures/syncevolution-xml/02.resp"),
    ];
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, prop::sample::select(&PIECES[..])), 0..4);
    (prop::sample::select(captures.to_vec()), edits).prop_map(|(capture, edits)| {
        let mut document = capture.to_vec();
        for (at, gone, put) in edits {
            let at = at.index(document.len() - 3);
            document.splice(at..at + gone, put.iter().copied());
        }
        document
    })
}

/// Holds the reader in use to the plain one.
fn agree(document: &[u8]) {
    let narrow = Limits { depth: 3, elements: 6, attributes: 1, expansion: 0 };
    let narrower = Limits { attributes: 0, ..narrow };
    for limits in [Limits::default(), narrow, narrower] {
        for strictness in [Strictness::Strict, Strictness::Tolerant] {
            let plain = Reading::of(Plain::new(document, &limits, strictness));
            let reading = Reading::of(xml::Reader::new(document, &limits, strictness));
            assert_eq!(reading, plain, "{strictness:?}: {}", document.escape_ascii());
            let at_once = Reading::at_once(xml::Reader::new(document, &limits, strictness));
            assert_eq!(at_once, plain, "{strictness:?}, at once: {}", document.escape_ascii());
            let reader = xml::Reader::new(document, &limits, strictness);
            assert!(leaves_are_their_events(reader, &plain, &mut 0), "{strictness:?}: {}", document.escape_ascii());
        }
    }
}

/// The same, also where there is enough behind everything that is looked at to look at it all at once.
fn agree_with_room(document: &[u8]) {
    agree(document);
    agree(&[document, &[b' '; 100]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn the_reader_agrees_with_a_plain_one_about_markup(document in documents()) {
        agree_with_room(&document);
    }

    #[test]
    fn the_reader_agrees_with_a_plain_one_about_bytes(document in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&document);
        agree(&[b"<a>", &document[..], b"</a>"].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_reader_agrees_with_a_plain_one_about_captures(document in captures()) {
        agree(&document);
    }
}

/// A quote in a name hides the end of its end tag.
#[test]
fn the_reader_agrees_with_a_plain_one_about_quotes_in_names() {
    for [start, end] in [["a' '", "a'"], ["a''", "a''"], ["a'>'", "a'>'"], ["a\" \"", "a\""], ["a'\"' '", "a'\"'"]] {
        for behind in ["", "'>", "\">", "<b></b>'></a>"] {
            agree(format!("<{start}>x</{end}>{behind}").as_bytes());
        }
    }
}

/// Every byte everywhere that a reader looks at bytes one by one, and where it passes over many.
#[test]
fn the_reader_agrees_with_a_plain_one_about_every_byte() {
    for byte in 0..=u8::MAX {
        for before in [0, 1, 15, 16, 31, 32, 33, 95, 96, 97, 127, 300] {
            for behind in [0, 1, 2, 33, 300] {
                let text = |len| vec![b'x'; len];
                agree(&[b"<a>", &text(before)[..], &[byte], &text(behind), b"</a>"].concat());
                agree(&[b"<a><![CDATA[", &text(before)[..], &[byte], &text(behind), b"]]></a>"].concat());
            }
        }
        for [before, behind] in [
            ["", "<a/>"],
            ["<", ">"],
            ["<a", "/>"],
            ["<a", "></a>"],
            ["<a><", "/></a>"],
            ["<a></", "a>"],
            ["<a></a", ">"],
            ["<a x='", "'/>"],
            ["<a xmlns", "'x'></a>"],
            ["<a xmlns=", "x'></a>"],
            ["<a xmlns='", "'></a>"],
            ["<a xmlns='x", "></a>"],
            ["<a xmlns='x'", "></a>"],
            ["<?xml version=\"1.0\" encoding=\"UTF-8", "\"?><a/>"],
            ["<a>&", ";</a>"],
            ["<a>]", "]></a>"],
            ["<a>]]", "></a>"],
            ["<a/>", ""],
        ] {
            agree_with_room(&[before.as_bytes(), &[byte], behind.as_bytes()].concat());
        }
    }
}

/// Names of every length, for some are looked at otherwise than others; and end tags that are nearly theirs.
#[test]
fn the_reader_agrees_with_a_plain_one_about_names() {
    let letters = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
    for len in 1..letters.len() {
        let name = &letters[..len];
        let other = |at: usize| format!("{}-{}", &name[..at], &name[at + 1..]);
        agree_with_room(format!("<x><{name}>text</{name}><{name}></{name}><{name}/></x>").as_bytes());
        agree_with_room(format!("<x><{name} xmlns='y'>text</{name}></x>").as_bytes());
        for end in (0..len).map(other).chain([letters[..len - 1].to_owned(), letters[..=len].to_owned()]) {
            agree_with_room(format!("<x><{name}>text</{end}></x>").as_bytes());
            agree_with_room(format!("<x><{name}><y/></{end}></x>").as_bytes());
        }
    }
}

/// Real documents are read in leaves to a good part; in either form those are their events.
#[test]
fn leaves_of_captures_are_their_events() {
    let xml = include_bytes!("../../../tests/captures/syncevolution-xml/02.req");
    let wbxml = include_bytes!("../../../tests/captures/syncevolution-wbxml/02.req");
    for strictness in [Strictness::Strict, Strictness::Tolerant] {
        let limits = Limits::default();
        let mut leaves = [0; 2];
        let reader = || xml::Reader::new(xml, &limits, strictness);
        assert!(leaves_are_their_events(reader(), &Reading::of(reader()), &mut leaves[0]));
        let reader = || wbxml::Reader::new(wbxml, &limits, strictness).unwrap();
        assert!(leaves_are_their_events(reader(), &Reading::of(reader()), &mut leaves[1]));
        assert!(leaves.iter().all(|&leaves| leaves > 30), "{leaves:?}");
    }
}

/// Tokens, texts and what breaks them.
const TOKENS: [&[u8]; 22] = [
    b"\x4b",
    b"\x4f",
    b"\x54",
    b"\x12",
    b"\xcb",
    b"\x01",
    b"\x01",
    b"\x01",
    b"\x03x\0",
    b"\x03x\0\x01",
    b"\x03\0\x01",
    b"\x03a text that is longer than what is looked at at once\0\x01",
    b"\x03thirty-two characters, not more\0\x01",
    b"\x03x",
    b"\xc3\x02\x01\0\x01",
    b"\xc3\x00\x01",
    b"\xc3\x7f",
    b"\x83\x00\x01",
    b"\x02\x20\x01",
    b"\x00\x01",
    b"\x00\x00",
    b"\x04",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn leaves_of_wbxml_are_their_events(
        tokens in prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..24),
        has_room: bool,
        elements in prop_oneof![Just(1_000_000), 0..8usize],
        depth in prop_oneof![Just(100), 0..4usize],
    ) {
        let behind: &[u8] = if has_room { &[1; 64] } else { b"" };
        let document = [b"\x02\xa4\x01\x6a\x02y\0\x6d", &tokens.concat()[..], behind].concat();
        let limits = Limits { elements, depth, ..Limits::default() };
        for strictness in [Strictness::Strict, Strictness::Tolerant] {
            let reader = || wbxml::Reader::new(&document, &limits, strictness).unwrap();
            prop_assert!(leaves_are_their_events(reader(), &Reading::of(reader()), &mut 0), "{}", document.escape_ascii());
        }
    }
}
