//! What becomes of a request, as far as the policy alone tells: what kind it is, which rule of the rollout ladder decides,
//! and whether it is opened, forwarded or refused.
//!
//! Functions of a policy and a request, which the gateway asks for every exchange, and `syncseal explain` and `check` for
//! captured ones. What depends on keys, sessions, load and servers comes after them, and is left to `exchange`.
//!
//! Under a rule that observes, everything is forwarded that came without a seal, with these exceptions, which are refused
//! in every mode: what is over the message limit or does not arrive (no place is given to it), targets that a server could
//! read as another path than that of the route (`..`, `%2f`, `\` …: the route is what may be reached), CONNECT, and what
//! claims to be sealed, but cannot be read as a seal (nobody could read it).

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method};
use memchr::memmem;

use super::discovery;
use crate::net::fields;
use crate::policy::{Decision, Declined, GatewayPolicy, Objection, Plaintext, PlaintextPermit, Route, Rules, Subject};
use crate::seal::{Layer, Reason, Target};
use crate::session::UnixTime;
use crate::syncml::{Document, Form, InvalidDocument, Limits, MediaType};

/// What a request asks for, from where and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Path and query.
    pub target: &'a str,
    /// Where it came from.
    pub address: IpAddr,
    /// When.
    pub now: UnixTime,
    /// The device that it is taken to come from, whatever its message says: for cases, never for what came over a wire.
    pub as_device: Option<&'a [u8]>,
}

/// A body that is worth looking at, by its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A seal of the message layer.
    Seal,
    /// A SyncML document, with its content type.
    SyncMl(Form, HeaderValue),
}

/// What becomes of a request, and the rule that says so, if one was asked.
#[derive(Debug)]
pub struct Judgement<'p, 'a> {
    /// What the rules decided. What is sealed, too large or at no route is no matter of theirs.
    pub decision: Option<Decision<'p>>,
    /// What becomes of it.
    pub verdict: Verdict<'a>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It is sealed, in this layer, and to be opened.
    Open(Layer),
    /// It is forwarded without having been sealed.
    Forward {
        /// The leave.
        permit: PlaintextPermit,
        /// Path and query.
        target: Target<'a>,
        /// Why it would have been refused, if the rule observes.
        would_refuse: Option<Objection>,
    },
    /// It is refused.
    Refuse(Objection),
}

/// The longest body that is read, where messages may have `message_limit` bytes: a seal in a document is base64 of what may
/// be binary, hence the half; and some room for all that is around.
pub fn body_limit(message_limit: usize) -> usize {
    message_limit.saturating_add(message_limit / 2).saturating_add(8192)
}

/// The form of SyncML documents of this content type; `None` if it is not SyncML on this route.
pub fn form(route: &Route, content_type: &[u8]) -> Option<Form> {
    MediaType::parse(content_type).map(|media_type| media_type.form).or_else(|| {
        let essence = fields::essence(&HeaderValue::from_bytes(content_type).ok()?)?;
        route.extra_types.iter().find(|(name, _)| *name == essence).map(|(_, form)| *form)
    })
}

/// The device that a document names as its source, if every peer reads the same name.
pub fn device<'d>(document: &'d Document<'_>) -> Option<Cow<'d, [u8]>> {
    let source = document.header.source.as_ref()?;
    document.is_unambiguous(source).then(|| document.text(source))
}

