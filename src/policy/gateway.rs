//! What a gateway does: `[gateway]`, `[early]`, `[sessions]`, `[[route]]` and `[[rule]]`.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, UpstreamAddr, has_prefix};
use super::admin::Admin;
use super::case::Case;
use super::common::{self, Crypto, Limits, Log};
use super::dangerous::{Danger, Dangerous};
use super::fault::{Cause, Conflict};
use super::keys::{self, Recipient};
use super::listener::Listener;
use super::reader::Section;
use super::rollout::Rollout;
use super::rules::{Plaintext, Rules};
use super::secrets::{self, Secret};
use super::store::Store;
use super::tls::{self, ClientPattern, UpstreamTls};
use super::value::{boolean, choice, count, duration, list, nonempty_list, rate, size, text};
use super::view::FileDigest;
use crate::crypto::{Algorithm, CryptoProvider, KeyTransport, NamedGroup};
use crate::net::tls::ClientNames;
use crate::seal::Layer;
use crate::seal::resp_uri::Origin;
use crate::session;
use crate::syncml::Form;

/// A gateway's policy, checked: nothing in it can be wrong any more but what only binding shows.
#[derive(Clone, Debug)]
pub struct GatewayPolicy {
    /// Which version of its file it is.
    pub digest: FileDigest,
    /// Where it listens: at least one place.
    pub listeners: Vec<Listener>,
    /// How terminals reach it; takes the place of a server's name in RespURI (PROTOCOL section 8.3).
    pub public_url: Option<Origin>,
    /// Who computes.
    pub provider: &'static dyn CryptoProvider,
    /// How session keys may travel: at least one way.
    pub key_transports: Vec<KeyTransport>,
    /// The RSA keys that session keys may be wrapped for, at least one if they may travel so; the first is the active one,
    /// which is advertised first and has no end.
    pub recipients: Vec<Recipient>,
    /// The secrets that are shared with terminals.
    pub secrets: Vec<Secret>,
    /// The algorithms that are allowed, at least one.
    pub algorithms: Vec<Algorithm>,
    /// The groups that are allowed; at least one if an exchange is required.
    pub groups: Vec<NamedGroup>,
    /// Whether an init request without a key exchange is refused.
    pub require_exchange: bool,
    /// Whether early messages are taken (PROTOCOL section 3.5); how far from now they may be issued is in `sessions`.
    pub early: bool,
    /// Bounds on sealed sessions, SyncML sessions and early messages.
    pub sessions: session::Limits,
    /// Where sealed sessions are kept.
    pub store: Store,
    /// The longest message, opened, in bytes.
    pub message_limit: usize,
    /// Bounds on connections and exchanges.
    pub limits: Limits,
    /// Exchanges in progress for one source address (IPv6: for one /64); more are answered `overloaded`.
    pub in_flight_per_source: usize,
    /// Init requests; more are answered `overloaded`.
    pub init_rate: Rate,
    /// Init requests of one source address (IPv6: of one /64).
    pub init_rate_per_source: Rate,
    /// Private-key operations that may wait; more are answered `overloaded`.
    pub unwrap_queue: usize,
    /// The routes, at least one, the longest path first.
    pub routes: Vec<Route>,
    /// What happens to messages that are not sealed.
    pub rules: Rules,
    /// What is kept while devices move over.
    pub rollout: Rollout,
    /// What the policy is tested with.
    pub cases: Vec<Case>,
    /// Where operators look in.
    pub admin: Admin,
    /// How logs are written.
    pub log: Log,
    /// The protections that it gives up.
    pub dangers: Vec<Danger>,
    /// Whether it is read again when a file changes that it is made from.
    pub watch: bool,
    /// The files and directories that it names and is made from.
    pub files: Vec<PathBuf>,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time between two, in the long run.
    pub interval: Duration,
    /// How many may happen at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Rate {
    fn read(section: &mut Section<'_>, keys: (&'static str, &'static str), default: (Duration, usize)) -> Self {
        let interval = section.or(keys.0, default.0, rate);
        let burst = section.or(keys.1, default.1, count(1..=1_000_000));
        // The range of a count is within that of the type.
        Self { interval, burst: u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN) }
    }
}

