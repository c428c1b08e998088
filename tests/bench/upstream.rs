//! The server behind both proxies of a comparison: answers every message with one of the same size.
//!
//!     bench-upstream
//!
//! Listens on a free loopback port, which it prints.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

mod document;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);

    let answers = Arc::new(Mutex::new(HashMap::new()));
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| answer(Arc::clone(&answers), request));
        // A proxy that drops a connection is its own business.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

async fn answer(
    answers: Arc<Mutex<HashMap<usize, Bytes>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let size = request.into_body().collect().await?.to_bytes().len();
    let made = || document::document("1", 1, "terminal", "/", size).into();
    let body = match answers.lock() {
        Ok(mut answers) => answers.entry(size).or_insert_with(made).clone(),
        Err(_) => made(),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(document::MEDIA_TYPE));
    Ok(response)
}
