//! Three replicas behind a balancer, killed and started again in turn while terminals go on: nobody gets anything twice, and
//! nobody has to know.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use syncseal::syncml::Form;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::checker::Wire;
use crate::common::peer::{Auth, Peer, Setup, Side};
use crate::common::redis::Redis;
use crate::common::relay::{Balancer, Relayed};
use crate::common::tap::whole_http_messages;
use crate::common::{Program, free_port};
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::terminal::{Delivered, Opened, Terminal};

const REPLICAS: usize = 3;
/// How long anything may take that a test waits for; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);

/// Waits until something is there.
async fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(is) = is() {
            return is;
        }
        assert!(since.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Replicas over one Redis, in front of one server, behind a balancer that records.
struct Fleet {
    balancer: Balancer,
    replicas: Vec<(Program, SocketAddr)>,
    /// How many were started so far.
    started: usize,
    dir: TempDir,
    _redis: Redis,
}

impl Fleet {
    async fn start(upstream: SocketAddr, path: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let redis = Redis::start(dir.path()).await;
        let balancer = Balancer::bind().await;
        let public = balancer.addr.to_string();
        gateways::write_policy(dir.path(), &public, upstream, path, &gateways::store(&redis.url()), "");
        let mut fleet = Self { balancer, replicas: Vec::new(), started: 0, dir, _redis: redis };
        for _ in 0..REPLICAS {
            let replica = fleet.another().await;
            fleet.replicas.push(replica);
        }
        fleet.spread();
        fleet
    }

    /// Starts one more.
    async fn another(&mut self) -> (Program, SocketAddr) {
        self.started += 1;
        gateways::replica(self.dir.path(), &format!("replica-{}", self.started)).await
    }

    fn spread(&self) {
        let addrs: Vec<SocketAddr> = self.replicas.iter().map(|(_, addr)| *addr).collect();
        self.balancer.spread_over(&addrs);
    }

    /// Kills one where it stands.
    async fn kill(&mut self, replica: usize) {
        let (program, _) = &mut self.replicas[replica];
        program.kill();
        program.ended().await;
    }

    /// Starts one in the place of one that was killed, wherever it listens.
    async fn restart(&mut self, replica: usize) {
        self.replicas[replica] = self.another().await;
        self.spread();
    }

    /// The replica at an address.
    fn at(&self, addr: SocketAddr) -> Option<usize> {
        self.replicas.iter().position(|(_, other)| *other == addr)
    }

    /// The replica that waits for an answer of the server's, or will soon.
    fn busy(&self) -> Option<usize> {
        let relayed = self.balancer.relayed();
        let busy = |relayed: &&Relayed| matches!(exchanges(relayed), (requests, responses) if requests > responses);
        relayed.iter().filter(busy).find_map(|relayed| self.at(relayed.to))
    }

    /// The replica that has answered last, if all have answered all that they were asked.
    fn idle(&self) -> Option<usize> {
        if self.busy().is_some() {
            return None;
        }
        let relayed = self.balancer.relayed();
        relayed.iter().rev().filter(|relayed| exchanges(relayed).1 > 0).find_map(|relayed| self.at(relayed.to))
    }

    fn wire(&self) -> Wire {
        Wire::read(&self.balancer.relayed())
    }
}

/// Whole requests and whole responses over a connection.
fn exchanges(relayed: &Relayed) -> (usize, usize) {
    let [requests, responses] =
        [&relayed.recording.requests, &relayed.recording.responses].map(|bytes| whole_http_messages(bytes).0.len());
    (requests, responses)
}

// --- Terminals of our own

const TERMINALS: usize = 50;
const MESSAGES: u64 = 12;

/// Sends the messages of a SyncML session until all of one session are answered, and returns how many sessions it took.
async fn terminal(addr: SocketAddr, device: String) -> usize {
    for session in 1.. {
        let mut terminal = Terminal::persistent(addr).await;
        let session_id = session.to_string();
        let mut answered = 0;
        for msg_id in 1..=MESSAGES {
            match terminal.deliver(&message(&device, &session_id, msg_id)).await {
                Delivered::Answered(Opened { status, body }) => {
                    assert_eq!(status, 200, "{body}");
                    assert!(body.contains(&format!("to {device} {session_id} {msg_id}<")), "{body}");
                    answered += 1;
                }
                Delivered::Lost => break,
            }
        }
        if answered == MESSAGES {
            return session;
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_terminals_go_on_while_replicas_are_killed_in_turn() {
    let legacy = Legacy::start().await;
    let mut fleet = Fleet::start(legacy.addr, "/sync").await;
    let addr = fleet.balancer.addr;
    let mut terminals = JoinSet::new();
    for n in 0..TERMINALS {
        terminals.spawn(terminal(addr, format!("IMEI:{n:05}")));
    }
    // Each is killed twice, at whatever it is doing, while at least a tenth of all messages is still to come.
    let all = TERMINALS * MESSAGES as usize;
    for (round, replica) in (0..REPLICAS).cycle().take(2 * REPLICAS).enumerate() {
        legacy.has_received(all * (2 * round + 1) / 14).await;
        fleet.kill(replica).await;
        legacy.has_received(all * (2 * round + 2) / 14).await;
        fleet.restart(replica).await;
    }
    let sessions: usize = terminals.join_all().await.into_iter().sum();

    let wire = fleet.wire();
    assert_eq!(wire.faults, [].into());
    // Whoever began a session anew had lost an answer.
    assert_eq!(sessions - TERMINALS, wire.lost());
    assert!(wire.accepted() >= all, "{}", wire.accepted());
    assert!(wire.repeated() > 0, "nobody was hit");
    let replicas = wire.replicas();
    let shared = replicas.values().filter(|replicas| replicas.len() >= 2).count();
    assert!(shared >= TERMINALS, "only {shared} sessions were answered by several replicas");
    // The server heard each message once, those too whose answers were lost.
    let received = legacy.received();
    let mut distinct = received.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), received.len(), "a message was forwarded twice");
}

// --- SyncEvolution

const CONTACTS: usize = 200;
/// So small that the contacts take many exchanges.
const MAX_MSG_SIZE: usize = 5_000;
/// Bytes of each contact's note.
const NOTE: usize = 300;

fn agent_policy(dir: &Path, public: SocketAddr, gateway: SocketAddr) {
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/public.pem");
    let policy = format!(
        "version = 1\n[agent]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://{public}\"\n\
         gateway = \"http://{gateway}/\"\nkey = {key:?}\n[retransmit]\npause = \"100 ms\"\n"
    );
    std::fs::write(dir.join("agent.toml"), policy).unwrap();
}

/// Client, agent, balancer, three gateways, relay, server.
struct Chain {
    fleet: Fleet,
    /// Between client and agent.
    downstream: Balancer,
    /// Between gateways and server.
    upstream: Balancer,
    peer: Peer,
    _agent: Program,
    _server: Program,
}

impl Chain {
    async fn start() -> Self {
        let (downstream, upstream) = (Balancer::bind().await, Balancer::bind().await);
        let fleet = Fleet::start(upstream.addr, "/").await;
        let dir = fleet.dir.path();
        agent_policy(dir, downstream.addr, fleet.balancer.addr);
        let mut agent = Program::syncseal(["agent", "agent.toml", "--log-format", "json"], dir, "agent");
        downstream.spread_over(&[agent.listening().await]);

        let server_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        upstream.spread_over(&[server_addr]);
        let setup = Setup { form: Form::Wbxml, auth: Auth::Md5, max_msg_size: MAX_MSG_SIZE };
        let peer = Peer::setup(dir, setup, server_addr, downstream.addr).await;
        let mut server = peer.serve();
        server.accepting(server_addr).await;
        Self { fleet, downstream, upstream, peer, _agent: agent, _server: server }
    }

    /// How many exchanges were finished so far.
    fn finished(&self) -> usize {
        self.fleet.balancer.relayed().iter().map(|relayed| exchanges(relayed).1).sum()
    }

    /// Waits until so many more exchanges are finished; false if the client ends before that.
    async fn goes_on(&self, client: &mut Program, more: usize) -> bool {
        let finished = self.finished();
        until("the client", || match self.finished() {
            now if now >= finished + more => Some(true),
            _ => client.has_ended().map(|_| false),
        })
        .await
    }

    /// Kills the replica that the session is with, when it has answered all that it was asked, and starts it again when the
    /// client has gone on elsewhere.
    async fn kill_between_exchanges(&mut self, client: &mut Program) {
        let held = self.fleet.balancer.hold_requests().await;
        let replica = until("an answer to everything", || self.fleet.idle()).await;
        self.fleet.kill(replica).await;
        drop(held);
        self.goes_on(client, 2).await;
        self.fleet.restart(replica).await;
    }

    /// Kills a replica when it has forwarded a message whose answer it waits for; false if the client ended before that. So
    /// many answers have been `lost` that way before.
    async fn kill_within_an_exchange(&mut self, client: &mut Program, lost: usize) -> bool {
        let held = self.upstream.hold_responses().await;
        let forwarded = until("a message with the server", || {
            let relayed = self.upstream.relayed();
            let unanswered: usize =
                relayed.iter().map(exchanges).map(|(requests, responses)| requests - responses).sum();
            if unanswered > lost { Some(self.fleet.busy()) } else { client.has_ended().map(|_| None) }
        });
        let Some(replica) = forwarded.await else { return false };
        self.fleet.kill(replica).await;
        drop(held);
        self.fleet.restart(replica).await;
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn syncevolution_synchronises_while_replicas_are_killed_in_turn() {
    let mut chain = Chain::start().await;
    chain.peer.add(Side::Client, 120, NOTE).await;
    chain.peer.add(Side::Server, CONTACTS - 120, NOTE).await;

    // Between exchanges it shows to nobody: one session, which every replica has had a part in.
    let mut client = chain.peer.sync("slow");
    let mut kills = 0;
    while chain.goes_on(&mut client, 2).await {
        chain.kill_between_exchanges(&mut client).await;
        kills += 1;
    }
    assert!(client.ended().await.success(), "{}", client.log());
    assert!(kills >= REPLICAS, "over after {kills} kills");
    chain.peer.run(["compare"]).await;
    assert_eq!(chain.peer.book(Side::Client).await.len(), CONTACTS);
    let wire = chain.fleet.wire();
    assert_eq!(wire.faults, [].into());
    assert_eq!((wire.lost(), wire.handshakes.values().sum::<usize>()), (0, 1), "{:?}", wire.refusals);
    assert!(wire.replicas().values().all(|replicas| replicas.len() >= kills), "{:?}", wire.replicas());

    // An answer that is lost with its replica ends the SyncML session, and the client begins another by its own rules.
    chain.peer.add(Side::Client, 40, NOTE).await;
    chain.peer.add(Side::Server, 20, NOTE).await;
    for lost in 0..REPLICAS {
        let mut client = chain.peer.sync("two-way");
        chain.goes_on(&mut client, 2).await;
        assert!(chain.kill_within_an_exchange(&mut client, lost).await, "{}", client.log());
        assert!(!client.ended().await.success(), "{}", client.log());
        assert_eq!(chain.fleet.wire().lost(), lost + 1);
    }
    let mut client = chain.peer.sync("two-way");
    assert!(client.ended().await.success(), "{}", client.log());
    chain.peer.run(["compare"]).await;
    // After sessions that were cut off SyncEvolution has some contacts twice, without a gateway, too. None is missing.
    let book: BTreeSet<_> = chain.peer.book(Side::Client).await.into_iter().collect();
    assert_eq!(book.len(), CONTACTS + 60);

    let wire = chain.fleet.wire();
    assert_eq!(wire.faults, [].into());
    let statuses = |balancer: &Balancer| -> Vec<u16> {
        let relayed = balancer.relayed();
        let responses = relayed.iter().flat_map(|relayed| whole_http_messages(&relayed.recording.responses).0);
        responses.map(|response| response.status).filter(|status| *status != 200).collect()
    };
    assert_eq!(statuses(&chain.downstream), [403; REPLICAS], "all that the client saw of it");
    // The server heard each message once, those too whose answers were lost, and nothing that the client did not send.
    let sorted = |balancer: &Balancer| {
        let relayed = balancer.relayed();
        let requests = relayed.iter().flat_map(|relayed| whole_http_messages(&relayed.recording.requests).0);
        let mut bodies: Vec<Vec<u8>> = requests.map(|request| request.body).collect();
        bodies.sort();
        bodies
    };
    assert!(sorted(&chain.upstream) == sorted(&chain.downstream), "the server got other messages than the client sent");
}
