//! What a gateway does: `[gateway]`, `[early]`, `[sessions]` and `[[route]]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::{self, UpstreamAddr, has_prefix};
use super::common::{self, Crypto, Limits, Log};
use super::fault::{Cause, Conflict};
use super::keys::{self, Recipient};
use super::reader::Section;
use super::value::{boolean, choice, count, duration, list, nonempty_list, size, text};
use crate::crypto::{Algorithm, CryptoProvider, NamedGroup};
use crate::seal::Layer;
use crate::seal::resp_uri::Origin;
use crate::syncml::Form;

/// A gateway's policy, checked: nothing in it can be wrong any more but what only binding shows.
#[derive(Clone, Debug)]
pub struct GatewayPolicy {
    /// Where it listens: at least one address.
    pub listen: Vec<SocketAddr>,
    /// How terminals reach it; takes the place of a server's name in RespURI (PROTOCOL section 8.3).
    pub public_url: Option<Origin>,
    /// Who computes.
    pub provider: &'static dyn CryptoProvider,
    /// The keys that session keys may be wrapped for, at least one; the first is advertised first.
    pub recipients: Vec<Recipient>,
    /// The algorithms that are allowed, at least one.
    pub algorithms: Vec<Algorithm>,
    /// The groups that are allowed; at least one if an exchange is required.
    pub groups: Vec<NamedGroup>,
    /// Whether an init request without a key exchange is refused.
    pub require_exchange: bool,
    /// How far from now an early message's time of issue may lie (PROTOCOL section 3.5); `None`: they are refused.
    pub early: Option<Duration>,
    /// Bounds on sealed sessions.
    pub sessions: SessionLimits,
    /// After how much idle time of its owner a SyncML session may be begun anew by another (PROTOCOL section 8.2).
    pub owner_idle: Duration,
    /// The longest message, opened, in bytes.
    pub message_limit: usize,
    /// Bounds on connections and exchanges.
    pub limits: Limits,
    /// Private-key operations that may wait; more are answered `overloaded`.
    pub unwrap_queue: usize,
    /// The routes, at least one, the longest path first.
    pub routes: Vec<Route>,
    /// How logs are written.
    pub log: Log,
}

/// Bounds on sealed sessions (PROTOCOL sections 3.6 and 8.1), from `[sessions]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// A session ends after this long without a request.
    pub idle: Duration,
    /// A session ends at this age.
    pub age: Duration,
    /// A session ends after this many requests.
    pub messages: usize,
    /// Sessions in all.
    pub total: usize,
    /// Sessions of one source address.
    pub per_source: usize,
    /// Sessions that have not seen a second request.
    pub unconfirmed: usize,
    /// Bytes of responses that are kept for retransmission, of all sessions.
    pub stored_responses: usize,
}

/// What happens to SyncML without an encryption indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// A seal is required: refused.
    Require,
    /// Forwarded as it is, and counted.
    Permit,
}

/// Leave to forward one unsealed message: only [`Route::permit_plaintext`] gives it, and forwarding takes it.
#[derive(Debug)]
pub struct PlaintextPermit(());

/// What Host says to the legacy server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostField {
    /// The upstream's own authority.
    Upstream,
    /// The authority of the message's SyncHdr Target LocURI.
    Target,
}

/// What is done with the requests to one path.
#[derive(Clone, Debug)]
pub struct Route {
    /// The beginning of the path of a request to the gateway that chooses this route, at a segment boundary.
    pub path: String,
    /// The paths that request targets may begin with, at a segment boundary; at least one.
    pub targets: Vec<String>,
    /// The legacy server.
    pub upstream: UpstreamAddr,
    /// What Host says to it.
    pub host: HostField,
    /// The layers that are taken; at least one.
    pub layers: Vec<Layer>,
    /// Whether SyncML sessions are bound to sealed sessions (PROTOCOL section 8.2).
    pub bind_sessions: bool,
    /// The server's own names, which the public URL takes the place of in RespURI.
    pub server_names: Vec<Origin>,
    /// How long the server may take for an answer, from the request's last byte on.
    pub timeout: Duration,
    /// How long connecting to it may take.
    pub connect_timeout: Duration,
    /// Header fields that travel in seals besides the protocol's, in lower case.
    pub extra_headers: Vec<String>,
    /// Media types that are SyncML besides the protocol's, in lower case.
    pub extra_types: Vec<(String, Form)>,
    /// Connections to the server.
    pub max_connections: usize,
    plaintext: Plaintext,
}

