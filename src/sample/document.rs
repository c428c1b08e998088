//! SyncML documents as small trees, and their two encodings.
//!
//! An [`Element`] says what it means, not how it stands: a reader forgets prefixes, CDATA, string tables and line
//! breaks between elements. Good for a party of the protocol, and wrong for a proxy, which must keep every byte.

use std::borrow::Cow;

use crate::syncml::{self, Form, InvalidDocument, Kind, Limits, Reader, Strictness, Tag, Text};

use super::message::Version;

/// The vocabulary that an element belongs to: a namespace in XML, a code page or a document of its own in WBXML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// The SyncML representation protocol: code page 0.
    SyncMl,
    /// Meta information: code page 1.
    MetInf,
    /// Device information: in WBXML a document within Data.
    DevInf,
}

/// An element with its text or its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Local name.
    pub(super) name: Cow<'static, str>,
    /// Vocabulary of the name.
    pub(super) vocabulary: Vocabulary,
    /// The text, all its pieces joined. Bytes, for Data may hold anything in WBXML.
    pub(super) text: Vec<u8>,
    /// Whether the text is one of any bytes, as items are: OPAQUE in WBXML.
    pub(super) opaque: bool,
    /// The elements within.
    pub(super) children: Vec<Self>,
}

impl Element {
    /// A SyncML element with children.
    pub(super) fn node<const N: usize>(name: &'static str, children: [Self; N]) -> Self {
        Self { children: children.into(), ..Self::leaf(name, "") }
    }

    /// A SyncML element with text.
    pub(super) fn leaf(name: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            vocabulary: Vocabulary::SyncMl,
            text: text.into(),
            opaque: false,
            children: Vec::new(),
        }
    }

    /// The Data of an item.
    pub(super) fn data(bytes: impl Into<Vec<u8>>) -> Self {
        Self { opaque: true, ..Self::leaf("Data", bytes) }
    }

    /// A MetInf element with text.
    pub(super) fn metinf(name: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self { vocabulary: Vocabulary::MetInf, ..Self::leaf(name, text) }
    }

    /// The same element with one more child, or without if there is none.
    pub(super) fn with(mut self, child: impl Into<Option<Self>>) -> Self {
        self.children.extend(child.into());
        self
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element at the end of a path of names.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The trimmed text at the end of a path of names, if it is UTF-8.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.find(path).and_then(|element| std::str::from_utf8(&element.text).ok()).map(str::trim)
    }

    /// How many bytes the element takes within a document, at most.
    pub(super) fn encoded_len(&self, form: Form, version: Version) -> usize {
        let mut out = Vec::new();
        match form {
            Form::Xml => write_xml(&mut out, self, Vocabulary::SyncMl),
            Form::Wbxml => write_tokens(&mut out, self, &mut 0, version),
        }
        // WBXML may need a page switch before it and the switch back after it.
        out.len() + 4
    }
}

/// Reads a document. Text between elements is dropped, and a text keeps its line ends as they stand in XML too: peers
/// put vCards there without escaping them.
pub(super) fn read(form: Form, bytes: &[u8]) -> Result<Element, InvalidDocument> {
    let element =
        |tag: Tag<'_>| Element { name: String::from_utf8_lossy(tag.name).into_owned().into(), ..Element::leaf("", "") };
    // The elements that are open, below them one that takes the root.
    let mut open = vec![Element::node("", [])];
    for event in Reader::new(form, bytes, &Limits::default(), Strictness::Tolerant)? {
        let closed = match event?.kind {
            Kind::Start(tag) => {
                open.push(element(tag));
                None
            }
            Kind::Empty(tag) => Some(element(tag)),
            Kind::Text(text) => {
                if let Some(innermost) = open.last_mut() {
                    innermost.text.extend_from_slice(text.bytes());
                    innermost.opaque |= matches!(text, Text::Opaque(_));
                }
                None
            }
            Kind::End => open.pop().map(|mut element| {
                if !element.children.is_empty() {
                    element.text.clear();
                }
                element
            }),
        };
        if let (Some(closed), Some(around)) = (closed, open.last_mut()) {
            around.children.push(closed);
        }
    }
    // The reader gives a whole root or an error.
    Ok(open.swap_remove(0).children.into_iter().next().unwrap_or_else(|| Element::node("", [])))
}

