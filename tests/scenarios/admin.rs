//! The window for operators.

use crate::http::exchange;
use crate::site::Site;

#[tokio::test]
async fn a_gateway_that_runs_is_alive_and_ready_and_counts() {
    let gateway = Site::new("", "").await.start().await;
    let _terminal = gateway.terminal().await;
    for (path, expected) in [
        ("/livez", "\"live\": true"),
        ("/readyz", "\"ready\": true"),
        ("/metrics", "syncseal_exchanges_total{outcome=\"handshake\"} 1\n"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.admin);
        let answer = exchange(gateway.admin, request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains(expected), "{path}: {body}");
    }
}
