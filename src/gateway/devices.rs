//! The devices that a gateway has seen, by route and Source LocURI, and what each speaks: what a rollout is judged by.
//!
//! A device is whatever a message names as its source: in plaintext anybody can claim any name, and under a gateway's
//! public key everybody can seal. So the register decides nothing about a message. It is bounded: the device that was
//! seen longest ago gives way to a new one. Names are cut, and what a terminal would obey is escaped, before they are
//! kept; they are the identities of people's devices all the same, which is why a [`Snapshot`] is written for its owner
//! alone ([`save`]).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::policy::{Objection, Plaintext, Rules, Subject};
use crate::session::UnixTime;

/// Bytes of a name that are kept.
const LONGEST_NAME: usize = 256;

/// The devices that were seen. Clones share them.
#[derive(Clone, Debug)]
pub struct Devices(Arc<Mutex<Register>>);

#[derive(Debug)]
struct Register {
    /// The one seen longest ago last.
    seen: LruCache<(Arc<str>, Box<str>), Seen>,
    limit: usize,
    forgotten: u64,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speech {
    /// Sealed, and it opened.
    Sealed,
    /// Not sealed.
    Plaintext,
}

/// A message that names its device.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The path of the route.
    pub route: &'a Arc<str>,
    /// Source LocURI, decoded.
    pub source: &'a [u8],
    /// Where it came from.
    pub address: IpAddr,
    /// How it came.
    pub speech: Speech,
    /// Why it was refused, or would have been, as far as rules are asked.
    pub objection: Option<Objection>,
    /// When.
    pub now: UnixTime,
}

/// What is known of a device on a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The path of the route.
    pub route: String,
    /// Its name, as it can be shown.
    pub device: String,
    /// Whether that is its name as it came.
    pub exact: bool,
    /// Where its latest message came from.
    pub address: IpAddr,
    /// When it was seen for the first time.
    #[serde(with = "rfc3339")]
    pub first_seen: UnixTime,
    /// Its latest message without a seal.
    #[serde(with = "rfc3339::option")]
    pub last_plaintext: Option<UnixTime>,
    /// Its first sealed message.
    #[serde(with = "rfc3339::option")]
    pub first_sealed: Option<UnixTime>,
    /// Its latest sealed message.
    #[serde(with = "rfc3339::option")]
    pub last_sealed: Option<UnixTime>,
    /// Messages without a seal.
    pub plaintext_messages: u64,
    /// Sealed messages.
    pub sealed_messages: u64,
    /// Why its latest message without a seal was refused, or would have been.
    pub objection: Option<Objection>,
}

impl Seen {
    /// How its latest message came; of the same second, the sealed one counts.
    pub fn speaks(&self) -> Speech {
        if self.last_plaintext > self.last_sealed { Speech::Plaintext } else { Speech::Sealed }
    }

    /// When it was seen last.
    pub fn last_seen(&self) -> UnixTime {
        self.last_plaintext.max(self.last_sealed).unwrap_or(self.first_seen)
    }

    /// The rule that would decide about it at `now`, if it came from where it came from last, and what it says.
    fn decided<'r>(&self, rules: &'r Rules, now: UnixTime) -> (&'r str, Plaintext) {
        let device = self.exact.then_some(self.device.as_bytes());
        let decision = rules.decide(&Subject { route: &self.route, device, address: self.address, now });
        (&decision.rule().name, decision.plaintext())
    }

    /// Whether it would be refused at `now` for what it speaks.
    fn breaks(&self, rules: &Rules, now: UnixTime) -> bool {
        self.speaks() == Speech::Plaintext && self.decided(rules, now).1 == Plaintext::Require
    }
}

/// How many devices would be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    /// Devices that were seen.
    pub seen: usize,
    /// Those of them that would be refused, by route and name.
    pub broken: Vec<(String, String)>,
}

impl Devices {
    /// None yet, and never more than `limit`.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Register { seen: LruCache::unbounded(), limit, forgotten: 0 })))
    }

    /// Those of a snapshot; of more than `limit`, the ones seen last.
    pub fn restored(limit: usize, snapshot: Snapshot) -> Self {
        let devices = Self::new(limit);
        let mut lines = snapshot.devices;
        lines.sort_by_key(|line| line.seen.last_seen());
        let mut register = devices.lock();
        register.forgotten = snapshot.forgotten;
        for Line { seen, .. } in lines {
            register.put((seen.route.as_str().into(), seen.device.as_str().into()), seen);
        }
        drop(register);
        devices
    }

    /// Takes note of a message.
    pub fn saw(&self, sighting: &Sighting<'_>) {
        let Sighting { route, source, address, speech, objection, now } = *sighting;
        let (device, exact) = shown(source);
        let key = (Arc::clone(route), device.as_str().into());
        let mut register = self.lock();
        let mut seen = register.seen.pop(&key).unwrap_or_else(|| Seen {
            route: route.to_string(),
            device,
            exact,
            address,
            first_seen: now,
            last_plaintext: None,
            first_sealed: None,
            last_sealed: None,
            plaintext_messages: 0,
            sealed_messages: 0,
            objection: None,
        });
        seen.address = address;
        match speech {
            Speech::Sealed => {
                seen.first_sealed.get_or_insert(now);
                seen.last_sealed = Some(now);
                seen.sealed_messages += 1;
            }
            Speech::Plaintext => {
                seen.last_plaintext = Some(now);
                seen.plaintext_messages += 1;
                seen.objection = objection;
            }
        }
        register.put(key, seen);
    }

    /// Of the devices seen since `since`, those that would be refused under `rules` at `now`, if they spoke as they did
    /// last.
    pub fn would_break(&self, rules: &Rules, since: UnixTime, now: UnixTime) -> Breaks {
        let register = self.lock();
        let mut breaks = Breaks::default();
        for (_, seen) in register.seen.iter().filter(|(_, seen)| seen.last_seen() >= since) {
            breaks.seen += 1;
            if seen.breaks(rules, now) {
                breaks.broken.push((seen.route.clone(), seen.device.clone()));
            }
        }
        breaks
    }

    /// As [`Devices::would_break`], of the devices that are not refused under the rules `before` already.
    pub fn would_cut_off(&self, before: &Rules, after: &Rules, since: UnixTime, now: UnixTime) -> Breaks {
        let mut breaks = self.would_break(after, since, now);
        let already: HashSet<_> = self.would_break(before, since, now).broken.into_iter().collect();
        breaks.broken.retain(|device| !already.contains(device));
        breaks
    }

    /// Everything that is known at `now`, with what `rules` say of it; the device that was seen last first.
    pub fn snapshot(&self, rules: &Rules, now: UnixTime) -> Snapshot {
        let register = self.lock();
        let line = |seen: &Seen| {
            let (rule, plaintext) = seen.decided(rules, now);
            Line {
                speaks: seen.speaks(),
                last_seen: seen.last_seen(),
                rule: rule.to_owned(),
                under: plaintext.name().to_owned(),
                breaks: seen.breaks(rules, now),
                seen: seen.clone(),
            }
        };
        let devices = register.seen.iter().map(|(_, seen)| line(seen)).collect();
        Snapshot { version: VERSION, taken: now, forgotten: register.forgotten, devices }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    /// Puts a device first.
    fn put(&mut self, key: (Arc<str>, Box<str>), seen: Seen) {
        self.seen.put(key, seen);
        while self.seen.len() > self.limit && self.seen.pop_lru().is_some() {
            self.forgotten += 1;
        }
    }
}

