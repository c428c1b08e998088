//! What a step answers: a word, and what belongs to it.

use bytes::Bytes;
use redis::Value;

use crate::session::{Refused, Response, UnixTime};

/// The items of an answer, to be taken from the first on.
pub(super) struct Reply(std::vec::IntoIter<Value>);

/// An answer that no step gives; another program's, or another version's.
#[derive(Debug)]
pub(super) struct Unreadable;

impl From<Unreadable> for Refused {
    fn from(_: Unreadable) -> Self {
        tracing::error!("the session store gave an answer that cannot be read");
        Self::StoreUnavailable
    }
}

impl Reply {
    pub(super) fn new(items: Vec<Value>) -> Self {
        Self(items.into_iter())
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Unreadable> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
            _ => Err(Unreadable),
        }
    }

    /// The word; a refusal is an error.
    pub(super) fn word(&mut self) -> Result<Vec<u8>, Refused> {
        let word = self.bytes()?;
        refused(&word).map_or(Ok(word), Err)
    }

    pub(super) fn integer(&mut self) -> Result<u64, Unreadable> {
        match self.0.next() {
            Some(Value::Int(number)) => u64::try_from(number).map_err(|_| Unreadable),
            // What a hash keeps, or Lua takes for too large, comes as text.
            Some(Value::BulkString(text)) => {
                str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or(Unreadable)
            }
            _ => Err(Unreadable),
        }
    }

    pub(super) fn size(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.integer()?).map_err(|_| Unreadable)
    }

    pub(super) fn time(&mut self) -> Result<UnixTime, Unreadable> {
        self.integer().map(UnixTime)
    }

    pub(super) fn response(&mut self) -> Result<Response, Unreadable> {
        let content_type = Bytes::from(self.bytes()?);
        Ok(Response { content_type, body: self.bytes()?.into() })
    }
}

fn refused(word: &[u8]) -> Option<Refused> {
    Some(match word {
        b"session-unknown" => Refused::SessionUnknown,
        b"replayed" => Refused::Replayed,
        b"overtaken" => Refused::Overtaken,
        b"session-bound" => Refused::SessionBound,
        b"early-out-of-window" => Refused::EarlyOutOfWindow,
        b"early-before-memory" => Refused::EarlyBeforeMemory,
        b"early-seen" => Refused::EarlySeen,
        b"early-memory-full" => Refused::EarlyMemoryFull,
        b"sessions-full" => Refused::SessionsFull,
        b"source-full" => Refused::SourceFull,
        b"kid-full" => Refused::KidFull,
        b"sid-taken" => Refused::SidTaken,
        b"sync-sessions-full" => Refused::SyncSessionsFull,
        _ => return None,
    })
}