impl GatewayPolicy {
    /// The route of a request to the gateway, by its path: the longest that fits.
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| has_prefix(path, &route.path))
    }

    pub(super) fn read(mut root: Section<'_>) -> Option<Self> {
        let crypto = Crypto::read(root.section("crypto"));

        let mut gateway = root.section("gateway");
        let listen = gateway.or("listen", vec![(Ipv4Addr::LOCALHOST, 8080).into()], |setting| {
            nonempty_list(
                "an address",
                text("an address and port, such as \"127.0.0.1:8080\"", |text| text.parse().ok()),
            )(setting)
        });
        let public_url = gateway.optional("public_url", text(ORIGIN_ALLOWED, |text| text.parse().ok()));
        let recipients = gateway.required(
            "recipient_keys",
            keys::PRIVATE_ALLOWED,
            nonempty_list(keys::PRIVATE_ALLOWED, keys::recipient(crypto.provider)),
        );
        gateway.finish();

        let mut early = root.section("early");
        let accept = early.or("accept", false, boolean);
        let window = early.or("window", Duration::from_secs(300), duration(SECOND..=HOUR));
        early.finish();

        let mut section = root.section("sessions");
        let sessions = SessionLimits::read(&mut section);
        let owner_idle = section.or("owner_idle", Duration::from_secs(60), duration(SECOND..=HOUR));
        section.finish();

        let mut section = root.section("limits");
        let (limits, message_limit) = Limits::read(&mut section);
        let unwrap_queue = section.or("unwrap_queue", 64, count(1..=100_000));
        section.finish();

        let log = Log::read(root.section("log"));

        let mut routes: Vec<Route> = Vec::new();
        for mut section in root.sections("route") {
            let Some(route) = Route::read(&mut section) else {
                section.finish();
                continue;
            };
            if routes.iter().any(|other| other.path == route.path) {
                section.report("path", Cause::Twice { found: format!("{:?}", route.path) });
            }
            if !route.server_names.is_empty() && public_url.is_none() {
                section.report("server_names", Cause::Conflict(Conflict::NamesWithoutPublicUrl));
            }
            section.finish();
            routes.push(route);
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        root.finish();

        Some(Self {
            listen,
            public_url,
            provider: crypto.provider,
            recipients: recipients?,
            algorithms: crypto.algorithms,
            groups: crypto.groups,
            require_exchange: crypto.require_exchange,
            early: accept.then_some(window),
            sessions,
            owner_idle,
            message_limit,
            limits,
            unwrap_queue,
            routes,
            log,
        })
    }
}

/// What an origin looks like.
pub(super) const ORIGIN_ALLOWED: &str =
    "\"http://HOST[:PORT]\" or \"https://HOST[:PORT]\", without user, path or query";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl SessionLimits {
    fn read(section: &mut Section<'_>) -> Self {
        let count = |max| count(1..=max);
        Self {
            idle: section.or("idle", Duration::from_secs(600), duration(SECOND..=DAY)),
            age: section.or("age", DAY, duration(SECOND..=30 * DAY)),
            messages: section.or("messages", 100_000, count(1 << 32)),
            total: section.or("total", 10_000, count(10_000_000)),
            per_source: section.or("per_source", 1_000, count(10_000_000)),
            unconfirmed: section.or("unconfirmed", 1_000, count(10_000_000)),
            stored_responses: section.or("stored_responses", 64 << 20, size(64 << 10..=64 << 30)),
        }
    }
}

impl Route {
    /// Leave to forward a message without a seal, if this route gives it.
    pub const fn permit_plaintext(&self) -> Option<PlaintextPermit> {
        match self.plaintext {
            Plaintext::Require => None,
            Plaintext::Permit => Some(PlaintextPermit(())),
        }
    }

    /// Whether this route's server may be asked for a target, which is well-formed.
    pub fn allows_target(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or(target);
        self.targets.iter().any(|prefix| has_prefix(path, prefix))
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let path = section.required("path", address::PREFIX_ALLOWED, text(address::PREFIX_ALLOWED, address::prefix));
        let targets = section.optional(
            "targets",
            nonempty_list(address::PREFIX_ALLOWED, text(address::PREFIX_ALLOWED, address::prefix)),
        );
        let upstream =
            section.required("upstream", UpstreamAddr::ALLOWED, text(UpstreamAddr::ALLOWED, UpstreamAddr::parse));
        let host = choice(&[HostField::Upstream, HostField::Target], |host| match host {
            HostField::Upstream => "upstream",
            HostField::Target => "target",
        });
        let plaintext = choice(&[Plaintext::Require, Plaintext::Permit], |plaintext| match plaintext {
            Plaintext::Require => "require",
            Plaintext::Permit => "permit",
        });
        let layers = nonempty_list("the name of a layer", choice(&[Layer::Message], Layer::name));
        let origins = list(ORIGIN_ALLOWED, text(ORIGIN_ALLOWED, |text| text.parse().ok()));
        let host = section.or("host", HostField::Upstream, host);
        let plaintext = section.or("encryption", Plaintext::Require, plaintext);
        let layers = section.or("layers", vec![Layer::Message], layers);
        let bind_sessions = section.or("bind_sessions", true, boolean);
        let server_names = section.or("server_names", Vec::new(), origins);
        let timeout = section.or("timeout", Duration::from_secs(120), duration(SECOND..=HOUR));
        let connect_timeout = section.or("connect_timeout", Duration::from_secs(5), duration(SECOND..=HOUR));
        let max_connections = section.or("max_connections", 64, count(1..=100_000));
        let extra_headers = section.or("extra_headers", Vec::new(), common::extra_headers);
        let extra_types = section.or("extra_types", Vec::new(), common::extra_types);
        let path = path?;
        Some(Self {
            targets: targets.unwrap_or_else(|| vec![path.clone()]),
            path,
            upstream: upstream?,
            host,
            plaintext,
            layers,
            bind_sessions,
            server_names,
            timeout,
            connect_timeout,
            extra_headers,
            extra_types,
            max_connections,
        })
    }
}
