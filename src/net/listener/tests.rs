//! UNIX sockets and their files; pauses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The mode of a file.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_its_file_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = Listener::bind_unix(&path, 0o620).await.unwrap();
    assert_eq!(mode(&path), 0o620);
    assert_eq!(**listener.name(), format!("unix:{}", path.display()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    let (mut accepted, peer) = listener.accept().await;
    assert_eq!(peer, Peer("127.0.0.1:0".parse().unwrap()));
    client.write_all(b"x").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_any_more_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // The standard library leaves the file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Listener::bind_unix(&path, 0o600).await.unwrap();
    let second = Listener::bind_unix(&path, 0o600).await.unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    UnixStream::connect(&path).await.unwrap();
    drop(first);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::write(&path, "precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        assert_eq!(Listener::bind_unix(path, 0o600).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn the_file_of_a_successor_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let first = Listener::bind_unix(&path, 0o600).await.unwrap();
    // As if the successor came while the first one still drains.
    fs::rename(&path, dir.path().join("old")).unwrap();
    let second = Listener::bind_unix(&path, 0o600).await.unwrap();
    drop(first);
    assert!(path.exists());
    UnixStream::connect(&path).await.unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn peers_of_a_socket_for_both_families_have_their_own_address() {
    assert_eq!(Peer::new("[::ffff:192.0.2.1]:7".parse().unwrap()).0, "192.0.2.1:7".parse().unwrap());
    assert_eq!(Peer::new("[2001:db8::1]:7".parse().unwrap()).0, "[2001:db8::1]:7".parse().unwrap());
}

#[test]
fn accept_errors_are_waited_out_ever_more_slowly_up_to_a_bound() {
    let mut backoff = Backoff::default();
    let pauses: Vec<u128> = (0..10).map(|_| backoff.next().as_millis()).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1280]);
    assert!(is_of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)));
}
