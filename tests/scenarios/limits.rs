//! What strangers can take up, and what they cannot take from established sessions. Limits are so low, or times so long,
//! that nothing here depends on how fast the machine is.

use std::net::{Ipv4Addr, SocketAddr};

use syncseal::seal::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::http::{Answer, post, post_seal, post_seal_bytes, read_answer};
use crate::server::Reply;
use crate::site::{Running, Site};
use crate::syncml::{Client, FIRST, SECOND, XML, accepted};
use crate::terminal::{handshake_bytes, parameters};
use crate::world::public_key;

async fn under(limits: &str) -> Running {
    Site::new(&format!("[limits]\n{limits}"), "").await.start().await
}

/// A connection from another of this machine's loopback addresses.
async fn connect_from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// A connection that says this and no more.
async fn slow_from(host: u8, to: SocketAddr, said: &str) -> TcpStream {
    let mut slow = connect_from(host, to).await;
    // It may have been closed already.
    let _ = slow.write_all(said.as_bytes()).await;
    slow
}

/// What comes over a connection until it is closed, however that is done.
async fn rest(mut connection: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = connection.read_to_end(&mut rest).await;
    String::from_utf8_lossy(&rest).into_owned()
}

/// What a handshake from there gets.
async fn handshake_from(host: u8, to: SocketAddr) -> Answer {
    let mut stream = connect_from(host, to).await;
    stream.write_all(&post_seal_bytes(&handshake_bytes(&parameters(&public_key())))).await.unwrap();
    read_answer(&mut stream).await
}

/// Half a header.
const HALF: &str = "POST /sync HTTP/1.1\r\nHost: a\r\n";

#[tokio::test]
async fn slow_connections_of_one_address_take_no_more_than_its_share() {
    let gateway = under("connections = 8\nconnections_per_source = 3\nheader_read_timeout = \"1 h\"").await;
    let mut terminal = gateway.terminal().await;
    let mut slow = JoinSet::new();
    for _ in 0..23 {
        slow.spawn(rest(slow_from(2, gateway.addr, HALF).await));
    }
    for _ in 0..20 {
        assert_eq!(slow.join_next().await.unwrap().unwrap(), "");
    }
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    gateway.counted("syncseal_limit_hits_total{limit=\"connections_per_source\"} 20").await;
    gateway.counted("syncseal_limit_hits_total{limit=\"connections\"} 0").await;
}

#[tokio::test]
async fn slow_connections_of_many_addresses_make_room_for_established_sessions() {
    let gateway = under("connections = 6\nheader_read_timeout = \"1 h\"").await;
    let mut terminal = gateway.terminal().await;
    let mut slow = Vec::new();
    for n in 0..30 {
        slow.push(slow_from(10 + n, gateway.addr, HALF).await);
    }
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    // Those that waited longest went first.
    assert_eq!(rest(slow.swap_remove(0)).await, "");
}

#[tokio::test]
async fn connections_wait_while_all_are_in_an_exchange() {
    let gateway = under("connections = 1").await;
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let (addr, sealed) = (gateway.addr, terminal.seal_message(&FIRST));
    let first = tokio::spawn(async move { post_seal(addr, &sealed).await });
    gateway.site.server.has_seen(1).await;
    let second = tokio::spawn(handshake_from(2, gateway.addr));
    drop(release);
    terminal.open(&first.await.unwrap()).assert_says(200, &accepted());
    second.await.unwrap().assert_sealed();
}

