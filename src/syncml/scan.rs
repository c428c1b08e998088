//! One pass over a document, for what a proxy needs of it.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::{
    Command, Document, Event, Events, Fault, Field, Form, InvalidDocument, Kind, Leaf, Limits, Piece, Strictness,
    SyncBody, SyncHdr, Tag, Text, wbxml, xml,
};

impl<'a> Document<'a> {
    /// Scans a document in one pass.
    ///
    /// Its root is SyncML and has exactly one child SyncHdr. What SyncHdr can have once it has at most once, and what
    /// is text there holds no elements, so that nobody can read another device or session out of it than we do.
    /// Otherwise it takes what [`Strictness::Tolerant`] takes, and in XML bytes that are not UTF-8 anywhere but in the
    /// fields of SyncHdr: large objects are cut into messages in the middle of a character, and some peers write
    /// ISO-8859-1.
    pub fn scan(form: Form, bytes: &'a [u8], limits: &Limits) -> Result<Self, InvalidDocument> {
        let mut document =
            Self { bytes, form, header: SyncHdr::default(), body: SyncBody::default(), string_table: 0..0 };
        match form {
            Form::Xml => match document.read(xml::Reader::new(bytes, limits, Strictness::Tolerant)) {
                Err(InvalidDocument { kind: Fault::NotUtf8, .. }) => document.scan_masked(limits)?,
                result => result?,
            },
            Form::Wbxml => {
                let reader = wbxml::Reader::new(bytes, limits, Strictness::Tolerant)?;
                document.string_table = reader.string_table();
                document.read(reader)?;
            }
        }
        Ok(document)
    }

    /// Scans XML that is not UTF-8, by way of a copy in which question marks stand for the bytes that are not. Every
    /// offset is the same, for what is replaced is neither markup nor as long as a character.
    fn scan_masked(&mut self, limits: &Limits) -> Result<(), InvalidDocument> {
        let mut masked = Vec::with_capacity(self.bytes.len());
        for chunk in self.bytes.utf8_chunks() {
            masked.extend_from_slice(chunk.valid().as_bytes());
            masked.resize(masked.len() + chunk.invalid().len(), b'?');
        }
        let mut scanned = Document {
            bytes: &masked,
            form: self.form,
            header: SyncHdr::default(),
            body: SyncBody::default(),
            string_table: 0..0,
        };
        scanned.read(xml::Reader::new(&masked, limits, Strictness::Tolerant))?;
        (self.header, self.body) = (scanned.header, scanned.body);
        for field in self.header.fields() {
            if std::str::from_utf8(self.raw(field)).is_err() {
                return Err(Fault::NotUtf8.at(field.span.start));
            }
        }
        Ok(())
    }

