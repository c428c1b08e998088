//! The store that the replicas of a gateway share, on a Redis or Valkey server.
//!
//! Each step is one run of one script (`lua/`), and so one round trip: what it decides, it decides for all replicas. What
//! of a session never changes a replica keeps, so that an exchange costs two: one that accepts its number and judges its
//! message, one that takes its answer; and one more when a replica meets a session.
//!
//! **No number twice.** All that the script reads and writes is named by an epoch, the server's run id and replication id. A
//! server that was restarted, or promoted, has another epoch, in which it knows nothing: whatever was lost, or came
//! back from a file, sealed sessions of before are unknown, and early messages are remembered from then on. Only one
//! server is ever master of an epoch, so that a number is accepted by one server that forgot nothing, or not at all.
//!
//! **Secrets.** Session keys are in records that only the replicas can open ([`crate::seal::StoreKey`]), and names of devices,
//! terminals, addresses and targets are pseudonyms under the same key. The server sees session ids, numbers, times, with
//! which path and query a SyncML session began, and stored answers as they go over the wire.
//!
//! **Failures.** A step takes bounded time. What did not get an answer is [`Refused::StoreUnavailable`]; what must be told
//! later is owed. A replica that shows no sign of life for some seconds has lost what it had in progress.

mod cache;
mod debts;
mod link;
mod record;
mod reply;
mod settings;
#[cfg(test)]
pub(in crate::session) mod tests;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache::{Cache, Known};
use debts::{Debt, Debts};
use link::{Failed, Link};
use reply::Reply;
pub use settings::{Address, InvalidAddress, Settings};
use tokio::sync::Notify;
use tracing::{error, warn};

use super::{
    Answer, CheckedMessage, Counts, Digest, Kid, Limits, Outcome, Probe, Refused, Response, Sender, Session,
    SessionFacts, SessionStore, SyncMessage, TimeSource, UnixTime, Waiter,
    names::{RouteKey, Source, SyncKey, TargetKey, head},
};
use crate::{
    crypto::{CryptoProvider, RandomFailed, SecureRandom},
    seal::{Number, SessionKeys, Sid},
};

/// How often a replica shows that it lives; it counts as dead after three times as long.
const BEAT: Duration = Duration::from_secs(2);
/// How long to wait before trying again at the start.
const START_POLL: Duration = Duration::from_millis(200);
/// How long a retransmission waits for an answer that is being made.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it asks for an answer that is made elsewhere: at first, and at last.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));
/// Sessions whose constant part a replica keeps, at the most.
const CACHED: usize = 65_536;

/// Why a store cannot be used from the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server cannot be reached in time, or does not do what is needed.
    #[error("the session store on {server} is out of reach: {error}")]
    Unavailable {
        /// Its address.
        server: String,
        /// What was tried last.
        error: String,
    },
    /// The server throws keys away when its memory is full: it could forget which numbers were accepted.
    #[error(
        "the session store on {server} evicts keys ({policy}) when its memory is full; set its maxmemory-policy to noeviction"
    )]
    Evicts {
        /// Its address.
        server: String,
        /// Its maxmemory-policy.
        policy: String,
    },
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] RandomFailed),
}

struct Shared {
    provider: &'static dyn CryptoProvider,
    settings: Settings,
    limits: Limits,
    link: Arc<Link>,
    /// By which name this replica is known, while it lives.
    replica: String,
    /// Tells one attempt at a number from another of this replica.
    attempts: AtomicU64,
    cache: Mutex<Cache>,
    debts: Debts,
    /// Told when an answer was made here, for those that wait for it here.
    answers: Notify,
}

