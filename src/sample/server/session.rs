//! One session of the server: what the client sends is applied, then what it lacks is sent.
//!
//! Packages 1 and 2 agree on the kind of sync, 3 brings the client's changes, 4 the server's, 5 the client's ids for
//! them. Each item is noted in the store's state when both sides are known to have it, so that a session that breaks
//! off loses no work; the anchors are written at the end, so that it is not taken for complete.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use crate::syncml::Form;

use super::super::conversation::{Arrival, Conversation, Extras};
use super::super::document::Element;
use super::super::message::{Command, Device, Message, alert, anchor, same_address, status, sync_alert};
use super::super::outbox::{Outgoing, Sync};
use super::super::store::{Anchors, Kind, Known, Peer, Store};
use super::super::vcard;

/// A session whose client has shown its credentials.
#[derive(Debug)]
pub(super) struct Session {
    conversation: Conversation,
    database: String,
    /// Where the client is to send its next messages, until it was told.
    resp_uri: Option<String>,
    stage: Stage,
    agreed: Option<Agreed>,
    /// The hash of the last message, and the answer: for a client that lost the answer.
    last: Option<(String, Vec<u8>)>,
    last_msg_id: u32,
    touched: Instant,
}

/// Which package of ours is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client is opening the session: package 2.
    Opening,
    /// The client sends its changes: package 4.
    Receiving,
    /// We send ours, and wait for the client's ids: package 6.
    Sending,
    /// All is said.
    Ended,
}

/// The sync that both agreed on.
#[derive(Debug)]
struct Agreed {
    /// The client's name for its database.
    client_database: String,
    anchors: Anchors,
    /// In a slow sync: the items that no item of the client has been matched with, by what they say.
    unmatched: HashMap<String, Vec<(String, String)>>,
    /// Whether the client has begun to send its changes.
    synced: bool,
}

impl Session {
    pub(super) fn new(conversation: Conversation, database: String, resp_uri: String) -> Self {
        Self {
            conversation,
            database,
            resp_uri: Some(resp_uri),
            stage: Stage::Opening,
            agreed: None,
            last: None,
            last_msg_id: 0,
            touched: Instant::now(),
        }
    }

    /// When the last message came.
    pub(super) fn touched(&self) -> Instant {
        self.touched
    }

    /// The client's address.
    pub(super) fn device(&self) -> &str {
        &self.conversation.peer.uri
    }

    /// Answers a message; the same message again gets the same answer. `None` when the session has ended.
    pub(super) fn handle(
        &mut self,
        store: &mut Store,
        message: &Message,
        body: &[u8],
        form: Form,
    ) -> io::Result<Option<Vec<u8>>> {
        self.touched = Instant::now();
        let hash = vcard::hash(body);
        if let Some((last, answer)) = &self.last
            && *last == hash
        {
            return Ok(Some(answer.clone()));
        }
        if self.stage == Stage::Ended {
            return Ok(None);
        }
        let header = &message.header;
        let first = self.last.is_none();
        let fits = header.session_id == self.conversation.session_id
            && header.version() == Some(self.conversation.version)
            && header.source == self.conversation.peer.uri
            && header.msg_id > self.last_msg_id
            && form == self.conversation.form;
        self.last_msg_id = header.msg_id;
        self.conversation.us.uri.clone_from(&header.target);
        self.conversation.hear(
            header,
            match (fits, first) {
                (false, _) => status::BAD_REQUEST,
                (true, true) => status::AUTHENTICATED,
                (true, false) => status::OK,
            },
        );
        if fits {
            for command in message.commands() {
                self.answer(store, command)?;
            }
            // A client closes its package only after ours; a Final before that says nothing.
            if message.is_final() && !self.conversation.is_closing() {
                self.close_package(store)?;
            }
            store.save()?;
        } else {
            self.stage = Stage::Ended;
            self.conversation.close();
        }
        let extras = Extras { resp_uri: self.resp_uri.take(), ..Extras::default() };
        let answer = self.conversation.speak(&extras);
        self.last = Some((hash, answer.clone()));
        Ok(Some(answer))
    }

