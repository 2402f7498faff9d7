//! The token that a caller of the API shows beyond loopback.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{ApiError, App};
use crate::config::Http;
use crate::secret::{Ref, SecretError};

/// By which way a caller comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Over TCP: whatever runs on this host, a browser with anybody's pages among it.
    Tcp,
    /// Over the unix socket: who may open it may use the API.
    Socket,
}

/// A token, kept as its digest: two digests may be compared byte by byte without telling anything.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token that callers must show.
    pub fn new(secret: &SecretString) -> Self {
        Self(Sha256::digest(secret.expose_secret().as_bytes()).into())
    }

    /// Reads the token that callers must show, where there is one.
    ///
    /// # Errors
    /// [`SecretError`] where it cannot be read.
    pub fn of(http: &Http) -> Result<Option<Self>, SecretError> {
        let token = http.token.as_ref().map(Ref::read).transpose()?;
        Ok(token.as_ref().map(Self::new))
    }

    fn fits(&self, shown: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        digest == self.0
    }
}

/// Lets a request through that shows the token, where there is one; without one, whatever changes nothing,
/// or is meant for this host.
pub(super) async fn required(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let token = app.token.borrow().clone();
    match token {
        Some(token) if shown(request.headers()).is_some_and(|shown| token.fits(&shown)) => {}
        Some(_) => {
            let message =
                "show the token: `Authorization: Bearer …`, or as the password of any user";
            let refused = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
            // A browser then asks a person for it, and shows it to the page's stream as well.
            let realm = "Basic realm=\"modemfleet\"";
            return ([(header::WWW_AUTHENTICATE, realm)], refused).into_response();
        }
        None if app.door == Door::Socket || request.method().is_safe() => {}
        None if is_meant_here(&request) => {}
        None => {
            let message = "without a token, ask by an address or as `localhost`: a page elsewhere could have \
                           a name of its own lead here";
            return ApiError::new(StatusCode::FORBIDDEN, "host", message).into_response();
        }
    }
    next.run(request).await
}

/// Whether the host that is asked for is an address or `localhost`. A browser tells the name that the page has,
/// and lets it speak to whatever that name leads to. Who tells none is no browser.
fn is_meant_here(request: &Request) -> bool {
    let told = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let target = request.uri().authority().map(|authority| Some(authority.as_str()));
    told.chain(target).all(|host| {
        let authority = host.and_then(|host| host.parse::<Authority>().ok());
        authority.is_some_and(|authority| {
            let name = authority.host().trim_start_matches('[').trim_end_matches(']');
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
        })
    })
}

/// What the caller shows: a bearer token (RFC 6750 §2.1), or the password of HTTP Basic (RFC 7617 §2).
fn shown(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    let basic = scheme.eq_ignore_ascii_case("basic").then_some(rest)?;
    let pair = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_meant_here() {
        for (target, host, here) in [
            ("/", Some("127.0.0.1:9810"), true),
            ("/", Some("[::1]:9810"), true),
            ("/", Some("192.0.2.7"), true),
            ("/", Some("LocalHost:9810"), true),
            ("/", None, true),
            ("/", Some("evil.example.com:9810"), false),
            ("/", Some("localhost.evil.example.com"), false),
            ("/", Some("127.0.0.1.evil.example.com"), false),
            ("/", Some("127.0.0.1@evil.example.com"), false),
            ("/", Some(""), false),
            ("http://evil.example.com/", Some("localhost"), false),
            ("http://localhost/", Some("evil.example.com"), false),
        ] {
            let mut request = Request::builder().uri(target);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_meant_here(&request), here, "{target} {host:?}");
        }
    }
}
