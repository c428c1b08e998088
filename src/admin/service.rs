//! HTTP: who may ask, what they ask for, and how the answer is written.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Access, GUARD_FIELD, Page, Subject};
use crate::net::fields;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Items on a page, if no number is asked for, and at the most.
const PAGE: (usize, usize) = (100, 1000);

/// Answers the requests of operators.
pub(super) struct Service<S> {
    subject: S,
    access: Arc<Access>,
}

impl<S: Clone> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self { subject: self.subject.clone(), access: Arc::clone(&self.access) }
    }
}

impl<S> Service<S> {
    pub(super) fn new(subject: S, access: Access) -> Self {
        Self { subject, access: Arc::new(access) }
    }
}

impl<S: Subject, B: Send + 'static> tower::Service<Request<B>> for Service<S> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        // No body is of interest, and what is not read ends with the connection.
        let request = request.map(drop);
        Box::pin(async move {
            let mut response = service.answer(&request).await;
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(response)
        })
    }
}

impl<S: Subject> Service<S> {
    async fn answer(&self, request: &Request<()>) -> Response<Full<Bytes>> {
        if !is_for_us(request, &self.access.hosts) {
            return fields::sentence(
                StatusCode::MISDIRECTED_REQUEST,
                "The Host field names neither an address, nor localhost, nor one of the policy's admin.hosts.\n",
            );
        }
        let path = request.uri().path();
        if path == "/reload" {
            return self.reload(request).await;
        }
        let is_known = matches!(path, "/livez" | "/readyz" | "/metrics" | "/sessions" | "/policy" | "/devices");
        if is_known && !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        let shown = match path {
            "/livez" => Some(json_response(StatusCode::OK, &json!({ "live": true }))),
            "/readyz" => Some(self.readiness().await),
            "/metrics" => Some(with_type(OPEN_METRICS, self.subject.metrics().await)),
            "/policy" => Some(json_response(StatusCode::OK, &self.subject.policy())),
            "/devices" => self.subject.devices().map(|devices| json_response(StatusCode::OK, &devices)),
            "/sessions" => match page(request.uri().query().unwrap_or_default()) {
                Some(page) => {
                    self.subject.sessions(page).await.map(|sessions| json_response(StatusCode::OK, &sessions))
                }
                None => Some(fields::sentence(
                    StatusCode::BAD_REQUEST,
                    "A page is asked for with limit=N, from 1 to 1000, and after=ID, of 32 hexadecimal digits.\n",
                )),
            },
            _ => None,
        };
        shown.unwrap_or_else(|| fields::sentence(StatusCode::NOT_FOUND, "There is nothing here.\n"))
    }

    async fn readiness(&self) -> Response<Full<Bytes>> {
        let causes = self.subject.not_ready().await;
        let status = if causes.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_response(status, &json!({ "ready": causes.is_empty(), "causes": causes }))
    }

    async fn reload(&self, request: &Request<()>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        let guard = request.headers().get(HeaderName::from_static(GUARD_FIELD));
        if guard.is_none_or(|value| value != "1") {
            return fields::sentence(
                StatusCode::FORBIDDEN,
                format!("This takes the header field `{GUARD_FIELD}: 1`, lest a page in a browser does it.\n"),
            );
        }
        let force = match request.uri().query() {
            None | Some("force=false") => false,
            Some("force=true") => true,
            Some(_) => return fields::sentence(StatusCode::BAD_REQUEST, "The only parameter is force=true.\n"),
        };
        let Some(reloads) = &self.access.reloads else {
            return fields::sentence(StatusCode::NOT_FOUND, "Nothing is reloaded here.\n");
        };
        match reloads.send(force).await {
            Some(answer) => json_response(answer.status, &answer.body),
            None => fields::sentence(StatusCode::SERVICE_UNAVAILABLE, "Too many wait for a reload already.\n"),
        }
    }
}

/// Whether the host that a request is for can only mean this listener: a name of someone else's that was made to lead here
/// cannot. A client without any is no browser.
fn is_for_us(request: &Request<()>, hosts: &[String]) -> bool {
    let mut named = request.headers().get_all(HOST).iter();
    let authority = match (request.uri().authority(), named.next(), named.next()) {
        (_, _, Some(_)) => return false,
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => authority,
            Err(_) => return false,
        },
        (None, None, None) => return true,
    };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_named = |name: &str| host.eq_ignore_ascii_case(name);
    !authority.as_str().contains('@')
        && (address.parse::<IpAddr>().is_ok() || is_named("localhost") || hosts.iter().any(|name| is_named(name)))
}

/// The page that a query asks for.
fn page(query: &str) -> Option<Page> {
    let (usual, most) = PAGE;
    let mut page = Page { after: None, limit: usual };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=')? {
            ("limit", limit) => page.limit = limit.parse().ok().filter(|limit| (1..=most).contains(limit))?,
            ("after", after) if after.len() == 32 => page.after = Some(u128::from_str_radix(after, 16).ok()?),
            _ => return None,
        }
    }
    Some(page)
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = fields::sentence(StatusCode::METHOD_NOT_ALLOWED, format!("Here only {methods} is answered.\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn json_response(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = with_type(JSON, format!("{value:#}\n"));
    *response.status_mut() = status;
    response
}

fn with_type(content_type: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
