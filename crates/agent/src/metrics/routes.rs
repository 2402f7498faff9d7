//! Counters and gauges of the routes.

use std::collections::BTreeSet;

use fleet::SessionId;
use prometheus::{GaugeVec, IntCounterVec};

use super::families;
use super::labels::SwitchCause;
use super::series::{Labels, Maker, bump, prune, set};

/// The active path of each route, and the switches between paths.
pub struct RouteMetrics {
    active: GaugeVec,
    switches: IntCounterVec,
}

impl RouteMetrics {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            active: make.gauge(&families::ROUTE_ACTIVE)?,
            switches: make.counter(&families::ROUTE_SWITCHES)?,
        })
    }

    /// Adds a route with these paths, none of which is active yet.
    pub fn begin(&self, route: &str, paths: &[&SessionId]) {
        for cause in SwitchCause::ALL {
            bump(&self.switches, &[route, cause.as_str()], 0);
        }
        for path in paths {
            self.set_active(route, path, 0.0);
        }
    }

    /// Notes that a route takes another path; `cause` is `None` for its first path.
    pub fn switched(
        &self,
        route: &str,
        from: Option<&SessionId>,
        to: &SessionId,
        cause: Option<SwitchCause>,
    ) {
        if let Some(from) = from {
            self.set_active(route, from, 0.0);
        }
        self.set_active(route, to, 1.0);
        if let Some(cause) = cause {
            bump(&self.switches, &[route, cause.as_str()], 1);
        }
    }

    fn set_active(&self, route: &str, path: &SessionId, active: f64) {
        set(&self.active, &[route, path.modem.as_str(), path.session.as_str()], active);
    }

    /// Removes the series of other routes and paths than these.
    pub fn keep_paths(&self, paths: &BTreeSet<(String, SessionId)>) {
        prune(&self.active, |labels| {
            paths.iter().any(|(route, id)| {
                labels.get("route") == Some(&route.as_str())
                    && labels.get("modem") == Some(&id.modem.as_str())
                    && labels.get("session") == Some(&id.session.as_str())
            })
        });
        prune(&self.switches, |labels| {
            paths.iter().any(|(route, _)| labels.get("route") == Some(&route.as_str()))
        });
    }

    pub(super) fn keep(&self, keep: impl Fn(&Labels<'_>) -> bool + Copy) {
        prune(&self.active, keep);
    }
}
