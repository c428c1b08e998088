//! Is a server there: a connection is opened, and closed again, without a word.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::upstream::Address;

/// Whether a connection to `address` can be opened within a time. Neither TLS nor HTTP is spoken.
///
/// # Errors
/// The system's, and [`io::ErrorKind::TimedOut`].
pub async fn reach(address: &Address, within: Duration) -> io::Result<()> {
    let connect = async {
        match address {
            Address::Http(authority) | Address::Https(authority) => {
                let usual = if matches!(address, Address::Http(_)) { 80 } else { 443 };
                let host = authority.host();
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                TcpStream::connect((host, authority.port_u16().unwrap_or(usual))).await.map(drop)
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(drop),
        }
    };
    timeout(within, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_listens_is_reached_and_what_does_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        reach(&address, PATIENCE).await.unwrap();
        drop(listener);
        assert_eq!(reach(&address, PATIENCE).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_unix_socket_is_reached_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.sock");
        let address = format!("unix:{}", path.display()).parse().unwrap();
        assert_eq!(reach(&address, PATIENCE).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let _listener = UnixListener::bind(&path).unwrap();
        reach(&address, PATIENCE).await.unwrap();
    }

    #[tokio::test]
    async fn the_brackets_of_an_ipv6_address_are_none_of_its_name() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
        let address = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        reach(&address, PATIENCE).await.unwrap();
    }
}
