//! What is told of a document without reading it is what reading it says.

use std::cell::Cell;
use std::ops::Range;

use proptest::prelude::*;

use super::layout::Layout;
use super::walk::{FEW, Walk};
use super::{Flaw, aad};
use crate::seal::base64;
use crate::seal::tests::data::{wbxml_document, xml_document};
use crate::syncml::{Fault, Form, Limits, Reader, Strictness, is_text};

/// `document` with other contents in its spans, and where they stand then.
fn with_contents(document: &[u8], spans: &[Range<usize>], contents: &[&[u8]]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut out = Vec::new();
    let mut slots = Vec::new();
    let mut contents = contents.iter().cycle();
    for part in aad::skeleton(document, spans) {
        out.extend_from_slice(part);
        if slots.len() < spans.len() {
            let start = out.len();
            out.extend_from_slice(contents.next().unwrap());
            slots.push(start..out.len());
        }
    }
    (out, slots)
}

type Contents = Vec<&'static [u8]>;

/// What content can be, text and not.
fn contents(form: Form) -> impl Strategy<Value = Contents> {
    let plain: Vec<&'static [u8]>;
    let odd: Vec<&'static [u8]>;
    match form {
        Form::Xml => {
            plain = vec![
                b"QUJD",
                b"QQ==",
                b"x",
                b"some text that is longer than that\r\n",
                b"]]",
                b"&amp;",
                b"<![CDATA[<]]>",
            ];
            odd = vec![
                b"",
                b"]]>",
                b"&",
                b"&x;",
                b"<",
                b"</Data>",
                b"</Data><Data>",
                b"<Data>x</Data>",
                b"<a/>",
                b"x<a b='c'><p:d>y</p:d></a><![CDATA[z]]>",
                b"<Anchor xmlns='syncml:metinf'><Next>2</Next></Anchor>",
                b"<a></b>",
                b"<a>",
                b"<:a/>",
                b"<p:a:b/>",
                b"<!-- -->",
                b"x<!-- -->",
                b"<?x?>",
                b"\0",
                b"\xff",
                b"\xc3",
                b"\xef\xbb\xbf",
                b"\xef\xbf\xbf",
                b"<![CDATA[",
                b"]]><![CDATA[",
                b"<Meta><EMI>syncseal</EMI></Meta>",
            ];
        }
        Form::Wbxml => {
            plain = vec![b"\xc3\x01\x01", b"\xc3\x00", b"\x03abc\0", b"\x03\0\x03x\0", b"\x02\x20", b"\x03\x01\x01\0"];
            odd = vec![
                b"",
                b"\x01",
                b"\x12",
                b"\x4f\x03x\0\x01",
                b"\x05\x54\x4f\x03x\0\x01\x01",
                b"\x00\x01\x45\x03x\0\x01",
                b"\x00\x01\x45\x03x\0\x01\x00\x00",
                b"\x45",
                b"\x00\x00",
                b"\x00\x01",
                b"\x03x\0\x00\x01",
                b"\x00\x01\x03x\0",
                b"\x83\x00",
                b"\x02\x00",
                b"\x03abc",
                b"\xc3\x05x",
                b"\xc3\x80\x01x",
                b"\x04",
            ];
        }
    }
    let plain = prop::sample::select(plain);
    prop::collection::vec(prop_oneof![8 => plain, 1 => prop::sample::select(odd)], 1..6)
}

