//! The sample client and the sample server, over real sockets and files.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use syncseal::sample::{Client, ClientConfig, Config, Counts, Exchange, Mode, Report, Server, SyncError, Version};
use syncseal::syncml::Form;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A phone's first message, with credentials.
const OPENING: &str = include_str!("sample/opening.xml");

/// A server, and directories for it and for clients.
struct Bench {
    directory: TempDir,
    url: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::over(directory, config).await
    }

    async fn over(directory: TempDir, config: Config) -> Self {
        let server = Arc::new(Server::new(directory.path().join("server"), config).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/sync", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { directory, url, stop, running }
    }

    /// Ends the server, and gives back what is on disk.
    async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
        self.directory
    }

    fn book(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, name: &str) -> ClientConfig {
        ClientConfig { device: name.into(), ..ClientConfig::new(&self.url) }
    }

    fn client(&self, name: &str) -> Client {
        Client::new(self.book(name), self.config(name))
    }

    /// The contents of both sides, which are the same.
    fn same(&self, name: &str) -> BTreeSet<Vec<u8>> {
        let cards = cards(&self.book(name));
        assert_eq!(cards, self::cards(&self.book("server")));
        cards
    }
}

fn card(name: &str) -> Vec<u8> {
    format!("BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name} <&> ]]> å\r\nN:{name};;;;\r\nTEL:+46 70\r\nEND:VCARD\r\n").into()
}

fn put(book: &Path, name: &str, data: &[u8]) {
    std::fs::create_dir_all(book).unwrap();
    std::fs::write(book.join(format!("{name}.vcf")), data).unwrap();
}

