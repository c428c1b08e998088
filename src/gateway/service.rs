//! From an HTTP request to an exchange: which route, what kind of body, and the body itself. What is neither a seal nor
//! SyncML ends here; nothing is ever told by guessing.

use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tower::Service;

use super::current::Current;
use super::exchange::Exchange;
use super::forward::Upstream;
use super::ladder::{self, Asked, Foreign, Kind};
use super::metrics::{Limit, Stage, UpstreamSeries};
use super::record::{Decision, Record};
use super::shed::Place;
use super::{Gateway, discovery};
use crate::net::body::{self, BodyError};
use crate::net::fields;
use crate::net::server::Peer;
use crate::net::tls::ClientNames;
use crate::policy::{Declined, GatewayPolicy, Objection, PlaintextPermit, Route};
use crate::seal::{Accepts, Extras, Reason, SessionKeys};
use crate::session::SessionStore;
use crate::syncml::Form;

/// A route of the policy with what serves it.
pub(super) struct Lane {
    pub(super) route: Route,
    /// The route's path: what sealed sessions know it by.
    pub(super) name: Arc<str>,
    pub(super) accepts: Accepts,
    pub(super) extras: Extras,
    pub(super) upstream: Upstream,
    /// What the server does.
    series: UpstreamSeries,
}

impl Lane {
    pub(super) fn new(route: &Route, policy: &GatewayPolicy, upstream: Upstream, series: UpstreamSeries) -> Self {
        Self {
            name: route.path.as_str().into(),
            accepts: Accepts {
                layers: route.layers.clone(),
                algorithms: policy.algorithms.clone(),
                key_transports: policy.key_transports.clone(),
                groups: policy.groups.clone(),
                require_exchange: policy.require_exchange,
            },
            extras: Extras {
                media_types: route.extra_types.iter().map(|(name, _)| name.clone()).collect(),
                request_fields: route.extra_headers.clone(),
                response_fields: route.extra_headers.clone(),
            },
            upstream,
            series,
            route: route.clone(),
        }
    }

    /// The form of SyncML documents of this content type; `None` if it is not SyncML here.
    pub(super) fn form(&self, content_type: &[u8]) -> Option<Form> {
        ladder::form(&self.route, content_type)
    }
}

/// A request whose body is read.
pub(super) enum Incoming {
    /// It may be of the protocol.
    Known(Kind),
    /// It is not, and is observed.
    Foreign(PlaintextPermit, Objection),
}

impl<S: SessionStore<Keys = SessionKeys>, B> Service<Request<B>> for Gateway<S>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let exchange = Exchange::begin(&self.shared);
        Box::pin(async move { Ok(exchange.serve(request).await) })
    }
}

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Answers a request, and writes its line.
    async fn serve<B>(self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let mut record = Record::new(peer, Arc::clone(&self.shared.metrics));
        let response = if request.uri().path() == discovery::PATH {
            record.decision = Decision::Discovery;
            self.discover(request.method())
        } else {
            match self.current.lane(request.uri().path()).cloned() {
                Some(lane) => {
                    record.route = Some(lane.route.path.clone());
                    record.server = Some(lane.series.clone());
                    return self.serve_lane(lane, request, record).await;
                }
                None => fields::sentence(
                    StatusCode::NOT_FOUND,
                    "There is no route here. SyncML is served at the paths that the gateway's policy names.\n",
                ),
            }
        };
        finish(record, response)
    }

    fn discover(&self, method: &Method) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD", "Here only GET, HEAD is answered.");
        }
        let rsa_keys = self.current.keyring.rsa_keys(self.now());
        let supported = discovery::document(self.current.lanes.iter().map(|lane| &lane.accepts), rsa_keys);
        let mut response = Response::new(Full::new(supported));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// Answers what is looked at no further.
    pub(super) fn decline(&self, lane: &Lane, objection: Objection, record: &mut Record) -> Response<Full<Bytes>> {
        match objection {
            Objection::Refused(reason) => self.refuse(lane, reason, record),
            Objection::Declined(declined) => {
                record.declined(declined);
                match declined {
                    Declined::Method => not_allowed("POST", declined.sentence()),
                    Declined::MediaType => {
                        fields::sentence(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{}\n", declined.sentence()))
                    }
                }
            }
        }
    }

    async fn serve_lane<B>(self, lane: Arc<Lane>, request: Request<B>, mut record: Record) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !lane.route.admits(request.extensions().get::<ClientNames>()) {
            record.cause = Some("no name of a client certificate that the route is for".into());
            return finish(record, forbidden());
        }
        let asked = Asked {
            target: request.uri().path_and_query().map_or("/", PathAndQuery::as_str),
            address: address(request.extensions()),
            now: self.now(),
            as_device: None,
        };
        let Current { rules, message_limit, .. } = &*self.current;
        let kind = ladder::kind(&asked, request.method(), request.headers(), &lane.route, rules);
        let (incoming, limit) = match kind {
            Ok(kind) => (Incoming::Known(kind), ladder::body_limit(*message_limit)),
            Err(Foreign { decision, objection, leave }) => {
                record.decided(decision);
                match leave {
                    Some((permit, _)) => (Incoming::Foreign(permit, objection), *message_limit),
                    None => {
                        let response = self.decline(&lane, objection, &mut record);
                        return finish(record, response);
                    }
                }
            }
        };
        let started = Instant::now();
        let (parts, body) = body::receive(request, limit, self.current.body_timeout).await;
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                record.cause = Some(error.to_string());
                let response = match error {
                    BodyError::TooLarge { .. } => {
                        record.hit(Limit::Message);
                        self.refuse(&lane, Reason::TooLarge, &mut record)
                    }
                    BodyError::Timeout => {
                        record.hit(Limit::BodyTimeout);
                        fields::sentence(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.\n")
                    }
                    BodyError::Incomplete(_) => fields::sentence(StatusCode::BAD_REQUEST, "The body broke off.\n"),
                };
                return finish(record, response);
            }
        };
        record.took(Stage::Receive, started.elapsed());
        record.received = body.len();
        // What has begun is brought to its end, whether the client is there to hear of it or not: a number that was
        // accepted is answered, and the answer kept.
        let place = parts.extensions.get::<Place>().cloned();
        let exchange = tokio::spawn(async move {
            let address = address(&parts.extensions);
            let _place = place;
            let response = self.answer(&lane, incoming, parts, body, &mut record).await;
            self.register(&lane, address, &record);
            finish(record, response)
        });
        exchange.await.unwrap_or_else(|_| {
            tracing::error!("an exchange broke off; this is a fault of the gateway");
            fields::sentence(StatusCode::INTERNAL_SERVER_ERROR, "The gateway failed.\n")
        })
    }
}

/// Where a request came from. Without an address, as in tests over no socket, everybody is the same stranger.
pub(super) fn address(extensions: &http::Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

fn forbidden() -> Response<Full<Bytes>> {
    fields::sentence(
        StatusCode::FORBIDDEN,
        "This route is for clients with certificates that its policy names; this connection showed none of them.\n",
    )
}

/// Says what only is answered here.
fn not_allowed(methods: &'static str, sentence: &str) -> Response<Full<Bytes>> {
    let mut response = fields::sentence(StatusCode::METHOD_NOT_ALLOWED, format!("{sentence}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Writes the line of a response.
pub(super) fn finish(record: Record, response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let sent = response.body().size_hint().exact().unwrap_or_default();
    record.write(response.status().as_u16(), usize::try_from(sent).unwrap_or(usize::MAX));
    response
}