/// Reads a document, as it is or with other contents in its spans, puts further contents there and breaks it at one place or
/// none; then what is told of it must be what is read in it.
fn told_is_read(
    form: Form,
    mut document: Vec<u8>,
    (first, second): (Option<Contents>, Contents),
    broken: Option<(prop::sample::Index, u8)>,
    told: &Cell<u32>,
) {
    if let (Ok(layout), Some(first)) = (Layout::read(form, &document), first) {
        document = with_contents(&document, &layout.spans, &first).0;
    }
    let Ok(layout) = Layout::read(form, &document) else { return };
    let (mut other, slots) = with_contents(&document, &layout.spans, &second);
    if let Some((at, byte)) = broken {
        let at = at.index(other.len());
        other[at] = byte;
    }
    let read = Layout::read(form, &other);
    let was_asked = Cell::new(false);
    let is_text = |content: &[u8]| {
        was_asked.set(true);
        is_text(form, content)
    };
    let skeleton = || aad::skeleton(&document, &layout.spans);
    assert_eq!(
        layout.read_alike(form, skeleton(), &other, &slots, is_text),
        read,
        "{}, not {}",
        other.escape_ascii(),
        document.escape_ascii(),
    );
    told.set(told.get() + u32::from(was_asked.get() && read.is_ok()));
    // With other slots than those, nothing can be told.
    let mut slots = slots;
    if slots.pop().is_some() {
        assert_eq!(layout.read_alike(form, skeleton(), &other, &slots, |_| true), read);
    }
}

#[test]
fn what_is_told_of_xml_is_what_is_read() {
    let told = Cell::new(0);
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    proptest!(ProptestConfig::with_cases(1000), |(
        document in xml_document(), first in prop::option::of(contents(Form::Xml)), second in contents(Form::Xml), broken in broken,
    )| {
        told_is_read(Form::Xml, document.into_bytes(), (first, second), broken, &told);
    });
    assert!(told.get() > 100, "{}", told.get());
}

#[test]
fn what_is_told_of_wbxml_is_what_is_read() {
    let told = Cell::new(0);
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    proptest!(ProptestConfig::with_cases(1000), |(
        document in wbxml_document(), first in prop::option::of(contents(Form::Wbxml)), second in contents(Form::Wbxml), broken in broken,
    )| {
        told_is_read(Form::Wbxml, document, (first, second), broken, &told);
    });
    assert!(told.get() > 100, "{}", told.get());
}

proptest! {
    /// What is base64 is text. What is text by itself is all the text of an element that holds it.
    #[test]
    fn text_is_text_inside_an_element(bytes in prop::collection::vec(any::<u8>(), 0..40), parts in contents(Form::Xml)) {
        let base64 = base64::encode_base64(&bytes);
        prop_assert!(base64::is_base64(base64.as_bytes()) && is_text(Form::Xml, base64.as_bytes()));
        for content in [&bytes[..], &parts.concat()] {
            let start = b"<SyncML><SyncHdr></SyncHdr><Data>";
            let document = [start, content, b"</Data></SyncML>"].concat();
            if is_text(Form::Xml, content) && !content.is_empty() {
                let layout = Layout::read(Form::Xml, &document).unwrap();
                prop_assert_eq!(layout.spans.first(), Some(&(start.len()..start.len() + content.len())));
                prop_assert_eq!(layout.spans.len(), 1);
            }
        }
    }
}

/// What reading `document` with `contents` in its spans says, which must be what is told of it by the reading of `document`.
fn told_or_read(form: Form, document: &[u8], contents: &[&[u8]]) -> Result<(), Flaw> {
    let layout = Layout::read(form, document).unwrap();
    let (other, slots) = with_contents(document, &layout.spans, contents);
    let read = Layout::read(form, &other);
    let skeleton = aad::skeleton(document, &layout.spans);
    assert_eq!(layout.read_alike(form, skeleton, &other, &slots, |content| is_text(form, content)), read);
    read.map(drop).map_err(|unfit| unfit.flaw)
}

