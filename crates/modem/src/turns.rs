//! The turns to reset: one modem of a gateway at a time, so that a common trouble does not take all
//! modems away at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The modem that resets now, if any. A turn ends by itself after its time: a modem that does not
/// come back never blocks another one.
#[derive(Debug)]
pub struct Turns {
    taken: watch::Sender<Taken>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    /// The count of turns, so that a turn that ran out does not end a later one.
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
    /// Creates the turns; none is taken.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { taken: watch::channel(Taken::default()).0 })
    }

    /// Takes the turn for `span`, unless another modem has it.
    pub(crate) fn try_take(self: &Arc<Self>, span: Duration) -> Option<Turn> {
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
        number.map(|number| Turn { turns: Arc::clone(self), number })
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
        let first = turns.try_take(SPAN).unwrap();
        assert!(turns.try_take(SPAN).is_none());
        drop(first);
        let second = turns.try_take(SPAN).unwrap();
        tokio::time::advance(SPAN).await;
        let third = turns.try_take(SPAN).unwrap();
        // A turn that has run out does not end another's turn.
        drop(second);
        assert!(turns.try_take(SPAN).is_none());
        drop(third);
        assert!(turns.try_take(SPAN).is_some());
    }
}