/// A name as it can be shown and kept, and whether that is all of it, as it came. White space around it does not count.
fn shown(source: &[u8]) -> (String, bool) {
    let source = source.trim_ascii();
    let mut name = String::new();
    for character in String::from_utf8_lossy(source).chars() {
        let before = name.len();
        match character {
            '\'' | '"' | '\\' => name.push(character),
            // Control characters, and those that show nothing or turn the line around.
            _ => name.extend(character.escape_debug()),
        }
        if name.len() > LONGEST_NAME {
            name.truncate(before);
            let _ = name.write_char('…');
            break;
        }
    }
    let exact = name.as_bytes() == source;
    (name, exact)
}

/// The version of the form of a [`Snapshot`].
const VERSION: u32 = 1;

/// What is known of all devices at a time: the state file, and what operators get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of this form.
    pub version: u32,
    /// When it was taken.
    #[serde(with = "rfc3339")]
    pub taken: UnixTime,
    /// Devices that had to give way to others.
    pub forgotten: u64,
    /// The devices.
    pub devices: Vec<Line>,
}

/// A device in a [`Snapshot`], with what the rules of its time said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What is known of it.
    #[serde(flatten)]
    pub seen: Seen,
    /// How its latest message came.
    pub speaks: Speech,
    /// When it was seen last.
    #[serde(with = "rfc3339")]
    pub last_seen: UnixTime,
    /// The rule that decides about it.
    pub rule: String,
    /// What that rule says.
    pub under: String,
    /// Whether it is refused under that rule, for what it speaks.
    pub breaks: bool,
}

/// Why there is no snapshot in a text.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSnapshot {
    /// It is no JSON of this form.
    #[error("it is no register of devices: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it is a register of devices of version {0}, which is not known here")]
    Version(u32),
}

impl Snapshot {
    /// Reads a snapshot from JSON.
    ///
    /// # Errors
    /// [`InvalidSnapshot`].
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidSnapshot> {
        let snapshot: Self = serde_json::from_slice(json)?;
        if snapshot.version == VERSION { Ok(snapshot) } else { Err(InvalidSnapshot::Version(snapshot.version)) }
    }
}

/// Why the state of a gateway cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Invalid(#[from] InvalidSnapshot),
}

/// Writes a snapshot, whole or not at all, for its owner alone (mode 0600).
///
/// # Errors
/// What the system says.
pub fn save(file: &Path, snapshot: &Snapshot) -> Result<(), StateError> {
    let directory =
        file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Created with mode 0600.
    let mut new = NamedTempFile::new_in(directory)?;
    serde_json::to_writer_pretty(io::BufWriter::new(&mut new), snapshot).map_err(io::Error::from)?;
    new.write_all(b"\n")?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

/// Reads what [`save`] wrote; `None` if there is no such file yet.
///
/// # Errors
/// [`StateError`].
pub fn load(file: &Path) -> Result<Option<Snapshot>, StateError> {
    match fs::read(file) {
        Ok(json) => Ok(Some(Snapshot::from_json(&json)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Times as RFC 3339 has them.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::session::UnixTime;

    pub(super) fn serialize<S: Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<UnixTime, D::Error> {
        let time: jiff::Timestamp = String::deserialize(deserializer)?.parse().map_err(D::Error::custom)?;
        u64::try_from(time.as_second()).map(UnixTime).map_err(D::Error::custom)
    }

    /// Times that may not have come.
    pub(super) mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        use crate::session::UnixTime;

        #[derive(Deserialize)]
        struct Time(#[serde(with = "super")] UnixTime);

        #[expect(clippy::ref_option, reason = "serde asks for it")]
        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<UnixTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => serializer.collect_str(time),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
            deserializer: D,
        ) -> Result<Option<UnixTime>, D::Error> {
            Ok(Option::<Time>::deserialize(deserializer)?.map(|Time(time)| time))
        }
    }
}

#[cfg(test)]
mod tests;
