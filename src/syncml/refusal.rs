//! Refusals in SyncML documents that were received (PROTOCOL section 7).

use std::borrow::Cow;

use super::heading::REFUSAL_MARKER;
use super::{Document, Field, Form, Kind, Limits, Reader, Strictness, scan};

impl Document<'_> {
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
            Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix(REFUSAL_MARKER)?),
            Cow::Owned(text) => Cow::Owned(text.strip_prefix(REFUSAL_MARKER)?.to_vec()),
        };
        match self.form {
            Form::Xml => base64_turbo::STANDARD.decode(&map).ok().map(Cow::Owned),
            Form::Wbxml => Some(map),
        }
    }
}
