//! One side of a SyncML session: numbers, the Status for everything that arrives, packages and their ends.
//!
//! Both roles are the same here. A message of the peer is taken in with [`Conversation::hear`], answered command by
//! command, and [`Conversation::speak`] writes the next message of ours. A package closes when there is nothing left to
//! say in it and the peer has closed the one before; a side that has nothing to say before that asks for the next
//! message (Alert 222).

use crate::syncml::Form;

use super::document::{self, Element};
use super::message::{AUTH_BASIC, Command, Device, Header, Item, Version, address, alert, status};
use super::outbox::Outbox;
use super::store::Sent;

/// A peer that announces less is given this much, in bytes: a header and a Status need that room.
const LEAST_MESSAGE: usize = 2048;

/// Bounds that one side announces and keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// MaxMsgSize, in bytes.
    pub(super) message: usize,
    /// MaxObjSize, in bytes.
    pub(super) object: usize,
}

/// A party of the session, as SyncHdr names it.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) uri: String,
    pub(super) name: Option<String>,
}

impl Party {
    fn element(&self, role: &'static str) -> Element {
        address(role, &self.uri).with(self.name.as_deref().map(|name| Element::leaf("LocName", name)))
    }
}

/// What only some headers carry.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) resp_uri: Option<String>,
    /// Basic credentials, before base64.
    pub(super) credentials: Option<String>,
}

/// One side of a session.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) form: Form,
    pub(super) version: Version,
    pub(super) session_id: String,
    pub(super) us: Party,
    pub(super) peer: Party,
    pub(super) sizes: Sizes,
    pub(super) outbox: Outbox,
    /// The number of our last message.
    msg_id: u32,
    /// The number of the peer's last message.
    heard: u32,
    /// Whether the peer wants no Status for that.
    no_resp: bool,
    /// The largest message that the peer takes.
    peer_message: usize,
    /// Whether the peer closed the package before ours, and ours is open.
    closing: bool,
    /// An item of which chunks have arrived.
    partial: Option<Partial>,
}

/// Chunks of an item, joined.
#[derive(Debug)]
struct Partial {
    addresses: (Option<String>, Option<String>),
    size: Option<usize>,
    data: Vec<u8>,
}

/// What arrived of an item's data.
pub(super) enum Arrival {
    /// All of it.
    Whole(Vec<u8>),
    /// A part; nothing is to be done but to say so.
    Part,
    /// Something that cannot be taken.
    Refused(u16),
}

impl Conversation {
    /// A session in which nothing was said yet; our first message will have the number after `msg_id`.
    pub(super) fn new(form: Form, version: Version, session_id: String, parties: (Party, Party), sizes: Sizes) -> Self {
        let (us, peer) = parties;
        Self {
            form,
            version,
            session_id,
            us,
            peer,
            sizes,
            outbox: Outbox::default(),
            msg_id: 0,
            heard: 0,
            no_resp: false,
            peer_message: sizes.message,
            closing: false,
            partial: None,
        }
    }

    /// The answering side of the session that a message opens. A client that was challenged goes on counting, so the
    /// answers begin with the number of its message.
    pub(super) fn answering(form: Form, version: Version, header: &Header, sizes: Sizes) -> Self {
        let us = Party { uri: header.target.clone(), name: None };
        let peer = Party { uri: header.source.clone(), name: header.source_name.clone() };
        let session = Self::new(form, version, header.session_id.clone(), (us, peer), sizes);
        Self { msg_id: header.msg_id.saturating_sub(1), ..session }
    }

    /// Takes in the header of the peer's next message, whose SyncHdr gets this Status. A challenge carries what is
    /// asked for, and a refused version those that are spoken.
    pub(super) fn hear(&mut self, header: &Header, code: u16) {
        self.heard = header.msg_id;
        self.no_resp = header.no_resp;
        self.peer_message = header.max_msg_size.unwrap_or(self.peer_message).max(LEAST_MESSAGE);
        if header.no_resp {
            return;
        }
        let chal = matches!(code, status::INVALID_CREDENTIALS | status::MISSING_CREDENTIALS)
            .then(|| Element::node("Chal", [basic_meta()]));
        let spoken: &[&str] = match code {
            status::DTD_VERSION => &Version::ALL.map(Version::dtd),
            status::PROTOCOL_VERSION => &Version::ALL.map(Version::proto),
            _ => &[],
        };
        let refs = vec![
            Element::leaf("TargetRef", header.target.as_str()),
            Element::leaf("SourceRef", header.source.as_str()),
        ];
        let mut status = self.status_for("0", "SyncHdr", refs, chal, code);
        status.children.extend(spoken.iter().map(|name| Element::node("Item", [Element::leaf("Data", *name)])));
        self.outbox.set_header_status(status);
    }

