//! The lanes of a route: its messages wait there, and each has the sessions that take from it.
//!
//! A lane keeps order and fails over along its list. `spread` is as many lanes as sessions, each
//! beginning with another session: a topic always waits in the same one, so its order holds. If a session
//! goes, the next of the list takes the messages that it leaves behind. `all` is a lane for each session.

use queue::MAX_NAME;
use sha1::{Digest, Sha1};

use fleet::{Policy, Route, SessionId};

/// A lane of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name in the queue.
    pub name: String,
    /// The sessions that take from it, the preferred one first.
    pub to: Vec<SessionId>,
    /// Its name up to version 0.1, which the lane of another route could have as well.
    former: Option<String>,
}

impl Lane {
    /// Reports whether this is the lane that had this name in an earlier version.
    pub(super) fn was(&self, name: &str) -> bool {
        self.former.as_deref() == Some(name)
    }
}

/// All lanes of a route. Their names say in front what kind of lane it is: behind the filter it could be a
/// part of another one, since a filter may hold blanks.
pub fn of_route(route: &Route) -> Vec<Lane> {
    match route.policy {
        Policy::Failover => {
            vec![Lane { name: name("", route, ""), to: route.to.clone(), former: None }]
        }
        Policy::Spread => (0..route.to.len())
            .map(|first| {
                let mut to = route.to.clone();
                to.rotate_left(first);
                named(&format!("spread {first}"), route, to)
            })
            .collect(),
        Policy::All => {
            let copy = |id: &SessionId| named(&format!("copy {id}"), route, vec![id.clone()]);
            route.to.iter().map(copy).collect()
        }
    }
}

fn named(kind: &str, route: &Route, to: Vec<SessionId>) -> Lane {
    let former = Some(name("", route, &format!(" {kind}")));
    Lane { name: name(&format!("{kind} "), route, ""), to, former }
}

/// The lanes that a message of `topic` is put into: one, or for `all` one for each copy.
pub fn of_topic(route: &Route, topic: &str) -> Vec<Lane> {
    let mut lanes = of_route(route);
    if route.policy == Policy::Spread && !lanes.is_empty() {
        let at = share(topic, lanes.len());
        lanes = lanes.into_iter().skip(at).take(1).collect();
    }
    lanes
}

/// Which of `lanes` a topic belongs to: the same today and after a restart.
fn share(topic: &str, lanes: usize) -> usize {
    let digest = Sha1::digest(topic.as_bytes());
    let first = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let lanes = u64::try_from(lanes).unwrap_or(1).max(1);
    usize::try_from(first % lanes).unwrap_or_default()
}

/// The name of a lane. Filters that are too long for it stand there as a digest.
fn name(before: &str, route: &Route, after: &str) -> String {
    let lane = format!("{before}route {}{after}", route.topic);
    if lane.len() <= MAX_NAME {
        return lane;
    }
    format!("{before}route {}{after}", label(&route.topic, 0))
}

/// True if a lane of this name holds, or held in an earlier version, the copies for this session.
pub(super) fn is_copy(lane: &str, session: &SessionId) -> bool {
    let of_route = |lane: &str| lane.starts_with("route ");
    let (now, former) = (format!("copy {session} "), format!(" copy {session}"));
    lane.strip_prefix(&now).or_else(|| lane.strip_suffix(&former)).is_some_and(of_route)
}

/// The filters one of which the route has, or had, whose lane has this name; none if the name does not say
/// them. In earlier versions the kind of a lane stood behind its filter.
pub(super) fn filters_of(lane: &str) -> Vec<&str> {
    let (filter, is_former) = match lane.strip_prefix("route ") {
        Some(filter) => (filter, true),
        None => (lane.split_once(" route ").map_or("sha1:", |(_, filter)| filter), false),
    };
    let mut filters = vec![filter];
    for kind in [" spread ", " copy "].into_iter().filter(|_| is_former) {
        filters.extend(filter.rsplit_once(kind).map(|(filter, _)| filter));
    }
    if filters.iter().any(|filter| filter.starts_with("sha1:")) { Vec::new() } else { filters }
}

