//! Topics and messages for which brokers may close their sessions, and when a suspect is tried.
//!
//! A broker that forbids a topic closes the session of who publishes on it. So a loss speaks against the
//! topic and against the message. Suspects go last, alone, and seldom enough that most of the time is left
//! to others; an acknowledgement clears the topic.

use std::collections::HashMap;
use std::time::Duration;

use queue::MessageId;
use tokio::time::Instant;

/// A message is set aside after so many sessions were closed under it or its topic by their broker, with another
/// message acknowledged in between.
const POISON: u32 = 5;

/// Topics in doubt that are remembered; then those that were met longest ago are forgotten.
pub(super) const TOPICS: usize = 128;

/// Messages of a topic that are remembered.
const MESSAGES: usize = 256;

/// After a loss the next suspect waits so many times as long as the session was away.
const REST: u32 = 12;

/// The longest such wait.
const LONGEST_REST: Duration = Duration::from_secs(180);

/// The most topics that a row of losses puts in doubt unheard.
const MOST_UNHEARD: u32 = 63;

/// The doubts of a lane. They are bounded, so messages that expire meanwhile leave nothing for ever.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) topics: HashMap<String, Doubt>,
    /// The messages that each path got through, counted.
    acknowledged: HashMap<usize, u64>,
    /// Losses since the last acknowledgement.
    kicks: u32,
    /// Topics that are to be in doubt as soon as they are met.
    unheard: u32,
    last: Option<Kick>,
    was_lifted: bool,
    clock: u64,
}

#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// All of the topic is in doubt, and not only some messages.
    is_open: bool,
    /// One of its messages was set aside.
    is_condemned: bool,
    /// Losses that count, since it was cleared last.
    losses: u32,
    /// The path's count of acknowledgements at its last loss.
    seen: HashMap<usize, u64>,
    pub(super) messages: HashMap<MessageId, Losses>,
    /// The count of meetings when it was met last.
    met: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    all: u32,
    /// Those that count.
    counted: u32,
}

#[derive(Debug)]
struct Kick {
    path: usize,
    at: Instant,
    /// The time at which its path was there again.
    back: Option<Instant>,
    was_trial: bool,
}

/// The meaning of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing is certain.
    Suspects,
    /// The message is poison.
    Message,
    /// The topic is: its messages that were lost are poison.
    Tried,
    /// The topic was known to be, and is still: all of its messages are poison.
    Topic,
}

/// The order in which suspects are tried: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    losses: u32,
    was_heard: bool,
}

impl Rank {
    /// Reports whether no session was ever lost under it nor under another of its topic.
    pub(super) fn is_unheard(self) -> bool {
        !self.was_heard
    }

    /// Reports whether no session was ever lost under it.
    pub(super) fn is_untried(self) -> bool {
        self.losses == 0
    }
}

impl Doubts {
    /// Reports whether a message is a suspect.
    pub(super) fn covers(&self, topic: &str, id: MessageId) -> bool {
        // As a rule there is none.
        !self.topics.is_empty()
            && self
                .topics
                .get(topic)
                .is_some_and(|doubt| doubt.is_open || doubt.messages.contains_key(&id))
    }

    /// Reports whether a session was lost under it.
    pub(super) fn was_lost(&self, topic: &str, id: MessageId) -> bool {
        self.topics.get(topic).is_some_and(|doubt| doubt.messages.contains_key(&id))
    }

    /// Losses since the last acknowledgement.
    pub(super) fn kicks(&self) -> u32 {
        self.kicks
    }

    pub(super) fn rank(&self, topic: &str, id: MessageId) -> Rank {
        let doubt = self.topics.get(topic);
        let losses = doubt.and_then(|doubt| doubt.messages.get(&id)).map_or(0, |lost| lost.all);
        Rank { losses, was_heard: doubt.is_some_and(|doubt| !doubt.seen.is_empty()) }
    }

    /// A message of this topic is there. After several losses in a row under different topics the next ones
    /// are suspects unheard, so that those far behind get their turn.
    pub(super) fn meet(&mut self, topic: &str) {
        if self.topics.is_empty() {
            return;
        }
        self.clock += 1;
        let clock = self.clock;
        if let Some(doubt) = self.topics.get_mut(topic) {
            doubt.met = clock;
        } else if self.unheard > 0 {
            self.unheard -= 1;
            self.doubt(topic).is_open = true;
        }
    }