/// Writes a document. The root is SyncML's.
pub(super) fn write(root: &Element, form: Form, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    match form {
        Form::Xml => {
            out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
            out.extend_from_slice(format!("<SyncML xmlns='{}'>", version.namespace()).as_bytes());
            for child in &root.children {
                write_xml(&mut out, child, Vocabulary::SyncMl);
            }
            out.extend_from_slice(b"</SyncML>");
        }
        Form::Wbxml => {
            out.extend_from_slice(&[0x02]);
            write_mb(&mut out, version.public_id());
            out.extend_from_slice(&[CHARSET_UTF8, 0]);
            write_tokens(&mut out, root, &mut 0, version);
        }
    }
    out
}

/// Whether XML can carry the text as it is: UTF-8 without the characters that XML 1.0 excludes.
pub(super) fn is_xml_text(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        text.chars()
            .all(|c| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
    })
}

/// How many bytes of text, from its start, fit into `room` bytes of the form. Never splits a character in XML.
pub(super) fn prefix_that_fits(text: &[u8], room: usize, form: Form) -> usize {
    match (form, std::str::from_utf8(text)) {
        (Form::Xml, Ok(text)) => {
            let mut taken = 0;
            for (at, c) in text.char_indices() {
                taken += escape(c).map_or_else(|| c.len_utf8(), str::len);
                if taken > room {
                    return at;
                }
            }
            text.len()
        }
        // The token and the length of an OPAQUE take up to six bytes.
        _ => text.len().min(room.saturating_sub(6)),
    }
}

fn escape(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        // A plain CR LF would be read as LF (XML 1.0, 2.11).
        '\r' => Some("&#13;"),
        _ => None,
    }
}

