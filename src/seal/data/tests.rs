//! What is told of a document without reading it is what reading it says.

use std::cell::Cell;
use std::ops::Range;

use proptest::prelude::*;

use super::aad;
use super::layout::Layout;
use crate::seal::base64;
use crate::seal::tests::data::{wbxml_document, xml_document};
use crate::syncml::{Form, is_text};

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

/// What content can be, text and not.
fn contents(form: Form) -> impl Strategy<Value = Vec<&'static [u8]>> {
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
    prop::collection::vec(prop_oneof![12 => plain, 1 => prop::sample::select(odd)], 1..6)
}

/// Reads a document, puts other contents into its spans and breaks it at one place or none; then what is told of it must be
/// what is read in it.
fn told_is_read(
    form: Form,
    document: &[u8],
    [first, second]: [&[&[u8]]; 2],
    broken: Option<(prop::sample::Index, u8)>,
    told: &Cell<u32>,
) {
    let Ok(layout) = Layout::read(form, document) else { return };
    let (document, slots) = with_contents(document, &layout.spans, first);
    let Ok(layout) = Layout::read(form, &document) else { return };
    if layout.spans != slots {
        return;
    }
    let (mut other, slots) = with_contents(&document, &layout.spans, second);
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
    assert_eq!(
        layout.read_alike(form, aad::skeleton(&document, &layout.spans), &other, &slots, is_text),
        read,
        "{}",
        other.escape_ascii()
    );
    told.set(told.get() + u32::from(was_asked.get() && read.is_ok()));
    if read.is_ok() {
        let skeleton = || aad::skeleton(&document, &layout.spans);
        for wrong in [&slots[1.min(slots.len())..], &[&slots[..], &[0..1]].concat()] {
            assert_eq!(layout.read_alike(form, skeleton(), &other, wrong, |_| true), read);
        }
    }
}

#[test]
fn what_is_told_of_xml_is_what_is_read() {
    let told = Cell::new(0);
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    proptest!(ProptestConfig::with_cases(1000), |(
        document in xml_document(), first in contents(Form::Xml), second in contents(Form::Xml), broken in broken,
    )| {
        told_is_read(Form::Xml, document.as_bytes(), [&first, &second], broken, &told);
    });
    assert!(told.get() > 100, "{}", told.get());
}

#[test]
fn what_is_told_of_wbxml_is_what_is_read() {
    let told = Cell::new(0);
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    proptest!(ProptestConfig::with_cases(1000), |(
        document in wbxml_document(), first in contents(Form::Wbxml), second in contents(Form::Wbxml), broken in broken,
    )| {
        told_is_read(Form::Wbxml, &document, [&first, &second], broken, &told);
    });
    assert!(told.get() > 100, "{}", told.get());
}

proptest! {
    /// What is base64 is text; and content is text exactly if an element that holds it reads as one with text alone.
    #[test]
    fn text_is_text_inside_an_element(bytes in prop::collection::vec(any::<u8>(), 0..40), second in contents(Form::Xml)) {
        prop_assert!(is_text(Form::Xml, base64::encode_base64(&bytes).as_bytes()));
        for content in [&bytes[..], &second.concat()] {
            let document = [b"<SyncML><SyncHdr></SyncHdr><Data>", content, b"</Data></SyncML>"].concat();
            let start = b"<SyncML><SyncHdr></SyncHdr><Data>".len();
            let read = Layout::read(Form::Xml, &document);
            // The reader of content takes U+FEFF for a byte order mark, and is_text is on the safe side.
            if is_text(Form::Xml, content) {
                let spans = if content.is_empty() { vec![] } else { vec![start..start + content.len()] };
                prop_assert_eq!(read.unwrap().spans, spans);
            }
        }
    }
}
