//! Listeners who hear what a modem says unasked, beside its owner.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use at::{Framing, Urc};
use tokio::sync::mpsc;

/// URCs that wait for one listener; who falls further behind misses the newest, and is told how many.
const BACKLOG: usize = 256;

/// Listeners of one modem at the same time: more people than look at one modem.
const LISTENERS: usize = 8;

/// An unsolicited result code as a person may be shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The line.
    pub line: String,
    /// The data it announced.
    pub data: Option<Vec<u8>>,
}

/// Who hears what a modem says unasked.
#[derive(Debug, Default)]
pub(crate) struct UrcListeners(Mutex<Vec<Listener>>);

#[derive(Debug)]
struct Listener {
    heard: mpsc::Sender<Heard>,
    missed: Arc<AtomicU64>,
}

/// One listener's place; it ends when this is dropped.
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

    /// Tells a URC to whoever listens, and waits for nobody.
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
    /// The next one; `None` once the modem is gone for good.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// How many were missed since the last call.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
