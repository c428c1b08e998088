//! Our WBXML against libwbxml's converters (Debian package libwbxml2-utils): what `xml2wbxml` makes of XML scans to the
//! same values as that XML, and `wbxml2xml` reads the refusals that we write.
#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use serde_json::Value;
use syncseal::syncml::{Document, Form, Kind, Limits, Reader, Strictness, SyncBody};

/// Runs one of the converters on `input` and gives its output.
fn convert(tool: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::write(&source, input).unwrap();
    let output = Process::new(tool)
        .args(arguments)
        .args([OsStr::new("-o"), target.as_os_str(), source.as_os_str()])
        .output()
        .unwrap_or_else(|e| panic!("{tool} of the Debian package libwbxml2-utils is needed for this test: {e}"));
    std::fs::read(&target).unwrap_or_else(|e| {
        panic!("{tool} {arguments:?}: {e}\n{}\n{}", String::from_utf8_lossy(&output.stderr), input.escape_ascii())
    })
}

/// What a document says, without where it says it.
#[derive(Debug, PartialEq)]
struct Values {
    header: [Option<String>; 7],
    has_cred: bool,
    seal_marks: usize,
    body: SyncBody,
}

fn values(form: Form, bytes: &[u8]) -> Values {
    let document =
        Document::scan(form, bytes, &Limits::default()).unwrap_or_else(|e| panic!("{e}: {}", bytes.escape_ascii()));
    let text = |field: &Option<_>| field.as_ref().map(|f| String::from_utf8(document.text(f).into_owned()).unwrap());
    let header = &document.header;
    Values {
        header: [
            text(&header.ver_dtd),
            text(&header.ver_proto),
            text(&header.session_id),
            text(&header.msg_id),
            text(&header.target),
            text(&header.source),
            text(&header.resp_uri),
        ],
        has_cred: header.has_cred,
        seal_marks: header.seal_marks,
        body: document.body.clone(),
    }
}

/// The bodies of one directory of `tests/captures`.
fn captures(directory: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(directory);
    let mut captures = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension != "head") {
            let body = std::fs::read(&path).unwrap();
            captures.push((path, body));
        }
    }
    assert_eq!(captures.len(), 8);
    captures
}

/// Messages that hold what the captures do not.
fn messages() -> Vec<String> {
    let message = |version: &str, header: &str, body: &str| {
        format!(
            "<?xml version=\"1.0\"?><!DOCTYPE SyncML PUBLIC \"-//SYNCML//DTD SyncML {version}//EN\" \"x.dtd\">\
             <SyncML xmlns=\"SYNCML:SYNCML{version}\"><SyncHdr><VerDTD>{version}</VerDTD>\
             <VerProto>SyncML/{version}</VerProto><SessionID>1</SessionID><MsgID>2</MsgID>\
             <Target><LocURI>http://server.example/sync/path</LocURI></Target>\
             <Source><LocURI>IMEI:111122223333444</LocURI><LocName>ann</LocName></Source>{header}</SyncHdr>\
             <SyncBody>{body}<Final/></SyncBody></SyncML>"
        )
    };
    let status = |code: &str| {
        format!(
            "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd>\
             <TargetRef>http://server.example/sync/path</TargetRef><SourceRef>IMEI:111122223333444</SourceRef>\
             <Chal><Meta><Type xmlns=\"syncml:metinf\">syncml:auth-basic</Type></Meta></Chal><Data>{code}</Data></Status>"
        )
    };
    let emi = "<Meta><EMI xmlns=\"syncml:metinf\">syncseal:AA==</EMI></Meta>";
    let resp_uri = "<RespURI>http://server.example/sync/path;s=1?a=1&amp;b=2</RespURI>";
    let cred = "<Cred><Meta><Format xmlns=\"syncml:metinf\">b64</Format></Meta><Data>eDp5</Data></Cred>";
    let sync = "<Sync><CmdID>2</CmdID><Target><LocURI>./a</LocURI></Target><Atomic><CmdID>3</CmdID><Add><CmdID>4</CmdID>\
        <Meta><Type xmlns=\"syncml:metinf\">text/x-vcard</Type></Meta><Item><Source><LocURI>9</LocURI></Source>\
        <Data><![CDATA[BEGIN:VCARD\r\nFN:A<b>&\u{e9}\r\nEND:VCARD]]></Data><MoreData/></Item></Add></Atomic></Sync>";
    let mut messages = Vec::new();
    for version in ["1.0", "1.1", "1.2"] {
        messages.push(message(version, cred, "<Alert><CmdID>1</CmdID><Data>200</Data></Alert>"));
        messages.push(message(version, &format!("{resp_uri}{emi}"), &status("401")));
        messages.push(message(version, emi, &format!("{}{sync}", status("200"))));
    }
    messages
}

