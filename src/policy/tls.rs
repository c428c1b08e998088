//! Certificates and keys for TLS by file, what a listener does with them, and the names of clients that show one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fault::{Cause, Conflict};
use super::keys;
use super::reader::{Section, Setting};
use super::value::choice;
use crate::net::tls::{ClientAuth, ClientNames, Identity, IdentityError, ServerTls, Trust};

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// The file of the certificate that it shows, with its chain.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// The file of the certificates that those of clients must lead to.
    pub client_ca: Option<PathBuf>,
    /// What is in the files.
    pub tls: ServerTls,
}

/// The TLS toward a route's server, whose name in its certificate must be that of its address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamTls {
    /// The file of the certificates that the server's must lead to, if not to the system's.
    pub ca: Option<PathBuf>,
    /// The file of the certificate that is shown to a server that asks for one, with its chain.
    pub certificate: Option<PathBuf>,
    /// What is in the first.
    pub trust: Trust,
    /// What is in the second, with its private key.
    pub identity: Option<Identity>,
}

/// A pattern of names of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPattern {
    /// The name itself; a DNS name in lower case.
    Exact(String),
    /// Every DNS name of one label more than this, as `*.` before it says.
    Under(String),
}

impl ClientPattern {
    pub(super) const ALLOWED: &str =
        "a name of a client certificate (a DNS name, a URI, an address of mail), or \"*.\" before a DNS name";

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_whitespace()) {
            return None;
        }
        let (under, name) = match text.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, text),
        };
        let name = if is_dns(name) { name.to_ascii_lowercase() } else { name.to_owned() };
        match under {
            _ if name.is_empty() || name.contains('*') => None,
            true => is_dns(&name).then_some(Self::Under(name)),
            false => Some(Self::Exact(name)),
        }
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Under(parent) => {
                is_dns(name) && name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
        }
    }
}

impl fmt::Display for ClientPattern {
    /// As policies write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Under(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Whether one of the patterns means one of a client's names.
pub(super) fn any_matches(patterns: &[ClientPattern], names: Option<&ClientNames>) -> bool {
    names.is_some_and(|names| patterns.iter().any(|pattern| names.0.iter().any(|name| pattern.matches(name))))
}

/// Whether a name is of no other kind.
fn is_dns(name: &str) -> bool {
    !name.contains([':', '@'])
}

const TLS_ALLOWED: &str =
    "{ certificate = \"FILE\", key = \"FILE\" }, and for client certificates client_ca = \"FILE\"";
const CERTIFICATE_ALLOWED: &str = "the file of a certificate and those that lead to its root, PEM, its own first";
const KEY_ALLOWED: &str = "the file of the certificate's private key, PEM";
const CA_ALLOWED: &str = "a file of certificates, PEM";

impl ListenerTls {
    /// Reads it from the table `tls` of a listener.
    pub(super) fn read(setting: &Setting<'_>) -> Option<Self> {
        let mut section = setting.section("listener.tls", TLS_ALLOWED)?;
        let key = section.required("key", KEY_ALLOWED, |setting| key(setting));
        let shown = section.required("certificate", CERTIFICATE_ALLOWED, |setting| {
            let (file, pem) = read_file(setting, CERTIFICATE_ALLOWED)?;
            let (_, key) = key.as_ref()?;
            Some((identity(setting, &file, &pem, key)?, file))
        });
        let ca = section.find("client_ca");
        let has_ca = ca.is_some();
        let ca = ca.and_then(|setting| Some((trust(&setting)?, keys::path(&setting, CA_ALLOWED)?)));
        let required = [true, false];
        let required = choice(&required, |required| if required { "require" } else { "request" });
        let required = section.optional("client_auth", required);
        if required.is_some() && !has_ca {
            section.report("client_auth", Cause::Conflict(Conflict::ClientAuthWithoutCa));
        }
        section.finish();
        let ((identity, certificate), (key, _)) = (shown?, key?);
        let (clients, client_ca) = match ca {
            Some((trust, file)) => (Some(ClientAuth { trust, required: required.unwrap_or(true) }), Some(file)),
            None => (None, None),
        };
        match ServerTls::new(identity, clients) {
            Ok(tls) => Some(Self { certificate, key, client_ca, tls }),
            Err(error) => setting.report(Cause::UnusableTls {
                file: client_ca.unwrap_or(certificate),
                error: error.to_string(),
                remedy: "put a file of PEM certificates there",
            }),
        }
    }
}

impl UpstreamTls {
    /// Reads it from the keys of a route.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let ca =
            section.find("upstream_ca").and_then(|setting| Some((keys::path(&setting, CA_ALLOWED)?, trust(&setting)?)));
        let certificate = section.find("upstream_certificate");
        let key_setting = section.find("upstream_key");
        if certificate.is_some() && key_setting.is_none() {
            section.report("upstream_key", Cause::Missing { allowed: KEY_ALLOWED.to_owned() });
        }
        if certificate.is_none() && key_setting.is_some() {
            section.report("upstream_certificate", Cause::Missing { allowed: CERTIFICATE_ALLOWED.to_owned() });
        }
        let shown = certificate.zip(key_setting.as_ref().and_then(key)).and_then(|(setting, (_, key))| {
            let (file, pem) = read_file(&setting, CERTIFICATE_ALLOWED)?;
            Some((identity(&setting, &file, &pem, &key)?, file))
        });
        let (ca, trust) = ca.unzip();
        let (identity, certificate) = shown.unzip();
        Self { ca, certificate, trust: trust.unwrap_or_default(), identity }
    }
}

