//! A whole sync: the sample client through the agent and the gateway to the sample server, with the wire between agent and
//! gateway recorded.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use syncseal::agent::Agent;
use syncseal::crypto::SystemRandom;
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Drained, Listener};
use syncseal::policy::{AgentPolicy, Environment, GatewayPolicy};
use syncseal::sample::{Client, ClientConfig, Config, Mode, Server};
use syncseal::seal::{self, Layer, SealedRequest, VersionedInit};
use syncseal::session::{TimeSource, UnixTime, WallClock};
use syncseal::syncml::Form;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::common::Tap;

const CARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada NAME\r\nN:NAME;Ada;;;\r\nTEL:+46 70 1234567\r\nEND:VCARD\r\n";

/// A time that passes when it is told to.
struct Clock(AtomicU64);

impl TimeSource for Clock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

/// Everything but the client, in one directory.
struct Chain {
    early: bool,
    directory: TempDir,
    tap: Tap,
    agent: String,
    trigger: Trigger,
    serving: Vec<tokio::task::JoinHandle<Drained>>,
}

impl Chain {
    async fn new(early: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        fs::copy(keys.join("public.pem"), directory.path().join("public.pem")).unwrap();
        let private = directory.path().join("private.pem");
        fs::copy(keys.join("pkcs8.pem"), &private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server_addr = listener.local_addr().unwrap();
        // It hands out its own address in RespURI, which neither the client nor the agent must use.
        let config = Config { url: Some(format!("http://{server_addr}/sync")), ..Config::default() };
        let server = Arc::new(Server::new(directory.path().join("server"), config).unwrap());
        tokio::spawn(server.serve(listener, std::future::pending()));

        let tap = Tap::bind().await;
        let policy = format!(
            "version = 1\n[gateway]\nlisten = [\"127.0.0.1:0\"]\nkeys = [\"private.pem\"]\npublic_url = \"http://{}\"\n\
             [early]\naccept = {early}\n[[route]]\npath = \"/\"\nupstream = \"http://{server_addr}\"\n",
            tap.addr()
        );
        let policy = GatewayPolicy::parse(&directory.path().join("gateway.toml"), &policy, &Environment::default());
        let clock = Arc::new(Clock(AtomicU64::new(WallClock.now().0)));
        let surroundings = Surroundings { time: clock.clone(), ..Surroundings::default() };
        let gateway = Gateway::in_memory(&policy.unwrap(), surroundings).unwrap();
        // No early message is taken in the second in which the memory of them begins.
        clock.0.fetch_add(1, Ordering::Relaxed);
        let trigger = Trigger::new();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        tap.relay_to(listener.local_addr().unwrap());
        let mut serving = vec![tokio::spawn(gateway.serve(listener, trigger.subscribe()))];

        let policy = format!(
            "version = 1\n[agent]\ngateway = \"http://{}/sync\"\nkey = \"public.pem\"\nearly = {early}\n",
            tap.addr()
        );
        let policy = AgentPolicy::parse(&directory.path().join("agent.toml"), &policy, &Environment::default());
        let agent = Agent::new(policy.unwrap(), clock, Arc::new(SystemRandom)).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/sync", listener.local_addr().unwrap());
        let drain = trigger.subscribe();
        serving.push(tokio::spawn(async move { agent.serve(listener, drain).await.unwrap() }));
        Self { early, directory, tap, agent: url, trigger, serving }
    }

    fn book(&self, side: &str) -> PathBuf {
        self.directory.path().join(side)
    }

    fn put(&self, side: &str, name: &str, card: &str) {
        fs::create_dir_all(self.book(side)).unwrap();
        fs::write(self.book(side).join(format!("{name}.vcf")), card).unwrap();
    }

    fn cards(&self, side: &str) -> BTreeSet<String> {
        let files = fs::read_dir(self.book(side)).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|e| e == "vcf"))
            .map(|file| fs::read_to_string(file).unwrap())
            .collect()
    }

    /// Drains both, and gives every byte that went between them.
    async fn end(self) -> Vec<u8> {
        self.trigger.drain();
        for serving in self.serving {
            assert_eq!(serving.await.unwrap(), Drained::Clean);
        }
        let mut inits = Vec::new();
        for request in self.tap.requests() {
            assert_eq!(request.target, "/sync");
            match seal::decode_request(Layer::Message, request.body[..].into()).expect("a seal") {
                SealedRequest::Init(init) => match &init.header().init {
                    VersionedInit::Version1(init) => inits.push(init.issued.is_some()),
                    VersionedInit::Unsupported(_) => panic!("version 1"),
                },
                SealedRequest::Numbered(_) => {}
            }
        }
        // Each SyncML session has its own sealed session.
        assert_eq!(inits, [self.early, self.early]);
        for response in self.tap.responses() {
            assert_eq!(response.status, 200);
        }
        self.tap
            .recordings()
            .into_iter()
            .flat_map(|recording| [recording.requests, recording.responses].concat())
            .collect()
    }
}

async fn syncs(form: Form, early: bool, wait_for_challenge: bool) {
    let chain = Chain::new(early).await;
    let client =
        Client::new(chain.book("client"), ClientConfig { form, wait_for_challenge, ..ClientConfig::new(&chain.agent) });
    // Large enough to be split over several messages.
    let large = CARD.replace("Ada", &format!("Large{}", "x".repeat(300_000)));
    chain.put("client", "ada", CARD);
    chain.put("client", "large", &large);
    chain.put("server", "bo", &CARD.replace("Ada", "Bo"));

    let mut urls = BTreeSet::new();
    client.sync(Mode::Slow, &mut |exchange| _ = urls.insert(exchange.url.to_owned())).await.unwrap();
    assert_eq!(chain.cards("client").len(), 3);
    assert_eq!(chain.cards("client"), chain.cards("server"));
    // The client was given an address with the server's session in it, and asked for it at the agent.
    assert!(urls.len() > 1, "{urls:?}");
    assert!(urls.iter().all(|url| url.starts_with(&chain.agent)), "{urls:?}");

    chain.put("client", "ada", &CARD.replace("Ada", "Augusta"));
    chain.put("server", "cy", &CARD.replace("Ada", "Cy"));
    client.sync(Mode::TwoWay, &mut |_| ()).await.unwrap();
    assert_eq!(chain.cards("client").len(), 4);
    assert_eq!(chain.cards("client"), chain.cards("server"));

    let wire = chain.end().await;
    let session = urls.iter().filter_map(|url| url.split_once('?')).map(|(_, query)| query.to_owned());
    let secrets = ["BEGIN:VCARD", "NAME", "1234567", "alice", "secret", "sample-client", "SyncML", "YWxpY2U6c2VjcmV0"];
    for secret in secrets.into_iter().map(str::to_owned).chain(session) {
        assert!(memchr::memmem::find(&wire, secret.as_bytes()).is_none(), "{secret} on the wire");
    }
}

#[tokio::test]
async fn a_sync_in_wbxml_goes_through_both() {
    syncs(Form::Wbxml, false, false).await;
}

#[tokio::test]
async fn a_sync_in_xml_with_a_challenge_goes_through_both() {
    syncs(Form::Xml, false, true).await;
}

#[tokio::test]
async fn a_sync_that_begins_early_goes_through_both() {
    syncs(Form::Wbxml, true, false).await;
    syncs(Form::Xml, true, true).await;
}
