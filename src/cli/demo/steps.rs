//! What is played, step by step, and what is expected of each: here what is common to both layers, and the message
//! layer; the data layer in `data`.

mod data;

use std::net::SocketAddr;
use std::path::Path;

use bytes::BytesMut;
use memchr::memmem;

use super::contacts::{self, Book, Contact, INGRID, JONAS, KOFI, MIRA, MIRA_MOVED, NOOR, TOMAS};
use super::show::{Show, digits};
use super::stage::{Line, PASSWORD, Stage, USER, url};
use super::tap::{self, Change, HttpExchange, HttpMessage, Tap};
use super::{Exit, cannot_go_on};
use crate::crypto::{Algorithm, NamedGroup};
use crate::sample::{Client, ClientConfig, Counts, Exchange, Mode, Report, SyncError};
use crate::seal::{self, Layer, Reason, Refusal, RefusalReason, SealedRequest, VersionedInit};
use crate::syncml::{Document, Form, Limits};

/// Plays everything in these layers, and leaves the stage running with the agents that were used. The page says what did
/// not hold.
pub(super) async fn play(show: &mut Show, directory: &Path, layers: &[Layer]) -> Result<(Stage, Vec<Line>), Exit> {
    show.heading("A server, and a gateway before it, on this machine");
    let stage = Stage::set_up(show, directory, layers).await?;
    let mut lines = Vec::new();
    for layer in layers {
        lines.push(match layer {
            Layer::Message => message_layer(show, &stage).await?,
            Layer::Data => data::data_layer(show, &stage).await?,
        });
    }
    show.table();
    Ok((stage, lines))
}

async fn message_layer(show: &mut Show, stage: &Stage) -> Result<Line, Exit> {
    show.heading("The message layer: an agent seals whole messages");
    let mut play = Play::begin(show, stage, Layer::Message, "demo-phone", &[MIRA, JONAS]).await?;
    play.handshake_and_slow_sync().await?;
    play.changes_on_both_sides()?;
    play.two_way_sync().await?;
    play.without_encryption().await?;
    play.forbidden_algorithm(Algorithm::A128Gcm, Reason::KeyLengthUnsupported).await?;
    play.forbidden_algorithm(Algorithm::ChaCha20Poly1305, Reason::AlgorithmUnsupported).await?;
    play.replayed_request().await?;
    play.tampered_request().await?;
    play.end(&[MIRA_MOVED, JONAS, TOMAS, KOFI, NOOR])?;
    Ok(play.line)
}

struct Play<'s> {
    show: &'s mut Show,
    stage: &'s Stage,
    line: Line,
    /// The client's own address, and its address book.
    device: &'static str,
    book: Book,
    /// A numbered request of the last sync.
    recorded: Option<HttpMessage>,
    /// The ids that the server gave to sessions, which stand for credentials once they are known.
    server_sessions: Vec<String>,
}

/// A message of the client's, and what it got for it.
struct Said {
    request: Vec<u8>,
    response: Vec<u8>,
}

/// One sync, as everyone saw it.
struct Scene {
    said: Vec<Said>,
    outcome: Result<Report, SyncError>,
    wire: Vec<HttpExchange>,
    server: Vec<HttpExchange>,
}

impl Scene {
    /// The bytes of the client's messages and their answers.
    fn plain(&self) -> usize {
        self.said.iter().map(|said| said.request.len() + said.response.len()).sum()
    }

    /// The bytes of the bodies on the wire.
    fn sealed(&self) -> usize {
        self.wire.iter().map(HttpExchange::body_bytes).sum()
    }

    /// Where in the sync the client sent a contact.
    fn contact(&self) -> usize {
        let has_contact = |said: &Said| memmem::find(&said.request, b"BEGIN:VCARD").is_some();
        self.said.iter().position(has_contact).unwrap_or_default()
    }

