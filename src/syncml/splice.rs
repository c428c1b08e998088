//! Edits: the bytes of a span are replaced, every other byte stays.

use std::ops::Range;

use super::{Document, Form, wbxml, writer};

/// The document with `replacement` in the place of `span`. A span that leads out of the document ends where that ends.
pub fn splice(document: &[u8], span: Range<usize>, replacement: &[u8]) -> Vec<u8> {
    let (before, rest) = document.split_at(span.start.min(document.len()));
    let (replaced, after) = rest.split_at(span.len().min(rest.len()));
    let mut spliced = Vec::with_capacity(document.len() - replaced.len() + replacement.len());
    spliced.extend_from_slice(before);
    spliced.extend_from_slice(replacement);
    spliced.extend_from_slice(after);
    spliced
}

impl Document<'_> {
    /// The document with another RespURI, as XML text, escaped, or as one STR_I (PROTOCOL section 8.3). Every other byte
    /// stays. `None` if it has no RespURI, or one without content, or if `uri` holds a control character, which no URI
    /// does and not every form can carry.
    pub fn with_resp_uri(&self, uri: &str) -> Option<Vec<u8>> {
        let field = self.header.resp_uri.as_ref()?;
        if uri.chars().any(char::is_control) {
            return None;
        }
        let mut content = Vec::new();
        match self.form {
            Form::Xml => writer::push_xml(&mut content, uri.as_bytes()),
            Form::Wbxml => {
                wbxml::push_text(&mut content, uri.as_bytes());
                // A page that the old content switched to stays current behind the new.
                let mut old = self.wbxml_content(field);
                old.by_ref().for_each(drop);
                if old.page() != 0 {
                    wbxml::push_page(&mut content, old.page());
                }
            }
        }
        Some(splice(self.bytes, field.span.clone(), &content))
    }
}
