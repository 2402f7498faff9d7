//! The receivers of a port's URCs and news: its owner, the observer, the log, and other listeners.

use std::sync::Arc;

use at::{Cause, Framing, Urc};
use tokio::sync::mpsc;

use crate::observe::{Observer, RecoveryAction, RecoveryOutcome};
use crate::urc_listeners::UrcListeners;
use crate::vitals::Vitals;

/// The longest read in bytes.
pub(super) const READ: usize = 1024;

/// The most URCs that one read can hold: a line is at least one byte and its LF.
const URCS_OF_A_READ: usize = READ / 2;

/// URCs waiting to be sorted. The port reads only while there is room for all URCs of a read. So a
/// slow reader holds the modem back through the tty, and no URC is ever lost.
const EVENTS: usize = 2 * URCS_OF_A_READ;

/// News of a port for its owner.
#[derive(Debug)]
pub enum PortEvent {
    /// The modem is in step; `answer` is the model line, or the IMEI once that is known.
    InStep {
        /// The modem's answer.
        answer: String,
    },
    /// An unsolicited result code.
    Urc(Urc),
    /// The modem echoes commands again, after it had stopped.
    EchoBack,
}

/// The owner of one port, and its other receivers.
pub(super) struct Audience {
    owner: mpsc::Sender<PortEvent>,
    pub(super) observer: Arc<dyn Observer>,
    /// Notes whether the modem is busy.
    pub(super) vitals: Option<Arc<Vitals>>,
    /// Receives the URCs beside the owner.
    pub(super) listeners: Option<Arc<UrcListeners>>,
    /// The engine's framing, for the parts of a line that may be shown.
    pub(super) framing: Framing,
    /// True if the last exchange's answer is secret: until the next exchange, any line may be a
    /// part of it.
    pub(super) hides_lines: bool,
    /// True if the step was lost while the modem was in service.
    lost_step: bool,
}

impl Audience {
    pub(super) fn new(
        framing: Framing,
        observer: Arc<dyn Observer>,
    ) -> (Self, mpsc::Receiver<PortEvent>) {
        let (owner, events) = mpsc::channel(EVENTS);
        let (vitals, listeners) = (None, None);
        let (hides_lines, lost_step) = (false, false);
        (Self { owner, observer, vitals, listeners, framing, hides_lines, lost_step }, events)
    }

    /// Reports whether the URCs of a whole read have room, or the owner is gone.
    pub(super) fn has_room(&self) -> bool {
        self.owner.capacity() >= URCS_OF_A_READ || self.owner.is_closed()
    }

    /// Waits until the URCs of a whole read have room.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn room(&self) {
        drop(self.owner.reserve_many(URCS_OF_A_READ).await);
    }

    pub(super) fn urc(&self, urc: Urc) {
        self.observer.urc();
        if self.hides_lines {
            tracing::trace!(target: "modemfleet::at", "! ***");
        } else {
            tracing::trace!(target: "modemfleet::at", "! {}", self.framing.shown(&urc.line));
        }
        if let Some(vitals) = &self.vitals {
            vitals.hear(&urc.line, &self.framing);
        }
        if let Some(listeners) = &self.listeners {
            listeners.tell(&urc, &self.framing);
        }
        self.tell(PortEvent::Urc(urc));
    }

    pub(super) fn desync(&mut self, cause: &Cause) {
        // A modem that boots is silent for a while, which is not a trouble.
        self.lost_step = !matches!(cause, Cause::Opened | Cause::Booted);
        match cause {
            Cause::Opened => {}
            // The lines so far still fit: the modem is only asked to make sure.
            Cause::Doubt | Cause::Booted | Cause::ResultTimeout => {
                self.observer.precaution();
                tracing::debug!(?cause, "checking whether the modem is in step");
            }
            _ => {
                self.observer.desync();
                tracing::debug!(?cause, "out of step with the modem; resynchronising");
            }
        }
    }

    pub(super) fn in_step(&mut self, answer: String, questions: u32) {
        // One question that is answered at once is routine.
        if std::mem::take(&mut self.lost_step) && questions > 1 {
            self.observer.recovery(RecoveryAction::Resync, RecoveryOutcome::Cured);
        }
        self.tell(PortEvent::InStep { answer });
    }

    /// Hands an event to the owner. There is room, unless the owner is gone.
    pub(super) fn tell(&self, event: PortEvent) {
        let _ = self.owner.try_send(event);
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        if let Some(vitals) = &self.vitals {
            vitals.set_busy(is_busy);
        }
    }
}