    fn status_for(&self, id: &str, name: &str, refs: Vec<Element>, chal: Option<Element>, code: u16) -> Element {
        let mut status = Element::node(
            "Status",
            [Element::leaf("MsgRef", self.heard.to_string()), Element::leaf("CmdRef", id), Element::leaf("Cmd", name)],
        );
        status.children.extend(refs);
        status.with(chal).with(Element::leaf("Data", code.to_string()))
    }

    /// Answers a command as a whole: `item` may be what its Status carries.
    pub(super) fn answer(&mut self, command: Command<'_>, code: u16, item: Option<Element>) {
        let (target, source) = match command.items().next() {
            Some(first) => (first.target(), first.source()),
            None => (command.address("Target"), command.address("Source")),
        };
        self.push_status(command, target, source, code, item);
    }

    /// Answers one item of a command.
    pub(super) fn answer_item(&mut self, item: Item<'_>, code: u16) {
        self.push_status(item.command, item.target(), item.source(), code, None);
    }

    fn push_status(
        &mut self,
        command: Command<'_>,
        target: Option<&str>,
        source: Option<&str>,
        code: u16,
        item: Option<Element>,
    ) {
        if self.no_resp || command.no_resp() {
            return;
        }
        let refs = [("TargetRef", target), ("SourceRef", source)].into_iter();
        let refs = refs.filter_map(|(name, uri)| uri.map(|uri| Element::leaf(name, uri))).collect();
        let status = self.status_for(command.id, command.name(), refs, None, code).with(item);
        self.outbox.push_status(status);
    }

    /// Takes note of a Status; gives what item it was about, and the code.
    pub(super) fn acknowledged(&mut self, command: Command<'_>) -> Option<(Sent, u16)> {
        let number = |name| command.element.text_at(&[name]).and_then(|number| number.parse().ok());
        let code = command.code()?;
        self.outbox.acknowledge(number("MsgRef")?, number("CmdRef")?, code).map(|sent| (sent, code))
    }

    /// Answers a command that both roles answer alike: Get and Put of device information, Alerts that ask for nothing,
    /// and whatever is not of this sample.
    pub(super) fn answer_common(&mut self, command: Command<'_>, device: &Device<'_>) {
        let devinf = self.version.devinf_item();
        match command.name() {
            "Put" => self.answer(command, status::OK, None),
            "Results" => self.answer(command, status::OK, None),
            "Get" if command.items().any(|item| item.target() == Some(devinf)) => {
                self.answer(command, status::OK, None);
                let refs = [Element::leaf("MsgRef", self.heard.to_string()), Element::leaf("CmdRef", command.id)];
                let mut results = Element::node("Results", refs);
                results.children.extend(device.information(self.version, self.form));
                self.outbox.push(results);
            }
            "Get" => self.answer(command, status::NOT_FOUND, None),
            "Alert" => {
                let code = match command.code() {
                    Some(alert::NEXT_MESSAGE | alert::RESULT | alert::NO_END_OF_DATA) => status::OK,
                    Some(_) => status::NOT_SUPPORTED,
                    None => status::BAD_REQUEST,
                };
                if command.code() == Some(alert::NO_END_OF_DATA) {
                    self.partial = None;
                }
                self.answer(command, code, None);
            }
            "Atomic" | "Copy" | "Exec" | "Move" | "Search" | "Sequence" => {
                self.answer(command, status::NOT_SUPPORTED, None);
            }
            _ => self.answer(command, status::NOT_ALLOWED, None),
        }
    }

