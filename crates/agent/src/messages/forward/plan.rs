//! The lanes that a fleet forwards, each with its paths, as values that can be compared.

use std::collections::BTreeMap;

use modem::Snapshot;
use modem::session::Uplink;
use tokio::sync::watch;

use super::routing::Routing;
use super::target::Target;
use super::{lanes, session_lane};
use crate::budget::{Allowance, Meter};
use crate::now::{ModemView, find_session};
use fleet::{Fleet, SessionId};

/// A lane that is to be forwarded.
pub struct LanePlan {
    /// Its name in the queue.
    pub lane: String,
    pub(super) routing: Routing,
    to: Vec<To>,
}

struct To {
    id: SessionId,
    uplink: Uplink,
    vars: BTreeMap<String, String>,
    modem: watch::Receiver<Snapshot>,
    allowance: Option<watch::Receiver<Allowance>>,
}

impl LanePlan {
    fn new(
        fleet: &Fleet,
        modems: &[ModemView],
        lane: String,
        to: &[SessionId],
        routing: Routing,
    ) -> Option<Self> {
        let path = |id: &SessionId| {
            let (modem, session) = find_session(modems, id)?;
            Some(To {
                id: id.clone(),
                uplink: session.uplink.clone(),
                vars: fleet.sessions().find(|s| s.id == *id)?.vars.clone(),
                modem: modem.snapshot.clone(),
                allowance: modem.meter.as_ref().map(Meter::allowance),
            })
        };
        let to: Vec<To> = to.iter().filter_map(path).collect();
        // A fleet may watch modems and carry nothing.
        (!to.is_empty()).then_some(Self { lane, routing, to })
    }

    /// A lane with one path.
    #[cfg(test)]
    pub(super) fn with_path(lane: &str, id: SessionId, uplink: Uplink, modem: Snapshot) -> Self {
        let (vars, modem) = (BTreeMap::new(), watch::channel(modem).1);
        let to = vec![To { id, uplink, vars, modem, allowance: None }];
        Self { lane: lane.to_owned(), routing: Routing::default(), to }
    }

    /// Reports whether a forwarder of the one does for the other: the same paths to the same running sessions.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let same = |(one, other): (&To, &To)| {
            one.id == other.id
                && one.vars == other.vars
                && one.uplink.jobs.same_channel(&other.uplink.jobs)
        };
        self.routing == other.routing
            && self.to.len() == other.to.len()
            && self.to.iter().zip(&other.to).all(same)
    }

    /// The paths of its route, in the words of the metrics.
    pub(super) fn paths(&self) -> Vec<(String, SessionId)> {
        let Some(label) = &self.routing.label else { return Vec::new() };
        self.to.iter().map(|to| (label.clone(), to.id.clone())).collect()
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        let target = |to: &To| {
            Target::new(to.id.clone(), to.uplink.clone())
                .with_vars(to.vars.clone())
                .with_modem(to.modem.clone())
                .with_allowance(to.allowance.clone())
        };
        self.to.iter().map(target).collect()
    }
}

/// All lanes of a fleet: those of its routes, and one per session for messages that are pinned to it.
pub fn plan(fleet: &Fleet, modems: &[ModemView]) -> Vec<LanePlan> {
    let new = |lane, to: &[SessionId], routing| LanePlan::new(fleet, modems, lane, to, routing);
    let mut plans: Vec<LanePlan> = Vec::new();
    for route in fleet.routes() {
        let routing = Routing::of(route, fleet.gateway.as_str());
        for lane in lanes::of_route(route) {
            // The first route of a topic is the one that counts.
            if plans.iter().any(|plan| plan.lane == lane.name) {
                continue;
            }
            plans.extend(new(lane.name, &lane.to, routing.clone()));
        }
    }
    for session in fleet.sessions() {
        let to = std::slice::from_ref(&session.id);
        plans.extend(new(session_lane(&session.id), to, Routing::default()));
    }
    plans
}
