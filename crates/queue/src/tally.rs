//! The totals per bucket (a priority of a lane) and of the queue, without reading the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    message::ASIDE,
    order::{BucketId, MAX_BUCKET},
};

/// A number of messages and their accounted bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// Returns this many messages of this many bytes together.
    pub(crate) fn of(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes }
    }

    /// Returns the amount of a message of `size` bytes with a copy for each of `lanes`.
    pub(crate) fn copies(lanes: &[String], size: u64) -> Self {
        let copies = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
        Self { messages: copies, bytes: size.saturating_mul(copies) }
    }

    pub(crate) fn add(&mut self, size: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn take(&mut self, size: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

/// A priority of a lane, with the amount that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) id: BucketId,
    pub(crate) lane: Arc<str>,
    pub(crate) priority: u8,
    pub(crate) held: Amount,
}

impl Bucket {
    /// Returns an empty bucket.
    pub(crate) fn empty(id: BucketId, lane: Arc<str>, priority: u8) -> Self {
        Self { id, lane, priority, held: Amount::default() }
    }
}

/// All buckets. Its size depends on the number of lanes only, so that a copy can be kept to undo a
/// transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    buckets: BTreeMap<BucketId, Bucket>,
    names: BTreeMap<(Arc<str>, u8), BucketId>,
    total: Amount,
    changed: BTreeSet<BucketId>,
    /// The amount that each lane holds in all its priorities, including messages set aside.
    lanes: BTreeMap<Arc<str>, Amount>,
}

impl Tally {
    /// Loads the saved totals.
    pub(crate) fn new(buckets: Vec<Bucket>) -> Self {
        let mut tally = Self::default();
        for bucket in buckets {
            tally.total.messages = tally.total.messages.saturating_add(bucket.held.messages);
            tally.total.bytes = tally.total.bytes.saturating_add(bucket.held.bytes);
            tally.lanes.entry(Arc::clone(&bucket.lane)).or_default().join(bucket.held);
            tally.names.insert((Arc::clone(&bucket.lane), bucket.priority), bucket.id);
            tally.buckets.insert(bucket.id, bucket);
        }
        tally
    }

    /// Returns the amount held in all buckets.
    pub(crate) fn total(&self) -> Amount {
        self.total
    }

    /// Returns the bucket of a lane and priority, if a message was ever put in it.
    pub(crate) fn find(&self, lane: &Arc<str>, priority: u8) -> Option<BucketId> {
        self.names.get(&(Arc::clone(lane), priority)).copied()
    }

    /// Returns the bucket of a lane and priority, made if needed.
    pub(crate) fn find_or_make(&mut self, lane: &Arc<str>, priority: u8) -> BucketId {
        if let Some(id) = self.find(lane, priority) {
            return id;
        }
        let id = self.free_id();
        let bucket = Bucket::empty(id, Arc::clone(lane), priority);
        self.names.insert((Arc::clone(lane), priority), id);
        self.buckets.insert(id, bucket);
        id
    }

    /// Returns a bucket by its id.
    pub(crate) fn bucket(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(&id)
    }

    /// Returns all buckets of priority `priority`.
    pub(crate) fn of_priority(&self, priority: u8) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(move |bucket| bucket.priority == priority)
    }

    /// Adds a message to a bucket.
    pub(crate) fn add(&mut self, id: BucketId, size: u64) {
        self.total.add(size);
        self.changed.insert(id);
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.held.add(size);
            self.lanes.entry(Arc::clone(&bucket.lane)).or_default().add(size);
        }
    }

    /// Takes a message from a bucket.
    pub(crate) fn take(&mut self, id: BucketId, size: u64) {
        self.total.take(size);
        self.changed.insert(id);
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.held.take(size);
            self.lanes.entry(Arc::clone(&bucket.lane)).or_default().take(size);
        }
    }

    /// Returns the buckets that changed since the last call; they are to be saved.
    pub(crate) fn drain_changed(&mut self) -> Vec<Bucket> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|id| self.buckets.get(&id).cloned()).collect()
    }

    /// Reports whether a bucket holds messages set aside.
    pub(crate) fn is_aside(&self, id: BucketId) -> bool {
        self.bucket(id).is_some_and(|bucket| &*bucket.lane == ASIDE)
    }

    /// Returns the amount that a lane holds in all its priorities.
    pub(crate) fn lane(&self, name: &str) -> Amount {
        self.lanes.get(name).copied().unwrap_or_default()
    }

    /// Returns the ids of all buckets.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BucketId> + '_ {
        self.buckets.keys().copied()
    }

    /// Returns an id that no bucket has. The key of a row has room for [`MAX_BUCKET`] of them;
    /// after that, those of empty buckets are used again.
    fn free_id(&mut self) -> BucketId {
        let last = self.buckets.last_key_value().map_or(0, |(id, _)| id.0);
        if last < MAX_BUCKET {
            return BucketId(last.saturating_add(1));
        }
        let empty = self.buckets.values().find(|bucket| bucket.held == Amount::default());
        let Some(Bucket { id, lane, priority, .. }) = empty.cloned() else {
            return BucketId(MAX_BUCKET);
        };
        self.names.remove(&(lane, priority));
        self.buckets.remove(&id);
        id
    }

    /// Renames a lane, and returns the empty buckets of the new name, which are removed; `None` if
    /// the name is taken.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Option<Vec<BucketId>> {
        if self.lane(to) != Amount::default() || from == to {
            return None;
        }
        let gone: Vec<BucketId> = self.of_lane(to).collect();
        for id in &gone {
            if let Some(bucket) = self.buckets.remove(id) {
                self.names.remove(&(bucket.lane, bucket.priority));
            }
        }
        let to: Arc<str> = Arc::from(to);
        let moved: Vec<BucketId> = self.of_lane(from).collect();
        for id in moved {
            if let Some(bucket) = self.buckets.get_mut(&id) {
                self.names.remove(&(Arc::clone(&bucket.lane), bucket.priority));
                bucket.lane = Arc::clone(&to);
                self.names.insert((Arc::clone(&to), bucket.priority), id);
            }
        }
        self.lanes.remove(&*to);
        if let Some(held) = self.lanes.remove(from) {
            self.lanes.insert(to, held);
        }
        Some(gone)
    }

    fn of_lane<'a>(&'a self, lane: &'a str) -> impl Iterator<Item = BucketId> + 'a {
        self.buckets.values().filter(move |bucket| &*bucket.lane == lane).map(|bucket| bucket.id)
    }

    /// Returns the buckets that hold messages set aside.
    pub(crate) fn aside_buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(|bucket| &*bucket.lane == ASIDE)
    }

    /// Returns the filled buckets of all lanes.
    pub(crate) fn filled(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().filter(|bucket| &*bucket.lane != ASIDE && bucket.held.messages > 0)
    }

    /// Returns the amount that each lane holds in all its priorities, without messages set aside.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (&Arc<str>, &Amount)> {
        self.lanes.iter().filter(|(lane, _)| &***lane != ASIDE)
    }
}
