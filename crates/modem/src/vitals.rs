//! Signs that a modem is at something: it takes long for its answers, writes its firmware, or keeps booting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use at::Framing;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Attempts;

/// An update that printed nothing for so long is over. Units that write their flash were seen to be silent for
/// minutes, and to begin from the start if they lose power meanwhile.
const UPDATE: Duration = Duration::from_secs(15 * 60);

/// A boot so soon after a START or CONNECT of ours may be its doing: a transmission is what takes most current.
const BROWN_OUT: Duration = Duration::from_secs(60);

/// A boot so long ago belongs to no loop of now.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// So many such boots in a row are a boot loop.
const LOOP: u32 = 2;

/// What a modem is seen to be at. Shared by its port and its task.
#[derive(Default)]
pub(crate) struct Vitals {
    busy: watch::Sender<bool>,
    update: watch::Sender<Option<Update>>,
    starts: Mutex<Starts>,
}

/// A firmware update under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    /// When its last line came.
    heard: Instant,
    /// That line.
    line: String,
}

/// STARTs and CONNECTs of ours, and the boots that followed them.
#[derive(Default)]
struct Starts {
    last: Option<Instant>,
    /// When the last such boot was.
    booted: Option<Instant>,
    boots: u32,
    attempts: Attempts,
    /// The longest wait so far. The next one is no shorter.
    wait: Duration,
    not_before: Option<Instant>,
}

impl Vitals {
    fn starts(&self) -> MutexGuard<'_, Starts> {
        // No code that holds the lock leaves it half changed.
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports whether the modem takes longer than usual for an answer.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.send_if_modified(|now| std::mem::replace(now, busy) != busy);
    }

    pub(crate) fn is_busy(&self) -> bool {
        *self.busy.borrow()
    }

    /// Takes in a line that came unasked.
    pub(crate) fn hear(&self, line: &str, framing: &Framing) {
        let Some(is_over) = framing.tells_update(line) else { return };
        let update = Update { heard: Instant::now(), line: line.to_owned() };
        self.update.send_replace((!is_over).then_some(update));
    }

    /// Until when a firmware update counts as under way, and its last line.
    pub(crate) fn update(&self) -> Option<(Instant, String)> {
        let update = self.update.borrow();
        let Update { heard, line } = update.as_ref()?;
        let until = *heard + UPDATE;
        (Instant::now() < until).then(|| (until, line.clone()))
    }

    /// Calls this after each change, for ever.
    pub(crate) async fn follow(&self, changed: impl Fn()) {
        let (mut busy, mut update) = (self.busy.subscribe(), self.update.subscribe());
        loop {
            changed();
            // Both arms are cancel safe, and none awaits in its body. The senders live as long as this.
            tokio::select! {
                _ = busy.changed() => {}
                _ = update.changed() => {}
            }
        }
    }

    /// A START or CONNECT is about to be sent.
    pub(crate) fn starting(&self) {
        let mut starts = self.starts();
        let now = Instant::now();
        if starts.last.is_some_and(|last| now >= last + BROWN_OUT) {
            // The one before held.
            *starts = Starts::default();
        }
        starts.last = Some(now);
    }

    /// What comes next is our own doing: a reset, or a radio that is switched off.
    pub(crate) fn interfering(&self) {
        self.starts().last = None;
    }

    /// The modem booted, or lost its SIM, by itself. If that followed a START or CONNECT of ours, the next one waits.
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

    /// Until when no START is to be sent, after boots that followed one.
    pub(crate) fn not_before(&self) -> Option<(Instant, u32)> {
        let starts = self.starts();
        let until = starts.not_before.filter(|until| Instant::now() < *until)?;
        Some((until, starts.boots))
    }

    /// Reports whether the modem boots again and again when it is to transmit.
    pub(crate) fn is_in_boot_loop(&self) -> bool {
        let starts = self.starts();
        let now = Instant::now();
        starts.boots >= LOOP
            && starts.last.is_none_or(|last| now < last + BROWN_OUT)
            && starts.booted.is_some_and(|booted| now < booted + FORGOTTEN)
    }

    /// The device was plugged in anew: it is served at once.
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
