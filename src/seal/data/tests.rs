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
