//! Whose each SyncML session is (PROTOCOL section 8.2).
//!
//! A SyncML session is *begun* by the first message of it that is seen, and *owned* once the server has accepted that.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::sessions::{Life, Tally};
use crate::{
    crypto::KeyName,
    seal::Sid,
    session::{
        Answer, Kid, Limits, Refused, Sender, SyncMessage, UnixTime,
        names::{RouteKey, Source, SyncKey, TargetKey, head},
    },
};

/// How many expired plaintext SyncML sessions are removed with each message.
const SWEEP: usize = 8;

/// Who carries a SyncML session, or owns it.
#[derive(Clone, Debug)]
enum Party {
    /// A sealed session; under a shared secret, any of that terminal's, this being the latest.
    Sealed { sid: Sid, secret: Option<KeyName> },
    /// Whoever sends plaintext.
    Plaintext(Source),
}

impl Party {
    fn of(sender: &Sender<'_>) -> Self {
        match sender {
            Sender::Sealed { sid, kid: Kid::Secret(name) } => Self::Sealed { sid: *sid, secret: Some(name.clone()) },
            Sender::Sealed { sid, kid: Kid::Rsa(_) } => Self::Sealed { sid: *sid, secret: None },
            Sender::Plaintext { source } => Self::Plaintext((*source).into()),
        }
    }

    /// Whether both are the same terminal as far as the keys tell.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sealed { sid, secret: None }, Self::Sealed { sid: other, secret: None }) => sid == other,
            (Self::Sealed { secret: Some(name), .. }, Self::Sealed { secret: Some(other), .. }) => name == other,
            (Self::Plaintext(_), Self::Plaintext(_)) => true,
            _ => false,
        }
    }

    const fn sid(&self) -> Option<Sid> {
        match self {
            Self::Sealed { sid, .. } => Some(*sid),
            Self::Plaintext(_) => None,
        }
    }
}

/// A target that the server gave in a RespURI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// It belongs to the owner of this SyncML session.
    Of(SyncKey),
    /// It tells none apart.
    Nobody,
}

#[derive(Debug)]
struct SyncSession {
    /// Changes when it is begun anew or passes to another owner: then an answer to one from before says nothing.
    generation: u64,
    party: Party,
    owned: bool,
    first_target: Box<[u8]>,
    /// When its party last sent a message or was answered.
    last: UnixTime,
    /// The targets that it was given, oldest first. In [`Bindings::targets`] once it is owned.
    targets: VecDeque<TargetKey>,
}

/// A message that was let through; see [`SessionStore::Pass`](crate::session::SessionStore::Pass).
#[derive(Debug)]
pub struct Passed {
    key: SyncKey,
    route: RouteKey,
    party: Party,
    /// The beginning of the message's target.
    target: Box<[u8]>,
    /// Of the SyncML session as it was then.
    generation: u64,
    /// Whether ownership passes to this party if the server accepts the message.
    takeover: bool,
}

/// The table.
#[derive(Debug)]
pub(super) struct Bindings {
    syncs: HashMap<SyncKey, SyncSession>,
    targets: HashMap<TargetKey, Holder>,
    /// The targets that are nobody's, oldest first.
    shared: VecDeque<TargetKey>,
    /// The SyncML sessions of each sealed session, oldest first.
    held: HashMap<Sid, VecDeque<SyncKey>>,
    /// The SyncML sessions in plaintext, by the last second in which they are known.
    plaintext: BTreeSet<(UnixTime, SyncKey)>,
    plaintext_by_source: Tally<Source>,
    generation: u64,
}