    /// Joins the chunks of an item, and undoes its Format.
    pub(super) fn receive(&mut self, item: Item<'_>) -> Arrival {
        let addresses = (item.source().map(str::to_owned), item.target().map(str::to_owned));
        let size = item.meta("Size").and_then(|size| size.parse().ok());
        let mut partial = match self.partial.take() {
            Some(partial) if partial.addresses == addresses => partial,
            other => {
                if let Some(Partial { addresses: (source, target), .. }) = other {
                    let lost = Element::node("Item", [])
                        .with(source.map(|source| address("Target", &source)))
                        .with(target.map(|target| address("Source", &target)));
                    let code = Element::leaf("Data", alert::NO_END_OF_DATA.to_string());
                    self.outbox.push(Element::node("Alert", [code, lost]));
                }
                Partial { addresses, size, data: Vec::new() }
            }
        };
        let length = partial.data.len() + item.data().len();
        if partial.size.unwrap_or(length).max(length) > self.sizes.object {
            return Arrival::Refused(status::TOO_BIG);
        }
        partial.data.extend_from_slice(item.data());
        if item.more_data() {
            self.partial = Some(partial);
            return Arrival::Part;
        }
        if partial.size.is_some_and(|size| size != partial.data.len()) {
            return Arrival::Refused(status::SIZE_MISMATCH);
        }
        match item.meta("Format") {
            Some("b64") => base64_turbo::STANDARD
                .decode(partial.data.trim_ascii())
                .map_or(Arrival::Refused(status::UNSUPPORTED_FORMAT), Arrival::Whole),
            None | Some("chr" | "bin") => Arrival::Whole(partial.data),
            Some(_) => Arrival::Refused(status::UNSUPPORTED_FORMAT),
        }
    }

    /// Says that the package before ours is complete, so that ours may close.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether our package is still open, though the peer has closed the one before.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Writes our next message.
    pub(super) fn speak(&mut self, extras: &Extras) -> Vec<u8> {
        self.msg_id += 1;
        let next_message = Element::node(
            "Alert",
            [
                Element::leaf("Data", alert::NEXT_MESSAGE.to_string()),
                Element::node("Item", [address("Target", &self.peer.uri), address("Source", &self.us.uri)]),
            ],
        );
        let mut body = Element::node("SyncBody", [next_message.clone(), Element::leaf("Final", "")]);
        let message = |header: &Element, body| Element::node("SyncML", [header.clone(), body]);
        let header = self.header(extras);
        let frame = document::write(&message(&header, body.clone()), self.form, self.version).len();
        let room = self.peer_message.saturating_sub(frame);
        body.children = self.outbox.fill(self.msg_id, room, self.form, self.version);
        if self.outbox.is_empty() && self.closing {
            self.closing = false;
            body.children.push(Element::leaf("Final", ""));
        } else if self.outbox.is_empty() && body.children.iter().all(|command| command.name == "Status") {
            let id = (body.children.len() + 1).to_string();
            let mut next_message = next_message;
            next_message.children.insert(0, Element::leaf("CmdID", id));
            body.children.push(next_message);
        }
        document::write(&message(&header, body), self.form, self.version)
    }

    fn header(&self, extras: &Extras) -> Element {
        let cred = extras.credentials.as_ref().map(|credentials| {
            let data = base64_turbo::STANDARD.encode(credentials);
            Element::node("Cred", [basic_meta(), Element::leaf("Data", data)])
        });
        let meta = Element::node(
            "Meta",
            [
                Element::metinf("MaxMsgSize", self.sizes.message.to_string()),
                Element::metinf("MaxObjSize", self.sizes.object.to_string()),
            ],
        );
        Element::node(
            "SyncHdr",
            [
                Element::leaf("VerDTD", self.version.dtd()),
                Element::leaf("VerProto", self.version.proto()),
                Element::leaf("SessionID", self.session_id.as_str()),
                Element::leaf("MsgID", self.msg_id.to_string()),
                self.peer.element("Target"),
                self.us.element("Source"),
            ],
        )
        .with(extras.resp_uri.as_deref().map(|uri| Element::leaf("RespURI", uri)))
        .with(cred)
        .with(meta)
    }
}

/// The Meta that names basic credentials.
fn basic_meta() -> Element {
    Element::node("Meta", [Element::metinf("Format", "b64"), Element::metinf("Type", AUTH_BASIC)])
}
