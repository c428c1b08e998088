//! What `explain` and `check` say of captured requests, and that the gateway does the same.

use serde_json::Value;
use syncseal::seal;

use crate::http::{Answer, exchange, request_bytes};
use crate::site::{Site, rule};
use crate::syncml::{Client, FIRST, XML, accepted};

/// A request of HTTP/1.1 to `/sync`.
fn captured(fields: &str, body: &[u8]) -> Vec<u8> {
    request_bytes("POST /sync HTTP/1.1", &format!("{fields}Content-Length: {}\r\n", body.len()), body)
}

fn syncml(client: &Client) -> Vec<u8> {
    captured(&format!("Content-Type: {XML}\r\n"), &client.xml())
}

/// What `explain --json` says of a request.
async fn explained(site: &Site, request: &[u8], options: &[&str]) -> Value {
    std::fs::write(site.path("request"), request).unwrap();
    let (status, out) =
        site.run(&[&["explain", "request", "--policy", "gateway.toml", "--json"], options].concat()).await;
    assert_eq!(status, Some(0), "{out}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn every_rule_before_the_one_that_decides_says_why_it_does_not() {
    let rules = rule("lab", "addresses = [\"10.1.0.0/16\"]", "observe")
        + &rule("old-phones", "devices = [\"IMEI:35*\"]\nuntil = 2999-01-31", "permit")
        + &rule("past", "until = 2026-01-31", "permit")
        + &rule("everybody", "", "require");
    let site = Site::new("", &rules).await;
    std::fs::write(site.path("request"), syncml(&FIRST)).unwrap();
    let (status, out) = site.run(&["explain", "request", "--policy", "gateway.toml", "--from", "192.0.2.1"]).await;
    assert_eq!(status, Some(0), "{out}");
    for line in [
        "device   IMEI:490154203237518",
        "rule     lab: observe, from 10.1.0.0/16: does not decide, for it is about other addresses",
        "rule     past: permit, until 2026-02-01T00:00:00Z: does not decide, for it has ended",
        "rule     everybody: require: DECIDES",
        "answer   refused: encryption-required",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
    assert!(out.contains("does not decide, for it is about other devices"), "{out}");
    assert!(out.contains("HTTP 200, and in SyncML Status 403: encryption-required: "), "{out}");

    let lab = explained(&site, &syncml(&FIRST), &["--from", "10.1.2.3"]).await;
    assert_eq!((&lab["rules"][0]["name"], &lab["rules"][0]["miss"]), (&"lab".into(), &Value::Null));
    assert_eq!((&lab["rules"][1], &lab["answer"]["outcome"]), (&Value::Null, &"observed: encryption-required".into()));
    let phone = explained(&site, &syncml(&FIRST), &["--device", "IMEI:351"]).await;
    assert_eq!(
        (&phone["answer"]["outcome"], &phone["upstream"]),
        (&"forwarded".into(), &site.server.address.clone().into())
    );
}

#[tokio::test]
async fn an_exception_is_explained_as_of_any_day() {
    let rules = rule("old-phones", "until = 2030-06-30", "permit") + &rule("everybody", "", "require");
    let site = Site::new("", &rules).await;
    for (at, outcome) in
        [("2030-06-30T23:59:59Z", "forwarded"), ("2030-07-01T00:00:00Z", "refused: encryption-required")]
    {
        assert_eq!(explained(&site, &syncml(&FIRST), &["--at", at]).await["answer"]["outcome"], outcome, "{at}");
    }
}

#[tokio::test]
async fn a_body_alone_is_taken_for_what_its_content_says() {
    let site = Site::new("", "").await;
    let xml = explained(&site, &FIRST.xml(), &[]).await;
    assert_eq!((&xml["content_type"], &xml["target"]), (&XML.into(), &"/sync".into()));
    let other = explained(&site, &FIRST.xml(), &["--content-type", "text/xml", "--path", "/elsewhere"]).await;
    assert_eq!((&other["answer"]["outcome"], &other["answer"]["http_status"]), (&"no route".into(), &404.into()));
    let wbxml =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/syncevolution-wbxml/01.req")).unwrap();
    let wbxml = explained(&site, &wbxml, &[]).await;
    assert_eq!(wbxml["device"], "sc-peer-1");
    std::fs::write(site.path("odd"), b"\xffodd").unwrap();
    let (status, out) = site.run(&["explain", "odd", "--policy", "gateway.toml"]).await;
    assert_eq!(status, Some(64), "{out}");
    assert!(out.contains("say which content type"), "{out}");
}

/// What the gateway did, in the words of `explain`, as far as its answer shows it.
fn shown(answer: &Answer, was_forwarded: bool) -> (bool, Option<u64>, Option<String>) {
    let refusal = crate::syncml::refusal(answer.content_type(), &answer.body);
    let status = (!was_forwarded).then(|| answer.status.into());
    (was_forwarded, status, refusal.map(|refusal| refusal.reason.to_string()))
}

#[tokio::test]
async fn the_gateway_does_what_is_explained() {
    let odd = Client { source: "odd&#233;", ..FIRST };
    let mark = "<Meta><EMI xmlns=\"syncml:metinf\">syncseal+:AAAA</EMI></Meta></SyncHdr>";
    let twice = String::from_utf8(FIRST.xml()).unwrap().replace(
        "</SyncHdr>",
        &mark.replace("<Meta>", "<Meta><EMI xmlns=\"syncml:metinf\">syncseal:AA==</EMI></Meta><Meta>"),
    );
    let typed = |content_type: &str, body: &[u8]| captured(&format!("Content-Type: {content_type}\r\n"), body);
    let requests = [
        syncml(&FIRST),
        syncml(&Client { source: "phone-1", ..FIRST }),
        syncml(&odd),
        typed(XML, b"<SyncML><SyncHdr>"),
        typed(XML, twice.as_bytes()),
        typed(XML, &FIRST.xml()[..40]),
        typed(XML, &FIRST.xml_of(4097)),
        typed(XML, &FIRST.xml_of(9000)),
        typed("text/plain", b"a"),
        typed("text/plain", &[b'a'; 4097]),
        typed("application/cose", b"a"),
        captured("", b"a"),
        captured(&format!("Content-Type: {XML}\r\nContent-Encoding: gzip\r\n"), &FIRST.xml()),
        request_bytes("GET /sync HTTP/1.1", "", b""),
        request_bytes("GET /sync/../a HTTP/1.1", "", b""),
        request_bytes("PUT /sync/b HTTP/1.1", "Content-Length: 1\r\n", b"a"),
    ];
    for plaintext in ["observe", "permit", "require"] {
        let rules = rule("phones", "devices = [\"phone-*\"]", "permit") + &rule("everybody", "", plaintext);
        let gateway = Site::new("[limits]\nmessage = \"4 KiB\"", &rules).await.start().await;
        for request in &requests {
            let said = explained(&gateway.site, request, &["--from", "127.0.0.1"]).await;
            let before = gateway.site.server.seen().len();
            let answer = exchange(gateway.addr, request).await;
            let was_forwarded = gateway.site.server.seen().len() > before;
            let outcome = said["answer"]["outcome"].as_str().unwrap();
            let reason = said["answer"]["reason"]
                .as_str()
                .filter(|reason| !reason.contains("-not-") && !reason.starts_with("unsupp"));
            let explained = (
                outcome == "forwarded" || outcome.starts_with("observed: "),
                said["answer"]["http_status"].as_u64(),
                reason.map(str::to_owned),
            );
            let line = String::from_utf8_lossy(request).lines().next().unwrap().to_owned();
            assert_eq!(explained, shown(&answer, was_forwarded), "{plaintext}, {line}: {said}");
            if was_forwarded {
                assert_eq!(answer.body, accepted());
            }
        }
    }
}

#[tokio::test]
async fn what_is_sealed_is_explained_without_being_opened() {
    let site = Site::new("", &rule("everybody", "", "observe")).await;
    let sealed = captured(&format!("Content-Type: {}\r\n", seal::CONTENT_TYPE), b"anything");
    let said = explained(&site, &sealed, &[]).await;
    assert_eq!((&said["answer"]["outcome"], &said["rules"]), (&"opened".into(), &Value::Array(Vec::new())));
}

#[tokio::test]
async fn half_a_capture_is_not_explained() {
    let site = Site::new("", "").await;
    let whole = syncml(&FIRST);
    std::fs::write(site.path("half"), &whole[..whole.len() - 1]).unwrap();
    let (status, out) = site.run(&["explain", "half", "--policy", "gateway.toml"]).await;
    assert_eq!(status, Some(64), "{out}");
    assert!(out.contains("half: it begins as HTTP, but cannot be read as a request: its body is cut"), "{out}");
}

/// A case with this capture.
fn case(lines: &str, expect: &str) -> String {
    format!("[[case]]\nfile = \"request\"\n{lines}\nexpect = \"{expect}\"\n")
}

#[tokio::test]
async fn check_asks_the_policy_about_its_cases() {
    let rules = rule("lab", "addresses = [\"10.1.0.0/16\"]", "observe")
        + &rule("phones", "devices = [\"phone-*\"]", "permit")
        + &rule("everybody", "", "require");
    let cases = case("", "refused: encryption-required")
        + &case("from = \"10.1.2.3\"", "forwarded")
        + &case("from = \"10.1.2.3\"", "observed: encryption-required")
        + &case("device = \"phone-7\"", "forwarded")
        + &case("content_type = \"text/xml\"", "refused: unsupported-media-type")
        + &case("path = \"/else\"", "no route");
    let site = Site::new("", &(rules + &cases)).await;
    site.write_file("request", &String::from_utf8(syncml(&FIRST)).unwrap());
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(0), "{out}");
    assert!(out.contains("request: refused: encryption-required, by rule everybody"), "{out}");
    assert!(out.contains("request: forwarded, by rule phones"), "{out}");
}

#[tokio::test]
async fn a_case_that_differs_fails_the_check_and_says_how() {
    let cases = case("", "forwarded") + &case("", "refused: encryption-required") + &case("", "opened");
    let missing = "[[case]]\nfile = \"missing\"\nexpect = \"forwarded\"\n";
    let site = Site::new("", &(cases + missing)).await;
    site.write_file("request", &String::from_utf8(syncml(&FIRST)).unwrap());
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(78), "{out}");
    assert!(
        out.contains("case[0], ")
            && out.contains("expected forwarded; found refused: encryption-required, by rule everybody"),
        "{out}"
    );
    assert!(!out.contains("case[1]"), "{out}");
    assert!(out.contains("expected opened; found refused: encryption-required"), "{out}");
    assert!(out.contains("missing: No such file or directory"), "{out}");
}
