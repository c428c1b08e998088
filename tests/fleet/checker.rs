//! Reads the recorded wire between terminals and replicas as anyone on the way could, and says what may not be there:
//! a number that was taken twice, an answer that was sealed twice, a refusal that nothing explains.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use bytes::BytesMut;
use syncseal::crypto::default_provider;
use syncseal::seal::{
    CONTENT_TYPE, Layer, Number, NumberedHeader, Reason, SealedRequest, Sid, decode_init_response, decode_request,
    decode_response,
};

use crate::common::relay::Relayed;
use crate::common::tap::{HttpMessage, whole_http_messages};

type Digest = [u8; 32];

/// What may not be on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Neither a seal nor, as an answer, a refusal.
    Foreign(String),
    /// A session id that two init responses give.
    SidTwice(Sid),
    /// Two requests were sealed under one number.
    SealedTwice(Sid, Number),
    /// Two requests under one number were answered with a seal.
    AcceptedTwice(Sid, Number),
    /// Two answers were sealed under one number.
    AnsweredTwice(Sid, Number),
    /// A request was answered under the number of another.
    Misnumbered(Sid, Number),
    /// A first request was taken for a repetition.
    ReplayedAtFirst(Sid, Number),
    /// A request was refused for a reason for which no replica that dies is a cause.
    Refused(Reason),
}

/// What became of one number.
#[derive(Clone, Debug, Default)]
struct Numbered {
    requests: BTreeSet<Digest>,
    /// How often the request came.
    sent: usize,
    /// How often it got no whole answer.
    unanswered: usize,
    /// Which of its requests were answered with a seal.
    accepted: BTreeSet<Digest>,
    answers: HashSet<Vec<u8>>,
    /// Which replicas answered with a seal.
    replicas: BTreeSet<SocketAddr>,
    replayed: usize,
}

/// What was on the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// Handshakes that were answered, by replica.
    pub(crate) handshakes: BTreeMap<SocketAddr, usize>,
    /// Refusals by reason.
    pub(crate) refusals: BTreeMap<Reason, usize>,
    numbers: BTreeMap<(Sid, Number), Numbered>,
    sids: BTreeSet<Sid>,
    pub(crate) faults: BTreeSet<Fault>,
}

impl Wire {
    /// Reads what went over these connections.
    pub(crate) fn read(relayed: &[Relayed]) -> Self {
        let mut wire = Self::default();
        for Relayed { to, recording } in relayed {
            let (requests, _) = whole_http_messages(&recording.requests);
            let (responses, _) = whole_http_messages(&recording.responses);
            let mut responses = responses.into_iter();
            for request in requests {
                wire.exchange(*to, &request, responses.next().as_ref());
            }
        }
        wire.judge();
        wire
    }

    /// How many numbers were answered with a seal.
    pub(crate) fn accepted(&self) -> usize {
        self.numbers.values().filter(|numbered| !numbered.accepted.is_empty()).count()
    }

    /// How many requests came again.
    pub(crate) fn repeated(&self) -> usize {
        self.numbers.values().map(|numbered| numbered.sent - 1).sum()
    }

    /// How many numbers were used up without an answer.
    pub(crate) fn lost(&self) -> usize {
        self.numbers.values().filter(|numbered| numbered.replayed > 0).count()
    }

    /// By how many replicas each session was answered, the numbers of requests alone.
    pub(crate) fn replicas(&self) -> BTreeMap<Sid, BTreeSet<SocketAddr>> {
        let mut replicas = BTreeMap::<Sid, BTreeSet<_>>::new();
        for ((sid, _), numbered) in &self.numbers {
            replicas.entry(*sid).or_default().extend(&numbered.replicas);
        }
        replicas
    }

    fn exchange(&mut self, to: SocketAddr, request: &HttpMessage, response: Option<&HttpMessage>) {
        let sealed = is_seal(request).then(|| decode_request(Layer::Message, BytesMut::from(&*request.body)));
        match sealed {
            Some(Ok(SealedRequest::Init(_))) => self.init(to, response),
            Some(Ok(SealedRequest::Numbered(sealed))) => {
                let digest = sealed.digest(default_provider());
                self.numbered(to, sealed.header(), digest, response);
            }
            Some(Err(_)) | None => self.foreign(request),
        }
    }

    fn init(&mut self, to: SocketAddr, response: Option<&HttpMessage>) {
        let Some(response) = response else { return };
        if !is_seal(response) {
            self.refused(response);
            return;
        }
        let Ok(sealed) = decode_init_response(Layer::Message, BytesMut::from(&*response.body)) else {
            return self.foreign(response);
        };
        let sid = sealed.header().sid;
        *self.handshakes.entry(to).or_default() += 1;
        if !self.sids.insert(sid) {
            self.faults.insert(Fault::SidTwice(sid));
        }
    }

