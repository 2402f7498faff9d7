//! A session that outlives its connection: its messages from the inbox, in order, and its acknowledgements.
//!
//! Messages are read from the inbox in pages, sent within the client's window, and confirmed there up to the
//! first one that is not acknowledged. A packet's number follows from that of the message, so that one that is
//! sent again after a reconnect has the number it had (MQTT 3.1.1 §4.4), also if another process serves it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use inbox::{AttachError, Attached, Hold, Inbox, Page, Seq, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::wire::{Connect, ConnectReason, Grant, Id, Message};
use super::{FILTERS, FOREVER, IN_HAND};
use crate::messages::downlink::Subscription;
use fleet::check_received;

/// Messages of one page, which wait in memory until the window has room: twice the window.
const PAGE: usize = 64;

/// A page that could not be read is read again after this.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// An answer of the inbox.
#[derive(Debug)]
pub(super) enum Answer {
    Page(Result<Page, StoreError>),
    Confirmed,
    /// A SUBSCRIBE: it may be answered.
    Subscribed {
        id: Id,
        grants: Vec<Grant>,
    },
    /// An UNSUBSCRIBE: it may be answered.
    Unsubscribed {
        id: Id,
        found: Vec<bool>,
    },
}

/// An event of a session from the inbox's side.
#[derive(Debug)]
pub(super) enum Event {
    Answer(Answer),
    /// There may be more to read.
    News,
}

/// A message to be sent.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) id: Option<Id>,
    pub(super) dup: bool,
    pub(super) message: Message,
}

/// A kept session while a connection has it.
pub(super) struct KeptSession {
    hold: Hold,
    news: watch::Receiver<Seq>,
    line: Line,
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
    is_reading: bool,
    is_confirming: bool,
    /// SUBSCRIBEs and UNSUBSCRIBEs that are not answered.
    unanswered: u16,
    again: Option<Instant>,
}

/// The messages between the inbox and the client's acknowledgement.
#[derive(Debug)]
struct Line {
    /// All up to this one may have been sent before this connection.
    sent: Seq,
    /// All up to this one were looked at.
    looked: Seq,
    page: VecDeque<inbox::Message>,
    unacknowledged: VecDeque<(Seq, Id)>,
    confirmed: Seq,
}

impl Line {
    fn new(attached: &Attached) -> Self {
        let Attached { position, sent, .. } = *attached;
        Self {
            sent,
            looked: position,
            page: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            confirmed: position,
        }
    }

    /// The next message, unless a message in flight has its number.
    fn next(&mut self, in_flight: &HashSet<Id>) -> Option<Unsent> {
        let first = self.page.front()?;
        let id = (first.qos > 0).then(|| number(first.seq));
        if id.is_some_and(|id| in_flight.contains(&id)) {
            return None;
        }
        let message = self.page.pop_front()?;
        if let Some(id) = id {
            self.unacknowledged.push_back((message.seq, id));
        }
        Some(Unsent {
            id,
            dup: id.is_some() && message.seq <= self.sent,
            message: Message {
                topic: message.topic,
                payload: message.payload,
                qos: message.qos.min(1),
                retain: false,
                expiry: None,
                is_text: false,
                properties: Vec::new(),
            },
        })
    }

    fn acknowledged(&mut self, id: Id) {
        self.unacknowledged.retain(|(_, known)| *known != id);
    }

    /// The client has everything up to this one.
    fn done(&self) -> Seq {
        let sent = self.unacknowledged.front().map(|(seq, _)| *seq);
        let first = sent.into_iter().chain(self.page.front().map(|message| message.seq)).min();
        first.map_or(self.looked, |first| first.saturating_sub(1))
    }
}

/// The packet's number of a message of QoS 1: 1 to 65535, in turn.
fn number(seq: Seq) -> Id {
    let turn = seq.rem_euclid(i64::from(u16::MAX));
    u16::try_from(turn).ok().and_then(|turn| Id::new(turn.saturating_add(1))).unwrap_or(Id::MIN)
}

/// A session as its client finds it.
pub(super) struct Found {
    pub(super) kept: Option<KeptSession>,
    pub(super) present: bool,
    pub(super) expiry: Duration,
}

impl Found {
    /// None: it ends with its connection.
    fn none() -> Self {
        Self { kept: None, present: false, expiry: Duration::ZERO }
    }
}

