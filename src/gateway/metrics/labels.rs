//! The labels: each a closed set of values, so that nothing that strangers send makes a series.

use crate::admin::series::{Label, label};
use crate::crypto::{KeyTransport, NamedGroup};
use crate::policy::Objection;
use crate::seal::{Layer, Reason};
use crate::session::Refused;

label! {
    /// What became of an exchange.
    pub(in crate::gateway) enum Outcome = "outcome" {
        /// The client went away before its request was there.
        Abandoned = "abandoned",
        /// It was no request of this protocol or of SyncML.
        Declined = "declined",
        /// It asked for what is supported.
        Discovery = "discovery",
        /// It broke off by a fault of the gateway.
        Failed = "failed",
        /// It was opened and forwarded, and the server's answer sealed.
        Forwarded = "forwarded",
        /// It began a sealed session.
        Handshake = "handshake",
        /// It was forwarded as it came, under a rule that observes.
        Observed = "observed",
        /// Plaintext was forwarded, as policy permits.
        Plaintext = "plaintext",
        /// It was refused, and nothing sealed the refusal.
        Refused = "refused",
        /// It was accepted, and refused in a seal.
        RefusedSealed = "refused_sealed",
        /// It was a retransmission, and got the stored answer.
        Repeated = "repeated",
        /// All places were taken, and nobody looked at it.
        Shed = "shed",
    }
}

label! {
    /// How a message is protected.
    pub(in crate::gateway) enum Protection = "protection" {
        /// A seal of the message layer.
        Message = "message",
        /// A seal of the data layer.
        Data = "data",
        /// None.
        Plaintext = "plaintext",
    }
}

impl From<Layer> for Protection {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Message => Self::Message,
            Layer::Data => Self::Data,
        }
    }
}

label! {
    /// Whose message it is.
    pub(in crate::gateway) enum Direction = "direction" {
        /// The terminal's, or a client's.
        C2s = "c2s",
        /// The server's, or the gateway's in its place.
        S2c = "s2c",
    }
}

label! {
    /// What an exchange was about, for its duration.
    pub(in crate::gateway) enum Kind = "kind" {
        /// An init request.
        Init = "init",
        /// A numbered request of a sealed session.
        Numbered = "numbered",
        /// SyncML without a seal.
        Plaintext = "plaintext",
        /// Anything else, and what ended before it was told.
        Other = "other",
    }
}

label! {
    /// A part of an exchange that takes time.
    pub(in crate::gateway) enum Stage = "stage" {
        /// Until the request's body was there.
        Receive = "receive",
        /// The private-key operation, and the wait for it.
        Unwrap = "unwrap",
        /// Opening the seal of a numbered request.
        Open = "open",
        /// Recording its number in the store.
        Accept = "accept",
        /// The server's answer, and the wait for a connection.
        Upstream = "upstream",
        /// Sealing the answer to a numbered request.
        Seal = "seal",
    }
}

label! {
    /// How a session key travels.
    pub(in crate::gateway) enum Transport = "transport" {
        /// To an RSA key.
        RsaOaep256 = "RSA-OAEP-256",
        /// Under a shared secret.
        A256Kw = "A256KW",
        /// In a way that this gateway does not know.
        Unknown = "unknown",
    }
}

impl From<Option<KeyTransport>> for Transport {
    fn from(transport: Option<KeyTransport>) -> Self {
        match transport {
            Some(KeyTransport::RsaOaep256) => Self::RsaOaep256,
            Some(KeyTransport::A256Kw) => Self::A256Kw,
            None => Self::Unknown,
        }
    }
}

label! {
    /// The key exchange of a handshake.
    pub(in crate::gateway) enum Group = "group" {
        /// X25519.
        X25519 = "X25519",
        /// X25519MLKEM768.
        X25519MlKem768 = "X25519MLKEM768",
        /// None that was taken.
        None = "none",
    }
}

impl From<Option<NamedGroup>> for Group {
    fn from(group: Option<NamedGroup>) -> Self {
        match group {
            Some(NamedGroup::X25519) => Self::X25519,
            Some(NamedGroup::X25519MlKem768) => Self::X25519MlKem768,
            None => Self::None,
        }
    }
}

label! {
    /// What became of an init request.
    pub(in crate::gateway) enum InitResult = "result" {
        /// A sealed session began.
        Begun = "begun",
        /// A sealed session began with an early message.
        Early = "early",
        /// It did not open.
        CannotOpen = "cannot_open",
        /// It was refused for another reason.
        Refused = "refused",
    }
}

