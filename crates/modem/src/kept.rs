//! Received messages that a modem keeps until they are fetched.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use crate::chain::Chain;
use crate::mqtt::{Client, Mqtt, MqttError};
use crate::port::{At, ExchangeError};

/// The number of fetches of a message whose answer is missing or damaged.
const TRIES: u32 = 3;

/// The places of messages that were not fetched yet. A place is in the set once, so that a modem
/// that announces it again and again costs no more.
#[derive(Default)]
pub(crate) struct Kept(watch::Sender<BTreeSet<(Client, u8)>>);

impl Kept {
    pub(crate) fn note(&self, client: Client, slot: u8) {
        self.0.send_if_modified(|kept| kept.insert((client, slot)));
    }

    /// Waits for the next place, in the order of clients and places.
    async fn next(&self) -> (Client, u8) {
        let mut kept = self.0.subscribe();
        loop {
            let mut next = None;
            self.0.send_if_modified(|kept| {
                next = kept.pop_first();
                false
            });
            match next {
                Some(next) => return next,
                // The sender is this value, so it still exists.
                None => drop(kept.wait_for(|kept| !kept.is_empty()).await),
            }
        }
    }
}

/// Fetches the messages that the modem keeps, until the port goes. The messages themselves come as
/// URCs.
pub(crate) async fn fetch_kept(at: &At, mqtt: &dyn Mqtt, kept: &Kept) {
    let mut tries = BTreeMap::new();
    loop {
        let (client, slot) = kept.next().await;
        match mqtt.fetch(at, client, slot).await {
            Ok(()) => drop(tries.remove(&(client, slot))),
            Err(MqttError::Exchange { source: ExchangeError::Gone, .. }) => return,
            Err(error) => {
                tracing::warn!(slot, "a message stays in the modem: {}", Chain(&error));
                // Without an answer another fetch may succeed; a refusal means that the place is
                // empty.
                let tried = tries.entry((client, slot)).or_insert(0_u32);
                *tried += 1;
                if matches!(error, MqttError::Exchange { .. }) && *tried < TRIES {
                    kept.note(client, slot);
                } else {
                    tries.remove(&(client, slot));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_place_is_asked_for_once_and_again_when_it_is_told_again() {
        let kept = Kept::default();
        for (client, slot) in [(1, 0), (0, 3), (0, 3), (0, 1)] {
            kept.note(Client(client), slot);
        }
        for want in [(0, 1), (0, 3), (1, 0)] {
            assert_eq!(kept.next().await, (Client(want.0), want.1));
        }
        let (next, ()) = tokio::join!(kept.next(), async { kept.note(Client(0), 3) });
        assert_eq!(next, (Client(0), 3));
    }
}