/// Takes up the session that a client asks for, or ends the rest of one.
///
/// # Errors
/// The reason with which CONNECT is refused.
///
/// # Cancel safety
/// A dropped call may leave the session as one that is connected, until its client comes again.
pub(super) async fn take_up(
    inbox: Option<&Inbox>,
    name: &str,
    user: Option<&str>,
    connect: &Connect,
    subscription: &Subscription,
) -> Result<Found, ConnectReason> {
    let Some(inbox) = inbox else { return Ok(Found::none()) };
    let ends = connect.expiry == Some(Duration::ZERO);
    if ends && !inbox.has_session(name) {
        // Nothing to wait for, however slow the disk is.
        return Ok(Found::none());
    }
    if ends && connect.clean {
        inbox.end(name, user);
        return Ok(Found::none());
    }
    match inbox.attach(name, user, connect.clean, connect.expiry).await {
        Ok(None) => Ok(Found::none()),
        Ok(Some((attached, hold))) => {
            subscription.read_from_inbox();
            for (filter, qos) in &attached.filters {
                subscription.add(filter, *qos, FILTERS);
            }
            let (present, expiry) = (attached.present, attached.expiry);
            let kept = KeptSession::new(&attached, hold, inbox.watch());
            Ok(Found { kept: Some(kept), present, expiry })
        }
        Err(AttachError::Owner) => Err(ConnectReason::NotAuthorized),
        Err(AttachError::TooMany) => Err(ConnectReason::QuotaExceeded),
        Err(AttachError::Closed) => Err(ConnectReason::ServerUnavailable),
    }
}

/// Waits for something to happen to a session, if there is one.
///
/// # Cancel safety
/// A dropped call takes nothing.
pub(super) async fn event(kept: &mut Option<KeptSession>) -> Event {
    match kept {
        Some(kept) => kept.event().await,
        None => std::future::pending().await,
    }
}

impl KeptSession {
    fn new(attached: &Attached, hold: Hold, mut news: watch::Receiver<Seq>) -> Self {
        // Messages that are there already are news to it.
        news.mark_changed();
        Self {
            hold,
            news,
            line: Line::new(attached),
            asked: FuturesUnordered::new(),
            is_reading: false,
            is_confirming: false,
            unanswered: 0,
            again: None,
        }
    }

    /// Says if one more SUBSCRIBE may be read: each waits for the disk.
    pub(super) fn has_place(&self) -> bool {
        self.unanswered < IN_HAND
    }

    /// Starts reading the next page and confirming messages, if it is time for that.
    pub(super) fn start(&mut self) {
        let waits = self.again.is_some_and(|again| again > Instant::now());
        if !self.is_reading && !waits && self.line.page.is_empty() {
            let last = *self.news.borrow_and_update();
            if self.line.looked < last {
                self.is_reading = true;
                self.again = None;
                let page = self.hold.next(self.line.looked, PAGE);
                self.asked.push(page.map(Answer::Page).boxed());
            }
        }
        if !self.is_confirming && self.confirm() {
            self.is_confirming = true;
        }
    }

    /// Confirms the messages that the client has. `false` if that is not news.
    fn confirm(&mut self) -> bool {
        let done = self.line.done();
        if done <= self.line.confirmed {
            return false;
        }
        self.line.confirmed = done;
        // If it fails, the inbox knows it all the same, while the agent runs.
        let confirmed = self.hold.confirm(done).map(|_| Answer::Confirmed);
        self.asked.push(confirmed.boxed());
        true
    }

    /// The connection ends: acknowledged messages are confirmed, whatever else is under way.
    pub(super) fn leave(&mut self) {
        self.confirm();
    }

    /// DISCONNECT says how long the session is to last from now on.
    pub(super) fn set_expiry(&mut self, expiry: Duration) {
        self.hold.set_expiry(expiry);
    }

    /// The next message, unless a message in flight has its number.
    pub(super) fn next(&mut self, in_flight: &HashSet<Id>) -> Option<Unsent> {
        self.line.next(in_flight)
    }

    /// PUBACK came.
    pub(super) fn acknowledged(&mut self, id: Id) {
        self.line.acknowledged(id);
    }

    /// Stores a SUBSCRIBE with its grants; it is answered once the filters are on disk.
    pub(super) fn subscribe(&mut self, id: Id, filters: &[(String, u8)], grants: Vec<Grant>) {
        let granted = filters.iter().zip(&grants).filter_map(|((filter, _), grant)| match grant {
            Grant::GrantedQos0 => Some((filter.clone(), 0)),
            Grant::GrantedQos1 => Some((filter.clone(), 1)),
            _ => None,
        });
        let stored = self.hold.subscribe(granted.collect());
        self.unanswered += 1;
        let answer = async move {
            // A granted filter outlives a kill; if it would not, the client has to know.
            let grants = match stored.await {
                Ok(()) => grants,
                Err(_) => grants.into_iter().map(unless_granted).collect(),
            };
            Answer::Subscribed { id, grants }
        };
        self.asked.push(answer.boxed());
    }