label! {
    /// What came of a message for the server.
    pub(in crate::gateway) enum UpstreamResult = "result" {
        /// An answer that was given on, with an HTTP status of 2xx.
        Passed2xx = "passed_2xx",
        /// One of 3xx, which only observed clients get.
        Passed3xx = "passed_3xx",
        /// One of 4xx.
        Passed4xx = "passed_4xx",
        /// One of 5xx.
        Passed5xx = "passed_5xx",
        /// An answer that cannot be given on.
        Invalid = "invalid",
        /// None in time.
        Timeout = "timeout",
        /// No connection.
        Unreachable = "unreachable",
        /// All connections were taken.
        Busy = "busy",
    }
}

label! {
    /// A step of the session store.
    pub(in crate::gateway) enum StoreOperation = "operation" {
        /// A place for a session.
        Reserve = "reserve",
        /// The session begins.
        Begin = "begin",
        /// A session is looked for.
        Find = "find",
        /// A number is judged.
        Probe = "probe",
        /// A number is recorded.
        Accept = "accept",
        /// The answer is kept.
        Complete = "complete",
        /// An early message is looked for.
        ProbeEarly = "probe_early",
        /// An early message is remembered.
        RememberEarly = "remember_early",
        /// Whose a SyncML session is.
        CheckBinding = "check_binding",
        /// What the server said of it.
        Answered = "answered",
        /// How full it is.
        Counts = "counts",
    }
}

label! {
    /// What came of a step of the session store.
    pub(in crate::gateway) enum StoreResult = "result" {
        /// It was taken.
        Done = "done",
        /// The store says no, as it should.
        Refused = "refused",
        /// The store is out of reach.
        Unavailable = "unavailable",
    }
}

impl<T> From<&Result<T, Refused>> for StoreResult {
    fn from(result: &Result<T, Refused>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(Refused::StoreUnavailable) => Self::Unavailable,
            Err(_) => Self::Refused,
        }
    }
}

label! {
    /// A bound that was hit.
    pub enum Limit = "limit" {
        /// `limits.body_timeout`
        BodyTimeout = "body_timeout",
        /// `limits.connections`
        Connections = "connections",
        /// `limits.connections_per_source`
        ConnectionsPerSource = "connections_per_source",
        /// `early.remembered`
        EarlyMessages = "early_messages",
        /// `limits.handshake_timeout`
        HandshakeTimeout = "handshake_timeout",
        /// `limits.header`
        Header = "header",
        /// `limits.header_read_timeout`
        HeaderReadTimeout = "header_read_timeout",
        /// `limits.idle_timeout`
        IdleTimeout = "idle_timeout",
        /// `limits.in_flight`
        InFlight = "in_flight",
        /// `limits.in_flight_per_source`
        InFlightPerSource = "in_flight_per_source",
        /// `limits.init_rate` with `limits.init_burst`
        InitRate = "init_rate",
        /// `limits.init_rate_per_source` with `limits.init_burst_per_source`
        InitRatePerSource = "init_rate_per_source",
        /// `limits.message`
        Message = "message",
        /// `sessions.total`
        Sessions = "sessions",
        /// `sessions.per_key`, or that of a shared secret
        SessionsPerKey = "sessions_per_key",
        /// `sessions.per_source`
        SessionsPerSource = "sessions_per_source",
        /// SyncML sessions of a sealed session, or in plaintext
        SyncSessions = "sync_sessions",
        /// `limits.unwrap_queue`
        UnwrapQueue = "unwrap_queue",
        /// `max_connections` of a route, for its `queue_timeout`
        UpstreamConnections = "upstream_connections",
    }
}

impl Limit {
    /// The bound of the session store that a refusal speaks of, if it does.
    pub(in crate::gateway) const fn of(refused: Refused) -> Option<Self> {
        match refused {
            Refused::EarlyMemoryFull => Some(Self::EarlyMessages),
            Refused::SessionsFull => Some(Self::Sessions),
            Refused::SourceFull => Some(Self::SessionsPerSource),
            Refused::KidFull => Some(Self::SessionsPerKey),
            Refused::SyncSessionsFull => Some(Self::SyncSessions),
            Refused::SessionUnknown
            | Refused::Replayed
            | Refused::Overtaken
            | Refused::SessionBound
            | Refused::EarlyOutOfWindow
            | Refused::EarlyBeforeMemory
            | Refused::EarlySeen
            | Refused::SidTaken
            | Refused::StoreUnavailable => None,
        }
    }
}

label! {
    /// What became of a reload.
    pub enum ReloadResult = "result" {
        /// The policy is in force.
        Applied = "applied",
        /// The policy cannot be used; the one before stays.
        Faulty = "faulty",
        /// It would lock out too many devices; the one before stays.
        Guarded = "guarded",
    }
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }
}

impl Label for Objection {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }
}