#[test]
fn what_xml2wbxml_makes_scans_to_the_same_values() {
    let captures = captures("syncevolution-xml").into_iter().map(|(_, body)| body);
    let mut with_string_table = 0;
    for xml in captures.chain(messages().into_iter().map(String::into_bytes)) {
        let expected = values(Form::Xml, &xml);
        // With a string table, and without; every version, with the public identifier in the table, too.
        for arguments in [&["-v", "1.2"][..], &["-n"], &["-v", "1.0"], &["-v", "1.1"], &["-v", "1.3"], &["-a"]] {
            let wbxml = convert("xml2wbxml", arguments, &xml);
            assert_eq!(values(Form::Wbxml, &wbxml), expected, "{arguments:?}: {}", xml.escape_ascii());
            let header = syncseal::syncml::wbxml::Header::read(&wbxml).unwrap();
            with_string_table += usize::from(!header.string_table.is_empty());
        }
    }
    assert!(with_string_table > 20, "{with_string_table}");
}

#[test]
fn what_wbxml2xml_makes_of_a_capture_scans_to_the_same_values() {
    for (path, wbxml) in captures("syncevolution-wbxml") {
        let xml = convert("wbxml2xml", &[], &wbxml);
        assert_eq!(values(Form::Xml, &xml), values(Form::Wbxml, &wbxml), "{path:?}");
    }
}

#[test]
fn wbxml2xml_reads_our_refusals() {
    let captures = captures("syncevolution-wbxml").into_iter().map(|(_, body)| body);
    let converted = messages().into_iter().map(|xml| convert("xml2wbxml", &[], xml.as_bytes()));
    for request in captures.chain(converted) {
        let document = Document::scan(Form::Wbxml, &request, &Limits::default()).unwrap();
        let refusal = document.refusal(403, b"\xa1\x00\x6boverloaded!", "encryption-required: <so> it is & stays");
        let xml = convert("wbxml2xml", &[], &refusal);
        let read = values(Form::Xml, &xml);
        let [dtd, proto, session, msg, target, source, _] = values(Form::Wbxml, &request).header;
        assert_eq!(read.header, [dtd, proto, session, msg, source, target, None]);
        assert_eq!(read.body, values(Form::Wbxml, &refusal).body);
        assert_eq!(read.body.hdr_status, Some(403));
        // The map's bytes stand there as they are.
        let xml = String::from_utf8_lossy(&xml);
        assert!(xml.contains("encryption-required: &lt;so&gt; it is &amp; stays"), "{xml}");
        assert!(xml.contains("syncseal?:"), "{xml}");
    }
}

#[test]
fn xml2wbxml_reads_our_refusals_in_xml() {
    for (path, request) in captures("syncevolution-xml") {
        let document = Document::scan(Form::Xml, &request, &Limits::default()).unwrap();
        let refusal = document.refusal(403, b"\xa0", "encryption-required: it is & stays");
        let wbxml = convert("xml2wbxml", &[], &refusal);
        assert_eq!(values(Form::Wbxml, &wbxml), values(Form::Xml, &refusal), "{path:?}");
    }
}

