//! The facts about the file that decisions need without reading it: the totals, the leases, and the
//! first message of each bucket.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    leases::{Leased, Leases, Undo},
    message::{ASIDE, MAX_PRIORITY, MessageId},
    order::{BucketId, Seq},
    row::Located,
    stat::{LaneStat, Stat},
    store::Store,
    tally::{Bucket, Tally},
};

/// The contents of the file in memory.
///
/// Between two transactions the totals are those that are committed. A transaction [begins](Self::begin)
/// and is either [kept](Self::keep) or [undone](Self::undo), leases included. A moved message can be
/// leased only once its move is kept.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    tally: Tally,
    leases: Leases,
    /// The first message of buckets, if known, with its append time.
    heads: HashMap<BucketId, (Seq, i64)>,
    pending: Pending,
}

/// The changes since the transaction began.
#[derive(Debug, Default)]
struct Pending {
    before: Tally,
    undo: Vec<Undo>,
    arrivals: Vec<Located>,
}

impl Contents {
    /// Begins with the saved totals, and without leases.
    pub(crate) fn new(buckets: Vec<Bucket>) -> Self {
        Self { tally: Tally::new(buckets), ..Self::default() }
    }

    /// Takes over the totals of another file. Leases on messages that are there go on.
    pub(crate) fn replace(&mut self, buckets: Vec<Bucket>, store: &Store) {
        self.tally = Tally::new(buckets);
        self.heads.clear();
        self.pending = Pending::default();
        let tally = &self.tally;
        self.leases.relocate(|id| store.find(id, tally.ids()).ok().flatten());
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) {
        self.pending = Pending { before: self.tally.clone(), ..Pending::default() };
    }

    /// Ends a transaction that is on disk.
    pub(crate) fn keep(&mut self) {
        for at in std::mem::take(&mut self.pending).arrivals {
            self.heads.remove(&at.bucket);
            self.leases.arrive(at);
        }
    }

    /// Ends a transaction that failed: everything is as it was when it began.
    pub(crate) fn undo(&mut self) {
        let Pending { before, undo, .. } = std::mem::take(&mut self.pending);
        self.tally = before;
        self.heads.clear();
        self.leases.undo(undo);
    }

    /// Returns the bucket of a lane and priority, made if needed.
    pub(crate) fn bucket_of(&mut self, lane: &str, priority: u8) -> BucketId {
        self.tally.find_or_make(&Arc::from(lane), priority)
    }

    /// Adds a new message.
    pub(crate) fn add(&mut self, at: &Located) {
        self.tally.add(at.bucket, at.size);
    }

    /// Removes a message; a lease on it ends.
    pub(crate) fn remove(&mut self, at: Located) {
        self.leave(at);
        self.pending.arrivals.retain(|arrival| arrival.seq != at.seq);
    }

    /// Moves a message to another bucket, in its place in the order; a lease on it ends.
    pub(crate) fn move_to(&mut self, at: Located, bucket: BucketId) {
        self.leave(at);
        self.tally.add(bucket, at.size);
        // A second move of the same message in this transaction supersedes the first.
        self.pending.arrivals.retain(|arrival| arrival.seq != at.seq);
        self.pending.arrivals.push(Located { bucket, ..at });
    }

    fn leave(&mut self, at: Located) {
        if self.heads.get(&at.bucket).is_some_and(|(seq, _)| *seq == at.seq) {
            self.heads.remove(&at.bucket);
        }
        self.pending.undo.extend(self.leases.forget(at));
        self.tally.take(at.bucket, at.size);
    }

