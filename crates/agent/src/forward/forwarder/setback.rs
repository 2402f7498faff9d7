//! What becomes of messages that did not get through: refused, suspected, or without a result.

use modem::session::{Chain, Outcome, Progress};
use queue::Lease;
use tokio::sync::mpsc;

use super::super::delivery::await_end;
use super::super::given::Holding;
use super::super::parcel::Parcel;
use super::Forwarder;

/// A message is set aside after so many sessions were closed under it by their broker, with another
/// message acknowledged in between: brokers kick a client for a topic that they forbid it.
const POISON: u32 = 5;

impl Forwarder {
    pub(super) fn failed(&mut self, parcel: Parcel, target: usize, outcome: Outcome) {
        if !parcel.rest.is_empty()
            && matches!(outcome, Outcome::Refused(_) | Outcome::Lost { by_broker: true })
        {
            // One of them may be the reason: each goes by itself the next time.
            self.alone.extend(parcel.leases().map(|lease| lease.id));
        }
        match outcome {
            Outcome::Refused(error) if parcel.rest.is_empty() => {
                self.alone.remove(&parcel.first.id);
                self.set_aside(&parcel.first, "refused", &Chain(&error).to_string())
            }
            Outcome::Lost { by_broker: true } => {
                parcel.into_members().for_each(|(order, lease)| self.suspect(order, lease, target));
            }
            Outcome::Refused(_)
            | Outcome::Lost { by_broker: false }
            | Outcome::NotSent
            | Outcome::Acknowledged => self.ready.extend(parcel.into_members()),
        }
    }

    /// A broker closed the session under this message. Others go first now; if they are acknowledged
    /// and this one's session is closed again and again, it is the message.
    fn suspect(&mut self, order: u64, lease: Lease, target: usize) {
        let acknowledged = self.targets.get(target).map_or(0, |target| target.acknowledged);
        let suspicion = self.suspicions.entry(lease.id).or_default();
        // A session that acknowledged nothing since it was last lost under this message may be closed
        // for another reason.
        if suspicion.seen.insert(target, acknowledged).is_none_or(|seen| acknowledged > seen) {
            suspicion.losses += 1;
        }
        if suspicion.losses >= POISON {
            self.suspicions.remove(&lease.id);
            self.alone.remove(&lease.id);
            let words =
                "its broker closes the session each time it is published; it may forbid the topic";
            return self.set_aside(&lease, "poison", words);
        }
        self.suspects.insert(order, lease);
    }

    /// Takes a message out of the way, on disk, where the operator finds it. If the disk refuses that,
    /// its lease is kept: the lane goes on all the same, and the next start tries it again.
    pub(super) fn set_aside(&self, lease: &Lease, reason: &'static str, words: &str) {
        self.metrics.set_aside(reason);
        tracing::error!(id = %lease.id, topic = lease.topic, "message set aside, see `modemfleet queue inspect`: {words}");
        drop(self.queue.set_aside(lease.id, reason, words));
    }

    /// A result stays out. Where another path is free the message goes there too, with the same id.
    pub(super) fn stalled(
        &mut self,
        parcel: Parcel,
        target: usize,
        rest: mpsc::Receiver<Progress>,
        given: Holding,
    ) {
        self.stuck.insert(parcel.order, (target, parcel.clone()));
        self.in_flight.push(Box::pin(await_end(parcel, target, rest, given)));
        self.move_stuck();
    }

    /// Moves stuck messages to another path, as soon as one is free.
    pub(super) fn move_stuck(&mut self) {
        let free: Vec<usize> = (0..)
            .zip(&self.targets)
            .filter(|(_, target)| target.is_free())
            .map(|(at, _)| at)
            .collect();
        let movable = |(_, (target, parcel)): &(&u64, &(usize, Parcel))| {
            free.iter()
                .any(|at| at != target && self.lets_through(*at, parcel) && self.fits(*at, parcel))
        };
        let orders: Vec<u64> = self.stuck.iter().filter(movable).map(|(order, _)| *order).collect();
        for order in orders {
            let Some((target, parcel)) = self.stuck.remove(&order) else { continue };
            if let Some(target) = self.targets.get(target) {
                tracing::warn!(id = %parcel.first.id, session = %target.id, "no result in time; trying the next path");
                target.stalled.send_replace(true);
            }
            self.moved.push(order);
            self.window = self.window.saturating_sub(1);
            // Places of their own, right behind the first, so that the two ways are told apart.
            self.ready.extend(parcel.into_members().map(|(order, lease)| (order + 1, lease)));
        }
    }
}
