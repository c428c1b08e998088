//! The end of a gateway.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::http::{post_seal, post_seal_bytes, read_answer};
use crate::site::{Running, Site};
use crate::syncml::{FIRST, accepted};

/// The connection of an exchange that the server has begun, and does not answer until it is told.
async fn exchange_without_answer(gateway: &Running) -> (TcpStream, oneshot::Sender<()>) {
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let mut connection = TcpStream::connect(gateway.addr).await.unwrap();
    connection.write_all(&post_seal_bytes(&terminal.seal_message(&FIRST))).await.unwrap();
    gateway.site.server.has_seen(1).await;
    (connection, release)
}

#[tokio::test]
async fn the_exchange_in_flight_is_finished_and_the_exit_is_0() {
    let mut gateway = Site::new("", "").await.start().await;
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let (addr, sealed) = (gateway.addr, terminal.seal_message(&FIRST));
    let exchange = tokio::spawn(async move { post_seal(addr, &sealed).await });
    gateway.site.server.has_seen(1).await;
    gateway.program.terminate();
    // It stops listening before the exchange is over.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!exchange.is_finished());
    drop(release);
    terminal.open(&exchange.await.unwrap()).assert_says(200, &accepted());
    assert_eq!(gateway.program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_exit_1() {
    let mut gateway = Site::new("", "").await.start().await;
    let (_connection, _held) = exchange_without_answer(&gateway).await;
    gateway.program.terminate();
    gateway.program.logged(|line| line.contains("draining").then_some(())).await;
    assert_eq!(gateway.terminate().await.code(), Some(1));
}

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    // Were they waited for, this would take an hour.
    let mut gateway = Site::new("[limits]\nidle_timeout = '1 h'\ndrain = '1 h'", "").await.start().await;
    let mut used = TcpStream::connect(gateway.addr).await.unwrap();
    used.write_all(b"GET /.well-known/syncseal HTTP/1.1\r\nHost: gateway.example\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut used).await.status, 200);
    gateway.program.terminate();
    let mut rest = Vec::new();
    assert_eq!(used.read_to_end(&mut rest).await.unwrap(), 0);
    assert_eq!(gateway.program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_exchange_that_takes_longer_than_it_may_is_cut_off_with_exit_1() {
    let mut gateway = Site::new("[limits]\ndrain = '100 ms'", "").await.start().await;
    let (mut connection, _held) = exchange_without_answer(&gateway).await;
    assert_eq!(gateway.terminate().await.code(), Some(1));
    let mut rest = Vec::new();
    // Nothing was answered: the end of the connection, or its reset.
    let read = connection.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{read:?} {rest:?}");
}

#[tokio::test]
async fn a_connection_of_http_2_is_told_to_go_away() {
    const FRAME_HEAD: usize = 9;
    const SETTINGS: [u8; FRAME_HEAD] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; FRAME_HEAD] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const GO_AWAY: u8 = 7;
    let mut gateway = Site::new("", "").await.start().await;
    let mut connection = TcpStream::connect(gateway.addr).await.unwrap();
    connection.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &SETTINGS, &SETTINGS_ACK].concat()).await.unwrap();
    // The type of the next frame; none at the end of the connection.
    async fn next(connection: &mut TcpStream) -> Option<u8> {
        let mut head = [0; FRAME_HEAD];
        connection.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        connection.read_exact(&mut payload).await.ok()?;
        Some(head[3])
    }
    assert_eq!(next(&mut connection).await, Some(SETTINGS[3]));
    gateway.program.terminate();
    let mut told = Vec::new();
    while let Some(kind) = next(&mut connection).await {
        told.push(kind);
    }
    assert!(told.contains(&GO_AWAY), "{told:?}");
    assert_eq!(gateway.program.ended().await.code(), Some(0));
}