/// What stands in a span by itself is held to the limits of its document.
#[test]
fn markup_in_a_span_counts_where_it_stands() {
    let nested = |depth: usize| [b"<a>".repeat(depth), b"</a>".repeat(depth)].concat();
    let siblings = |n: usize| b"<a/>".repeat(n);
    let document =
        b"<SyncML><SyncHdr></SyncHdr><SyncBody><Sync><Data>x</Data><Data>y</Data></Sync></SyncBody></SyncML>";
    let told = |first: &[u8], second: &[u8]| told_or_read(Form::Xml, document, &[first, second]);
    let limits = Limits::default();
    // The root, SyncBody, Sync and Data are around it.
    assert_eq!(told(&nested(limits.depth - 4), b"y"), Ok(()));
    assert_eq!(told(b"x", &nested(limits.depth - 3)), Err(Fault::TooDeep.into()));
    // With them SyncHdr and the other Data.
    let (half, rest) = (limits.elements / 2, limits.elements - limits.elements / 2);
    assert_eq!(told(&siblings(half), &siblings(rest - 6)), Ok(()));
    assert_eq!(told(&siblings(half), &siblings(rest - 5)), Err(Fault::TooManyElements.into()));
}

/// A Meta of SyncHdr is looked into, whatever of it is a span.
#[test]
fn a_seal_in_a_span_of_sync_hdr_is_seen() {
    let document = b"<SyncML><SyncHdr><Meta><Data>x</Data></Meta></SyncHdr><Data>y</Data></SyncML>";
    let told = |first: &[u8], second: &[u8]| told_or_read(Form::Xml, document, &[first, second]);
    assert_eq!(told(b"<EMI>seal</EMI>", b"<EMI>syncseal</EMI>"), Ok(()));
    assert_eq!(told(b"<EMI>syncseal</EMI>", b"y"), Err(Flaw::Sealed));
}

/// The code page that a span leaves behind is held to what follows.
#[test]
fn a_page_that_a_span_leaves_is_seen() {
    const START: &[u8] = b"\x02\x00\x00\x6a\x00\x6d\x6c\x5b\x03\x31\x00\x01\x01\x6b";
    // In Data, Anchor with Next, on code page 1.
    const ANCHOR: &[u8] = b"\x00\x01\x45\x4f\x03x\x00\x01\x01";
    let told = |behind: &[u8], content: &[u8]| {
        let document = [START, b"\x54\x4f\x03y\x00\x01", behind, b"\x01\x01"].concat();
        told_or_read(Form::Wbxml, &document, &[content])
    };
    assert_eq!(told(b"\x01\x00\x00\x12", ANCHOR), Ok(()));
    assert_eq!(told(b"\x00\x00\x05\x01", ANCHOR), Ok(()));
    assert_eq!(told(b"\x01\x12", ANCHOR), Err(Flaw::Page));
    assert_eq!(told(b"\x05\x01", ANCHOR), Err(Flaw::Page));
    assert_eq!(told(b"\x01\x12", &[ANCHOR, b"\x00\x00"].concat()), Ok(()));
    assert_eq!(told(b"\x03y\x00\x01\x00\x00\x12", ANCHOR), Ok(()));
}

