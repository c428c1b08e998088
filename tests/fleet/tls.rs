//! A store over TLS.

use std::net::{Ipv4Addr, SocketAddr};

use memchr::memmem;
use tempfile::TempDir;

use crate::common::redis::Redis;
use crate::common::relay::Balancer;
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::pki::Pki;
use crate::terminal::Terminal;

/// A server that speaks TLS, behind a relay that records.
struct World {
    legacy: Legacy,
    wire: Balancer,
    dir: TempDir,
    _redis: Redis,
}

impl World {
    /// Its certificate is by `ca.pem`, for one of these names; `other.pem` is of somebody else.
    async fn new(names: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let ca = Pki::new(dir.path(), "ca");
        Pki::new(dir.path(), "other");
        let (port, tls) = ca.server("ca.pem", names);
        let options: Vec<&str> = ["--save", ""].into_iter().chain(tls.iter().map(String::as_str)).collect();
        let redis = Redis::with(dir.path(), "redis", &options).await;
        let wire = Balancer::bind().await;
        wire.spread_over(&[SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
        Self { legacy: Legacy::start().await, wire, dir, _redis: redis }
    }

    /// Writes the policy of a gateway that knows the server by this name.
    fn write_policy(&self, name: &str, ca: &str) {
        let url = format!("rediss://{name}:{}", self.wire.addr.port());
        let sessions = format!("{}{ca}\nstore_start_timeout = \"1 s\"\n", gateways::store(&url));
        gateways::write_policy(self.dir.path(), "gateway.example", self.legacy.addr, "/sync", &sessions, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_its_own_authority() {
    for name in ["localhost", "127.0.0.1"] {
        let world = World::new(&[name]).await;
        world.write_policy(name, "store_ca = \"ca.pem\"");
        let (_gateway, addr) = gateways::replica(world.dir.path(), "gateway").await;
        let mut terminal = Terminal::new(addr).await;
        for n in 1..=2 {
            assert_eq!(terminal.exchange(&message("dev-1", "7", n)).await.status, 200);
        }
        let relayed = world.wire.relayed();
        assert!(!relayed.is_empty());
        for recording in relayed.into_iter().map(|relayed| relayed.recording) {
            assert!(recording.requests.starts_with(&[22, 3]), "not a TLS handshake");
            let all = [recording.requests, recording.responses].concat();
            for word in ["EVALSHA", "complete_message", "application/cose"] {
                assert!(memmem::find(&all, word.as_bytes()).is_none(), "{word} can be read on the wire");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_trusted_is_out_of_reach() {
    let world = World::new(&["localhost"]).await;
    let wrong_authority = ("localhost", "store_ca = \"other.pem\"");
    let none_of_the_systems = ("localhost", "");
    let wrong_name = ("127.0.0.1", "store_ca = \"ca.pem\"");
    for (n, (name, ca)) in [wrong_authority, none_of_the_systems, wrong_name].into_iter().enumerate() {
        world.write_policy(name, ca);
        let mut gateway = gateways::start(world.dir.path(), &format!("gateway-{n}"));
        assert_eq!(gateway.ended().await.code(), Some(69), "{}", gateway.log());
        let log = gateway.log();
        assert!(log.contains("certificate") && log.contains("rediss://"), "{log}");
    }
    // It has been told nothing.
    for relayed in world.wire.relayed() {
        assert!(memmem::find(&relayed.recording.requests, b"EVALSHA").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_certificate_is_a_fault_of_the_policy() {
    let world = World::new(&["localhost"]).await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (n, text) in ["", "no certificate", broken].into_iter().enumerate() {
        std::fs::write(world.dir.path().join("broken.pem"), text).unwrap();
        world.write_policy("localhost", "store_ca = \"broken.pem\"");
        let mut gateway = gateways::start(world.dir.path(), &format!("gateway-{n}"));
        assert_eq!(gateway.ended().await.code(), Some(78), "{}", gateway.log());
        assert!(gateway.log().contains("sessions.store_ca"), "{}", gateway.log());
    }
}
