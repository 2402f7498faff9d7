//! Accepting connections: each has a place, is timed, and gives way if others want its place and it does nothing.

mod body;
mod places;
mod timed;

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use axum::serve::Listener;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::paths::OPEN;
use crate::metrics::labels::HttpRefusal;
use crate::upkeep::descriptors;
use body::{Answer, Upload};
use timed::Timed;

pub use places::Places;
pub(super) use places::{Origin, Place};

/// Room for a head, and for a piece of an answer, in bytes. hyper's own 400 KiB, for each connection, are more than
/// the service's memory.
const BUFFER: usize = 16 * 1024;

/// The time between two looks for connections whose time is over.
const LOOK: Duration = Duration::from_secs(1);

/// Connections that are accepted in a row. Each may have taken the place of one that is still to be closed.
const BURST: u32 = 16;

/// Serves until `stop`, and then waits for the requests that are under way.
///
/// # Cancel safety
/// Dropping it closes every connection.
pub(super) async fn serve<L>(
    mut listener: L,
    origin: impl Fn(&L::Addr) -> Origin,
    router: Router,
    places: Places,
    stop: CancellationToken,
) where
    L: Listener,
    L::Io: AsRawFd,
{
    let mut connections = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut burst = 0;
    loop {
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            (stream, peer) = listener.accept() => {
                burst += 1;
                if let Some(place) = admit(&places, &stream, origin(&peer)) {
                    connections.spawn(connection(stream, router.clone(), place, stop.clone()));
                }
            }
            Some(ended) = connections.join_next() => note(ended),
            _ = look.tick(), if places.is_any_taken() => places.look(),
            () = stop.cancelled() => break,
        }
        if burst == BURST {
            // Who gave way closes, and who came is read from, before more are accepted.
            tokio::task::yield_now().await;
            burst = 0;
            while let Some(ended) = connections.try_join_next() {
                note(ended);
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("the task of an HTTP connection was lost: {error}");
    }
}

/// The place of a new connection; none if it is to be closed.
fn admit(places: &Places, stream: &impl AsRawFd, origin: Origin) -> Option<Place> {
    match descriptors::may_keep(stream) {
        true => places.take(origin),
        false => {
            places.refuse(origin);
            None
        }
    }
}

/// Serves one connection until either side ends it, its time is over, or it gives way.
async fn connection<S>(stream: S, router: Router, place: Place, stop: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let place = Arc::new(place);
    let io = TokioIo::new(Timed::new(stream, Arc::clone(&place)));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| answer(router.clone(), Arc::clone(&place), request));
    let mut http = http1::Builder::new();
    // A kept place is for one request.
    http.max_buf_size(BUFFER).keep_alive(!place.is_kept());
    let mut connection = pin!(http.serve_connection(io, service));
    let mut ends = false;
    loop {
        // A connection that is cut off has nothing to lose, and no arm awaits in its body.
        tokio::select! {
            // An error is the client's: it left in the middle, or speaks no HTTP.
            _ = connection.as_mut() => break,
            () = place.cut_off() => break,
            () = stop.cancelled(), if !ends => {
                ends = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers a request, if its place and the memory for its answer allow that.
async fn answer(
    router: TowerToHyperService<Router>,
    place: Arc<Place>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    place.begin();
    let response = if place.is_kept() && !OPEN.contains(&request.uri().path()) {
        place.refuse();
        HttpRefusal::Connections.into_response()
    } else {
        let mut request = request.map(|body| Body::new(Upload::new(body, Arc::clone(&place))));
        request.extensions_mut().insert(Arc::clone(&place));
        router.call(request).await.unwrap_or_else(|never| match never {})
    };
    let response = match place.hold(response.body().size_hint().exact()) {
        true => response,
        false => HttpRefusal::Connections.into_response(),
    };
    Ok(response.map(|body| Answer::new(body, place)))
}
