//! The end of a connection: its last answers and its will.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::end::End;
use super::super::link::Link;
use super::super::published::Unanswered;
use super::super::wire::{Outgoing, Reason};
use super::super::{LAST_ANSWERS, LAST_APPENDS, WRITE};
use super::Connection;
use super::left::start;

impl<S: Link> Connection<S> {
    /// Leaves the will of a client that left without a word, waits for the last answers, and sends the reason, if the
    /// client's version has it.
    pub(super) async fn finish(&mut self, end: &End) {
        tracing::debug!(
            peer = self.client.peer(),
            "a local MQTT client's connection ends: {end:?}"
        );
        if self.client.is_accepted() {
            self.client.in_hand().leave(&self.serving.left);
            if let End::LeftWithWill | End::Broken | End::Fault(..) = end
                && let Some(will) = self.client.take_will()
            {
                self.client.in_hand().push(Unanswered::will(will));
            }
            self.last_answers(matches!(end, End::Stopping)).await;
        }
        let last = match end {
            End::Left | End::LeftWithWill | End::Broken => None,
            End::Refused(reason) => Some(Outgoing::Refused(*reason)),
            End::Stopping if self.client.is_accepted() => {
                Some(Outgoing::Disconnect(Reason::ServerShuttingDown))
            }
            End::Fault(reason, _) if self.client.is_accepted() => {
                Some(Outgoing::Disconnect(*reason))
            }
            // There is no answer to bytes that are not MQTT.
            End::Fault(..) | End::Stopping => None,
        };
        if let Some(last) = last {
            self.client.say_last(last);
            // The connection ends either way.
            let _ = self.write().await;
        }
        let _ = timeout(WRITE, self.stream.shutdown()).await;
        if let Some(signed_in) = &mut self.signed_in {
            signed_in.close();
        }
        if let End::Fault(_, words) = end
            && self.client.is_accepted()
        {
            tracing::info!(
                peer = self.client.peer(),
                "a local MQTT client is disconnected: {words}"
            );
        }
    }

    /// Answers the messages that are still on their way to the disk.
    async fn last_answers(&mut self, stopping: bool) {
        let until = Instant::now() + if stopping { LAST_APPENDS } else { LAST_ANSWERS };
        start(self.client.in_hand(), self.signed_in.as_ref());
        while self.client.in_hand().is_busy() {
            // All arms are cancel safe.
            let settled = tokio::select! {
                settled = self.client.in_hand().next() => settled,
                () = sleep_until(until) => return,
                () = self.serving.stop.cancelled(), if !stopping => return,
            };
            if let Some(settled) = settled {
                // The connection ends either way.
                let _ = self.client.settled(settled);
            }
            start(self.client.in_hand(), self.signed_in.as_ref());
        }
    }
}