/// A [`SessionStore`] on a server. It is one store however often it is cloned.
#[derive(Clone)]
pub struct RedisStore(Arc<Shared>);

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("servers", &self.0.settings.servers).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects, and makes sure that the server can be used. Waits for it as long as `settings` say.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn connect(
        settings: Settings,
        limits: Limits,
        provider: &'static dyn CryptoProvider,
        random: &dyn SecureRandom,
        time: Arc<dyn TimeSource>,
    ) -> Result<Self, StartError> {
        let server = settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let unavailable =
            |error: &dyn fmt::Display| StartError::Unavailable { server: server.clone(), error: error.to_string() };
        let mut replica = [0; 8];
        random.fill(&mut replica)?;
        let namespace = format!("{{syncseal:{}}}", hex(&settings.key.namespace(provider)));
        let link = Link::new(&settings, namespace, script(&limits)).map_err(|error| unavailable(&error))?;
        let (start_timeout, budget) = (settings.start_timeout, limits.stored_responses);
        let store = Self(Arc::new(Shared {
            provider,
            settings,
            link: Arc::new(link),
            replica: hex(&replica),
            attempts: AtomicU64::new(0),
            cache: Mutex::new(Cache::new(limits.sessions.min(CACHED))),
            debts: Debts::new(budget),
            answers: Notify::new(),
            limits,
        }));
        let reached = async {
            let mut waiting = false;
            loop {
                match store.0.link.memory().await {
                    Ok(memory) if store.beat(time.now()).await.is_ok() => return memory,
                    Err(error) if !waiting => {
                        warn!(server, %error, "waiting for the session store");
                        waiting = true;
                    }
                    _ => {}
                }
                tokio::time::sleep(START_POLL).await;
            }
        };
        let Ok(memory) = tokio::time::timeout(start_timeout, reached).await else {
            // Why, once more.
            return Err(match store.0.link.memory().await {
                Err(error) => unavailable(&error),
                Ok(_) => unavailable(&"it does not take the steps of a session store"),
            });
        };
        if let Some(policy) = evicts(&memory) {
            return Err(StartError::Evicts { server, policy });
        }
        store.keep_beating(time);
        Ok(store)
    }

    /// Shows signs of life until the last clone is gone.
    fn keep_beating(&self, time: Arc<dyn TimeSource>) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let Some(shared) = shared.upgrade() else { return };
                // The link says when it fails; what was forgotten meanwhile is forgotten.
                let _ = Self(shared).beat(time.now()).await;
            }
        });
    }

    async fn beat(&self, now: UnixTime) -> Result<(), Refused> {
        self.step("beat", now, &[]).await.map(|_| ())
    }

    /// Takes a step, after what is owed.
    async fn step(&self, step: &'static str, now: UnixTime, args: &[&[u8]]) -> Result<Reply, Refused> {
        self.attempt(step, now, args).await.map_err(|_| Refused::StoreUnavailable)
    }

    async fn attempt(&self, step: &'static str, now: UnixTime, args: &[&[u8]]) -> Result<Reply, Failed> {
        if !self.0.debts.is_empty() {
            self.settle().await.map_err(|_| Failed::NotSent)?;
        }
        self.0.link.step(step, now, &self.0.replica, args).await.map(Reply::new)
    }

    /// Tells the store what it is owed.
    async fn settle(&self) -> Result<(), Failed> {
        let debts = &self.0.debts;
        let _telling = debts.telling.lock().await;
        while let Some((id, Debt { step, now, args })) = debts.first() {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            match self.0.link.step(step, now, &self.0.replica, &args).await {
                // What the server refuses once it would refuse again, and all that follows would wait for it.
                Ok(_) | Err(Failed::Refused) => debts.told(id),
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// Owes the store a step, and tells it as soon as can be.
    fn owe(&self, step: &'static str, now: UnixTime, args: &[&[u8]]) {
        self.0.debts.push(Debt { step, now, args: args.iter().map(|arg| arg.to_vec()).collect() });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let store = self.clone();
            runtime.spawn(async move {
                // What is not told now is told before whatever is asked next.
                let _ = store.settle().await;
                store.0.answers.notify_waiters();
            });
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a session that lives at this time, as far as one can see from here. Another replica may have pushed
    /// it out, if it had no second request yet; who accepts its first number will see.
    fn known(&self, sid: Sid, now: UnixTime) -> Option<Known> {
        let mut cache = self.cache();
        cache.find(sid).filter(|known| now <= known.until).cloned()
    }

    /// Asks for a session.
    async fn meet(&self, sid: Sid, now: UnixTime) -> Result<Arc<Session<SessionKeys>>, Refused> {
        let mut reply = self.step("find", now, &[&sid.0]).await?;
        if let Err(refused) = reply.word() {
            self.cache().remove(sid);
            return Err(refused);
        }
        let (record, until) = (reply.bytes()?, reply.time()?);
        let highest = Number::new(reply.integer()?).unwrap_or(Number::MAX);
        let cached = self.cache().find(sid).map(|known| Arc::clone(&known.session));
        let session = match cached {
            Some(session) => session,
            None => {
                let opened = record::open(&self.0.settings.key, self.0.provider, sid, &record);
                Arc::new(opened.ok_or_else(|| {
                    error!(%sid, "the session store holds a record that does not open");
                    Refused::SessionUnknown
                })?)
            }
        };
        let known = Known { session: Arc::clone(&session), until, highest };
        self.cache().insert(sid, known);
        Ok(session)
    }

    /// The constant part of a session, whether it still lives or not.
    async fn constant(&self, sid: Sid, now: UnixTime) -> Result<Arc<Session<SessionKeys>>, Refused> {
        let cached = self.cache().find(sid).map(|known| Arc::clone(&known.session));
        match cached {
            Some(session) => Ok(session),
            None => self.meet(sid, now).await,
        }
    }

    /// Waits for an answer that is being made, here or elsewhere.
    fn wait(&self, sid: Sid, number: Number, reply: &mut Reply, now: UnixTime) -> Result<Waiter, Refused> {
        let ticket = reply.integer()?.to_string();
        let (mut sender, waiter) = Waiter::new();
        let store = self.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, store.poll(sid, number, &ticket, now));
            let answer = tokio::select! {
                answer = answer => answer.unwrap_or(Err(Refused::Overtaken)),
                () = sender.closed() => return,
            };
            // The one that waited may have gone away by itself.
            let _ = sender.send(answer);
        });
        Ok(waiter)
    }

    async fn poll(&self, sid: Sid, number: Number, ticket: &str, now: UnixTime) -> Result<Response, Refused> {
        let number = number.value().to_string();
        let mut pause = POLL.0;
        loop {
            let made_here = self.0.answers.notified();
            tokio::pin!(made_here);
            made_here.as_mut().enable();
            let mut reply = self.step("poll", now, &[&sid.0, number.as_bytes(), ticket.as_bytes()]).await?;
            if reply.word()? != b"waiting" {
                return Ok(reply.response()?);
            }
            // Early or late, it is asked for again.
            let _ = tokio::time::timeout(pause, made_here).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    async fn accept_with(
        &self,
        step: &'static str,
        sid: Sid,
        number: Number,
        digest: Digest,
        message: &[&[u8]],
        now: UnixTime,
    ) -> Result<Outcome<(Accepted, Reply)>, Refused> {
        let session = self.constant(sid, now).await?;
        let attempt = self.0.attempts.fetch_add(1, Ordering::Relaxed).to_string();
        let text = number.value().to_string();
        let mut args: Vec<&[u8]> = vec![&sid.0, text.as_bytes(), &digest, attempt.as_bytes()];
        args.extend(message);
        let mut reply = match self.attempt(step, now, &args).await {
            Ok(reply) => reply,
            Err(failed) => {
                if failed != Failed::NotSent {
                    // Nothing will come of it here, so that it may come again.
                    self.owe("abandon", now, &[&sid.0, text.as_bytes(), attempt.as_bytes(), b"undone"]);
                }
                return Err(Refused::StoreUnavailable);
            }
        };
        match reply.word() {
            Ok(word) => match &*word {
                b"accepted" => {
                    let accepted = Accepted { store: self.clone(), session, number, attempt, now, completed: false };
                    let until = reply.time()?;
                    if let Some(known) = self.cache().find(sid) {
                        known.until = until;
                        known.highest = known.highest.max(number);
                    }
                    Ok(Outcome::Accepted((accepted, reply)))
                }
                b"repeat" => Ok(Outcome::Repeat(reply.response()?)),
                b"wait" => Ok(Outcome::Wait(self.wait(sid, number, &mut reply, now)?)),
                _ => Err(reply::Unreadable.into()),
            },
            Err(refused) => {
                if refused == Refused::SessionUnknown {
                    self.cache().remove(sid);
                }
                Err(refused)
            }
        }
    }

    async fn complete_with(
        &self,
        step: &'static str,
        mut accepted: Accepted,
        answer: &[&[u8]],
        end: bool,
        now: UnixTime,
        response: &Response,
    ) {
        let sid = accepted.session.facts.sid;
        let number = accepted.number.value().to_string();
        let attempt = accepted.attempt.clone();
        let mut args: Vec<&[u8]> =
            vec![&sid.0, number.as_bytes(), attempt.as_bytes(), flag(end), &response.content_type, &response.body];
        args.extend(answer);
        let done = self.step(step, now, &args).await.and_then(|mut reply| {
            reply.word()?;
            Ok(reply.time()?)
        });
        accepted.completed = true;
        match done {
            Ok(until) => {
                if let Some(known) = self.cache().find(sid) {
                    known.until = until;
                }
                self.0.answers.notify_waiters();
            }
            // It is told later: the terminal gets its answer, and nobody gets another.
            Err(_) => self.owe(step, now, &args),
        }
    }

    /// What stands for a name on the server.
    fn pseudonym(&self, name: &[u8]) -> [u8; 32] {
        self.0.settings.key.pseudonym(self.0.provider, name)
    }

    fn source_name(&self, source: IpAddr) -> String {
        hex(&self.pseudonym(Source::from(source).to_string().as_bytes()))
    }

    fn party(&self, sender: &Sender<'_>) -> Party {
        match sender {
            Sender::Sealed { sid, kid: Kid::Rsa(_) } => {
                Party { kind: b"anonymous", sid: sid.0.into(), name: Vec::new() }
            }
            Sender::Sealed { sid, kid: Kid::Secret(name) } => {
                Party { kind: b"named", sid: sid.0.into(), name: self.pseudonym(name.as_str().as_bytes()).into() }
            }
            Sender::Plaintext { source } => {
                Party { kind: b"plaintext", sid: Vec::new(), name: self.source_name(*source).into() }
            }
        }
    }

    fn check<'a>(&self, message: SyncMessage<'a>, sender: &Sender<'_>) -> Check<'a> {
        let target = TargetKey::of(&RouteKey::of(&message), message.target);
        Check {
            party: self.party(sender),
            key: self.pseudonym(&SyncKey::of(&message).0),
            target: self.pseudonym(&target.0),
            message,
        }
    }

    fn passed(reply: &mut Reply, check: Check<'_>) -> Result<Pass, Refused> {
        reply.word()?;
        let Check { party, key, message, .. } = check;
        let (generation, takeover) = (reply.bytes()?, reply.bytes()?);
        Ok(Pass {
            key,
            route: RouteKey::of(&message),
            party,
            target: head(message.target).into(),
            generation,
            takeover,
        })
    }

    fn told<'a>(&self, pass: &'a Pass, answer: &Answer<'a>) -> Told<'a> {
        let given = answer.resp_target.map(|target| self.pseudonym(&TargetKey::of(&pass.route, target).0));
        Told {
            pass,
            accepted: matches!(answer.hdr_status, Some(200 | 212)),
            given: given.map(Vec::from).unwrap_or_default(),
            bytes: answer.resp_target.map(head).unwrap_or_default(),
        }
    }
}

/// Who carries a SyncML session: the kind, the sealed session, and what stands for the name or source.
struct Party {
    kind: &'static [u8],
    sid: Vec<u8>,
    name: Vec<u8>,
}

/// The arguments of a check, eight.
struct Check<'a> {
    party: Party,
    key: [u8; 32],
    target: [u8; 32],
    message: SyncMessage<'a>,
}

impl Check<'_> {
    fn args(&self) -> [&[u8]; 8] {
        let first = self.message.msg_id.trim_ascii() == b"1";
        let Party { kind, sid, name } = &self.party;
        let target = head(self.message.target);
        [kind, sid, name, &self.key, &self.target, target, flag(first), flag(self.message.has_cred)]
    }
}

