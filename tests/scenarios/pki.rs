//! Certificates of a test's own, and clients that speak TLS with them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use syncseal::net::tls::crypto_provider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::{Answer, read_answer};

/// The name of the server in its certificate.
pub(crate) const SERVER: &str = "gateway.example";

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Whoever signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose subject has its issuer's name.
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate with this name, a DNS name or a URI.
    pub(crate) fn certify(&self, name: &str) -> Pair {
        self.certify_from(name, 2020, 2050)
    }

    /// A certificate that is valid from one year on until another.
    pub(crate) fn certify_from(&self, name: &str, from: i32, until: i32) -> Pair {
        let mut params = CertificateParams::default();
        let text = Ia5String::try_from(name).unwrap();
        params.subject_alt_names = vec![if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }];
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// A client that trusts it.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { server: self, shown: None, versions: rustls::ALL_VERSIONS, protocols: &[] }
    }
}

/// A client over TLS: whom it trusts, what it shows, and what it offers.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    server: &'a Authority,
    shown: Option<&'a Pair>,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'static [u8]],
}

impl<'a> Client<'a> {
    pub(crate) fn showing(self, pair: &'a Pair) -> Self {
        Self { shown: Some(pair), ..self }
    }

    pub(crate) fn speaking(self, versions: &'a [&'static SupportedProtocolVersion]) -> Self {
        Self { versions, ..self }
    }

    pub(crate) fn offering(self, protocols: &'a [&'static [u8]]) -> Self {
        Self { protocols, ..self }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.0.as_ref().der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(crypto_provider());
        let config = config.with_protocol_versions(self.versions).unwrap().with_root_certificates(roots);
        let mut config = match self.shown {
            None => config.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// Makes a handshake over a connection.
    pub(crate) async fn over(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(SERVER).unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, stream).await
    }

    /// Connects, and makes a handshake.
    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(addr).await.unwrap()).await
    }

    /// The answer to a request over a connection of its own, unless that is turned away.
    pub(crate) async fn ask(&self, addr: SocketAddr, request: &[u8]) -> io::Result<Answer> {
        let mut stream = self.connect(addr).await?;
        stream.write_all(request).await?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await?;
        Ok(read_answer(&mut &*received).await)
    }
}
