//! The spreading of CONNECTs over time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two CONNECTs of one gateway.
pub(super) const STAGGER: Duration = Duration::from_millis(50);

/// Spreads the CONNECTs of one gateway, so that a broker that comes back is not stormed.
#[derive(Debug)]
pub struct Stagger {
    next: Mutex<Option<Instant>>,
}

impl Stagger {
    /// Creates the stagger for all modems of a gateway.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { next: Mutex::new(None) })
    }

    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + STAGGER);
            turn
        };
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
    }
}
