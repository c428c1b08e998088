//! Which server, or which sentinels, and how to be sure of them.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::seal::StoreKey;

/// The address of a server or of a sentinel. It may hold a password, and is never shown with it.
#[derive(Clone)]
pub struct Address(Box<ConnectionInfo>);

/// Text that is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: {}", Address::ALLOWED)]
pub struct InvalidAddress;

impl Address {
    /// What an address looks like.
    pub const ALLOWED: &str =
        "\"redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]\", \"rediss://…\" for TLS, or \"unix:///PATH\"";

    /// Whether it asks for TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let known = ["redis://", "rediss://", "unix://"].iter().any(|scheme| text.starts_with(scheme));
        let info = text.into_connection_info().map_err(|_| InvalidAddress)?;
        // `#insecure` would turn the check of certificates off.
        let insecure = matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. });
        if known && !insecure { Ok(Self(Box::new(info))) } else { Err(InvalidAddress) }
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        let account = |address: &Self| {
            let redis = address.0.redis_settings();
            (redis.db(), redis.username().map(str::to_owned), redis.password().map(str::to_owned))
        };
        self.0.addr() == other.0.addr() && account(self) == account(other)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{host}:{port}"),
            ConnectionAddr::Unix(path) => write!(f, "unix://{}", path.display()),
            other => write!(f, "redis://{other}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a [`RedisStore`](super::RedisStore) needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The server; with `sentinel`, the sentinels, at least one. User, password and database of the first count.
    pub servers: Vec<Address>,
    /// The name under which the sentinels know the master.
    pub sentinel: Option<String>,
    /// PEM certificates that the server's must lead to; without, the system's.
    pub ca: Option<Vec<u8>>,
    /// The secret that seals records.
    pub key: Arc<StoreKey>,
    /// How long a step may take.
    pub timeout: Duration,
    /// How long to wait for the server at the start.
    pub start_timeout: Duration,
}

/// Whom to ask for a connection to the master.
pub(super) enum Source {
    Server(Client),
    Sentinels(SentinelClient),
}

impl Settings {
    /// How long a step may take, unless said otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(1);
    /// How long to wait for the server at the start, unless said otherwise.
    pub const START_TIMEOUT: Duration = Duration::from_secs(10);

    pub(super) fn source(&self) -> RedisResult<Source> {
        let first = self.servers.first().ok_or((redis::ErrorKind::InvalidClientConfig, "no server"))?;
        if first.is_tls() {
            // The client takes the process's; whoever was first has chosen, and that is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let certificates = TlsCertificates { client_tls: None, root_cert: self.ca.clone() };
        let Some(master) = &self.sentinel else {
            let client = match first.is_tls() {
                true => Client::build_with_tls((*first.0).clone(), certificates)?,
                false => Client::open((*first.0).clone())?,
            };
            return Ok(Source::Server(client));
        };
        let addresses = self.servers.iter().map(|server| server.0.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
        let redis = first.0.redis_settings();
        builder = builder.set_client_to_redis_db(redis.db());
        if let Some(username) = redis.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if first.is_tls() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(Source::Sentinels(builder.build()?))
    }
}
