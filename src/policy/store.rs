//! Where a gateway keeps its sealed sessions: the keys `store…` of `[sessions]`.

use std::sync::Arc;
use std::time::Duration;

use super::fault::{Cause, Conflict};
use super::keys;
use super::reader::{Section, Setting};
use super::value::{duration, nonempty_list, text};
use crate::crypto::CryptoProvider;
use crate::net::tls::Trust;
use crate::seal::StoreKey;
use crate::session::redis::{Address, Settings};

/// Where sealed sessions are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// In the process.
    Memory,
    /// On a Redis or Valkey server, which other replicas of this gateway use, too.
    Redis(Box<Settings>),
}

/// One item of `store`.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Memory,
    Server(Address),
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        if text == "memory" { Some(Self::Memory) } else { text.parse().ok().map(Self::Server) }
    }
}

const CA_ALLOWED: &str = "a file of certificates, PEM";
const KEY_ALLOWED: &str =
    "a file that only the replicas of this gateway have, with 32 random bytes in base64 (openssl rand -base64 32)";
const SENTINEL_ALLOWED: &str = "the name under which the sentinels know the master, such as \"mymaster\"";

impl Store {
    /// Reads what `[sessions]` says of it. `None` after a fault.
    pub(super) fn read(section: &mut Section<'_>, provider: &'static dyn CryptoProvider) -> Option<Self> {
        let allowed = format!("\"memory\", {}", Address::ALLOWED);
        let places = section.or("store", vec![Place::Memory], nonempty_list(&allowed, text(&allowed, Place::parse)));
        let mut servers = Vec::new();
        for place in &places {
            match place {
                Place::Server(address) => servers.push(address.clone()),
                Place::Memory if places.len() == 1 => {}
                Place::Memory => section.report("store", Cause::Conflict(Conflict::MemoryAmongServers)),
            }
        }
        let timeouts = duration(Duration::from_millis(50)..=Duration::from_secs(60));
        let timeout = section.or("store_timeout", Settings::TIMEOUT, &timeouts);
        let starts = duration(Duration::from_millis(50)..=Duration::from_secs(3600));
        let start_timeout = section.or("store_start_timeout", Settings::START_TIMEOUT, &starts);
        if servers.is_empty() {
            // Known, but of no use: whoever goes back to memory for a while need not comment them out.
            for key in ["store_key", "store_sentinel", "store_ca"] {
                section.find(key);
            }
            return Some(Self::Memory);
        }
        let key = section.required("store_key", KEY_ALLOWED, |setting| store_key(setting, provider));
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let sentinel = section.optional("store_sentinel", text(SENTINEL_ALLOWED, name));
        let ca = section.optional("store_ca", certificates);
        if servers.len() > 1 && sentinel.is_none() {
            section.report("store", Cause::Conflict(Conflict::ServersWithoutSentinel));
        }
        let over_tls = servers.iter().filter(|server| server.is_tls()).count();
        if over_tls != 0 && over_tls != servers.len() {
            section.report("store", Cause::Conflict(Conflict::SomeServersWithoutTls));
        }
        if ca.is_some() && over_tls == 0 {
            section.report("store_ca", Cause::Conflict(Conflict::CaWithoutTls));
        }
        let key = Arc::new(key?);
        Some(Self::Redis(Box::new(Settings { servers, sentinel, ca, key, timeout, start_timeout })))
    }
}

fn store_key(setting: &Setting<'_>, provider: &dyn CryptoProvider) -> Option<StoreKey> {
    let file = keys::path(setting, KEY_ALLOWED)?;
    let key = keys::read(&file).and_then(|(text, access)| {
        let key = StoreKey::from_base64(provider, &text);
        let key = key.map_err(|error| Cause::InvalidStoreKey { file: file.clone(), error })?;
        keys::owner_alone(&file, access)?;
        Ok(key)
    });
    key.map_or_else(|cause| setting.report(cause), Some)
}

fn certificates(setting: &Setting<'_>) -> Option<Vec<u8>> {
    let file = keys::path(setting, CA_ALLOWED)?;
    let pem = keys::read(&file).map(|(text, _)| text.as_bytes().to_vec());
    let judged = pem.and_then(|pem| match Trust::from_pem(&pem) {
        Ok(_) => Ok(pem),
        Err(error) => Err(Cause::Unreadable { file, error: error.to_string() }),
    });
    judged.map_or_else(|cause| setting.report(cause), Some)
}
