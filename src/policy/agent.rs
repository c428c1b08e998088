//! What an agent does: `[agent]`, `[retransmit]` and `[sessions]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::GatewayUrl;
use super::common::{self, Crypto, Limits, Log};
use super::fault::{Cause, Conflict};
use super::gateway::ORIGIN_ALLOWED;
use super::keys;
use super::reader::{Section, Setting};
use super::value::{boolean, choice, count, duration, list, nonempty_list, text};
use crate::crypto::{Algorithm, CryptoProvider, KeyId, NamedGroup, RsaPublicKey};
use crate::seal::Layer;
use crate::seal::resp_uri::Origin;
use crate::session::terminal::TerminalLimits;
use crate::syncml::Form;

/// An agent's policy, checked: nothing in it can be wrong any more but what only binding shows.
#[derive(Clone, Debug)]
pub struct AgentPolicy {
    /// Where it listens, at least one address: on loopback only, for what it takes there is plaintext.
    pub listen: Vec<SocketAddr>,
    /// How its clients reach it, if not by the address of the listener; takes the place of the gateway's name in
    /// RespURI (PROTOCOL section 8.3).
    pub public_url: Option<Origin>,
    /// The gateway, with the path that chooses its route.
    pub gateway: GatewayUrl,
    /// The names of the gateway that its RespURIs may carry: its public URL; at least one.
    pub gateway_names: Vec<Origin>,
    /// The gateway's key.
    pub recipient: RsaPublicKey,
    /// The gateway's other keys, by preference: one of them is tried when the gateway says that it does not know the key.
    pub further_recipients: Vec<RsaPublicKey>,
    /// Who computes.
    pub provider: &'static dyn CryptoProvider,
    /// The algorithms, by preference; at least one.
    pub algorithms: Vec<Algorithm>,
    /// The groups, by preference; at least one if an exchange is required.
    pub groups: Vec<NamedGroup>,
    /// Whether a gateway that takes no part in a key exchange is done with.
    pub require_exchange: bool,
    /// Where protection is applied.
    pub layer: Layer,
    /// Whether the first message of a SyncML session travels in the init request (PROTOCOL section 3.1).
    pub early: bool,
    /// How it asks again.
    pub retransmit: Retransmit,
    /// Bounds on its clients' SyncML sessions.
    pub sessions: TerminalLimits,
    /// How long connecting to the gateway may take.
    pub connect_timeout: Duration,
    /// Connections to the gateway.
    pub max_connections: usize,
    /// The longest message, opened, in bytes.
    pub message_limit: usize,
    /// Bounds on its clients' connections and exchanges.
    pub limits: Limits,
    /// Header fields that travel in seals besides the protocol's, in lower case.
    pub extra_headers: Vec<String>,
    /// Media types that are SyncML besides the protocol's, in lower case.
    pub extra_types: Vec<(String, Form)>,
    /// How logs are written.
    pub log: Log,
}

/// How an agent asks again when no answer comes (PROTOCOL section 3.4), from `[retransmit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// How often it sends the same bytes again.
    pub attempts: usize,
    /// How long it waits for an answer each time.
    pub timeout: Duration,
    /// How long it waits before it sends again.
    pub pause: Duration,
}

impl AgentPolicy {
    pub(super) fn read(mut root: Section<'_>) -> Option<Self> {
        let crypto = Crypto::read(root.section("crypto"));

        let mut agent = root.section("agent");
        let loopback = text(
            "an address of this machine alone and a port, such as \"127.0.0.1:8070\" (an agent takes plaintext)",
            |text| text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback()),
        );
        let listen =
            agent.or("listen", vec![(Ipv4Addr::LOCALHOST, 8070).into()], nonempty_list("an address", loopback));
        let origin = || text(ORIGIN_ALLOWED, |text| text.parse().ok());
        let public_url = agent.optional("public_url", origin());
        let gateway = agent.required("gateway", GatewayUrl::ALLOWED, text(GatewayUrl::ALLOWED, GatewayUrl::parse));
        let gateway_names = agent.optional("gateway_names", nonempty_list(ORIGIN_ALLOWED, origin()));
        let recipient = recipient(&mut agent);
        let further_key = |setting: &Setting<'_>| keys::public(setting).map(|(_, key)| key);
        let further_recipients = agent.or("further_keys", Vec::new(), list(keys::PUBLIC_ALLOWED, further_key));
        let layer = agent.or("layer", Layer::Message, choice(&Layer::ALL, Layer::name));
        let early = agent.or("early", false, boolean);
        let connect_timeout = agent.or("connect_timeout", Duration::from_secs(10), duration(SECOND..=HOUR));
        let max_connections = agent.or("max_connections", 64, count(1..=100_000));
        let extra_headers = agent.or("extra_headers", Vec::new(), common::extra_headers);
        let extra_types = agent.or("extra_types", Vec::new(), common::extra_types);
        agent.finish();

        let mut section = root.section("retransmit");
        let retransmit = Retransmit {
            // The gateway repeats an answer five times (PROTOCOL section 3.4).
            attempts: section.or("attempts", 2, count(0..=5)),
            timeout: section.or("timeout", Duration::from_secs(150), duration(SECOND..=HOUR)),
            pause: section.or("pause", SECOND, duration(Duration::from_millis(10)..=HOUR)),
        };
        section.finish();

        let mut section = root.section("sessions");
        let defaults = TerminalLimits::default();
        let sessions = TerminalLimits {
            idle: section.or("idle", defaults.idle, duration(SECOND..=24 * HOUR)),
            sync_sessions: section.or("total", defaults.sync_sessions, count(1..=1_000_000)),
        };
        section.finish();

        let mut section = root.section("limits");
        let (limits, message_limit) = Limits::read(&mut section);
        section.finish();

        let log = Log::read(root.section("log"));
        root.finish();

        let gateway = gateway?;
        Some(Self {
            listen,
            public_url,
            gateway_names: gateway_names.unwrap_or_else(|| vec![gateway.origin.clone()]),
            gateway,
            recipient: recipient?,
            further_recipients,
            provider: crypto.provider,
            algorithms: crypto.algorithms,
            groups: crypto.groups,
            require_exchange: crypto.require_exchange,
            layer,
            early,
            retransmit,
            sessions,
            connect_timeout,
            max_connections,
            message_limit,
            limits,
            extra_headers,
            extra_types,
            log,
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The gateway's key: by file, and compared with the pin if there is one. A pin alone cannot wrap.
fn recipient(agent: &mut Section<'_>) -> Option<RsaPublicKey> {
    let pin_allowed = "a key id, \"sha256//\" and base64, as `syncseal keyid` prints it";
    let pin = agent.optional("pin", text(pin_allowed, |text| text.parse::<KeyId>().ok()));
    let mut given = false;
    let key = agent.optional("key", |setting| {
        given = true;
        keys::public(setting)
    });
    match (key, pin) {
        (Some((file, key)), Some(pin)) if key.key_id() != pin => {
            agent.report("pin", Cause::PinMismatch { file, found: key.key_id(), pin });
            None
        }
        (Some((_, key)), _) => Some(key),
        (None, Some(_)) if !given => {
            agent.report("pin", Cause::Conflict(Conflict::PinWithoutKey));
            None
        }
        (None, None) if !given => {
            agent.report("key", Cause::Missing { allowed: keys::PUBLIC_ALLOWED.to_owned() });
            None
        }
        (None, _) => None,
    }
}
