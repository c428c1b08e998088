//! The client's side of one session: its changes first, then the server's, then its ids for what it has taken.

use std::io;

use super::super::conversation::{Arrival, Conversation, Extras, Party};
use super::super::document::{self, Element};
use super::super::message::{Command, Device, Item, Message, address, alert, anchor, status, sync_alert};
use super::super::outbox::{Outgoing, Sync};
use super::super::store::{Anchors, Kind, Known, Peer, Store};
use super::super::vcard;
use super::{ClientConfig, Mode, Report, SyncError};

/// The client's own name for its database.
const DATABASE: &str = "./contacts";

/// How many ids one Map carries: few enough for any message.
const MAP_ITEMS: usize = 16;

/// A session of the client.
#[derive(Debug)]
pub(super) struct Session {
    conversation: Conversation,
    config: ClientConfig,
    /// The server's name in the store's state.
    peer: String,
    mode: Mode,
    stage: Stage,
    /// Where the next message goes.
    url: String,
    /// Whether the server has been shown the credentials.
    credentials_shown: bool,
    ours: String,
    /// The server's anchor, once it has told it.
    theirs: Option<String>,
    /// Ids for the server: its own and ours.
    map: Vec<(String, String)>,
    report: Report,
}

/// Which package of ours was begun last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// 1: what kind of sync, and who we are.
    Opening,
    /// 3: our changes. The server's come in answer.
    Sending,
    /// 5: our ids for the server's items.
    Mapping,
}

/// What comes next.
pub(super) enum Step {
    /// A message to send.
    Send(Vec<u8>),
    /// Nothing: the sync is complete.
    Done(Report),
    /// A new session with a slow sync.
    StartOver,
}

impl Session {
    /// Begins a session; gives its first message too.
    pub(super) fn open(store: &mut Store, config: ClientConfig, mode: Mode) -> io::Result<(Self, Vec<u8>)> {
        // Four characters: SessionID takes no more by the letter of the standard.
        let session_id = (getrandom::u32().map_err(io::Error::other)? % 10_000).to_string();
        let us = Party { uri: config.device.clone(), name: Some(config.user.clone()) };
        let server = Party { uri: config.url.clone(), name: None };
        let mut conversation = Conversation::new(config.form, config.version, session_id, (us, server), config.sizes());
        let peer = format!("{} {}", config.url, config.database);
        let known = store.peer(&peer).anchors.clone();
        let mode = if known.is_none() { Mode::Slow } else { mode };
        conversation.close();
        let mut session = Self {
            conversation,
            peer,
            mode,
            stage: Stage::Opening,
            url: config.url.clone(),
            credentials_shown: false,
            ours: Anchors::next(known.as_ref()),
            theirs: None,
            map: Vec::new(),
            report: Report::default(),
            config,
        };
        let first = session.introduce(known.as_ref(), !session.config.wait_for_challenge);
        Ok((session, first))
    }

    /// Where the next message goes.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The message of package 1.
    fn introduce(&mut self, known: Option<&Anchors>, show_credentials: bool) -> Vec<u8> {
        let mut put = Element::node("Put", []);
        let device = Device { id: &self.config.device, kind: "workstation", database: DATABASE };
        put.children.extend(device.information(self.config.version, self.config.form));
        self.conversation.outbox.push(put);
        let code = match self.mode {
            Mode::TwoWay => alert::TWO_WAY,
            Mode::Slow => alert::SLOW,
        };
        let last = known.map(|anchors| anchors.ours.as_str());
        self.conversation.outbox.push(sync_alert(code, &self.config.database, DATABASE, last, &self.ours));
        self.conversation.close();
        self.credentials_shown = show_credentials;
        let credentials = show_credentials.then(|| format!("{}:{}", self.config.user, self.config.password));
        self.conversation.speak(&Extras { credentials, ..Extras::default() })
    }

