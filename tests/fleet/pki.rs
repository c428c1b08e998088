//! A certificate authority of a test's own, and servers' certificates by it.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::free_port;

/// Its files are in one directory.
pub(crate) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// An authority, whose certificate is in `NAME.pem`.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.join(name).with_extension("pem"), certificate.pem()).unwrap();
        Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// The options of a redis-server that speaks TLS, too, as one of these names, and the port on which it does.
    pub(crate) fn server(&self, ca: &str, names: &[&str]) -> (u16, Vec<String>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let port = free_port();
        let file = |suffix: &str, text: String| {
            let path = self.dir.join(format!("{port}.{suffix}"));
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("pem", certificate.pem())),
            ("--tls-key-file", file("key", key.serialize_pem())),
            ("--tls-ca-cert-file", self.dir.join(ca).to_str().unwrap().to_owned()),
            ("--tls-auth-clients", "no".to_owned()),
            ("--tls-replication", "yes".to_owned()),
        ];
        (port, options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect())
    }
}
