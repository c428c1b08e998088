//! A directory of vCard files, and what each peer is known to have of it.
//!
//! An item is a file whose name ends in `.vcf`; its name is its id. Beside the directory stands a state file (JSON)
//! that remembers for each peer the anchors of the last complete sync and the items it has, with their content hash
//! at that time. Changes are what differs between that and the directory: nothing has to watch the files.
//!
//! Files are written under another name and renamed, so that whoever reads sees the old content or the new.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::message::status;
use super::vcard;

/// The directory and the state beside it.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    state_file: PathBuf,
    peers: BTreeMap<String, Peer>,
}

/// What is known of a peer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Peer {
    /// The anchors of the last complete sync. Without them the next sync is a slow one.
    pub(super) anchors: Option<Anchors>,
    /// The items that both sides have, by our id.
    pub(super) items: BTreeMap<String, Known>,
}

/// The Next anchors of a sync.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Anchors {
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl Anchors {
    /// An anchor of ours later than any before: the time in milliseconds, or one more than the last when a clock went
    /// back.
    pub(super) fn next(known: Option<&Self>) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
        let last = known.and_then(|anchors| anchors.ours.parse::<u128>().ok()).unwrap_or(0);
        now.max(last.saturating_add(1)).to_string()
    }
}

/// An item that both sides have.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Known {
    /// The peer's id for it, where it has told one.
    pub(super) peer_id: Option<String>,
    /// The hash of the content when both sides had the same.
    pub(super) hash: String,
}

impl Peer {
    /// Takes note of the peer's Status for an item that was sent: now both sides have it, or neither, or it is sent
    /// again in the next sync. Says whether the peer did as it was told.
    pub(super) fn acknowledge(&mut self, sent: Sent, code: u16) -> bool {
        let taken = (200..300).contains(&code);
        match sent.kind {
            // The peer does not have it, or has something newer and will send that as new.
            Kind::Delete if taken || matches!(code, status::NOT_FOUND | status::SERVER_WON) => {
                self.items.remove(&sent.id);
            }
            Kind::Replace if code == status::NOT_FOUND => {
                self.items.remove(&sent.id);
            }
            Kind::Add | Kind::Replace if taken || code == status::ALREADY_EXISTS => {
                let peer_id = self.items.remove(&sent.id).and_then(|known| known.peer_id);
                self.items.insert(sent.id, Known { peer_id, hash: sent.hash });
            }
            _ => tracing::debug!(id = sent.id, code, "the peer did not take an item"),
        }
        taken
    }

    /// Our id of the item that the peer calls `peer_id`, and its hash then.
    pub(super) fn by_peer_id(&self, peer_id: &str) -> Option<(String, String)> {
        let mut items = self.items.iter();
        let (id, known) = items.find(|(_, known)| known.peer_id.as_deref() == Some(peer_id))?;
        Some((id.clone(), known.hash.clone()))
    }
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Replace,
    Delete,
}

impl Kind {
    /// The name of the command.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Replace => "Replace",
            Self::Delete => "Delete",
        }
    }

    /// The kind that a command of this name asks for.
    pub(super) fn of_command(name: &str) -> Option<Self> {
        [Self::Add, Self::Replace, Self::Delete].into_iter().find(|kind| kind.command() == name)
    }
}

/// An item that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) kind: Kind,
    /// Our id.
    pub(super) id: String,
    /// The hash of the content that was sent.
    pub(super) hash: String,
}

/// An item that differs from what the peer has.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// Our id.
    pub(super) id: String,
    pub(super) peer_id: Option<String>,
    /// The content, empty for a deleted item.
    pub(super) data: Vec<u8>,
}

impl Store {
    /// Opens a directory, made if there is none, with the state beside it.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let mut state_name = OsString::from(directory.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        state_name.push(".sync.json");
        let state_file = directory.with_file_name(state_name);
        let peers = match std::fs::read(&state_file) {
            Ok(json) => serde_json::from_slice(&json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { directory, state_file, peers })
    }

    /// What is known of a peer; nothing yet for a new one.
    pub(super) fn peer(&mut self, name: &str) -> &mut Peer {
        self.peers.entry(name.to_owned()).or_default()
    }

    /// Writes the state file.
    pub(super) fn save(&self) -> io::Result<()> {
        write_atomically(&self.state_file, &serde_json::to_vec_pretty(&self.peers)?)
    }

    /// The ids of all items.
    fn ids(&self) -> io::Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for entry in std::fs::read_dir(&self.directory)? {
            // Names that are not UTF-8 cannot be ids in SyncML.
            if let Ok(name) = entry?.file_name().into_string()
                && name.ends_with(".vcf")
                && !name.starts_with('.')
            {
                ids.insert(name);
            }
        }
        Ok(ids)
    }

    /// All items with their content.
    pub(super) fn items(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut items = Vec::new();
        for id in self.ids()? {
            if let Some(data) = self.read(&id)? {
                items.push((id, data));
            }
        }
        Ok(items)
    }

    /// The content of an item. The id is one of ours, never a peer's text.
    pub(super) fn read(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.directory.join(id)) {
            Ok(data) => Ok(Some(data)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hash of an item's content.
    pub(super) fn hash(&self, id: &str) -> io::Result<Option<String>> {
        Ok(self.read(id)?.map(|data| vcard::hash(&data)))
    }

    /// Writes an item under an id of ours.
    pub(super) fn write(&self, id: &str, data: &[u8]) -> io::Result<()> {
        write_atomically(&self.directory.join(id), data)
    }

    /// Writes a new item and makes its id, from its content.
    pub(super) fn add(&self, data: &[u8]) -> io::Result<String> {
        let hash = vcard::hash(data);
        let mut id = format!("{hash}.vcf");
        let mut copy = 1;
        while self.directory.join(&id).try_exists()? {
            copy += 1;
            id = format!("{hash}-{copy}.vcf");
        }
        self.write(&id, data)?;
        Ok(id)
    }

    /// Deletes an item; one that is gone already is no error.
    pub(super) fn delete(&self, id: &str) -> io::Result<()> {
        match std::fs::remove_file(self.directory.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What the peer does not know yet. An item whose id at the peer is still unknown can only be told about later.
    pub(super) fn changes(&mut self, peer: &str) -> io::Result<Vec<Change>> {
        let items = self.items()?;
        let peer = self.peer(peer);
        let present: BTreeSet<&str> = items.iter().map(|(id, _)| id.as_str()).collect();
        let mut changes = Vec::new();
        for (id, known) in peer.items.iter().filter(|(id, _)| !present.contains(id.as_str())) {
            let peer_id = known.peer_id.clone();
            changes.push(Change { kind: Kind::Delete, id: id.clone(), peer_id, data: Vec::new() });
        }
        for (id, data) in items {
            match peer.items.get(&id) {
                None => changes.push(Change { kind: Kind::Add, id, peer_id: None, data }),
                Some(known) if known.hash != vcard::hash(&data) => {
                    let peer_id = known.peer_id.clone();
                    changes.push(Change { kind: Kind::Replace, id, peer_id, data });
                }
                Some(_) => {}
            }
        }
        Ok(changes)
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let unfinished = path.with_file_name(name);
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}
