//! What a shared store adds to an exchange: round trips, counted on the wire between a gateway and its store.

use redis::{Parser, Value};
use tempfile::TempDir;

use crate::common::Program;
use crate::common::redis::Redis;
use crate::common::relay::Balancer;
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::terminal::{Terminal, post};

/// A gateway, and the wire to its store.
struct Replica {
    addr: std::net::SocketAddr,
    wire: Balancer,
    _program: Program,
}

impl Replica {
    async fn start(name: &str, redis: &Redis, legacy: &Legacy, dir: &TempDir) -> Self {
        let wire = Balancer::bind().await;
        wire.spread_over(&[redis.addr]);
        let sessions = gateways::store(&format!("redis://{}", wire.addr));
        gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &sessions, "");
        let (program, addr) = gateways::replica(dir.path(), name).await;
        Self { addr, wire, _program: program }
    }

    /// What it has asked its store so far, a step for each round trip, without its signs of life, which belong to no exchange.
    fn steps(&self) -> Vec<String> {
        let relayed = self.wire.relayed();
        let commands = relayed.iter().flat_map(|relayed| commands(&relayed.recording.requests));
        let steps = commands.filter(|command| command[0] == "EVALSHA").map(|command| command[4].clone());
        steps.filter(|step| step != "beat").collect()
    }

    /// The same since the last time it was asked.
    fn since(&self, seen: &mut usize) -> Vec<String> {
        let steps = self.steps();
        let since = steps[*seen..].to_vec();
        *seen = steps.len();
        since
    }
}

/// The commands on a connection; arguments that are not text read as something else.
fn commands(mut bytes: &[u8]) -> Vec<Vec<String>> {
    let mut parser = Parser::new();
    let mut commands = Vec::new();
    while let Ok(Value::Array(args)) = parser.parse_value(&mut bytes) {
        let text = |arg| match arg {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        };
        commands.push(args.into_iter().map(text).collect());
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn one_before_forwarding_and_one_after_and_one_for_a_session_that_is_new_here() {
    let dir = TempDir::new().unwrap();
    let redis = Redis::start(dir.path()).await;
    let legacy = Legacy::start().await;
    let one = Replica::start("one", &redis, &legacy, &dir).await;
    let two = Replica::start("two", &redis, &legacy, &dir).await;
    let (mut seen_by_one, mut seen_by_two) = (0, 0);

    let mut terminal = Terminal::new(one.addr).await;
    assert_eq!(one.since(&mut seen_by_one), ["reserve", "begin"]);
    for (n, second, met) in [(1, false, None), (2, true, Some("find")), (3, true, None), (4, false, None)] {
        let (replica, seen) = if second { (&two, &mut seen_by_two) } else { (&one, &mut seen_by_one) };
        let held = legacy.hold();
        let sealed = terminal.seal(&message("dev-1", "7", n));
        let addr = replica.addr;
        let exchange = tokio::spawn(async move { post(addr, &sealed).await.unwrap() });
        legacy.has_received(usize::try_from(n).unwrap()).await;
        let before: Vec<&str> = met.into_iter().chain(["accept_message"]).collect();
        assert_eq!(replica.since(seen), before, "number {n}");
        drop(held);
        terminal.open(&exchange.await.unwrap());
        assert_eq!(replica.since(seen), ["complete_message"], "number {n}");
    }

    // A retransmission takes one.
    let sealed = terminal.seal(&message("dev-1", "7", 5));
    let answer = post(one.addr, &sealed).await.unwrap();
    one.since(&mut seen_by_one);
    assert_eq!(post(one.addr, &sealed).await.unwrap().body, answer.body);
    assert_eq!(one.since(&mut seen_by_one), ["probe"]);
}