    /// Renames a lane, and returns the empty buckets of the new name, which are removed; `None` if
    /// the name is taken.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Option<Vec<BucketId>> {
        self.tally.rename(from, to)
    }

    /// Returns the buckets that changed in this transaction; they are to be saved.
    pub(crate) fn drain_changed(&mut self) -> Vec<Bucket> {
        self.tally.drain_changed()
    }

    /// Returns the message of this id. The place of a leased message is known; otherwise the
    /// buckets are searched.
    pub(crate) fn find(&self, id: MessageId, store: &Store) -> rusqlite::Result<Option<Located>> {
        match self.leases.located(id) {
            Some(at) => Ok(Some(at)),
            None => store.find(id, self.tally.ids()),
        }
    }

    /// Returns the first unleased message of a bucket.
    pub(crate) fn first_free(
        &self,
        bucket: BucketId,
        store: &Store,
    ) -> rusqlite::Result<Option<Located>> {
        // A message that was passed over may be anywhere.
        let mut after = 0;
        if !self.leases.has_passed_over(bucket) {
            if let Some(seq) = self.leases.first_returned(bucket) {
                return store.locate(bucket, seq);
            }
            after = self.leases.cursor(bucket);
        }
        // Since the cursor was set back, leased messages may follow it.
        while let Some(at) = store.first_after(bucket, after)? {
            if !self.leases.is_leased(at.id) {
                return Ok(Some(at));
            }
            after = at.seq;
        }
        Ok(None)
    }

    /// Ends a lease; the message is in its old place again. `None` if it was not leased.
    pub(crate) fn release(&mut self, id: MessageId) -> Option<Leased> {
        self.leases.release(id)
    }

    /// Ends a lease; the message is not handed out before [`Self::look_again`]. Returns false if it
    /// was not leased.
    pub(crate) fn pass_over(&mut self, id: MessageId) -> bool {
        self.leases.pass_over(id)
    }

    /// Sets the cursors of a lane back to its passed-over messages; false if there were none.
    pub(crate) fn look_again(&mut self, lane: &str) -> bool {
        let lane: Arc<str> = Arc::from(lane);
        let mut any = false;
        for priority in 0..=MAX_PRIORITY {
            if let Some(bucket) = self.tally.find(&lane, priority) {
                any |= self.leases.look_again(bucket);
            }
        }
        any
    }

    /// Returns the totals.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the leases.
    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Returns the totals, and the leases to hand out messages.
    pub(crate) fn lease_from(&mut self) -> (&Tally, &mut Leases) {
        (&self.tally, &mut self.leases)
    }

    /// Returns the append time of the first message in order that is not aside. `head` reads the
    /// first message of a bucket.
    pub(crate) fn oldest(
        &mut self,
        mut head: impl FnMut(BucketId) -> rusqlite::Result<Option<(Seq, i64)>>,
    ) -> rusqlite::Result<Option<i64>> {
        let mut first: Option<(Seq, i64)> = None;
        for bucket in self.tally.filled() {
            let known = match self.heads.get(&bucket.id) {
                Some(known) => Some(*known),
                None => head(bucket.id)?,
            };
            if let Some(known) = known {
                self.heads.insert(bucket.id, known);
                first = Some(first.map_or(known, |first| first.min(known)));
            }
        }
        Ok(first.map(|(_, appended_at)| appended_at))
    }

    /// Returns the figures of the contents; those of the run are zero.
    pub(crate) fn stat(&self) -> Stat {
        let total = self.tally.total();
        let aside = self.tally.lane(ASIDE);
        let lanes: BTreeMap<_, _> = self
            .tally
            .lanes()
            .map(|(lane, held)| (Arc::clone(lane), LaneStat::from(*held)))
            .collect();
        Stat {
            messages: total.messages,
            bytes: total.bytes,
            leased: self.leases.leased(),
            aside: LaneStat::from(aside),
            lanes,
            ..Stat::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Amount;

    fn at(seq: Seq, bucket: BucketId) -> Located {
        Located { seq, bucket, id: MessageId::at(seq), size: 10, qos: 1, expires_at: None }
    }

    /// Returns contents with two leased messages of lane `a` and one of lane `b`, all committed.
    fn filled() -> (Contents, [Located; 3]) {
        let mut contents = Contents::default();
        contents.begin();
        let (a, b) = (contents.bucket_of("a", 4), contents.bucket_of("b", 4));
        let all = [at(1, a), at(2, a), at(3, b)];
        all.iter().for_each(|at| contents.add(at));
        assert_eq!(contents.drain_changed().len(), 2);
        contents.keep();
        contents.leases.lease(all[0]);
        contents.leases.lease(all[1]);
        (contents, all)
    }

    fn leased(contents: &Contents, all: &[Located]) -> Vec<bool> {
        all.iter().map(|at| contents.leases().is_leased(at.id)).collect()
    }

    #[test]
    fn a_transaction_that_failed_leaves_no_trace() {
        let (mut contents, all) = filled();
        let before = contents.stat();
        contents.begin();
        contents.remove(all[0]);
        let other = contents.bucket_of("c", 4);
        contents.move_to(all[1], other);
        contents.add(&at(4, other));
        assert_eq!(contents.rename("b", "d"), Some(Vec::new()));
        contents.undo();
        assert_eq!(contents.stat(), before);
        assert_eq!(leased(&contents, &all), [true, true, false]);
        assert_eq!(contents.drain_changed().len(), 0);
    }

    #[test]
    fn a_message_that_moved_is_found_up_to_the_cursor_of_its_new_lane_once_that_is_kept() {
        let (mut contents, all) = filled();
        contents.leases.lease(Located { seq: 9, ..all[2] });
        let (a, b) = (all[0].bucket, all[2].bucket);
        contents.begin();
        contents.move_to(all[0], b);
        assert_eq!(contents.leases().first_returned(b), None);
        contents.keep();
        assert_eq!(contents.leases().first_returned(b), Some(1));
        // There and back again in one transaction: it arrives where it ends.
        contents.begin();
        contents.move_to(Located { bucket: b, ..all[0] }, a);
        contents.move_to(all[0], b);
        contents.keep();
        assert_eq!(contents.leases().first_returned(a), None);
        assert_eq!(contents.leases().first_returned(b), Some(1));
    }

    #[test]
    fn the_oldest_is_read_once_and_again_after_it_left() {
        let (mut contents, all) = filled();
        let mut reads = 0;
        let mut oldest = |contents: &mut Contents, head: Seq| {
            let found = contents.oldest(|bucket| {
                reads += 1;
                Ok(Some(if bucket == all[2].bucket { (3, 300) } else { (head, head * 100) }))
            });
            (found.unwrap(), reads)
        };
        assert_eq!(oldest(&mut contents, 1), (Some(100), 2));
        assert_eq!(oldest(&mut contents, 1), (Some(100), 2));
        contents.begin();
        contents.remove(all[0]);
        contents.keep();
        assert_eq!(oldest(&mut contents, 2), (Some(200), 3));
        contents.begin();
        contents.remove(all[1]);
        contents.keep();
        assert_eq!(contents.tally().lane("a"), Amount::default());
        assert_eq!(oldest(&mut contents, 9), (Some(300), 3));
    }
}
