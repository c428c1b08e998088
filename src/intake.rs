//! Where a gateway or an agent takes connections: the listeners that its policy names, bound, and what they are told
//! while they are open.
//!
//! What a connection passes is left to [`crate::net::listener`], which listeners a policy may name to [`crate::policy`].

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::net::activation::{Activated, ActivationError};
use crate::net::listener::Listener;
use crate::net::tls::ServerTls;
use crate::policy::{self, Admin, ListenAddr};

/// The listeners of one policy, before and after they are bound. Clones are the same listeners.
#[derive(Clone, Debug)]
pub struct Intake {
    places: Arc<[Place]>,
}

#[derive(Debug)]
struct Place {
    listener: policy::Listener,
    /// What it says in TLS from the next handshake on.
    tls: Option<Arc<ArcSwap<ServerTls>>>,
}

/// The window for operators cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for operators: {source}; admin.listen in the policy, or SYNCSEAL_ADMIN__LISTEN, names \
     another address or says \"off\""
)]
pub struct WindowError {
    address: ListenAddr,
    source: io::Error,
}

/// The mode of the file of a UNIX socket for operators: for its owner and group.
const WINDOW_MODE: u32 = 0o660;

/// Binds the window for operators, if there is to be one.
///
/// # Errors
/// [`WindowError`].
pub async fn bind_window(admin: &Admin) -> Result<Option<Listener>, WindowError> {
    let Some(address) = &admin.listen else { return Ok(None) };
    let bound = match address {
        ListenAddr::Tcp(address) => Listener::bind(*address).await,
        ListenAddr::Unix(path) => Listener::bind_unix(path, WINDOW_MODE).await,
        ListenAddr::Systemd(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    bound.map(Some).map_err(|source| WindowError { address: address.clone(), source })
}

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system does not give it.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: ListenAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The service manager does not give it.
    #[error("cannot listen on {address}: {source}")]
    Activation {
        /// The address.
        address: ListenAddr,
        /// Why not.
        source: ActivationError,
    },
    /// What the service manager gives is within the reach of other machines, which may not bring plaintext.
    #[error(
        "cannot listen on {address}: {bound} takes plaintext, and others than this machine could reach it; allowed: an \
         address of this machine alone, tls, or public_plaintext_listener = true in [dangerous]"
    )]
    PublicPlaintext {
        /// The address.
        address: ListenAddr,
        /// What it turned out to be.
        bound: Arc<str>,
    },
}

impl Intake {
    /// The listeners that a policy names. None is bound yet.
    pub fn new(listeners: &[policy::Listener]) -> Self {
        let place = |listener: &policy::Listener| Place {
            listener: listener.clone(),
            tls: listener.tls.as_ref().map(|tls| Arc::new(ArcSwap::from_pointee(tls.tls.clone()))),
        };
        Self { places: listeners.iter().map(place).collect() }
    }

    /// Binds all of them, or none: at least one, for the service manager may hand over several under one name.
    ///
    /// `permit_public_plaintext` is whether other machines may bring plaintext.
    ///
    /// # Errors
    /// [`BindError`] of the first that cannot be had.
    pub async fn bind(&self, permit_public_plaintext: bool) -> Result<Vec<Listener>, BindError> {
        let mut activated = Activated::from_env();
        let mut bound = Vec::with_capacity(self.places.len());
        for Place { listener: place, tls } in &*self.places {
            let address = &place.address;
            let failed = |source| BindError::Bind { address: address.clone(), source };
            let listeners = match address {
                ListenAddr::Tcp(address) => vec![Listener::bind(*address).await.map_err(failed)?],
                ListenAddr::Unix(path) => vec![Listener::bind_unix(path, place.mode).await.map_err(failed)?],
                ListenAddr::Systemd(name) => {
                    activated.take(name).map_err(|source| BindError::Activation { address: address.clone(), source })?
                }
            };
            for listener in listeners {
                let is_public = listener.local_addr().is_ok_and(|addr| policy::is_public(addr.ip()));
                if is_public && place.is_plaintext() && !permit_public_plaintext {
                    let bound = Arc::clone(listener.name());
                    return Err(BindError::PublicPlaintext { address: address.clone(), bound });
                }
                let listener = listener.behind(&place.balancers);
                bound.push(match tls {
                    Some(tls) => listener.secured(Arc::clone(tls)),
                    None => listener,
                });
            }
        }
        activated.warn_of_rest();
        Ok(bound)
    }

    /// Whether `listeners` are the same sockets: what can only be changed by another start.
    pub fn is_same_sockets(&self, listeners: &[policy::Listener]) -> bool {
        self.places.len() == listeners.len()
            && self.places.iter().zip(listeners).all(|(ours, theirs)| ours.listener.is_same_socket(theirs))
    }

    /// Goes on with the certificates, keys and client CAs that `listeners` name. Connections that are there stay as they
    /// are; sessions of TLS are not resumed over the change.
    pub fn replace_tls(&self, listeners: &[policy::Listener]) {
        for (n, Place { listener, tls }) in self.places.iter().enumerate() {
            let is_it = |next: &&policy::Listener| next.address == listener.address;
            // By its place first: of several addresses with port 0, none is told from another.
            let next = listeners.get(n).filter(is_it).or_else(|| listeners.iter().find(is_it));
            if let (Some(cell), Some(next)) = (tls, next.and_then(|next| next.tls.as_ref()))
                && **cell.load() != next.tls
            {
                cell.store(Arc::new(next.tls.clone()));
            }
        }
    }
}
