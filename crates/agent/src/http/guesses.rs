//! Wrong tokens: how guessing is slowed, and how the log hears of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accept::Origin;

/// The least time until a wrong token is answered: what one connection can try is one a second.
const DELAY: Duration = Duration::from_secs(1);

/// The least time between two such answers: more connections guess no faster than this.
const APART: Duration = Duration::from_millis(100);

/// The most time until an answer, below that of any request.
const LONGEST: Duration = Duration::from_secs(20);

/// The most callers who wait. One more is answered at once: no other's place is taken for it.
const WAITING: usize = 256;

/// The least time between two lines of the log.
const QUIET: Duration = Duration::from_secs(60);

/// Wrong tokens that were shown. A right one is not looked at here, and so never waits.
pub(super) struct Guesses {
    places: Semaphore,
    /// Turn of those who wait, in the order in which they came. Who leaves is no longer in the row.
    turn: Semaphore,
    tally: Mutex<Tally>,
    news: Notify,
}

#[derive(Default)]
struct Tally {
    /// When the last of those who waited was answered.
    last_answer: Option<Instant>,
    /// Wrong tokens since the log's last line, and who showed the last one.
    untold: u64,
    peer: Option<Origin>,
}

impl Default for Guesses {
    fn default() -> Self {
        let (tally, news) = (Mutex::default(), Notify::new());
        Self { places: Semaphore::new(WAITING), turn: Semaphore::new(1), tally, news }
    }
}

impl Guesses {
    /// Notes a wrong token, and returns when it may be answered.
    ///
    /// # Cancel safety
    /// A caller who leaves frees its place among those who wait, and its turn. Guessing is no faster by that: a right token is
    /// answered at once, so that one who leaves has no answer and learns no more than by waiting a moment.
    pub(super) async fn wrong(&self, peer: Option<Origin>) {
        self.note(peer);
        if let Ok(_place) = self.places.try_acquire() {
            // In time or late, it is answered.
            let _ = tokio::time::timeout(LONGEST, self.row()).await;
        }
    }

    fn note(&self, peer: Option<Origin>) {
        let mut tally = self.tally();
        tally.untold += 1;
        tally.peer = peer;
        drop(tally);
        self.news.notify_one();
    }

    /// Waits for the delay, and for those who came before.
    async fn row(&self) {
        tokio::time::sleep(DELAY).await;
        let _turn = self.turn.acquire().await;
        let now = Instant::now();
        let answer = self.tally().last_answer.map_or(now, |last| now.max(last + APART));
        tokio::time::sleep_until(answer).await;
        self.tally().last_answer = Some(answer);
    }

    /// Logs wrong tokens until `stop`: the first one at once, and those that follow as a number, a line a minute.
    pub(super) async fn report(&self, stop: &CancellationToken) {
        // Both arms are cancel safe, and none awaits in its body: the tally keeps what a lost notice was about.
        while tokio::select! { () = self.news.notified() => true, () = stop.cancelled() => false } {
            let (count, peer) = self.untold();
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::warn!(
                peer,
                count,
                "the API received wrong tokens, the last one from this peer"
            );
            // Nothing is lost with either arm.
            tokio::select! { () = tokio::time::sleep(QUIET) => {}, () = stop.cancelled() => return }
        }
    }

    fn untold(&self) -> (u64, Option<Origin>) {
        let mut tally = self.tally();
        (std::mem::take(&mut tally.untold), tally.peer)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_guess_together_are_answered_one_after_the_other() {
        let guesses = Guesses::default();
        let start = Instant::now();
        for _ in 0..3 {
            guesses.wrong(None).await;
        }
        assert_eq!(start.elapsed(), DELAY * 3, "one connection");
        let start = Instant::now();
        join_all((0..101).map(|_| guesses.wrong(None))).await;
        assert_eq!(start.elapsed(), DELAY + APART * 100);
        let start = Instant::now();
        join_all((0..WAITING).map(|_| guesses.wrong(None))).await;
        assert_eq!(start.elapsed(), LONGEST, "the last ones wait no longer than a request may");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_there_are_places() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let waiting = join_all((0..WAITING).map(|_| guesses.wrong(None)));
        let more = async {
            tokio::task::yield_now().await;
            guesses.wrong(None).await;
            assert_eq!(start.elapsed(), Duration::ZERO);
        };
        tokio::join!(waiting, more);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_gives_the_turn_back() {
        let guesses = Guesses::default();
        for waited in [DELAY / 2, DELAY + APART / 2, DELAY * 3] {
            for _ in 0..4 {
                let left = join_all((0..200).map(|_| guesses.wrong(None)));
                assert!(tokio::time::timeout(waited, left).await.is_err());
            }
            let start = Instant::now();
            guesses.wrong(None).await;
            assert_eq!(start.elapsed(), DELAY, "they left after {waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_has_a_line_a_minute_whatever_comes() {
        let guesses = Guesses::default();
        let stop = CancellationToken::new();
        let flood = async {
            for _ in 0..90 {
                guesses.wrong(Some(Origin::of([192, 0, 2, 7].into()))).await;
            }
            // The first was told at once; those of the first minute were told after it.
            let (untold, peer) = guesses.untold();
            assert!((25..=35).contains(&untold), "{untold}");
            assert_eq!(peer, Some(Origin::of([192, 0, 2, 7].into())));
            stop.cancel();
        };
        tokio::join!(guesses.report(&stop), flood);
    }
}
