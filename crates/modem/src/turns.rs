//! One modem of a gateway is reset at a time, so that a trouble they share does not take all of them
//! away at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Who resets its modem now, if anybody. A turn ends by itself after the time it was taken for: a modem
/// that nothing brings back stops no other one.
#[derive(Debug)]
pub struct Turns {
    taken: watch::Sender<Taken>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    /// Counts the turns, so that one that ran out ends no later one.
    number: u64,
    until: Option<Instant>,
}

/// The right to reset one modem; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    /// Nobody resets anything.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { taken: watch::channel(Taken::default()).0 })
    }

    /// Waits for the turn, and takes it for so long.
    ///
    /// # Cancel safety
    /// Cancel safe. Turns come in no particular order.
    pub(crate) async fn take(self: &Arc<Self>, span: Duration) -> Turn {
        let mut watched = self.taken.subscribe();
        loop {
            let now = Instant::now();
            let mut number = None;
            self.taken.send_if_modified(|taken| {
                if taken.until.is_some_and(|until| now < until) {
                    return false;
                }
                *taken = Taken { number: taken.number.wrapping_add(1), until: Some(now + span) };
                number = Some(taken.number);
                true
            });
            if let Some(number) = number {
                return Turn { turns: Arc::clone(self), number };
            }
            let until = watched.borrow_and_update().until.unwrap_or(now);
            // Either way it is looked at again.
            let _ = tokio::time::timeout_at(until, watched.changed()).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns
            .taken
            .send_if_modified(|taken| taken.number == self.number && taken.until.take().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_when_it_is_given_back_or_has_run_out() {
        let turns = Turns::new();
        let start = Instant::now();
        let first = turns.take(SPAN).await;
        let (second, ()) = tokio::join!(turns.take(SPAN), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(first);
        });
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        let third = turns.take(SPAN).await;
        assert_eq!(start.elapsed(), Duration::from_secs(65), "the second was kept");
        // One that has run out ends nobody else's.
        drop(second);
        let waits = tokio::time::timeout(Duration::from_secs(1), turns.take(SPAN)).await;
        assert!(waits.is_err());
        drop(third);
        drop(turns.take(SPAN).await);
        assert_eq!(start.elapsed(), Duration::from_secs(66));
    }
}