    fn doubt(&mut self, topic: &str) -> &mut Doubt {
        if !self.topics.contains_key(topic) && self.topics.len() >= TOPICS {
            let oldest =
                self.topics.iter().min_by_key(|(_, doubt)| (!doubt.seen.is_empty(), doubt.met));
            if let Some(oldest) = oldest.map(|(topic, _)| topic.clone()) {
                self.was_lifted = true;
                self.topics.remove(&oldest);
            }
        }
        self.clock += 1;
        let doubt = self.topics.entry(topic.to_owned()).or_default();
        doubt.met = self.clock;
        doubt
    }

    /// The broker has a message.
    pub(super) fn acknowledged(&mut self, topic: &str, id: MessageId, path: usize) {
        *self.acknowledged.entry(path).or_default() += 1;
        (self.kicks, self.unheard) = (0, 0);
        let Some(doubt) = self.topics.get_mut(topic) else { return };
        doubt.messages.remove(&id);
        self.was_lifted |= std::mem::take(&mut doubt.is_open);
        (doubt.is_condemned, doubt.losses) = (false, 0);
        if doubt.messages.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// A broker closed the session of `path` under these messages of a topic. `is_trial`: under a suspect.
    pub(super) fn kicked(
        &mut self,
        topic: &str,
        ids: &[MessageId],
        path: usize,
        is_trial: bool,
        now: Instant,
    ) -> Judgement {
        self.last = Some(Kick { path, at: now, back: None, was_trial: is_trial });
        self.kicks = self.kicks.saturating_add(1);
        if !is_trial {
            // 0, 3, 15, 63: a row of forbidden topics costs few losses, however long it is.
            let reach = 4_u32.saturating_pow(self.kicks.saturating_sub(1)) - 1;
            self.unheard = reach.min(MOST_UNHEARD);
        }
        let acknowledged = self.acknowledged.get(&path).copied().unwrap_or_default();
        let doubt = self.doubt(topic);
        doubt.is_open = true;
        // A session that got nothing through since it was last lost under this topic may be closed for
        // another reason.
        let counts = doubt.seen.insert(path, acknowledged).is_none_or(|seen| acknowledged > seen);
        doubt.losses = doubt.losses.saturating_add(counts.into());
        let mut most = 0;
        for id in ids {
            if doubt.messages.len() >= MESSAGES && !doubt.messages.contains_key(id) {
                break;
            }
            let lost = doubt.messages.entry(*id).or_default();
            lost.all = lost.all.saturating_add(1);
            lost.counted = lost.counted.saturating_add(counts.into());
            most = most.max(lost.counted);
        }
        if !counts || ids.len() != 1 {
            return Judgement::Suspects;
        }
        let judgement = match () {
            () if doubt.is_condemned => Judgement::Topic,
            () if doubt.losses >= POISON => Judgement::Tried,
            () if most >= POISON => Judgement::Message,
            () => return Judgement::Suspects,
        };
        doubt.is_condemned = true;
        judgement
    }

    /// A message is set aside.
    pub(super) fn forget(&mut self, topic: &str, id: MessageId) {
        if let Some(doubt) = self.topics.get_mut(topic) {
            doubt.messages.remove(&id);
        }
    }

    /// Reports whether a topic was cleared, or forgotten, since the last [`settle`](Self::settle).
    pub(super) fn was_lifted(&self) -> bool {
        self.was_lifted
    }

    /// Notes that lifted doubts are seen to.
    pub(super) fn settle(&mut self) {
        self.was_lifted = false;
    }

    /// A path takes messages.
    pub(super) fn path_is_free(&mut self, path: usize, now: Instant) {
        if let Some(last) = self.last.as_mut().filter(|last| last.path == path) {
            last.back.get_or_insert(now);
        }
    }

    /// The time at which a suspect of this rank may be tried; `None`: at once. `others`: others are there, which a loss
    /// would hold up.
    pub(super) fn turn(&self, rank: Rank, others: bool) -> Option<Instant> {
        let last = self.last.as_ref()?;
        // If others are not held up, only a message that is known to cost a session has to wait.
        if !others && (rank.is_unheard() || !last.was_trial) {
            return None;
        }
        let Some(back) = last.back else { return Some(last.at + LONGEST_REST) };
        let away = back.saturating_duration_since(last.at);
        Some(back + away.saturating_mul(REST).min(LONGEST_REST))
    }
}
