//! The paths of a lane as they are now: the active one, the messages that each takes, and changes.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use queue::Lease;
use tokio::time::Instant;

use super::batch;
use super::ledger::{Destination, Destinations};
use super::routing::{Choice, Path, Routing};
use super::target::{Reach, Target};
use crate::metrics::labels::SwitchCause;
use fleet::SessionId;

/// The paths of a lane, the preferred one first.
pub(super) struct Paths {
    targets: Vec<Target>,
    routing: Routing,
    /// The path that messages take first, or took when one was free last.
    active: Option<usize>,
    /// True if the active path is free.
    is_open: bool,
    /// The time at which a better path will have held long enough.
    choose_at: Option<Instant>,
    /// The reach of each path when it was looked at last.
    reach: Vec<Option<Reach>>,
}

/// Another path becomes the active one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) from: Option<SessionId>,
    pub(super) to: SessionId,
    /// The reason, if another path was active before.
    pub(super) cause: Option<SwitchCause>,
}

impl Paths {
    /// None is active yet.
    pub(super) fn new(targets: Vec<Target>, routing: Routing) -> Self {
        let reach = vec![None; targets.len()];
        Self { targets, routing, active: None, is_open: false, choose_at: None, reach }
    }

    pub(super) fn routing(&self) -> &Routing {
        &self.routing
    }

    pub(super) fn get(&self, path: usize) -> Option<&Target> {
        self.targets.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// Chooses the path that messages take now, and returns the switch if that is another one.
    pub(super) fn choose(&mut self, now: Instant) -> Option<Switch> {
        let paths: Vec<Path> = self.targets.iter_mut().map(|target| target.look(now)).collect();
        let Choice { path, again } = self.routing.choose(&paths, self.active, now);
        self.choose_at = again;
        self.is_open = path.is_some();
        let chosen = path.filter(|path| self.active != Some(*path))?;
        let before = self.active.replace(chosen).and_then(|path| self.targets.get(path));
        let to = self.targets.get(chosen)?;
        let cause = before.map(|from| match (from.is_connected(), from.is_stalled()) {
            (false, _) => SwitchCause::Down,
            (true, true) => SwitchCause::Stalled,
            (true, false) if from.floor() > to.floor() => SwitchCause::Budget,
            (true, false) => SwitchCause::FailBack,
        });
        Some(Switch { from: before.map(|from| from.id.clone()), to: to.id.clone(), cause })
    }

    /// Reports whether a path was free at the last choice.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The time to choose again.
    pub(super) fn choose_at(&self) -> Option<Instant> {
        self.choose_at
    }

    /// The paths that are free now.
    pub(super) fn free(&self) -> impl Iterator<Item = usize> {
        self.targets.iter().enumerate().filter(|(_, target)| target.is_free()).map(|(at, _)| at)
    }

    /// Reports whether a path takes more than when this was asked last.
    pub(super) fn gain(&mut self) -> bool {
        let reach: Vec<_> = self.targets.iter().map(Target::reach).collect();
        let gained =
            reach.iter().zip(&self.reach).any(|(now, before)| now.is_some() && now != before);
        self.reach = reach;
        gained
    }

    /// Waits until a path has changed since the last [`choose`](Self::choose).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        select_all(self.targets.iter().map(|target| Box::pin(target.changed()))).map(drop)
    }

    /// The least priority that one of the free paths lets through.
    pub(super) fn floor(&self) -> u8 {
        let free = self.targets.iter().filter(|target| target.is_free());
        free.map(Target::floor).min().unwrap_or(0)
    }

    /// Reports whether a path other than this one takes a message now.
    pub(super) fn takes_beside(&self, path: usize, lease: &Lease) -> bool {
        (0..self.targets.len()).any(|at| at != path && self.takes(at, lease))
    }

    /// The largest window, and all of them together.
    pub(super) fn windows(&self) -> (usize, usize) {
        let sizes = || self.targets.iter().map(|target| target.uplink.window.size());
        (sizes().max().unwrap_or_default(), sizes().sum())
    }

    /// The sizes that the paths take, in words.
    pub(super) fn rooms(&self) -> String {
        let rooms: BTreeSet<_> = self.targets.iter().filter_map(Target::room).collect();
        rooms.into_iter().collect::<Vec<_>>().join(", or ")
    }

    fn takes(&self, at: usize, lease: &Lease) -> bool {
        let takes = |target: &Target| {
            target.is_free() && target.floor() <= lease.priority && self.fits(target, lease)
        };
        self.targets.get(at).is_some_and(takes)
    }

    fn fits(&self, target: &Target, lease: &Lease) -> bool {
        let topic = self.routing.topic_length(lease, target);
        let payload = lease.payload.len();
        let length = self.routing.batch.as_ref().map_or(payload, |by| batch::alone(by, payload));
        target.may_take(topic, length)
    }
}

impl Destinations for Paths {
    /// The active path, or the next free one that is large enough and whose SIM's budget lets it through.
    fn destination(&self, lease: &Lease) -> Destination {
        let active = self.active.unwrap_or_default();
        let others = (0..self.targets.len()).filter(|at| *at != active);
        if let Some(at) = std::iter::once(active).chain(others).find(|at| self.takes(*at, lease)) {
            return Destination::Path(at);
        }
        match () {
            () if lease.priority < self.floor() => Destination::Below,
            () if self.targets.iter().any(|target| self.fits(target, lease)) => Destination::Later,
            () => Destination::Never,
        }
    }
}