    fn numbered(&mut self, to: SocketAddr, header: &NumberedHeader, digest: Digest, response: Option<&HttpMessage>) {
        let (sid, number) = (header.sid, header.number);
        let numbered = self.numbers.entry((sid, number)).or_default();
        numbered.requests.insert(digest);
        numbered.sent += 1;
        let Some(response) = response else {
            numbered.unanswered += 1;
            return;
        };
        if !is_seal(response) {
            if self.refused(response) == Some(Reason::Replayed) {
                self.numbers.entry((sid, number)).or_default().replayed += 1;
            }
            return;
        }
        let Ok(sealed) = decode_response(Layer::Message, BytesMut::from(&*response.body)) else {
            return self.foreign(response);
        };
        if (sealed.header().sid, sealed.header().number) != (sid, number) {
            self.faults.insert(Fault::Misnumbered(sid, number));
        }
        // Under the number that the seal itself says, for that is what its key and nonce depend on.
        let numbered = self.numbers.entry((sealed.header().sid, sealed.header().number)).or_default();
        numbered.accepted.insert(digest);
        numbered.answers.insert(response.body.clone());
        numbered.replicas.insert(to);
    }

    /// Counts a refusal outside a seal.
    fn refused(&mut self, response: &HttpMessage) -> Option<Reason> {
        let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let name = problem["type"].as_str().and_then(|name| name.strip_prefix("urn:syncseal:refusal:"));
        let reason = name.and_then(Reason::from_name);
        match reason {
            Some(reason) => *self.refusals.entry(reason).or_default() += 1,
            None => self.foreign(response),
        }
        reason
    }

    fn foreign(&mut self, message: &HttpMessage) {
        let beginning: Vec<u8> = message.body.iter().take(80).copied().collect();
        self.faults.insert(Fault::Foreign(format!("{} {}", message.status, beginning.escape_ascii())));
    }

    fn judge(&mut self) {
        for ((sid, number), numbered) in &self.numbers {
            let faults = [
                (numbered.requests.len() > 1, Fault::SealedTwice(*sid, *number)),
                (numbered.accepted.len() > 1, Fault::AcceptedTwice(*sid, *number)),
                (numbered.answers.len() > 1, Fault::AnsweredTwice(*sid, *number)),
                // Only a replica that took it, and of which nothing more was heard, can have used a number up.
                (numbered.replayed > 0 && numbered.unanswered == 0, Fault::ReplayedAtFirst(*sid, *number)),
            ];
            self.faults.extend(faults.into_iter().filter_map(|(is, fault)| is.then_some(fault)));
        }
        let explained = [Reason::Replayed, Reason::Overloaded];
        let unexplained = self.refusals.keys().filter(|reason| !explained.contains(reason));
        self.faults.extend(unexplained.map(|reason| Fault::Refused(*reason)));
    }
}

