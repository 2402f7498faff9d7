//! The token that a caller of the API shows beyond loopback.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{App, Refused};
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

/// Lets a request through that shows the token, where there is one.
pub(super) async fn required(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = app.token.borrow().clone() else { return next.run(request).await };
    let is_shown = request.headers().contains_key(header::AUTHORIZATION);
    if shown(request.headers()).is_some_and(|shown| token.fits(&shown)) {
        return next.run(request).await;
    }
    let mut answer = app.refuse(if is_shown { Refused::WrongToken } else { Refused::NoToken });
    // A browser then asks a person for it, and shows it to the page's stream as well.
    let realm = HeaderValue::from_static("Basic realm=\"modemfleet\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    answer
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
