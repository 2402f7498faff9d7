//! Values of labels, which distinguish the events that the metrics count.

/// Kinds of readers of the inbox.
pub const READER_KINDS: [&str; 2] = ["reader", "session"];

/// The reason why a route took another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchCause {
    /// The session of the earlier path is not connected.
    Down,
    /// The result of a publish is overdue.
    Stalled,
    /// The budget of its SIM is used up.
    Budget,
    /// A preferred path has held for a while after its return, or has a budget again.
    FailBack,
}

impl SwitchCause {
    /// All causes, for metrics that start at 0.
    pub const ALL: [Self; 4] = [Self::Down, Self::Stalled, Self::Budget, Self::FailBack];

    /// Returns the cause as the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Stalled => "stalled",
            Self::Budget => "budget",
            Self::FailBack => "fail_back",
        }
    }
}

/// The way by which an application published a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayIn {
    /// `POST /api/v1/publish`, over TCP or the unix socket.
    Http,
    /// The MQTT listener.
    Mqtt,
}

impl WayIn {
    /// All ways, for metrics that start at 0.
    pub const ALL: [Self; 2] = [Self::Http, Self::Mqtt];

    /// Returns the way as the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mqtt => "mqtt",
        }
    }
}

/// The kind of a consumer of received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerKind {
    /// A client of the MQTT listener.
    Mqtt,
    /// A reader of `GET /api/v1/messages`.
    Sse,
}

impl ConsumerKind {
    /// All kinds, for metrics that start at 0.
    pub const ALL: [Self; 2] = [Self::Mqtt, Self::Sse];

    /// Returns the kind as the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Sse => "sse",
        }
    }
}

/// A reason to refuse a request, as the metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpRefusal {
    /// A browser sent it for a page of another origin.
    ForeignOrigin,
    /// It names a host that is not this one.
    UnknownHost,
    /// A token is required, and the request has none.
    NoToken,
    /// The token is not one of this agent's.
    WrongToken,
    /// All places for connections, or for answers, are taken.
    Connections,
    /// The caller may only publish.
    PublishOnly,
}

impl HttpRefusal {
    /// All reasons, for metrics that start at 0.
    pub const ALL: [Self; 6] = [
        Self::ForeignOrigin,
        Self::UnknownHost,
        Self::NoToken,
        Self::WrongToken,
        Self::PublishOnly,
        Self::Connections,
    ];

    /// Returns the reason as the metrics spell it.
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
}
