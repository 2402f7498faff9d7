//! Messages that a client left behind. They wait for room after its connection is closed.

use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};

use crate::metrics::labels::WayIn;
use crate::mqtt::published::{InHand, Settled};
use crate::mqtt::serving::{Serving, SignedIn};
use crate::mqtt::{FOREVER, LAST_APPENDS, LEFT_AGAIN};

/// Starts what may be started, once it is this client's turn among those of its name.
pub(super) fn start(in_hand: &mut InHand, signed_in: Option<&SignedIn>) {
    if in_hand.is_held_back() {
        in_hand.hold_back(signed_in.is_some_and(|signed_in| !signed_in.is_first()));
    }
    in_hand.start();
}

/// Messages that a client left behind.
pub(super) struct Left {
    pub(super) serving: Arc<Serving>,
    pub(super) peer: String,
    pub(super) in_hand: InHand,
    /// Kept, so that the next of its name waits for this.
    pub(super) signed_in: Option<SignedIn>,
}

impl Left {
    /// Hands it in as soon as there is room.
    pub(super) async fn store(mut self, mut stopping: bool) {
        let mut until = Instant::now() + if stopping { LAST_APPENDS } else { FOREVER };
        while !self.in_hand.is_empty() {
            start(&mut self.in_hand, self.signed_in.as_ref());
            // All arms are cancel safe.
            let settled = tokio::select! {
                settled = self.in_hand.next() => settled,
                () = sleep(LEFT_AGAIN), if self.in_hand.pause().is_some() => None,
                () = sleep_until(until), if stopping => break,
                () = self.serving.stop.cancelled(), if !stopping => {
                    (stopping, until) = (true, Instant::now() + LAST_APPENDS);
                    None
                }
            };
            if let Some(Settled { message, result: Err(refusal) }) = settled {
                let what = if message.is_will { "will" } else { "message of QoS 0" };
                tracing::warn!(peer = self.peer, "a local MQTT client's {what} is lost: {refusal}");
            }
        }
        let lost = self.in_hand.lost();
        if lost > 0 {
            let words = "messages of QoS 0, or wills, found no room in the queue and are lost";
            tracing::warn!(peer = self.peer, lost, "{words}");
            (0..lost).for_each(|_| self.serving.hand_in.refused(WayIn::Mqtt));
        }
    }
}
