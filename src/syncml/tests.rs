//! What scans, what does not, and what edits keep.

mod edits;
mod readers;
mod reference;
mod scans;

use super::*;

/// A header as most peers write it, in XML.
const XML_HDR: &str = "<SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto><SessionID>7</SessionID><MsgID>1</MsgID>\
    <Target><LocURI>http://s/sync</LocURI></Target><Source><LocURI>IMEI:1</LocURI></Source></SyncHdr>";

/// What the header of a document says, decoded.
#[derive(Debug, Default, PartialEq)]
struct Header {
    ver_dtd: Option<String>,
    ver_proto: Option<String>,
    session_id: Option<String>,
    msg_id: Option<String>,
    target: Option<String>,
    source: Option<String>,
    resp_uri: Option<String>,
}

/// What [`XML_HDR`] says.
fn usual() -> Header {
    let text = |text: &str| Some(text.to_owned());
    Header {
        ver_dtd: text("1.2"),
        ver_proto: text("SyncML/1.2"),
        session_id: text("7"),
        msg_id: text("1"),
        target: text("http://s/sync"),
        source: text("IMEI:1"),
        resp_uri: None,
    }
}

fn header(document: &Document<'_>) -> Header {
    let text =
        |field: &Option<Field>| field.as_ref().map(|f| String::from_utf8(document.text(f).into_owned()).unwrap());
    let SyncHdr { ver_dtd, ver_proto, session_id, msg_id, target, source, resp_uri, .. } = &document.header;
    Header {
        ver_dtd: text(ver_dtd),
        ver_proto: text(ver_proto),
        session_id: text(session_id),
        msg_id: text(msg_id),
        target: text(target),
        source: text(source),
        resp_uri: text(resp_uri),
    }
}

fn scan_xml(document: &[u8]) -> Result<Document<'_>, InvalidDocument> {
    Document::scan(Form::Xml, document, &Limits::default())
}

fn scan_wbxml(document: &[u8]) -> Result<Document<'_>, InvalidDocument> {
    Document::scan(Form::Wbxml, document, &Limits::default())
}

/// A SyncML document in XML with this header and body.
fn xml(header: &str, body: &str) -> String {
    format!("<SyncML>{header}<SyncBody>{body}</SyncBody></SyncML>")
}

/// WBXML out of hexadecimal digits, white space between them.
fn hex(digits: &str) -> Vec<u8> {
    ::hex::decode(digits.split_whitespace().collect::<String>()).unwrap()
}

/// `bytes` as hexadecimal digits.
fn digits(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// A text as STR_I, in hexadecimal digits.
fn str_i(text: &str) -> String {
    format!("03 {} 00", digits(text.as_bytes()))
}