/// Which fields tell the server the client's address. Those that came with a request never reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
}

impl Forwarded {
    const ALL: [Self; 4] = [
        Self { x_forwarded_for: false, forwarded: false },
        Self { x_forwarded_for: true, forwarded: false },
        Self { x_forwarded_for: false, forwarded: true },
        Self { x_forwarded_for: true, forwarded: true },
    ];

    /// Its name in policies.
    pub const fn name(self) -> &'static str {
        match (self.x_forwarded_for, self.forwarded) {
            (false, false) => "none",
            (true, false) => "x-forwarded-for",
            (false, true) => "forwarded",
            (true, true) => "both",
        }
    }
}

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
    /// The names that a client's certificate must have one of, if the route is not for everybody.
    pub clients: Option<Vec<ClientPattern>>,
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
    /// How long a request waits for one of them to be free; then it is answered `overloaded`.
    pub queue_timeout: Duration,
    /// Whose certificates count, where the server is reached by TLS, and what is shown to it.
    pub upstream_tls: UpstreamTls,
    /// How it is told the client's address.
    pub forwarded: Forwarded,
}

impl GatewayPolicy {
    /// The route of a request to the gateway, by its path: the longest that fits.
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| has_prefix(path, &route.path))
    }

    /// The listeners over which unsealed messages may come and be read on the way: some rule takes them, others than this
    /// machine reach the listener, and it speaks no TLS.
    pub fn exposed(&self) -> impl Iterator<Item = &Listener> {
        let takes_plaintext = self.rules.iter().any(|rule| rule.plaintext != Plaintext::Require);
        self.listeners
            .iter()
            .filter(move |listener| takes_plaintext && listener.is_plaintext() && listener.address.is_public())
    }

    pub(super) fn read(mut root: Section<'_>) -> Option<Self> {
        let file = root.text();
        let dangerous = Dangerous::read_gateway(root.section("dangerous"));
        let crypto = Crypto::read(root.section("crypto"), dangerous.require_exchange);

        let mut gateway = root.section("gateway");
        // Seals are safe whoever carries them.
        let listeners = Listener::read_all(&mut root, &mut gateway, (Ipv4Addr::LOCALHOST, 8080).into(), true);
        let public_url = gateway.optional("public_url", text(ORIGIN_ALLOWED, |text| text.parse().ok()));
        let keyed = Keyed::read(&mut gateway, crypto.provider);
        gateway.finish();

        let mut section = root.section("early");
        let early = section.or("accept", false, boolean);
        let defaults = session::Limits::default();
        let early_window = section.or("window", defaults.early_window, duration(SECOND..=HOUR));
        let early_messages = section.or("remembered", defaults.early_messages, count(1..=MANY));
        section.finish();

        let mut section = root.section("sessions");
        let sessions = session::Limits {
            idle: section.or("idle", defaults.idle, duration(SECOND..=DAY)),
            age: section.or("age", defaults.age, duration(SECOND..=30 * DAY)),
            requests: section.or("requests", defaults.requests as usize, count(1..=1 << 32)) as u64,
            sessions: section.or("total", defaults.sessions, count(1..=MANY)),
            sessions_per_source: section.or("per_source", defaults.sessions_per_source, count(1..=MANY)),
            sessions_per_rsa_key: section.or("per_key", defaults.sessions_per_rsa_key, count(1..=MANY)),
            stored_responses: section.or("stored_responses", defaults.stored_responses, size(64 << 10..=64 << 30)),
            owner_idle: section.or("owner_idle", defaults.owner_idle, duration(SECOND..=HOUR)),
            early_window,
            early_messages,
            ..defaults
        };
        let store = Store::read(&mut section, crypto.provider);
        section.finish();

        let mut section = root.section("limits");
        let (limits, message_limit) = Limits::read(&mut section, 256);
        let in_flight_per_source = section.or("in_flight_per_source", 128, count(1..=1_000_000));
        let init_rate = Rate::read(&mut section, ("init_rate", "init_burst"), (SECOND / 200, 400));
        let keys = ("init_rate_per_source", "init_burst_per_source");
        let init_rate_per_source = Rate::read(&mut section, keys, (SECOND / 20, 100));
        let unwrap_queue = section.or("unwrap_queue", 64, count(1..=100_000));
        section.finish();

        let admin =
            Admin::read(root.section("admin"), (Ipv4Addr::LOCALHOST, 9901).into(), dangerous.public_admin_listener);

        let log = Log::read(root.section("log"));
        let watch = common::watch(root.section("reload"));

        let asks_clients = listeners.iter().any(Listener::asks_clients);
        let mut paths = Vec::new();
        let mut routes = Vec::new();
        for mut section in root.sections("route") {
            let path = text(address::PREFIX_ALLOWED, address::prefix);
            let path = section.required("path", address::PREFIX_ALLOWED, path);
            if paths.contains(&path) {
                section.report("path", Cause::Twice { found: format!("{:?}", path.as_deref().unwrap_or_default()) });
            }
            paths.extend(path.is_some().then(|| path.clone()));
            routes.extend(Route::read(&mut section, path, public_url.is_some(), asks_clients));
            section.finish();
        }
        let rules = Rules::read(&mut root, &paths);
        let rollout = Rollout::read(root.section("rollout"));
        let cases = Case::read_all(&mut root);
        routes.sort_by_key(|route: &Route| std::cmp::Reverse(route.path.len()));
        let files = root.files();
        root.finish();

        let unbound = routes.iter().filter(|route| !route.bind_sessions);
        let unbound = unbound.map(|route| Danger::UnboundSessions(route.path.clone()));
        let dangers = dangerous.dangers().into_iter().chain(unbound);

        let keyed = keyed?;
        Some(Self {
            digest: FileDigest(crypto.provider.sha256(&[file.as_bytes()])),
            listeners,
            public_url,
            provider: crypto.provider,
            key_transports: keyed.key_transports,
            recipients: keyed.recipients,
            secrets: keyed.secrets,
            algorithms: crypto.algorithms,
            groups: crypto.groups,
            require_exchange: dangerous.require_exchange,
            early,
            sessions,
            store: store?,
            message_limit,
            limits,
            in_flight_per_source,
            init_rate,
            init_rate_per_source,
            unwrap_queue,
            dangers: dangers.collect(),
            routes,
            rules,
            rollout,
            cases,
            admin,
            log,
            watch,
            files,
        })
    }
}

