//! The documents of a client and of a server.

use syncseal::seal::{Reason, Refusal, RefusalReason};
use syncseal::syncml::{Document, Form, Limits};

pub(crate) const XML: &str = "application/vnd.syncml+xml";
pub(crate) const WBXML: &str = "application/vnd.syncml+wbxml";

/// What a client is known by, and what it says.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) source: &'static str,
    pub(crate) session_id: &'static str,
    pub(crate) msg_id: u32,
    pub(crate) cred: bool,
    /// The address that it was given.
    pub(crate) address: &'static str,
    /// What stands in SyncBody before Final.
    pub(crate) commands: &'static str,
}

/// The first message of a SyncML session.
pub(crate) const FIRST: Client = Client {
    source: "IMEI:490154203237518",
    session_id: "7",
    msg_id: 1,
    cred: false,
    address: "http://sync.example/sync",
    commands: "<Alert><CmdID>1</CmdID><Data>200</Data></Alert>",
};

/// Its second message.
pub(crate) const SECOND: Client = Client { msg_id: 2, ..FIRST };

impl Client {
    pub(crate) fn xml(&self) -> Vec<u8> {
        let Self { source, session_id, msg_id, cred, address, commands } = *self;
        let cred = if cred { "<Cred><Data>dXNlcjpwYXNz</Data></Cred>" } else { "" };
        document(
            &format!(
                "<SessionID>{session_id}</SessionID><MsgID>{msg_id}</MsgID><Target><LocURI>{address}</LocURI></Target>\
                 <Source><LocURI>{source}</LocURI></Source>{cred}"
            ),
            &format!("{commands}<Final/>"),
        )
    }

    /// A message of exactly `len` bytes.
    pub(crate) fn xml_of(&self, len: usize) -> Vec<u8> {
        let mut xml = self.xml();
        xml.resize(len, b'\n');
        xml
    }
}

fn document(header: &str, body: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD>\
         <VerProto>SyncML/1.2</VerProto>{header}</SyncHdr><SyncBody>{body}</SyncBody></SyncML>"
    )
    .into_bytes()
}

/// A server's answer: Status for SyncHdr, and what stands in SyncHdr and SyncBody besides.
pub(crate) fn answer(status: u16, header: &str, body: &str) -> Vec<u8> {
    document(
        &format!("<SessionID>7</SessionID><MsgID>1</MsgID>{header}"),
        &format!("<Status><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>{status}</Data></Status>{body}"),
    )
}

/// A server's answer that takes the message and is not the last one.
pub(crate) fn accepted() -> Vec<u8> {
    answer(200, "", "<Alert><CmdID>2</CmdID><Data>200</Data></Alert><Final/>")
}

/// A server's answer that takes the message and names the address for the next one.
pub(crate) fn accepted_at(resp_uri: &str) -> Vec<u8> {
    answer(200, &format!("<RespURI>{resp_uri}</RespURI>"), "<Alert><CmdID>2</CmdID><Data>200</Data></Alert><Final/>")
}

/// A server's answer that wants credentials.
pub(crate) fn challenged() -> Vec<u8> {
    answer(407, "", "<Final/>")
}

/// An HTTP answer with an XML document.
pub(crate) fn http_ok(document: &[u8]) -> Vec<u8> {
    http(&format!("200 OK\r\nContent-Type: {XML}"), document)
}

/// An HTTP answer with this status, these fields and its length.
pub(crate) fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The refusal that a body says, in problem details or in a SyncML document.
pub(crate) fn refusal(content_type: &str, body: &[u8]) -> Option<Refusal> {
    let form = match content_type {
        "application/problem+json" => return Some(Refusal::from_problem(body).unwrap()),
        WBXML => Form::Wbxml,
        XML => Form::Xml,
        _ => return None,
    };
    let document = Document::scan(form, body, &Limits::default()).ok()?;
    document.refusal_map().map(|map| Refusal::from_map(&map).unwrap())
}

/// The reason of a refusal in a body.
pub(crate) fn reason(content_type: &str, body: &[u8]) -> Option<Reason> {
    refusal(content_type, body).map(|refusal| match refusal.reason {
        RefusalReason::Known(reason) => reason,
        RefusalReason::Unknown(name) => panic!("an unknown reason: {name}"),
    })
}

/// Path and query of the RespURI in an XML document.
pub(crate) fn resp_uri(xml: &[u8]) -> String {
    let document = Document::scan(Form::Xml, xml, &Limits::default()).unwrap();
    let field = document.header.resp_uri.as_ref().expect("a RespURI");
    String::from_utf8(document.text(field).into_owned()).unwrap()
}
