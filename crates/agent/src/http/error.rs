//! Error answers: always JSON, with a word for programs and a sentence for people.

use api::error::ErrorBody;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::metrics::labels::HttpRefusal;

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl ApiError {
    /// An answer of this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// An answer of status 400.
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// An answer to a wrong parameter.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.code.to_owned(), message: self.message };
        (self.status, axum::Json(body)).into_response()
    }
}

impl HttpRefusal {
    fn error(self) -> ApiError {
        let (status, code, message) = match self {
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                self.as_str(),
                "a page of another origin must not send this request (Sec-Fetch-Site, Origin); behind a \
                 proxy, let it pass on the Host that the browser sent",
            ),
            Self::UnknownHost => (
                StatusCode::MISDIRECTED_REQUEST,
                self.as_str(),
                "the Host is not a name of this agent: use an address or `localhost`, or list the name \
                 under `http.hosts` in the fleet file",
            ),
            Self::NoToken | Self::WrongToken => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the token: `Authorization: Bearer …`, or as the password of any user",
            ),
            Self::Connections => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many",
                "all places for connections, or for unread answers, are taken; close some, or try \
                 again later",
            ),
            Self::PublishOnly => (
                StatusCode::FORBIDDEN,
                self.as_str(),
                "this token or socket may only publish and read receipts; all else needs `http.token`, \
                 or `http.socket`",
            ),
        };
        ApiError::new(status, code, message)
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        self.error().into_response()
    }
}