#[tokio::test]
async fn slow_bodies_of_one_address_keep_nobody_else_out() {
    let gateway = under("in_flight = 3\nin_flight_per_source = 2\nbody_timeout = \"1 h\"").await;
    let mut terminal = gateway.terminal().await;
    let begun = format!("{HALF}Content-Type: {XML}\r\nContent-Length: 100\r\n\r\n<");
    let _slow = [slow_from(2, gateway.addr, &begun).await, slow_from(2, gateway.addr, &begun).await];
    gateway.counted("syncseal_exchanges_in_flight 2").await;
    handshake_from(2, gateway.addr).await.assert_overloaded();
    gateway.counted("syncseal_limit_hits_total{limit=\"in_flight_per_source\"} 1").await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn exchanges_over_the_limit_are_refused_at_once_with_a_time_to_come_again() {
    let gateway = under("in_flight = 1").await;
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let (addr, sealed) = (gateway.addr, terminal.seal_message(&FIRST));
    let first = tokio::spawn(async move { post_seal(addr, &sealed).await });
    gateway.site.server.has_seen(1).await;
    handshake_from(2, gateway.addr).await.assert_overloaded();
    gateway.counted("syncseal_limit_hits_total{limit=\"in_flight\"} 1").await;
    drop(release);
    terminal.open(&first.await.unwrap()).assert_says(200, &accepted());
}

#[tokio::test]
async fn an_exchange_keeps_its_place_when_its_client_goes_away() {
    let gateway = under("in_flight = 1").await;
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let request = post_seal_bytes(&terminal.seal_message(&FIRST));
    let mut gone = TcpStream::connect(gateway.addr).await.unwrap();
    gone.write_all(&request).await.unwrap();
    gateway.site.server.has_seen(1).await;
    gone.set_zero_linger().unwrap();
    drop(gone);
    for _ in 0..10 {
        handshake_from(2, gateway.addr).await.assert_overloaded();
    }
    drop(release);
    gateway.counted("syncseal_exchanges_in_flight 0").await;
    handshake_from(2, gateway.addr).await.assert_sealed();
}

#[tokio::test]
async fn a_flood_of_init_requests_from_one_address_is_refused_and_its_sessions_go_on() {
    let gateway = under("init_rate_per_source = \"1/h\"\ninit_burst_per_source = 2").await;
    let mut terminal = gateway.terminal().await;
    handshake_from(1, gateway.addr).await.assert_sealed();
    for _ in 0..10 {
        handshake_from(1, gateway.addr).await.assert_overloaded();
    }
    gateway.counted("syncseal_limit_hits_total{limit=\"init_rate_per_source\"} 10").await;
    // Neither sessions of that address nor other addresses are held up.
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    handshake_from(2, gateway.addr).await.assert_sealed();
}

#[tokio::test]
async fn a_flood_of_init_requests_from_everywhere_leaves_sessions_working() {
    let gateway = under("init_rate = \"1/h\"\ninit_burst = 20").await;
    let mut terminal = gateway.terminal().await;
    let mut flood = JoinSet::new();
    for n in 0..60 {
        flood.spawn(handshake_from(10 + n % 30, gateway.addr));
    }
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    let (taken, refused): (Vec<_>, Vec<_>) =
        flood.join_all().await.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(taken.len(), 19);
    refused.iter().for_each(Answer::assert_overloaded);
    gateway.counted("syncseal_limit_hits_total{limit=\"init_rate\"} 41").await;
    terminal.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn init_requests_beyond_the_queue_are_refused_and_sessions_go_on() {
    let rates = "init_rate = \"1000000/s\"\ninit_burst = 1000000\n";
    let sources = "init_rate_per_source = \"1000000/s\"\ninit_burst_per_source = 1000000\n";
    let gateway = under(&format!("{rates}{sources}unwrap_queue = 1")).await;
    let mut terminal = gateway.terminal().await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    // Until so many come at the same time that there is one too many.
    let refused = loop {
        let mut flood = JoinSet::new();
        for _ in 0..64 {
            flood.spawn(handshake_from(2, gateway.addr));
        }
        terminal.send(&SECOND).await.assert_says(200, &accepted());
        if let Some(refused) = flood.join_all().await.into_iter().find(|answer| answer.status != 200) {
            break refused;
        }
    };
    refused.assert_overloaded();
}

#[tokio::test]
async fn a_header_over_the_limit_is_431() {
    let gateway = under("header = \"8 KiB\"").await;
    let long = format!("{HALF}X-Long: {}\r\n\r\n", "x".repeat(9000));
    let answer = rest(slow_from(1, gateway.addr, &long).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    gateway.counted("syncseal_limit_hits_total{limit=\"header\"} 1").await;
    let short = format!("{HALF}X-Long: {}\r\n\r\n", "x".repeat(7000));
    let answer = read_answer(&mut slow_from(1, gateway.addr, &short).await).await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_message_over_the_limit_is_too_large_and_one_at_it_is_not() {
    let gateway = under("message = \"4 KiB\"").await;
    post(gateway.addr, XML, &FIRST.xml_of(3 * 4096)).await.assert_problem(Reason::TooLarge);
    post_seal(gateway.addr, &vec![0; 100_000]).await.assert_problem(Reason::TooLarge);
    gateway.counted("syncseal_limit_hits_total{limit=\"message\"} 1").await;
    let mut terminal = gateway.terminal().await;
    let sealed = terminal.seal(&crate::terminal::request(&FIRST.xml_of(4096)));
    terminal.open(&post_seal(gateway.addr, &sealed).await).assert_says(200, &accepted());
    let sealed = terminal.seal(&crate::terminal::request(&SECOND.xml_of(4097)));
    terminal.open(&post_seal(gateway.addr, &sealed).await).assert_refused(Reason::TooLarge);
}

#[tokio::test]
async fn a_header_that_does_not_come_is_waited_for_so_long() {
    let gateway = under("header_read_timeout = \"100 ms\"").await;
    assert_eq!(rest(slow_from(1, gateway.addr, HALF).await).await, "");
    assert_eq!(rest(slow_from(1, gateway.addr, "").await).await, "");
    gateway.counted("syncseal_limit_hits_total{limit=\"header_read_timeout\"} 2").await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_so_long() {
    let gateway = under("body_timeout = \"100 ms\"").await;
    let begun = format!("{HALF}Content-Type: {XML}\r\nContent-Length: 100\r\n\r\n<");
    let answer = read_answer(&mut slow_from(1, gateway.addr, &begun).await).await;
    assert_eq!(answer.status, 408);
    gateway.counted("syncseal_limit_hits_total{limit=\"body_timeout\"} 1").await;
}

#[tokio::test]
async fn a_connection_without_a_further_request_is_closed() {
    let gateway = under("idle_timeout = \"100 ms\"").await;
    let mut idle = slow_from(1, gateway.addr, &format!("{HALF}Content-Length: 0\r\n\r\n")).await;
    assert_eq!(read_answer(&mut idle).await.status, 415);
    assert_eq!(rest(idle).await, "");
    gateway.counted("syncseal_limit_hits_total{limit=\"idle_timeout\"} 1").await;
}

#[tokio::test]
async fn requests_for_a_busy_server_wait_so_long_and_are_refused_sealed() {
    let route = "max_connections = 1\nqueue_timeout = \"100 ms\"";
    let gateway = Site::new("", route).await.start().await;
    let (mut one, mut other) = (gateway.terminal().await, gateway.terminal().await);
    let release = gateway.site.server.will_hold();
    let (addr, sealed) = (gateway.addr, one.seal_message(&FIRST));
    let held = tokio::spawn(async move { post_seal(addr, &sealed).await });
    gateway.site.server.has_seen(1).await;
    let client = Client { source: "IMEI:other", ..FIRST };
    other.send(&client).await.assert_refused(Reason::Overloaded);
    gateway.counted("syncseal_limit_hits_total{limit=\"upstream_connections\"} 1").await;
    drop(release);
    one.open(&held.await.unwrap()).assert_says(200, &accepted());
    other.send(&client).await.assert_says(200, &accepted());
    assert_eq!(gateway.site.server.seen().len(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_told_sealed_and_frees_its_place() {
    let gateway = Site::new("", "timeout = \"1 s\"\nmax_connections = 1").await.start().await;
    let mut terminal = gateway.terminal().await;
    gateway.site.server.will(Reply::Silence);
    terminal.send(&FIRST).await.assert_refused(Reason::UpstreamTimeout);
    terminal.send(&FIRST).await.assert_says(200, &accepted());
}