    /// Fills in the header and the body.
    fn read<'e>(&mut self, mut events: impl Events<'e>) -> Result<(), InvalidDocument> {
        let root = advance(&mut events)?;
        let (Kind::Start(tag) | Kind::Empty(tag)) = root.kind else {
            return Err(Fault::OutsideRoot.at(root.span.start));
        };
        if tag.name != b"SyncML" {
            return Err(Fault::NotSyncml.at(root.span.start));
        }
        if matches!(root.kind, Kind::Empty(_)) {
            return Err(Fault::NotOneSyncHdr.at(root.span.start));
        }
        let mut has_header = false;
        while let Some((event, tag, has_content)) = child(&mut events)? {
            match tag.name {
                b"SyncHdr" if has_header => return Err(Fault::NotOneSyncHdr.at(event.span.start)),
                b"SyncHdr" => {
                    has_header = true;
                    if has_content {
                        self.read_header(&mut events)?;
                    }
                }
                b"SyncBody" if has_content => self.read_body(&mut events)?,
                _ if has_content => skip(&mut events)?,
                _ => {}
            }
        }
        if !has_header {
            return Err(Fault::NotOneSyncHdr.at(root.span.start));
        }
        // What may follow the root is the reader's to judge.
        events.next().transpose()?;
        Ok(())
    }

    fn read_header<'e>(&mut self, events: &mut impl Events<'e>) -> Result<(), InvalidDocument> {
        let mut seen = 0u8;
        while let Some((event, tag, has_content)) = child(events)? {
            let Some((index, &name)) = ONCE.iter().enumerate().find(|(_, name)| name.as_bytes() == tag.name) else {
                match tag.name {
                    b"Meta" if has_content => self.header.seal_marks += self.seal_marks(events)?,
                    other => {
                        self.header.has_cred |= other == b"Cred";
                        if has_content {
                            skip(events)?;
                        }
                    }
                }
                continue;
            };
            if seen & 1 << index != 0 {
                return Err(Fault::Twice(name).at(event.span.start));
            }
            seen |= 1 << index;
            if !has_content {
                continue;
            }
            let field = match name {
                "Target" | "Source" => address(events)?,
                _ => Some(text_only(events, name, event.span.end)?),
            };
            let header = &mut self.header;
            match name {
                "VerDTD" => header.ver_dtd = field,
                "VerProto" => header.ver_proto = field,
                "SessionID" => header.session_id = field,
                "MsgID" => header.msg_id = field,
                "RespURI" => header.resp_uri = field,
                "Target" => header.target = field,
                _ => header.source = field,
            }
        }
        Ok(())
    }

    /// How many EMIs of ours the Meta holds that was just entered.
    fn seal_marks<'e>(&self, events: &mut impl Events<'e>) -> Result<usize, InvalidDocument> {
        let mut marks = 0;
        let mut depth = 1;
        while depth > 0 {
            let event = advance(events)?;
            match event.kind {
                Kind::Start(tag) if tag.name == b"EMI" => {
                    let field = text_only(events, "EMI", event.span.end)?;
                    marks += usize::from(self.text(&field).starts_with(b"syncseal"));
                }
                Kind::Start(_) => depth += 1,
                Kind::End => depth -= 1,
                Kind::Empty(_) | Kind::Text(_) => {}
            }
        }
        Ok(marks)
    }

    fn read_body<'e>(&mut self, events: &mut impl Events<'e>) -> Result<(), InvalidDocument> {
        // SyncBody, and the containers that are open in it, each a child of the one before.
        let mut open = 1;
        while open > 0 {
            let Some((_, tag, has_content)) = child(events)? else {
                open -= 1;
                continue;
            };
            let in_body = open == 1;
            let command = Command::of(tag.name);
            if command == Command::Unknown {
                match tag.name {
                    b"Final" if in_body => self.body.is_final = true,
                    // What a container has besides commands.
                    b"CmdID" | b"Correlator" | b"Cred" | b"Meta" | b"NoResp" | b"NumberOfChanges" | b"Source"
                    | b"Target"
                        if !in_body => {}
                    _ => self.count(command),
                }
            } else {
                self.count(command);
            }
            match command {
                _ if !has_content => {}
                command if command.is_container() => open += 1,
                Command::Status => self.read_status(events, in_body)?,
                _ => skip(events)?,
            }
        }
        Ok(())
    }

    fn count(&mut self, command: Command) {
        self.body.commands.insert(command);
        self.body.n_commands += 1;
    }

    fn read_status<'e>(&mut self, events: &mut impl Events<'e>, in_body: bool) -> Result<(), InvalidDocument> {
        let (mut cmd, mut cmd_ref, mut data) = (None, None, None);
        while let Some((event, tag, has_content)) = child(events)? {
            let slot = match tag.name {
                b"Cmd" => &mut cmd,
                b"CmdRef" => &mut cmd_ref,
                b"Data" => &mut data,
                name => {
                    self.body.has_chal |= name == b"Chal";
                    if has_content {
                        skip(events)?;
                    }
                    continue;
                }
            };
            if has_content {
                *slot = Some(content(events, event.span.end)?);
            }
        }
        if let (true, None, Some(cmd), Some(cmd_ref), Some(data)) = (in_body, self.body.hdr_status, cmd, cmd_ref, data)
            && self.text(&cmd).trim_ascii() == b"SyncHdr"
            && self.text(&cmd_ref).trim_ascii() == b"0"
        {
            self.body.hdr_status = number(&self.text(&data));
        }
        Ok(())
    }

    /// The decoded text of a field of this document: entities and CDATA (XML), STR_I, STR_T, OPAQUE and ENTITY (WBXML)
    /// joined, white space and line ends as they stand. Borrowed if it is one run.
    pub fn text(&self, field: &Field) -> Cow<'a, [u8]> {
        let content = self.raw(field);
        match self.form {
            Form::Xml if memchr::memchr2(b'<', b'&', content).is_none() => Cow::Borrowed(content),
            Form::Xml => {
                // The reader takes U+FEFF for a byte order mark where it is not one.
                let text = if content.starts_with(xml::BOM) { xml::BOM } else { b"" };
                join(Cow::Borrowed(text), xml::Reader::content(content, &Limits::NONE, Strictness::Tolerant))
            }
            Form::Wbxml => join(Cow::Borrowed(b""), self.wbxml_content(field)),
        }
    }

    /// Whether every peer reads the same text out of a field. Some drop a WBXML ENTITY, make one byte of a reference to a
    /// character above 127, or end a string at its first NUL: who compares names must not take such a field for another.
    pub fn is_unambiguous(&self, field: &Field) -> bool {
        let text = self.text(field);
        let odd = |run: Result<Event<'_>, _>| match run {
            Ok(Event { kind: Kind::Text(Text::Reference(character)), .. }) => {
                self.form == Form::Wbxml || !character.as_bytes().is_ascii()
            }
            _ => false,
        };
        let odd_runs = match self.form {
            Form::Xml => xml::Reader::content(self.raw(field), &Limits::NONE, Strictness::Tolerant).any(odd),
            Form::Wbxml => self.wbxml_content(field).any(odd),
        };
        !odd_runs && !text.trim_ascii().iter().any(u8::is_ascii_control)
    }

    /// The content of a field as it stands.
    fn raw(&self, field: &Field) -> &'a [u8] {
        self.bytes.get(field.span.clone()).unwrap_or_default()
    }

    /// A reader over the content of a field.
    pub(super) fn wbxml_content(&self, field: &Field) -> wbxml::Reader<'a> {
        wbxml::Reader::content(self.bytes, field.span.clone(), self.string_table.clone(), &Limits::NONE)
    }
}