/// How session keys travel, and for whom they are wrapped.
struct Keyed {
    key_transports: Vec<KeyTransport>,
    recipients: Vec<Recipient>,
    secrets: Vec<Secret>,
}

impl Keyed {
    fn read(gateway: &mut Section<'_>, provider: &'static dyn CryptoProvider) -> Option<Self> {
        let keys = gateway.find("keys");
        let secrets = gateway.find("secrets");
        let recipients = match &keys {
            Some(keys) => nonempty_list(keys::PRIVATE_ALLOWED, keys::recipient(provider))(keys),
            None => Some(Vec::new()),
        };
        let shared = match &secrets {
            Some(secrets) => secrets::secrets(secrets),
            None => Some(Vec::new()),
        };
        let mut key_transports = Vec::new();
        key_transports.extend((keys.is_some() || secrets.is_none()).then_some(KeyTransport::RsaOaep256));
        key_transports.extend(shared.as_ref().is_some_and(|all| !all.is_empty()).then_some(KeyTransport::A256Kw));
        let name = choice(&KeyTransport::ALL, KeyTransport::name);
        let key_transports =
            gateway.or("key_transports", key_transports, nonempty_list("the name of a key transport", name));
        if keys.is_none() && key_transports.contains(&KeyTransport::RsaOaep256) {
            gateway.report("keys", Cause::Missing { allowed: keys::PRIVATE_ALLOWED.to_owned() });
        }
        if secrets.is_none() && key_transports.contains(&KeyTransport::A256Kw) {
            gateway.report("key_transports", Cause::Conflict(Conflict::SecretsMissing));
        }
        let recipients = recipients?;
        if recipients.first().is_some_and(|active| active.accept_until.is_some()) {
            gateway.report("keys", Cause::Conflict(Conflict::ActiveKeyEnds));
        }
        Some(Self { key_transports, recipients, secrets: shared? })
    }
}

