//! What TLS needs to know on either side: whose certificates count, and which certificate and key are shown.
//!
//! Everything comes as PEM in memory and is judged when it is read: a certificate that cannot be used, or a key that
//! belongs to another, is found at the start and not by the first connection. Reading files, and who may read them, is
//! left to the caller; names are checked by rustls. Versions are TLS 1.2 and 1.3.

mod server;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use hyper_rustls::ConfigBuilderExt;
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

pub use server::{ClientAuth, ClientNames, ServerTls};

/// The cryptography of TLS: key exchanges with X25519MLKEM768 first where this build has it.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

/// Whose certificates count.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those of the system's roots.
    #[default]
    System,
    /// Those of these roots only.
    Roots(Arc<RootCertStore>),
}

impl Trust {
    /// The roots in a PEM text, of which there must be at least one.
    ///
    /// # Errors
    /// [`TrustError`], also for a single one that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(TrustError::Pem)?).map_err(TrustError::Certificate)?;
        }
        if roots.is_empty() { Err(TrustError::Empty) } else { Ok(Self::Roots(Arc::new(roots))) }
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::System, Self::System) => true,
            (Self::Roots(one), Self::Roots(other)) => one.roots == other.roots,
            _ => false,
        }
    }
}

/// Why there is no one to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A certificate among those given cannot be a root.
    #[error("a certificate cannot be used as a root: {0}")]
    Certificate(#[source] rustls::Error),
    /// No certificate is in what was given.
    #[error("there is no certificate in it")]
    Empty,
    /// Not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[source] pem::Error),
    /// This build's TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Provider(#[source] rustls::Error),
    /// The system has no roots that can be read.
    #[error("the system's root certificates cannot be used: {0}")]
    System(#[source] io::Error),
}

/// A certificate with its chain, and its private key: what one side shows the other.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// Why a certificate and a key are no [`Identity`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate of the chain is over.
    #[error("a certificate expired on {not_after}")]
    Expired {
        /// Its last second.
        not_after: Timestamp,
    },
    /// The private key cannot be used.
    #[error("the private key cannot be used: {0}")]
    Key(#[source] rustls::Error),
    /// A certificate of the chain cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Malformed(#[source] x509_parser::error::X509Error),
    /// The private key is that of another certificate.
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
    /// There is no certificate.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// There is no private key that is not encrypted.
    #[error("there is no private key in it, or it is encrypted: {0}")]
    NoKey(#[source] pem::Error),
    /// A certificate of the chain has yet to begin.
    #[error("a certificate is valid only from {not_before} on")]
    NotYetValid {
        /// Its first second.
        not_before: Timestamp,
    },
    /// Not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[source] pem::Error),
}

impl Identity {
    /// The certificates in a PEM text, the shown one first and then those that lead to a root, with the private key in
    /// another (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// [`IdentityError`], also for certificates that are not valid at the time `now`.
    pub fn from_pem(certificates: &[u8], key: &[u8], now: SystemTime) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificates);
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(IdentityError::Pem)?;
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        let mut ends = Vec::with_capacity(chain.len());
        for certificate in &chain {
            ends.push(end_of_valid(certificate, now)?);
        }
        let not_after = ends.into_iter().min().ok_or(IdentityError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &crypto_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::Mismatch,
            error => IdentityError::Key(error),
        })?;
        Ok(Self { key: Arc::new(key), not_after })
    }

    /// The last second in which every certificate of the chain is valid.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Shows it to every peer, as a server's or a client's.
    pub fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(Arc::clone(&self.key).into())
    }
}

impl PartialEq for Identity {
    /// Whether they show the same certificates, which stand for their keys.
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The last second of a certificate that is valid now.
fn end_of_valid(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Timestamp, IdentityError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| IdentityError::Malformed(error.into()))?;
    let time = |time: x509_parser::time::ASN1Time| {
        let past = if time.timestamp() < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_second(time.timestamp()).unwrap_or(past)
    };
    let validity = certificate.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if now < not_before {
        return Err(IdentityError::NotYetValid { not_before });
    }
    if now > not_after {
        return Err(IdentityError::Expired { not_after });
    }
    Ok(not_after)
}

/// How a client speaks TLS to servers that `trust` covers, showing `identity` to those that ask.
///
/// # Errors
/// [`TrustError::Provider`] and [`TrustError::System`].
pub(super) fn client_config(trust: Trust, identity: Option<&Identity>) -> Result<ClientConfig, TrustError> {
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Provider)?;
    let config = match trust {
        Trust::System => config.with_native_roots().map_err(TrustError::System)?,
        Trust::Roots(roots) => config.with_root_certificates(roots),
    };
    Ok(match identity {
        Some(identity) => config.with_client_cert_resolver(identity.resolver()),
        None => config.with_no_client_auth(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate of 2020 to 2030 and its key, in PEM.
    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn read(certificates: &str, key: &str, year: u64) -> Result<Identity, IdentityError> {
        let at = UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600 + 864_000);
        Identity::from_pem(certificates.as_bytes(), key.as_bytes(), at)
    }

    #[test]
    fn a_certificate_with_its_key_is_an_identity_while_it_is_valid() {
        let (certificate, key) = made();
        let identity = read(&certificate, &key, 2026).unwrap();
        assert_eq!(identity.not_after().to_string(), "2030-01-01T00:00:00Z");
        let Err(IdentityError::Expired { not_after }) = read(&certificate, &key, 2030) else { panic!("not expired") };
        assert_eq!(not_after, identity.not_after());
        assert!(matches!(read(&certificate, &key, 2019), Err(IdentityError::NotYetValid { .. })));
    }

    #[test]
    fn the_whole_chain_has_to_be_valid() {
        let (certificate, key) = made();
        let over = rcgen::Certificate::pem(&{
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(2021, 1, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        });
        assert!(read(&certificate, &key, 2026).is_ok());
        assert!(matches!(read(&format!("{certificate}{over}"), &key, 2026), Err(IdentityError::Expired { .. })));
    }

    #[test]
    fn what_does_not_go_together_is_told_apart() {
        let (certificate, key) = made();
        let (other, other_key) = made();
        assert!(matches!(read(&certificate, &other_key, 2026), Err(IdentityError::Mismatch)));
        assert!(matches!(read(&key, &key, 2026), Err(IdentityError::NoCertificate)));
        assert!(matches!(read(&certificate, &certificate, 2026), Err(IdentityError::NoKey(_))));
        assert!(matches!(read(&certificate.replace("MII", "mii"), &key, 2026), Err(IdentityError::Malformed(_))));
        assert!(read(&certificate, &key, 2026).unwrap() == read(&certificate, &key, 2026).unwrap());
        assert!(read(&certificate, &key, 2026).unwrap() != read(&other, &other_key, 2026).unwrap());
    }

    #[test]
    fn a_key_is_never_shown() {
        let (certificate, key) = made();
        let shown = format!("{:?}", read(&certificate, &key, 2026).unwrap());
        assert_eq!(shown, "Identity { not_after: 2030-01-01T00:00:00Z, .. }");
    }
}
