//! The table of sealed sessions: lifetimes, caps, numbers, stored responses.
//!
//! Everything that must be found without a scan has an order of its own: what expires next, which session without a
//! second request is the oldest, which stored response is the oldest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use crate::{
    seal::{Number, Sid},
    session::{
        Digest, Kid, Limits, Listed, ListedStage, Refused, Response, Session, SessionFacts, UnixTime, Waiter,
        names::Source,
        numbers::{Bench, Judged, Numbers},
    },
};

/// What a stored response costs beyond its bytes, roughly.
const RESPONSE_OVERHEAD: usize = 128;

/// Counts by key; a key at zero takes no room.
#[derive(Debug)]
pub(super) struct Tally<T>(HashMap<T, usize>);

impl<T: Eq + Hash> Tally<T> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(super) fn of(&self, key: &T) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, key: T) {
        *self.0.entry(key).or_insert(0) += 1;
    }

    pub(super) fn sub(&mut self, key: &T) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

/// How a sealed session stands for what it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It lives.
    Live,
    /// It was told `end`.
    Ending,
    /// It ended, or never was.
    Gone,
}

/// How far a session has come.
#[derive(Debug)]
enum Phase<K> {
    /// Its init request is being answered.
    Reserved(SessionFacts),
    /// Its init request was answered; a second one is awaited. With its place in the order of these.
    Pending(Arc<Session<K>>, u64),
    /// It had a second request.
    Established(Arc<Session<K>>),
}

impl<K> Phase<K> {
    fn facts(&self) -> &SessionFacts {
        match self {
            Self::Reserved(facts) => facts,
            Self::Pending(session, _) | Self::Established(session) => &session.facts,
        }
    }

    fn session(&self) -> Option<&Arc<Session<K>>> {
        match self {
            Self::Reserved(_) => None,
            Self::Pending(session, _) | Self::Established(session) => Some(session),
        }
    }
}

#[derive(Debug)]
struct Slot<K> {
    phase: Phase<K>,
    begun: UnixTime,
    /// When a request was last accepted or answered.
    last: UnixTime,
    ending: bool,
    in_progress: u32,
    numbers: Numbers,
    /// Place in the order of stored responses and size of the one stored here.
    stored: Option<(u64, usize)>,
    /// As in `deadlines`.
    deadline: UnixTime,
}

