//! The home of a message whose lane the fleet file no longer has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Held;
use crate::messages::forward::lanes::{self, Lane};
use crate::messages::forward::session_lane;
use fleet::{Fleet, Policy, Route, filters_overlap, topic_matches};

/// The lanes of a fleet.
pub(super) struct Homes {
    routes: Vec<(Route, Vec<Lane>)>,
    sessions: BTreeSet<String>,
}

impl Homes {
    /// Those of this fleet.
    pub(super) fn of(fleet: &Fleet) -> Self {
        let routes = fleet.routes().iter().map(|route| (route.clone(), lanes::of_route(route)));
        let sessions = fleet.sessions().map(|session| session_lane(&session.id));
        Self { routes: routes.collect(), sessions: sessions.collect() }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.routes.iter().flat_map(|(_, lanes)| lanes)
    }

    /// Reports whether the fleet has a lane of this name.
    pub(super) fn has(&self, lane: &str) -> bool {
        self.sessions.contains(lane) || self.lanes().any(|of| of.name == lane)
    }

    /// For a lane that is gone, the home of each topic of it: the lane that had its name in an earlier version,
    /// or the one that such a message is put into now. A copy for a session stays one, where the route has
    /// copies; other messages go to the first session only.
    pub(super) fn of_lane(&self, gone: &str) -> impl Fn(&str) -> Option<Arc<str>> {
        let renamed = self.lanes().find(|lane| lane.was(gone)).map(|lane| Arc::from(&*lane.name));
        move |topic| {
            if renamed.is_some() {
                return renamed.clone();
            }
            let mut routes = self.routes.iter();
            let (route, all) = routes.find(|(route, _)| topic_matches(&route.topic, topic))?;
            let is_copy = |lane: &&Lane| lane.to.iter().any(|id| lanes::is_copy(gone, id));
            let copy = all.iter().find(is_copy).filter(|_| route.policy == Policy::All);
            match copy {
                Some(lane) => Some(Arc::from(&*lane.name)),
                None => Some(Arc::from(lanes::of_topic(route, topic).into_iter().next()?.name)),
            }
        }
    }

    /// The lanes that may be a home of messages of a lane that is gone, as far as its name says it.
    pub(super) fn near(&self, gone: &str) -> Held {
        let filters = lanes::filters_of(gone);
        let is_near = |route: &Route| {
            filters.is_empty() || filters.iter().any(|it| filters_overlap(it, &route.topic))
        };
        let near = self.routes.iter().filter(|(route, _)| is_near(route));
        near.flat_map(|(_, lanes)| lanes).map(|lane| Arc::from(&*lane.name)).collect()
    }
}