fn files(book: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(book).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn cards(book: &Path) -> BTreeSet<Vec<u8>> {
    files(book).into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// The file in which a book has this content.
fn file_of(book: &Path, data: &[u8]) -> PathBuf {
    files(book).into_iter().find(|file| std::fs::read(file).unwrap() == data).expect("the card is there")
}

async fn sync(client: &Client) -> Result<Report, SyncError> {
    client.sync(Mode::TwoWay, &mut |_| ()).await
}

fn counts(added: usize, replaced: usize, deleted: usize) -> Counts {
    Counts { added, replaced, deleted }
}

async fn slow_then_two_way(form: Form, version: Version) {
    let bench = Bench::new().await;
    let (ours, theirs) = (bench.book("client"), bench.book("server"));
    let client = Client::new(&ours, ClientConfig { form, version, ..bench.config("client") });
    for name in ["Ada", "Bo", "Cy", "Both"] {
        put(&ours, name, &card(name));
    }
    for name in ["Dan", "Eve", "Fay"] {
        put(&theirs, name, &card(name));
    }
    // The same card, as another program writes it.
    let both =
        String::from_utf8(card("Both")).unwrap().replace("TEL:+46 70\r\n", "TEL:+4\r\n 6 70\r\nREV:20200101\r\n");
    put(&theirs, "both", both.as_bytes());

    let report = sync(&client).await.unwrap();
    assert!(report.slow);
    assert_eq!((report.sent, report.received), (counts(4, 0, 0), counts(3, 0, 0)));
    assert_eq!((files(&ours).len(), files(&theirs).len()), (7, 7));
    std::fs::write(theirs.join("both.vcf"), card("Both")).unwrap();
    let report = sync(&client).await.unwrap();
    assert_eq!((report.slow, report.sent, report.received), (false, counts(0, 0, 0), counts(0, 1, 0)));
    assert_eq!(bench.same("client").len(), 7);

    let report = sync(&client).await.unwrap();
    assert_eq!((report.slow, report.sent, report.received), (false, counts(0, 0, 0), counts(0, 0, 0)));

    // Each side changes and deletes what came from either side.
    put(&ours, "Gil", &card("Gil"));
    std::fs::write(ours.join("Ada.vcf"), card("Ada 2")).unwrap();
    std::fs::write(file_of(&ours, &card("Dan")), card("Dan 2")).unwrap();
    std::fs::remove_file(ours.join("Bo.vcf")).unwrap();
    put(&theirs, "Hal", &card("Hal"));
    std::fs::write(theirs.join("Eve.vcf"), card("Eve 2")).unwrap();
    std::fs::write(file_of(&theirs, &card("Cy")), card("Cy 2")).unwrap();
    std::fs::remove_file(theirs.join("Fay.vcf")).unwrap();
    let report = sync(&client).await.unwrap();
    assert_eq!((report.slow, report.sent, report.received), (false, counts(1, 2, 1), counts(1, 2, 1)));
    let names = ["Ada 2", "Both", "Cy 2", "Dan 2", "Eve 2", "Gil", "Hal"];
    assert_eq!(bench.same("client"), names.iter().map(|name| card(name)).collect());
    bench.stop().await;
}

#[tokio::test]
async fn both_sides_are_equal_after_slow_and_two_way_sync_in_xml() {
    slow_then_two_way(Form::Xml, Version::V1_2).await;
}

#[tokio::test]
async fn both_sides_are_equal_after_slow_and_two_way_sync_in_wbxml() {
    slow_then_two_way(Form::Wbxml, Version::V1_2).await;
}

#[tokio::test]
async fn version_1_1_is_spoken_in_both_forms() {
    slow_then_two_way(Form::Xml, Version::V1_1).await;
    slow_then_two_way(Form::Wbxml, Version::V1_1).await;
}

/// Debian's libwbxml, an implementation of its own, decodes every message of a sync, the device information in it too.
#[tokio::test]
async fn libwbxml_reads_every_message() {
    for version in [Version::V1_1, Version::V1_2] {
        let bench = Bench::new().await;
        put(&bench.book("client"), "Ada", &card("Ada"));
        put(&bench.book("server"), "Bo", &card("Bo"));
        let client = Client::new(bench.book("client"), ClientConfig { version, ..bench.config("client") });
        let mut messages = Vec::new();
        let mut observe =
            |exchange: Exchange<'_>| messages.extend([exchange.request.to_vec(), exchange.response.to_vec()]);
        client.sync(Mode::TwoWay, &mut observe).await.unwrap();
        let mut decoded = String::new();
        for message in messages {
            let (wbxml, xml) = (bench.book("message.wbxml"), bench.book("message.xml"));
            std::fs::write(&wbxml, message).unwrap();
            let done = Command::new("wbxml2xml").arg("-o").args([&xml, &wbxml]).output().unwrap();
            assert!(done.status.success(), "{done:?}");
            decoded += &std::fs::read_to_string(&xml).unwrap();
        }
        for expected in ["FN:Ada <&", "FN:Bo", "<DevTyp>workstation</DevTyp>", "<MapItem>", "<Final/>"] {
            assert!(decoded.contains(expected), "{decoded}");
        }
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_changes_nothing() {
    let bench = Bench::new().await;
    put(&bench.book("client"), "Ada", &card("Ada"));
    put(&bench.book("server"), "Bo", &card("Bo"));
    for form in [Form::Xml, Form::Wbxml] {
        for wait_for_challenge in [false, true] {
            let config = ClientConfig { password: "guess".into(), form, wait_for_challenge, ..bench.config("client") };
            let refused = sync(&Client::new(bench.book("client"), config)).await.unwrap_err();
            assert!(matches!(refused, SyncError::Credentials(401)), "{refused}");
        }
    }
    assert_eq!(cards(&bench.book("server")), [card("Bo")].into());
    assert_eq!(cards(&bench.book("client")), [card("Ada")].into());
}

#[tokio::test]
async fn a_client_can_wait_to_be_asked_for_credentials() {
    let bench = Bench::new().await;
    put(&bench.book("client"), "Ada", &card("Ada"));
    let config = ClientConfig { form: Form::Xml, wait_for_challenge: true, ..bench.config("client") };
    let client = Client::new(bench.book("client"), config);
    let mut seen = Vec::new();
    let mut observe = |exchange: Exchange<'_>| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        seen.push((exchange.url.to_owned(), text(exchange.request), text(exchange.response)));
    };
    assert_eq!(client.sync(Mode::TwoWay, &mut observe).await.unwrap().sent, counts(1, 0, 0));
    assert!(!seen[0].1.contains("<Cred>") && seen[0].2.contains("<Data>407</Data>"));
    assert!(seen[0].2.contains("syncml:auth-basic") && !seen[0].2.contains("<RespURI>"));
    assert!(seen[1].1.contains("<MsgID>2</MsgID>") && seen[1].1.contains("YWxpY2U6c2VjcmV0"));
    assert_eq!(seen[1].0, bench.url);
    assert!(seen[1].2.contains("<MsgID>2</MsgID>") && seen[1].2.contains("<Data>212</Data>"));
    assert!(seen[2].0.starts_with(&format!("{}?sessionid=", bench.url)));
    assert!(!seen[2].1.contains("<Cred>"));
    bench.same("client");
}

/// Replaces the anchors in a state file.
fn forge_anchor(book: &Path, which: &str) {
    let state = book.with_extension("sync.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    for peer in json.as_object_mut().unwrap().values_mut() {
        assert!(peer["anchors"][which].is_string());
        peer["anchors"][which] = "1".into();
    }
    std::fs::write(state, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[tokio::test]
async fn anchors_that_do_not_match_lead_to_a_slow_sync() {
    for (side, which) in [("client", "ours"), ("client", "theirs"), ("server", "ours"), ("server", "theirs")] {
        let mut bench = Bench::new().await;
        put(&bench.book("client"), "Ada", &card("Ada"));
        put(&bench.book("server"), "Bo", &card("Bo"));
        assert!(sync(&bench.client("client")).await.unwrap().slow);
        assert!(!sync(&bench.client("client")).await.unwrap().slow);
        // The server reads its state when it starts; its address stays part of what the client knows.
        forge_anchor(&bench.book(side), which);
        let address = bench.url.trim_start_matches("http://").trim_end_matches("/sync").to_owned();
        let directory = bench.stop().await;
        let server = Arc::new(Server::new(directory.path().join("server"), Config::default()).unwrap());
        let listener = TcpListener::bind(&address).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        bench = Bench { directory, url: format!("http://{address}/sync"), stop, running };

        put(&bench.book("client"), "Cy", &card("Cy"));
        let report = sync(&bench.client("client")).await.unwrap();
        assert!(report.slow, "{side} {which}");
        assert_eq!(bench.same("client"), ["Ada", "Bo", "Cy"].map(card).into());
        assert_eq!(files(&bench.book("server")).len(), 3);
        assert!(!sync(&bench.client("client")).await.unwrap().slow);
        bench.stop().await;
    }
}

#[tokio::test]
async fn many_contacts_take_several_messages_within_the_announced_size() {
    const LIMIT: usize = 4096;
    for form in [Form::Xml, Form::Wbxml] {
        let bench = Bench::with(Config { max_message: LIMIT, ..Config::default() }).await;
        for number in 0..200 {
            put(&bench.book("client"), &format!("c{number}"), &card(&format!("client {number}")));
            put(&bench.book("server"), &format!("s{number}"), &card(&format!("server {number}")));
        }
        let config = ClientConfig { form, max_message: LIMIT, ..bench.config("client") };
        let client = Client::new(bench.book("client"), config);
        let mut largest = (0, 0);
        let report = client
            .sync(Mode::TwoWay, &mut |exchange| {
                largest = (largest.0.max(exchange.request.len()), largest.1.max(exchange.response.len()));
            })
            .await
            .unwrap();
        assert_eq!((report.sent, report.received), (counts(200, 0, 0), counts(200, 0, 0)));
        assert!(report.messages > 20, "{report:?}");
        assert!(largest.0 <= LIMIT && largest.1 <= LIMIT, "{largest:?}");
        assert_eq!(bench.same("client").len(), 400);
        let again = sync(&client).await.unwrap();
        assert_eq!((again.slow, again.sent, again.received), (false, counts(0, 0, 0), counts(0, 0, 0)));
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_large_contact_goes_in_chunks() {
    const LIMIT: usize = 20_000;
    for form in [Form::Xml, Form::Wbxml] {
        let bench = Bench::with(Config { max_message: LIMIT, ..Config::default() }).await;
        let large = |name: &str| {
            let note: String = (0..30_000).map(|n| char::from_u32(0x40 + n * 7 % 0x300).unwrap()).collect();
            format!("BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name}\r\nNOTE:{note}\r\nEND:VCARD\r\n").into_bytes()
        };
        // A card that XML cannot carry as text.
        let mut latin = large("Latin");
        latin.extend_from_slice(b"\xe9\x01\x00");
        put(&bench.book("client"), "Large", &large("Large"));
        put(&bench.book("client"), "Latin", &latin);
        put(&bench.book("client"), "Ada", &card("Ada"));
        put(&bench.book("server"), "Larger", &large("Larger"));
        put(&bench.book("server"), "Bo", &card("Bo"));
        put(&bench.book("server"), "Empty", b"");
        let config = ClientConfig { form, max_message: LIMIT, ..bench.config("client") };
        let client = Client::new(bench.book("client"), config);
        let mut largest = 0;
        let report = client
            .sync(Mode::TwoWay, &mut |exchange| {
                largest = largest.max(exchange.request.len()).max(exchange.response.len());
            })
            .await
            .unwrap();
        assert_eq!((report.sent, report.received), (counts(3, 0, 0), counts(3, 0, 0)));
        assert!(largest <= LIMIT, "{largest}");
        assert_eq!(bench.same("client").len(), 6);
        bench.stop().await;
    }
}

#[tokio::test]
async fn an_item_larger_than_announced_is_refused_and_the_rest_is_synced() {
    let bench = Bench::with(Config { max_object: 10_000, ..Config::default() }).await;
    let large = [card("Large"), vec![b'x'; 300_000]].concat();
    put(&bench.book("client"), "A large", &large);
    put(&bench.book("client"), "Bo", &card("Bo"));
    let report = sync(&bench.client("client")).await.unwrap();
    assert_eq!(report.sent, counts(1, 0, 0));
    assert_eq!(cards(&bench.book("server")), [card("Bo")].into());
}

#[tokio::test]
async fn a_side_that_lost_its_state_finds_its_items_again() {
    let mut bench = Bench::new().await;
    for name in ["Ada", "Bo"] {
        put(&bench.book("client"), name, &card(name));
        put(&bench.book("server"), &format!("{name} too"), &card(&format!("{name} too")));
    }
    sync(&bench.client("client")).await.unwrap();

    std::fs::remove_file(bench.book("client").with_extension("sync.json")).unwrap();
    let report = sync(&bench.client("client")).await.unwrap();
    assert!(report.slow);
    assert_eq!((report.sent, report.received), (counts(4, 0, 0), counts(0, 0, 0)));
    assert_eq!((files(&bench.book("client")).len(), files(&bench.book("server")).len()), (4, 4));

    let directory = bench.stop().await;
    std::fs::remove_file(directory.path().join("server.sync.json")).unwrap();
    bench = Bench::over(directory, Config::default()).await;
    let report = sync(&bench.client("client")).await.unwrap();
    assert!(report.slow);
    assert_eq!((files(&bench.book("client")).len(), files(&bench.book("server")).len()), (4, 4));
    bench.same("client");
}

#[tokio::test]
async fn conflicts_leave_both_sides_equal_and_the_client_wins() {
    let bench = Bench::new().await;
    let (ours, theirs) = (bench.book("client"), bench.book("server"));
    for name in ["Both change", "Changed, deleted", "Deleted, changed", "Both delete"] {
        put(&ours, name, &card(name));
    }
    let client = bench.client("client");
    sync(&client).await.unwrap();
    std::fs::write(ours.join("Both change.vcf"), card("ours")).unwrap();
    std::fs::write(file_of(&theirs, &card("Both change")), card("theirs")).unwrap();
    std::fs::write(ours.join("Changed, deleted.vcf"), card("changed here")).unwrap();
    std::fs::remove_file(file_of(&theirs, &card("Changed, deleted"))).unwrap();
    std::fs::remove_file(ours.join("Deleted, changed.vcf")).unwrap();
    std::fs::write(file_of(&theirs, &card("Deleted, changed")), card("changed there")).unwrap();
    std::fs::remove_file(ours.join("Both delete.vcf")).unwrap();
    std::fs::remove_file(file_of(&theirs, &card("Both delete"))).unwrap();
    assert!(!sync(&client).await.unwrap().slow);
    assert_eq!(bench.same("client"), ["ours", "changed here", "changed there"].map(card).into());
    let report = sync(&client).await.unwrap();
    assert_eq!((report.slow, report.sent, report.received), (false, counts(0, 0, 0), counts(0, 0, 0)));
}

#[tokio::test]
async fn several_clients_share_the_server() {
    let bench = Bench::new().await;
    let names = ["one", "two", "three", "four"];
    for name in names {
        put(&bench.book(name), name, &card(name));
    }
    let clients = names.map(|name| bench.client(name));
    let syncs = clients.clone().map(|client| tokio::spawn(async move { sync(&client).await }));
    for done in syncs {
        done.await.unwrap().unwrap();
    }
    for client in &clients {
        sync(client).await.unwrap();
    }
    for name in names {
        assert_eq!(bench.same(name).len(), 4);
    }
    // A deletion on one reaches all.
    std::fs::remove_file(bench.book("one").join("one.vcf")).unwrap();
    for client in &clients {
        assert!(!sync(client).await.unwrap().slow);
    }
    for name in names {
        assert_eq!(bench.same(name), ["two", "three", "four"].map(card).into());
    }
}

/// Serves one connection with a server, until the answer to message `lost`: that one never leaves.
async fn lose_answer(server: Arc<Server>, listener: &TcpListener, lost: usize) {
    let answered = AtomicUsize::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        let (server, answered) = (&server, &answered);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let target = head.uri.path_and_query().unwrap().as_str();
            let answer = server.handle(head.headers[CONTENT_TYPE].as_bytes(), target, &body);
            if answered.fetch_add(1, Ordering::Relaxed) + 1 == lost {
                return Err("lost");
            }
            Ok(Response::builder()
                .status(answer.status)
                .header(CONTENT_TYPE, answer.content_type)
                .body(Full::new(Bytes::from(answer.body)))
                .unwrap())
        }
    });
    let (stream, _) = listener.accept().await.unwrap();
    // It ends with the service's error when an answer was lost.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test]
async fn a_sync_that_broke_off_anywhere_is_taken_up_without_copies() {
    const LIMIT: usize = 4096;
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("client"), directory.path().join("server"));
    let server = Arc::new(Server::new(&theirs, Config { max_message: LIMIT, ..Config::default() }).unwrap());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = Client::new(&ours, ClientConfig { max_message: LIMIT, ..ClientConfig::new(url) });
    let mut expected = BTreeSet::new();
    for lost in 1.. {
        for number in 0..30 {
            for (book, side) in [(&ours, "client"), (&theirs, "server")] {
                let name = format!("{side} {lost} {number}");
                put(book, &name, &card(&name));
                expected.insert(card(&name));
            }
        }
        let (broken, ()) = tokio::join!(sync(&client), lose_answer(Arc::clone(&server), &listener, lost));
        if broken.is_ok() {
            assert!(lost > 5, "{lost}");
            break;
        }
        assert!(matches!(broken, Err(SyncError::Connection(_))), "{broken:?}");
        let (whole, ()) = tokio::join!(sync(&client), lose_answer(Arc::clone(&server), &listener, usize::MAX));
        whole.unwrap();
        assert_eq!(cards(&ours), expected);
        assert_eq!(cards(&theirs), expected);
        assert_eq!((files(&ours).len(), files(&theirs).len()), (expected.len(), expected.len()), "{lost}");
    }
}

#[test]
fn a_lost_answer_is_given_again_and_nothing_is_done_twice() {
    let directory = tempfile::tempdir().unwrap();
    let book = directory.path().join("server");
    let server = Server::new(&book, Config::default()).unwrap();
    let xml = b"application/vnd.syncml+xml";
    let opened = String::from_utf8(server.handle(xml, "/sync", OPENING.as_bytes()).body).unwrap();
    let resp_uri = opened.split_once("<RespURI>").unwrap().1.split_once("</RespURI>").unwrap().0;
    let target = resp_uri.strip_prefix("http://127.0.0.1").unwrap();
    let changes = OPENING.replace("<MsgID>1<", "<MsgID>2<").replace("http://127.0.0.1/sync", resp_uri);
    let (head, _) = changes.split_once("<SyncBody>").unwrap();
    let add = "<Add><CmdID>2</CmdID><Item><Source><LocURI>1</LocURI></Source><Data>BEGIN:VCARD</Data></Item></Add>";
    let sync =
        "<Sync><CmdID>1</CmdID><Target><LocURI>contacts</LocURI></Target><Source><LocURI>./card</LocURI></Source>";
    let changes = format!("{head}<SyncBody>{sync}{add}{add}</Sync></SyncBody></SyncML>");
    let first = server.handle(xml, target, changes.as_bytes());
    assert!(String::from_utf8(first.body.clone()).unwrap().contains("<Data>201</Data>"));
    let files_then = files(&book);
    assert_eq!(server.handle(xml, target, changes.as_bytes()), first);
    assert_eq!(files(&book), files_then);
    // Another message with the same number is none of this session's.
    let other = server.handle(xml, target, changes.replace("BEGIN", "Begin").as_bytes());
    assert!(String::from_utf8(other.body).unwrap().contains("<Cmd>SyncHdr</Cmd>"));
    assert_eq!(files(&book), files_then);
    assert_eq!(server.handle(xml, target, changes.replace("<MsgID>2<", "<MsgID>3<").as_bytes()).status, 404);
}

#[test]
fn what_syncevolution_sent_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let book = directory.path().join("server");
    let server = Server::new(&book, Config { database: "./addressbook".into(), ..Config::default() }).unwrap();
    put(&book, "Ada", &card("Ada"));
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/syncevolution-xml");
    let mut target = "/syncevolution".to_owned();
    let mut answers = Vec::new();
    for number in 1..=4 {
        let message = std::fs::read(captures.join(format!("{number:02}.req"))).unwrap();
        let answer = server.handle(b"application/vnd.syncml+xml", &target, &message);
        assert_eq!(answer.status, 200);
        let answer = String::from_utf8(answer.body).unwrap();
        if let Some((_, uri)) = answer.split_once("<RespURI>http://127.0.0.1:9120") {
            target = uri.split_once("</RespURI>").unwrap().0.to_owned();
        }
        answers.push(answer);
    }
    assert!(answers[0].contains("<Data>212</Data>") && answers[0].contains("<Results>"));
    assert!(answers[1].contains("<Data>213</Data>"));
    assert!(answers[2].contains("<NumberOfChanges>1</NumberOfChanges>"));
    // Three small cards and one of 30 kB, in chunks.
    let mut sizes: Vec<_> = cards(&book).iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!((sizes.len(), sizes[4]), (5, 30_234));
}

#[test]
fn sessions_are_bounded_and_idle_ones_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let open = |server: &Server, device: &str| {
        let opening = OPENING.replace("phone", device);
        String::from_utf8(server.handle(b"application/vnd.syncml+xml", "/", opening.as_bytes()).body).unwrap()
    };
    let config = Config { max_sessions: 2, ..Config::default() };
    let server = Server::new(directory.path().join("server"), config).unwrap();
    assert!(open(&server, "one").contains("<Data>212</Data>"));
    assert!(open(&server, "two").contains("<Data>212</Data>"));
    assert!(open(&server, "three").contains("<Data>503</Data>"));
    // A device has one session: its new one takes the place of the old.
    assert!(open(&server, "two").contains("<Data>212</Data>"));

    let config = Config { max_sessions: 1, idle: Duration::ZERO, ..Config::default() };
    let server = Server::new(directory.path().join("server"), config).unwrap();
    assert!(open(&server, "one").contains("<Data>212</Data>"));
    assert!(open(&server, "two").contains("<Data>212</Data>"));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_refused() {
    let bench = Bench::new().await;
    let config = ClientConfig { database: "./notes".into(), ..bench.config("client") };
    let refused = sync(&Client::new(bench.book("client"), config)).await.unwrap_err();
    assert!(matches!(refused, SyncError::Database(404)), "{refused}");
}

#[tokio::test]
async fn what_is_no_message_gets_an_http_error_with_a_length() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new().await;
    let address = bench.url.trim_start_matches("http://").trim_end_matches("/sync").to_owned();
    let xml = "application/vnd.syncml+xml";
    for (method, target, content_type, body, expected) in [
        ("GET", "/sync", xml, "", "405"),
        ("POST", "/sync", "text/html", "<SyncML/>", "415"),
        ("POST", "/sync", "application/vnd.syncml.dm+xml", "<SyncML/>", "415"),
        ("POST", "/sync", xml, "<SyncML><SyncHdr>", "400"),
        ("POST", "/sync", xml, "<SyncML><SyncHdr/><SyncBody/></SyncML>", "400"),
        ("POST", "/sync", "application/vnd.syncml+wbxml", "<SyncML/>", "400"),
        ("POST", "/sync?sessionid=0", xml, OPENING, "404"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let head = format!("{head}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
        assert!(answer.contains("content-length: ") && !answer.contains("chunked"), "{answer}");
    }
}
