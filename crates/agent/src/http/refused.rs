//! Why a request is refused before anything looks at what it asks for.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ApiError;

/// A reason to refuse a request, as the metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A page of another origin has a browser ask.
    ForeignOrigin,
    /// It is asked for by a name that is not this host's.
    UnknownHost,
    /// A token is asked for, and none was shown.
    NoToken,
    /// The token that was shown is not one of this agent.
    WrongToken,
    /// All places for connections, or for answers, are taken.
    Connections,
    /// The caller may publish and no more.
    PublishOnly,
}

impl Refused {
    /// All reasons, for metrics that start at 0.
    pub const ALL: [Self; 6] = [
        Self::ForeignOrigin,
        Self::UnknownHost,
        Self::NoToken,
        Self::WrongToken,
        Self::PublishOnly,
        Self::Connections,
    ];

    /// The reason in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForeignOrigin => "foreign_origin",
            Self::UnknownHost => "unknown_host",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Connections => "connections",
            Self::PublishOnly => "publish_only",
        }
    }

    fn error(self) -> ApiError {
        let (status, code, message) = match self {
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                self.as_str(),
                "a page of another origin may not have a browser do this (Sec-Fetch-Site, Origin); behind a \
                 proxy, have it pass on the Host that the browser sent",
            ),
            Self::UnknownHost => (
                StatusCode::MISDIRECTED_REQUEST,
                self.as_str(),
                "the Host is no name of this agent: ask by an address or as `localhost`, or list the name \
                 under `http.hosts` in the fleet file",
            ),
            Self::NoToken | Self::WrongToken => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "show the token: `Authorization: Bearer …`, or as the password of any user",
            ),
            Self::Connections => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many",
                "all places for connections, or for answers that are not read, are taken; close some, or try \
                 again later",
            ),
            Self::PublishOnly => (
                StatusCode::FORBIDDEN,
                self.as_str(),
                "who comes this way may publish and see what became of messages; the rest takes `http.token`, \
                 or `http.socket`",
            ),
        };
        ApiError::new(status, code, message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.error().into_response()
    }
}
