//! What goes out in one publish: a message, or several of one topic.

use queue::Lease;

use super::batch;
use crate::config::Batch;

/// Messages that are published together, in their order. The first stands for all: they have its
/// topic, its quality of service and its retain flag.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// The place of the first among the messages of its lane.
    pub(super) order: u64,
    /// The first message.
    pub(super) first: Lease,
    /// Those behind it, with their places.
    pub(super) rest: Vec<(u64, Lease)>,
    /// What is published, where it is not the payload of the first.
    made: Option<Vec<u8>>,
}

impl Parcel {
    /// One message as it is, or as a batch of one where its route makes batches.
    pub(super) fn single(order: u64, first: Lease, batch: Option<&Batch>) -> Self {
        Self::of(order, first, Vec::new(), batch)
    }

    /// These messages.
    pub(super) fn of(
        order: u64,
        first: Lease,
        rest: Vec<(u64, Lease)>,
        batch: Option<&Batch>,
    ) -> Self {
        let all = || std::iter::once(&first).chain(rest.iter().map(|(_, lease)| lease));
        let made = batch.map(|batch| batch::together(batch, all()));
        Self { order, first, rest, made }
    }

    /// What is published.
    pub(super) fn payload(&self) -> &[u8] {
        self.made.as_deref().unwrap_or(&self.first.payload)
    }

    /// All its messages.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        std::iter::once(&self.first).chain(self.rest.iter().map(|(_, lease)| lease))
    }

    /// All its messages with their places.
    pub(super) fn into_members(self) -> impl Iterator<Item = (u64, Lease)> {
        std::iter::once((self.order, self.first)).chain(self.rest)
    }

    /// The least priority among them.
    pub(super) fn priority(&self) -> u8 {
        self.leases().map(|lease| lease.priority).min().unwrap_or_default()
    }
}