    /// Takes in an answer of the server's.
    pub(super) fn hear(&mut self, store: &mut Store, answer: &[u8]) -> Result<Step, SyncError> {
        let message = Message::parse(document::read(self.config.form, answer)?)?;
        if message.header.session_id != self.conversation.session_id {
            return Err(SyncError::OtherSession);
        }
        // From then on the server is addressed by what it asks to be addressed by.
        if let Some(uri) = &message.header.resp_uri {
            self.url.clone_from(uri);
            self.conversation.peer.uri.clone_from(uri);
        }
        let header_status = message.commands().find(|command| command.element.text_at(&["Cmd"]) == Some("SyncHdr"));
        let header_status = header_status.ok_or(SyncError::Missing("a Status for the SyncHdr"))?;
        match header_status.code().ok_or(SyncError::Missing("a Status for the SyncHdr"))? {
            status::OK | status::AUTHENTICATED => {}
            status::INVALID_CREDENTIALS | status::MISSING_CREDENTIALS if !self.credentials_shown => {
                self.conversation.hear(&message.header, status::OK);
                let known = store.peer(&self.peer).anchors.clone();
                return Ok(Step::Send(self.introduce(known.as_ref(), true)));
            }
            code @ (status::INVALID_CREDENTIALS | status::MISSING_CREDENTIALS) => {
                return Err(SyncError::Credentials(code));
            }
            code => {
                let reason = header_status.items().map(|item| String::from_utf8_lossy(item.data()).into_owned()).next();
                return Err(SyncError::Refused { code, reason });
            }
        }
        self.conversation.hear(&message.header, status::OK);
        for command in message.commands() {
            if !self.answer(store, command)? {
                return Ok(Step::StartOver);
            }
        }
        let complete = message.is_final() && !self.conversation.is_closing();
        let done = complete && self.close_package(store)?;
        store.save()?;
        Ok(if done { Step::Done(self.report) } else { Step::Send(self.conversation.speak(&Extras::default())) })
    }

    /// Answers a command. Says no when the two sides' memories do not fit each other.
    fn answer(&mut self, store: &mut Store, command: Command<'_>) -> Result<bool, SyncError> {
        match command.name() {
            "Status" => match (command.element.text_at(&["Cmd"]), command.code()) {
                (Some("Alert"), Some(code)) if self.stage == Stage::Opening => match code {
                    status::OK | status::REFRESH_REQUIRED => {}
                    code => return Err(SyncError::Database(code)),
                },
                _ => self.acknowledge(store, command),
            },
            "Alert" if matches!(command.code(), Some(alert::TWO_WAY | alert::SLOW)) => {
                return Ok(self.agree(store, command));
            }
            "Sync" => self.receive(store, command)?,
            _ => {
                let device = Device { id: &self.config.device, kind: "workstation", database: DATABASE };
                self.conversation.answer_common(command, &device);
            }
        }
        Ok(true)
    }

    /// The server's Alert decides what kind of sync this is.
    fn agree(&mut self, store: &mut Store, command: Command<'_>) -> bool {
        let anchors = command.items().next().and_then(|item| item.anchors());
        let Some((last, next)) = anchors.filter(|_| self.stage == Stage::Opening) else {
            self.conversation.answer(command, status::BAD_REQUEST, None);
            return true;
        };
        let peer = store.peer(&self.peer);
        self.report.slow = command.code() == Some(alert::SLOW);
        if self.report.slow {
            *peer = Peer::default();
        } else if peer.anchors.as_ref().map(|anchors| anchors.theirs.as_str()) != last {
            return false;
        }
        self.theirs = Some(next.to_owned());
        let echo = Element::node("Item", [Element::node("Data", [anchor(None, next)])]);
        self.conversation.answer(command, status::OK, Some(echo));
        true
    }

    fn acknowledge(&mut self, store: &mut Store, command: Command<'_>) {
        let Some((sent, code)) = self.conversation.acknowledged(command) else { return };
        let kind = sent.kind;
        if store.peer(&self.peer).acknowledge(sent, code) {
            self.report.sent.count(kind);
        }
    }

