//! Where operators look in: `[admin]`.

use std::net::SocketAddr;

use super::listener::ListenAddr;
use super::reader::Section;
use super::value::{choice, list, text};

/// The window for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens: within this machine, unless policy says that others may look; `None` if it is off.
    pub listen: Option<ListenAddr>,
    /// Names, besides addresses and `localhost`, by which it is asked.
    pub hosts: Vec<String>,
    /// Which servers must be there for readiness.
    pub ready_needs_upstreams: Needs,
}

/// How many of several must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Each.
    All,
    /// One, whichever.
    Any,
    /// Not even one: nobody asks.
    None,
}

impl Needs {
    const ALL: [Self; 3] = [Self::All, Self::Any, Self::None];

    /// Its name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
            Self::None => "none",
        }
    }
}

const LISTEN_ALLOWED: &str = "an address of this machine alone and a port, such as \"127.0.0.1:9901\" (there is no password: \
     others need public_admin_listener = true in [dangerous]), \"unix:/PATH\" or \"off\"";
const HOST_ALLOWED: &str = "a host name, without port";

impl Admin {
    /// Reads the table; `usual` is where it listens unless said otherwise, `may_be_public` whether others than this machine
    /// may look.
    pub(super) fn read(mut section: Section<'_>, usual: SocketAddr, may_be_public: bool) -> Self {
        let listen = section.or(
            "listen",
            Some(ListenAddr::Tcp(usual)),
            text(LISTEN_ALLOWED, |text| match ListenAddr::parse(text) {
                None => (text == "off").then_some(None),
                Some(ListenAddr::Systemd(_)) => None,
                Some(address) => (may_be_public || !address.is_public()).then_some(Some(address)),
            }),
        );
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let name = |name: &str| (!name.is_empty() && name.chars().all(is_of_a_name)).then(|| name.to_ascii_lowercase());
        let hosts = section.or("hosts", Vec::new(), list(HOST_ALLOWED, text(HOST_ALLOWED, name)));
        let ready_needs_upstreams = section.or("ready_needs_upstreams", Needs::Any, choice(&Needs::ALL, Needs::name));
        section.finish();
        Self { listen, hosts, ready_needs_upstreams }
    }
}