impl Bindings {
    pub(super) fn new() -> Self {
        Self {
            syncs: HashMap::new(),
            targets: HashMap::new(),
            shared: VecDeque::new(),
            held: HashMap::new(),
            plaintext: BTreeSet::new(),
            plaintext_by_source: Tally::new(),
            generation: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.syncs.len()
    }

    /// How many SyncML sessions a sealed session carries.
    pub(super) fn held_by(&self, sid: Sid) -> usize {
        self.held.get(&sid).map_or(0, VecDeque::len)
    }

    /// Whether a message may be forwarded.
    pub(super) fn check(
        &mut self,
        message: &SyncMessage<'_>,
        sender: &Sender<'_>,
        now: UnixTime,
        limits: &Limits,
        life: impl Fn(Sid) -> Life,
    ) -> Result<Passed, Refused> {
        self.sweep(now, limits);
        let key = SyncKey::of(message);
        let party = Party::of(sender);
        if party.sid().is_some_and(|sid| life(sid) == Life::Gone) {
            return Err(Refused::SessionUnknown);
        }
        let route = RouteKey::of(message);
        let holder = self.target_owner(&TargetKey::of(&route, message.target), &life);
        if holder.is_some_and(|owner| !owner.is(&party)) {
            return Err(Refused::SessionBound);
        }
        let target_is_nobodys = holder.is_none();
        let target = head(message.target);
        let first = message.msg_id.trim_ascii() == b"1";
        if self.syncs.get(&key).is_some_and(|sync| self.gone(sync, now, limits, &life)) {
            self.remove(&key, limits);
        }
        let mut takeover = false;
        match self.syncs.get(&key) {
            None if first || message.has_cred => self.begin(key, party.clone(), target, now, limits)?,
            None => return Err(Refused::SessionBound),
            Some(sync) if sync.party.is(&party) => {
                if first && !sync.owned {
                    self.begin(key, party.clone(), target, now, limits)?;
                } else {
                    self.carry(key, &party, now, limits, &life)?;
                }
            }
            Some(sync) if !sync.owned || !is_live(&sync.party, &life) => {
                if !first {
                    return Err(Refused::SessionBound);
                }
                self.begin(key, party.clone(), target, now, limits)?;
            }
            Some(sync) => {
                let idle = now.since(sync.last) >= limits.owner_idle;
                let Some(sid) = party.sid() else { return Err(Refused::SessionBound) };
                if !(first && message.has_cred && target_is_nobodys && idle) {
                    return Err(Refused::SessionBound);
                }
                self.make_room(sid, now, limits)?;
                takeover = true;
            }
        }
        let generation = self.syncs.get(&key).map_or(0, |sync| sync.generation);
        Ok(Passed { key, route, party, target: target.into(), generation, takeover })
    }

    /// Takes note of the server's answer to a message that was let through.
    pub(super) fn answered(
        &mut self,
        passed: Passed,
        answer: &Answer<'_>,
        now: UnixTime,
        limits: &Limits,
        life: impl Fn(Sid) -> Life,
    ) {
        let accepted = matches!(answer.hdr_status, Some(200 | 212));
        let Passed { key, route, party, target, generation, takeover } = passed;
        if self.syncs.get(&key).is_none_or(|sync| sync.generation != generation) {
            return;
        }
        if takeover {
            // Without room, or after the sealed session is gone, the owner stays.
            let room =
                party.sid().is_some_and(|sid| life(sid) != Life::Gone && self.make_room(sid, now, limits).is_ok());
            if !accepted || !room || self.begin(key, party.clone(), &target, now, limits).is_err() {
                return;
            }
        }
        self.touch(key, now, limits);
        let Some(sync) = self.syncs.get_mut(&key) else { return };
        if accepted && !sync.owned && party.sid().is_some() {
            sync.owned = true;
            for target in sync.targets.clone() {
                self.claim(key, target, limits, &life);
            }
        }
        if let Some(given) = answer.resp_target {
            self.give(key, TargetKey::of(&route, given), given, accepted, limits, &life);
        }
    }

    /// Forgets what a sealed session carried, when it ends.
    pub(super) fn forget(&mut self, sid: Sid, limits: &Limits) {
        for key in self.held.remove(&sid).unwrap_or_default() {
            self.remove(&key, limits);
        }
    }

    /// The live owner of a target.
    fn target_owner(&self, target: &TargetKey, life: &impl Fn(Sid) -> Life) -> Option<&Party> {
        match self.targets.get(target)? {
            Holder::Of(key) => self.syncs.get(key).map(|sync| &sync.party).filter(|party| is_live(party, life)),
            Holder::Nobody => None,
        }
    }

    /// Whether nothing is left of who carried a SyncML session.
    fn gone(&self, sync: &SyncSession, now: UnixTime, limits: &Limits, life: &impl Fn(Sid) -> Life) -> bool {
        match sync.party.sid() {
            Some(sid) => life(sid) == Life::Gone,
            None => now > sync.last.plus(limits.idle),
        }
    }

    /// Begins a SyncML session, anew if it is there.
    fn begin(
        &mut self,
        key: SyncKey,
        party: Party,
        target: &[u8],
        now: UnixTime,
        limits: &Limits,
    ) -> Result<(), Refused> {
        // Room first: a refusal leaves everything as it was.
        let same = self.syncs.get(&key).is_some_and(|sync| match (&sync.party, &party) {
            (Party::Plaintext(_), Party::Plaintext(_)) => true,
            (before, after) => before.sid().is_some() && before.sid() == after.sid(),
        });
        if !same {
            match &party {
                Party::Sealed { sid, .. } => self.make_room(*sid, now, limits)?,
                Party::Plaintext(source)
                    if self.plaintext.len() >= limits.plaintext_sync_sessions
                        || self.plaintext_by_source.of(source) >= limits.plaintext_sync_sessions_per_source =>
                {
                    return Err(Refused::SyncSessionsFull);
                }
                Party::Plaintext(_) => {}
            }
        }
        self.remove(&key, limits);
        match &party {
            Party::Sealed { sid, .. } => self.held.entry(*sid).or_default().push_back(key),
            Party::Plaintext(source) => {
                self.plaintext.insert((now.plus(limits.idle), key));
                self.plaintext_by_source.add(*source);
            }
        }
        self.generation += 1;
        let sync = SyncSession {
            generation: self.generation,
            party,
            owned: false,
            first_target: target.into(),
            last: now,
            targets: VecDeque::new(),
        };
        self.syncs.insert(key, sync);
        Ok(())
    }

    /// Lets its own party go on with a SyncML session. Under a shared secret that may be another sealed session than
    /// before, which then carries it.
    fn carry(
        &mut self,
        key: SyncKey,
        party: &Party,
        now: UnixTime,
        limits: &Limits,
        life: &impl Fn(Sid) -> Life,
    ) -> Result<(), Refused> {
        self.touch(key, now, limits);
        let before = self.syncs.get(&key).and_then(|sync| sync.party.sid());
        if let (Some(before), Some(after)) = (before, party.sid())
            && before != after
            && life(after) == Life::Live
        {
            self.make_room(after, now, limits)?;
            release(&mut self.held, before, key);
            self.held.entry(after).or_default().push_back(key);
            if let Some(sync) = self.syncs.get_mut(&key) {
                sync.party = party.clone();
            }
        }
        Ok(())
    }

    /// Takes note that a SyncML session is in use.
    fn touch(&mut self, key: SyncKey, now: UnixTime, limits: &Limits) {
        let Some(sync) = self.syncs.get_mut(&key) else { return };
        let before = sync.last;
        sync.last = before.max(now);
        if matches!(sync.party, Party::Plaintext(_)) {
            self.plaintext.remove(&(before.plus(limits.idle), key));
            self.plaintext.insert((sync.last.plus(limits.idle), key));
        }
    }

    /// Makes room among the SyncML sessions of a sealed session: at the cost of its own oldest that nobody owns yet, or
    /// that it has not used for as long as a sealed session may be idle.
    fn make_room(&mut self, sid: Sid, now: UnixTime, limits: &Limits) -> Result<(), Refused> {
        let Some(held) = self.held.get(&sid) else { return Ok(()) };
        if held.len() < limits.sync_sessions {
            return Ok(());
        }
        let dispensable =
            |key: &&SyncKey| self.syncs.get(key).is_none_or(|sync| !sync.owned || now.since(sync.last) >= limits.idle);
        let oldest = held.iter().find(dispensable).copied().ok_or(Refused::SyncSessionsFull)?;
        self.remove(&oldest, limits);
        Ok(())
    }

    /// Removes a SyncML session with its targets.
    fn remove(&mut self, key: &SyncKey, limits: &Limits) {
        let Some(sync) = self.syncs.remove(key) else { return };
        for target in &sync.targets {
            if self.targets.get(target) == Some(&Holder::Of(*key)) {
                self.targets.remove(target);
            }
        }
        match sync.party {
            Party::Sealed { sid, .. } => release(&mut self.held, sid, *key),
            Party::Plaintext(source) => {
                self.plaintext.remove(&(sync.last.plus(limits.idle), *key));
                self.plaintext_by_source.sub(&source);
            }
        }
    }

    /// Takes note that the server gave a SyncML session a target.
    fn give(
        &mut self,
        key: SyncKey,
        target: TargetKey,
        bytes: &[u8],
        accepted: bool,
        limits: &Limits,
        life: &impl Fn(Sid) -> Life,
    ) {
        let Some(sync) = self.syncs.get_mut(&key) else { return };
        if sync.party.sid().is_none() {
            // Plaintext owns nothing; but what the server gives to plaintext, too, tells none apart.
            if accepted && matches!(self.targets.get(&target), Some(Holder::Of(_))) {
                self.share(target, limits);
            }
            return;
        }
        // What lies above the first target is where others begin, as the first target itself is.
        if sync.first_target.starts_with(head(bytes)) {
            if sync.owned {
                self.share(target, limits);
            }
            return;
        }
        if !sync.targets.contains(&target) {
            sync.targets.push_back(target);
            if sync.targets.len() > limits.targets
                && let Some(oldest) = sync.targets.pop_front()
                && self.targets.get(&oldest) == Some(&Holder::Of(key))
            {
                self.targets.remove(&oldest);
            }
        }
        if sync.owned {
            self.claim(key, target, limits, life);
        }
    }

    /// Makes a target belong to the owner of a SyncML session, unless it turns out to be nobody's.
    fn claim(&mut self, key: SyncKey, target: TargetKey, limits: &Limits, life: &impl Fn(Sid) -> Life) {
        let Some(party) = self.syncs.get(&key).map(|sync| &sync.party) else { return };
        match self.targets.get(&target) {
            Some(Holder::Nobody) => {}
            _ if self.target_owner(&target, life).is_some_and(|owner| !owner.is(party)) => self.share(target, limits),
            _ => {
                self.targets.insert(target, Holder::Of(key));
            }
        }
    }

    /// Makes a target nobody's.
    fn share(&mut self, target: TargetKey, limits: &Limits) {
        if self.targets.insert(target, Holder::Nobody) == Some(Holder::Nobody) {
            return;
        }
        self.shared.push_back(target);
        if self.shared.len() > limits.shared_targets
            && let Some(oldest) = self.shared.pop_front()
        {
            self.targets.remove(&oldest);
        }
    }

    /// Removes plaintext SyncML sessions that have expired.
    fn sweep(&mut self, now: UnixTime, limits: &Limits) {
        for _ in 0..SWEEP {
            match self.plaintext.first() {
                Some(&(until, key)) if until < now => self.remove(&key, limits),
                _ => return,
            }
        }
    }
}

/// Whether what a party owns is still its own.
fn is_live(party: &Party, life: &impl Fn(Sid) -> Life) -> bool {
    party.sid().is_some_and(|sid| life(sid) == Life::Live)
}

/// Takes a SyncML session from those of a sealed session.
fn release(held: &mut HashMap<Sid, VecDeque<SyncKey>>, sid: Sid, key: SyncKey) {
    if let Some(keys) = held.get_mut(&sid) {
        keys.retain(|held| *held != key);
        if keys.is_empty() {
            held.remove(&sid);
        }
    }
}
