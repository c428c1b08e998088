//! Writes small documents in either form.

use super::element::{Element, SYNC_ML};
use super::{Form, wbxml};

/// Writes a document from its root's start tag on, element by element: in XML with the namespaces that SyncML asks for, in
/// WBXML with the page switches that it needs, and no string table.
///
/// ```
/// use syncseal::syncml::{Form, Writer, element};
///
/// let mut xml = Writer::new(Form::Xml, "1.2");
/// xml.open(element::SYNC_HDR);
/// xml.leaf(element::VER_DTD, b"1.2");
/// xml.close(element::SYNC_HDR);
/// let document = xml.finish();
/// assert!(document.ends_with(b"<SyncHdr><VerDTD>1.2</VerDTD></SyncHdr></SyncML>"));
/// ```
#[derive(Debug)]
pub struct Writer {
    form: Form,
    out: Vec<u8>,
    /// The code page that is current.
    page: u8,
}

impl Writer {
    /// Begins a document of SyncML version `ver_dtd`, and opens its root.
    pub fn new(form: Form, ver_dtd: &str) -> Self {
        let out = match form {
            Form::Xml => {
                let mut out = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><SyncML xmlns=\"SYNCML:SYNCML".to_vec();
                push_xml(&mut out, ver_dtd.as_bytes());
                out.extend_from_slice(b"\">");
                return Self { form, out, page: 0 };
            }
            // Version 1.2, the registered public identifier, UTF-8, no string table.
            Form::Wbxml => match ver_dtd {
                "1.0" => vec![0x02, 0x9f, 0x51, 0x6a, 0x00],
                "1.1" => vec![0x02, 0x9f, 0x53, 0x6a, 0x00],
                _ => vec![0x02, 0xa4, 0x01, 0x6a, 0x00],
            },
        };
        Self::wbxml(out)
    }

    /// Begins a WBXML document behind its `header`, which ends with its string table, and opens its root.
    pub(super) fn wbxml(header: Vec<u8>) -> Self {
        let mut writer = Self { form: Form::Wbxml, out: header, page: 0 };
        writer.open(SYNC_ML);
        writer
    }

    /// A start tag.
    pub fn open(&mut self, element: Element) {
        match self.form {
            Form::Xml => {
                self.start_tag(element);
                self.out.push(b'>');
            }
            Form::Wbxml => self.tag(element, wbxml::with_content(element.token)),
        }
    }

    /// The end tag of the element that was opened last.
    pub fn close(&mut self, element: Element) {
        match self.form {
            Form::Xml => {
                self.out.extend_from_slice(b"</");
                self.out.extend_from_slice(element.name.as_bytes());
                self.out.push(b'>');
            }
            Form::Wbxml => self.out.push(wbxml::END),
        }
    }

    /// An element without content.
    pub fn empty(&mut self, element: Element) {
        match self.form {
            Form::Xml => {
                self.start_tag(element);
                self.out.extend_from_slice(b"/>");
            }
            Form::Wbxml => self.tag(element, element.token),
        }
    }

    /// An element with text, escaped (XML) or as STR_I, or OPAQUE if it holds a NUL (WBXML). A character that XML does
    /// not have becomes U+FFFD there.
    pub fn leaf(&mut self, element: Element, text: &[u8]) {
        if text.is_empty() {
            return self.empty(element);
        }
        self.open(element);
        match self.form {
            Form::Xml => push_xml(&mut self.out, text),
            Form::Wbxml => wbxml::push_text(&mut self.out, text),
        }
        self.close(element);
    }

    /// An element with user data: a CDATA section, or escaped text where it holds `]]>` or a CR (XML), or one OPAQUE
    /// (WBXML). In XML it has to be text; bytes that are not UTF-8, and characters that XML does not have, become U+FFFD.
    pub fn data(&mut self, element: Element, bytes: &[u8]) {
        self.open(element);
        match self.form {
            Form::Xml if is_cdata(bytes) => {
                self.out.extend_from_slice(b"<![CDATA[");
                self.out.extend_from_slice(bytes);
                self.out.extend_from_slice(b"]]>");
            }
            Form::Xml => push_xml(&mut self.out, bytes),
            Form::Wbxml => wbxml::push_opaque(&mut self.out, bytes),
        }
        self.close(element);
    }

    /// An element with a marker and bytes: the bytes as base64 (XML), or both in one OPAQUE (WBXML), as PROTOCOL writes
    /// an EMI.
    pub(super) fn marked(&mut self, element: Element, marker: &[u8], bytes: &[u8]) {
        self.open(element);
        match self.form {
            Form::Xml => {
                self.out.extend_from_slice(marker);
                self.out.extend_from_slice(base64_turbo::STANDARD.encode(bytes).as_bytes());
            }
            Form::Wbxml => wbxml::push_opaque(&mut self.out, &[marker, bytes].concat()),
        }
        self.close(element);
    }

    /// The document, its root closed.
    pub fn finish(mut self) -> Vec<u8> {
        self.close(SYNC_ML);
        self.out
    }

    /// A start tag (XML) up to its end.
    fn start_tag(&mut self, element: Element) {
        self.out.push(b'<');
        self.out.extend_from_slice(element.name.as_bytes());
        if element.page == 1 {
            self.out.extend_from_slice(b" xmlns=\"syncml:metinf\"");
        }
    }

    /// A tag token (WBXML), on its page.
    fn tag(&mut self, element: Element, token: u8) {
        if self.page != element.page {
            self.page = element.page;
            wbxml::push_page(&mut self.out, self.page);
        }
        self.out.push(token);
    }
}

/// Whether bytes can stand in one CDATA section and be read as they are: text that XML has, without the section's end,
/// and without CR, which XML readers take for a line end and change.
fn is_cdata(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"]]>").is_none()
        && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| c != '\r' && super::event::is_xml_char(c)))
}

/// Appends `text` escaped, so that it can stand in content and in attribute values, and a CR survives. What is not a
/// character that XML has becomes U+FFFD.
pub(super) fn push_xml(out: &mut Vec<u8>, text: &[u8]) {
    for character in String::from_utf8_lossy(text).chars() {
        let escaped = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\r' => "&#13;",
            c if super::event::is_xml_char(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => "\u{fffd}",
        };
        out.extend_from_slice(escaped.as_bytes());
    }
}
