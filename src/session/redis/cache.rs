//! Sessions that this replica has met: what of them never changes, and what was true when it last heard of them.

use std::{collections::HashMap, mem, sync::Arc};

use crate::{
    seal::{Number, SessionKeys, Sid},
    session::{Session, UnixTime},
};

/// What is known of a session here.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) session: Arc<Session<SessionKeys>>,
    /// The last second in which it is known to live, if no other pushes it out before its second request.
    pub(super) until: UnixTime,
    /// No number up to this one can be new.
    pub(super) highest: Number,
}

/// A bounded number of them: when the young generation is full it becomes the old one, which is forgotten.
#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<Sid, Known>,
    old: HashMap<Sid, Known>,
    half: usize,
}

impl Cache {
    pub(super) fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (room / 2).max(1) }
    }

    pub(super) fn find(&mut self, sid: Sid) -> Option<&mut Known> {
        if !self.young.contains_key(&sid) {
            let known = self.old.remove(&sid)?;
            self.insert(sid, known);
        }
        self.young.get_mut(&sid)
    }

    pub(super) fn insert(&mut self, sid: Sid, known: Known) {
        if self.young.len() >= self.half {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&sid);
        self.young.insert(sid, known);
    }

    pub(super) fn remove(&mut self, sid: Sid) {
        self.young.remove(&sid);
        self.old.remove(&sid);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        crypto::KeyId,
        seal::Layer,
        session::{Kid, SessionFacts},
    };

    fn known(sid: Sid) -> Known {
        let facts = SessionFacts {
            sid,
            layer: Layer::Message,
            route: "main".into(),
            kid: Kid::Rsa(KeyId([7; 32])),
            secret: None,
            source: IpAddr::from([192, 0, 2, 1]),
        };
        let session = Arc::new(Session { facts, keys: Arc::new(SessionKeys::meaningless(sid)) });
        Known { session, until: UnixTime(60), highest: Number::ZERO }
    }

    #[test]
    fn it_keeps_what_is_used_and_no_more_than_there_is_room_for() {
        let sid = |n| Sid([n; 16]);
        let mut cache = Cache::new(8);
        for n in 0..100 {
            cache.insert(sid(n), known(sid(n)));
            assert!(cache.find(sid(0)).is_some(), "it is in use");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.find(sid(99)).is_some());
        assert!(cache.find(sid(50)).is_none());
        cache.remove(sid(0));
        assert!(cache.find(sid(0)).is_none());
    }
}
