//! The HTTP API: requests one after the other, in front of a real queue.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent::chronicle::Chronicle;
use agent::http::{
    self, App, Console, Door, Gate, Listings, Receipts, Reloading, Status, Streams, Tokens,
};
use agent::logging::{self, Format, Log};
use agent::messages::forward::Given;
use agent::modems::devices::Devices;
use agent::reload::{Contents, Planner, Reloads};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use discovery::Sightings;
use fleet::models::{Folder, Library};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::gateway::Gateway;
use crate::place::wait_for;

/// The mark between two requests. No line of a request contains it.
const MARK: &[u8] = b"\n\xff\xfe\n";

/// Requests of one input.
const REQUESTS: usize = 8;

/// The longest time for an answer; no request waits for a modem.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that is read: more than the queue holds, in base64.
const ANSWER: usize = 4 << 20;

/// A path that examines this machine's disks and devices, which is not about requests.
const LEFT_OUT: &str = "/api/v1/doctor";

/// Sends requests, each written as for HTTP/1.1: a line with method and target, headers, an empty
/// line, the body. With an odd first byte the gateway is new and has an inbox.
pub fn run(input: &[u8]) {
    thread_local! {
        static COMMON: Gateway = Gateway::new(false);
    }
    let Some((first, script)) = input.split_first() else { return };
    let door = if first & 2 == 0 { Door::Socket } else { Door::Tcp };
    let serve = |gateway: &Gateway| wait_for(serve(gateway, door, script));
    match first & 1 {
        0 => COMMON.with(serve),
        _ => {
            let gateway = Gateway::new(true);
            serve(&gateway);
            wait_for(gateway.close());
        }
    }
}

async fn serve(gateway: &Gateway, door: Door, script: &[u8]) {
    let router = router(gateway, door);
    let mut rest = script;
    for _ in 0..REQUESTS {
        let mark = rest.windows(MARK.len()).position(|bytes| bytes == MARK);
        let (request, after) = rest.split_at(mark.unwrap_or(rest.len()));
        if let Some(request) = read(request) {
            timeout(PATIENCE, ask(&router, request)).await.expect("an answer in time");
        }
        let Some(next) = after.get(MARK.len()..) else { break };
        rest = next;
    }
    // A request may have changed it.
    log().set_filter("off").expect("a good filter");
}

async fn ask(router: &Router, request: Request<Body>) {
    let shown = format!("{request:?}");
    let has_body = request.method() != Method::HEAD;
    let response = router.clone().oneshot(request).await.expect("a router has no errors");
    judge(&shown, has_body, response).await;
}

/// Panics if an answer is an error of the program itself, or claims to be JSON and is not.
async fn judge(request: &str, has_body: bool, response: Response) {
    let status = response.status();
    assert!(
        !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
        "{status} to {request}"
    );
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let is =
        |word: &str| kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(word.as_bytes()));
    // A stream has no end.
    if is("text/event-stream") {
        return;
    }
    let is_json = is("application/json");
    assert!(is_json || !status.is_client_error(), "{status} is no JSON: {request}");
    let body = to_bytes(response.into_body(), ANSWER).await.expect("an answer within its bound");
    if is_json && has_body {
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let says = |key| value.get(key).is_some_and(serde_json::Value::is_string);
        let is_error = status.is_client_error();
        assert!(!is_error || says("error") && says("message"), "{value} to {request}");
    }
}

/// Parses a request from its text; `None` if HTTP's own parser would reject it.
fn read(text: &[u8]) -> Option<Request<Body>> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let line = |line: &[u8]| String::from_utf8(line.trim_ascii_end().to_vec()).ok();
    let first = line(lines.next()?)?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    let mut head = first.len() + 1;
    for next in lines.by_ref() {
        head += next.len();
        let Some((name, value)) =
            line(next)?.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        else {
            break;
        };
        request = request.header(name, value);
    }
    let body = text.get(head..).unwrap_or_default().to_vec();
    let request = request.body(Body::from(body)).ok()?;
    (request.uri().path() != LEFT_OUT).then_some(request)
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| logging::init(Format::Json, "off").expect("the first to log"))
}

fn router(gateway: &Gateway, door: Door) -> Router {
    let stop = CancellationToken::new();
    let (view, metrics) = (gateway.view.clone(), Arc::clone(&gateway.metrics));
    // Nothing reloads: the fleet file has a target of its own.
    let (reloads, _) = Reloads::new();
    let tokens = watch::channel(Tokens::default()).1;
    let gate = Gate::new(tokens.clone(), view.clone(), Arc::clone(&metrics), stop.clone());
    http::router(App {
        gate: gate.at(door),
        hand_in: gateway.hand_in(&stop),
        receipts: Receipts::new(view.queue.clone(), Given::default()),
        status: Status::new(view.clone(), tokens),
        devices: Devices::new(watch::channel(Sightings::default()).1, &view, &metrics),
        listings: Listings::default(),
        chronicle: Chronicle::default(),
        console: Console::new(gateway.catalog.commands()),
        log: log().clone(),
        reloading: Reloading::new(reloads, planner(gateway, &stop)),
        streams: Streams::new(gateway.downlink.clone(), stop),
        view,
        metrics,
    })
}

/// Creates the planner for files that requests bring.
fn planner(gateway: &Gateway, stop: &CancellationToken) -> Planner {
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    let library = Library::new(&plugins, Folder::default()).expect("the models of this build");
    let catalog = watch::channel(Arc::new(gateway.catalog.clone())).1;
    let contents = watch::channel(Contents::default()).1;
    Planner::new(gateway.view.clone(), None, library, catalog, contents, stop.clone())
}
