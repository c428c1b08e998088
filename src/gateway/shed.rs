//! Sheds load: when all places are taken, an exchange is refused at once and nothing queues up unseen.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tower::{Layer, Service};

use super::metrics::{Limit, Metrics};
use super::record::Record;
use super::{refuse, service};
use crate::net::server::Peer;

/// Gives each exchange a place, from its head to its answer.
#[derive(Clone, Debug)]
pub(super) struct ShedLayer {
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl ShedLayer {
    /// With so many places.
    pub(super) fn new(in_flight: usize, metrics: Arc<Metrics>) -> Self {
        Self { places: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))), metrics }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, places: Arc::clone(&self.places), metrics: Arc::clone(&self.metrics) }
    }
}

/// A service that answers [`Reason::Overloaded`] when all places are taken.
#[derive(Clone, Debug)]
pub(super) struct Shed<S> {
    inner: S,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.hit(Limit::InFlight);
            let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
            let mut record = Record::new(peer, Arc::clone(&self.metrics));
            record.shed();
            let response = service::finish(record, refuse::overloaded());
            return Box::pin(std::future::ready(Ok(response)));
        };
        let exchange = self.inner.call(request);
        Box::pin(async move {
            let response = exchange.await;
            drop(place);
            response
        })
    }
}
