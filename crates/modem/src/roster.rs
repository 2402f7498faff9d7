//! The sessions of one modem: at rest, in service, joining and leaving.
//!
//! A session in service is lent. When its service ends it comes back, or is gone for good if it had
//! to leave. So others may join and leave while it goes on undisturbed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::mqtt::Client;
use crate::observe::DisconnectReason;
use crate::session::{Session, Uplink};

const LEFT: &str = "its session is no longer in the fleet file";

/// The sessions of one modem, to which the agent adds and from which it takes.
#[derive(Default)]
pub struct Roster {
    rest: Mutex<Rest>,
    changed: Notify,
}

/// Sessions that are not in service, by the order in which they joined.
#[derive(Default)]
struct Rest {
    sessions: BTreeMap<u64, Session>,
    joined: u64,
}

impl Roster {
    pub(crate) fn new(sessions: Vec<Session>) -> Self {
        let roster = Self::default();
        sessions.into_iter().for_each(|session| roster.join(session));
        roster
    }

    /// Adds a session: it is served as soon as the modem has a free client for it.
    pub fn join(&self, session: Session) {
        let mut rest = self.rest();
        let place = rest.joined;
        rest.joined = place.wrapping_add(1);
        rest.sessions.insert(place, session);
        drop(rest);
        self.changed.notify_one();
    }

    /// Ends a session for good: its current publish is finished, it signs out, and its client is
    /// free. The modem's other sessions are not touched.
    pub fn leave(&self, session: &Uplink) {
        session.leave.cancel();
        self.rest().sessions.retain(|_, session| !session.leave.is_cancelled());
        self.changed.notify_one();
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        // No code that holds the lock leaves it half changed.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a session joined or left.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Reports whether no session is at rest.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest().sessions.is_empty()
    }

    /// Lends the next session to be served.
    pub(crate) fn lend(&self) -> Option<SessionLoan<'_>> {
        let (place, session) = self.rest().sessions.pop_first()?;
        Some(SessionLoan { session: Some(session), place, roster: self })
    }

    /// Marks the sessions at rest as waiting for a free client.
    pub(crate) fn turn_away(&self, reason: &str) {
        for session in self.rest().sessions.values_mut() {
            session.turn_away(reason);
        }
    }

    /// Brings the sessions at rest into the state after the end of their service.
    pub(crate) fn went(&self, reason: DisconnectReason, words: &str) {
        for session in self.rest().sessions.values_mut() {
            session.went(reason, words);
        }
    }

    /// Returns the clients that sessions over TLS will have, if none is in service and there are so
    /// many clients.
    pub(crate) fn secured(&self, clients: u8) -> Vec<Client> {
        let rest = self.rest();
        let clients = (0..clients).map(Client).zip(rest.sessions.values());
        clients.filter(|(_, session)| session.config.secured).map(|(client, _)| client).collect()
    }
}

/// A session in service.
pub(crate) struct SessionLoan<'a> {
    session: Option<Session>,
    place: u64,
    roster: &'a Roster,
}

impl SessionLoan<'_> {
    /// The session.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }
}

impl Drop for SessionLoan<'_> {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        if session.leave.is_cancelled() {
            session.went(DisconnectReason::Agent, LEFT);
        } else {
            self.roster.rest().sessions.insert(self.place, session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::message::Received;
    use crate::observe::Observer;
    use crate::session::{SessionConfig, SessionPhase, session};

    struct Nobody;

    impl Observer for Nobody {}

    fn new(name: &str) -> (Uplink, Session) {
        let config = SessionConfig {
            name: name.to_owned(),
            connection: Arc::new(|| Err("nothing to sign in with".to_owned())),
            subscriptions: Vec::new(),
            reconnect_max: Duration::from_secs(1),
            secured: name == "tls",
            presence: None,
            inbox: Arc::new(drop::<Received>),
        };
        session(config, Arc::new(Nobody))
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.rest().sessions.values().map(|session| session.config.name.clone()).collect()
    }

    #[test]
    fn who_was_in_service_comes_back_to_its_place_and_who_left_does_not() {
        let ((a, first), (_b, second), (_c, third)) = (new("a"), new("tls"), new("c"));
        let roster = Roster::new(vec![first, second]);
        assert_eq!(roster.secured(2), [Client(1)]);
        assert_eq!(roster.secured(1), []);
        let lent = roster.lend().unwrap();
        roster.join(third);
        assert_eq!(names(&roster), ["tls", "c"]);
        drop(lent);
        assert_eq!(names(&roster), ["a", "tls", "c"]);
        let lent = roster.lend().unwrap();
        roster.leave(&a);
        drop(lent);
        assert_eq!(names(&roster), ["tls", "c"], "it left while it was in service");
        assert_eq!(a.state.borrow().reason.as_deref(), Some(LEFT));
        assert!(a.state.has_changed().is_err(), "nobody has it any more");
    }

    #[test]
    fn who_is_turned_away_says_why_until_it_is_served() {
        let (a, first) = new("a");
        let roster = Roster::new(vec![first]);
        roster.turn_away("no free client");
        assert_eq!(a.state.borrow().phase, SessionPhase::Failed);
        roster.went(DisconnectReason::Unplug, "gone");
        assert_eq!(a.state.borrow().reason.as_deref(), Some("no free client"));
        roster.leave(&a);
        assert!(roster.is_empty());
    }
}