fn is_seal(message: &HttpMessage) -> bool {
    let mut fields = message.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    fields.any(|(_, value)| value == CONTENT_TYPE.as_bytes())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use syncseal::seal::HandshakePlaintext;

    use super::*;
    use crate::common::tap::Recording;
    use crate::terminal::handshake;

    /// What a recording may look like, each exchange on a connection of its own.
    struct Doctor {
        relayed: Vec<Relayed>,
    }

    const PROBLEM: &str = "application/problem+json";

    impl Doctor {
        fn new() -> Self {
            Self { relayed: Vec::new() }
        }

        /// An exchange with replica number `replica`, whose answer is a content type and a body, if there is one.
        fn with(mut self, replica: u16, request: &[u8], answer: Option<(&str, &[u8])>) -> Self {
            let fields = |content_type: &str, body: &[u8]| {
                format!("content-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len())
            };
            let post = format!("POST /sync HTTP/1.1\r\n{}", fields(CONTENT_TYPE, request));
            let requests = [post.as_bytes(), request].concat();
            let responses = answer.map_or_else(Vec::new, |(content_type, body)| {
                let status = if content_type == CONTENT_TYPE { "200 OK" } else { "409 Conflict" };
                [format!("HTTP/1.1 {status}\r\n{}", fields(content_type, body)).as_bytes(), body].concat()
            });
            let to = SocketAddr::from(([127, 0, 0, 1], replica));
            self.relayed.push(Relayed { to, recording: Recording { requests, responses } });
            self
        }

        fn faults(&self) -> Vec<Fault> {
            Wire::read(&self.relayed).faults.into_iter().collect()
        }
    }

    /// A session, and requests and answers under its numbers, which differ by one header field.
    struct Session {
        init: Bytes,
        reply: Bytes,
        sid: Sid,
        keys: syncseal::seal::SessionKeys,
    }

    fn number(value: u64) -> Number {
        Number::new(value).unwrap()
    }

    impl Session {
        fn new() -> Self {
            let (init, reply, keys) = handshake();
            Self { init, reply, sid: keys.sid(), keys }
        }

        fn request(&self, n: u64, body: &str) -> Bytes {
            let request = syncseal::seal::Request {
                content_type: crate::legacy::XML,
                target: "/sync",
                fields: syncseal::seal::Fields::default(),
                body: body.as_bytes(),
            };
            self.keys.seal_request(number(n), &request.plaintext())
        }

        fn answer(&self, n: u64, end: bool) -> Bytes {
            let plaintext = HandshakePlaintext::decode(&[0xa0]).unwrap();
            self.keys.seal_response(number(n), end, &plaintext.plaintext())
        }

        /// The recording of its beginning.
        fn begun(&self) -> Doctor {
            Doctor::new().with(1, &self.init, Some((CONTENT_TYPE, &self.reply)))
        }
    }

    fn problem(reason: Reason) -> Vec<u8> {
        format!("{{\"type\":\"urn:syncseal:refusal:{}\"}}", reason.name()).into_bytes()
    }

    #[test]
    fn what_may_be_on_the_wire() {
        let session = Session::new();
        let (one, two, three) = (session.request(1, "a"), session.request(2, "b"), session.request(3, "c"));
        let (to_one, to_two) = (session.answer(1, false), session.answer(2, false));
        let (replayed, overloaded) = (problem(Reason::Replayed), problem(Reason::Overloaded));
        let wire = session
            .begun()
            .with(1, &one, Some((CONTENT_TYPE, &to_one)))
            // A replica dies, another repeats the answer.
            .with(1, &two, None)
            .with(2, &two, Some((PROBLEM, &overloaded)))
            .with(2, &two, Some((CONTENT_TYPE, &to_two)))
            .with(3, &two, Some((CONTENT_TYPE, &to_two)))
            // A replica dies with the answer.
            .with(3, &three, None)
            .with(1, &three, Some((PROBLEM, &replayed)));
        let wire = Wire::read(&wire.relayed);
        assert_eq!(wire.faults, BTreeSet::new());
        assert_eq!((wire.accepted(), wire.repeated(), wire.lost()), (2, 4, 1));
        assert_eq!(wire.handshakes.values().sum::<usize>(), 1);
        assert_eq!(wire.replicas()[&session.sid].len(), 3);
        assert_eq!(wire.refusals, [(Reason::Replayed, 1), (Reason::Overloaded, 1)].into());
    }

    #[test]
    fn an_answer_that_is_sealed_twice() {
        let session = Session::new();
        let one = session.request(1, "a");
        let wire = session.begun().with(1, &one, Some((CONTENT_TYPE, &session.answer(1, false)))).with(
            2,
            &one,
            Some((CONTENT_TYPE, &session.answer(1, true))),
        );
        assert_eq!(wire.faults(), [Fault::AnsweredTwice(session.sid, number(1))]);
    }

    #[test]
    fn a_number_that_is_taken_twice() {
        let session = Session::new();
        let answer = session.answer(1, false);
        let wire = session.begun().with(1, &session.request(1, "a"), Some((CONTENT_TYPE, &answer))).with(
            2,
            &session.request(1, "b"),
            Some((CONTENT_TYPE, &answer)),
        );
        let (sid, one) = (session.sid, number(1));
        assert_eq!(wire.faults(), [Fault::SealedTwice(sid, one), Fault::AcceptedTwice(sid, one)]);
    }

    #[test]
    fn an_answer_under_another_number() {
        let session = Session::new();
        let wire = session
            .begun()
            .with(1, &session.request(1, "a"), Some((CONTENT_TYPE, &session.answer(1, false))))
            .with(2, &session.request(2, "b"), Some((CONTENT_TYPE, &session.answer(1, true))));
        let (sid, one, two) = (session.sid, number(1), number(2));
        let faults = [Fault::AcceptedTwice(sid, one), Fault::AnsweredTwice(sid, one), Fault::Misnumbered(sid, two)];
        assert_eq!(wire.faults(), faults);
    }

    #[test]
    fn a_session_id_that_is_given_twice() {
        let session = Session::new();
        let wire = session.begun().with(2, &Session::new().init, Some((CONTENT_TYPE, &session.reply)));
        assert_eq!(wire.faults(), [Fault::SidTwice(session.sid)]);
    }

    #[test]
    fn refusals_that_nothing_explains() {
        let session = Session::new();
        let one = session.request(1, "a");
        let replayed = problem(Reason::Replayed);
        let wire = session.begun().with(1, &one, Some((PROBLEM, &replayed)));
        assert_eq!(wire.faults(), [Fault::ReplayedAtFirst(session.sid, number(1))]);
        for reason in [Reason::SessionUnknown, Reason::CannotOpen, Reason::UpstreamUnreachable] {
            let wire = session.begun().with(1, &one, Some((PROBLEM, &problem(reason))));
            assert_eq!(wire.faults(), [Fault::Refused(reason)]);
        }
    }

    #[test]
    fn what_is_no_seal() {
        let session = Session::new();
        let one = session.request(1, "a");
        for wire in [
            session.begun().with(1, b"<SyncML/>", None),
            session.begun().with(1, &one, Some((CONTENT_TYPE, b"<SyncML/>"))),
            session.begun().with(1, &one, Some(("application/vnd.syncml+xml", b"<SyncML/>"))),
            session.begun().with(1, &session.init, Some((CONTENT_TYPE, &session.answer(1, false)))),
        ] {
            assert!(matches!(wire.faults()[..], [Fault::Foreign(_)]), "{:?}", wire.faults());
        }
    }
}
