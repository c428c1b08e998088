//! What SyncHdr says, apart from its document, and the small documents that answer or announce it.

use super::element::{self as e, Element};
use super::{Document, Field, Form, Writer};

/// What the EMI of a refusal starts with (PROTOCOL section 7).
pub(super) const REFUSAL_MARKER: &[u8] = b"syncseal?:";

/// What a SyncHdr says, decoded. What it does not have is left out of what is made from it.
#[derive(Clone, Debug)]
pub struct Heading {
    form: Form,
    /// WBXML: what stands before the body, up to and with the string table.
    prologue: Vec<u8>,
    ver_dtd: Option<Vec<u8>>,
    ver_proto: Option<Vec<u8>>,
    session_id: Option<Vec<u8>>,
    msg_id: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    source: Option<Vec<u8>>,
}

impl Document<'_> {
    /// What its SyncHdr says.
    pub fn heading(&self) -> Heading {
        let text = |field: &Option<Field>| field.as_ref().map(|field| self.text(field).into_owned());
        let header = &self.header;
        Heading {
            form: self.form,
            prologue: self.bytes.get(..self.string_table.end).unwrap_or_default().to_vec(),
            ver_dtd: text(&header.ver_dtd),
            ver_proto: text(&header.ver_proto),
            session_id: text(&header.session_id),
            msg_id: text(&header.msg_id),
            target: text(&header.target),
            source: text(&header.source),
        }
    }

    /// The document that refuses this one; see [`Heading::refusal`].
    pub fn refusal(&self, status: u16, refusal_map: &[u8], sentence: &str) -> Vec<u8> {
        self.heading().refusal(status, refusal_map, sentence)
    }
}

impl Heading {
    /// The document that refuses one with this SyncHdr: same form and version, Target and Source exchanged, one Status
    /// for SyncHdr with `status`, an EMI with `syncseal?:` and `refusal_map`, and `sentence` as Data. The sentence is
    /// ASCII.
    ///
    /// `status` is written as it is: that 412 has to stand for 400 is for the caller to know.
    pub fn refusal(&self, status: u16, refusal_map: &[u8], sentence: &str) -> Vec<u8> {
        self.answer(status, |out| {
            out.open(e::ITEM);
            out.open(e::META);
            out.marked(e::EMI, REFUSAL_MARKER, refusal_map);
            out.close(e::META);
            out.leaf(e::DATA, sentence.as_bytes());
            out.close(e::ITEM);
        })
    }

    /// The document that says 200 to one with this SyncHdr, and nothing else: the answer to [`Heading::announcement`].
    pub fn acknowledgement(&self) -> Vec<u8> {
        self.answer(200, |_| {})
    }

    /// A document that says nothing yet: this SyncHdr with MsgID 0, and Final alone (PROTOCOL section 6, handshakes).
    pub fn announcement(&self) -> Vec<u8> {
        let mut out = self.begin(Some(b"0"), &self.target, &self.source);
        out.open(e::SYNC_BODY);
        out.empty(e::FINAL);
        out.close(e::SYNC_BODY);
        out.finish()
    }

    /// A document of one Status for SyncHdr, with what else belongs into it.
    fn answer(&self, status: u16, more: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut out = self.begin(self.msg_id.as_deref(), &self.source, &self.target);
        out.open(e::SYNC_BODY);
        out.open(e::STATUS);
        out.leaf(e::CMD_ID, b"1");
        leaf(&mut out, e::MSG_REF, self.msg_id.as_deref());
        out.leaf(e::CMD_REF, b"0");
        out.leaf(e::CMD, b"SyncHdr");
        leaf(&mut out, e::TARGET_REF, self.target.as_deref());
        leaf(&mut out, e::SOURCE_REF, self.source.as_deref());
        out.leaf(e::DATA, status.to_string().as_bytes());
        more(&mut out);
        out.close(e::STATUS);
        out.empty(e::FINAL);
        out.close(e::SYNC_BODY);
        out.finish()
    }

    /// A document up to and with its SyncHdr.
    fn begin(&self, msg_id: Option<&[u8]>, target: &Option<Vec<u8>>, source: &Option<Vec<u8>>) -> Writer {
        let mut out = match self.form {
            Form::Xml => {
                let version = self.ver_dtd.as_deref().unwrap_or_default().trim_ascii();
                Writer::new(Form::Xml, &String::from_utf8_lossy(version))
            }
            Form::Wbxml => Writer::wbxml(self.prologue.clone()),
        };
        out.open(e::SYNC_HDR);
        leaf(&mut out, e::VER_DTD, self.ver_dtd.as_deref());
        leaf(&mut out, e::VER_PROTO, self.ver_proto.as_deref());
        leaf(&mut out, e::SESSION_ID, self.session_id.as_deref());
        leaf(&mut out, e::MSG_ID, msg_id);
        for (element, uri) in [(e::TARGET, target), (e::SOURCE, source)] {
            if let Some(uri) = uri {
                out.open(element);
                out.leaf(e::LOC_URI, uri);
                out.close(element);
            }
        }
        out.close(e::SYNC_HDR);
        out
    }
}

fn leaf(out: &mut Writer, element: Element, text: Option<&[u8]>) {
    if let Some(text) = text {
        out.leaf(element, text);
    }
}