impl<K> Slot<K> {
    /// The last second in which it is known. A session with a request in progress is not idle.
    fn deadline(&self, limits: &Limits) -> UnixTime {
        let oldest = self.begun.plus(limits.age);
        if self.in_progress > 0 {
            return oldest;
        }
        let idle = match self.phase {
            Phase::Reserved(_) => return oldest,
            Phase::Pending(..) => limits.second_request,
            Phase::Established(_) => limits.idle,
        };
        let idle = if self.ending { idle.min(limits.idle_after_end) } else { idle };
        oldest.min(self.last.plus(idle))
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Step<K> {
    Taken(Arc<Session<K>>, Bench),
    Repeat(Response),
    Wait(Waiter),
}

#[derive(Debug)]
pub(super) struct Sessions<K> {
    slots: HashMap<Sid, Slot<K>>,
    deadlines: BTreeSet<(UnixTime, Sid)>,
    pending: BTreeMap<u64, Sid>,
    by_source: Tally<Source>,
    by_kid: Tally<Kid>,
    stored: BTreeMap<u64, Sid>,
    stored_bytes: usize,
    /// The next place in `pending` or `stored`.
    next_place: u64,
}

impl<K> Sessions<K> {
    pub(super) fn new() -> Self {
        Self {
            slots: HashMap::new(),
            deadlines: BTreeSet::new(),
            pending: BTreeMap::new(),
            by_source: Tally::new(),
            by_kid: Tally::new(),
            stored: BTreeMap::new(),
            stored_bytes: 0,
            next_place: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn n_pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) const fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// The ids after this one, in no order.
    pub(super) fn sids(&self, after: Option<Sid>) -> Vec<Sid> {
        self.slots.keys().copied().filter(|sid| after.is_none_or(|after| *sid > after)).collect()
    }

    /// What can be told of a session that has begun.
    pub(super) fn listed(&self, sid: Sid, now: UnixTime) -> Option<Listed> {
        let slot = self.slots.get(&sid).filter(|slot| now <= slot.deadline)?;
        let stage = match slot.phase {
            Phase::Reserved(_) => return None,
            Phase::Pending(..) | Phase::Established(_) if slot.ending => ListedStage::Ending,
            Phase::Pending(..) => ListedStage::Pending,
            Phase::Established(_) => ListedStage::Established,
        };
        Some(Listed {
            facts: slot.phase.facts().clone(),
            begun: slot.begun,
            last: slot.last,
            highest: slot.numbers.highest(),
            stage,
            sync_sessions: 0,
        })
    }

    /// Up to `most` sessions that have expired, longest first.
    pub(super) fn expired(&self, now: UnixTime, most: usize) -> Vec<Sid> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline < now).take(most).map(|&(_, sid)| sid).collect()
    }

    /// The oldest session without a second request, if there is one.
    pub(super) fn oldest_pending(&self) -> Option<Sid> {
        self.pending.first_key_value().map(|(_, &sid)| sid)
    }

    /// Whether a session with these facts may have a place, apart from the cap on all.
    pub(super) fn admits(&self, facts: &SessionFacts, limits: &Limits) -> Result<(), Refused> {
        let per_kid = match facts.kid {
            Kid::Rsa(_) => limits.sessions_per_rsa_key,
            Kid::Secret(_) => limits.sessions_per_secret,
        };
        if self.slots.contains_key(&facts.sid) {
            Err(Refused::SidTaken)
        } else if self.by_source.of(&facts.source.into()) >= limits.sessions_per_source {
            Err(Refused::SourceFull)
        } else if self.by_kid.of(&facts.kid) >= per_kid {
            Err(Refused::KidFull)
        } else {
            Ok(())
        }
    }

    /// Gives a session a place that it may have.
    pub(super) fn reserve(&mut self, facts: SessionFacts, now: UnixTime, limits: &Limits) {
        let sid = facts.sid;
        self.by_source.add(facts.source.into());
        self.by_kid.add(facts.kid.clone());
        let mut slot = Slot {
            phase: Phase::Reserved(facts),
            begun: now,
            last: now,
            ending: false,
            in_progress: 0,
            numbers: Numbers::new(),
            stored: None,
            deadline: now,
        };
        slot.deadline = slot.deadline(limits);
        self.deadlines.insert((slot.deadline, sid));
        self.slots.insert(sid, slot);
    }

    /// Begins a session that has a place.
    pub(super) fn begin(&mut self, sid: Sid, keys: Arc<K>, end: bool, now: UnixTime, limits: &Limits) {
        let place = self.place();
        let Some(slot) = self.slots.get_mut(&sid) else { return };
        let Phase::Reserved(facts) = &slot.phase else { return };
        slot.phase = Phase::Pending(Arc::new(Session { facts: facts.clone(), keys }), place);
        slot.begun = now;
        slot.last = now;
        slot.ending = end;
        self.pending.insert(place, sid);
        self.reschedule(sid, limits);
    }

    /// Whether a session is still reserved only.
    pub(super) fn is_reserved(&self, sid: Sid) -> bool {
        self.slots.get(&sid).is_some_and(|slot| matches!(slot.phase, Phase::Reserved(_)))
    }

    pub(super) fn find(&self, sid: Sid, now: UnixTime) -> Result<&Arc<Session<K>>, Refused> {
        let slot = self.slots.get(&sid).filter(|slot| now <= slot.deadline).ok_or(Refused::SessionUnknown)?;
        slot.phase.session().ok_or(Refused::SessionUnknown)
    }

    pub(super) fn life(&self, sid: Sid, now: UnixTime) -> Life {
        match self.slots.get(&sid) {
            Some(slot) if now > slot.deadline => Life::Gone,
            Some(slot) if slot.ending => Life::Ending,
            Some(_) => Life::Live,
            None => Life::Gone,
        }
    }

    /// Judges a request by number and digest.
    pub(super) fn judge(
        &mut self,
        sid: Sid,
        number: Number,
        digest: &Digest,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Judged, Refused> {
        self.find(sid, now)?;
        let slot = self.slots.get_mut(&sid).ok_or(Refused::SessionUnknown)?;
        match slot.numbers.judge(number, digest)? {
            Judged::Higher if slot.numbers.accepted() >= limits.requests => Err(Refused::SessionUnknown),
            judged => Ok(judged),
        }
    }

    /// Accepts a request that opened, unless it is no longer higher than all before.
    pub(super) fn accept(
        &mut self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Step<K>, Refused> {
        match self.judge(sid, number, &digest, now, limits)? {
            Judged::Higher => {}
            Judged::Repeat(response) => return Ok(Step::Repeat(response)),
            Judged::Wait(waiter) => return Ok(Step::Wait(waiter)),
        }
        let slot = self.slots.get_mut(&sid).ok_or(Refused::SessionUnknown)?;
        let session = slot.phase.session().ok_or(Refused::SessionUnknown)?.clone();
        if let Phase::Pending(_, place) = slot.phase {
            self.pending.remove(&place);
            slot.phase = Phase::Established(session.clone());
        }
        let bench = slot.numbers.accept(number, digest);
        slot.last = slot.last.max(now);
        slot.in_progress += 1;
        if let Some((place, size)) = slot.stored.take() {
            self.stored.remove(&place);
            self.stored_bytes -= size;
        }
        self.reschedule(sid, limits);
        Ok(Step::Taken(session, bench))
    }

    /// Takes note of the response to an accepted request, and stores it if it can still be asked for again.
    pub(super) fn complete(
        &mut self,
        sid: Sid,
        number: Number,
        response: &Response,
        end: bool,
        now: UnixTime,
        limits: &Limits,
    ) {
        let place = self.place();
        let Some(slot) = self.slots.get_mut(&sid) else { return };
        slot.in_progress = slot.in_progress.saturating_sub(1);
        slot.last = slot.last.max(now);
        slot.ending |= end;
        if slot.numbers.store(number, response) {
            let size = response.body.len() + response.content_type.len() + RESPONSE_OVERHEAD;
            slot.stored = Some((place, size));
            self.stored.insert(place, sid);
            self.stored_bytes += size;
        }
        self.reschedule(sid, limits);
        while self.stored_bytes > limits.stored_responses {
            let Some((_, oldest)) = self.stored.pop_first() else { break };
            let Some(slot) = self.slots.get_mut(&oldest) else { continue };
            slot.numbers.drop_stored();
            if let Some((_, size)) = slot.stored.take() {
                self.stored_bytes -= size;
            }
        }
    }

    /// Takes note that an accepted request will have no response.
    pub(super) fn lose(&mut self, sid: Sid, number: Number, limits: &Limits) {
        let Some(slot) = self.slots.get_mut(&sid) else { return };
        slot.in_progress = slot.in_progress.saturating_sub(1);
        slot.numbers.lose(number);
        self.reschedule(sid, limits);
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, sid: Sid) {
        let Some(slot) = self.slots.remove(&sid) else { return };
        self.deadlines.remove(&(slot.deadline, sid));
        let facts = slot.phase.facts();
        self.by_source.sub(&facts.source.into());
        self.by_kid.sub(&facts.kid);
        if let Phase::Pending(_, place) = slot.phase {
            self.pending.remove(&place);
        }
        if let Some((place, size)) = slot.stored {
            self.stored.remove(&place);
            self.stored_bytes -= size;
        }
    }

    const fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    /// Puts a session where its deadline now is.
    fn reschedule(&mut self, sid: Sid, limits: &Limits) {
        let Some(slot) = self.slots.get_mut(&sid) else { return };
        self.deadlines.remove(&(slot.deadline, sid));
        slot.deadline = slot.deadline(limits);
        self.deadlines.insert((slot.deadline, sid));
    }
}
