//! The messages of the stored queue by their number, for the program that made it and for its
//! tests.

use std::time::{Duration, SystemTime};

use queue::NewMessage;

/// The number of appended messages.
pub(crate) const APPENDED: u32 = 100_302;

/// The number of waiting messages, leased ones included.
pub(crate) const WAITING: u32 = 100_000;

/// The lanes, as an agent names them.
pub(crate) const LANES: [&str; 6] = [
    "route sensors/#",
    "route alarms/#",
    "route log/# spread 0",
    "route log/# spread 1",
    "route all/# copy m0/s",
    "session m1/s",
];

/// The lanes of which [`LEASED`] messages each were leased when the program was killed.
pub(crate) const LEASED_LANES: [&str; 2] = [LANES[0], LANES[5]];

/// See [`LEASED_LANES`].
pub(crate) const LEASED: usize = 200;

/// The state of a message of the stored queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    DeadLetter,
    Acknowledged,
}

/// Returns the state of message `n`.
pub(crate) fn fate(n: u32) -> Fate {
    match n {
        _ if n % 500 == 7 => Fate::DeadLetter,
        _ if n % 1_000 == 15 => Fate::Acknowledged,
        _ => Fate::Waiting,
    }
}

/// Returns the reason for which message `n` was set aside, and its words.
pub(crate) fn reason(n: u32) -> (&'static str, String) {
    let reason = if n % 1_000 == 7 { "poison" } else { "refused" };
    (reason, format!("five sessions were lost under message {n}"))
}

/// Returns message `n` as handed in. Some are empty, some need many pages, some never expire.
pub(crate) fn message(n: u32) -> NewMessage {
    let lane = LANES.into_iter().cycle().nth(usize::try_from(n % 31).unwrap_or(0));
    let payload = match n {
        _ if n % 777 == 1 => String::new(),
        _ if n.is_multiple_of(4_999) => format!("{n} ").repeat(800),
        _ if n.is_multiple_of(3) => format!("{n}{}", " ".repeat(40)),
        _ => n.to_string(),
    };
    let topic = format!("sensors/{}/{}", n % 2, n / 64 % 50);
    let mut message = NewMessage::new(lane.unwrap_or_default(), topic, payload);
    message.qos = if n.is_multiple_of(19) { 2 } else { u8::from(!n.is_multiple_of(4)) };
    message.retain = n.is_multiple_of(11);
    message.priority = match n {
        _ if n.is_multiple_of(101) => 9,
        _ if n.is_multiple_of(17) => 7,
        _ if n % 5 == 1 => 0,
        _ => message.priority,
    };
    // The year 2100, a second apart.
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800 + u64::from(n));
    message.expires_at = (n % 10 == 3).then_some(far);
    message
}

/// Returns the idempotency key of message `n`, if it had a key.
pub(crate) fn key(n: u32) -> Option<String> {
    n.is_multiple_of(5).then(|| format!("key-{n}"))
}
