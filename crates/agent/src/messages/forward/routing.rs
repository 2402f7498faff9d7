//! The rules of a route: which path is taken now, and the topic and payload of each publish.

use std::collections::BTreeMap;
use std::time::Duration;

use modem::mqtt::{Message, Qos};
use modem::session::STALL;
use queue::{DEFAULT_PRIORITY, Lease};
use tokio::time::Instant;

use super::batch;
use super::lanes::label;
use super::target::Target;
use fleet::{Batch, Policy, Route, SessionId, Template, check_name};

/// The longest filter that stands in a metric as it is.
const LABEL: usize = 64;

/// An id in the place of a message's own: all are as long.
pub const LONGEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The rules by which a lane chooses among its sessions and publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The route in the words of the metrics, if one of its sessions is active at a time.
    pub(super) label: Option<String>,
    publish_as: Option<Template>,
    gateway: String,
    hold_down: Duration,
    stay: bool,
    /// The format of batches, if the route makes them.
    pub(super) batch: Option<Batch>,
    /// After this long without a result a message goes to the next path.
    pub(super) stall: Duration,
}

/// The rules for messages that wait for one session.
impl Default for Routing {
    fn default() -> Self {
        Self {
            label: None,
            publish_as: None,
            gateway: String::new(),
            hold_down: Duration::ZERO,
            stay: false,
            batch: None,
            stall: STALL,
        }
    }
}

impl Routing {
    /// The rules of a route of the fleet file, on this gateway.
    pub fn of(route: &Route, gateway: &str) -> Self {
        Self {
            label: (route.policy == Policy::Failover).then(|| label(&route.topic, LABEL)),
            publish_as: route.publish_as.clone(),
            gateway: gateway.to_owned(),
            hold_down: route.hold_down,
            stay: !route.fail_back,
            batch: route.batch,
            stall: route.stall,
        }
    }

    /// The variables of the topic that a leased message is published on by this session.
    fn variables<'a>(&'a self, lease: &'a Lease, id: &'a str, target: &'a Target) -> Variables<'a> {
        Variables {
            topic: &lease.topic,
            id,
            gateway: &self.gateway,
            session: &target.id,
            vars: &target.vars,
        }
    }

    /// Bytes of the topic that a leased message is published on by this session.
    pub(super) fn topic_length(&self, lease: &Lease, target: &Target) -> usize {
        self.variables(lease, LONGEST_ID, target).length(self.publish_as.as_ref())
    }

    /// The publish that messages of one topic make. `None` if there are none.
    ///
    /// # Errors
    /// The fault of its topic by the route, as the end of a sentence.
    pub(super) fn publish(
        &self,
        leases: &[&Lease],
        target: &Target,
    ) -> Result<Option<Message>, &'static str> {
        let Some(first) = leases.first() else { return Ok(None) };
        let id = first.id.to_string();
        let topic = self.variables(first, &id, target).fill(self.publish_as.as_ref());
        check_name(&topic)?;
        let payload = match &self.batch {
            Some(batch) => batch::together(batch, leases.iter().copied()),
            None => first.payload.clone(),
        };
        // The queue was given one of the three.
        let qos = Qos::from_number(first.qos).unwrap_or(Qos::AtLeastOnce);
        Ok(Some(Message { topic, payload, qos, retain: first.retain }))
    }
}

/// The variables of the topic that a route publishes a message on.
#[derive(Clone, Copy)]
pub struct Variables<'a> {
    /// The topic that the message was handed in with.
    pub topic: &'a str,
    /// The message's id.
    pub id: &'a str,
    /// The gateway's name.
    pub gateway: &'a str,
    /// The session that publishes.
    pub session: &'a SessionId,
    /// That session's own variables.
    pub vars: &'a BTreeMap<String, String>,
}

impl<'a> Variables<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        match name {
            "topic" => Some(self.topic),
            "id" => Some(self.id),
            "gateway" => Some(self.gateway),
            "modem" => Some(self.session.modem.as_str()),
            "session" => Some(self.session.session.as_str()),
            name => self.vars.get(name).map(String::as_str),
        }
    }

    /// The topic by a route's `publish_as`, if it has one.
    pub fn fill(&self, publish_as: Option<&Template>) -> String {
        publish_as.map_or_else(|| self.topic.to_owned(), |by| by.fill(|name| self.value(name)))
    }

    /// Bytes of that topic.
    pub fn length(&self, publish_as: Option<&Template>) -> usize {
        publish_as.map_or(self.topic.len(), |by| by.filled_length(|name| self.value(name)))
    }
}

