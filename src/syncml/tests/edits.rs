//! Splices, refusals and documents of our own.

use proptest::prelude::*;

use super::*;
use crate::syncml::element as e;

/// `document` with another RespURI, and what that is spliced from: the bytes before and after the old content.
#[track_caller]
fn assert_spliced(form: Form, before: &[u8], old: &[u8], after: &[u8], uri: &str, new: &[u8]) {
    let original = [before, old, after].concat();
    let document = Document::scan(form, &original, &Limits::default()).unwrap();
    let edited = document.with_resp_uri(uri).unwrap();
    assert_eq!(edited.escape_ascii().to_string(), [before, new, after].concat().escape_ascii().to_string());
    let edited = Document::scan(form, &edited, &Limits::default()).unwrap();
    assert_eq!(header(&edited), Header { resp_uri: Some(uri.to_owned()), ..header(&document) });
    assert_eq!(edited.body, document.body);
}

#[test]
fn a_resp_uri_is_replaced_however_it_is_written_in_xml() {
    let before = format!("\u{feff}{}<s:RespURI a='>' >", xml(XML_HDR, "").split_once("</SyncHdr>").unwrap().0);
    let after = "</s:RespURI ><Cred/></SyncHdr><SyncBody><Final/></SyncBody></SyncML>\r\n\0";
    for old in
        ["http://10.0.0.1/", "<![CDATA[http://x?a=1&b=2]]>", "a&amp;b", "", " <!-- x --> a<![CDATA[b]]>&#99;<?d?> "]
    {
        for (uri, new) in [
            ("https://g/s;j=1?a=1&b=2", "https://g/s;j=1?a=1&amp;b=2"),
            ("<]]>\"'", "&lt;]]&gt;&quot;'"),
            ("", ""),
            ("é", "é"),
        ] {
            assert_spliced(Form::Xml, before.as_bytes(), old.as_bytes(), after.as_bytes(), uri, new.as_bytes());
        }
    }
}

#[test]
fn a_resp_uri_is_replaced_however_it_is_written_in_wbxml() {
    let before = hex("02 a401 6a 06 612f62003a00 6d 6c 65033700 01 61");
    let after = hex("01 4e 01 01 0000 6b 12 01 01 ff");
    for old in ["03 687474703a2f2f612f00", "c3 02 0061", "83 00", "83 04 0261 c300", "", "0000 0361 00 0000"] {
        for uri in ["https://g/s?a=1&b=2", "", "é"] {
            assert_spliced(Form::Wbxml, &before, &hex(old), &after, uri, &hex(&str_i(uri)));
        }
    }
    // The page that the old content left behind stays current for what follows.
    let after = hex("01 0000 01 0000 6b 12 01 01");
    assert_spliced(Form::Wbxml, &before, &hex("0361 00 0001"), &after, "u", &hex("037500 0001"));
}

#[test]
fn what_cannot_be_replaced_is_left() {
    let document = xml(XML_HDR, "");
    assert_eq!(scan_xml(document.as_bytes()).unwrap().with_resp_uri("u"), None);
    let document = document.replace("</SyncHdr>", "<RespURI/></SyncHdr>");
    assert_eq!(scan_xml(document.as_bytes()).unwrap().with_resp_uri("u"), None);
    let document = document.replace("<RespURI/>", "<RespURI>a</RespURI>");
    assert!(scan_xml(document.as_bytes()).unwrap().with_resp_uri("u").is_some());
    for uri in ["a\0b", "a\nb", "\u{7f}"] {
        assert_eq!(scan_xml(document.as_bytes()).unwrap().with_resp_uri(uri), None);
        assert_eq!(scan_wbxml(&hex("02 01 6a 00 6d 6c 61 0361 00 01 01 01")).unwrap().with_resp_uri(uri), None);
    }
}

/// Path and text of each leaf of a document, as the vectors list them: without EMI and sentence.
fn leaves(form: Form, document: &[u8]) -> Vec<(String, String)> {
    let mut path: Vec<String> = Vec::new();
    let mut leaves = Vec::new();
    let mut text = Some(Vec::new());
    for event in Reader::new(form, document, &Limits::default(), Strictness::Strict).unwrap() {
        let mut leaf = |path: &[String], text: Vec<u8>| {
            let path = path.join("/");
            if !path.contains("/Item/") {
                leaves.push((path, String::from_utf8(text).unwrap()));
            }
        };
        match event.unwrap().kind {
            Kind::Start(tag) => {
                path.push(String::from_utf8(tag.name.to_vec()).unwrap());
                text = Some(Vec::new());
            }
            Kind::Empty(tag) => {
                path.push(String::from_utf8(tag.name.to_vec()).unwrap());
                leaf(&path, Vec::new());
                path.pop();
                text = None;
            }
            Kind::Text(run) => text.iter_mut().for_each(|text| text.extend_from_slice(run.bytes())),
            Kind::End => {
                if let Some(text) = text.take() {
                    leaf(&path, text);
                }
                path.pop();
            }
        }
    }
    leaves
}

