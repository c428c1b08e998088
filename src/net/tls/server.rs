//! TLS at a listener: what it shows, whom it asks for a certificate, and by which names it knows who showed one.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

use super::{Identity, Trust, TrustError, crypto_provider};

/// HTTP/2 and HTTP/1.1, the preferred first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whom a listener asks for a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuth {
    /// Whose certificates count; never [`Trust::System`], whose roots vouch for servers.
    pub trust: Trust,
    /// Whether those without one are turned away.
    pub required: bool,
}

/// How a listener speaks TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct ServerTls {
    identity: Identity,
    clients: Option<ClientAuth>,
    config: Arc<ServerConfig>,
}

/// By which names a client is known whose certificate was verified: an extension of every request of its connection.
///
/// They are those of the certificate's subject alternative name: DNS names in lower case and without wildcards, URIs, and
/// addresses of mail. No name of one kind looks like one of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNames(pub Arc<[String]>);

impl ServerTls {
    /// Shows `identity`, and asks clients for certificates as `clients` says.
    ///
    /// # Errors
    /// [`TrustError::Empty`] if no certificate of a client could count, and [`TrustError::Provider`].
    pub fn new(identity: Identity, clients: Option<ClientAuth>) -> Result<Self, TrustError> {
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Provider)?;
        let config = match &clients {
            None => config.with_no_client_auth(),
            Some(ClientAuth { trust: Trust::System, .. }) => return Err(TrustError::Empty),
            Some(ClientAuth { trust: Trust::Roots(roots), required }) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), crypto_provider());
                let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
                config.with_client_cert_verifier(verifier.build().map_err(|_| TrustError::Empty)?)
            }
        };
        let mut config = config.with_cert_resolver(identity.resolver());
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self { identity, clients, config: Arc::new(config) })
    }

    /// What it shows.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whom it asks for a certificate, if it asks.
    pub fn clients(&self) -> Option<&ClientAuth> {
        self.clients.as_ref()
    }

    /// Makes the handshake; with the stream come the names of a client that showed a certificate.
    pub(in crate::net) async fn accept<I>(&self, io: I) -> io::Result<(TlsStream<I>, Option<ClientNames>)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(io).await?;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let names = certificate.map(|certificate| ClientNames(names(certificate).into()));
        Ok((stream, names))
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.clients == other.clients
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("identity", &self.identity).field("clients", &self.clients).finish()
    }
}

/// The names in a certificate, as [`ClientNames`] has them.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    alternative.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match *name {
        GeneralName::DNSName(name) => is_dns(name).then(|| name.to_ascii_lowercase()),
        GeneralName::URI(name) => (name.contains(':') && !name.contains('@')).then(|| name.to_owned()),
        GeneralName::RFC822Name(name) => (name.contains('@') && !name.contains(':')).then(|| name.to_owned()),
        _ => None,
    }
}

/// Labels with dots between them.
fn is_dns(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_of_each_kind_count_unless_they_could_be_taken_for_another_kind() {
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName(text("Phone-1.Fleet.example")),
            SanType::DnsName(text("*.fleet.example")),
            SanType::DnsName(text("spiffe://fleet/phone-1")),
            SanType::DnsName(text("")),
            SanType::URI(text("spiffe://fleet/Phone-1")),
            SanType::URI(text("phone-1.fleet.example")),
            SanType::URI(text("mailto:a@fleet.example")),
            SanType::Rfc822Name(text("Phone@fleet.example")),
            SanType::Rfc822Name(text("fleet.example")),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = ["phone-1.fleet.example", "spiffe://fleet/Phone-1", "Phone@fleet.example"];
        assert_eq!(names(certificate.der()), expected);
    }

    #[test]
    fn a_certificate_without_names_has_none() {
        let certificate = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(names(certificate.der()).is_empty());
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }
}