/// A filter as a label: as it is if it is short, otherwise its digest.
pub fn label(filter: &str, most: usize) -> String {
    if filter.len() <= most {
        return filter.to_owned();
    }
    let digest: String =
        Sha1::digest(filter.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha1:{digest}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use fleet::Name;

    fn name_of(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn route(policy: Policy, sessions: usize) -> Route {
        let id = |at| SessionId { modem: name_of(&format!("m{at}")), session: name_of("s") };
        Route {
            topic: "a/#".to_owned(),
            to: (0..sessions).map(id).collect(),
            policy,
            publish_as: None,
            hold_down: Duration::ZERO,
            fail_back: true,
            stall: Duration::from_secs(15),
            name: None,
            batch: None,
        }
    }

    fn shown(lanes: &[Lane]) -> Vec<String> {
        let list =
            |lane: &Lane| lane.to.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        lanes.iter().map(|lane| format!("{}: {}", lane.name, list(lane))).collect()
    }

    #[test]
    fn each_policy_has_its_lanes() {
        assert_eq!(shown(&of_route(&route(Policy::Failover, 2))), ["route a/#: m0/s m1/s"]);
        assert_eq!(
            shown(&of_route(&route(Policy::Spread, 3))),
            [
                "spread 0 route a/#: m0/s m1/s m2/s",
                "spread 1 route a/#: m1/s m2/s m0/s",
                "spread 2 route a/#: m2/s m0/s m1/s"
            ]
        );
        assert_eq!(
            shown(&of_topic(&route(Policy::All, 2), "a/b")),
            ["copy m0/s route a/#: m0/s", "copy m1/s route a/#: m1/s"]
        );
    }

    #[test]
    fn a_topic_keeps_its_lane_and_the_lanes_get_like_shares() {
        let route = route(Policy::Spread, 4);
        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..4_000 {
            let topic = format!("a/{number}");
            let lanes = of_topic(&route, &topic);
            assert_eq!(lanes, of_topic(&route, &topic));
            let [lane] = lanes.as_slice() else { panic!("one lane for a topic") };
            *shares.entry(lane.name.clone()).or_default() += 1;
        }
        assert_eq!(shares.len(), 4);
        assert!(shares.values().all(|share| (850..1_150).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_name_says_of_which_filter_it_is_and_whose_copies() {
        let session = SessionId { modem: name_of("m1"), session: name_of("s") };
        for (lane, filters, is_m1) in [
            ("route a/#", "a/#", false),
            ("route a b", "a b", false),
            ("spread 0 route a/#", "a/#", false),
            ("copy m1/s route a/#", "a/#", true),
            ("copy m11/s route a/#", "a/#", false),
            ("copy m1/s route a copy b/s", "a copy b/s", true),
            ("route a/# spread 0", "a/# spread 0, a/#", false),
            ("route a/# copy m1/s", "a/# copy m1/s, a/#", true),
            ("route sha1:00ff", "", false),
            ("route sha1:00ff copy m1/s", "", true),
            ("copy m1/s route sha1:00ff", "", true),
            ("something else", "", false),
        ] {
            assert_eq!(filters_of(lane).join(", "), filters, "{lane}");
            assert_eq!(is_copy(lane, &session), is_m1, "{lane}");
        }
    }

    #[test]
    fn long_filters_make_names_that_fit() {
        let long = Route { topic: "x/".repeat(400), ..route(Policy::All, 2) };
        let names: Vec<String> = of_route(&long).into_iter().map(|lane| lane.name).collect();
        assert!(
            names.iter().all(|name| name.len() <= MAX_NAME) && names[0] != names[1],
            "{names:?}"
        );
    }

    #[test]
    fn no_two_routes_share_a_lane() {
        let of = |topic: &str, policy| Route { topic: topic.to_owned(), ..route(policy, 2) };
        let routes = [
            of("a", Policy::Spread),
            of("a", Policy::All),
            of("a", Policy::Failover),
            of("a spread 0", Policy::Failover),
            of("a copy m0/s", Policy::Failover),
            of("spread 0 route a", Policy::Failover),
            of("spread 0 route a", Policy::Spread),
            of("route a", Policy::Spread),
        ];
        let names: Vec<String> = routes.iter().flat_map(of_route).map(|lane| lane.name).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
