//! Sockets that accept: TCP and UNIX, bound here or handed over by a service manager; and what a connection passes
//! before its first request: the header of a balancer, and TLS.
//!
//! Which address may be listened on, and with which certificate, is decided elsewhere.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tracing::{debug, warn};

use super::proxy_protocol::{self, HeaderError};
use super::tls::{ClientNames, ServerTls};

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Who is at the other end of a connection: an extension of every request.
///
/// Of a connection from a balancer that is named for the PROXY protocol it is the client that the balancer names. Over
/// a UNIX socket without that it is 127.0.0.1, port 0: whoever can open the socket's file is this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// Everybody at a UNIX socket.
    const LOCAL: Self = Self(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

    /// `addr`, without the IPv6 form that a socket for both families gives to IPv4.
    fn new(addr: SocketAddr) -> Self {
        Self(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    name: Arc<str>,
    entrance: Entrance,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// With its file, if that is ours to remove.
    Unix(UnixListener, #[expect(dead_code, reason = "held until the socket is closed")] Option<SocketFile>),
}

/// A connection as it was accepted.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// A connection that is ready for requests.
pub(super) type Ready = Either<Stream, Box<TlsStream<Stream>>>;

/// What a connection passes before its first request.
#[derive(Clone, Debug, Default)]
pub(super) struct Entrance {
    balancers: Arc<[IpNet]>,
    tls: Option<Arc<ArcSwap<ServerTls>>>,
}

/// Why a connection does not come to its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Turned {
    /// It comes from a balancer, which does not say for whom.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It makes no TLS handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
}

impl Entrance {
    /// Whether this is a balancer, whose connections are those of others.
    pub(super) fn is_balancer(&self, peer: Peer) -> bool {
        self.balancers.iter().any(|net| net.contains(&peer.0.ip()))
    }

    /// Whose connection it is.
    pub(super) async fn introduce(&self, io: &mut Stream, peer: Peer) -> Result<Peer, Turned> {
        if !self.is_balancer(peer) {
            return Ok(peer);
        }
        Ok(proxy_protocol::read(io).await?.map_or(peer, Peer::new))
    }

    /// Makes the TLS handshake where there is one, as soon as it has one of the `places`.
    pub(super) async fn secure(&self, io: Stream, places: &Semaphore) -> Result<(Ready, Option<ClientNames>), Turned> {
        let Some(tls) = &self.tls else { return Ok((Either::Left(io), None)) };
        // The semaphore is never closed.
        let _place = places.acquire().await;
        let (stream, names) = tls.load_full().accept(io).await.map_err(Turned::Handshake)?;
        Ok((Either::Right(Box::new(stream)), names))
    }
}

impl Listener {
    /// Binds a TCP address; port 0 lets the system choose.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::tcp(TcpListener::bind(address).await?)
    }

    /// Binds a UNIX socket whose file has this mode from the first connection on. The file of a process that is gone
    /// is replaced; it is removed when the listener is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if somebody listens there, [`io::ErrorKind::AlreadyExists`] if something else than a
    /// socket has the name, and the system's.
    pub async fn bind_unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile::at(path)?;
        // Nobody can connect before the socket listens.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Self::unix(socket.listen(BACKLOG)?, Some(file))
    }

    pub(super) fn tcp(socket: TcpListener) -> io::Result<Self> {
        let name = socket.local_addr()?.to_string().into();
        Ok(Self { socket: Socket::Tcp(socket), name, entrance: Entrance::default() })
    }

    pub(super) fn unix(socket: UnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        let addr = socket.local_addr()?;
        let path = addr.as_pathname().unwrap_or_else(|| Path::new("(unnamed)"));
        let name = format!("unix:{}", path.display()).into();
        Ok(Self { socket: Socket::Unix(socket, file), name, entrance: Entrance::default() })
    }

    /// Takes connections from these addresses for those of balancers: each must begin with a PROXY header.
    pub fn behind(mut self, balancers: &[IpNet]) -> Self {
        self.entrance.balancers = balancers.into();
        self
    }

    /// Speaks TLS as the cell says at the time of each handshake.
    pub fn secured(mut self, tls: Arc<ArcSwap<ServerTls>>) -> Self {
        self.entrance.tls = Some(tls);
        self
    }

    /// Whether it speaks TLS.
    pub fn is_secured(&self) -> bool {
        self.entrance.tls.is_some()
    }

    /// What it is bound to: `127.0.0.1:8080`, `unix:/run/syncseal.sock`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if that is none of TCP, and the system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr(),
            Socket::Unix(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// The next connection. Errors are waited out: those of one connection are passed over, and those of the process
    /// or the system (no descriptors left) are tried again, ever more slowly.
    pub(super) async fn accept(&self) -> (Stream, Peer) {
        let mut backoff = Backoff::default();
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => debug!(%error, "accept"),
                Err(error) => {
                    let pause = backoff.next();
                    warn!(%error, ?pause, "accept");
                    sleep(pause).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (io, peer) = socket.accept().await?;
                // Answers are written whole, so there is nothing to gain by waiting for more to send.
                if let Err(error) = io.set_nodelay(true) {
                    debug!(%peer, %error, "TCP_NODELAY");
                }
                Ok((Either::Left(io), Peer::new(peer)))
            }
            Socket::Unix(socket, _) => Ok((Either::Right(socket.accept().await?.0), Peer::LOCAL)),
        }
    }
}

/// True for what a peer can bring about by leaving before it is accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Pauses of 5 ms, doubled each time up to 1.28 s.
#[derive(Debug, Default)]
struct Backoff {
    doublings: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const MAX_DOUBLINGS: u32 = 8;

    fn next(&mut self) -> Duration {
        let pause = Self::FIRST * (1 << self.doublings);
        self.doublings = (self.doublings + 1).min(Self::MAX_DOUBLINGS);
        pause
    }
}

/// Removes the file of a socket on which nobody listens any more.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody listens, and has no place in the queue.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The file of a socket, removed when this is dropped, unless another has taken its name.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: file_id(path)? })
    }
}

/// Device and inode.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), %error, "the file of a socket stays behind");
        }
    }
}

#[cfg(test)]
mod tests;
