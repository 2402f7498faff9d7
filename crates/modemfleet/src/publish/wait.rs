//! `modemfleet publish --wait`: follows published messages to their end.
//!
//! The stream of outcomes is opened before the first publish. As soon as the id of a message is
//! known, its receipt is read too. So no outcome is missed, however early it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use api::client::{Call, Client, ClientError, Event, Events, encode};
use api::messages::{By, Receipt, Standing};
use fleet::printable::complain;
use fleet::printable::printable;

/// The most ids whose receipt was not read yet. When the channel is full, publishing waits.
pub(super) const HANDED: usize = 64;

/// The wait after the stream broke, and after each attempt to open it again.
const AGAIN: Duration = Duration::from_secs(1);

/// The time limit for reading the receipt of a late message.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The most late messages that are printed one by one; the others are counted.
const NAMED: usize = 10;

/// The messages of one call and their states.
pub(super) struct Watch {
    client: Client,
    /// The stream of outcomes, if it is open.
    events: Option<Events>,
    /// The time at which the stream is opened again, and receipts are read.
    again: Instant,
    /// Messages without an end, with their line's number if lines are published.
    pending: BTreeMap<String, Option<u64>>,
    /// The number of acknowledged messages, and of messages that never will be.
    acknowledged: u64,
    lost: u64,
}

/// An event that [`Watch::follow`] waits for.
enum Step {
    Handed(Option<Handed>),
    Event(Option<Event>),
    Again,
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handed {
    /// Its id.
    pub(super) id: String,
    /// Its line's number, if lines are published.
    pub(super) line: Option<u64>,
}

impl Watch {
    /// Opens the stream of outcomes. If the agent allows no further stream, receipts are read each
    /// second.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn open(client: Client) -> Result<Self, ClientError> {
        let events = match open(&client).await {
            Ok(events) => Some(events),
            Err(error) if error.is_refusal_of("too_many") => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            client,
            events,
            again: Instant::now() + AGAIN,
            pending: BTreeMap::new(),
            acknowledged: 0,
            lost: 0,
        })
    }

    /// Follows the messages from `handed` until its sender is gone and each message has ended. A
    /// message that will never be acknowledged is printed at once.
    ///
    /// # Cancel safety
    /// The state of the messages is kept: see [`Self::give_up`].
    pub(super) async fn follow(&mut self, mut handed: mpsc::Receiver<Handed>) {
        let mut open = true;
        while open || !self.pending.is_empty() {
            let (broken, again) = (self.events.is_none(), self.again);
            // All arms are cancel safe, and none awaits in its body.
            let step = tokio::select! {
                some = handed.recv(), if open => Step::Handed(some),
                event = next(&mut self.events), if !broken => Step::Event(event),
                () = sleep_until(again), if broken => Step::Again,
            };
            match step {
                Step::Handed(Some(Handed { id, line })) => {
                    self.pending.insert(id.clone(), line);
                    self.ask(&id).await;
                }
                Step::Handed(None) => open = false,
                Step::Event(Some(event)) => self.hear(&event).await,
                Step::Event(None) => self.lose_stream(None),
                Step::Again => self.renew().await,
            }
        }
    }

    /// Prints the messages without an end, each with its state.
    pub(super) async fn give_up(&mut self, after: &str) {
        let late: Vec<(String, Option<u64>)> =
            self.pending.iter().take(NAMED).map(|(id, line)| (id.clone(), *line)).collect();
        for (id, line) in &late {
            let receipt = timeout(LAST_WORD, self.receipt(id)).await;
            // It may have been acknowledged just now, but its time was over before.
            let standing = match receipt {
                Ok(Ok(receipt)) => words(&receipt),
                _ => "the agent does not know the state of the message".to_owned(),
            };
            say(id, *line, &format!("no acknowledgement within {after}: {standing}"));
        }
        let more = self.pending.len().saturating_sub(late.len());
        if more > 0 {
            complain(&format!("and {more} more without an acknowledgement"));
        }
    }

    /// Returns the number of acknowledged messages, and of all messages.
    pub(super) fn tally(&self) -> (u64, u64) {
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let all = self.acknowledged.saturating_add(self.lost).saturating_add(pending);
        (self.acknowledged, all)
    }

    /// Handles an event of the stream.
    async fn hear(&mut self, event: &Event) {
        match event.name.as_str() {
            "outcome" => {
                let receipt = serde_json::from_str(&event.data).ok();
                if let Some(receipt) = receipt {
                    self.take(&receipt);
                }
            }
            // Events were missed, and may concern these messages.
            "dropped" => self.ask_all().await,
            _ => {}
        }
    }

    /// Opens the stream again, and reads the receipts of all open messages even if that fails.
    async fn renew(&mut self) {
        self.events = open(&self.client).await.ok();
        self.ask_all().await;
        self.again = Instant::now() + AGAIN;
    }

    fn lose_stream(&mut self, error: Option<&ClientError>) {
        if self.events.take().is_some() {
            let why = error.map_or("it ended".to_owned(), ToString::to_string);
            complain(&format!(
                "the agent's stream of outcomes was interrupted ({why}); asking again"
            ));
        }
        self.again = Instant::now() + AGAIN;
    }

    async fn ask_all(&mut self) {
        let ids: Vec<String> = self.pending.keys().cloned().collect();
        for id in ids {
            if !self.ask(&id).await {
                return;
            }
        }
    }

    /// Reads a message's receipt. Returns false if the agent does not answer.
    async fn ask(&mut self, id: &str) -> bool {
        match self.receipt(id).await {
            Ok(receipt) => self.take(&receipt),
            Err(error) if error.is_refusal_of("unknown_message") => {
                self.lose(id, "the agent does not know the message any more");
            }
            Err(error) => {
                self.lose_stream(Some(&error));
                return false;
            }
        }
        true
    }

    async fn receipt(&mut self, id: &str) -> Result<Receipt, ClientError> {
        let path = format!("/api/v1/messages/{}", encode(id));
        let call = Call::get(&path);
        self.client.read(&call).await
    }

    /// Settles a message if it is pending and the receipt is final.
    fn take(&mut self, receipt: &Receipt) {
        match &receipt.standing {
            Standing::Waiting { .. } | Standing::Given { .. } => {}
            Standing::Acknowledged { .. } => {
                let Some(line) = self.pending.remove(&receipt.id) else { return };
                self.acknowledged = self.acknowledged.saturating_add(1);
                // With many lines only the number is printed.
                if line.is_none() {
                    say(&receipt.id, None, &words(receipt));
                }
            }
            Standing::DeadLetter { .. } | Standing::Dropped { .. } => {
                self.lose(&receipt.id, &words(receipt));
            }
        }
    }

    fn lose(&mut self, id: &str, words: &str) {
        let Some(line) = self.pending.remove(id) else { return };
        self.lost = self.lost.saturating_add(1);
        say(id, line, words);
    }
}