/// Names of elements in order, with the text of each LocURI.
fn outline(form: Form, bytes: &[u8]) -> Vec<String> {
    let (mut outline, mut in_uri) = (Vec::<String>::new(), false);
    for event in Reader::new(form, bytes, &Limits::default(), Strictness::Tolerant).unwrap() {
        match event.unwrap().kind {
            Kind::Start(tag) | Kind::Empty(tag) => {
                outline.push(String::from_utf8(tag.name.to_vec()).unwrap());
                in_uri = tag.name == b"LocURI";
            }
            Kind::Text(text) if in_uri => outline.push(String::from_utf8(text.bytes().to_vec()).unwrap()),
            Kind::Text(_) => {}
            Kind::End => in_uri = false,
        }
    }
    outline
}

#[test]
fn wbxml2xml_reads_sealed_documents_with_commands_and_addresses_where_they_were() {
    let vectors = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/data-layer.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&vectors).unwrap();
    let mut read = 0;
    for case in vectors["cases"].as_array().unwrap().iter().filter(|case| case["form"] == "wbxml") {
        let bytes = |member: &str| hex::decode(case[member].as_str().unwrap()).unwrap();
        let (document, sealed) = (bytes("document"), bytes("sealed_document"));
        // libwbxml has no words for tokens without a name, and takes no version that it does not know.
        let name = case["name"].as_str().unwrap();
        let Some(xml) = converted(&sealed) else {
            assert_eq!(converted(&document), None, "{name}: sealed, it cannot be read any more");
            continue;
        };
        read += 1;
        // Ciphertext stands in the XML byte for byte, which is no text.
        let found = outline(Form::Xml, String::from_utf8_lossy(&xml).as_bytes());
        assert_eq!(found, outline(Form::Wbxml, &sealed), "{name}");
        // But for what was encrypted and for the seal, it is the outline of the original.
        let spans = case["spans"].as_array().unwrap();
        if !spans.iter().any(|span| has_elements(&document, span)) {
            let seal = if case["insertion"]["form"] == "a" { &["EMI"][..] } else { &["Meta", "EMI"] };
            let original = outline(Form::Wbxml, &document);
            let at = (0..=original.len()).find(|at| {
                let seal = seal.iter().map(|name| (*name).to_owned());
                original[..*at].iter().cloned().chain(seal).chain(original[*at..].iter().cloned()).eq(found.clone())
            });
            assert!(at.is_some(), "{name}: {found:?}");
        }
        let (before, after) = (values(Form::Wbxml, &document), values(Form::Xml, &xml));
        assert_eq!((after.header, after.body), (before.header, before.body), "{name}");
        assert_eq!(after.seal_marks, 1, "{name}");
    }
    assert!(read > 25, "{read}");
}

/// What `wbxml2xml` makes of a document, if it can read it.
fn converted(wbxml: &[u8]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::write(&source, wbxml).unwrap();
    let output = Process::new("wbxml2xml")
        .args([OsStr::new("-o"), target.as_os_str(), source.as_os_str()])
        .output()
        .unwrap_or_else(|e| panic!("wbxml2xml of the Debian package libwbxml2-utils is needed for this test: {e}"));
    output.status.success().then(|| std::fs::read(&target).ok()).flatten()
}

/// Whether a span holds elements, of which nothing is to be seen in the sealed document.
fn has_elements(document: &[u8], span: &Value) -> bool {
    let offset = |index: usize| usize::try_from(span[index].as_u64().unwrap()).unwrap();
    let (start, end) = (offset(0), offset(1));
    let events = Reader::new(Form::Wbxml, document, &Limits::default(), Strictness::Tolerant).unwrap();
    events
        .map(Result::unwrap)
        .any(|event| (start..end).contains(&event.span.start) && matches!(event.kind, Kind::Start(_) | Kind::Empty(_)))
}