fn write_xml(out: &mut Vec<u8>, element: &Element, around: Vocabulary) {
    let name = element.name.as_bytes();
    out.push(b'<');
    out.extend_from_slice(name);
    if element.vocabulary != around {
        let namespace = match element.vocabulary {
            // SyncML elements never stand within another vocabulary.
            Vocabulary::SyncMl => "",
            Vocabulary::MetInf => "syncml:metinf",
            Vocabulary::DevInf => "syncml:devinf",
        };
        out.extend_from_slice(format!(" xmlns='{namespace}'").as_bytes());
    }
    if element.text.is_empty() && element.children.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    let mut utf8 = [0; 4];
    for c in String::from_utf8_lossy(&element.text).chars() {
        match escape(c) {
            Some(reference) => out.extend_from_slice(reference.as_bytes()),
            None => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    for child in &element.children {
        write_xml(out, child, element.vocabulary);
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(name);
    out.push(b'>');
}

const CHARSET_UTF8: u8 = 0x6a;
const SWITCH_PAGE: u8 = 0x00;
const END: u8 = 0x01;
const STR_I: u8 = 0x03;
const OPAQUE: u8 = 0xc3;
const HAS_CONTENT: u8 = 0x40;

fn write_tokens(out: &mut Vec<u8>, element: &Element, page: &mut u8, version: Version) {
    let (own_page, token) = token(element);
    if own_page != *page {
        out.extend_from_slice(&[SWITCH_PAGE, own_page]);
        *page = own_page;
    }
    if element.text.is_empty() && element.children.is_empty() {
        out.push(token);
        return;
    }
    out.push(token | HAS_CONTENT);
    if element.opaque || element.text.contains(&0) {
        write_opaque(out, &element.text);
    } else if !element.text.is_empty() {
        out.push(STR_I);
        out.extend_from_slice(&element.text);
        out.push(0);
    }
    for child in &element.children {
        if child.vocabulary == Vocabulary::DevInf && element.vocabulary != Vocabulary::DevInf {
            let mut nested = vec![0x02];
            write_mb(&mut nested, version.devinf_public_id());
            nested.extend_from_slice(&[CHARSET_UTF8, 0]);
            write_tokens(&mut nested, child, &mut 0, version);
            write_opaque(out, &nested);
        } else {
            write_tokens(out, child, page, version);
        }
    }
    out.push(END);
}

fn write_opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(OPAQUE);
    write_mb(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Writes an mb_u_int32: groups of seven bits, the most significant first.
fn write_mb(out: &mut Vec<u8>, value: u32) {
    for shift in [28, 21, 14, 7] {
        if value >> shift != 0 {
            out.push(0x80 | (value >> shift & 0x7f) as u8);
        }
    }
    out.push((value & 0x7f) as u8);
}

/// The code page and the token of an element that this module writes.
fn token(element: &Element) -> (u8, u8) {
    let (tables, page) = match element.vocabulary {
        Vocabulary::SyncMl => (syncml::Vocabulary::SyncMl, 0),
        Vocabulary::MetInf => (syncml::Vocabulary::SyncMl, 1),
        Vocabulary::DevInf => (syncml::Vocabulary::DevInf, 0),
    };
    let token = (0x05..=0x3f).find(|token| tables.name(page, *token) == element.name.as_bytes());
    #[expect(
        clippy::expect_used,
        reason = "only elements that the sample makes are written, all of them in the tables"
    )]
    (page, token.expect("an element of SyncML, MetInf or DevInf"))
}

#[cfg(test)]
mod tests {
    use super::super::message::{address, meta_type};
    use super::*;

    /// An answer with one Status, and the same as Debian's xml2wbxml 0.11.8 encodes it.
    fn refusal() -> (Element, Vec<u8>) {
        let leaf = |name, text: &str| Element::leaf(name, text);
        let header = Element::node(
            "SyncHdr",
            [
                leaf("VerDTD", "1.2"),
                leaf("VerProto", "SyncML/1.2"),
                leaf("SessionID", "7"),
                leaf("MsgID", "3"),
                address("Target", "IMEI:1"),
                address("Source", "http://h/s"),
            ],
        );
        let status = Element::node(
            "Status",
            [
                leaf("CmdID", "1"),
                leaf("MsgRef", "3"),
                leaf("CmdRef", "0"),
                leaf("Cmd", "SyncHdr"),
                leaf("TargetRef", "http://h/s"),
                leaf("SourceRef", "IMEI:1"),
                leaf("Data", "503"),
            ],
        );
        let root = Element::node("SyncML", [header, Element::node("SyncBody", [status, leaf("Final", "")])]);
        let wbxml = "02a4016a006d6c7103312e320001720353796e634d4c2f312e32000165033700015b033300016e5703494d45493a31000101\
            675703687474703a2f2f682f73000101016b694b033100015c033300014c033000014a0353796e6348647200016f03687474703a2f2f68\
            2f7300016803494d45493a3100014f03353033000101120101";
        (root, hex::decode(wbxml.replace(' ', "")).unwrap())
    }

    #[test]
    fn wbxml_is_what_libwbxml_writes() {
        let (root, wbxml) = refusal();
        assert_eq!(hex::encode(write(&root, Form::Wbxml, Version::V1_2)), hex::encode(&wbxml));
        assert_eq!(read(Form::Wbxml, &wbxml).unwrap(), root);
    }

    /// libsynthesis drops an item of which some chunks are OPAQUE and others are not.
    #[test]
    fn every_chunk_of_an_item_is_opaque() {
        for text in ["line\r\n", "no line", "n\0l"] {
            let root = Element::node("SyncML", [Element::data(text)]);
            let expected = [&[0x4f, OPAQUE, text.len() as u8], text.as_bytes(), &[END, END]].concat();
            let written = write(&root, Form::Wbxml, Version::V1_2);
            assert!(written.ends_with(&expected), "{written:02x?}");
            assert_eq!(read(Form::Wbxml, &written).unwrap().children[0].text, text.as_bytes());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let card = "BEGIN:VCARD\r\nFN:<&> ]]> \u{e9} \u{10ffff}\n\r\nEND:VCARD";
        let item = Element::node("Item", [address("Source", "a&b"), Element::data(card)]);
        let add = Element::node("Add", [Element::leaf("CmdID", "1"), meta_type("text/vcard"), item]);
        let (root, _) = refusal();
        let root = root.with(Element::node("SyncBody", [add]));
        for form in [Form::Xml, Form::Wbxml] {
            for version in Version::ALL {
                let read = read(form, &write(&root, form, version)).unwrap();
                assert_eq!(read.find(&["SyncHdr"]), root.find(&["SyncHdr"]));
                let add = read.children.last().and_then(|body| body.child("Add")).unwrap();
                assert_eq!(add.find(&["Item", "Data"]).unwrap().text, card.as_bytes());
                assert_eq!(add.text_at(&["Item", "Source", "LocURI"]), Some("a&b"));
                assert_eq!(add.text_at(&["Meta", "Type"]), Some("text/vcard"));
            }
        }
    }

    #[test]
    fn a_prefix_that_fits_fits_and_splits_no_character() {
        let text = "a\r<é&😀z".as_bytes();
        for room in 0..40 {
            let length = prefix_that_fits(text, room, Form::Xml);
            let prefix = std::str::from_utf8(&text[..length]).unwrap();
            let escaped: usize = prefix.chars().map(|c| escape(c).map_or_else(|| c.len_utf8(), str::len)).sum();
            assert!(escaped <= room);
            let next = std::str::from_utf8(&text[length..]).unwrap().chars().next();
            assert!(next.is_none_or(|c| escaped + escape(c).map_or_else(|| c.len_utf8(), str::len) > room));
        }
    }
}
