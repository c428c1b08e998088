//! The readers' events, their spans, and what each strictness takes.

use super::*;
use crate::syncml::element as e;

/// The events of a document, as text: name, span, page.
fn events(form: Form, document: &[u8], strictness: Strictness) -> Result<Vec<String>, InvalidDocument> {
    Reader::new(form, document, &Limits::default(), strictness)?
        .map(|event| {
            let Event { span, page, kind } = event?;
            let kind = match kind {
                Kind::Start(tag) => format!("start {}:{}", tag.prefix.escape_ascii(), tag.name.escape_ascii()),
                Kind::Empty(tag) => format!("empty {}:{}", tag.prefix.escape_ascii(), tag.name.escape_ascii()),
                Kind::Text(Text::Chars(text)) => format!("chars {}", text.escape_ascii()),
                Kind::Text(Text::Cdata(text)) => format!("cdata {}", text.escape_ascii()),
                Kind::Text(Text::Reference(character)) => format!("character {}", character.as_bytes().escape_ascii()),
                Kind::Text(Text::Inline(text)) => format!("inline {}", text.escape_ascii()),
                Kind::Text(Text::Table(text)) => format!("table {}", text.escape_ascii()),
                Kind::Text(Text::Opaque(text)) => format!("opaque {}", text.escape_ascii()),
                Kind::End => "end".to_owned(),
            };
            Ok(format!("{}..{} {page} {kind}", span.start, span.end))
        })
        .collect()
}

fn strict(form: Form, document: &[u8]) -> Result<(), Fault> {
    events(form, document, Strictness::Strict).map(drop).map_err(|e| e.kind)
}

fn tolerant(form: Form, document: &[u8]) -> Result<(), Fault> {
    events(form, document, Strictness::Tolerant).map(drop).map_err(|e| e.kind)
}

#[test]
fn the_tables_name_the_tokens() {
    let name = |page, token| Vocabulary::SyncMl.name(page, token);
    assert_eq!(name(0, 0x2d), b"SyncML");
    assert_eq!(name(0, 0x3c), b"Correlator");
    assert_eq!(name(0, 0x30), b"");
    assert_eq!(name(0, 0x3f), b"");
    assert_eq!(name(1, 0x06), b"EMI");
    assert_eq!(name(2, 0x06), b"");
    assert_eq!(Vocabulary::DevInf.name(0, 0x0a), b"DevInf");
    assert_eq!(Vocabulary::DevInf.name(0, 0x25), b"VerDTD");
    assert_eq!(Vocabulary::DevInf.name(0, 0x34), b"SupportHierarchicalSync");
    assert_eq!((e::MORE_DATA.page, e::MORE_DATA.token), (0, 0x34));
    assert_eq!((e::FIELD_LEVEL.page, e::FIELD_LEVEL.token), (1, 0x16));
}

#[test]
fn xml_events_have_the_spans_of_their_markup() {
    let document =
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><s:A x='>'>a<B />&amp;<![CDATA[<]]>&#x20ac;<?p?>b</s:A >\n";
    let expected = [
        "35..46 0 start s:A",
        "46..47 0 chars a",
        "47..52 0 empty :B",
        "52..57 0 character &",
        "57..70 0 cdata <",
        "70..78 0 character \\xe2\\x82\\xac",
        "83..84 0 chars b",
        "84..91 0 end",
    ];
    for strictness in [Strictness::Tolerant, Strictness::Strict] {
        assert_eq!(events(Form::Xml, document, strictness).unwrap(), expected);
    }
}

