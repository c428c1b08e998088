//! Where operators look in: `[admin]`.

use std::net::SocketAddr;

use super::reader::Section;
use super::value::{list, text};

/// The window for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens: on loopback, unless the policy says how dangerous another place is; `None` if it is off.
    pub listen: Option<SocketAddr>,
    /// Names, besides addresses and `localhost`, by which it is asked.
    pub hosts: Vec<String>,
}

const LISTEN_ALLOWED: &str = "an address of this machine alone and a port, such as \"127.0.0.1:9901\" (there is no password), or \"off\"; with \
     public_admin_listener = true in [dangerous] any address";
const HOST_ALLOWED: &str = "a host name, without port";

impl Admin {
    /// Reads the table; `usual` is where it listens unless said otherwise. Only if it may be `public`, it listens to other
    /// machines.
    pub(super) fn read(mut section: Section<'_>, usual: SocketAddr, public: bool) -> Self {
        let listen = section.or(
            "listen",
            Some(usual),
            text(LISTEN_ALLOWED, |text| match text {
                "off" => Some(None),
                _ => text.parse().ok().filter(|address: &SocketAddr| public || address.ip().is_loopback()).map(Some),
            }),
        );
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let name = |name: &str| (!name.is_empty() && name.chars().all(is_of_a_name)).then(|| name.to_ascii_lowercase());
        let hosts = section.or("hosts", Vec::new(), list(HOST_ALLOWED, text(HOST_ALLOWED, name)));
        section.finish();
        Self { listen, hosts }
    }
}
