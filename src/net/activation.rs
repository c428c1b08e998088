//! Sockets that the service manager has opened, by the names that it gave them (`sd_listen_fds_with_names(3)`).

use std::{env, io};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::listener::Listener;

/// What a socket is called that was given no name.
const NAMELESS: &str = "unknown";

/// The sockets that were handed over to this process.
pub struct Activated {
    sockets: ListenFd,
    /// Of each socket, its name, until it is taken.
    names: Vec<Option<String>>,
}

/// Why there is no socket of a name.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// None was handed over, or it was taken already.
    #[error(
        "the service manager handed over no such socket (names: {}); expected: one whose unit says FileDescriptorName=",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    )]
    None {
        /// The names of those that are there.
        names: Vec<String>,
    },
    /// It cannot be used.
    #[error("the service manager handed over a socket that is no stream of TCP or UNIX: {0}")]
    Unusable(#[source] io::Error),
}

impl Activated {
    /// Finds them by the environment of this process. The same socket must not be taken through two of these.
    pub fn from_env() -> Self {
        let sockets = ListenFd::from_env();
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|_| !names.is_empty());
        let names = (0..sockets.len()).map(|_| Some(names.next().unwrap_or(NAMELESS).to_owned())).collect();
        Self { sockets, names }
    }

    /// Takes every socket of this name: at least one.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn take(&mut self, name: &str) -> Result<Vec<Listener>, ActivationError> {
        let mut taken = Vec::new();
        for n in 0..self.names.len() {
            if let Some(known) = self.names.get_mut(n).filter(|known| known.as_deref() == Some(name)) {
                *known = None;
                taken.extend(self.take_nth(n).map_err(ActivationError::Unusable)?);
            }
        }
        if taken.is_empty() {
            return Err(ActivationError::None { names: self.names.iter().flatten().cloned().collect() });
        }
        Ok(taken)
    }

    fn take_nth(&mut self, n: usize) -> io::Result<Option<Listener>> {
        // A socket that is not of this kind is left where it is.
        if let Ok(Some(socket)) = self.sockets.take_unix_listener(n) {
            socket.set_nonblocking(true)?;
            return Listener::unix(UnixListener::from_std(socket)?, None).map(Some);
        }
        let Some(socket) = self.sockets.take_tcp_listener(n)? else { return Ok(None) };
        socket.set_nonblocking(true)?;
        Listener::tcp(TcpListener::from_std(socket)?).map(Some)
    }

    /// Writes a warning of each that nobody took: connections to it would wait for ever.
    pub fn warn_of_rest(&self) {
        for name in self.names.iter().flatten() {
            warn!(name, "the service manager handed over a socket that no [[listener]] names");
        }
    }
}
