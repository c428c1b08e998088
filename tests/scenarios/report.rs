//! The register of devices: what each speaks, who would be refused, and who may read it.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use syncseal::seal::Reason;

use crate::http::{exchange, post};
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, XML, accepted};

const PLAIN: Client = Client { source: "old phone", session_id: "8", ..FIRST };

/// What `report --json` says of a gateway that runs.
async fn report(gateway: &Running) -> Value {
    let (status, out) = gateway.site.run(&["report", "--json", "--admin", &format!("http://{}", gateway.admin)]).await;
    assert_eq!(status, Some(0), "{out}");
    serde_json::from_str(&out).unwrap()
}

/// What it says of this device.
fn of<'r>(report: &'r Value, device: &str) -> &'r Value {
    let mut lines = report["list"].as_array().unwrap().iter();
    lines.find(|line| line["device"] == device).unwrap_or_else(|| panic!("no {device}: {report}"))
}

#[tokio::test]
async fn devices_are_reported_with_what_they_speak_and_whether_they_would_break() {
    let gateway = Site::new("", &rule("everybody", "", "observe")).await.start().await;
    gateway.terminal().await.send(&FIRST).await.assert_says(200, &accepted());
    assert_eq!(post(gateway.addr, XML, &PLAIN.xml()).await.body, accepted());
    let report = report(&gateway).await;
    assert_eq!((&report["devices"], &report["sealed"], &report["plaintext"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(report["would_break"], serde_json::json!({ "under_require": 1, "under_present_rules": 0 }));
    let (plain, sealed) = (of(&report, PLAIN.source), of(&report, FIRST.source));
    assert_eq!((&plain["speaks"], &plain["objection"]), (&"plaintext".into(), &"encryption-required".into()));
    assert_eq!(
        (&plain["first_sealed"], &plain["rule"], &plain["under"]),
        (&Value::Null, &"everybody".into(), &"observe".into())
    );
    assert_eq!((&sealed["speaks"], &sealed["sealed_messages"]), (&"sealed".into(), &1.into()));
    assert_eq!(sealed["first_sealed"], sealed["last_seen"]);

    let (status, out) = gateway.site.run(&["report", "--admin", &format!("http://{}", gateway.admin)]).await;
    assert_eq!(status, Some(0), "{out}");
    assert!(
        out.starts_with("2 devices, at ") && out.contains("     1 speak plaintext: they would break under require"),
        "{out}"
    );
    let line = out.lines().find(|line| line.ends_with(PLAIN.source)).unwrap();
    assert!(line.contains("plaintext  never") && line.contains("everybody (observe)"), "{out}");
}

#[tokio::test]
async fn a_device_that_is_refused_is_reported_and_a_device_that_moved_over_no_longer_is() {
    let gateway = Site::new("", "").await.start().await;
    assert_eq!(post(gateway.addr, XML, &FIRST.xml()).await.reason(), Reason::EncryptionRequired);
    let before = report(&gateway).await;
    assert_eq!(before["would_break"]["under_present_rules"], 1);
    assert_eq!((&of(&before, FIRST.source)["breaks"], &before["devices"]), (&true.into(), &1.into()));
    gateway.terminal().await.send(&FIRST).await.assert_says(200, &accepted());
    let after = report(&gateway).await;
    assert_eq!((&after["would_break"]["under_present_rules"], &after["devices"]), (&0.into(), &1.into()));
    let line = of(&after, FIRST.source);
    assert_eq!((&line["speaks"], &line["plaintext_messages"]), (&"sealed".into(), &1.into()));
}

#[tokio::test]
async fn what_does_not_open_says_nothing_of_a_device() {
    let gateway = Site::new("", "layers = [\"data\", \"message\"]").await.start().await;
    let mut terminal = gateway.terminal().await;
    let mut sealed = terminal.seal_message(&FIRST).to_vec();
    *sealed.last_mut().unwrap() ^= 1;
    crate::http::post_seal(gateway.addr, &sealed).await.assert_problem(Reason::CannotOpen);
    let mark = "<Meta><EMI xmlns=\"syncml:metinf\">syncseal+:AAAA</EMI></Meta></SyncHdr>";
    let document = String::from_utf8(PLAIN.xml()).unwrap().replace("</SyncHdr>", mark);
    assert_eq!(post(gateway.addr, XML, document.as_bytes()).await.reason(), Reason::Malformed);
    assert_eq!(report(&gateway).await["devices"], 0);
}

#[tokio::test]
async fn the_register_outlives_the_gateway_for_its_owner_alone() {
    let site = Site::new("[rollout]\nstate = \"devices.json\"", &rule("everybody", "", "permit")).await;
    let mut gateway = site.start().await;
    assert_eq!(post(gateway.addr, XML, &FIRST.xml()).await.body, accepted());
    assert_eq!(gateway.terminate().await.code(), Some(0));
    let file = gateway.site.path("devices.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let (status, out) = gateway.site.run(&["report", "--json", "--state", "devices.json"]).await;
    assert_eq!(status, Some(0), "{out}");
    let before: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(before["devices"], 1);

    let again = gateway.site.start().await;
    assert_eq!(post(again.addr, XML, &FIRST.xml()).await.body, accepted());
    let after = report(&again).await;
    let (before, after) = (of(&before, FIRST.source), of(&after, FIRST.source));
    assert_eq!(before["first_seen"], after["first_seen"]);
    assert_eq!((&before["plaintext_messages"], &after["plaintext_messages"]), (&1.into(), &2.into()));
}

#[tokio::test]
async fn a_state_that_cannot_be_kept_is_told_at_the_start() {
    for (state, text, told) in [
        ("devices.json", Some("{ half"), "no register of devices"),
        (
            "devices.json",
            Some("{\"version\":9,\"taken\":\"2026-01-01T00:00:00Z\",\"forgotten\":0,\"devices\":[]}"),
            "version 9",
        ),
        ("nowhere/devices.json", None, "No such file or directory"),
    ] {
        let site = Site::new(&format!("[rollout]\nstate = \"{state}\""), "").await;
        if let Some(text) = text {
            site.write_file(state, text);
        }
        let (status, out) = site.run(&["gateway", "gateway.toml"]).await;
        assert_eq!(status, Some(78), "{out}");
        assert!(out.contains(state) && out.contains(told), "{out}");
        if let Some(text) = text {
            assert_eq!(std::fs::read_to_string(site.path(state)).unwrap(), text);
        }
    }
}

#[tokio::test]
async fn the_register_is_bounded_and_tells_how_many_it_forgot() {
    let gateway = Site::new("[rollout]\ndevices = 2", "").await.start().await;
    for source in ["a", "b", "c"] {
        post(gateway.addr, XML, &Client { source, ..FIRST }.xml()).await;
    }
    let report = report(&gateway).await;
    assert_eq!((&report["devices"], &report["forgotten"]), (&2.into(), &1.into()));
    assert_eq!((&report["list"][0]["device"], &report["list"][1]["device"]), (&"c".into(), &"b".into()));
}

#[tokio::test]
async fn a_name_that_would_play_tricks_on_a_terminal_is_escaped_and_cut() {
    let gateway = Site::new("", "").await.start().await;
    let odd = Client { source: "a&#x9b;2J\u{202e}b", ..FIRST };
    post(gateway.addr, XML, &odd.xml()).await;
    let long = String::from_utf8(FIRST.xml()).unwrap().replace(FIRST.source, &"x".repeat(100_000));
    post(gateway.addr, XML, long.as_bytes()).await;
    let (status, out) = gateway.site.run(&["report", "--admin", &format!("http://{}", gateway.admin)]).await;
    assert_eq!(status, Some(0), "{out}");
    assert!(out.contains("a\\u{9b}2J\\u{202e}b"), "{out}");
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
    assert!(out.lines().all(|line| line.len() < 1000) && out.contains("xxx…"), "{out}");
}

#[tokio::test]
async fn what_is_observed_is_counted_by_rule_and_reason() {
    let rules = rule("lab", "devices = [\"lab-*\"]", "observe") + &rule("everybody", "", "require");
    let gateway = Site::new("", &rules).await.start().await;
    for source in ["lab-1", "lab-2", "other"] {
        post(gateway.addr, XML, &Client { source, session_id: source, ..FIRST }.xml()).await;
    }
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.admin);
    let metrics = String::from_utf8(exchange(gateway.admin, request.as_bytes()).await.body).unwrap();
    for line in [
        "syncseal_would_be_refusals_total{rule=\"lab\",reason=\"encryption-required\"} 2",
        "syncseal_would_be_refusals_total{rule=\"lab\",reason=\"session-bound\"} 0",
        "syncseal_rule_refusals_total{rule=\"everybody\",reason=\"encryption-required\"} 1",
        "syncseal_exchanges_total{outcome=\"observed\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_report_of_nothing_says_why() {
    let site = Site::new("", "").await;
    let (status, out) = site.run(&["report", "--state", "none.json"]).await;
    assert_eq!(status, Some(64), "{out}");
    assert!(out.contains("none.json: there is no such file"), "{out}");
    let down = crate::server::Server::down();
    let (status, out) = site.run(&["report", "--admin", &down.address]).await;
    assert_eq!(status, Some(69), "{out}");
    assert!(out.contains("cannot be reached"), "{out}");
}