async fn open(client: &Client) -> Result<Events, ClientError> {
    client.events("/api/v1/outcomes").await
}

async fn next(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => None,
    }
}

fn say(id: &str, line: Option<u64>, words: &str) {
    match line {
        Some(line) => complain(&format!("line {line}, {id}: {words}")),
        None => complain(&format!("{id}: {words}")),
    }
}

/// Returns the state of a message in words for a terminal.
fn words(receipt: &Receipt) -> String {
    let told = match &receipt.standing {
        Standing::Waiting { .. } => "the message waits in the queue".to_owned(),
        Standing::Given { path, .. } => format!("the message is being delivered by {path}"),
        Standing::Acknowledged { path, by: By::Broker, .. } => {
            format!("acknowledged by the broker of {path}")
        }
        Standing::Acknowledged { path, by: By::Modem, .. } => {
            format!("accepted by the modem of {path}; at QoS 0 no broker acknowledges it")
        }
        Standing::DeadLetter { reason, words, .. } => {
            format!("dead letter ({reason}): {words}; see `modemfleet queue inspect --set-aside`")
        }
        Standing::Dropped { reason, .. } => format!("dropped: {}", because(reason)),
    };
    printable(&told)
}

fn because(reason: &str) -> &str {
    match reason {
        "full" => "the queue was full",
        "expired" => "its time to live had passed",
        "age" => "it was older than the queue's max_age",
        "purged" => "an operator removed it",
        "damaged" => "it could not be read from a damaged file",
        reason => reason,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::response::sse::{Event as Told, Sse};
    use axum::routing::get;
    use futures_util::{StreamExt, stream};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio::task::JoinSet;

    use super::super::Target;
    use super::*;

    fn receipt(state: &str) -> Value {
        let at = "2026-01-01T00:00:00.000Z";
        let (path, by, reason) = ("m0/s", "broker", "purged");
        json!({ "id": "a", "qos": 1, "state": state, "at": at, "appended": at, "path": path, "by": by,
                "reason": reason })
    }

    /// An agent for tests. Its stream sends these events after the first request for a receipt,
    /// then stays open or ends. The n-th request for a receipt gets the n-th state, later ones the
    /// last.
    struct Course {
        told: &'static [(&'static str, &'static str)],
        ends: bool,
        states: &'static [&'static str],
    }

    /// Returns the final tally of one message, and the number of requests for its receipt.
    async fn ends(course: Course) -> ((u64, u64), usize) {
        let Course { told, ends, states } = course;
        let asked = watch::Sender::new(0);
        let (counted, seen) = (asked.clone(), asked.subscribe());
        let outcomes = move || async move {
            let event = |(name, state): &(&str, &str)| {
                let data = if *name == "outcome" { receipt(state) } else { json!({ "missed": 1 }) };
                Ok::<_, Infallible>(Told::default().event(name).data(data.to_string()))
            };
            let mut seen = seen.clone();
            let first = stream::once(async move { drop(seen.wait_for(|asked| *asked > 0).await) });
            let told = first.flat_map(move |()| stream::iter(told.iter().map(event)));
            let rest = if ends { stream::empty().boxed() } else { stream::pending().boxed() };
            Sse::new(told.chain(rest)).into_response()
        };
        let receipts = move || async move {
            let at = counted.borrow().min(states.len() - 1);
            counted.send_modify(|asked| *asked += 1);
            match states[at] {
                "unknown" => {
                    let error = json!({ "error": "unknown_message", "message": "there is none" });
                    (StatusCode::NOT_FOUND, axum::Json(error))
                }
                state => (StatusCode::OK, axum::Json(receipt(state))),
            }
        };
        let router = Router::new()
            .route("/api/v1/outcomes", get(outcomes))
            .route("/api/v1/messages/{id}", get(receipts));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        let target = Target { url: Some(url), ..Target::default() };
        let mut watch = Watch::open(target.client_without_file().unwrap()).await.unwrap();
        let (told, handed) = mpsc::channel(HANDED);
        told.send(Handed { id: "a".to_owned(), line: None }).await.unwrap();
        drop(told);
        timeout(Duration::from_secs(20), watch.follow(handed)).await.expect("it has an end");
        (watch.tally(), *asked.borrow())
    }

    #[tokio::test]
    async fn no_outcome_escapes_whenever_it_comes() {
        const SAYS: (&str, &str) = ("outcome", "acknowledged");
        let acknowledged = (1, 1);
        for (what, course, end, asked) in [
            (
                "before its id was known",
                Course { told: &[], ends: false, states: &["acknowledged"] },
                acknowledged,
                1,
            ),
            (
                "after its receipt was asked for",
                Course { told: &[SAYS], ends: false, states: &["given"] },
                acknowledged,
                1,
            ),
            (
                "among those that were missed",
                Course {
                    told: &[("dropped", "")],
                    ends: false,
                    states: &["waiting", "acknowledged"],
                },
                acknowledged,
                2,
            ),
            (
                "while the stream was broken",
                Course { told: &[], ends: true, states: &["waiting", "acknowledged"] },
                acknowledged,
                2,
            ),
            (
                "never",
                Course { told: &[("outcome", "dropped")], ends: false, states: &["waiting"] },
                (0, 1),
                1,
            ),
            (
                "too long ago to be known",
                Course { told: &[], ends: false, states: &["unknown"] },
                (0, 1),
                1,
            ),
            (
                "of a newer kind than is known",
                Course { told: &[("news", ""), SAYS], ends: false, states: &["waiting"] },
                acknowledged,
                1,
            ),
        ] {
            assert_eq!(ends(course).await, (end, asked), "{what}");
        }
    }
}