/// A request that is neither SyncML nor sealed, by its asked.
#[derive(Debug)]
pub struct Foreign<'p, 'a> {
    /// What the rules decided, unless nothing could come of it.
    pub decision: Option<Decision<'p>>,
    /// What is wrong with it.
    pub objection: Objection,
    /// Leave to forward it all the same, to this target, if its body has no more bytes than a message may have.
    pub leave: Option<(PlaintextPermit, Target<'a>)>,
}

/// The targets of what is observed: every one that no server can take for one outside of the route that it has chosen.
pub(super) const ANYWHERE: [&str; 1] = ["/"];

/// Whether every peer reads the same names of device, SyncML session and message: what the server may read differently could
/// pass for another's here, and be the owner's there.
pub(super) fn is_named_for_certain(document: &Document<'_>) -> bool {
    let header = &document.header;
    let names = [&header.source, &header.session_id, &header.msg_id].into_iter().flatten();
    names.into_iter().all(|field| document.is_unambiguous(field))
}

/// What kind of body a request has.
///
/// # Errors
/// It has none that is looked at, and this becomes of it.
pub fn kind<'p, 'a>(
    asked: &Asked<'a>,
    method: &Method,
    headers: &HeaderMap,
    route: &Route,
    rules: &'p Rules,
) -> Result<Kind, Foreign<'p, 'a>> {
    let content_type = fields::content_type(headers);
    let kind = content_type.and_then(|content_type| {
        if fields::is_cose_encrypt0(content_type) {
            return Some(Kind::Seal);
        }
        form(route, content_type.as_bytes()).map(|form| Kind::SyncMl(form, content_type.clone()))
    });
    let declined = match kind {
        _ if method != Method::POST => Declined::Method,
        Some(kind) if !fields::is_content_coded(headers) => return Ok(kind),
        _ => Declined::MediaType,
    };
    let objection = Objection::Declined(declined);
    let essence = content_type.and_then(fields::essence);
    if method == Method::CONNECT || essence.as_deref() == Some("application/cose") {
        return Err(Foreign { decision: None, objection, leave: None });
    }
    let decision = rules.decide(&asked.subject(route, None));
    let observed = decision.permit().filter(|_| decision.plaintext() == Plaintext::Observe);
    let (objection, leave) = match (observed, asked.safe_target()) {
        (Some(permit), Ok(target)) => (objection, Some((permit, target))),
        (Some(_), Err(unsafe_target)) => (unsafe_target, None),
        (None, _) => (objection, None),
    };
    Err(Foreign { decision: Some(decision), objection, leave })
}

/// What becomes of a SyncML document, which was `scanned`.
pub fn document<'p, 'a>(
    asked: &Asked<'a>,
    route: &Route,
    rules: &'p Rules,
    message_limit: usize,
    body: &[u8],
    scanned: Result<&Document<'_>, &InvalidDocument>,
) -> Judgement<'p, 'a> {
    let unasked = |verdict| Judgement { decision: None, verdict };
    let malformed = Objection::Refused(Reason::Malformed);
    let marks = scanned.map_or(0, |document| document.header.seal_marks);
    match marks {
        // The limit is about what is in a seal.
        0 if body.len() > message_limit => return unasked(Verdict::Refuse(Objection::Refused(Reason::TooLarge))),
        0 => {}
        1 => return unasked(Verdict::Open(Layer::Data)),
        _ => return unasked(Verdict::Refuse(malformed)),
    }
    if scanned.is_err() && claims_a_seal(body) {
        return unasked(Verdict::Refuse(malformed));
    }
    let device = scanned.ok().and_then(device);
    let device = asked.as_device.or(device.as_deref());
    let decision = rules.decide(&asked.subject(route, device));
    let required = Objection::Refused(Reason::EncryptionRequired);
    let target = Target::parse(asked.target.as_bytes(), &route.targets);
    let is_good = scanned.is_ok_and(|document| !route.bind_sessions || is_named_for_certain(document));
    let verdict = match (decision.plaintext(), decision.permit(), target) {
        (Plaintext::Observe, Some(permit), target) => match asked.safe_target() {
            Ok(safe) => {
                let would_refuse = Some(if is_good && target.is_ok() { required } else { malformed });
                Verdict::Forward { permit, target: safe, would_refuse }
            }
            Err(objection) => Verdict::Refuse(objection),
        },
        (Plaintext::Permit, Some(permit), Ok(target)) if is_good => {
            Verdict::Forward { permit, target, would_refuse: None }
        }
        (Plaintext::Require, ..) if scanned.is_ok() => Verdict::Refuse(required),
        _ => Verdict::Refuse(malformed),
    };
    Judgement { decision: Some(decision), verdict }
}

/// Whether a document that cannot be read was sealed, and broke on the way.
fn claims_a_seal(body: &[u8]) -> bool {
    ["syncseal:", "syncseal+:"].iter().any(|mark| memmem::find(body, mark.as_bytes()).is_some())
}

impl<'a> Asked<'a> {
    fn subject<'s>(&self, route: &'s Route, device: Option<&'s [u8]>) -> Subject<'s> {
        Subject { route: &route.path, device, address: self.address, now: self.now }
    }

    /// The target, if what is observed may go there.
    fn safe_target(&self) -> Result<Target<'a>, Objection> {
        Target::parse(self.target.as_bytes(), &ANYWHERE).map_err(|malformed| Objection::Refused(malformed.into()))
    }

    fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What a policy says of one whole request.
#[derive(Debug)]
pub enum Told<'p, 'a> {
    /// It asks for what is supported, and gets that.
    Discovery,
    /// No route has its path.
    NoRoute,
    /// It is a route's.
    Routed {
        /// The route.
        route: &'p Route,
        /// The device that it names, if it names one that everybody reads in the same way.
        device: Option<Vec<u8>>,
        /// Whether its SyncHdr could be read: a refusal is then said in SyncML.
        in_syncml: bool,
        /// What becomes of it.
        judgement: Judgement<'p, 'a>,
    },
}

/// What `policy` says of a request with this body: what the gateway does, short of what depends on keys, sessions, load
/// and the server.
pub fn judge<'p, 'a>(
    policy: &'p GatewayPolicy,
    asked: &Asked<'a>,
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
) -> Told<'p, 'a> {
    if asked.path() == discovery::PATH {
        return Told::Discovery;
    }
    let Some(route) = policy.route(asked.path()) else { return Told::NoRoute };
    let too_large = || Judgement { decision: None, verdict: Verdict::Refuse(Objection::Refused(Reason::TooLarge)) };
    let plain = |judgement| Told::Routed { route, device: None, in_syncml: false, judgement };
    match kind(asked, method, headers, route, &policy.rules) {
        Err(Foreign { decision, objection, leave: None }) => {
            plain(Judgement { decision, verdict: Verdict::Refuse(objection) })
        }
        Err(Foreign { decision, objection, leave: Some((permit, target)) }) if body.len() <= policy.message_limit => {
            let would_refuse = Some(objection);
            plain(Judgement { decision, verdict: Verdict::Forward { permit, target, would_refuse } })
        }
        Ok(Kind::Seal) if body.len() <= body_limit(policy.message_limit) => {
            plain(Judgement { decision: None, verdict: Verdict::Open(Layer::Message) })
        }
        Ok(Kind::SyncMl(form, _)) if body.len() <= body_limit(policy.message_limit) => {
            let scanned = Document::scan(form, body, &Limits::default());
            let judgement = document(asked, route, &policy.rules, policy.message_limit, body, scanned.as_ref());
            let was_read = !matches!(judgement.verdict, Verdict::Refuse(Objection::Refused(Reason::TooLarge)));
            let named = scanned.as_ref().ok().and_then(device);
            let device = asked.as_device.map(<[u8]>::to_vec).or_else(|| named.map(Cow::into_owned));
            Told::Routed { route, device, in_syncml: scanned.is_ok() && was_read, judgement }
        }
        _ => plain(too_large()),
    }
}