impl SyncHdr {
    /// Every field that is there.
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let Self { ver_dtd, ver_proto, session_id, msg_id, target, source, resp_uri, has_cred: _, seal_marks: _ } =
            self;
        [ver_dtd, ver_proto, session_id, msg_id, target, source, resp_uri].into_iter().flatten()
    }
}

impl SyncBody {
    /// Whether it holds no commands but Status; true of one that holds none.
    pub fn holds_only_status(&self) -> bool {
        self.commands.iter().all(|command| command == Command::Status)
    }
}

/// The children that SyncHdr has at most once, as far as we look at them.
const ONCE: [&str; 7] = ["VerDTD", "VerProto", "SessionID", "MsgID", "Target", "Source", "RespURI"];

/// The next event inside the root.
fn advance<'e>(events: &mut impl Events<'e>) -> Result<Event<'e>, InvalidDocument> {
    // A reader never ends inside the root without a fault.
    events.next().unwrap_or_else(|| Err(Fault::Truncated.at(0)))
}

/// The next child of the innermost open element, and whether it has content, which has to be read next. `None` at the
/// end of that element.
fn child<'e>(events: &mut impl Events<'e>) -> Result<Option<(Event<'e>, Tag<'e>, bool)>, InvalidDocument> {
    loop {
        let event = advance(events)?;
        match event.kind {
            Kind::Start(tag) => return Ok(Some((event, tag, true))),
            Kind::Empty(tag) => return Ok(Some((event, tag, false))),
            Kind::End => return Ok(None),
            Kind::Text(_) => {}
        }
    }
}

/// Reads to the end of the element that was just entered.
fn skip<'e>(events: &mut impl Events<'e>) -> Result<(), InvalidDocument> {
    content(events, 0).map(drop)
}

/// Reads to the end of the element that was just entered, whose content starts at `start`.
pub(super) fn content<'e>(events: &mut impl Events<'e>, start: usize) -> Result<Field, InvalidDocument> {
    let mut depth = 1;
    let end = events.pieces(
        #[inline(always)]
        |piece: Piece<'e, Leaf<'e>>| {
            if let Piece::Event(event) = piece {
                match event.kind {
                    Kind::Start(_) => depth += 1,
                    Kind::End if depth == 1 => return ControlFlow::Break(event.span.start),
                    Kind::End => depth -= 1,
                    Kind::Empty(_) | Kind::Text(_) => {}
                }
            }
            ControlFlow::Continue(())
        },
    );
    // A reader never ends inside the root without a fault.
    let end = end?.ok_or_else(|| Fault::Truncated.at(0))?;
    Ok(Field { span: start..end })
}

/// Reads to the end of the element `name` that was just entered, whose content starts at `start` and is text.
fn text_only<'e>(events: &mut impl Events<'e>, name: &'static str, start: usize) -> Result<Field, InvalidDocument> {
    loop {
        let event = advance(events)?;
        match event.kind {
            Kind::Start(_) | Kind::Empty(_) => return Err(Fault::NotText(name).at(event.span.start)),
            Kind::End => return Ok(Field { span: start..event.span.start }),
            Kind::Text(_) => {}
        }
    }
}

/// The LocURI of the Target or Source that was just entered.
fn address<'e>(events: &mut impl Events<'e>) -> Result<Option<Field>, InvalidDocument> {
    let mut seen = false;
    let mut uri = None;
    while let Some((event, tag, has_content)) = child(events)? {
        if tag.name == b"LocURI" {
            if seen {
                return Err(Fault::Twice("LocURI").at(event.span.start));
            }
            seen = true;
            if has_content {
                uri = Some(text_only(events, "LocURI", event.span.end)?);
            }
        } else if has_content {
            skip(events)?;
        }
    }
    Ok(uri)
}

/// The runs of text among `events`, joined to `text`.
fn join<'a>(mut text: Cow<'a, [u8]>, events: impl Events<'a>) -> Cow<'a, [u8]> {
    // Only what was scanned is joined, so there are no faults; what cannot be read is left out.
    for event in events.map_while(Result::ok) {
        if let Kind::Text(run) = event.kind {
            match run.borrowed() {
                Some(bytes) if text.is_empty() => text = Cow::Borrowed(bytes),
                _ => text.to_mut().extend_from_slice(run.bytes()),
            }
        }
    }
    text
}

/// A decimal number, with white space around it.
fn number(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text.trim_ascii()).ok()?;
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}
