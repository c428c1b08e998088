//! What one side still has to say, and how much of it fits into a message.
//!
//! Commands wait here until a message has room for them: Status elements first, then the rest in order. An item that
//! no message can hold goes in chunks (RepPro, MoreData), one a message, with nothing between them.

use std::collections::{HashMap, VecDeque};

use crate::syncml::Form;

use super::document::{Element, is_xml_text, prefix_that_fits};
use super::message::{Version, address};
use super::store::{Kind, Sent};
use super::vcard;

/// Room for a CmdID.
const CMD_ID: usize = 24;

/// What Data takes with text beyond what it takes empty: `<Data></Data>` for `<Data/>`.
const DATA_TAGS: usize = 7;

/// A chunk is not started in less room than this.
const MIN_CHUNK: usize = 512;

/// Commands that wait for a message, and those sent that wait for their Status.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The Status for the peer's SyncHdr, which stands before all others.
    header_status: Option<Element>,
    statuses: VecDeque<Element>,
    commands: VecDeque<Queued>,
    awaiting: HashMap<(u32, u32), Awaited>,
}

#[derive(Debug)]
enum Queued {
    Command(Element),
    Sync(Sync),
}

/// A Sync command, over as many messages as it takes.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) target: String,
    pub(super) source: String,
    pub(super) changes: VecDeque<Outgoing>,
    /// NumberOfChanges; `None` once it was told.
    number_of_changes: Option<usize>,
}

/// An item on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    sent: Sent,
    source: Option<String>,
    target: Option<String>,
    media_type: &'static str,
    /// The Data, as base64 if XML cannot carry it as it is.
    data: Vec<u8>,
    base64: bool,
    /// How much of the data earlier messages carried.
    offset: usize,
}

#[derive(Debug)]
enum Awaited {
    /// A chunk that others follow.
    Chunk(String),
    Item(Sent),
}

impl Sync {
    /// A Sync command for all these changes.
    pub(super) fn new(target: &str, source: &str, changes: VecDeque<Outgoing>) -> Self {
        let number_of_changes = Some(changes.len());
        Self { target: target.to_owned(), source: source.to_owned(), changes, number_of_changes }
    }
}

impl Outgoing {
    /// An item to send under these addresses.
    pub(super) fn new(
        kind: Kind,
        id: String,
        source: Option<String>,
        target: Option<String>,
        data: Vec<u8>,
        form: Form,
    ) -> Self {
        let sent = Sent { kind, id, hash: vcard::hash(&data) };
        let media_type = vcard::media_type(&data);
        let base64 = form == Form::Xml && !is_xml_text(&data);
        let data = if base64 { base64_turbo::STANDARD.encode(&data).into_bytes() } else { data };
        Self { sent, source, target, media_type, data, base64, offset: 0 }
    }

    /// The command with the next `length` bytes of the data.
    fn element(&self, length: usize) -> Element {
        let end = self.offset.saturating_add(length).min(self.data.len());
        let mut item = Element::node("Item", [])
            .with(self.target.as_deref().map(|target| address("Target", target)))
            .with(self.source.as_deref().map(|source| address("Source", source)));
        let mut command = Element::node(self.sent.kind.command(), []);
        if self.sent.kind != Kind::Delete {
            let format = self.base64.then(|| Element::metinf("Format", "b64"));
            let media_type = Element::metinf("Type", self.media_type);
            let size = (self.offset == 0 && end < self.data.len())
                .then(|| Element::metinf("Size", self.data.len().to_string()));
            command = command.with(Element::node("Meta", []).with(format).with(media_type).with(size));
            item = item.with(Element::data(self.data.get(self.offset..end).unwrap_or_default()));
            if end < self.data.len() {
                item = item.with(Element::leaf("MoreData", ""));
            }
        }
        command.with(item)
    }
}

impl Outbox {
    /// Sets the Status for the peer's SyncHdr.
    pub(super) fn set_header_status(&mut self, status: Element) {
        self.header_status = Some(status);
    }

    pub(super) fn push_status(&mut self, status: Element) {
        self.statuses.push_back(status);
    }

    pub(super) fn push(&mut self, command: Element) {
        self.commands.push_back(Queued::Command(command));
    }

    pub(super) fn push_sync(&mut self, sync: Sync) {
        self.commands.push_back(Queued::Sync(sync));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.header_status.is_none() && self.statuses.is_empty() && self.commands.is_empty()
    }

    /// Takes note of a Status for an item. Gives what it was about, unless that was a chunk or nothing of ours. After
    /// a refused chunk the rest of the item is not sent.
    pub(super) fn acknowledge(&mut self, msg_ref: u32, cmd_ref: u32, code: u16) -> Option<Sent> {
        match self.awaiting.remove(&(msg_ref, cmd_ref))? {
            Awaited::Item(sent) => Some(sent),
            Awaited::Chunk(id) => {
                if code >= 300
                    && let Some(Queued::Sync(sync)) = self.commands.front_mut()
                    && sync.changes.front().is_some_and(|change| change.offset > 0 && change.sent.id == id)
                {
                    sync.changes.pop_front();
                }
                None
            }
        }
    }

