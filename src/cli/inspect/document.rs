//! A SyncML document of either form as indented XML, after a summary of what a gateway sees in it.

use super::{hex, printable, refusal_text, seal};
use crate::seal::data::SealedDocument;
use crate::seal::{Layer, Refusal, decode_base64};
use crate::syncml::wbxml;
use crate::syncml::{Document, Field, Form, InvalidDocument, Kind, Limits, Reader, Strictness, Tag};

/// Writes the document: before a fault, what came before it.
pub(super) fn show(form: Form, bytes: &[u8], out: &mut String) -> Result<(), InvalidDocument> {
    out.push_str(&match form {
        Form::Xml => format!("XML, {} bytes\n", bytes.len()),
        Form::Wbxml => format!("{}, {} bytes\n", version(&wbxml::Header::read(bytes)?), bytes.len()),
    });
    // A document of another type, or a damaged one, can still be shown.
    let mut sealed = false;
    if let Ok(document) = Document::scan(form, bytes, &Limits::default()) {
        summarize(&document, out);
        sealed = document.header.seal_marks > 0;
    }
    let mut outline = Outline { form, sealed, out, open: Vec::new(), margin: 0 };
    outline.read(bytes, Reader::new(form, bytes, &Limits::default(), Strictness::Tolerant)?)
}

fn version(header: &wbxml::Header) -> String {
    format!("WBXML 1.{}", header.version)
}

fn summarize(document: &Document<'_>, out: &mut String) {
    let text = |field: &Field| printable(&String::from_utf8_lossy(&document.text(field)));
    let header = &document.header;
    let fields = [
        ("VerProto", &header.ver_proto),
        ("SessionID", &header.session_id),
        ("MsgID", &header.msg_id),
        ("Source", &header.source),
        ("Target", &header.target),
        ("RespURI", &header.resp_uri),
    ];
    for (name, field) in fields {
        if let Some(field) = field {
            out.push_str(&format!("  {name}: {}\n", text(field)));
        }
    }
    let mut commands: Vec<String> = document.body.commands.iter().map(|command| format!("{command:?}")).collect();
    if document.body.is_final {
        commands.push("Final".to_owned());
    }
    out.push_str(&format!("  commands: {}\n", commands.join(", ")));
    let sealed = match (document.refusal_map(), header.seal_marks) {
        (Some(_), _) => "a refusal".to_owned(),
        (None, 0) => "not sealed".to_owned(),
        (None, _) => match SealedDocument::split(document.form, b"", document.bytes.into()) {
            Ok((_, sealed)) => format!("sealed in the data layer: {sealed}"),
            Err(unfit) => format!("sealed in the data layer, but not as a sealer writes it: {unfit}"),
        },
    };
    out.push_str(&format!("  {sealed}\n"));
}

/// An element that is being written.
struct Open {
    /// Its start tag, until it is written.
    start: Option<String>,
    name: String,
    /// WBXML: its code page.
    page: u8,
    /// Its text since its last child.
    text: Vec<u8>,
}

/// Writes elements as they are read: an element with text alone on one line.
struct Outline<'o> {
    form: Form,
    /// Whether user data is ciphertext.
    sealed: bool,
    out: &'o mut String,
    open: Vec<Open>,
    /// How deep the document itself stands.
    margin: usize,
}