/// Every refusal of the vectors that is a SyncML document and was not sealed, written by us as the answer to its request.
#[test]
fn refusals_are_those_of_the_vectors() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/refusals.json");
    let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let bytes = |value: &serde_json::Value| ::hex::decode(value.as_str().unwrap()).unwrap();
    let mut compared = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let expect = &case["expect"];
        let request = match case["kind"].as_str().unwrap() {
            "write" => &case["request"],
            _ => case["requests"].as_array().unwrap().last().unwrap(),
        };
        let content_type = request["content_type"].as_str().unwrap_or_default();
        let (Some(MediaType { form, .. }), Some(answer), Some(false)) =
            (MediaType::parse(content_type.as_bytes()), expect["document"].as_str(), expect["sealed"].as_bool())
        else {
            continue;
        };
        let name = &case["name"];
        let answer = ::hex::decode(answer).unwrap();
        let request = bytes(&request["body"]);
        let request = Document::scan(form, &request, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let map = bytes(&expect["refusal_map_cbor"]);
        let status = u16::try_from(expect["syncml_status"].as_u64().unwrap()).unwrap();
        let sentence = format!("{}: so it is", expect["reason"].as_str().unwrap());
        let refusal = request.refusal(status, &map, &sentence);

        let expected: Vec<(String, String)> = serde_json::from_value(expect["leaves"].clone()).unwrap();
        assert_eq!(leaves(form, &refusal), expected, "{name}");
        assert_eq!(leaves(form, &answer), expected, "{name}");
        for document in [&refusal, &answer] {
            let document = Document::scan(form, document, &Limits::default()).unwrap();
            assert_eq!(document.refusal_map().as_deref(), Some(&map[..]), "{name}");
            assert_eq!(document.body.hdr_status, Some(status), "{name}");
            assert_eq!(document.header.seal_marks, 0, "{name}");
            assert!(document.body.is_final && document.body.holds_only_status(), "{name}");
        }
        assert!(memchr::memmem::find(&refusal, sentence.as_bytes()).is_some(), "{name}");
        // Up to the first text the bytes are those of the vector: declaration, root with namespace; or WBXML's header.
        let head = memchr::memmem::find(&answer, b"1.").unwrap();
        assert_eq!(refusal[..head], answer[..head], "{name}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn a_refusal_escapes_what_it_takes_from_the_request() {
    let header =
        XML_HDR.replace("IMEI:1", "<![CDATA[a<&>\"'b]]>&#13;\u{1}é").replace("<SessionID>7", "<SessionID>&lt;7");
    let request = xml(&header, "");
    let request = scan_xml(request.as_bytes()).unwrap();
    let refusal = request.refusal(403, b"\xa0", "a <b> & c");
    let refusal = scan_xml(&refusal).unwrap();
    assert_eq!(header_of(&refusal), ("a<&>\"'b\r\u{fffd}é".to_owned(), "<7".to_owned()));
    assert_eq!(refusal.refusal_map().as_deref(), Some(&b"\xa0"[..]));

    // A string table and OPAQUE in the request: texts in the answer, the NUL in an OPAQUE, the header kept.
    let request = hex("02 00 00 6a 04 61626300 6d 6c 65 c3023700 01 67 57 8300 0264 01 01 01 01");
    let refusal = scan_wbxml(&request).unwrap().refusal(503, b"", "x");
    assert_eq!(refusal[..9], request[..9]);
    let document = scan_wbxml(&refusal).unwrap();
    assert_eq!(header_of(&document), ("abcd".to_owned(), "7\0".to_owned()));
    assert_eq!(document.refusal_map().as_deref(), Some(&b""[..]));
    let tokens: Vec<_> = Reader::new(Form::Wbxml, &refusal, &Limits::default(), Strictness::Strict)
        .unwrap()
        .filter_map(|event| match event.unwrap().kind {
            Kind::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(tokens.contains(&Text::Opaque(b"7\0")) && tokens.contains(&Text::Inline(b"abcd")), "{tokens:?}");
    assert!(!tokens.iter().any(|token| matches!(token, Text::Table(_) | Text::Reference(_))), "{tokens:?}");
}

/// Target and SessionID.
fn header_of(document: &Document<'_>) -> (String, String) {
    let header = header(document);
    (header.target.unwrap(), header.session_id.unwrap())
}

#[test]
fn a_refusal_answers_a_header_with_nothing_in_it() {
    let request = scan_xml(b"<SyncML><SyncHdr/></SyncML>").unwrap();
    let refusal = request.refusal(412, b"\xa0", "malformed: x");
    let refusal = scan_xml(&refusal).unwrap();
    assert_eq!(header(&refusal), Header::default());
    assert_eq!(refusal.body.hdr_status, Some(412));
}

#[test]
fn a_refusal_map_is_found_in_its_place_alone() {
    let status = |item: &str| format!("<Status><Cmd>SyncHdr</Cmd>{item}</Status>");
    let emi = |text: &str| format!("<Item><Meta><EMI xmlns='syncml:metinf'>{text}</EMI></Meta></Item>");
    let map = |body: &str| {
        let document = xml(XML_HDR, body);
        scan_xml(document.as_bytes()).unwrap().refusal_map().map(|map| map.into_owned())
    };
    assert_eq!(map(&status(&emi("syncseal?:oA=="))), Some(vec![0xa0]));
    assert_eq!(map(&status(&emi("sync<![CDATA[seal?]]>&#58;oA=="))), Some(vec![0xa0]));
    assert_eq!(map(&(status("") + &status(&(emi("x") + &emi("syncseal?:oA=="))))), Some(vec![0xa0]));
    assert_eq!(map(&status(&emi("syncseal?:"))), Some(vec![]));
    for text in ["syncseal?:oA", "syncseal?:oB==", "syncseal?: oA==", "syncseal?:oA==\n", "syncseal:oA==", "x", ""] {
        assert_eq!(map(&status(&emi(text))), None, "{text}");
    }
    assert_eq!(map(&format!("<Alert>{}</Alert>", emi("syncseal?:oA=="))), None);
    assert_eq!(map(&status(&emi("syncseal?:oA==").replace("Item", "X"))), None);
    assert_eq!(map(&status("<Item><Data><Item><Meta><EMI>syncseal?:oA==</EMI></Meta></Item></Data></Item>")), None);
    assert_eq!(map(&format!("<Sync>{}</Sync>", status(&emi("syncseal?:oA==")))), None);

    let marker = digits(b"syncseal?:");
    for content in [format!("c30b {marker} a0"), format!("03 {marker} 00 c301 a0"), "83 00 c301 a0".to_owned()] {
        let document = hex(&format!("02 01 6a 0a {marker} 6d 2c 6b 69 54 5a 0001 46 {content} 01 01 01 01 01 01"));
        assert_eq!(scan_wbxml(&document).unwrap().refusal_map().as_deref(), Some(&b"\xa0"[..]), "{content}");
    }
}

#[test]
fn written_documents_read_as_written() {
    let texts: [&[u8]; 6] = [b"plain", b"", b"<&>\"']]>\r\n\t", "é€😀".as_bytes(), b"]]>", b" "];
    for form in [Form::Xml, Form::Wbxml] {
        for text in texts {
            let mut writer = Writer::new(form, "1.1");
            writer.open(e::SYNC_HDR);
            writer.leaf(e::SESSION_ID, text);
            writer.open(e::META);
            writer.leaf(e::MAX_MSG_SIZE, b"1");
            writer.close(e::META);
            writer.close(e::SYNC_HDR);
            writer.open(e::SYNC_BODY);
            writer.open(e::STATUS);
            writer.data(e::DATA, text);
            writer.close(e::STATUS);
            writer.empty(e::FINAL);
            writer.close(e::SYNC_BODY);
            let bytes = writer.finish();
            let mut pages = Vec::new();
            let mut data = None;
            let mut events = Reader::new(form, &bytes, &Limits::default(), Strictness::Strict).unwrap();
            while let Some(event) = events.next() {
                let event = event.unwrap();
                if let Kind::Start(tag) | Kind::Empty(tag) = event.kind {
                    pages.push((String::from_utf8(tag.name.to_vec()).unwrap(), event.page));
                    if tag.name == b"Data" {
                        data = Some(scan::content(&mut events, event.span.end).unwrap());
                    }
                }
            }
            let metinf = if form == Form::Xml { 0 } else { 1 };
            let expected =
                [("SyncML", 0), ("SyncHdr", 0), ("SessionID", 0), ("Meta", 0), ("MaxMsgSize", metinf), ("SyncBody", 0)];
            assert!(pages.iter().map(|(name, page)| (&name[..], *page)).take(6).eq(expected), "{pages:?}");
            let document = Document::scan(form, &bytes, &Limits::default()).unwrap();
            let session_id = document.header.session_id.as_ref().map(|field| document.text(field).into_owned());
            assert_eq!(session_id.unwrap_or_default(), text);
            assert_eq!(*document.text(&data.unwrap()), *text);
            assert!(document.body.is_final);
        }
    }
}

proptest! {
    /// Whatever stands around and in it: a splice replaces the span, and nothing else.
    #[test]
    fn a_splice_replaces_the_span(
        before in prop::collection::vec(any::<u8>(), 0..40),
        old in prop::collection::vec(any::<u8>(), 0..40),
        after in prop::collection::vec(any::<u8>(), 0..40),
        new in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let document = [&before[..], &old, &after].concat();
        let span = before.len()..before.len() + old.len();
        prop_assert_eq!(splice(&document, span.clone(), &new), [&before[..], &new, &after].concat());
        prop_assert_eq!(splice(&document, span, &old), &document[..]);
        let beyond = document.len()..document.len() + 7;
        prop_assert_eq!(splice(&document, beyond, &new), [&document[..], &new].concat());
    }

    /// A text that was written comes back, in either form and every field; the RespURI spliced in, too.
    #[test]
    fn texts_survive_both_forms(session in "[^\\p{Cc}]*", uri in "[^\\p{Cc}]{0,60}", split in any::<prop::sample::Index>()) {
        for form in [Form::Xml, Form::Wbxml] {
            let mut writer = Writer::new(form, "1.2");
            writer.open(e::SYNC_HDR);
            writer.leaf(e::SESSION_ID, session.as_bytes());
            writer.leaf(e::RESP_URI, b"http://s/");
            writer.close(e::SYNC_HDR);
            let bytes = writer.finish();
            let document = Document::scan(form, &bytes, &Limits::default()).unwrap();
            let edited = document.with_resp_uri(&uri).unwrap();
            let edited = Document::scan(form, &edited, &Limits::default()).unwrap();
            let header = header(&edited);
            // U+FFFE and U+FFFF are no characters in XML.
            let expected = |text: &str| match form {
                Form::Xml => text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"),
                Form::Wbxml => text.to_owned(),
            };
            prop_assert_eq!(header.session_id.unwrap_or_default(), expected(&session));
            prop_assert_eq!(header.resp_uri.unwrap(), expected(&uri));
        }
        // CDATA split anywhere, with references and text around it.
        let at = session.char_indices().map(|(at, _)| at).chain([session.len()]).collect::<Vec<_>>();
        let (first, second) = session.split_at(*split.get(&at));
        let cdata = |text: &str| text.replace("]]>", "]]]]><![CDATA[>");
        let document = format!("<SyncML><SyncHdr><SessionID><![CDATA[{}]]><!----><![CDATA[{}]]></SessionID></SyncHdr></SyncML>",
            cdata(first), cdata(second));
        let document = scan_xml(document.as_bytes()).unwrap();
        prop_assert_eq!(header(&document).session_id.unwrap(), session);
    }

    /// Any bytes give a result or an error, from either reader, and spans in order within them.
    #[test]
    fn any_bytes_read(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'<'), Just(b'>'), Just(0x6d), Just(1)], 0..200)) {
        for (form, bytes) in [
            (Form::Xml, bytes.clone()),
            (Form::Xml, [b"<SyncML><SyncHdr>", &bytes[..]].concat()),
            (Form::Wbxml, bytes.clone()),
            (Form::Wbxml, [b"\x02\x01\x6a\x05abcd\0\x6d\x6c", &bytes[..]].concat()),
        ] {
            let _ = Document::scan(form, &bytes, &Limits::default());
            for strictness in [Strictness::Tolerant, Strictness::Strict] {
                let mut at = 0;
                for event in Reader::new(form, &bytes, &Limits::default(), strictness).into_iter().flatten().flatten() {
                    prop_assert!(at <= event.span.start && event.span.start < event.span.end && event.span.end <= bytes.len());
                    at = event.span.end;
                }
            }
        }
    }
}
