//! The veto against a recovery: a session that works, and would not after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::mqtt::Client;

/// The time for which a connected session that heard its broker vetoes an action that would end it.
const SOUND: Duration = Duration::from_secs(60);

/// The times at which each connected session heard its broker last: the veto.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Times>);

#[derive(Default)]
struct Times {
    /// The last acknowledgement or message of each client.
    last: BTreeMap<Client, Instant>,
    /// The first CONNECT in this run of the service, until that connection is lost. Later ones do
    /// not count: a session that reconnects again and again does not work.
    greeted: BTreeMap<Client, Option<Instant>>,
}

impl Heard {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the broker acknowledged a publish, or sent a message.
    pub(crate) fn note(&self, client: Client) {
        self.times().last.insert(client, Instant::now());
    }

    pub(crate) fn note_connected(&self, client: Client) {
        self.times().greeted.entry(client).or_insert(Some(Instant::now()));
    }

    pub(crate) fn forget(&self, client: Client) {
        let mut times = self.times();
        times.last.remove(&client);
        if let Some(greeted) = times.greeted.get_mut(&client) {
            *greeted = None;
        }
    }

    pub(crate) fn clear(&self) {
        *self.times() = Times::default();
    }

    /// Reports whether a session works.
    pub(crate) fn is_sound(&self) -> bool {
        self.times().last.values().any(|when| when.elapsed() < SOUND)
    }

    /// Reports whether another session works, or was just connected.
    pub(crate) fn is_sound_beside(&self, client: Client) -> bool {
        let times = self.times();
        let greeted = times.greeted.iter().filter_map(|(of, when)| Some((of, when.as_ref()?)));
        let mut heard = times.last.iter().chain(greeted);
        heard.any(|(of, when)| *of != client && when.elapsed() < SOUND)
    }
}

/// Sessions of a modem that keep failing for reasons other than their brokers.
#[derive(Default)]
pub(crate) struct Failing(Mutex<BTreeSet<String>>);

impl Failing {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, session: &str, fails: bool) {
        if fails {
            self.names().insert(session.to_owned());
        } else {
            self.names().remove(session);
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.names().is_empty()
    }

    /// Reports whether more than one session fails, so that one broker is hardly the cause.
    pub(crate) fn is_plural(&self) -> bool {
        self.names().len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Client = Client(0);
    const OTHER: Client = Client(1);

    #[tokio::test(start_paused = true)]
    async fn a_session_is_sound_for_a_minute_after_it_heard_its_broker() {
        let heard = Heard::default();
        heard.note(ONE);
        assert!(heard.is_sound() && heard.is_sound_beside(OTHER));
        assert!(!heard.is_sound_beside(ONE), "it does not speak for itself");
        tokio::time::advance(SOUND).await;
        assert!(!heard.is_sound() && !heard.is_sound_beside(OTHER));
        heard.note(ONE);
        heard.forget(ONE);
        assert!(!heard.is_sound());
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_connect_of_a_run_counts_and_vetoes_no_loss() {
        let heard = Heard::default();
        heard.note_connected(ONE);
        assert!(heard.is_sound_beside(OTHER));
        assert!(!heard.is_sound(), "a lost network is not put off for it");
        heard.forget(ONE);
        heard.note_connected(ONE);
        assert!(!heard.is_sound_beside(OTHER), "it is connected again and again");
        heard.clear();
        heard.note_connected(ONE);
        assert!(heard.is_sound_beside(OTHER), "the service was started anew");
    }
}
