//! The tables that a gateway's and an agent's policy share: `[crypto]`, `[limits]`, `[log]`, and names and types that a
//! policy adds to the protocol's.

use std::time::Duration;

use http::HeaderName;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::fault::{Cause, Conflict};
use super::reader::{Section, Setting};
use super::value::{boolean, choice, count, duration, list, nonempty_list, size, text};
use crate::crypto::{self, Algorithm, CryptoProvider, NamedGroup};
use crate::net::{fields, server};
use crate::syncml::{Form, MediaType};

/// What is used and allowed of cryptography, from `[crypto]`.
#[derive(Clone, Debug)]
pub(super) struct Crypto {
    pub(super) provider: &'static dyn CryptoProvider,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) groups: Vec<NamedGroup>,
}

impl Crypto {
    /// Reads `[crypto]` where a key exchange is demanded, or not.
    pub(super) fn read(mut section: Section<'_>, require_exchange: bool) -> Self {
        let provider =
            section.or("provider", crypto::default_provider(), choice(crypto::providers(), |provider| provider.name()));
        let algorithms = section.or(
            "algorithms",
            vec![Algorithm::A256Gcm, Algorithm::ChaCha20Poly1305, Algorithm::A128Gcm],
            nonempty_list("the name of an algorithm", choice(&Algorithm::ALL, Algorithm::name)),
        );
        let mut groups = vec![NamedGroup::X25519MlKem768, NamedGroup::X25519];
        groups.retain(|group| provider.groups().contains(group));
        let groups =
            section.or("groups", groups, list("the name of a group", choice(provider.groups(), NamedGroup::name)));
        if require_exchange && groups.is_empty() {
            section.report("groups", Cause::Conflict(Conflict::ExchangeWithoutGroup));
        }
        section.moved_to_dangerous("require_key_exchange", "in [dangerous], require_key_exchange = false");
        section.finish();
        Self { provider, algorithms, groups }
    }
}

/// Bounds on what strangers can take up, from `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection is ready for its first request: a balancer's header, and TLS.
    pub handshake_timeout: Duration,
    /// TLS handshakes at a time.
    pub handshakes: usize,
    /// Until a request's header has arrived.
    pub header_read_timeout: Duration,
    /// Until a request's body has arrived, from the end of its header on.
    pub body_timeout: Duration,
    /// How long a connection may be silent between exchanges.
    pub idle_timeout: Duration,
    /// The longest header of a request, in bytes.
    pub header: usize,
    /// Open connections; for a further one, one without a request is closed.
    pub connections: usize,
    /// Open connections of one source address (IPv6: of one /64); a further one is closed at once.
    pub connections_per_source: usize,
    /// Requests in progress on one HTTP/2 connection.
    pub streams: u32,
    /// Exchanges in progress; more are answered `overloaded`.
    pub in_flight: usize,
    /// How long exchanges in progress may go on after the process was told to end.
    pub drain: Duration,
}

impl Limits {
    /// Reads what both roles have; and the message limit. `connections_per_source` is for where nothing is said of it.
    pub(super) fn read(section: &mut Section<'_>, connections_per_source: usize) -> (Self, usize) {
        let hour = Duration::from_secs(3600);
        let mut within =
            |key, seconds| section.or(key, Duration::from_secs(seconds), duration(Duration::from_millis(100)..=hour));
        let handshake_timeout = within("handshake_timeout", 10);
        let header_read_timeout = within("header_read_timeout", 10);
        let body_timeout = within("body_timeout", 60);
        let idle_timeout = within("idle_timeout", 75);
        let drain = within("drain", 30);
        let header = section.or("header", 64 << 10, size(8 << 10..=1 << 20));
        let connections = section.or("connections", 1024, count(1..=1_000_000));
        let connections_per_source = section.or("connections_per_source", connections_per_source, count(1..=1_000_000));
        let streams = section.or("streams", 100, count(1..=10_000)) as u32;
        let handshakes = section.or("handshakes", 256, count(1..=100_000));
        let in_flight = section.or("in_flight", 256, count(1..=1_000_000));
        let message = section.or("message", 16 << 20, size(4 << 10..=1 << 30));
        let limits = Self {
            handshake_timeout,
            handshakes,
            header_read_timeout,
            body_timeout,
            idle_timeout,
            header,
            connections,
            connections_per_source,
            streams,
            in_flight,
            drain,
        };
        (limits, message)
    }

    /// Those of them that are for whoever serves connections.
    pub fn of_server(&self) -> server::Limits {
        server::Limits {
            connections: self.connections,
            connections_per_source: self.connections_per_source,
            streams: self.streams,
            head_bytes: self.header,
            handshake_timeout: self.handshake_timeout,
            handshakes: self.handshakes,
            head_timeout: self.header_read_timeout,
            idle_timeout: self.idle_timeout,
            drain_timeout: self.drain,
        }
    }

