//! The gate before everything: no page of another origin acts through a browser, and none is asked for by a
//! name that is not this host's.
//!
//! A browser sends a form to any address, with the credentials that it has for it, whichever page holds the form. It
//! also lets a page ask its own name, and that name may lead here by now. So both are judged before any token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::accept;
use super::guesses::Guesses;
use super::paths::{CONSOLE, OPEN};
use super::token::{Door, Right, Tokens};
use crate::metrics::Metrics;
use crate::metrics::labels::HttpRefusal;
use crate::now::View;

/// Paths at which reading has an effect: modems are asked, a reader begins, a place among few is taken.
const ACTING: [&str; 6] = [
    CONSOLE,
    "/api/v1/doctor",
    "/api/v1/events",
    "/api/v1/inbox",
    "/api/v1/messages",
    "/api/v1/outcomes",
];

/// The right of each caller of one door.
#[derive(Clone)]
pub struct Gate {
    door: Door,
    tokens: watch::Receiver<Tokens>,
    guesses: Arc<Guesses>,
    view: View,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Gate {
    /// The gate of the TCP listener. Callers there have to show a token, if there are any.
    pub fn new(
        tokens: watch::Receiver<Tokens>,
        view: View,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Self {
        Self { door: Door::Tcp, tokens, guesses: Arc::default(), view, metrics, stop }
    }

    /// The gate of another door. Wrong tokens are counted together.
    pub fn at(self, door: Door) -> Self {
        Self { door, ..self }
    }

    /// Reports wrong tokens in the log, until the agent ends.
    ///
    /// # Cancel safety
    /// Guesses that were not reported yet are forgotten.
    pub async fn report(&self) {
        self.guesses.report(&self.stop).await;
    }

    /// Reports whether whoever reaches the door has all rights: over TCP, and without a token.
    pub(super) fn is_unguarded(&self) -> bool {
        self.door == Door::Tcp && !self.tokens.borrow().are_asked_for()
    }

    /// Returns the key of the fleet file, or the way, by which callers of this door act.
    pub(super) fn by(&self) -> &'static str {
        match self.door {
            Door::Socket => "http.socket",
            Door::PublishSocket => "http.publish_socket",
            Door::Tcp if self.is_unguarded() => "no token",
            Door::Tcp => "http.token",
        }
    }

    fn right(&self, headers: &HeaderMap) -> Result<Right, HttpRefusal> {
        match self.door {
            Door::Socket => Ok(Right::All),
            Door::PublishSocket => Ok(Right::Publish),
            Door::Tcp => self.tokens.borrow().right(headers),
        }
    }

    /// Judges a request by its page and by the host that it names.
    fn judge(&self, request: &Request) -> Result<(), HttpRefusal> {
        // Probes and scrapes come by names of their own, and learn nothing that needs a token.
        let by_tcp = self.door == Door::Tcp && !OPEN.contains(&request.uri().path());
        if by_tcp && !is_known_here(request, &self.view.now().fleet.http.hosts) {
            return Err(HttpRefusal::UnknownHost);
        }
        let acts = !request.method().is_safe() || ACTING.contains(&request.uri().path());
        if acts && is_foreign(request) { Err(HttpRefusal::ForeignOrigin) } else { Ok(()) }
    }

    /// Counts a refusal, and answers it.
    fn refuse(&self, why: HttpRefusal) -> Response {
        self.metrics.applications.http_refused(why);
        why.into_response()
    }

    async fn unauthorized(&self, place: Option<&accept::Place>, why: HttpRefusal) -> Response {
        let mut answer = self.refuse(why);
        // A browser then asks a person for it, and shows it to the page's stream as well.
        let realm = HeaderValue::from_static("Basic realm=\"modemfleet\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        if why == HttpRefusal::WrongToken {
            if let Some(place) = place {
                place.delay();
            }
            // Both arms are cancel safe: who leaves or is left has no answer, and nothing else is lost.
            tokio::select! {
                () = self.guesses.wrong(place.map(accept::Place::origin)) => {}
                () = self.stop.cancelled() => {}
            }
            // The next guess takes a connection of its own, which are counted.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// Lets a request on that no foreign page is behind.
pub(super) async fn passed(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(why) => gate.refuse(why),
    }
}

/// Lets a request on whose caller may do at least this.
pub(super) async fn allowed(
    State((gate, least)): State<(Gate, Right)>,
    request: Request,
    next: Next,
) -> Response {
    let right = gate.right(request.headers());
    let place = request.extensions().get::<Arc<accept::Place>>().cloned();
    if let (Ok(Right::Publish), Some(place)) = (right, &place) {
        place.may_only_publish();
    }
    match right {
        Ok(right) if right >= least => next.run(request).await,
        Ok(_) => gate.refuse(HttpRefusal::PublishOnly),
        Err(why) => gate.unauthorized(place.as_deref(), why).await,
    }
}

/// A host, as a request names it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// In lower case, without the dot of the root.
    name: String,
    port: Option<u16>,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        // A user, before the host, belongs into no request.
        let port = match text.strip_prefix(host)? {
            "" | ":" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        (!name.is_empty()).then_some(Self { name, port })
    }

    /// Reports whether no name server of others can have it lead here: an address, `localhost`, or a name of the
    /// fleet file.
    fn is_ours(&self, hosts: &[String]) -> bool {
        let bare = self.name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        self.name == "localhost"
            || bare.unwrap_or(&self.name).parse::<IpAddr>().is_ok()
            || hosts.contains(&self.name)
    }
}

/// The only value of a header. An error if there are several, since it is not known which one counts, or if it
/// is not text.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::to_str);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(()),
    }
}

