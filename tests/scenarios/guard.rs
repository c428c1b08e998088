//! The guard against locking devices out: a reload that would refuse what too many of them speak is not applied.

use serde_json::Value;
use syncseal::seal::Reason;

use crate::http::{Answer, exchange, post};
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, XML, accepted};

const UNWATCHED: &str = "[reload]\nwatch = false";

/// A gateway under one rule, for everybody, that reads its policy again when it is told to.
async fn permitting(tables: &str) -> Running {
    let tables = format!("{UNWATCHED}\n{tables}");
    Site::new(&tables, &rule("everybody", "", "permit")).await.start().await
}

async fn speaks_plaintext(gateway: &Running, source: &'static str) {
    assert_eq!(post(gateway.addr, XML, &Client { source, ..FIRST }.xml()).await.body, accepted());
}

async fn speaks_sealed(gateway: &Running, source: &'static str) {
    gateway.terminal().await.send(&Client { source, ..FIRST }).await.assert_says(200, &accepted());
}

/// What an operator gets who asks for a reload.
async fn asked(gateway: &Running, query: &str) -> (u16, Value) {
    let head = format!("POST /reload{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", gateway.admin);
    let request = format!("{head}Syncseal-Admin: 1\r\nContent-Length: 0\r\n\r\n");
    let Answer { status, body, .. } = exchange(gateway.admin, request.as_bytes()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_reload_that_would_cut_devices_off_is_not_applied_as_a_whole_on_sighup() {
    let mut gateway = permitting("").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    speaks_sealed(&gateway, "IMEI:2").await;
    let tables = format!("{UNWATCHED}\n[limits]\nmessage = '4 KiB'");
    gateway.site.write_policy(&tables, &rule("everybody", "", "require"));
    gateway.program.hang_up();
    let fault = gateway.not_reloaded("[[rule]]").await;
    assert!(fault.contains("of the 2 devices that were seen in the last 7 days, 1 spoke plaintext last"), "{fault}");
    // The log holds no names of devices.
    assert!(!gateway.program.log().contains("IMEI:1"), "{}", gateway.program.log());
    speaks_plaintext(&gateway, "IMEI:3").await;
    let long = FIRST.xml_of(5000);
    assert_eq!(post(gateway.addr, XML, &long).await.body, accepted());
    // Without that rule, the rest is applied.
    gateway.site.write_policy(&tables, &rule("everybody", "", "permit"));
    gateway.reload(2).await;
    assert_eq!(post(gateway.addr, XML, &long).await.reason(), Reason::TooLarge);
}

#[tokio::test]
async fn the_watch_does_not_pass_the_guard_either() {
    let mut gateway = Site::new("", &rule("everybody", "", "observe")).await.start().await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    gateway.site.write_policy("", &rule("everybody", "", "require"));
    gateway.not_reloaded("of the 1 devices").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
}

#[tokio::test]
async fn an_operator_is_told_which_devices_and_can_force_it() {
    let mut gateway = permitting("").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    speaks_sealed(&gateway, "IMEI:2").await;
    gateway.site.write_policy(UNWATCHED, &rule("everybody", "", "require"));
    let (status, body) = asked(&gateway, "").await;
    assert_eq!(status, 409, "{body}");
    let locked_out = &body["locked_out"];
    assert_eq!((&locked_out["seen"], &locked_out["cut_off"]), (&2.into(), &1.into()), "{body}");
    assert_eq!(locked_out["devices"], serde_json::json!([{ "route": "/sync", "device": "IMEI:1" }]));
    speaks_plaintext(&gateway, "IMEI:1").await;

    let (status, body) = asked(&gateway, "?force=true").await;
    assert_eq!((status, &body["generation"]), (200, &2.into()), "{body}");
    let refused = post(gateway.addr, XML, &Client { source: "IMEI:1", ..FIRST }.xml()).await;
    assert_eq!(refused.reason(), Reason::EncryptionRequired);
    // Who is refused already is not cut off by another reload.
    gateway.reload(3).await;
}

#[tokio::test]
async fn devices_that_have_moved_over_or_keep_an_exception_are_not_cut_off() {
    let mut gateway = permitting("").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    speaks_plaintext(&gateway, "IMEI:2").await;
    let exception = rule("old-phones", "devices = [\"IMEI:2\"]", "permit");
    gateway.site.write_policy(UNWATCHED, &(exception.clone() + &rule("everybody", "", "require")));
    assert_eq!(asked(&gateway, "").await.0, 409);
    // In the second in which both came, the sealed message counts.
    speaks_sealed(&gateway, "IMEI:1").await;
    gateway.reload(2).await;
    speaks_plaintext(&gateway, "IMEI:2").await;
}

#[tokio::test]
async fn so_many_devices_as_the_policy_in_force_lets_may_be_cut_off() {
    let mut gateway = permitting("[rollout]\nguard_percent = 50").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    speaks_sealed(&gateway, "IMEI:2").await;
    gateway.site.write_policy(UNWATCHED, &rule("everybody", "", "require"));
    gateway.reload(2).await;

    // The new policy's own guard does not let it pass.
    let mut gateway = permitting("[rollout]\nguard_percent = 49").await;
    speaks_plaintext(&gateway, "IMEI:1").await;
    speaks_sealed(&gateway, "IMEI:2").await;
    let tables = format!("{UNWATCHED}\n[rollout]\nguard_percent = 100");
    gateway.site.write_policy(&tables, &rule("everybody", "", "require"));
    gateway.program.hang_up();
    gateway.not_reloaded("allowed: 49 %").await;
}