    /// Whether the server got the client's messages byte for byte, and the client the server's.
    fn is_transparent(&self) -> bool {
        let pair = |exchange: &HttpExchange| (exchange.request.body().to_vec(), exchange.response.body().to_vec());
        let theirs: Vec<_> = self.server.iter().map(pair).collect();
        let ours: Vec<_> = self.said.iter().map(|said| (said.request.clone(), said.response.clone())).collect();
        theirs == ours
    }
}

impl<'s> Play<'s> {
    /// Starts an agent of a layer for a client with these contacts.
    async fn begin(
        show: &'s mut Show,
        stage: &'s Stage,
        layer: Layer,
        device: &'static str,
        contacts: &[Contact],
    ) -> Result<Self, Exit> {
        let book = Book::new(stage.directory().join(device), contacts).map_err(cannot_go_on)?;
        let line = stage.line(show, layer).await?;
        show.line("ways", "");
        show.line("ways", "client --SyncML--> agent --sealed--> gateway --SyncML--> server");
        show.line("ways", &format!("the wire between agent and gateway is recorded at {}", line.wire.addr()));
        Ok(Self { show, stage, line, device, book, recorded: None, server_sessions: Vec::new() })
    }

    /// Lets the client sync with what listens at `addr`, over a wire that is recorded.
    async fn scene(&self, wire: &Tap, addr: SocketAddr, form: Form, mode: Mode) -> Scene {
        let config = ClientConfig {
            device: self.device.into(),
            user: USER.into(),
            password: PASSWORD.into(),
            form,
            ..ClientConfig::new(url(addr))
        };
        let client = Client::new(self.book.directory(), config);
        let (wire_before, server_before) = (wire.exchanges().len(), self.stage.behind.exchanges().len());
        let mut said = Vec::new();
        let observe = &mut |exchange: Exchange<'_>| {
            said.push(Said { request: exchange.request.to_vec(), response: exchange.response.to_vec() });
        };
        let outcome = client.sync(mode, observe).await;
        let wire = wire.exchanges().split_off(wire_before);
        let server = self.stage.behind.exchanges().split_off(server_before);
        Scene { said, outcome, wire, server }
    }

    /// Lets the client sync through the agent that was started first.
    async fn sync(&mut self, form: Form, mode: Mode) -> Scene {
        self.sync_through(self.line.agent, form, mode).await
    }

    async fn sync_through(&mut self, agent: SocketAddr, form: Form, mode: Mode) -> Scene {
        let scene = self.scene(&self.line.wire, agent, form, mode).await;
        for Said { response, .. } in &scene.said {
            let session = server_session(form, response);
            self.server_sessions.extend(session.filter(|session| !self.server_sessions.contains(session)));
        }
        scene
    }

    async fn handshake_and_slow_sync(&mut self) -> Result<(), Exit> {
        let scene = self.sync(Form::Xml, Mode::Slow).await;

        self.show.step("Handshake");
        if let Some(first) = scene.said.first() {
            self.show.line("sent", "To the agent, in plaintext, on this machine; in it user name and password:");
            self.show.document("sent", &first.request);
            self.stage.keep_message(&first.request)?;
        }
        let (handshake, rest) = scene.wire.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        let mut agreed = None;
        if let Some(HttpExchange { request, response }) = handshake {
            self.show.line("wire", "The agent keeps it until it has a sealed session, with fresh keys:");
            self.show.wire("wire", request);
            self.show.wire("wire", response);
            agreed = asked_for(request);
        }
        let handshake: Vec<_> = handshake.cloned().into_iter().collect();
        self.eavesdrop(&handshake, &JONAS);
        let names = agreed.map(|(algorithm, group)| format!("{}, {}", algorithm.name(), group.name()));
        let strong = agreed.is_some_and(|(algorithm, _)| algorithm == Algorithm::A256Gcm);
        self.show.check(strong, "a session key for AES-256, and a key exchange, so that there is forward secrecy");
        let sealed = handshake.iter().map(HttpExchange::body_bytes).sum();
        self.show.row("handshake", 2 * handshake.len(), 0, sealed, names.unwrap_or_default());

        self.show.step("Slow sync in XML: all contacts, both ways");
        let rest = rest.to_vec();
        self.show_exchange(&scene, &rest);
        self.eavesdrop(&rest, &JONAS);
        self.expect_report(&scene, true, Counts { added: 2, ..NONE }, Counts { added: 2, ..NONE });
        self.expect_books(&[MIRA, JONAS, INGRID, KOFI])?;
        self.expect_transparent(&scene);
        let result = result(&scene.outcome);
        self.show.row("slow sync, XML", 2 * rest.len(), scene.plain(), scene.sealed() - sealed, result);
        Ok(())
    }

    fn changes_on_both_sides(&mut self) -> Result<(), Exit> {
        let (client_book, Stage { server_book, .. }) = (&self.book, self.stage);
        client_book.put(&MIRA_MOVED).and_then(|()| client_book.put(&TOMAS)).map_err(cannot_go_on)?;
        server_book.remove(&INGRID).and_then(|()| server_book.put(&NOOR)).map_err(cannot_go_on)?;
        let differ = client_book.cards().map_err(cannot_go_on)? != server_book.cards().map_err(cannot_go_on)?;
        self.show.step("Changes on both sides");
        self.show.line("client", &format!("{} has a new number: {}", MIRA.name, MIRA_MOVED.phone));
        self.show.line("client", &format!("{} is new", TOMAS.name));
        self.show.line("server", &format!("{} is gone", INGRID.name));
        self.show.line("server", &format!("{} is new", NOOR.name));
        self.show.check(differ, "the address books differ");
        self.show.row("changes on both sides", 0, 0, 0, "2 by the client, 2 by the server");
        Ok(())
    }

    async fn two_way_sync(&mut self) -> Result<(), Exit> {
        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("Two-way sync in WBXML: the changes, both ways");
        // The first exchange is this session's handshake.
        self.show_exchange(&scene, scene.wire.get(1..).unwrap_or_default());
        self.eavesdrop(&scene.wire, &MIRA_MOVED);
        let sent = Counts { added: 1, replaced: 1, ..NONE };
        let received = Counts { added: 1, deleted: 1, ..NONE };
        self.expect_report(&scene, false, sent, received);
        self.expect_books(&[MIRA_MOVED, JONAS, TOMAS, KOFI, NOOR])?;
        self.expect_transparent(&scene);
        self.recorded = scene.wire.get(1).map(|exchange| exchange.request.clone());
        let result = result(&scene.outcome);
        self.show.row("two-way sync, WBXML", 2 * scene.wire.len(), scene.plain(), scene.sealed(), result);
        Ok(())
    }

    /// A client that goes past the agent. Its wire is another recording, in which what is looked for can be found.
    async fn without_encryption(&mut self) -> Result<(), Exit> {
        let wire = Tap::before(self.stage.gateway).await.map_err(cannot_go_on)?;
        let scene = self.scene(&wire, wire.addr(), Form::Xml, Mode::Slow).await;
        self.show.step("A client without encryption is refused");
        let mut refused = None;
        if let Some(Said { request, response }) = scene.said.first() {
            self.show.line("sent", "To the gateway itself, without an agent, by a client that is set up wrong:");
            self.show.document("sent", request);
            self.show.line("answer", "The gateway answers in SyncML, as the client would hear its server:");
            self.show.document("answer", response);
            refused = refusal_in(Form::Xml, response);
        }
        self.show.line("spy", "This client gave its credentials away before the gateway could say no:");
        self.show.found("credentials, in base64", wire.has(credentials().as_bytes()), true);
        let told = match &scene.outcome {
            Err(SyncError::Refused { code: 403, reason: Some(reason) }) => reason.clone(),
            other => format!("{other:?}"),
        };
        self.show.line("client", &format!("says: {told}"));
        let named = told.starts_with(Reason::EncryptionRequired.name());
        self.show.check(named, "refused with status 403 and a sentence that says why");
        self.show.check(
            refused.is_some_and(|refusal| is(&refusal, Reason::EncryptionRequired) && !refusal.keys.is_empty()),
            "with the refusal comes what is offered: algorithms, key transports, groups, the gateway's key id",
        );
        self.expect_kept_from_server(&scene);
        self.refusal_row("no encryption", &scene, Reason::EncryptionRequired);
        Ok(())
    }

    async fn forbidden_algorithm(&mut self, algorithm: Algorithm, reason: Reason) -> Result<(), Exit> {
        let name = algorithm.name();
        self.show.step(&format!("An agent that asks for {name} is refused"));
        self.show.line("policy", "The gateway's policy allows A256GCM alone; this agent's has:");
        let agent = self.stage.another_agent(self.show, &self.line, algorithm).await?;
        let scene = self.sync_through(agent, Form::Wbxml, Mode::TwoWay).await;
        let mut refused = None;
        if let Some(HttpExchange { request, response }) = scene.wire.first() {
            self.show.wire("wire", request);
            self.show.wire("answer", response);
            refused = Refusal::from_problem(response.body()).ok();
        }
        self.eavesdrop(&scene.wire, &MIRA);
        self.show.line("client", &format!("says: {}", told(&scene.outcome)));
        let allowed = [i128::from(Algorithm::A256Gcm.cose_id())];
        self.show.check(
            refused.is_some_and(|refusal| is(&refusal, reason) && refusal.algorithms == allowed),
            &format!("refused with {}, and told what is allowed: A256GCM", reason.name()),
        );
        self.show
            .check(told(&scene.outcome).contains(reason.name()), "the client is told so by the agent, as HTTP 403");
        self.expect_kept_from_server(&scene);
        self.refusal_row(name, &scene, reason);
        Ok(())
    }

    /// Someone on the wire sends what they recorded once more.
    async fn replayed_request(&mut self) -> Result<(), Exit> {
        let server_before = self.stage.behind.exchanges().len();
        let Some(request) = self.recorded.take() else {
            self.show.check(false, "a request was recorded");
            return Ok(());
        };
        let answer = tap::replay(self.stage.gateway, &request.bytes).await.map_err(cannot_go_on)?;
        self.show.step("A replayed request is refused");
        self.show.line("wire", "Someone recorded this request of the two-way sync, and sends it once more:");
        self.show.wire("wire", &request);
        self.show.wire("answer", &answer);
        self.expect_refusal(&answer, Reason::Replayed);
        let untouched = self.stage.behind.exchanges().len() == server_before;
        self.show.check(untouched, "nothing of it reached the server");
        let bytes = request.body().len() + answer.body().len();
        self.show.row("replayed request", 2, 0, bytes, refused(Reason::Replayed));
        Ok(())
    }

    /// Someone on the wire changes a bit of what passes.
    async fn tampered_request(&mut self) -> Result<(), Exit> {
        // After the handshake.
        self.line.wire.tamper(1, Change::LastBit);
        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("A request that was changed on its way is refused");
        self.show.line("wire", "Someone flips the last bit of the client's first message on its way:");
        match scene.wire.get(1) {
            Some(HttpExchange { request, response }) => {
                self.show.wire("wire", request);
                self.show.wire("answer", response);
                self.expect_refusal(response, Reason::CannotOpen);
            }
            None => self.show.check(false, "the agent sent the client's message"),
        }
        self.show.line("client", &format!("says: {}", told(&scene.outcome)));
        self.expect_kept_from_server(&scene);
        self.refusal_row("tampered request", &scene, Reason::CannotOpen);

        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("The client syncs again, and nothing was lost");
        self.eavesdrop(&scene.wire, &MIRA_MOVED);
        self.expect_report(&scene, false, NONE, NONE);
        self.expect_transparent(&scene);
        let result = result(&scene.outcome);
        self.show.row("two-way sync, no changes", 2 * scene.wire.len(), scene.plain(), scene.sealed(), result);
        Ok(())
    }

    fn end(&mut self, contacts: &[Contact]) -> Result<(), Exit> {
        self.show.heading("Address books");
        let client = self.book.cards().map_err(cannot_go_on)?;
        let server = self.stage.server_book.cards().map_err(cannot_go_on)?;
        for Contact { name, phone, .. } in contacts {
            let has = |cards: &[String]| cards.iter().any(|card| card.contains(name) && card.contains(phone));
            let [client, server] = [has(&client), has(&server)].map(|has| if has { "yes" } else { "no" });
            self.show.line("", &format!("{name:<16} {phone}   client: {client}   server: {server}"));
        }
        let equal = client == server && client.len() == contacts.len();
        self.show.check(equal, &format!("both address books hold the same {} contacts", client.len()));
        Ok(())
    }

    /// What the client sent when it sent a contact, and what that was on the wire: `sealed` are the numbered exchanges.
    fn show_exchange(&mut self, scene: &Scene, sealed: &[HttpExchange]) {
        let at = scene.contact();
        if let Some(said) = scene.said.get(at) {
            self.show.line("sent", &format!("The client's message {} of {}:", at + 1, scene.said.len()));
            self.show.document("sent", &said.request);
        }
        if let Some(exchange) = sealed.get(at) {
            self.show.line("wire", "What of it went over the wire, and of its answer:");
            self.show.wire("wire", &exchange.request);
            self.show.wire("wire", &exchange.response);
        }
    }

    /// What an eavesdropper between agent and gateway has: of this step what is left to see, and of the whole recording
    /// the proof that there is no more.
    fn eavesdrop(&mut self, exchanges: &[HttpExchange], contact: &Contact) {
        self.show.sizes_and_times(exchanges);
        let Self { show, line: Line { layer, wire, .. }, device, server_sessions, .. } = self;
        let has_structure = *layer == Layer::Data;
        if has_structure {
            show.line("spy", "and the structure of documents: commands, addresses of devices, databases and contacts,");
            show.line("spy", "the kind of credentials, the server's session id, which the gateway ties to its owner;");
        }
        show.line("spy", &format!("and nothing else. Looked for in all {} bytes recorded:", digits(wire.len())));
        let has = |wanted: &[&str]| wanted.iter().any(|wanted| wire.has(wanted.as_bytes()));
        let mut look_for = |what: String, wanted: &[&str]| show.found(&what, has(wanted), false);
        look_for(format!("name          {}", contact.name), &[contact.name]);
        look_for(format!("phone number  {}", contact.phone), &[contact.phone]);
        let others: Vec<&str> = contacts::ALL.iter().flat_map(|other| [other.name, other.phone]).collect();
        look_for("name or number of any other contact".into(), &others);
        look_for(format!("user name     {USER}"), &[USER]);
        look_for(format!("password      {PASSWORD}"), &[PASSWORD]);
        look_for("both in base64, as SyncML has them".into(), &[&credentials()]);
        let sessions: Vec<&str> = server_sessions.iter().map(String::as_str).collect();
        let session = format!("session id    {}", sessions.last().unwrap_or(&""));
        show.found(&session, has(&sessions), has_structure && !sessions.is_empty());
        if has_structure {
            for (what, address) in [("device  ", *device), ("database", DATABASE), ("contact ", contact.file)] {
                show.found(&format!("address of {what}   {address}"), has(&[address]), true);
            }
        }
    }

    fn expect_report(&mut self, scene: &Scene, slow: bool, sent: Counts, received: Counts) {
        let holds = scene
            .outcome
            .as_ref()
            .is_ok_and(|report| (report.slow, report.sent, report.received) == (slow, sent, received));
        self.show.check(holds, &result(&scene.outcome));
    }

    fn expect_books(&mut self, contacts: &[Contact]) -> Result<(), Exit> {
        let client = self.book.holds(contacts).map_err(cannot_go_on)?;
        let server = self.stage.server_book.holds(contacts).map_err(cannot_go_on)?;
        self.show.check(client && server, &format!("both address books hold the same {} contacts", contacts.len()));
        Ok(())
    }

    fn expect_transparent(&mut self, scene: &Scene) {
        let holds = scene.is_transparent();
        self.show.check(holds, "what the server got is what the client sent, byte for byte, and so back");
    }

    fn expect_kept_from_server(&mut self, scene: &Scene) {
        self.show.check(scene.server.is_empty(), "nothing of it reached the server");
    }

    fn expect_refusal(&mut self, answer: &HttpMessage, reason: Reason) {
        let holds = Refusal::from_problem(answer.body()).is_ok_and(|refusal| is(&refusal, reason));
        self.show.check(holds, &format!("refused with {}", reason.name()));
    }

    fn refusal_row(&mut self, step: &str, scene: &Scene, reason: Reason) {
        self.show.row(step, 2 * scene.wire.len(), scene.plain(), scene.sealed(), refused(reason));
    }
}