/// The hosts that a request names: in its target (RFC 9112 §3.2.2), and in its `Host`. `None` where one cannot be
/// read.
fn places(request: &Request) -> Option<Vec<Place>> {
    let target = request.uri().authority().map(Authority::as_str);
    let host = only(request.headers(), header::HOST.as_str()).ok()?;
    target.into_iter().chain(host).map(Place::read).collect()
}

/// Reports whether all hosts that a request names are this one. Who names none is no browser: HTTP/1.0 asks for
/// none, and HTTP/1.1 does (RFC 9112 §3.2).
fn is_known_here(request: &Request, hosts: &[String]) -> bool {
    places(request).is_some_and(|places| {
        let may_be_none = request.version() < Version::HTTP_11;
        (may_be_none || !places.is_empty()) && places.iter().all(|place| place.is_ours(hosts))
    })
}

/// Reports whether a page of another origin has a browser send this. Browsers say so themselves (`Sec-Fetch-Site`,
/// W3C Fetch Metadata §2.3), except to hosts that they do not trust, such as an address without TLS: there they
/// name the origin. Who says neither is a program.
fn is_foreign(request: &Request) -> bool {
    let headers = request.headers();
    match only(headers, "sec-fetch-site") {
        Ok(Some(site)) => !matches!(site, "same-origin" | "none"),
        Ok(None) => match only(headers, header::ORIGIN.as_str()) {
            Ok(None) => false,
            Ok(Some(origin)) => !is_this_host(origin, request),
            Err(()) => true,
        },
        Err(()) => true,
    }
}

