//! Signs that a modem is at work itself: it takes long to answer, writes its firmware, or keeps
//! booting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use at::Framing;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Attempts;

/// The time without a line after which an update counts as over. Units that write their flash were
/// seen to be silent for minutes, and to start again if they lose power meanwhile.
const UPDATE: Duration = Duration::from_secs(15 * 60);

/// The time after our START or CONNECT during which a boot may be its effect: a transmission takes
/// the most current.
const BROWN_OUT: Duration = Duration::from_secs(60);

/// The age at which a boot does not count for a boot loop any more.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The number of such boots in a row that make a boot loop.
const LOOP: u32 = 2;

/// The modem's own work, as far as it shows. Shared by its port and its task.
#[derive(Default)]
pub(crate) struct Vitals {
    busy: watch::Sender<bool>,
    update: watch::Sender<Option<Update>>,
    starts: Mutex<Starts>,
}

/// A firmware update under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    /// The time of its last line.
    heard: Instant,
    /// The text of that line.
    line: String,
}

/// STARTs and CONNECTs of ours, and the boots that followed them.
#[derive(Default)]
struct Starts {
    last: Option<Instant>,
    /// The time of the last such boot.
    booted: Option<Instant>,
    boots: u32,
    attempts: Attempts,
    /// The longest wait so far. The next wait is at least as long.
    wait: Duration,
    not_before: Option<Instant>,
}

impl Vitals {
    fn starts(&self) -> MutexGuard<'_, Starts> {
        // No code that holds the lock leaves it half changed.
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the modem takes longer than usual for an answer.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.send_if_modified(|now| std::mem::replace(now, busy) != busy);
    }

    pub(crate) fn is_busy(&self) -> bool {
        *self.busy.borrow()
    }

    /// Reads an unsolicited line.
    pub(crate) fn hear(&self, line: &str, framing: &Framing) {
        let Some(is_over) = framing.tells_update(line) else { return };
        let update = Update { heard: Instant::now(), line: line.to_owned() };
        self.update.send_replace((!is_over).then_some(update));
    }

    /// Returns the time until which a firmware update counts as under way, and its last line.
    pub(crate) fn update(&self) -> Option<(Instant, String)> {
        let update = self.update.borrow();
        let Update { heard, line } = update.as_ref()?;
        let until = *heard + UPDATE;
        (Instant::now() < until).then(|| (until, line.clone()))
    }

    /// Calls `changed` after each change, for ever.
    pub(crate) async fn follow(&self, changed: impl Fn()) {
        let (mut busy, mut update) = (self.busy.subscribe(), self.update.subscribe());
        loop {
            changed();
            // Both arms are cancel safe, and none awaits in its body. The senders live as long as
            // this.
            tokio::select! {
                _ = busy.changed() => {}
                _ = update.changed() => {}
            }
        }
    }

    /// Notes that a START or CONNECT is about to be sent.
    pub(crate) fn starting(&self) {
        let mut starts = self.starts();
        let now = Instant::now();
        if starts.last.is_some_and(|last| now >= last + BROWN_OUT) {
            // The earlier start held.
            *starts = Starts::default();
        }
        starts.last = Some(now);
    }

    /// Notes that the next boot has a cause of ours: a reset, or a radio that is switched off.
    pub(crate) fn interfering(&self) {
        self.starts().last = None;
    }

    /// Notes that the modem booted, or lost its SIM, by itself. If that followed a START or CONNECT
    /// of ours, the next START waits.
    pub(crate) fn booted(&self) {
        let mut starts = self.starts();
        let now = Instant::now();
        let Some(last) = starts.last.take() else { return };
        if now >= last + BROWN_OUT {
            *starts = Starts::default();
            return;
        }
        if starts.booted.is_some_and(|booted| now >= booted + FORGOTTEN) {
            *starts = Starts::default();
        }
        starts.boots += 1;
        starts.booted = Some(now);
        starts.wait = starts.wait.max(starts.attempts.next_wait());
        starts.not_before = Some(now + starts.wait);
    }

    /// Returns the time before which no START may be sent, after boots that followed one.
    pub(crate) fn not_before(&self) -> Option<(Instant, u32)> {
        let starts = self.starts();
        let until = starts.not_before.filter(|until| Instant::now() < *until)?;
        Some((until, starts.boots))
    }

    /// Reports whether the modem keeps booting when it has to transmit.
    pub(crate) fn is_in_boot_loop(&self) -> bool {
        let starts = self.starts();
        let now = Instant::now();
        starts.boots >= LOOP
            && starts.last.is_none_or(|last| now < last + BROWN_OUT)
            && starts.booted.is_some_and(|booted| now < booted + FORGOTTEN)
    }

    /// Notes that the device was plugged in again: it is served at once.
    pub(crate) fn replugged(&self) {
        *self.starts() = Starts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn boots_that_follow_a_start_delay_the_next_one_ever_longer() {
        fastrand::seed(3);
        let vitals = Vitals::default();
        vitals.booted();
        assert_eq!(vitals.not_before(), None, "nothing of ours came before it");
        let start = Instant::now();
        let mut starts = 0;
        let mut longest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(45) {
            vitals.starting();
            starts += 1;
            tokio::time::advance(Duration::from_millis(500)).await;
            vitals.booted();
            let (until, boots) = vitals.not_before().unwrap();
            assert_eq!(boots, starts);
            let wait = until - Instant::now();
            assert!(wait >= longest, "{wait:?} after {longest:?}");
            longest = wait;
            assert!(
                until <= Instant::now() + Duration::from_secs(20),
                "trouble that young is tried"
            );
            assert_eq!(vitals.is_in_boot_loop(), starts >= 2);
            tokio::time::sleep_until(until).await;
        }
        assert!((3..=10).contains(&starts), "{starts}");
        // A start that holds for a minute ends it.
        vitals.starting();
        tokio::time::advance(BROWN_OUT).await;
        assert!(!vitals.is_in_boot_loop());
        vitals.booted();
        assert_eq!(vitals.not_before(), None);
        // A replug is served at once.
        vitals.starting();
        vitals.booted();
        vitals.replugged();
        assert_eq!(vitals.not_before(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_is_over_when_it_says_so_or_says_nothing_for_a_quarter_of_an_hour() {
        let framing = Framing {
            updates: vec![at::Update { prefix: "+QIND: \"FOTA\"", end: "\"END\"" }],
            ..Framing::default()
        };
        let vitals = Vitals::default();
        vitals.hear("+QIND: \"csq\",20,99", &framing);
        assert_eq!(vitals.update(), None);
        vitals.hear("+QIND: \"FOTA\",\"UPDATING\",7%", &framing);
        assert!(vitals.update().is_some());
        vitals.hear("+QIND: \"FOTA\",\"END\",0", &framing);
        assert_eq!(vitals.update(), None);
        vitals.hear("+QIND: \"FOTA\",\"START\"", &framing);
        tokio::time::advance(UPDATE).await;
        assert_eq!(vitals.update(), None);
    }
}