/// A message that was let through; see [`SessionStore::Pass`].
pub struct Pass {
    key: [u8; 32],
    route: RouteKey,
    party: Party,
    /// The beginning of the message's target.
    target: Box<[u8]>,
    generation: Vec<u8>,
    takeover: Vec<u8>,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&hex(&self.key)).finish()
    }
}

/// What is told of an answer, ten arguments.
struct Told<'a> {
    pass: &'a Pass,
    accepted: bool,
    given: Vec<u8>,
    bytes: &'a [u8],
}

impl Told<'_> {
    fn args(&self) -> [&[u8]; 10] {
        let Pass { key, party: Party { kind, sid, name }, target, generation, takeover, .. } = self.pass;
        let accepted = flag(self.accepted);
        [kind, sid, name, key, target, generation, takeover, accepted, &self.given, self.bytes]
    }
}

/// The place of a session that is about to begin.
pub struct Reserved {
    store: RedisStore,
    facts: SessionFacts,
    now: UnixTime,
    begun: bool,
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reserved").field(&self.facts.sid).finish()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.begun {
            self.store.owe("release", self.now, &[&self.facts.sid.0]);
        }
    }
}

/// An accepted request.
pub struct Accepted {
    store: RedisStore,
    session: Arc<Session<SessionKeys>>,
    number: Number,
    attempt: String,
    now: UnixTime,
    completed: bool,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accepted").field(&self.session.facts.sid).field(&self.number).finish()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if !self.completed {
            let number = self.number.value().to_string();
            let sid = self.session.facts.sid.0;
            self.store.owe("abandon", self.now, &[&sid, number.as_bytes(), self.attempt.as_bytes(), b"lost"]);
        }
    }
}

