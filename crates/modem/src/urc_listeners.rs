//! Listeners to a modem's URCs, beside its owner.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use at::{Framing, Urc};
use tokio::sync::mpsc;

/// The most URCs that wait for one listener. A listener that falls further behind misses the
/// newest, and gets their number.
const BACKLOG: usize = 256;

/// The most listeners of one modem at the same time, more than the people who watch one modem.
const LISTENERS: usize = 8;

/// An unsolicited result code as a person may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The line.
    pub line: String,
    /// The data it announced.
    pub data: Option<Vec<u8>>,
}

/// The listeners to a modem's URCs.
#[derive(Debug, Default)]
pub(crate) struct UrcListeners(Mutex<Vec<Listener>>);

#[derive(Debug)]
struct Listener {
    heard: mpsc::Sender<Heard>,
    missed: Arc<AtomicU64>,
}

/// One listener's place, until it is dropped.
#[derive(Debug)]
pub struct Hearing {
    heard: mpsc::Receiver<Heard>,
    missed: Arc<AtomicU64>,
}

impl UrcListeners {
    fn all(&self) -> MutexGuard<'_, Vec<Listener>> {
        // No code that holds the lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listen(&self) -> Option<Hearing> {
        let mut all = self.all();
        all.retain(|listener| !listener.heard.is_closed());
        if all.len() >= LISTENERS {
            return None;
        }
        let (sender, heard) = mpsc::channel(BACKLOG);
        let missed = Arc::<AtomicU64>::default();
        all.push(Listener { heard: sender, missed: Arc::clone(&missed) });
        Some(Hearing { heard, missed })
    }

    /// Sends a URC to all listeners, without waiting.
    pub(crate) fn tell(&self, urc: &Urc, framing: &Framing) {
        let mut all = self.all();
        if all.is_empty() {
            return;
        }
        let heard = Heard { line: framing.shown(&urc.line).into_owned(), data: urc.data.clone() };
        all.retain(|listener| match listener.heard.try_send(heard.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                listener.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }
}

impl Hearing {
    /// Returns the next URC; `None` once the modem is gone for good.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Returns the number of URCs missed since the last call.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