    /// A Sync with changes of the server.
    fn receive(&mut self, store: &mut Store, sync: Command<'_>) -> io::Result<()> {
        let expected = self.stage == Stage::Sending;
        self.conversation.answer(sync, if expected { status::OK } else { status::FORBIDDEN }, None);
        for command in sync.commands() {
            let Some(kind) = Kind::of_command(command.name()).filter(|_| expected) else {
                let code = if expected { status::NOT_SUPPORTED } else { status::FORBIDDEN };
                self.conversation.answer(command, code, None);
                continue;
            };
            for item in command.items() {
                let code = match self.conversation.receive(item) {
                    Arrival::Part => status::CHUNK_ACCEPTED,
                    Arrival::Refused(code) => code,
                    Arrival::Whole(data) => self.apply(store, kind, item, &data)?,
                };
                self.conversation.answer_item(item, code);
            }
        }
        Ok(())
    }

    /// Applies a change of the server to the files, unless the item has changed here since its change was sent: the
    /// next sync settles that.
    fn apply(&mut self, store: &mut Store, kind: Kind, item: Item<'_>, data: &[u8]) -> io::Result<u16> {
        let hash = vcard::hash(data);
        let (id, known, guid) = match (kind, item.source(), item.target()) {
            (Kind::Add, Some(guid), _) => match store.peer(&self.peer).by_peer_id(guid) {
                // An earlier session brought it, and broke off before the server knew.
                Some((id, known)) => (id, known, Some(guid.to_owned())),
                None => {
                    let id = store.add(data)?;
                    let known = Known { peer_id: Some(guid.to_owned()), hash };
                    store.peer(&self.peer).items.insert(id.clone(), known);
                    self.map.push((guid.to_owned(), id));
                    self.report.received.count(kind);
                    return Ok(status::ITEM_ADDED);
                }
            },
            (Kind::Replace | Kind::Delete, _, Some(luid)) => match store.peer(&self.peer).items.get(luid) {
                Some(known) => (luid.to_owned(), known.hash.clone(), known.peer_id.clone()),
                None if kind == Kind::Delete => return Ok(status::NOT_DELETED),
                None => return Ok(status::NOT_FOUND),
            },
            _ => return Ok(status::BAD_REQUEST),
        };
        match (kind, store.hash(&id)?) {
            (Kind::Delete, None) => {
                store.peer(&self.peer).items.remove(&id);
                return Ok(status::NOT_DELETED);
            }
            (_, current) if current.as_ref().is_none_or(|current| *current != known && *current != hash) => {
                return Ok(status::CONFLICT);
            }
            (Kind::Delete, Some(_)) => {
                store.delete(&id)?;
                store.peer(&self.peer).items.remove(&id);
            }
            (Kind::Add | Kind::Replace, _) => {
                store.write(&id, data)?;
                if let (Kind::Add, Some(guid)) = (kind, &guid) {
                    self.map.push((guid.clone(), id.clone()));
                }
                store.peer(&self.peer).items.insert(id, Known { peer_id: guid, hash });
            }
        }
        self.report.received.count(kind);
        Ok(status::OK)
    }

    /// The server has closed its package: ours can close when all is said. Says whether that was the last.
    fn close_package(&mut self, store: &mut Store) -> Result<bool, SyncError> {
        let theirs = self.theirs.clone().ok_or(SyncError::Missing("an Alert for the database"))?;
        match self.stage {
            Stage::Opening => {
                let changes = store.changes(&self.peer)?.into_iter().map(|change| {
                    let source = Some(change.id.clone());
                    Outgoing::new(change.kind, change.id, source, None, change.data, self.config.form)
                });
                let sync = Sync::new(&self.config.database, DATABASE, changes.collect());
                self.conversation.outbox.push_sync(sync);
                self.stage = Stage::Sending;
            }
            Stage::Sending => {
                for items in self.map.chunks(MAP_ITEMS) {
                    let mut map =
                        Element::node("Map", [address("Target", &self.config.database), address("Source", DATABASE)]);
                    map.children.extend(items.iter().map(|(guid, luid)| {
                        Element::node("MapItem", [address("Target", guid), address("Source", luid)])
                    }));
                    self.conversation.outbox.push(map);
                }
                self.stage = Stage::Mapping;
            }
            Stage::Mapping => {
                store.peer(&self.peer).anchors = Some(Anchors { ours: self.ours.clone(), theirs });
                return Ok(true);
            }
        }
        self.conversation.close();
        Ok(false)
    }
}