    /// An UNSUBSCRIBE; it is answered once that is on disk.
    pub(super) fn unsubscribe(&mut self, id: Id, filters: Vec<String>, found: Vec<bool>) {
        let gone = self.hold.unsubscribe(filters);
        self.unanswered += 1;
        // If the disk fails, it is written later: nothing is lost by it.
        let answer = gone.map(move |_| Answer::Unsubscribed { id, found });
        self.asked.push(answer.boxed());
    }

    /// Waits until the inbox answers, or has more.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    async fn event(&mut self) -> Event {
        let again = self.again;
        let idle = !self.is_reading && self.line.page.is_empty();
        // All arms are cancel safe: an answer that is not taken now is there the next time.
        tokio::select! {
            Some(answer) = self.asked.next(), if !self.asked.is_empty() => Event::Answer(answer),
            Ok(()) = self.news.changed(), if idle && again.is_none() => Event::News,
            () = sleep_until(again.unwrap_or_else(|| Instant::now() + FOREVER)), if again.is_some() => {
                self.again = None;
                // The last number may be known, and the messages before it not.
                self.news.mark_changed();
                Event::News
            }
            else => std::future::pending().await,
        }
    }

    /// Notes an event, and hands on an answer that the client waits for.
    pub(super) fn happened(&mut self, event: Event) -> Option<Answer> {
        match event {
            Event::News => None,
            Event::Answer(Answer::Page(page)) => {
                self.is_reading = false;
                match page {
                    Ok(page) => {
                        self.line.looked = page.through;
                        // An earlier version stored messages on any topic.
                        let is_good = |m: &inbox::Message| check_received(&m.topic).is_ok();
                        self.line.page.extend(page.messages.into_iter().filter(is_good));
                    }
                    // The inbox logs it.
                    Err(_) => self.again = Some(Instant::now() + READ_AGAIN),
                }
                None
            }
            Event::Answer(Answer::Confirmed) => {
                self.is_confirming = false;
                None
            }
            Event::Answer(answer) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                Some(answer)
            }
        }
    }
}

fn unless_granted(grant: Grant) -> Grant {
    match grant {
        Grant::GrantedQos0 | Grant::GrantedQos1 => Grant::ImplementationSpecificError,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn line(sent: Seq) -> Line {
        Line {
            sent,
            looked: 0,
            page: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            confirmed: 0,
        }
    }

    fn message(seq: Seq, qos: u8) -> inbox::Message {
        let (source, topic) = ("m/s".to_owned(), "t".to_owned());
        let payload = seq.to_string().into_bytes().into();
        inbox::Message { seq, at: SystemTime::UNIX_EPOCH, source, topic, qos, payload }
    }

    #[test]
    fn what_is_done_ends_before_the_first_that_is_not_acknowledged() {
        let mut line = line(11);
        line.page.extend([message(10, 1), message(11, 0), message(12, 1), message(13, 1)]);
        line.looked = 20;
        assert_eq!(line.done(), 9);
        let mut in_flight = HashSet::new();
        let mut ids = Vec::new();
        for (qos, dup) in [(1, true), (0, false), (1, false)] {
            let out = line.next(&in_flight).unwrap();
            assert_eq!((out.message.qos, out.dup, out.id.is_some()), (qos, dup, qos == 1));
            in_flight.extend(out.id);
            ids.extend(out.id);
        }
        assert_eq!(line.done(), 9);
        line.acknowledged(ids[1]);
        assert_eq!(line.done(), 9, "the one before it is not");
        line.acknowledged(ids[0]);
        assert_eq!(line.done(), 12, "the one behind it is not sent");
        let last = line.next(&in_flight).unwrap().id.unwrap();
        line.acknowledged(last);
        assert_eq!(line.done(), 20);
    }

    #[test]
    fn a_message_has_the_same_number_each_time_and_no_two_in_flight_have_the_same() {
        assert_eq!((number(1), number(1 + 65_535)), (number(1 + 2 * 65_535), number(1)));
        assert!((1..70_000).all(|seq| number(seq) != number(seq + 1)));
        let mut line = line(0);
        line.page.push_back(message(7, 1));
        assert!(line.next(&HashSet::from([number(7)])).is_none());
        assert!(line.next(&HashSet::from([number(8)])).is_some());
    }
}
