//! A server that speaks plaintext SyncML, and remembers what it was sent.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Limits, Listener, Server};
use tokio::sync::{Semaphore, watch};

pub(crate) const XML: &str = "application/vnd.syncml+xml";

/// A client's message number `msg_id` of its SyncML session; the server cannot tell two sessions of one device apart.
pub(crate) fn message(device: &str, session: &str, msg_id: u64) -> String {
    format!(
        "<SyncML><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto><SessionID>{session}</SessionID>\
         <MsgID>{msg_id}</MsgID><Target><LocURI>http://gateway.example/sync</LocURI></Target>\
         <Source><LocURI>{device}</LocURI></Source></SyncHdr><SyncBody></SyncBody></SyncML>"
    )
}

/// The server, on loopback.
pub(crate) struct Legacy {
    pub(crate) addr: SocketAddr,
    /// Bodies in the order in which they came.
    received: watch::Sender<Vec<String>>,
    /// A permit for each answer, while answers are held.
    held: Arc<Mutex<Option<Arc<Semaphore>>>>,
    _trigger: Trigger,
}

/// While it is there, the server answers nobody.
pub(crate) struct Held {
    held: Arc<Mutex<Option<Arc<Semaphore>>>>,
    gate: Arc<Semaphore>,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.held.lock().unwrap() = None;
        self.gate.close();
    }
}

impl Legacy {
    pub(crate) async fn start() -> Self {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let received = watch::Sender::new(Vec::new());
        let held = Arc::<Mutex<Option<Arc<Semaphore>>>>::default();
        let trigger = Trigger::new();
        let service = {
            let (received, held) = (received.clone(), Arc::clone(&held));
            tower::service_fn(move |request: Request<Incoming>| {
                let (received, held) = (received.clone(), Arc::clone(&held));
                async move { Ok::<_, Infallible>(answer(request, &received, &held).await) }
            })
        };
        let drain = trigger.subscribe();
        tokio::spawn(async move { Server::new(Limits::default()).serve(listener, service, drain).await });
        Self { addr, received, held, _trigger: trigger }
    }

    /// What it was sent so far.
    pub(crate) fn received(&self) -> Vec<String> {
        self.received.borrow().clone()
    }

    /// Waits until it was sent so many.
    pub(crate) async fn has_received(&self, n: usize) {
        self.received.subscribe().wait_for(|received| received.len() >= n).await.unwrap();
    }

    /// Holds its answers.
    pub(crate) fn hold(&self) -> Held {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock().unwrap() = Some(Arc::clone(&gate));
        Held { held: Arc::clone(&self.held), gate }
    }
}

/// Accepts the SyncHdr, and says how many messages came before: no two answers are the same.
async fn answer(
    request: Request<Incoming>,
    received: &watch::Sender<Vec<String>>,
    held: &Mutex<Option<Arc<Semaphore>>>,
) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let msg_id = between(&text, "<MsgID>", "</MsgID>").to_owned();
    let mut serial = 0;
    received.send_modify(|received| {
        serial = received.len();
        received.push(text.clone());
    });
    let gate = held.lock().unwrap().clone();
    if let Some(gate) = gate {
        // Closed, it lets everybody go.
        let _ = gate.acquire().await;
    }
    let (device, session) = (between(&text, "<Source><LocURI>", "<"), between(&text, "<SessionID>", "<"));
    let answer = format!(
        "<SyncML><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto><SessionID>{session}</SessionID>\
         <MsgID>{msg_id}</MsgID><Target><LocURI>{device}</LocURI></Target>\
         <Source><LocURI>http://gateway.example/sync</LocURI></Source></SyncHdr><SyncBody><Status><CmdID>1</CmdID>\
         <MsgRef>{msg_id}</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>200</Data><Item><Data>answer {serial} to \
         {device} {session} {msg_id}</Data></Item></Status></SyncBody></SyncML>"
    );
    let mut response = Response::new(Full::new(answer.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    response
}

/// What stands after `begin` and before the next `end`.
pub(crate) fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {rest}")).0
}
