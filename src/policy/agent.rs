//! What an agent does: `[agent]`, `[retransmit]` and `[sessions]`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::GatewayUrl;
use super::admin::Admin;
use super::common::{self, Crypto, Limits, Log};
use super::dangerous::{Danger, Dangerous};
use super::fault::{Cause, Conflict};
use super::gateway::ORIGIN_ALLOWED;
use super::keys::{self, PinnedKey};
use super::listener::Listener;
use super::reader::Section;
use super::secrets;
use super::value::{boolean, choice, count, duration, nonempty_list, text};
use super::view::FileDigest;
use crate::crypto::{
    Algorithm, CryptoProvider, KeyId, KeyName, KeyTransport, NamedGroup, RsaPublicKey, TerminalSecret,
};
use crate::seal::Layer;
use crate::seal::resp_uri::Origin;
use crate::session::terminal::TerminalLimits;
use crate::syncml::Form;

/// An agent's policy, checked: nothing in it can be wrong any more but what only binding shows.
#[derive(Clone, Debug)]
pub struct AgentPolicy {
    /// Which version of its file it is.
    pub digest: FileDigest,
    /// Where it listens: at least one place, which only this machine can reach if what it takes there is plaintext.
    pub listeners: Vec<Listener>,
    /// Whether other machines may bring plaintext all the same.
    pub public_plaintext: bool,
    /// How its clients reach it, if not by the address of the listener; takes the place of the gateway's name in
    /// RespURI (PROTOCOL section 8.3).
    pub public_url: Option<Origin>,
    /// The gateway, with the path that chooses its route.
    pub gateway: GatewayUrl,
    /// The names of the gateway that its RespURIs may carry: its public URL; at least one.
    pub gateway_names: Vec<Origin>,
    /// Whom it wraps its session keys for.
    pub recipients: AgentRecipients,
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

/// Whom an agent wraps its session keys for, which says how these travel; no refusal changes that.
#[derive(Clone, Debug)]
pub enum AgentRecipients {
    /// The gateway's RSA keys, by preference; at least one.
    Rsa(Vec<RsaPublicKey>),
    /// The gateway with which it shares this secret, of this name.
    Secret(KeyName, TerminalSecret),
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
        let file = root.text();
        let dangerous = Dangerous::read_agent(root.section("dangerous"));
        let crypto = Crypto::read(root.section("crypto"), dangerous.require_exchange);

        let mut agent = root.section("agent");
        let public_plaintext = dangerous.public_plaintext_listener;
        let default = (Ipv4Addr::LOCALHOST, 8070).into();
        let listeners = Listener::read_all(&mut root, &mut agent, default, public_plaintext);
        let origin = || text(ORIGIN_ALLOWED, |text| text.parse().ok());
        let public_url = agent.optional("public_url", origin());
        let gateway = agent.required("gateway", GatewayUrl::ALLOWED, text(GatewayUrl::ALLOWED, GatewayUrl::parse));
        let gateway_names = agent.optional("gateway_names", nonempty_list(ORIGIN_ALLOWED, origin()));
        let recipients = AgentRecipients::read(&mut agent);
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
        let (limits, message_limit) = Limits::read(&mut section, 1024);
        section.finish();

        let admin =
            Admin::read(root.section("admin"), (Ipv4Addr::LOCALHOST, 9902).into(), dangerous.public_admin_listener);
        let log = Log::read(root.section("log"));
        let watch = common::watch(root.section("reload"));
        let files = root.files();
        root.finish();

        let gateway = gateway?;
        Some(Self {
            digest: FileDigest(crypto.provider.sha256(&[file.as_bytes()])),
            listeners,
            public_plaintext,
            public_url,
            gateway_names: gateway_names.unwrap_or_else(|| vec![gateway.origin.clone()]),
            gateway,
            recipients: recipients?,
            provider: crypto.provider,
            algorithms: crypto.algorithms,
            groups: crypto.groups,
            require_exchange: dangerous.require_exchange,
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
            admin,
            log,
            dangers: dangerous.dangers(),
            watch,
            files,
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl AgentRecipients {
    fn read(agent: &mut Section<'_>) -> Option<Self> {
        let keys = pinned_keys(agent);
        let name = agent.find("name");
        let secret = agent.find("secret");
        let named = match (&name, &secret) {
            (Some(name), Some(secret)) => {
                let (name, secret) = (secrets::name(name), secrets::secret(secret));
                Some(name.zip(secret).map(|(name, (_, secret))| Self::Secret(name, secret)))
            }
            (None, Some(_)) => {
                agent.report("name", Cause::Missing { allowed: "the name of the secret".to_owned() });
                Some(None)
            }
            (Some(_), None) => {
                agent.report("secret", Cause::Missing { allowed: secrets::SECRET_ALLOWED.to_owned() });
                Some(None)
            }
            (None, None) => None,
        };
        let usual = if named.is_some() { KeyTransport::A256Kw } else { KeyTransport::RsaOaep256 };
        match agent.or("key_transport", usual, choice(&KeyTransport::ALL, KeyTransport::name)) {
            KeyTransport::RsaOaep256 => match keys {
                Some(keys) => keys.map(Self::Rsa),
                None => {
                    agent.report("key", Cause::Missing { allowed: keys::PUBLIC_ALLOWED.to_owned() });
                    None
                }
            },
            KeyTransport::A256Kw => match named {
                Some(named) => named,
                None => {
                    agent.report("secret", Cause::Missing { allowed: secrets::SECRET_ALLOWED.to_owned() });
                    None
                }
            },
        }
    }
}

/// The gateway's keys: by file, and compared with the pins if there are any. A pin alone cannot wrap. `None` if there is
/// neither, `Some(None)` after a fault.
fn pinned_keys(agent: &mut Section<'_>) -> Option<Option<Vec<RsaPublicKey>>> {
    let pin_allowed = "a key id, \"sha256//\" and base64, as `syncseal keyid` prints it";
    let pin = text(pin_allowed, |text| text.parse::<KeyId>().ok());
    let pins = agent.find("pin");
    let keys = agent.find("key");
    let pins_given = pins.is_some();
    // Of none that can be read, there is nothing more to say.
    let pins = pins.and_then(|pins| nonempty_list(pin_allowed, pin)(&pins)).filter(|pins| !pins.is_empty());
    let Some(keys) = keys else {
        if pins_given {
            agent.report("pin", Cause::Conflict(Conflict::PinWithoutKey));
        }
        return pins_given.then_some(None);
    };
    let keys = nonempty_list(keys::PUBLIC_ALLOWED, keys::public)(&keys);
    if let (Some(keys), Some(pins)) = (&keys, &pins) {
        for PinnedKey { file, key } in keys.iter().filter(|key| !pins.contains(&key.key.key_id())) {
            let (file, pins) = (file.clone(), pins.clone());
            agent.report("pin", Cause::PinMismatch { file, found: key.key_id(), pins });
        }
        if keys.len() < pins.len() {
            agent.report("pin", Cause::Conflict(Conflict::PinWithoutKey));
        }
    }
    Some(keys.map(|keys| keys.into_iter().map(|key| key.key).collect()))
}
