//! What the gateway writes about an exchange: reasons, sizes and times; never contents, credentials or keys.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Once;

use syncseal::crypto::RsaPublicKey;
use syncseal::seal::{Direction, Extras, Fields, Reason, Request};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::http::{exchange, post, post_bytes, post_seal};
use crate::server::{Reply, Server};
use crate::syncml::{Client, FIRST, SECOND, XML, accepted_at};
use crate::terminal::{Terminal, handshake_bytes, parameters, request};
use crate::world::{PERMIT, World};

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// All that the gateway on this thread logs, at every level. A test has a thread of its own, and all tests one
/// subscriber: those that come and go with a thread can miss what others log meanwhile.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let layer = tracing_subscriber::fmt::layer().json().with_writer(|| Self);
            let filter = Targets::new().with_target("syncseal", tracing::Level::TRACE);
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(layer)).unwrap();
        });
        Self
    }

    fn text(&self) -> String {
        String::from_utf8(LINES.with_borrow(Clone::clone)).unwrap()
    }

    /// The fields of the lines that are about exchanges.
    fn exchanges(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["target"] == "syncseal::exchange").map(|line| line["fields"].clone()).collect()
    }
}

#[tokio::test]
async fn every_exchange_has_a_line_with_decision_sizes_and_times() {
    let log = Log::begin();
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let answer = post_seal(world.addr, &sealed).await;
    post_seal(world.addr, &sealed).await.assert_sealed();
    let lines = log.exchanges();
    let decisions: Vec<_> = lines.iter().map(|line| line["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["handshake", "forwarded", "repeated"]);
    assert_eq!(lines[0]["recipient"], world.key.key_id().to_string());
    let line = &lines[1];
    assert_eq!(line["route"], "/sync");
    assert_eq!(line["sid"], terminal.keys.sid().to_string());
    assert_eq!(line["number"], 1);
    assert_eq!(line["status"], 200);
    assert_eq!(line["received"], sealed.len());
    assert_eq!(line["opened"], FIRST.xml().len());
    assert_eq!(line["sent"], answer.body.len());
    assert_eq!(line["upstream_status"], 200);
    assert!(line["ms"].as_f64().unwrap() >= line["upstream_ms"].as_f64().unwrap());
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(line["device"].as_str().unwrap().len(), 12);
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_reason() {
    let log = Log::begin();
    let world = World::new().await;
    post(world.addr, XML, &FIRST.xml()).await;
    post_seal(world.addr, b"x").await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&SECOND).await.assert_refused(Reason::SessionBound);
    let lines = log.exchanges();
    let reasons: Vec<_> = lines.iter().filter_map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons, ["encryption-required", "malformed", "session-bound"]);
}

#[tokio::test]
async fn permitted_plaintext_is_counted_in_the_log() {
    let log = Log::begin();
    let world = World::with("", PERMIT).await;
    post(world.addr, XML, &FIRST.xml()).await;
    post(world.addr, XML, &SECOND.xml()).await;
    let lines = log.exchanges();
    let decisions: Vec<_> = lines.iter().map(|line| line["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["plaintext", "plaintext"]);
}

#[tokio::test]
async fn a_device_has_one_name_in_one_log_and_another_in_the_next() {
    let log = Log::begin();
    for _ in 0..2 {
        let world = World::with("", PERMIT).await;
        post(world.addr, XML, &FIRST.xml()).await;
        post(world.addr, XML, &SECOND.xml()).await;
    }
    let lines = log.exchanges();
    let devices: Vec<_> = lines.iter().map(|line| line["device"].as_str().unwrap()).collect();
    assert_eq!((devices[0], devices[2]), (devices[1], devices[3]));
    assert_ne!(devices[0], devices[2]);
}

/// What must stand in no log: [`traffic`] puts each into what a client or a server sends.
const SECRETS: [&str; 12] = [
    "490154203237518",
    "sessionid-4711",
    "cmVzcG9uc2U6c2VjcmV0",
    "Ada Lovelace",
    "query-hunter2",
    "Basic aHVudGVyMg",
    "cookie-hunter2",
    "agent-hunter2",
    "entity-hunter2",
    "jsessionid-hunter2",
    "setcookie-hunter2",
    "Countess",
];

/// Good and bad exchanges of every kind with a gateway that permits plaintext, full of secrets.
pub(crate) async fn traffic(addr: SocketAddr, key: &RsaPublicKey, server: &Server) {
    let client = Client {
        source: "IMEI:490154203237518",
        session_id: "sessionid-4711",
        commands: "<Put><CmdID>1</CmdID><Meta>cmVzcG9uc2U6c2VjcmV0</Meta><Item><Data>Ada Lovelace</Data></Item></Put>",
        ..FIRST
    };
    let fields = [
        ("authorization", b"Basic aHVudGVyMg".as_slice()),
        ("cookie", b"cookie-hunter2"),
        ("user-agent", b"agent-hunter2"),
    ];
    let fields = Fields::filter(Direction::C2s, &Extras::default(), fields);
    let (whole, broken) = (client.xml(), b"<SyncML>&entity-hunter2;<Ada Lovelace></Countess></SyncML>".as_slice());
    let mut terminal = Terminal::at(addr, key).await;
    for target in ["/sync?query-hunter2", "/sync/../query-hunter2", "/sync?query-hunter2\r\nx"] {
        for body in [&whole[..], broken] {
            terminal.ask(&Request { target, fields: fields.clone(), ..request(body) }).await;
        }
    }
    let server_says = [
        accepted_at("/sync;jsessionid-hunter2"),
        accepted_at("http://jsessionid-hunter2.example/Countess"),
        accepted_at("http://[jsessionid-hunter2"),
        b"<SyncML><Countess>jsessionid-hunter2".to_vec(),
    ];
    for document in &server_says {
        let head = format!("200 OK\r\nContent-Type: {XML}\r\nSet-Cookie: setcookie-hunter2");
        server.will(Reply::Bytes(crate::syncml::http(&head, document)));
        terminal.send(&client).await;
    }
    server.will(Reply::Bytes(b"jsessionid-hunter2 setcookie-hunter2\r\n\r\n".to_vec()));
    terminal.send(&client).await;
    let plain = "Authorization: Basic aHVudGVyMg\r\nCookie: cookie-hunter2\r\nUser-Agent: agent-hunter2\r\n";
    for (content_type, body) in [(XML, &whole[..]), (XML, broken), ("agent-hunter2", &whole)] {
        exchange(addr, &post_bytes(&format!("Content-Type: {content_type}\r\n{plain}"), body)).await;
    }
    let mut changed = handshake_bytes(&parameters(key)).to_vec();
    *changed.last_mut().unwrap() ^= 1;
    post_seal(addr, &changed).await.assert_problem(Reason::CannotOpen);
    // All of it went through the gateway.
    assert!(server.bodies().contains(&whole));
}

/// Fails if a log of [`traffic`] is not there, or holds anything that is nobody's business.
pub(crate) fn assert_tells_nothing(log: &str) {
    assert!(log.lines().count() > 12, "{log}");
    assert!(log.contains("cannot-open"), "{log}");
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    let key = include_str!("../keys/pkcs8.pem").lines().filter(|line| !line.starts_with('-'));
    for line in key {
        assert!(!log.contains(line), "a key in {log}");
    }
}

#[tokio::test]
async fn no_log_holds_contents_credentials_or_keys() {
    let log = Log::begin();
    let world = World::with("", &format!("host = \"target\"\n{PERMIT}")).await;
    traffic(world.addr, &world.key, &world.server).await;
    assert_tells_nothing(&log.text());
}
