//! Events that are seen by looking: states of modems, and the reasons of sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use api::events::{Event, Level};
use modem::session::{SessionPhase, SessionState};
use modem::{Snapshot, State};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::chronicle::Chronicle;
use crate::now::View;

/// The interval between two looks. A look reads values in memory.
const LOOK: Duration = Duration::from_secs(1);

/// The time from the start after which a modem that was not found counts as absent.
const START: Duration = Duration::from_secs(30);

/// The parts of a modem as they were noted last.
#[derive(Default)]
struct Seen {
    state: Option<State>,
    /// The reason that was noted last for each session that is not connected.
    reasons: BTreeMap<String, String>,
}

/// Adds what is seen of modems and sessions to the history.
pub struct Follower(pub Chronicle);

impl Follower {
    /// Notes changes of modems and sessions until the stop.
    ///
    /// # Cancel safety
    /// Dropping the future ends the notes.
    pub async fn follow(&self, view: &View, stop: &CancellationToken) {
        let start = Instant::now();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        // Both arms are cancel safe, and none awaits in its body.
        while tokio::select! { _ = tick.tick() => true, () = stop.cancelled() => false } {
            let now = view.now();
            seen.retain(|name, _| now.modem(name).is_some());
            for modem in &now.modems {
                let seen = seen.entry(modem.name.clone()).or_default();
                let is_young = start.elapsed() < START;
                let snapshot = modem.snapshot.borrow().clone();
                self.look_at_modem(&modem.name, &snapshot, seen, is_young);
                for session in &modem.sessions {
                    let (name, disconnected) = (session.id.session.as_str(), &modem.activity);
                    let disconnected = disconnected.take_disconnect(name);
                    self.look_at_session(&modem.name, name, &session.state(), seen, disconnected);
                }
            }
        }
    }

    fn look_at_modem(&self, name: &str, now: &Snapshot, seen: &mut Seen, is_young: bool) {
        let is_absent = now.state == State::Absent;
        if is_absent && seen.state.is_some() {
            // Its record noted when the port went.
            seen.state = Some(State::Absent);
            return;
        }
        // The way through identification takes a second, and says nothing.
        let is_step = now.state == State::Identifying || is_absent && is_young;
        if is_step || seen.state == Some(now.state) {
            return;
        }
        seen.state = Some(now.state);
        let (level, words) = words_of(now.state);
        let words = match &now.reason {
            Some(reason) if now.state != State::Serving => format!("{words}: {reason}"),
            _ => words.to_owned(),
        };
        let (kind, modem) = ("state".to_owned(), Some(name.to_owned()));
        self.0.push(Event { kind, level, modem, words, ..Event::default() });
    }

    fn look_at_session(
        &self,
        modem: &str,
        name: &str,
        now: &SessionState,
        seen: &mut Seen,
        disconnected: Option<u64>,
    ) {
        if let Some((id, reason)) = disconnected.zip(now.reason.as_ref()) {
            self.0.amend(id, &format!("disconnected: {reason}"));
            seen.reasons.insert(name.to_owned(), reason.clone());
        }
        if now.is_connected() {
            seen.reasons.remove(name);
            return;
        }
        let fails = matches!(now.phase, SessionPhase::BackingOff | SessionPhase::Failed);
        let Some(reason) = now.reason.as_ref().filter(|_| fails) else { return };
        if seen.reasons.get(name) == Some(reason) {
            return;
        }
        seen.reasons.insert(name.to_owned(), reason.clone());
        self.0.push(Event {
            kind: "refused".to_owned(),
            level: if now.phase == SessionPhase::Failed { Level::Bad } else { Level::Warn },
            modem: Some(modem.to_owned()),
            session: Some(name.to_owned()),
            words: format!("does not connect: {reason}"),
            ..Event::default()
        });
    }
}

fn words_of(state: State) -> (Level, &'static str) {
    match state {
        State::Serving => (Level::Good, "serving"),
        State::Identifying => (Level::Info, "being identified"),
        State::Sim => (Level::Warn, "waits for its SIM"),
        State::Searching => (Level::Warn, "searches for a network"),
        State::Recovering => (Level::Warn, "being brought back"),
        State::Failed => (Level::Bad, "failed"),
        State::Absent => (Level::Bad, "absent"),
    }
}
