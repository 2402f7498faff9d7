//! How much is held: per bucket (one priority of one lane) and in all, without asking the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::message::ASIDE;

/// A bucket's row id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BucketId(pub(crate) i64);

/// A number of messages and their accounted bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, size: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
    }

    pub(crate) fn take(&mut self, size: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

/// One priority of one lane, with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) id: BucketId,
    pub(crate) lane: Arc<str>,
    pub(crate) priority: u8,
    pub(crate) held: Amount,
}

impl Bucket {
    /// One that holds nothing yet.
    pub(crate) fn empty(id: BucketId, lane: Arc<str>, priority: u8) -> Self {
        Self { id, lane, priority, held: Amount::default() }
    }
}

/// All buckets. As large as there are lanes, so that a copy can be kept to undo a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    buckets: BTreeMap<BucketId, Bucket>,
    names: BTreeMap<(Arc<str>, u8), BucketId>,
    total: Amount,
    changed: BTreeSet<BucketId>,
}

impl Tally {
    /// The totals as they were saved.
    pub(crate) fn new(buckets: Vec<Bucket>) -> Self {
        let mut tally = Self::default();
        for bucket in buckets {
            tally.total.messages = tally.total.messages.saturating_add(bucket.held.messages);
            tally.total.bytes = tally.total.bytes.saturating_add(bucket.held.bytes);
            tally.names.insert((Arc::clone(&bucket.lane), bucket.priority), bucket.id);
            tally.buckets.insert(bucket.id, bucket);
        }
        tally
    }

    /// All that is held.
    pub(crate) fn total(&self) -> Amount {
        self.total
    }

    /// The bucket of a lane and priority, if anything was ever put in it.
    pub(crate) fn find(&self, lane: &Arc<str>, priority: u8) -> Option<BucketId> {
        self.names.get(&(Arc::clone(lane), priority)).copied()
    }

    /// The bucket of a lane and priority, made if need be.
    pub(crate) fn find_or_make(&mut self, lane: &Arc<str>, priority: u8) -> BucketId {
        if let Some(id) = self.find(lane, priority) {
            return id;
        }
        let last = self.buckets.last_key_value().map_or(0, |(id, _)| id.0);
        let id = BucketId(last.saturating_add(1));
        let bucket = Bucket::empty(id, Arc::clone(lane), priority);
        self.names.insert((Arc::clone(lane), priority), id);
        self.buckets.insert(id, bucket);
        id
    }

    /// A bucket by its id.
    pub(crate) fn bucket(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(&id)
    }

    /// All buckets of priority `priority`.
    pub(crate) fn of_priority(&self, priority: u8) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(move |bucket| bucket.priority == priority)
    }

    /// A message came into a bucket.
    pub(crate) fn add(&mut self, id: BucketId, size: u64) {
        self.total.add(size);
        self.changed.insert(id);
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.held.add(size);
        }
    }

    /// A message left a bucket.
    pub(crate) fn take(&mut self, id: BucketId, size: u64) {
        self.total.take(size);
        self.changed.insert(id);
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.held.take(size);
        }
    }

    /// The buckets that changed since this was last asked; they are to be saved.
    pub(crate) fn drain_changed(&mut self) -> Vec<Bucket> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|id| self.buckets.get(&id).cloned()).collect()
    }

    /// Whether a bucket holds what was set aside.
    pub(crate) fn is_aside(&self, id: BucketId) -> bool {
        self.bucket(id).is_some_and(|bucket| &*bucket.lane == ASIDE)
    }

    /// What is set aside.
    pub(crate) fn aside(&self) -> Amount {
        let mut all = Amount::default();
        for bucket in self.aside_buckets() {
            all.messages = all.messages.saturating_add(bucket.held.messages);
            all.bytes = all.bytes.saturating_add(bucket.held.bytes);
        }
        all
    }

    /// The buckets that hold what is set aside.
    pub(crate) fn aside_buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(|bucket| &*bucket.lane == ASIDE)
    }

    /// The buckets of all lanes that hold something.
    pub(crate) fn filled(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(|bucket| &*bucket.lane != ASIDE && bucket.held.messages > 0)
    }

    /// What each lane holds in all its priorities, without what was set aside.
    pub(crate) fn lanes(&self) -> BTreeMap<Arc<str>, Amount> {
        let mut lanes: BTreeMap<Arc<str>, Amount> = BTreeMap::new();
        for bucket in self.buckets.values().filter(|bucket| &*bucket.lane != ASIDE) {
            let lane = lanes.entry(Arc::clone(&bucket.lane)).or_default();
            lane.messages = lane.messages.saturating_add(bucket.held.messages);
            lane.bytes = lane.bytes.saturating_add(bucket.held.bytes);
        }
        lanes
    }
}