/// What an origin looks like.
pub(super) const ORIGIN_ALLOWED: &str =
    "\"http://HOST[:PORT]\" or \"https://HOST[:PORT]\", without user, path or query";

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// More than any gateway has room for.
const MANY: usize = 10_000_000;

impl Route {
    /// Whether it is for a client with these names, or without a certificate.
    pub fn admits(&self, client: Option<&ClientNames>) -> bool {
        self.clients.as_ref().is_none_or(|patterns| tls::any_matches(patterns, client))
    }

    fn read(section: &mut Section<'_>, path: Option<String>, has_public_url: bool, asks_clients: bool) -> Option<Self> {
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
        let layers = nonempty_list("the name of a layer", choice(&Layer::ALL, Layer::name));
        let origins = list(ORIGIN_ALLOWED, text(ORIGIN_ALLOWED, |text| text.parse().ok()));
        let host = section.or("host", HostField::Upstream, host);
        if section.has("plaintext") {
            section.report("plaintext", Cause::Conflict(Conflict::PlaintextIsInRules));
            section.ignore("plaintext");
        }
        let layers = section.or("layers", vec![Layer::Message], layers);
        let pattern = text(ClientPattern::ALLOWED, ClientPattern::parse);
        let clients = section.optional("clients", nonempty_list(ClientPattern::ALLOWED, pattern));
        if clients.is_some() && !asks_clients {
            section.report("clients", Cause::Conflict(Conflict::ClientsWithoutCa));
        }
        section.moved_to_dangerous("bind_sessions", "dangerous = { bind_sessions = false }");
        let bind_sessions = section.or("dangerous", true, |setting| {
            let mut dangerous = setting.section("route.dangerous", "a table, { bind_sessions = false }")?;
            let bind_sessions = dangerous.or("bind_sessions", true, boolean);
            dangerous.finish();
            Some(bind_sessions)
        });
        let server_names = section.or("server_names", Vec::new(), origins);
        if !server_names.is_empty() && !has_public_url {
            section.report("server_names", Cause::Conflict(Conflict::NamesWithoutPublicUrl));
        }
        let timeout = section.or("timeout", Duration::from_secs(120), duration(SECOND..=HOUR));
        let connect_timeout = section.or("connect_timeout", Duration::from_secs(5), duration(SECOND..=HOUR));
        let max_connections = section.or("max_connections", 64, count(1..=100_000));
        let queue_timeout = section.or("queue_timeout", Duration::from_secs(5), duration(MILLISECOND..=HOUR));
        let upstream_tls = UpstreamTls::read(section);
        if matches!(upstream, Some(UpstreamAddr::Http { .. } | UpstreamAddr::Unix(_))) {
            for key in ["upstream_ca", "upstream_certificate", "upstream_key"] {
                if section.has(key) {
                    section.report(key, Cause::Conflict(Conflict::TlsWithoutHttps));
                }
            }
        }
        let none = Forwarded { x_forwarded_for: false, forwarded: false };
        let forwarded = section.or("forwarded", none, choice(&Forwarded::ALL, Forwarded::name));
        let extra_headers = section.or("extra_headers", Vec::new(), common::extra_headers);
        let extra_types = section.or("extra_types", Vec::new(), common::extra_types);
        let path = path?;
        Some(Self {
            targets: targets.unwrap_or_else(|| vec![path.clone()]),
            path,
            upstream: upstream?,
            host,
            layers,
            clients,
            bind_sessions,
            server_names,
            timeout,
            connect_timeout,
            extra_headers,
            extra_types,
            max_connections,
            queue_timeout,
            upstream_tls,
            forwarded,
        })
    }
}
