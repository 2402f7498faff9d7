//! Who vetoes a recovery: a session that works, and would not after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::modem::Core;
use crate::mqtt::Client;
use crate::recovery::Sign;
use crate::service::Shared;
use crate::session::Witness;

/// A connected session that was acknowledged so recently vetoes whatever would end it.
const SOUND: Duration = Duration::from_secs(60);

/// When each connected session had its last acknowledgement, by its client: the veto.
#[derive(Default)]
pub(crate) struct Acknowledged(Mutex<BTreeMap<Client, Instant>>);

impl Acknowledged {
    fn times(&self) -> MutexGuard<'_, BTreeMap<Client, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, client: Client) {
        self.times().insert(client, Instant::now());
    }

    pub(crate) fn forget(&self, client: Client) {
        self.times().remove(&client);
    }

    pub(crate) fn clear(&self) {
        self.times().clear();
    }

    /// Whether one of them, `but` for this, works.
    pub(crate) fn is_sound(&self, but: Option<Client>) -> bool {
        self.times().iter().any(|(client, when)| Some(*client) != but && when.elapsed() < SOUND)
    }
}

/// Sessions of a modem that fail again and again, and not by their brokers' word.
#[derive(Default)]
pub(crate) struct Failing(Mutex<BTreeSet<String>>);

impl Failing {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, session: &str, fails: bool) {
        if fails {
            self.names().insert(session.to_owned());
        } else {
            self.names().remove(session);
        }
    }

    /// Whether it is more than one, so that it is hardly one broker's fault.
    pub(crate) fn is_plural(&self) -> bool {
        self.names().len() > 1
    }
}

/// What one session tells its modem.
pub(crate) struct Told<'a> {
    pub(crate) core: &'a Core,
    pub(crate) shared: &'a Shared,
    pub(crate) client: Client,
}

impl Witness for Told<'_> {
    fn connecting(&self) {
        self.core.vitals.starting();
    }

    fn connected(&self) {
        self.core.shows(Sign::Broker);
        self.shared.connected.notify_one();
        self.core.ready();
    }

    fn refused(&self) {
        self.core.shows(Sign::Service);
    }

    fn acknowledged(&self) {
        self.shared.acknowledged.note(self.client);
    }

    fn fails(&self, session: &str, fails: bool) {
        self.core.failing.note(session, fails);
    }

    fn is_shared(&self) -> bool {
        self.shared.holders.is_shared()
    }

    fn is_restart_due(&self) -> bool {
        self.core.is_restart_due()
    }

    fn ended(&self) {
        self.shared.acknowledged.forget(self.client);
    }

    fn others_are_sound(&self) -> bool {
        self.shared.acknowledged.is_sound(Some(self.client))
    }
}
