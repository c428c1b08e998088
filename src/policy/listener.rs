//! Where a gateway or an agent listens: `[[listener]]`, and its short form, the key `listen` of the role's table.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::fault::{Cause, Conflict};
use super::reader::{Section, Setting};
use super::rules::{NET_ALLOWED, net};
use super::tls::ListenerTls;
use super::value::{list, nonempty_list, text};

/// A place to listen, and what comes in there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddr,
    /// The mode of a UNIX socket's file.
    pub mode: u32,
    /// Addresses of balancers, whose connections begin with a PROXY header.
    pub balancers: Vec<IpNet>,
    /// TLS, without which it takes plaintext.
    pub tls: Option<ListenerTls>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// An address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a UNIX socket.
    Unix(PathBuf),
    /// Every socket that the service manager hands over under this name.
    Systemd(String),
}

/// The longest path that the system takes for a UNIX socket, in bytes.
const LONGEST_PATH: usize = 107;

/// The mode of a UNIX socket's file, unless said otherwise: for its owner and group.
const MODE: u32 = 0o660;

impl ListenAddr {
    const ALLOWED: &str = "\"ADDRESS:PORT\", \"unix:/PATH\" or \"systemd:NAME\"";

    pub(super) fn parse(address: &str) -> Option<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let usable = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
            return (usable && path.len() <= LONGEST_PATH).then(|| Self::Unix(path.into()));
        }
        if let Some(name) = address.strip_prefix("systemd:") {
            // sd_listen_fds_with_names(3): printable ASCII, of which a colon separates.
            let usable = (1..=255).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic() && c != b':');
            return usable.then(|| Self::Systemd(name.to_owned()));
        }
        address.parse().ok().map(Self::Tcp)
    }

    /// Whether the system chooses what it is.
    const fn is_chosen(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    /// Whether another machine can reach it, as far as that is known before it is bound.
    pub fn is_public(&self) -> bool {
        match self {
            Self::Tcp(address) => is_public(address.ip()),
            Self::Unix(_) | Self::Systemd(_) => false,
        }
    }
}

/// Whether another machine can reach what listens at this address.
pub fn is_public(address: IpAddr) -> bool {
    !address.to_canonical().is_loopback()
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl From<SocketAddr> for Listener {
    /// Plaintext over TCP.
    fn from(address: SocketAddr) -> Self {
        Self { address: ListenAddr::Tcp(address), mode: MODE, balancers: Vec::new(), tls: None }
    }
}

impl Listener {
    /// Whether what comes in is HTTP as it is.
    pub const fn is_plaintext(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether it asks clients for certificates.
    pub fn asks_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.tls.clients().is_some())
    }

    /// Whether it says the same as `other` of the socket, what comes before TLS, and whether that is spoken: what cannot
    /// be changed while it is open.
    pub fn is_same_socket(&self, other: &Self) -> bool {
        self.address == other.address
            && self.mode == other.mode
            && self.balancers == other.balancers
            && self.is_plaintext() == other.is_plaintext()
    }

    /// The listeners of a policy: those of `[[listener]]`, and those of `listen` in the table of its role. Without any,
    /// `default`. `permit_public_plaintext` is whether other machines may bring plaintext.
    pub(super) fn read_all(
        root: &mut Section<'_>,
        role: &mut Section<'_>,
        default: SocketAddr,
        permit_public_plaintext: bool,
    ) -> Vec<Self> {
        let allowed = format!("an address and port, such as \"{default}\"");
        let permitted = |setting: &Setting<'_>, listener: &Self| {
            let refused = listener.is_plaintext() && listener.address.is_public() && !permit_public_plaintext;
            if refused { setting.report(Cause::PublicPlaintext { found: setting.found() }) } else { Some(()) }
        };
        let short = role.optional("listen", |setting| {
            let address = text(&allowed, |text| text.parse::<SocketAddr>().ok());
            nonempty_list("an address", |item: &Setting<'_>| {
                let listener = Self::from(address(item)?);
                permitted(item, &listener).map(|()| listener)
            })(setting)
        });
        let sections = root.sections_if_any("listener");
        let has_any = short.is_some() || !sections.is_empty();
        let mut listeners = short.unwrap_or_default();
        for mut section in sections {
            let listener = Self::read(&mut section);
            if let (Some(listener), Some(setting)) = (&listener, section.find("address")) {
                let is_same = |known: &Self| known.address == listener.address && !listener.address.is_chosen();
                if listeners.iter().any(is_same) {
                    setting.report::<()>(Cause::Twice { found: setting.found() });
                }
                permitted(&setting, listener);
            }
            listeners.extend(listener);
            section.finish();
        }
        if has_any { listeners } else { vec![default.into()] }
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let address = section.required("address", ListenAddr::ALLOWED, text(ListenAddr::ALLOWED, ListenAddr::parse));
        let mode = section.optional("mode", text("the mode of a UNIX socket's file, such as \"0660\"", parse_mode));
        if mode.is_some() && address.as_ref().is_some_and(|address| !matches!(address, ListenAddr::Unix(_))) {
            section.report("mode", Cause::Conflict(Conflict::ModeWithoutFile));
        }
        let balancers = section.or("proxy_protocol_from", Vec::new(), list(NET_ALLOWED, text(NET_ALLOWED, net)));
        let tls = match section.find("tls") {
            Some(tls) => Some(ListenerTls::read(&tls)?),
            None => None,
        };
        Some(Self { tls, address: address?, mode: mode.unwrap_or(MODE), balancers })
    }
}

/// Reads a mode in octal, without which nobody at all could connect.
fn parse_mode(text: &str) -> Option<u32> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| digit.is_ascii_digit());
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok())??;
    (mode & 0o200 != 0 && mode & !0o777 == 0).then_some(mode)
}
