//! HTTP/1.1 around the server: one message in, one answer out, with its length (RFC 9112, never chunked).

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Answer, Server};

/// The largest body read, in bytes. Larger than MaxMsgSize says, for clients are not exact about that.
const MAX_BODY: usize = 16 << 20;

/// How long requests in progress may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(5);

impl Server {
    /// Serves HTTP/1.1 on a listener until `shutdown` is done, then gives the requests in progress some
    /// seconds to finish.
    ///
    /// Fails when the listener does.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let draining = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = &mut shutdown => break,
            };
            while connections.try_join_next().is_some() {}
            let server = Arc::clone(&self);
            let service = service_fn(move |request| Arc::clone(&server).respond(request));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            let connection = draining.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the sample server broke");
                }
            });
        }
        // Connections that still hang then end with the set of their tasks.
        if tokio::time::timeout(DRAIN, draining.shutdown()).await.is_err() {
            tracing::debug!("requests to the sample server were cut off");
        }
        Ok(())
    }

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let answer = self.receive(request).await;
        let mut response = Response::new(Full::from(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        if answer.status == 405 {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        Ok(response)
    }

    async fn receive(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            return Answer::failure(405, "This is a SyncML server: it takes messages with POST.");
        }
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Answer::failure(413, "The message is too large.");
            }
            Err(_) => return Answer::failure(400, "The message broke off."),
        };
        // The files are read and written by blocking calls.
        let handled = tokio::task::spawn_blocking(move || {
            let content_type = head.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            self.handle(content_type, target, &body)
        });
        handled.await.unwrap_or_else(|_| Answer::failure(500, "The server failed."))
    }
}