/// A path as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// It can take a message now.
    pub(super) free: bool,
    /// The least priority that the budget of its SIM lets through.
    pub(super) floor: u8,
    /// The time at which it came back after it was down; `None` if it never was.
    pub(super) back_since: Option<Instant>,
}

/// The path to take, and when to choose again because a better one will have held long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) path: Option<usize>,
    pub(super) again: Option<Instant>,
}

impl Routing {
    /// Chooses among the paths of a lane, the preferred one first, without those whose budget lets no
    /// ordinary message through as long as there is another. The active one is kept while it can take
    /// messages, until a better one that came back has held for the hold-down time.
    pub(super) fn choose(&self, paths: &[Path], active: Option<usize>, now: Instant) -> Choice {
        let ordinary = |path: &Path| path.free && path.floor <= DEFAULT_PRIORITY;
        let some_ordinary = paths.iter().any(ordinary);
        let is_free = |path: &Path| if some_ordinary { ordinary(path) } else { path.free };
        let free = |at: usize| paths.get(at).is_some_and(is_free);
        let first = paths.iter().position(is_free);
        let Some(active) = active.filter(|at| free(*at)) else {
            return Choice { path: first, again: None };
        };
        if self.stay {
            return Choice { path: Some(active), again: None };
        }
        let mut again: Option<Instant> = None;
        for (at, path) in paths.iter().enumerate().take(active).filter(|(_, path)| is_free(path)) {
            let held = path.back_since.map(|since| since + self.hold_down);
            match held {
                Some(until) if until > now => again = Some(again.map_or(until, |a| a.min(until))),
                _ => return Choice { path: Some(at), again: None },
            }
        }
        Choice { path: Some(active), again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(hold_down: u64, stay: bool) -> Routing {
        Routing { hold_down: Duration::from_secs(hold_down), stay, ..Routing::default() }
    }

    #[test]
    fn the_path_is_chosen_by_the_table() {
        let now = Instant::now() + Duration::from_secs(100);
        // `u` up since ever, `d` down, `s` up and its budget sheds, `t` up and its budget lets only
        // urgent messages through, a digit: came back so many seconds ago.
        let up = Path { free: true, floor: 0, back_since: None };
        let path = |word: char| match word {
            'u' => up,
            'd' => Path { free: false, ..up },
            's' => Path { floor: DEFAULT_PRIORITY, ..up },
            't' => Path { floor: DEFAULT_PRIORITY + 1, ..up },
            digit => {
                let ago = u64::from(digit.to_digit(10).unwrap_or_default());
                Path { back_since: Some(now - Duration::from_secs(ago)), ..up }
            }
        };
        for (paths, active, stay, want, again) in [
            ("uu", None, false, Some(0), None),
            ("du", None, false, Some(1), None),
            ("dd", None, false, None, None),
            ("dd", Some(0), false, None, None),
            ("uu", Some(1), false, Some(0), None),
            ("1u", Some(1), false, Some(1), Some(4)),
            ("5u", Some(1), false, Some(0), None),
            ("1d", Some(1), false, Some(0), None),
            ("9u", Some(1), true, Some(1), None),
            ("9d", Some(1), true, Some(0), None),
            ("d1u", Some(2), false, Some(2), Some(4)),
            ("17u", Some(2), false, Some(1), None),
            ("13u", Some(2), false, Some(2), Some(2)),
            ("u", Some(7), false, Some(0), None),
            ("tu", None, false, Some(1), None),
            ("tu", Some(0), false, Some(1), None),
            ("tu", Some(0), true, Some(1), None),
            ("td", Some(0), false, Some(0), None),
            ("tt", Some(1), false, Some(0), None),
            ("su", Some(1), false, Some(0), None),
            ("tsu", Some(2), false, Some(1), None),
        ] {
            let all: Vec<Path> = paths.chars().map(path).collect();
            let choice = routing(5, stay).choose(&all, active, now);
            let again = again.map(|seconds| now + Duration::from_secs(seconds));
            assert_eq!(choice, Choice { path: want, again }, "{paths} {active:?} stay {stay}");
        }
    }
}
