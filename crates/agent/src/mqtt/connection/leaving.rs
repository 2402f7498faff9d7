//! The end of a connection: its last answers, its will, and what waits on for room once it is closed.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::link::Link;
use super::super::listener::{Serving, SignedIn};
use super::super::published::{Held, InHand, Settled};
use super::super::wire::{Outgoing, Reason};
use super::super::{FOREVER, LAST_ANSWERS, LAST_APPENDS, LEFT_AGAIN, WRITE};
use super::{Connection, End};
use crate::hand_in::Way;

impl<S: Link> Connection<S> {
    /// Leaves the will of who left without a word, waits for the last answers, and says why, where that can be
    /// said.
    pub(super) async fn finish(&mut self, end: &End) {
        tracing::debug!(peer = self.peer, "a local MQTT client's connection ends: {end:?}");
        if self.connected {
            self.in_hand.leave(&self.serving.left);
            if let End::LeftWithWill | End::Broken | End::Fault(..) = end
                && let Some(will) = self.will.take()
            {
                self.in_hand.push(Held::will(will));
            }
            self.last_answers(matches!(end, End::Stopping)).await;
        }
        let last = match end {
            End::Left | End::LeftWithWill | End::Broken => None,
            End::Refused(reason) => Some(Outgoing::Refused(*reason)),
            End::Stopping if self.connected => {
                Some(Outgoing::Disconnect(Reason::ServerShuttingDown))
            }
            End::Fault(reason, _) if self.connected => Some(Outgoing::Disconnect(*reason)),
            // To what is no MQTT nothing is said.
            End::Fault(..) | End::Stopping => None,
        };
        if let Some(last) = last {
            self.wire.encode(last, &mut self.outbound);
            // The connection ends either way.
            self.has_gone = false;
            let _ = self.flush().await;
        }
        let _ = timeout(WRITE, self.stream.shutdown()).await;
        if let Some(signed_in) = &mut self.signed_in {
            signed_in.close();
        }
        if let End::Fault(_, words) = end
            && self.connected
        {
            tracing::info!(peer = self.peer, "a local MQTT client is disconnected: {words}");
        }
    }

    /// Answers still what is on its way to the disk.
    async fn last_answers(&mut self, stopping: bool) {
        let until = Instant::now() + if stopping { LAST_APPENDS } else { LAST_ANSWERS };
        start(&mut self.in_hand, self.signed_in.as_ref());
        while self.in_hand.is_busy() {
            // All arms are cancel safe.
            let settled = tokio::select! {
                settled = self.in_hand.next() => settled,
                () = sleep_until(until) => return,
                () = self.serving.stop.cancelled(), if !stopping => return,
            };
            if let Some(settled) = settled {
                // The connection ends either way.
                let _ = self.settled(settled);
            }
            start(&mut self.in_hand, self.signed_in.as_ref());
        }
    }
}

/// Starts what may be started, once it is this client's turn among those of its name.
pub(super) fn start(in_hand: &mut InHand, signed_in: Option<&SignedIn>) {
    if in_hand.is_held_back() {
        in_hand.hold_back(signed_in.is_some_and(|signed_in| !signed_in.is_first()));
    }
    in_hand.start();
}

/// What a client that has gone left behind.
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
            if let Some(Settled { held, result: Err(refusal) }) = settled {
                let what = if held.is_will { "will" } else { "message of QoS 0" };
                tracing::warn!(peer = self.peer, "a local MQTT client's {what} is lost: {refusal}");
            }
        }
        let lost = self.in_hand.lost();
        if lost > 0 {
            let words = "messages of QoS 0, or wills, found no room and are lost";
            tracing::warn!(peer = self.peer, lost, "{words}");
            (0..lost).for_each(|_| self.serving.hand_in.refused(Way::Mqtt));
        }
    }
}