/// The file of a private key, and what is in it.
fn key(setting: &Setting<'_>) -> Option<(PathBuf, zeroize::Zeroizing<String>)> {
    let file = keys::path(setting, KEY_ALLOWED)?;
    let read = keys::read(&file).and_then(|(pem, mode)| keys::owner_alone(&file, mode).map(|()| pem));
    read.map_or_else(|cause| setting.report(cause), |pem| Some((file, pem)))
}

fn read_file(setting: &Setting<'_>, allowed: &str) -> Option<(PathBuf, zeroize::Zeroizing<String>)> {
    let file = keys::path(setting, allowed)?;
    keys::read(&file).map_or_else(|cause| setting.report(cause), |(pem, _)| Some((file, pem)))
}

/// Reads a certificate, judged at this moment.
fn identity(setting: &Setting<'_>, file: &Path, certificate: &str, key: &str) -> Option<Identity> {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes(), SystemTime::now()).map_or_else(
        |error| {
            let (file, remedy) = (file.to_owned(), remedy(&error));
            setting.report(Cause::UnusableTls { file, error: error.to_string(), remedy })
        },
        Some,
    )
}

/// What to do about a certificate that cannot be shown.
const fn remedy(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::Expired { .. } => "put a new one there, or look whether the clock of this machine is right",
        IdentityError::NotYetValid { .. } => "look whether the clock of this machine is right, or wait",
        IdentityError::Mismatch => "put the key there that the certificate was made for; the chain begins with its own",
        IdentityError::NoKey(_) | IdentityError::Key(_) => {
            "put an unencrypted key there, PKCS#8, PKCS#1 or SEC1 in PEM"
        }
        IdentityError::NoCertificate | IdentityError::Malformed(_) | IdentityError::Pem(_) => {
            "put PEM certificates there, the server's own first"
        }
    }
}

/// Reads whose certificates count.
fn trust(setting: &Setting<'_>) -> Option<Trust> {
    let file = keys::path(setting, CA_ALLOWED)?;
    let pem = keys::read_bundle(&file).map_or_else(|cause| setting.report(cause), Some)?;
    Trust::from_pem(pem.as_bytes()).map_or_else(
        |error| {
            let remedy = "put a file of PEM certificates there";
            setting.report(Cause::UnusableTls { file, error: error.to_string(), remedy })
        },
        Some,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_name_or_the_names_one_label_under_another() {
        for (pattern, name, means) in [
            ("Phone-1.fleet.example", "phone-1.fleet.example", true),
            ("phone-1.fleet.example", "phone-2.fleet.example", false),
            ("*.Fleet.example", "phone-1.fleet.example", true),
            ("*.fleet.example", "fleet.example", false),
            ("*.fleet.example", ".fleet.example", false),
            ("*.fleet.example", "a.b.fleet.example", false),
            ("*.fleet.example", "spiffe://x.fleet.example", false),
            ("*.fleet.example", "a@x.fleet.example", false),
            ("spiffe://fleet/Phone", "spiffe://fleet/Phone", true),
            ("spiffe://fleet/Phone", "spiffe://fleet/phone", false),
            ("Phone@fleet.example", "Phone@fleet.example", true),
        ] {
            assert_eq!(ClientPattern::parse(pattern).unwrap().matches(name), means, "{pattern} {name}");
        }
        for wrong in ["", "*", "*.", "*.*.example", "a.*.example", "*.spiffe://x", "a b"] {
            assert_eq!(ClientPattern::parse(wrong), None, "{wrong}");
        }
    }
}