    fn answer(&mut self, store: &mut Store, command: Command<'_>) -> io::Result<()> {
        match command.name() {
            "Status" => self.acknowledge(store, command),
            "Alert" if matches!(command.code(), Some(200..=210)) => self.agree(store, command)?,
            "Sync" => self.receive(store, command)?,
            "Map" => self.map(store, command),
            _ => {
                let uri = self.conversation.us.uri.clone();
                let device = Device { id: &uri, kind: "server", database: &self.database };
                self.conversation.answer_common(command, &device);
            }
        }
        Ok(())
    }

    /// An Alert that asks for a sync: anchors that match ours allow a two-way sync, all else is slow.
    fn agree(&mut self, store: &mut Store, command: Command<'_>) -> io::Result<()> {
        let refusal = match (command.code(), command.items().next()) {
            (Some(alert::TWO_WAY | alert::SLOW), Some(item)) if self.agreed.is_none() => {
                match (item.target(), item.source(), item.anchors()) {
                    (Some(target), _, _) if !same_address(target, &self.database) => status::NOT_FOUND,
                    (Some(_), Some(source), Some((last, next))) => {
                        return self.begin(store, command, source, last, next);
                    }
                    _ => status::BAD_REQUEST,
                }
            }
            (Some(alert::TWO_WAY | alert::SLOW), None) => status::BAD_REQUEST,
            (Some(alert::TWO_WAY | alert::SLOW), Some(_)) => status::NOT_ALLOWED,
            _ => status::NOT_SUPPORTED,
        };
        self.conversation.answer(command, refusal, None);
        Ok(())
    }

    fn begin(
        &mut self,
        store: &mut Store,
        command: Command<'_>,
        source: &str,
        last: Option<&str>,
        next: &str,
    ) -> io::Result<()> {
        let known = store.peer(self.device()).anchors.clone();
        let two_way = command.code() == Some(alert::TWO_WAY);
        let matching = last.is_some() && last == known.as_ref().map(|anchors| anchors.theirs.as_str());
        let slow = !(two_way && matching);
        let code = if two_way && slow { status::REFRESH_REQUIRED } else { status::OK };
        let echo = Element::node("Item", [Element::node("Data", [anchor(None, next)])]);
        self.conversation.answer(command, code, Some(echo));

        let mut unmatched: HashMap<String, Vec<(String, String)>> = HashMap::new();
        if slow {
            *store.peer(self.device()) = Peer::default();
            for (id, data) in store.items()? {
                unmatched.entry(vcard::meaning(&data)).or_default().push((id, vcard::hash(&data)));
            }
        }
        let ours = Anchors::next(known.as_ref());
        let last = known.as_ref().map(|anchors| anchors.ours.as_str());
        let code = if slow { alert::SLOW } else { alert::TWO_WAY };
        self.conversation.outbox.push(sync_alert(code, source, &self.database, last, &ours));
        let anchors = Anchors { ours, theirs: next.to_owned() };
        self.agreed = Some(Agreed { client_database: source.to_owned(), anchors, unmatched, synced: false });
        Ok(())
    }

    /// A Sync with changes of the client.
    fn receive(&mut self, store: &mut Store, sync: Command<'_>) -> io::Result<()> {
        let target = sync.address("Target").unwrap_or_default();
        let refusal = match &mut self.agreed {
            _ if !same_address(target, &self.database) => Some(status::NOT_FOUND),
            Some(agreed) if self.stage != Stage::Sending => {
                agreed.synced = true;
                None
            }
            _ => Some(status::FORBIDDEN),
        };
        self.conversation.answer(sync, refusal.unwrap_or(status::OK), None);
        for command in sync.commands() {
            let kind = match (refusal, Kind::of_command(command.name())) {
                (None, Some(kind)) if command.element.child("SftDel").is_none() => kind,
                (code, _) => {
                    self.conversation.answer(command, code.unwrap_or(status::NOT_SUPPORTED), None);
                    continue;
                }
            };
            for item in command.items() {
                let code = match (item.source(), self.conversation.receive(item)) {
                    (None, _) => status::BAD_REQUEST,
                    (_, Arrival::Part) => status::CHUNK_ACCEPTED,
                    (_, Arrival::Refused(code)) => code,
                    (Some(luid), Arrival::Whole(data)) => self.apply(store, kind, luid, &data)?,
                };
                self.conversation.answer_item(item, code);
            }
        }
        Ok(())
    }