/// Items that are alike and items that are not, of which some are broken.
fn repeating_xml() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "",
        "7",
        "12",
        "a>b",
        "&lt;",
        "x]]y",
        "<![CDATA[<]]>",
        "ä",
        "client-1795360152779554084",
        "\u{1}",
    ]);
    let shape = prop::sample::select(vec![
        "<Add><CmdID>1</CmdID><Item><Source><LocURI>2</LocURI></Source><Data>3</Data></Item></Add>",
        "<Add><CmdID>1</CmdID><Item><Source><LocURI>2</LocURI></Source><Data>3</Data></Item></Add>\n",
        "<Replace><CmdID>1</CmdID><Item><Source><LocURI>2</LocURI></Source><Data>3</Data></Item></Replace>",
        "<Add><CmdID>1</CmdID><Item><Data>3</Data></Item></Add>",
        "<Add><!-- 1 --><Meta><Type xmlns='syncml:metinf'>2</Type></Meta><MoreData/><Item><Data><a>3</a></Data></Item></Add>",
        "<Add><Item><Target><LocURI>1</LocURI><LocName>2</LocName></Target><Data>3</Data></Item></Add>",
        "<Status><CmdID>1</CmdID><Data>2</Data><Item><Data>3</Data></Item></Status>",
    ]);
    // The shape of what is repeated, other texts each time, and what is put or left out somewhere.
    let items = prop::collection::vec((shape, prop::collection::vec([text.clone(), text.clone(), text], 1..12)), 1..6);
    let broken = prop::option::weighted(
        0.3,
        (any::<prop::sample::Index>(), prop::sample::select(vec!["", "<", "x", "</Item>", "<Data>", "/"])),
    );
    (items, broken).prop_map(|(items, broken)| {
        let mut document = String::from("<SyncML><SyncHdr><MsgID>1</MsgID></SyncHdr><SyncBody><Sync>");
        document += &"<LocName>x</LocName>".repeat(FEW - 1);
        for (shape, texts) in items {
            for [first, second, third] in texts {
                let mut item = shape.to_owned();
                for (digit, text) in [(">1<", first), (">2<", second), (">3<", third)] {
                    item = item.replacen(digit, &format!(">{text}<"), 1);
                }
                document += &item;
            }
        }
        document += "</Sync></SyncBody></SyncML>";
        if let Some((at, put)) = broken {
            let at = at.index(document.len());
            if document.is_char_boundary(at) && document.is_char_boundary(at + 1) {
                document.replace_range(at..at + 1, put);
            }
        }
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// What repeats itself is read as what does not.
    #[test]
    fn items_that_are_alike_are_read_alike(document in repeating_xml(), elements in prop_oneof![Just(1_000_000), 15..100usize]) {
        let limits = Limits { elements, ..Limits::default() };
        let document = document.as_bytes();
        let reader = || Reader::new(Form::Xml, document, &limits, Strictness::Strict).unwrap();
        let Reader::Xml(events) = reader() else { panic!("a reader of XML") };
        let mut repeated = Walk::new(Form::Xml, document);
        let result = repeated.take_all(events);
        // A reader of either form repeats nothing.
        let mut plain = Walk::new(Form::Xml, document);
        prop_assert_eq!(&result, &plain.take_all(reader()), "{}", document.escape_ascii());
        if result.is_ok() {
            prop_assert_eq!(&repeated.spans, &plain.spans, "{}", document.escape_ascii());
            prop_assert_eq!((repeated.elements, repeated.max_depth), (plain.elements, plain.max_depth));
        }
    }
}

/// What was read once says nothing yet: other elements may be open the next time.
#[test]
fn items_that_end_as_others_did_are_not_taken_for_them() {
    let read = |items: &[&str]| {
        let items = ["<LocName>x</LocName>".repeat(FEW), items.concat()].concat();
        let document = format!("<SyncML><SyncHdr></SyncHdr><SyncBody><Sync>{items}</Sync></SyncBody></SyncML>");
        Layout::read(Form::Xml, document.as_bytes()).map(|layout| layout.spans.len() - FEW).map_err(|unfit| unfit.flaw)
    };
    let [add, replace] = ["Add", "Replace"].map(|name| format!("<{name}><Item><Data>x</Data></Item>"));
    let fault = Err(Fault::EndTag.into());
    assert_eq!(read(&[&add, "</Add>", &replace, "</Replace>", &replace, "</Replace>"]), Ok(3));
    // In a Replace, what followed upon an Add.
    assert_eq!(read(&[&add, "</Add>", &replace, "</Add>", &replace, "</Replace>"]), fault);
    for n in 0..6 {
        let rest = [&replace, "</Replace>"].repeat(n);
        assert_eq!(
            read(&[&[&add, "</Add>"], &rest[..], &[&replace, "</Add>", &replace, "</Replace>"]].concat()),
            fault
        );
        assert_eq!(read(&[&rest[..], &[&replace, "</Add>"]].concat()), fault);
        assert_eq!(read(&[&rest[..], &[&add, "</Replace>"]].concat()), fault);
        assert_eq!(read(&[&rest[..], &[&add, "</Add>"]].concat()), Ok(n + 1));
    }
}
