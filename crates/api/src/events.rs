//! `GET /api/v1/events/history`: what happened to the fleet, kept over restarts; and the small events
//! of `GET /api/v1/events?changes=true`.

use serde::{Deserialize, Serialize};

use crate::modems::{Modem, Queue, Seen};

/// A page of the history, the newest event first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The events.
    pub events: Vec<Event>,
    /// The value of `before` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The severity of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works again.
    Good,
    /// It is neither good nor bad.
    #[default]
    Info,
    /// It works less well, or does not work for a while.
    Warn,
    /// It does not work.
    Bad,
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Its number, which grows over restarts.
    pub id: u64,
    /// The time on the gateway's clock (RFC 3339, UTC).
    pub at: String,
    /// `agent`, `plugged`, `unplugged`, `state`, `connected`, `disconnected`, `refused`, `recovery`,
    /// `reload` or `action`.
    pub kind: String,
    /// Its severity.
    pub level: Level,
    /// The number of times that it happened again within minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// The time of its last repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The modem, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modem: Option<String>,
    /// The session of the modem, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The event in a sentence.
    pub words: String,
    /// The key of the token, or the way, by which a person acted: `http.token`, `http.socket`,
    /// `no token` or `SIGHUP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The change of a fleet since the event before. Absent parts did not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes<S = Seen> {
    /// The modems that changed, whole but for their history.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub modems: Vec<Modem<S>>,
    /// The names of all modems in file order, if modems came or went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// The queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Events of the history, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}
