//! Sheds load: when all places are taken, an exchange is refused at once and nothing queues up unseen.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::metrics::{Limit, Metrics};
use super::record::Record;
use super::{refuse, service};
use crate::admin::series::Label;
use crate::net::server::Peer;
use crate::net::source::{Share, Shares};
use crate::policy::GatewayPolicy;

/// Gives each exchange a place, from its head to its end.
#[derive(Clone, Debug)]
pub(super) struct ShedLayer {
    places: Arc<Semaphore>,
    shares: Shares,
    metrics: Arc<Metrics>,
}

impl ShedLayer {
    /// With the places that a policy has.
    pub(super) fn new(policy: &GatewayPolicy, metrics: Arc<Metrics>) -> Self {
        let places = Arc::new(Semaphore::new(policy.limits.in_flight.min(Semaphore::MAX_PERMITS)));
        Self { places, shares: Shares::new(policy.in_flight_per_source), metrics }
    }

    /// A place for an exchange of this client.
    fn take(&self, client: Option<IpAddr>) -> Result<Place, Limit> {
        let share = client.map(|client| self.shares.take(client).ok_or(Limit::InFlightPerSource)).transpose()?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Limit::InFlight)?;
        Ok(Place { _held: Arc::new((place, share)) })
    }
}

/// A place for an exchange: an extension of its request. Whoever goes on with the exchange when its client has gone holds
/// it to the end.
#[derive(Clone, Debug)]
pub(super) struct Place {
    _held: Arc<(OwnedSemaphorePermit, Option<Share>)>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, layer: self.clone() }
    }
}

/// A service that answers [`Reason::Overloaded`](crate::seal::Reason::Overloaded) when all places are taken.
#[derive(Clone, Debug)]
pub(super) struct Shed<S> {
    inner: S,
    layer: ShedLayer,
}

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        match self.layer.take(peer.map(|peer| peer.ip())) {
            Ok(place) => {
                request.extensions_mut().insert(place);
                Box::pin(self.inner.call(request))
            }
            Err(limit) => {
                let mut record = Record::new(peer, Arc::clone(&self.layer.metrics));
                record.hit(limit);
                record.cause = Some(format!("too many exchanges in flight: limits.{}", limit.value()));
                record.shed();
                let response = service::finish(record, refuse::overloaded());
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
