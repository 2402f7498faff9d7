//! The faults of the demo: a modem is unplugged, another one hangs.

use std::time::Duration;

use modem_sim::{Handle, HandleError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::news::News;
use super::place::MODEMS;

/// The time for which the modem is unplugged.
const UNPLUGGED: Duration = Duration::from_secs(2);

/// The time for which the other modem hangs.
const HANGING: Duration = Duration::from_secs(5);

/// An action on a modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Unplug,
    Plug,
    Hang,
    Resume,
}

/// Returns the actions of a round of this length: the time since its start, the modem's index, the
/// action.
fn schedule(round: Duration) -> [(Duration, usize, Deed); 4] {
    let (unplug, hang) = (round / 4, round / 2);
    let mut deeds = [
        (unplug, 1, Deed::Unplug),
        (unplug + UNPLUGGED, 1, Deed::Plug),
        (hang, 0, Deed::Hang),
        (hang + HANGING, 0, Deed::Resume),
    ];
    // In a short round one fault begins before the other ends.
    deeds.sort_by_key(|(at, ..)| *at);
    deeds
}

/// Plays round after round until it is dropped, or only one round.
pub(super) async fn play(
    modems: Vec<Handle>,
    round: Duration,
    again: bool,
    news: mpsc::Sender<News>,
) {
    let mut start = Instant::now();
    loop {
        for (after, modem, deed) in schedule(round) {
            sleep_until(start + after).await;
            let (Some(handle), Some(name)) = (modems.get(modem), MODEMS.get(modem)) else {
                continue;
            };
            let words = match perform(handle, deed).await {
                Ok(()) => format!("{name}: {}", words(deed)),
                Err(error) => format!("{name}: {}", modem::session::Chain(&error)),
            };
            // It fails only if the receiver is gone, when the demo ends.
            drop(news.send(News::Done(words)).await);
        }
        if !again {
            return;
        }
        start += round;
        sleep_until(start).await;
    }
}

/// Ends every fault. A modem that does not run cannot be restored.
pub(super) async fn restore(modems: &[Handle]) {
    for handle in modems {
        for deed in [Deed::Plug, Deed::Resume] {
            let _ = perform(handle, deed).await;
        }
    }
}

async fn perform(modem: &Handle, deed: Deed) -> Result<(), HandleError> {
    match deed {
        Deed::Unplug => modem.unplug().await,
        Deed::Plug => modem.plug().await,
        Deed::Hang => modem.hang().await,
        Deed::Resume => modem.resume().await,
    }
}

fn words(deed: Deed) -> &'static str {
    match deed {
        Deed::Unplug => "unplugged",
        Deed::Plug => "plugged in again",
        Deed::Hang => "hangs: it accepts commands and answers nothing",
        Deed::Resume => "answers again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_mended_in_every_round() {
        for seconds in [1, 4, 12, 30] {
            let deeds = schedule(Duration::from_secs(seconds));
            assert!(deeds.is_sorted_by_key(|(at, ..)| *at), "{deeds:?}");
            let place = |deed| deeds.iter().position(|(.., found)| *found == deed).unwrap();
            assert!(place(Deed::Unplug) < place(Deed::Plug));
            assert!(place(Deed::Hang) < place(Deed::Resume));
        }
    }
}
