//! Several messages of one topic as one publish: which go together, when, and their format.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use queue::Lease;
use serde::de::IgnoredAny;

use fleet::{Batch, BatchFormat};

/// Bytes of a message's id.
const ID: usize = 36;

/// The text around an id and a payload in an array: `{"id":"…","payload":…}`.
const ELEMENT: [&str; 3] = [r#"{"id":""#, r#"","payload":"#, "}"];

/// The reason for which a payload cannot stand in a batch, as the end of a sentence.
pub(crate) fn flaw(batch: &Batch, payload: &[u8]) -> Option<&'static str> {
    match batch.format {
        BatchFormat::JsonArray => {
            let text = std::str::from_utf8(payload).ok();
            let is_json = text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
            (!is_json).then_some("is not JSON, and its route makes JSON arrays of its messages")
        }
        BatchFormat::Lines => payload
            .contains(&b'\n')
            .then_some("has a line feed, and its route puts each message on a line"),
    }
}

/// Bytes that a message takes in a batch.
fn member(batch: &Batch, payload: usize) -> usize {
    let around = match (batch.format, batch.ids) {
        (_, false) => 0,
        (BatchFormat::JsonArray, true) => ID + ELEMENT.iter().map(|part| part.len()).sum::<usize>(),
        (BatchFormat::Lines, true) => ID + 1,
    };
    payload.saturating_add(around)
}

/// Bytes that stand around all messages of a batch; between two there is one.
fn around(batch: &Batch) -> usize {
    match batch.format {
        BatchFormat::JsonArray => 2,
        BatchFormat::Lines => 0,
    }
}

/// Bytes of a message that is alone in its batch.
pub(crate) fn alone(batch: &Batch, payload: usize) -> usize {
    member(batch, payload).saturating_add(around(batch))
}

/// The payload of a batch.
pub(super) fn together<'a>(batch: &Batch, members: impl Iterator<Item = &'a Lease>) -> Vec<u8> {
    let (open, between, close): (&str, &str, &str) = match batch.format {
        BatchFormat::JsonArray => ("[", ",", "]"),
        BatchFormat::Lines => ("", "\n", ""),
    };
    let mut bytes = open.as_bytes().to_vec();
    for (number, lease) in members.enumerate() {
        if number > 0 {
            bytes.extend_from_slice(between.as_bytes());
        }
        let id = lease.id.to_string();
        let [before, middle, after] = match (batch.format, batch.ids) {
            (_, false) => ["", "", ""],
            (BatchFormat::JsonArray, true) => ELEMENT,
            (BatchFormat::Lines, true) => ["", " ", ""],
        };
        bytes.extend_from_slice(before.as_bytes());
        if batch.ids {
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes.extend_from_slice(middle.as_bytes());
        bytes.extend_from_slice(&lease.payload);
        bytes.extend_from_slice(after.as_bytes());
    }
    bytes.extend_from_slice(close.as_bytes());
    bytes
}

/// The messages that may go out now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// These, by their order: they fill a batch, or the next of their topic does not go with them.
    Now(Vec<u64>),
    /// The oldest batch is not full yet: it should go out after this long.
    Later(Duration),
    /// There is nothing.
    Nothing,
}

/// The messages of one topic so far.
struct Open<'a> {
    first: &'a Lease,
    orders: Vec<u64>,
    bytes: usize,
}

impl Open<'_> {
    fn takes(&self, batch: &Batch, limit: usize, lease: &Lease) -> bool {
        let with = self.bytes.saturating_add(1 + member(batch, lease.payload.len()));
        lease.qos == self.first.qos && lease.retain == self.first.retain && with <= limit
    }
}

/// Among the batches that are not full, the oldest if it waited its time; otherwise the full one. Without
/// that a topic with a backlog would always be served first.
fn or_overdue(
    full: Vec<u64>,
    open: HashMap<&str, Open<'_>>,
    batch: &Batch,
    now: SystemTime,
) -> Gathered {
    let first_of_full = full.first().copied();
    let oldest = open
        .into_values()
        .filter(|open| open.orders.first().copied() < first_of_full && !open.orders.is_empty())
        .min_by_key(|open| open.first.appended_at);
    let is_overdue = |open: &Open<'_>| {
        now.duration_since(open.first.appended_at).unwrap_or_default() >= batch.max_delay
    };
    Gathered::Now(oldest.filter(is_overdue).map_or(full, |open| open.orders))
}

/// A message that may go out.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its place in the order.
    pub(super) order: u64,
    pub(super) lease: &'a Lease,
    /// True if it shares a batch with no other message.
    pub(super) is_apart: bool,
}

/// Looks for a batch among messages in their order. Those of one topic never overtake one another.
/// `limit` is the most bytes. `is_due`: the oldest goes out now, full or not.
pub(super) fn gather<'a>(
    batch: &Batch,
    limit: usize,
    ready: impl Iterator<Item = Candidate<'a>>,
    is_due: bool,
    now: SystemTime,
) -> Gathered {
    let mut open: HashMap<&str, Open<'_>> = HashMap::new();
    for Candidate { order, lease, is_apart } in ready {
        let Some(found) = open.get_mut(lease.topic.as_str()) else {
            if is_apart {
                return or_overdue(vec![order], open, batch, now);
            }
            let bytes = alone(batch, lease.payload.len());
            open.insert(&lease.topic, Open { first: lease, orders: vec![order], bytes });
            continue;
        };
        if is_apart || !found.takes(batch, limit, lease) {
            let full = std::mem::take(&mut found.orders);
            return or_overdue(full, open, batch, now);
        }
        found.bytes += 1 + member(batch, lease.payload.len());
        found.orders.push(order);
        if found.orders.len() >= batch.max_messages {
            let full = std::mem::take(&mut found.orders);
            return or_overdue(full, open, batch, now);
        }
    }
    let Some(oldest) = open.into_values().min_by_key(|open| open.first.appended_at) else {
        return Gathered::Nothing;
    };
    // A clock that was set back makes no message older or younger than it can be.
    let age = now.duration_since(oldest.first.appended_at).unwrap_or_default();
    match batch.max_delay.checked_sub(age).filter(|left| !left.is_zero() && !is_due) {
        Some(left) => Gathered::Later(left),
        None => Gathered::Now(oldest.orders),
    }
}

#[cfg(test)]
mod tests;
