//! The end of a gateway.

use syncseal::seal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http::{post_bytes, post_seal};
use crate::site::Site;
use crate::syncml::{FIRST, accepted};

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
    let mut terminal = gateway.terminal().await;
    let _held = gateway.site.server.will_hold();
    let request = post_bytes(&format!("Content-Type: {}\r\n", seal::CONTENT_TYPE), &terminal.seal_message(&FIRST));
    let mut connection = TcpStream::connect(gateway.addr).await.unwrap();
    connection.write_all(&request).await.unwrap();
    gateway.site.server.has_seen(1).await;
    gateway.program.terminate();
    gateway.program.logged(|line| line.contains("draining").then_some(())).await;
    assert_eq!(gateway.terminate().await.code(), Some(1));
}