impl SessionStore for RedisStore {
    type Keys = SessionKeys;
    type Reserved = Reserved;
    type Accepted = Accepted;
    type Pass = Pass;

    async fn reserve(&self, facts: SessionFacts, now: UnixTime) -> Result<Reserved, Refused> {
        let (kid, cap) = match &facts.kid {
            Kid::Rsa(id) => (format!("rsa {id}"), self.0.limits.sessions_per_rsa_key),
            Kid::Secret(name) => (format!("secret {name}"), self.0.limits.sessions_per_secret),
        };
        let (kid, cap) = (hex(&self.pseudonym(kid.as_bytes())), cap.to_string());
        let source = self.source_name(facts.source);
        let args: [&[u8]; 4] = [&facts.sid.0, source.as_bytes(), kid.as_bytes(), cap.as_bytes()];
        let mut reply = self.attempt("reserve", now, &args).await.map_err(|failed| {
            if failed != Failed::NotSent {
                self.owe("release", now, &[&facts.sid.0]);
            }
            Refused::StoreUnavailable
        })?;
        reply.word()?;
        if let Ok(pushed_out) = <[u8; 16]>::try_from(reply.bytes()?) {
            self.cache().remove(Sid(pushed_out));
        }
        Ok(Reserved { store: self.clone(), facts, now, begun: false })
    }