    /// Moves what fits into `room` bytes into the body of message `msg_id`: always something, if there is anything.
    pub(super) fn fill(&mut self, msg_id: u32, room: usize, form: Form, version: Version) -> Vec<Element> {
        let mut page = Page { body: Vec::new(), room, whole_room: room, next_id: 1, msg_id, form, version };
        if let Some(status) = self.header_status.take() {
            page.put(status);
        }
        page.whole_room = page.room;
        while let Some(status) = self.statuses.pop_front() {
            if !page.takes(&status) {
                self.statuses.push_front(status);
                return page.body;
            }
            page.put(status);
        }
        while let Some(queued) = self.commands.pop_front() {
            match queued {
                Queued::Command(command) if page.takes(&command) => page.put(command),
                Queued::Sync(mut sync) => {
                    page.put_changes(&mut sync, &mut self.awaiting);
                    if sync.number_of_changes.is_some() || !sync.changes.is_empty() {
                        self.commands.push_front(Queued::Sync(sync));
                        break;
                    }
                }
                waits @ Queued::Command(_) => {
                    self.commands.push_front(waits);
                    break;
                }
            }
        }
        page.body
    }
}

/// The body of a message while it is filled.
struct Page {
    body: Vec<Element>,
    /// Bytes left.
    room: usize,
    /// Bytes left when there was nothing but the Status for the SyncHdr.
    whole_room: usize,
    next_id: u32,
    msg_id: u32,
    form: Form,
    version: Version,
}

impl Page {
    fn cost(&self, command: &Element) -> usize {
        command.encoded_len(self.form, self.version) + CMD_ID
    }

    /// Whether there is room for it. A message that says nothing yet takes anything: it would never fit better.
    fn takes(&self, command: &Element) -> bool {
        self.room == self.whole_room || self.cost(command) <= self.room
    }

    fn put(&mut self, mut command: Element) {
        self.room = self.room.saturating_sub(self.cost(&command));
        self.number(&mut command);
        self.body.push(command);
    }

    /// Gives a command its CmdID.
    fn number(&mut self, command: &mut Element) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        command.children.insert(0, Element::leaf("CmdID", id.to_string()));
        id
    }

    /// Puts a Sync with as many of its changes as fit, or nothing when there is no room for the first.
    fn put_changes(&mut self, sync: &mut Sync, awaiting: &mut HashMap<(u32, u32), Awaited>) {
        let mut container = Element::node("Sync", [address("Target", &sync.target), address("Source", &sync.source)])
            .with(sync.number_of_changes.map(|number| Element::leaf("NumberOfChanges", number.to_string())));
        if !self.takes(&container) {
            return;
        }
        let before = (self.room, self.next_id);
        let wrapper = self.cost(&container);
        self.number(&mut container);
        self.room = self.room.saturating_sub(wrapper);
        let whole_room = self.whole_room.saturating_sub(wrapper);
        // Whether this is the first thing in the message, so that something has to go into it.
        let mut must = before.0 == self.whole_room;
        let mut filled = sync.changes.is_empty();
        while let Some(change) = sync.changes.front_mut() {
            let rest = change.data.len() - change.offset;
            let cost = self.cost(&change.element(rest));
            let divisible = cost > whole_room && rest > 0;
            let length = if cost <= self.room || (must && !divisible) {
                rest
            } else if divisible && (must || self.room >= MIN_CHUNK || change.offset > 0) {
                let room = self.room.saturating_sub(self.cost(&change.element(0)) + DATA_TAGS);
                let data = change.data.get(change.offset..).unwrap_or_default();
                match prefix_that_fits(data, room, self.form) {
                    // Not even a chunk: after other commands it waits for the next message, alone it goes whole.
                    0 if must => rest,
                    0 => break,
                    length => length,
                }
            } else {
                break;
            };
            let mut command = change.element(length);
            self.room = self.room.saturating_sub(self.cost(&command));
            let id = self.number(&mut command);
            container.children.push(command);
            filled = true;
            must = false;
            change.offset += length;
            if change.offset < change.data.len() {
                awaiting.insert((self.msg_id, id), Awaited::Chunk(change.sent.id.clone()));
                break;
            }
            awaiting.insert((self.msg_id, id), Awaited::Item(change.sent.clone()));
            sync.changes.pop_front();
        }
        if filled {
            sync.number_of_changes = None;
            self.body.push(container);
        } else {
            (self.room, self.next_id) = before;
        }
    }
}