/// The address of the contacts, as the sample has it.
const DATABASE: &str = "./contacts";

const NONE: Counts = Counts { added: 0, replaced: 0, deleted: 0 };

/// What a handshake asks for; `None` for what is not a handshake with a key exchange.
fn asked_for(request: &HttpMessage) -> Option<(Algorithm, NamedGroup)> {
    let Ok(SealedRequest::Init(seal)) = seal::decode_request(Layer::Message, BytesMut::from(request.body())) else {
        return None;
    };
    let VersionedInit::Version1(init) = &seal.header().init else { return None };
    let algorithm = Algorithm::from_cose_id(seal.header().alg.try_into().ok()?)?;
    Some((algorithm, NamedGroup::from_number(init.share.as_ref()?.group)?))
}

/// The session id in the address that a server's answer gives to the client.
fn server_session(form: Form, response: &[u8]) -> Option<String> {
    let document = Document::scan(form, response, &Limits::default()).ok()?;
    let address = document.text(document.header.resp_uri.as_ref()?);
    let (_, session) = std::str::from_utf8(&address).ok()?.split_once("sessionid=")?;
    Some(session.to_owned())
}

/// The refusal in a SyncML document.
fn refusal_in(form: Form, response: &[u8]) -> Option<Refusal> {
    let document = Document::scan(form, response, &Limits::default()).ok()?;
    Refusal::from_map(&document.refusal_map()?).ok()
}

fn is(refusal: &Refusal, reason: Reason) -> bool {
    refusal.reason == RefusalReason::Known(reason)
}

/// User name and password as basic authentication writes them.
fn credentials() -> String {
    base64_turbo::STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

fn refused(reason: Reason) -> String {
    format!("refused: {} {}", reason.status(), reason.name())
}

/// What a sync did, in words.
fn result(outcome: &Result<Report, SyncError>) -> String {
    match outcome {
        Ok(report) => format!("sent {}; received {}", counts(report.sent), counts(report.received)),
        Err(error) => error.to_string(),
    }
}

fn counts(counts: Counts) -> String {
    let Counts { added, replaced, deleted } = counts;
    let parts =
        [(added, "new"), (replaced, "changed"), (deleted, "deleted")].into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// What a client that was refused says.
fn told(outcome: &Result<Report, SyncError>) -> String {
    match outcome {
        Ok(_) => "the sync is complete".to_owned(),
        Err(SyncError::Http { status, text, .. }) => format!("HTTP status {status}: {text}"),
        Err(error) => error.to_string(),
    }
}