    async fn begin(
        &self,
        mut reserved: Reserved,
        keys: Arc<SessionKeys>,
        end: bool,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let facts = reserved.facts.clone();
        let record = record::seal(&self.0.settings.key, self.0.provider, &facts, &keys);
        let record = record.ok_or(Refused::StoreUnavailable)?;
        let mut reply = self.step("begin", now, &[&facts.sid.0, &record, flag(end)]).await?;
        // Its place is gone if the server is another one by now.
        reply.word().map_err(|_| Refused::StoreUnavailable)?;
        reserved.begun = true;
        let until = reply.time()?;
        let sid = facts.sid;
        let session = Arc::new(Session { facts, keys });
        self.cache().insert(sid, Known { session, until, highest: Number::ZERO });
        Ok(())
    }

    async fn find(&self, sid: Sid, now: UnixTime) -> Result<Arc<Session<SessionKeys>>, Refused> {
        match self.known(sid, now) {
            Some(known) => Ok(known.session),
            None => self.meet(sid, now).await,
        }
    }

    async fn probe(&self, sid: Sid, number: Number, digest: Digest, now: UnixTime) -> Result<Probe, Refused> {
        // Who accepts it will see whether another replica did meanwhile.
        if self.known(sid, now).is_some_and(|known| number > known.highest) {
            return Ok(Probe::Higher);
        }
        let text = number.value().to_string();
        let mut reply = self.step("probe", now, &[&sid.0, text.as_bytes(), &digest]).await?;
        match &*reply.word()? {
            b"higher" => Ok(Probe::Higher),
            b"repeat" => Ok(Probe::Repeat(reply.response()?)),
            b"wait" => Ok(Probe::Wait(self.wait(sid, number, &mut reply, now)?)),
            _ => Err(reply::Unreadable.into()),
        }
    }

    async fn accept(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
    ) -> Result<Outcome<Accepted>, Refused> {
        let outcome = self.accept_with("accept", sid, number, digest, &[], now).await?;
        Ok(outcome.map(|(accepted, _)| accepted))
    }

    async fn complete<F>(&self, accepted: Accepted, end: bool, now: UnixTime, seal: F) -> Response
    where
        F: FnOnce(&Session<SessionKeys>, Number) -> Response + Send,
    {
        let response = seal(&accepted.session, accepted.number);
        self.complete_with("complete", accepted, &[], end, now, &response).await;
        response
    }