impl Outline<'_> {
    fn read(&mut self, bytes: &[u8], reader: Reader<'_>) -> Result<(), InvalidDocument> {
        for event in reader {
            let event = event.inspect_err(|_| self.flush())?;
            let span = bytes.get(event.span).unwrap_or_default();
            match event.kind {
                Kind::Start(tag) => {
                    self.flush();
                    let (start, name) = self.tag(span, &tag, event.page);
                    self.open.push(Open { start: Some(start), name, page: event.page, text: Vec::new() });
                }
                Kind::Empty(tag) => {
                    self.flush();
                    let (start, _) = self.tag(span, &tag, event.page);
                    self.line(&format!("<{start}/>"));
                }
                Kind::Text(text) => {
                    if let Some(open) = self.open.last_mut() {
                        open.text.extend_from_slice(text.bytes());
                    }
                }
                Kind::End => self.close(),
            }
        }
        Ok(())
    }

    /// What stands between `<` and `>` of a start tag, and the element's name.
    fn tag(&self, span: &[u8], tag: &Tag<'_>, page: u8) -> (String, String) {
        match self.form {
            Form::Xml => {
                let start = String::from_utf8_lossy(span);
                let start = start.trim_start_matches('<').trim_end_matches('>').trim_end_matches('/').trim_end();
                let start = printable(start);
                let name = start.split_ascii_whitespace().next().unwrap_or_default().to_owned();
                (start, name)
            }
            Form::Wbxml => {
                let name = match tag.name {
                    [] => format!("token-{page}-{:02x}", tag.token),
                    name => String::from_utf8_lossy(name).into_owned(),
                };
                let outer = self.open.last().map_or(0, |open| open.page);
                let namespace = if page == 1 && outer != 1 { " xmlns=\"syncml:metinf\"" } else { "" };
                (format!("{name}{namespace}"), name)
            }
        }
    }

    fn line(&mut self, line: &str) {
        let indent = 2 * (self.margin + self.open.len());
        self.out.push_str(&format!("{:indent$}{line}\n", ""));
    }

    /// Writes what is left of the innermost element's start and text, before something else that is in it.
    fn flush(&mut self) {
        let Some(mut open) = self.open.pop() else { return };
        if let Some(start) = open.start.take() {
            self.line(&format!("<{start}>"));
        }
        let text = std::mem::take(&mut open.text);
        self.open.push(open);
        if !text.trim_ascii().is_empty() {
            self.line(&display(&text));
        }
    }

    fn close(&mut self) {
        if self.open.last().is_some_and(|open| open.start.is_none()) {
            self.flush();
        }
        let Some(Open { start, name, page, text }) = self.open.pop() else { return };
        let Some(start) = start else {
            return self.line(&format!("</{name}>"));
        };
        if self.sealed && page == 0 && !text.is_empty() && self.is_user_data(&name) {
            let len = match self.form {
                Form::Xml => decode_base64(&text).map_or(text.len(), |bytes| bytes.len()),
                Form::Wbxml => text.len(),
            };
            return self.line(&format!("<{start}><!-- sealed, {len} bytes --></{name}>"));
        }
        if let Some(nested) = nested(&text) {
            self.line(&format!("<{start}> <!-- {}, {} bytes -->", version(&nested), text.len()));
            self.show_nested(&text);
            return self.line(&format!("</{name}>"));
        }
        match mark(self.form, &name, &text) {
            Some((marker, lines)) => {
                self.line(&format!("<{start}>{marker}…</{name}>"));
                self.line("<!--");
                lines.iter().for_each(|line| self.line(&format!("  {line}")));
                self.line("-->");
            }
            None => self.line(&format!("<{start}>{}</{name}>", display(&text))),
        }
    }

    /// Whether the content of an element in the innermost open one is encrypted in the data layer.
    fn is_user_data(&self, name: &str) -> bool {
        let local = |name: &str| name.rsplit(':').next().unwrap_or_default().to_owned();
        let outer = self.open.last().map(|open| local(&open.name)).unwrap_or_default();
        match local(name).as_str() {
            "LocName" => true,
            "Data" => !matches!(outer.as_str(), "Status" | "Alert"),
            _ => false,
        }
    }

    /// Writes the WBXML document that an OPAQUE holds: device information.
    fn show_nested(&mut self, bytes: &[u8]) {
        let margin = self.margin + self.open.len() + 1;
        let mut inner = Outline { form: Form::Wbxml, sealed: false, out: self.out, open: Vec::new(), margin };
        if let Some(reader) = nested_reader(bytes) {
            // It was read once already.
            let _ = inner.read(bytes, Reader::Wbxml(reader));
        }
    }
}

/// The header of the WBXML document that a text is, if it is one to its end.
fn nested(text: &[u8]) -> Option<wbxml::Header> {
    let whole = nested_reader(text)?.all(|event| event.is_ok());
    if whole { wbxml::Header::read(text).ok() } else { None }
}

fn nested_reader(text: &[u8]) -> Option<wbxml::Reader<'_>> {
    let vocabulary = wbxml::Header::read(text).ok()?.vocabulary(text);
    let reader = wbxml::Reader::new(text, &Limits::default(), Strictness::Tolerant).ok()?;
    Some(reader.with_vocabulary(vocabulary))
}

/// The marker of an EMI of ours, and what stands behind it.
fn mark(form: Form, name: &str, text: &[u8]) -> Option<(&'static str, Vec<String>)> {
    if name.rsplit(':').next() != Some("EMI") {
        return None;
    }
    let markers = ["syncseal?:", "syncseal+:", "syncseal:"];
    let (marker, content) = markers.iter().find_map(|marker| Some((*marker, text.strip_prefix(marker.as_bytes())?)))?;
    let decoded = match form {
        Form::Xml => decode_base64(content),
        Form::Wbxml => Ok(content.to_vec()),
    };
    let lines = decoded.and_then(|bytes| match marker {
        "syncseal?:" => {
            Refusal::from_map(&bytes).map(|refusal| refusal_text(&refusal).lines().map(str::to_owned).collect())
        }
        _ => seal::describe(Layer::Data, &bytes),
    });
    Some((marker, lines.unwrap_or_else(|error| vec![format!("malformed: {error}")])))
}

/// Text as XML shows it; what is not text, in hexadecimal.
fn display(text: &[u8]) -> String {
    let is_text = |text: &&str| !text.chars().any(|c| c.is_control() && !"\r\n\t".contains(c));
    let Some(text) = std::str::from_utf8(text).ok().filter(is_text) else {
        return format!("<!-- {} bytes: {} -->", text.len(), hex(text));
    };
    let text = text.replace("\r\n", "\n");
    if text.contains(['<', '&']) && !text.contains('\r') && !text.contains("]]>") {
        return format!("<![CDATA[{text}]]>");
    }
    text.replace('&', "&amp;").replace('<', "&lt;").replace("]]>", "]]&gt;").replace('\r', "&#13;")
}