    /// The keys of which `other` says something else, of those that hold from the start to the end of the process.
    pub fn fixed_differences(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        // Every field is named, so that no later one is forgotten.
        let Self {
            handshake_timeout,
            handshakes,
            header_read_timeout,
            body_timeout: _,
            idle_timeout,
            header,
            connections,
            connections_per_source,
            streams,
            in_flight,
            drain,
        } = self;
        let all = [
            ("limits.handshake_timeout", *handshake_timeout == other.handshake_timeout),
            ("limits.handshakes", *handshakes == other.handshakes),
            ("limits.header_read_timeout", *header_read_timeout == other.header_read_timeout),
            ("limits.idle_timeout", *idle_timeout == other.idle_timeout),
            ("limits.header", *header == other.header),
            ("limits.connections", *connections == other.connections),
            ("limits.connections_per_source", *connections_per_source == other.connections_per_source),
            ("limits.streams", *streams == other.streams),
            ("limits.in_flight", *in_flight == other.in_flight),
            ("limits.drain", *drain == other.drain),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(key, _)| key)
    }
}

/// How logs are written, from `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// In which form.
    pub format: LogFormat,
    /// What is written, by module and level.
    pub filter: Targets,
}

/// The form of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Text`] on a terminal, otherwise [`LogFormat::Json`].
    Auto,
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    /// Its name in policies and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: Targets::new().with_default(LevelFilter::INFO) }
    }
}

impl Log {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let format = section.or("format", default.format, choice(&LogFormat::ALL, LogFormat::name));
        let filter = section.or("filter", default.filter, text(FILTER_ALLOWED, parse_filter));
        section.finish();
        Self { format, filter }
    }
}

/// What [`parse_filter`] takes.
pub const FILTER_ALLOWED: &str =
    "a level (off, error, warn, info, debug, trace), or several with modules: \"info,syncseal::seal=debug\"";

/// Reads a filter of logs, such as `info,syncseal::seal=debug`.
pub fn parse_filter(filter: &str) -> Option<Targets> {
    // A word that is no level would be taken for the name of a module that nobody has.
    let known = |directive: &str| directive.contains('=') || directive.trim().parse::<LevelFilter>().is_ok();
    filter.split(',').all(known).then(|| filter.parse().ok())?
}

/// Reads `[reload]`: whether the policy is read again when a file changes that it is made from.
pub(super) fn watch(mut section: Section<'_>) -> bool {
    let watch = section.or("watch", true, boolean);
    section.finish();
    watch
}

/// Header fields that describe the connection, the body or the client's address, and Host: never taken into a seal.
const NEVER_SEALED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Names of header fields that are sealed besides the protocol's.
pub(super) fn extra_headers(setting: &Setting<'_>) -> Option<Vec<String>> {
    let allowed = "a header field name in lower case that is not about the connection, the body, the client's address or the host";
    let name = |name: &str| {
        let header = HeaderName::from_lowercase(name.as_bytes()).ok()?;
        (!NEVER_SEALED.contains(&name) && !fields::tells_of_client(&header)).then(|| name.to_owned())
    };
    list(allowed, text(allowed, name))(setting)
}

/// Media types that are SyncML besides the protocol's four, with the form of their documents.
pub(super) fn extra_types(setting: &Setting<'_>) -> Option<Vec<(String, Form)>> {
    let allowed = "a table of media types, { \"application/x-name\" = \"xml\" or \"wbxml\" }";
    let form = choice(&[Form::Xml, Form::Wbxml], |form| match form {
        Form::Xml => "xml",
        Form::Wbxml => "wbxml",
    });
    let mut types = Vec::new();
    for (name, form_of) in setting.entries(allowed)? {
        let lower = name.to_ascii_lowercase();
        let halves = lower.split_once('/');
        let token = |half: &str| HeaderName::from_lowercase(half.as_bytes()).is_ok();
        if !halves.is_some_and(|(kind, subtype)| token(kind) && token(subtype)) {
            form_of.report::<()>(Cause::Refused { found: format!("{name:?}"), allowed: allowed.to_owned() });
        } else if types.iter().any(|(known, _)| *known == lower) || is_known(&lower) {
            form_of.report::<()>(Cause::Twice { found: format!("{name:?}") });
        } else {
            types.extend(form(&form_of).map(|form| (lower, form)));
        }
    }
    Some(types)
}

/// Whether a media type means something to the protocol already.
fn is_known(name: &str) -> bool {
    MediaType::parse(name.as_bytes()).is_some() || matches!(name, "application/cose" | "application/problem+json")
}