    async fn accept_message(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        message: SyncMessage<'_>,
        kid: &Kid,
        now: UnixTime,
    ) -> Result<Outcome<CheckedMessage<Self>>, Refused> {
        let check = self.check(message, &Sender::Sealed { sid, kid });
        let outcome = self.accept_with("accept_message", sid, number, digest, &check.args(), now).await?;
        Ok(outcome.map(|(accepted, mut reply)| (accepted, Self::passed(&mut reply, check))))
    }

    async fn complete_message<F>(
        &self,
        accepted: Accepted,
        pass: Pass,
        answer: Answer<'_>,
        end: bool,
        now: UnixTime,
        seal: F,
    ) -> Response
    where
        F: FnOnce(&Session<SessionKeys>, Number) -> Response + Send,
    {
        let response = seal(&accepted.session, accepted.number);
        let told = self.told(&pass, &answer);
        self.complete_with("complete_message", accepted, &told.args(), end, now, &response).await;
        response
    }

    async fn probe_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        let issued = issued_text(issued);
        self.step("probe_early", now, &[&digest, issued.as_bytes()]).await?.word().map(|_| ())
    }

    async fn remember_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        let issued = issued_text(issued);
        self.step("remember_early", now, &[&digest, issued.as_bytes()]).await?.word().map(|_| ())
    }

    async fn check_binding(
        &self,
        message: SyncMessage<'_>,
        sender: Sender<'_>,
        now: UnixTime,
    ) -> Result<Pass, Refused> {
        let check = self.check(message, &sender);
        let mut reply = self.step("check", now, &check.args()).await?;
        Self::passed(&mut reply, check)
    }

    async fn answered(&self, pass: Pass, answer: Answer<'_>, now: UnixTime) {
        let told = self.told(&pass, &answer);
        if self.step("answered", now, &told.args()).await.is_err() {
            self.owe("answered", now, &told.args());
        }
    }

    async fn counts(&self) -> Result<Counts, Refused> {
        let mut reply = self.step("counts", UnixTime::default(), &[]).await?;
        reply.word()?;
        Ok(Counts {
            sessions: reply.size()?,
            pending: reply.size()?,
            stored_responses: reply.size()?,
            early_messages: reply.size()?,
            sync_sessions: reply.size()?,
        })
    }
}

fn flag(flag: bool) -> &'static [u8] {
    if flag { b"1" } else { b"0" }
}

/// Lua counts in doubles; what they cannot hold is out of any window.
fn issued_text(issued: UnixTime) -> String {
    issued.0.min(1 << 53).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The policy by which a server throws keys away, from what it says about its memory.
fn evicts(memory: &str) -> Option<String> {
    let field = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let bounded = field("maxmemory").is_some_and(|bound| bound.trim() != "0");
    let policy = field("maxmemory_policy").unwrap_or_default().trim();
    (bounded && policy != "noeviction").then(|| policy.to_owned())
}

/// The steps, as one script under these limits.
fn script(limits: &Limits) -> String {
    let Limits {
        idle,
        idle_after_end,
        second_request,
        age,
        requests,
        sessions,
        sessions_per_source,
        sessions_per_secret: _,
        sessions_per_rsa_key: _,
        stored_responses,
        early_window,
        early_messages,
        owner_idle,
        sync_sessions,
        targets,
        shared_targets,
        plaintext_sync_sessions,
        plaintext_sync_sessions_per_source,
    } = limits;
    let numbers = [
        ("idle", idle.as_secs()),
        ("idle_after_end", idle_after_end.as_secs()),
        ("second_request", second_request.as_secs()),
        ("age", age.as_secs()),
        ("requests", *requests),
        ("sessions", *sessions as u64),
        ("sessions_per_source", *sessions_per_source as u64),
        ("stored_responses", *stored_responses as u64),
        ("early_window", early_window.as_secs()),
        ("early_messages", *early_messages as u64),
        ("owner_idle", owner_idle.as_secs()),
        ("sync_sessions", *sync_sessions as u64),
        ("targets", *targets as u64),
        ("shared_targets", *shared_targets as u64),
        ("plaintext_sync_sessions", *plaintext_sync_sessions as u64),
        ("plaintext_sync_sessions_per_source", *plaintext_sync_sessions_per_source as u64),
    ];
    let limits: Vec<String> = numbers.iter().map(|(name, number)| format!("{name} = {number}")).collect();
    [
        &format!("local limits = {{ {} }}\n", limits.join(", ")),
        include_str!("lua/common.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/early.lua"),
        include_str!("lua/bindings.lua"),
    ]
    .concat()
}