    /// Applies a change of the client to the files. Where both sides changed an item the client's content wins, and a
    /// change wins over a deletion.
    fn apply(&mut self, store: &mut Store, kind: Kind, luid: &str, data: &[u8]) -> io::Result<u16> {
        let device = self.conversation.peer.uri.clone();
        let Some((id, known)) = store.peer(&device).by_peer_id(luid) else {
            return if kind == Kind::Delete { Ok(status::NOT_DELETED) } else { self.add(store, &device, luid, data) };
        };
        let current = store.hash(&id)?;
        if kind == Kind::Delete {
            store.peer(&device).items.remove(&id);
            return Ok(match current {
                None => status::NOT_DELETED,
                Some(current) if current != known => status::SERVER_WON,
                Some(_) => {
                    store.delete(&id)?;
                    status::OK
                }
            });
        }
        let hash = vcard::hash(data);
        let conflict = current.as_ref().is_none_or(|current| *current != known && *current != hash);
        store.write(&id, data)?;
        store.peer(&device).items.insert(id, Known { peer_id: Some(luid.to_owned()), hash });
        Ok(if conflict { status::CLIENT_WON } else { status::OK })
    }

    /// An item that is new to this server, unless a slow sync finds one here that says the same.
    fn add(&mut self, store: &mut Store, device: &str, luid: &str, data: &[u8]) -> io::Result<u16> {
        let same =
            self.agreed.as_mut().and_then(|agreed| agreed.unmatched.get_mut(&vcard::meaning(data))).and_then(Vec::pop);
        let (code, (id, hash)) = match same {
            Some(item) => (status::OK, item),
            None => (status::ITEM_ADDED, (store.add(data)?, vcard::hash(data))),
        };
        store.peer(device).items.insert(id, Known { peer_id: Some(luid.to_owned()), hash });
        Ok(code)
    }

    /// A Status for an item of ours.
    fn acknowledge(&mut self, store: &mut Store, command: Command<'_>) {
        let Some((sent, code)) = self.conversation.acknowledged(command) else { return };
        store.peer(&self.conversation.peer.uri).acknowledge(sent, code);
    }

    /// The client's ids for items that we sent it, in this session or an earlier one.
    fn map(&mut self, store: &mut Store, command: Command<'_>) {
        let items = &mut store.peer(&self.conversation.peer.uri).items;
        let mut code = status::OK;
        for item in command.element.children.iter().filter(|child| child.name == "MapItem") {
            let guid = item.text_at(&["Target", "LocURI"]);
            match (guid.and_then(|guid| items.get_mut(guid)), item.text_at(&["Source", "LocURI"])) {
                (Some(known), Some(luid)) => known.peer_id = Some(luid.to_owned()),
                _ => code = status::NOT_FOUND,
            }
        }
        self.conversation.answer(command, code, None);
    }

    /// The client has closed its package: ours can close when all is said.
    fn close_package(&mut self, store: &mut Store) -> io::Result<()> {
        let synced = self.agreed.as_ref().is_some_and(|agreed| agreed.synced);
        self.stage = match (self.stage, &mut self.agreed) {
            (Stage::Opening, Some(_)) if !synced => Stage::Receiving,
            (Stage::Opening | Stage::Receiving, Some(agreed)) => {
                let device = &self.conversation.peer.uri;
                let changes = store.changes(device)?.into_iter().filter_map(|change| {
                    let (source, target) = match change.kind {
                        Kind::Add => (Some(change.id.clone()), None),
                        // Without the client's id for it there is no way to speak of it.
                        Kind::Replace | Kind::Delete => (None, Some(change.peer_id?)),
                    };
                    Some(Outgoing::new(change.kind, change.id, source, target, change.data, self.conversation.form))
                });
                let sync = Sync::new(&agreed.client_database, &self.database, changes.collect());
                self.conversation.outbox.push_sync(sync);
                Stage::Sending
            }
            (Stage::Sending, Some(agreed)) => {
                store.peer(&self.conversation.peer.uri).anchors = Some(agreed.anchors.clone());
                Stage::Ended
            }
            // No database was agreed on: there is nothing more to say.
            (_, None) | (Stage::Ended, Some(_)) => Stage::Ended,
        };
        self.conversation.close();
        Ok(())
    }
}