/// Reports whether an origin (RFC 6454 §6.2) is the host that the request is for. The scheme is not compared: a proxy
/// before the agent may speak TLS, and only its scheme says which port goes without saying.
fn is_this_host(origin: &str, request: &Request) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (Some(origin), Some(places)) = (Place::read(authority), places(request)) else {
        return false;
    };
    let here = places.first();
    here.is_some_and(|here| {
        here.name == origin.name && here.port.unwrap_or(usual) == origin.port.unwrap_or(usual)
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(target: &str, headers: &[(&str, &[u8])]) -> Request {
        let request = Request::builder().uri(target);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_addresses_localhost_and_names_of_the_file_are_known() {
        let hosts = ["gw.example.com".to_owned()];
        for (target, host, known) in [
            ("/", &["127.0.0.1:9810"][..], true),
            ("/", &["[::1]:9810"], true),
            ("/", &["[2001:db8::1]"], true),
            ("/", &["192.0.2.7"], true),
            ("/", &["192.0.2.7:"], true),
            ("/", &["LocalHost:9810"], true),
            ("/", &["localhost."], true),
            ("/", &["GW.example.com:443"], true),
            ("/", &["gw.example.com."], true),
            ("/", &[], false),
            ("/", &["a.gw.example.com"], false),
            ("/", &["gw.example.com.evil.example"], false),
            ("/", &["evil.example.com:9810"], false),
            ("/", &["localhost.evil.example.com"], false),
            ("/", &["evil.localhost"], false),
            ("/", &["127.0.0.1.evil.example.com"], false),
            ("/", &["127.0.0.1@evil.example.com"], false),
            ("/", &["evil.example.com@127.0.0.1"], false),
            ("/", &["127.1"], false),
            ("/", &["localhost:evil"], false),
            ("/", &["localhost:99999"], false),
            ("/", &["localhost/"], false),
            ("/", &["localhost, evil.example.com"], false),
            ("/", &[""], false),
            ("/", &["."], false),
            ("/", &["null"], false),
            ("/", &["localhost", "localhost"], false),
            ("/", &["localhost", "evil.example.com"], false),
            ("http://evil.example.com/", &["localhost"], false),
            ("http://localhost/", &["evil.example.com"], false),
            ("http://evil.example.com/", &[], false),
            ("http://u@localhost/", &[], false),
            ("http://127.0.0.1:9810/", &["localhost"], true),
            ("http://gw.example.com/", &[], true),
        ] {
            let headers: Vec<_> = host.iter().map(|host| ("host", host.as_bytes())).collect();
            let request = request(target, &headers);
            assert_eq!(is_known_here(&request, &hosts), known, "{target} {host:?}");
        }
        assert!(!is_known_here(&request("/", &[("host", b"localhost\xff")]), &hosts));
        let mut old = request("/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(is_known_here(&old, &hosts), "HTTP/1.0 asks for no Host");
        let mut old = request("/", &[("host", b"evil.example.com")]);
        *old.version_mut() = Version::HTTP_10;
        assert!(!is_known_here(&old, &hosts));
    }

    #[test]
    fn what_browsers_say_of_the_page_behind_a_request_decides() {
        let (site, origin, host) = ("sec-fetch-site", "origin", "host");
        let here: (&str, &[u8]) = (host, b"gw:9810");
        for (headers, foreign) in [
            (&[here][..], false),
            (&[(site, b"same-origin")], false),
            (&[(site, b"none")], false),
            (&[(site, b"same-site")], true),
            (&[(site, b"cross-site")], true),
            (&[(site, b"Same-Origin")], true),
            (&[(site, b"")], true),
            (&[(site, b"\xff")], true),
            (&[(site, b"same-origin"), (site, b"same-origin")], true),
            (&[(site, b"none"), (site, b"cross-site")], true),
            // The first header decides: a page says `no-referrer`, and its origin is `null` then.
            (&[here, (site, b"same-origin"), (origin, b"null")], false),
            (&[here, (site, b"cross-site"), (origin, b"http://gw:9810")], true),
            (&[here, (origin, b"http://gw:9810")], false),
            (&[here, (origin, b"https://GW:9810")], false),
            (&[here, (origin, b"http://gw")], true),
            (&[here, (origin, b"http://gw:9811")], true),
            (&[here, (origin, b"http://evil:9810")], true),
            (&[here, (origin, b"http://gw:9810.evil")], true),
            (&[here, (origin, b"http://gw:9810@evil")], true),
            (&[here, (origin, b"http://evil@gw:9810")], true),
            (&[here, (origin, b"http://gw:9810/")], true),
            (&[here, (origin, b"http://gw:9810 http://evil")], true),
            (&[here, (origin, b"chrome-extension://gw:9810")], true),
            (&[here, (origin, b"gw:9810")], true),
            (&[here, (origin, b"null")], true),
            (&[here, (origin, b"")], true),
            (&[here, (origin, b"http://")], true),
            (&[here, (origin, b"http://gw:9810\xff")], true),
            (&[here, (origin, b"http://gw:9810"), (origin, b"http://gw:9810")], true),
            (&[(origin, b"http://gw:9810")], true),
            (&[here, here, (origin, b"http://gw:9810")], true),
            (&[(host, b"gw"), (origin, b"http://gw")], false),
            (&[(host, b"gw"), (origin, b"https://gw")], false),
            (&[(host, b"gw:443"), (origin, b"https://gw")], false),
            (&[(host, b"gw:443"), (origin, b"http://gw")], true),
            (&[(host, b"[::1]:9810"), (origin, b"http://[::1]:9810")], false),
        ] {
            let request = request("/", headers);
            assert_eq!(is_foreign(&request), foreign, "{headers:?}");
        }
        // The target is asked for, whatever the header says.
        let to = |target, origin: &[u8]| {
            is_foreign(&request(target, &[("host", b"a"), ("origin", origin)]))
        };
        assert!(!to("http://b:80/", b"http://b"));
        assert!(to("http://b/", b"http://a"));
    }
}