#[test]
fn wbxml_events_have_the_spans_of_their_tokens_and_the_page() {
    // The root with Nokia's attribute, an early switch to the page 1, a switch that changes nothing, every kind of text.
    let document = hex("02 0000 6a 03 616200
        ed 04 00 03 78 00 01  0001 46 8301 020a c3026300 0364 00 0001 01  0000 12 01");
    let expected = [
        "8..15 0 start :SyncML",
        "17..18 1 start :EMI",
        "18..20 1 table b",
        "20..22 1 character \\n",
        "22..26 1 opaque c\\x00",
        "26..29 1 inline d",
        "31..32 1 end",
        "34..35 0 empty :Final",
        "35..36 0 end",
    ];
    for strictness in [Strictness::Tolerant, Strictness::Strict] {
        assert_eq!(events(Form::Wbxml, &document, strictness).unwrap(), expected);
    }
}

#[test]
fn a_nested_device_information_names_its_own_tokens() {
    let document = hex("02 a403 6a 00 4a 65 03 312e3200 01 01");
    let header = wbxml::Header::read(&document).unwrap();
    assert_eq!(
        header,
        wbxml::Header { version: 2, public_id: wbxml::PublicId::Number(0x1203), charset: 106, string_table: 5..5 }
    );
    let names: Vec<_> = wbxml::Reader::new(&document, &Limits::default(), Strictness::Strict)
        .unwrap()
        .with_vocabulary(header.vocabulary(&document))
        .filter_map(|event| match event.unwrap().kind {
            Kind::Start(tag) => Some(tag.name),
            _ => None,
        })
        .collect();
    assert_eq!(names, [&b"DevInf"[..], b"VerDTD"]);
}

#[test]
fn a_textual_public_identifier_stands_in_the_string_table() {
    for (text, vocabulary) in
        [("-//SYNCML//DTD SyncML 1.2//EN", Vocabulary::SyncMl), ("-//SYNCML//DTD DevInf 1.2//EN", Vocabulary::DevInf)]
    {
        for terminated in [false, true] {
            let table = if terminated { format!("{text}\0") } else { text.to_owned() };
            let document = hex(&format!("02 00 00 6a {:02x} {} 6d 01", table.len(), digits(table.as_bytes())));
            let header = wbxml::Header::read(&document).unwrap();
            let wbxml::PublicId::Text(span) = header.public_id.clone() else { panic!("{header:?}") };
            assert_eq!(document[span], *text.as_bytes());
            assert_eq!(header.vocabulary(&document), vocabulary);
        }
    }
}

#[test]
fn a_fault_is_the_last_that_is_given() {
    let mut reader = xml::Reader::new(b"<A></B></A>", &Limits::default(), Strictness::Tolerant);
    assert!(matches!(reader.next(), Some(Ok(_))));
    assert_eq!(reader.next(), Some(Err(Fault::EndTag.at(3))));
    assert_eq!(reader.next(), None);
}

/// Faults to both.
#[test]
fn what_can_be_read_in_two_ways_is_a_fault_in_xml() {
    let cases: &[(&[u8], Fault)] = &[
        (b"", Fault::Truncated),
        (b" \n", Fault::Truncated),
        (b"<A>", Fault::Truncated),
        (b"<A", Fault::Truncated),
        (b"<A><B></A>", Fault::EndTag),
        (b"<A></B>", Fault::EndTag),
        (b"<A></a>", Fault::EndTag),
        (b"</A>", Fault::EndTag),
        (b"<s:A></A>", Fault::EndTag),
        (b"x<A/>", Fault::OutsideRoot),
        (b"&amp;<A/>", Fault::OutsideRoot),
        (b"<![CDATA[]]><A/>", Fault::OutsideRoot),
        (b"\xef\xbb\xbf\xef\xbb\xbf<A/>", Fault::OutsideRoot),
        (b"<A>&nbsp;</A>", Fault::Reference),
        (b"<A>a & b</A>", Fault::Reference),
        (b"<A>&#0;</A>", Fault::Reference),
        (b"<A>&#xd800;</A>", Fault::Reference),
        (b"<A>&#x110000;</A>", Fault::Reference),
        (b"<A>&#;</A>", Fault::Reference),
        (b"<A>&lt</A>", Fault::Reference),
        (b"<A><![CDATA[ x </A>", Fault::Truncated),
        (b"<A><!x></A>", Fault::Markup),
        (b"<A><></></A>", Fault::Name),
        (b"<A><s:/></A>", Fault::Name),
        (b"<!DOCTYPE A []><A/>", Fault::InternalSubset),
        (b"<!DOCTYPE A [<!ENTITY x 'y'>]><A>&x;</A>", Fault::InternalSubset),
        (b"<!DOCTYPE A SYSTEM 'x' [<?oma x?>]><A/>", Fault::InternalSubset),
        (b"<!doctype A><A/>", Fault::Markup),
        (b"<!DOCTYPE A><!DOCTYPE A><A/>", Fault::Doctype),
        (b"<A><!DOCTYPE A></A>", Fault::Doctype),
        (b"<A>\xe9</A>", Fault::NotUtf8),
        (b"<A>\xc3</A>", Fault::NotUtf8),
    ];
    for (document, fault) in cases {
        assert_eq!(tolerant(Form::Xml, document), Err(*fault), "{}", document.escape_ascii());
        assert_eq!(strict(Form::Xml, document), Err(*fault), "{}", document.escape_ascii());
    }
}

/// Faults to the strict reader alone.
#[test]
fn what_real_peers_send_is_tolerated_in_xml() {
    let cases: &[(&[u8], Fault)] = &[
        (b"<A/>x", Fault::Trailing),
        (b"<A/>&amp;", Fault::Trailing),
        (b"<A></A>\r\n\0\0", Fault::Character),
        (b"<A></A>\xff\xff", Fault::NotUtf8),
        (b"<A/><B/>", Fault::Trailing),
        (b"<A/></A>", Fault::EndTag),
        (b"<A>]]></A>", Fault::CdataEnd),
        (b"<A>\x01</A>", Fault::Character),
        (b"<A>\0</A>", Fault::Character),
        (b"<A>\xef\xbf\xbe</A>", Fault::Character),
        (b"<A><!-- \x02 --></A>", Fault::Character),
        (b"<A><!-- a -- b --></A>", Fault::Comment),
        (b"<A><!-- a ---></A>", Fault::Comment),
        (b" <?xml version='1.0'?><A/>", Fault::Declaration),
        (b"<A><?xml version='1.0'?></A>", Fault::Declaration),
        (b"<?xml?><A/>", Fault::Declaration),
        (b"<?xml encoding='UTF-8'?><A/>", Fault::Declaration),
        (b"<?xml version='2.0'?><A/>", Fault::Declaration),
        (b"<?xml version='1.'?><A/>", Fault::Declaration),
        (b"<?xml version='1.0a'?><A/>", Fault::Declaration),
        (b"<!DOCTYPE A x><A/>", Fault::Doctype),
        (b"<!DOCTYPE A SYSTEM><A/>", Fault::Doctype),
        (b"<!DOCTYPE A SYSTEM'x'><A/>", Fault::Doctype),
        (b"<!DOCTYPE A SYSTEM 'x' 'y'><A/>", Fault::Doctype),
        (b"<!DOCTYPE A PUBLIC 'x'><A/>", Fault::Doctype),
        (b"<!DOCTYPE A PUBLIC '{' 'x'><A/>", Fault::Doctype),
        (b"<!DOCTYPE 1><A/>", Fault::Name),
        (b"<?xml version='1.0' standalone='maybe'?><A/>", Fault::Declaration),
        (b"<?xml version='1.0' x='y'?><A/>", Fault::Declaration),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><A/>", Fault::Encoding),
        (b"<A><?XML x?></A>", Fault::Declaration),
        (b"<A><? x?></A>", Fault::Name),
        (b"<A a='1' a='2'/>", Fault::AttributeTwice),
        (b"<A a='1'b='2'/>", Fault::Attribute),
        (b"<A a=1/>", Fault::Attribute),
        (b"<A a/>", Fault::Attribute),
        (b"<A a='<'/>", Fault::Attribute),
        (b"<A a='&x;'/>", Fault::Reference),
        (b"<A a='&'/>", Fault::Reference),
        (b"<A 1='2'/>", Fault::Name),
        (b"<1/>", Fault::Name),
    ];
    for (document, fault) in cases {
        assert_eq!(strict(Form::Xml, document), Err(*fault), "{}", document.escape_ascii());
        assert_eq!(tolerant(Form::Xml, document), Ok(()), "{}", document.escape_ascii());
    }
}

#[test]
fn well_formed_xml_passes_the_strict_reader() {
    let cases: &[&[u8]] = &[
        b"<A/>",
        b"\xef\xbb\xbf<A/>",
        b"<?xml version=\"1.0\" encoding='utf-8' standalone = 'no' ?><A/>",
        b"<?xml version='1.1'?>\r\n<!-- - -->\t<A/> <!----><?p q?>\n",
        b"<!DOCTYPE SyncML PUBLIC '-//SYNCML//DTD SyncML 1.2//EN' \"http://[::1]/x.dtd\"><A/>",
        b"<!DOCTYPE A SYSTEM \"'\" ><A/>",
        b"<A a='1' \n b = \"&lt;>&#10;'\" c:d=''>> ]] ] > \xe2\x82\xac</A\n>",
        b"<A><![CDATA[]]>]]<![CDATA[>]]></A>",
        "<ÄÖ é='1'><x.y-z_·/></ÄÖ>".as_bytes(),
    ];
    for document in cases {
        assert_eq!(strict(Form::Xml, document), Ok(()), "{}", document.escape_ascii());
    }
}

#[test]
fn what_is_not_wbxml_is_a_fault() {
    for (document, fault) in [
        ("", Fault::Truncated),
        ("04 01 6a 00 6d 01", Fault::Version(4)),
        ("02 01 6a 05 00 6d 01", Fault::Bounds),
        ("02 01 6a 00", Fault::Truncated),
        ("02 01 6a 00 01", Fault::EndTag),
        ("02 01 6a 00 03 00", Fault::OutsideRoot),
        ("02 01 6a 00 6d", Fault::Truncated),
        ("02 01 6a 00 6d 00", Fault::Truncated),
        ("02 01 6a 00 6d 03 61", Fault::Truncated),
        ("02 01 6a 00 6d c3 05 61 01", Fault::Bounds),
        ("02 01 6a 00 6d c3 8fffffff7f 01", Fault::Bounds),
        ("02 01 6a 00 6d c3 9fffffff7f 01", Fault::Integer),
        ("02 01 6a 00 6d c3 808080808001 61 01", Fault::Integer),
        ("02 01 6a 02 6100 6d 83 02 01", Fault::Bounds),
        ("02 01 6a 00 6d 83 00 01", Fault::Bounds),
        ("02 01 6a 00 6d 02 83b000 01", Fault::Character),
        ("02 01 6a 00 6d 02 00 01", Fault::Character),
        ("02 01 6a 00 6d 04 00 01", Fault::Token(0x04)),
        ("02 01 6a 00 6d 40 7800 01", Fault::Token(0x40)),
        ("02 01 6a 00 6d 43 05 01 01", Fault::Token(0x43)),
        ("02 01 6a 00 6d 80 00 01", Fault::Token(0x80)),
        ("02 01 6a 00 6d c0 01", Fault::Token(0xc0)),
        ("02 01 6a 00 44 00 01", Fault::Token(0x44)),
        ("02 01 6a 00 6d d3 05 01 01 01", Fault::Attributes),
        ("02 01 6a 00 ed 05 c0 01 01", Fault::Token(0xc0)),
        ("02 01 6a 00 ed 05 03 61", Fault::Truncated),
    ] {
        let document = hex(document);
        assert_eq!(tolerant(Form::Wbxml, &document), Err(fault), "{document:02x?}");
        assert_eq!(strict(Form::Wbxml, &document), Err(fault), "{document:02x?}");
    }
}

#[test]
fn what_real_peers_send_is_tolerated_in_wbxml() {
    for (document, fault) in [
        ("02 01 6a 00 6d 01 00", Fault::Trailing),
        ("02 01 6a 00 6d 01 0000", Fault::Trailing),
        ("02 01 6a 00 2d 6d 01", Fault::Trailing),
        ("02 01 04 00 6d 01", Fault::Charset(4)),
        ("02 01 00 00 6d 01", Fault::Charset(0)),
    ] {
        let document = hex(document);
        assert_eq!(strict(Form::Wbxml, &document), Err(fault), "{document:02x?}");
        assert_eq!(tolerant(Form::Wbxml, &document), Ok(()), "{document:02x?}");
    }
    // UTF-16, where a NUL ends no string.
    assert_eq!(tolerant(Form::Wbxml, &hex("02 01 8777 00 6d 01")), Err(Fault::Charset(1015)));
}

#[test]
fn limits_hold() {
    let limits = Limits { depth: 3, elements: 5, attributes: 2, expansion: 10 };
    let read = |form, document: &[u8], strictness| {
        Reader::new(form, document, &limits, strictness).unwrap().find_map(Result::err).map(|e| e.kind)
    };
    for strictness in [Strictness::Tolerant, Strictness::Strict] {
        let xml = |document: &str| read(Form::Xml, document.as_bytes(), strictness);
        assert_eq!(xml("<a><a><a/></a></a>"), None);
        assert_eq!(xml("<a><a><a></a></a></a>"), None);
        assert_eq!(xml("<a><a><a><a/></a></a></a>"), Some(Fault::TooDeep));
        assert_eq!(xml("<a><a/><a/><a/><a/></a>"), None);
        assert_eq!(xml("<a><a/><a/><a/><a/><a/></a>"), Some(Fault::TooManyElements));

        let wbxml = |body: &str| read(Form::Wbxml, &hex(&format!("02 01 6a 06 616263646500 {body}")), strictness);
        assert_eq!(wbxml("45 45 05 01 01"), None);
        assert_eq!(wbxml("45 45 45 01 01 01"), None);
        assert_eq!(wbxml("45 45 45 05 01 01 01"), Some(Fault::TooDeep));
        assert_eq!(wbxml("45 05 05 05 05 01"), None);
        assert_eq!(wbxml("45 05 05 05 05 05 01"), Some(Fault::TooManyElements));
        assert_eq!(wbxml("c5 05 85 06 01 01"), None);
        assert_eq!(wbxml("c5 05 06 07 01 01"), Some(Fault::TooManyAttributes));
        assert_eq!(wbxml("45 8300 8300 8305 01"), None);
        assert_eq!(wbxml("45 8300 8300 8304 01"), Some(Fault::TooMuchText));
    }
    let attributes = |document: &str| read(Form::Xml, document.as_bytes(), Strictness::Strict);
    assert_eq!(attributes("<a b='' c=''/>"), None);
    assert_eq!(attributes("<a b='' c='' d=''/>"), Some(Fault::TooManyAttributes));
}

#[test]
fn depth_and_length_cost_no_stack() {
    let limits = Limits { depth: usize::MAX, elements: usize::MAX, ..Limits::default() };
    let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
    assert_eq!(xml::Reader::new(deep.as_bytes(), &limits, Strictness::Strict).filter(|e| e.is_ok()).count(), 200_000);
    let mut deep = hex("02 01 6a 00");
    deep.resize(deep.len() + 100_000, 0x45);
    deep.resize(deep.len() + 100_000, 0x01);
    assert_eq!(wbxml::Reader::new(&deep, &limits, Strictness::Strict).unwrap().filter(|e| e.is_ok()).count(), 200_000);
}

/// The strict reader refuses the documents of the vectors that a sealer must refuse for their form alone, and takes all
/// that a sealer takes.
#[test]
fn the_strict_reader_agrees_with_the_vectors() {
    let vectors = |name: &str| -> serde_json::Value {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let read = |case: &serde_json::Value| {
        let document = ::hex::decode(case["document"].as_str().unwrap()).unwrap();
        let media_type = MediaType::parse(case["content_type"].as_str().unwrap().as_bytes()).unwrap();
        strict(media_type.form, &document)
    };
    let mut taken = 0;
    for case in vectors("data-layer.json")["cases"].as_array().unwrap() {
        assert_eq!(read(case), Ok(()), "{}", case["name"]);
        taken += 1;
    }
    assert!(taken > 70, "{taken}");

    // These a reader takes: what is wrong with them is not their form.
    let beyond = [
        "document: xml-emi-already",
        "document: xml-emi-cdata",
        "document: xml-emi-reference",
        "document: xml-emi-refusal",
        "document: xml-not-syncml",
        "document: xml-no-hdr",
        "document: xml-two-hdrs",
        "document: xml-hdr-second",
        "document: wbxml-str-t-in-span",
        "document: wbxml-page-left",
        "document: wbxml-emi-already",
        "document: wbxml-emi-pieces",
        "document: wbxml-no-hdr",
        "document: wbxml-two-hdrs",
        "document: wbxml-not-syncml",
        "document: wbxml-root-page-1",
        "document: type-charset-latin1",
        "document: type-charset-ascii-xml",
        "document: type-charset-utf16",
    ];
    let mut refused = 0;
    for case in vectors("invalid.json")["cases"].as_array().unwrap() {
        if case["kind"] != "document" || case["expect"] == "ok" {
            continue;
        }
        let name = case["name"].as_str().unwrap();
        let is_beyond = beyond.contains(&name);
        assert_eq!(read(case).is_ok(), is_beyond, "{name}: {:?}", read(case));
        refused += usize::from(!is_beyond);
    }
    assert!(refused > 40, "{refused}");
}
