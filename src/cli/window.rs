//! Asks a running gateway or agent through its window for operators.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use crate::net::upstream::{Settings, Upstream};

/// Where the window is, unless the policy says otherwise.
pub(super) const USUAL: &str = "http://127.0.0.1:9901";

/// How long an answer may take, and how long it may be.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST: usize = 1 << 30;

/// What the window at `address` answers to a request.
///
/// # Errors
/// A sentence that says why there is no answer.
pub(super) fn ask(address: &str, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let upstream = address.trim_end_matches('/').parse().map_err(|error| format!("{address}: {error}"))?;
    let upstream = Upstream::new(&upstream, Settings::default()).map_err(|error| format!("{address}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system does not let this program ask: {error}"))?;
    runtime.block_on(async {
        let answer = upstream.send(request, Instant::now() + PATIENCE, LONGEST).await;
        let answer = answer.map_err(|error| format!("{address}: {error}"))?;
        Ok((answer.status(), answer.into_body()))
    })
}
