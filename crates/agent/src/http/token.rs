//! The token that a caller of the API shows beyond loopback.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{ApiError, App};

/// A token, kept as its digest: two digests may be compared byte by byte without telling anything.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token that callers must show.
    pub fn new(secret: &SecretString) -> Self {
        Self(Sha256::digest(secret.expose_secret().as_bytes()).into())
    }

    fn fits(&self, shown: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        digest == self.0
    }
}

/// Lets a request through that shows the token, where there is one.
pub(super) async fn required(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(token) = &app.token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match shown.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(shown) if token.fits(shown) => next.run(request).await,
        _ => {
            let message = "show the token: `Authorization: Bearer …`";
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
        }
    }
}
