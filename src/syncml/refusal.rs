//! Refusals as SyncML documents (PROTOCOL section 7).

use std::borrow::Cow;

use super::element as e;
use super::{Document, Field, Form, Kind, Limits, Reader, Strictness, Writer, scan};

/// What the EMI of a refusal starts with.
const MARKER: &[u8] = b"syncseal?:";

impl Document<'_> {
    /// The document that refuses this one: same form and version, Target and Source exchanged, one Status for SyncHdr
    /// with `status`, an EMI with `syncseal?:` and `refusal_map`, and `sentence` as Data. The sentence is ASCII.
    ///
    /// `status` is written as it is: that 412 has to stand for 400 is for the caller to know. What the request's SyncHdr
    /// does not have is left out.
    pub fn refusal(&self, status: u16, refusal_map: &[u8], sentence: &str) -> Vec<u8> {
        let header = &self.header;
        let text = |field: &Option<Field>| field.as_ref().map(|field| self.text(field));
        let (msg_id, target, source) = (text(&header.msg_id), text(&header.target), text(&header.source));
        let ver_dtd = text(&header.ver_dtd);

        let mut out = match self.form {
            Form::Xml => {
                Writer::new(Form::Xml, &String::from_utf8_lossy(ver_dtd.as_deref().unwrap_or_default().trim_ascii()))
            }
            Form::Wbxml => Writer::wbxml(self.bytes.get(..self.string_table.end).unwrap_or_default().to_vec()),
        };
        let optional = |out: &mut Writer, element, text: &Option<Cow<'_, [u8]>>| {
            if let Some(text) = text {
                out.leaf(element, text);
            }
        };
        let address = |out: &mut Writer, element, uri: &Option<Cow<'_, [u8]>>| {
            if let Some(uri) = uri {
                out.open(element);
                out.leaf(e::LOC_URI, uri);
                out.close(element);
            }
        };
        out.open(e::SYNC_HDR);
        optional(&mut out, e::VER_DTD, &ver_dtd);
        optional(&mut out, e::VER_PROTO, &text(&header.ver_proto));
        optional(&mut out, e::SESSION_ID, &text(&header.session_id));
        optional(&mut out, e::MSG_ID, &msg_id);
        address(&mut out, e::TARGET, &source);
        address(&mut out, e::SOURCE, &target);
        out.close(e::SYNC_HDR);

        out.open(e::SYNC_BODY);
        out.open(e::STATUS);
        out.leaf(e::CMD_ID, b"1");
        optional(&mut out, e::MSG_REF, &msg_id);
        out.leaf(e::CMD_REF, b"0");
        out.leaf(e::CMD, b"SyncHdr");
        optional(&mut out, e::TARGET_REF, &target);
        optional(&mut out, e::SOURCE_REF, &source);
        out.leaf(e::DATA, status.to_string().as_bytes());
        out.open(e::ITEM);
        out.open(e::META);
        out.marked(e::EMI, MARKER, refusal_map);
        out.close(e::META);
        out.leaf(e::DATA, sentence.as_bytes());
        out.close(e::ITEM);
        out.close(e::STATUS);
        out.empty(e::FINAL);
        out.close(e::SYNC_BODY);
        out.finish()
    }

    /// The refusal map of a document that is a refusal: what follows `syncseal?:` in the EMI of the Meta of an Item of a
    /// Status, decoded (XML: base64). `None` if there is no such EMI, or it is not canonical base64. It was not
    /// authenticated, unless the document was.
    pub fn refusal_map(&self) -> Option<Cow<'_, [u8]>> {
        const PATH: [&[u8]; 6] = [b"SyncML", b"SyncBody", b"Status", b"Item", b"Meta", b"EMI"];
        let mut events = Reader::new(self.form, self.bytes, &Limits::NONE, Strictness::Tolerant).ok()?;
        // How many elements are open, and how many of them, from the root on, are those of the path.
        let (mut depth, mut matched) = (0, 0);
        while let Some(event) = events.next() {
            let event = event.ok()?;
            match event.kind {
                Kind::Start(tag) => {
                    if depth == matched && PATH.get(depth).is_some_and(|name| *name == tag.name) {
                        matched += 1;
                    }
                    depth += 1;
                    if matched == PATH.len() {
                        let field = scan::content(&mut events, event.span.end).ok()?;
                        if let Some(map) = self.marked(&field) {
                            return Some(map);
                        }
                        (depth, matched) = (depth - 1, matched - 1);
                    }
                }
                Kind::End => {
                    depth -= 1;
                    matched = matched.min(depth);
                }
                Kind::Empty(_) | Kind::Text(_) => {}
            }
        }
        None
    }

    /// What follows the marker in the text of an EMI.
    fn marked(&self, emi: &Field) -> Option<Cow<'_, [u8]>> {
        let map = match self.text(emi) {
            Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix(MARKER)?),
            Cow::Owned(text) => Cow::Owned(text.strip_prefix(MARKER)?.to_vec()),
        };
        match self.form {
            Form::Xml => base64_simd::STANDARD.decode_to_vec(&map).ok().map(Cow::Owned),
            Form::Wbxml => Some(map),
        }
    }
}
