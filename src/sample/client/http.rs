//! One POST of a message (the HTTP binding of SyncML): HTTP/1.1, with its length, no redirects followed.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::SyncError;

/// The largest answer read, in bytes.
const MAX_BODY: usize = 16 << 20;

/// What the server answered.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Content-Type, empty if there is none.
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The message in it, which is of the media type of the request.
    pub(super) fn message(self, content_type: &str) -> Result<Vec<u8>, SyncError> {
        let essence = self.content_type.split(';').next().unwrap_or_default().trim();
        if self.status == 200 && essence.eq_ignore_ascii_case(content_type) {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(self.body.get(..300).unwrap_or(&self.body)).trim().to_owned();
        Err(SyncError::Http { status: self.status, content_type: self.content_type, text })
    }
}

/// A connection to the server, kept between messages.
pub(super) struct Transport {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl Transport {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), timeout }
    }

    /// Posts a message; gives whatever is answered.
    pub(super) async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        message: Vec<u8>,
    ) -> Result<Response, SyncError> {
        let address = || SyncError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| address())?;
        if uri.scheme_str() != Some("http") {
            return Err(address());
        }
        let request = Request::post(uri)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, content_type)
            .header(CACHE_CONTROL, "no-store")
            .header(USER_AGENT, concat!("syncseal-sample/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(message))
            .map_err(|_| address())?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| SyncError::Connection(error.into()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(SyncError::Connection)?.to_bytes();
            let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
            let content_type = String::from_utf8_lossy(content_type).into_owned();
            Ok(Response { status: head.status.as_u16(), content_type, body: body.into() })
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| SyncError::Timeout)?
    }
}
