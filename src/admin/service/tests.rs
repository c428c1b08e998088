//! What the window answers, and to whom, before any gateway is behind it.

use http::HeaderMap;
use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::{NotReady, ReloadAnswer, reloads};
use super::*;

/// A subject that is ready or not, and lists the page that it is asked for.
#[derive(Clone)]
struct Shown {
    causes: Vec<NotReady>,
}

impl Subject for Shown {
    async fn not_ready(&self) -> Vec<NotReady> {
        self.causes.clone()
    }

    async fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn policy(&self) -> Value {
        json!({ "routes": [] })
    }

    async fn sessions(&self, page: Page) -> Option<Value> {
        Some(json!({ "after": page.after.map(|after| after.to_string()), "limit": page.limit }))
    }
}

fn ready() -> Service<Shown> {
    Service::new(Shown { causes: Vec::new() }, Access { hosts: vec!["ops.example".into()], reloads: None })
}

fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target).header(HOST, "127.0.0.1:9901")
}

async fn answer(service: Service<Shown>, request: http::request::Builder) -> (u16, HeaderMap, String) {
    let (parts, body) = service.oneshot(request.body(()).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn status(service: Service<Shown>, request: http::request::Builder) -> u16 {
    answer(service, request).await.0
}

#[tokio::test]
async fn everything_is_answered_in_its_form_and_never_kept() {
    for (path, content_type) in [
        ("/livez", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/policy", "application/json"),
        ("/sessions", "application/json"),
    ] {
        let (status, headers, _) = answer(ready(), request("GET", path)).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(headers[CONTENT_TYPE], content_type, "{path}");
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(self::status(ready(), request(method, path)).await, 405, "{method} {path}");
        }
    }
    // Neither what does not exist, nor what this subject does not have.
    for path in ["/", "/metrics/", "/devices", "/livez/x"] {
        assert_eq!(status(ready(), request("GET", path)).await, 404, "{path}");
    }
}

#[tokio::test]
async fn who_is_not_ready_says_why() {
    let cause = NotReady { cause: "draining", detail: "it was told to end".into() };
    let service = Service::new(Shown { causes: vec![cause] }, Access::default());
    let (status, _, body) = answer(service, request("GET", "/readyz")).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({ "ready": false, "causes": [{ "cause": "draining", "detail": "it was told to end" }] });
    assert_eq!((status, body), (503, expected));
}

#[tokio::test]
async fn names_that_may_be_made_to_lead_here_are_refused() {
    for (host, expected) in [
        ("127.0.0.1", 200),
        ("127.0.0.1:9901", 200),
        ("[::1]:9901", 200),
        ("10.1.2.3:9901", 200),
        ("localhost", 200),
        ("LOCALHOST:9901", 200),
        ("Ops.Example:9901", 200),
        ("evil.example", 421),
        ("evil.example:9901", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("x.ops.example", 421),
        ("localhost@evil.example", 421),
        ("user@127.0.0.1", 421),
        ("", 421),
        ("a b", 421),
    ] {
        let request = Request::builder().uri("/livez").header(HOST, host);
        assert_eq!(status(ready(), request).await, expected, "{host:?}");
    }
    let two = Request::builder().uri("/livez").header(HOST, "127.0.0.1").header(HOST, "evil.example");
    assert_eq!(status(ready(), two).await, 421);
    // The target of a request counts before its Host field.
    let absolute = Request::builder().uri("http://evil.example/livez").header(HOST, "127.0.0.1");
    assert_eq!(status(ready(), absolute).await, 421);
    assert_eq!(status(ready(), Request::builder().uri("/livez")).await, 200);
}

#[tokio::test]
async fn a_page_is_asked_for_within_bounds() {
    for (query, expected) in [
        ("", Some((None, 100))),
        ("?limit=1000", Some((None, 1000))),
        ("?limit=7&after=000000000000000000000000000000ff", Some((Some(255), 7))),
        ("?after=00ff", None),
        ("?after=000000000000000000000000000000fg", None),
        ("?limit=0", None),
        ("?limit=1001", None),
        ("?limit=all", None),
        ("?first=1", None),
        ("?limit", None),
    ] {
        let (status, _, body) = answer(ready(), request("GET", &format!("/sessions{query}"))).await;
        match expected {
            Some((after, limit)) => {
                let body: Value = serde_json::from_str(&body).unwrap();
                let after = after.map(|after: u128| after.to_string());
                assert_eq!(body, json!({ "after": after, "limit": limit }), "{query}");
            }
            None => assert_eq!(status, 400, "{query}"),
        }
    }
}

#[tokio::test]
async fn a_reload_takes_a_post_with_the_field_that_no_form_can_send() {
    let (sender, mut wishes) = reloads();
    let granting = tokio::spawn(async move {
        let mut forced = Vec::new();
        while let Some(wish) = wishes.next().await {
            forced.push(wish.force);
            wish.answer(ReloadAnswer { status: StatusCode::CONFLICT, body: json!({ "guarded": 3 }) });
        }
        forced
    });
    let access = Access { hosts: Vec::new(), reloads: Some(sender) };
    let service = Service::new(Shown { causes: Vec::new() }, access);
    for (request, expected) in [
        (request("GET", "/reload").header(GUARD_FIELD, "1"), 405),
        (request("POST", "/reload"), 403),
        (request("POST", "/reload").header(GUARD_FIELD, "yes"), 403),
        (request("POST", "/reload?force=1").header(GUARD_FIELD, "1"), 400),
        (request("POST", "/reload").header(GUARD_FIELD, "1").header(HOST, "evil.example"), 421),
        (request("POST", "/reload").header(GUARD_FIELD, "1"), 409),
        (request("POST", "/reload?force=true").header(GUARD_FIELD, "1"), 409),
    ] {
        assert_eq!(status(service.clone(), request).await, expected);
    }
    drop(service);
    assert_eq!(granting.await.unwrap(), [false, true]);
    // Where nobody grants any, there is none; and when whoever did is gone, that is said.
    assert_eq!(status(ready(), request("POST", "/reload").header(GUARD_FIELD, "1")).await, 404);
    let (sender, wishes) = reloads();
    drop(wishes);
    let gone = Service::new(Shown { causes: Vec::new() }, Access { hosts: Vec::new(), reloads: Some(sender) });
    assert_eq!(status(gone, request("POST", "/reload").header(GUARD_FIELD, "1")).await, 503);
}
