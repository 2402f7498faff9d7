//! Lanes that are gone, in a real queue, for fleets as files say them.

use super::*;
use crate::messages::forward::lanes::{of_route, of_topic};
use fleet::{Context, Policy};
use queue::{Config, NewMessage};

struct Rig {
    queue: Queue,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(Config { check: None, ..Config::new(dir.path()) }).unwrap();
        Self { queue, dir }
    }

    /// A fleet with these routes, one a line, as `FILTER POLICY`.
    fn fleet(&self, routes: &str) -> Fleet {
        let route = |line: &str| {
            let (topic, policy) = line.trim().split_once(' ').unwrap();
            format!("  - {{ topic: \"{topic}\", to: [ m/s, m/t ], policy: {policy} }}\n")
        };
        let file = format!(
            "gateway: g\nqueue: {{ path: {} }}\nbrokers: {{ b: {{ url: \"mqtt://h\" }} }}\n\
             modems: {{ m: {{ match: {{ port: /dev/null }}, sessions: {{ s: {{ broker: b }}, t: {{ broker: b }} }} }} }}\n\
             routes:\n{}",
            self.dir.path().display(),
            routes.lines().map(route).collect::<String>()
        );
        let loaded = fleet::parse("f", file.into_bytes(), &Context::default());
        loaded.expect("a fleet").fleet
    }

    async fn put(&self, lane: &str, topics: &[&str]) {
        for topic in topics {
            self.queue.append(NewMessage::new(lane, *topic, "x")).await.unwrap();
        }
    }

    /// Hands messages in by the first route of a fleet that takes them.
    async fn hand_in(&self, fleet: &Fleet, topics: &[&str]) {
        for topic in topics {
            let lanes = of_topic(fleet.route(topic).unwrap(), topic);
            let lanes = lanes.into_iter().map(|lane| lane.name).collect();
            self.queue.append_copies(NewMessage::new("", *topic, "x"), lanes).await.unwrap();
        }
    }

    /// Adopts all, and answers the lanes that were held at first.
    async fn adopt(&self, fleet: &Fleet) -> Vec<String> {
        let mut adoption = Adoption::new(&self.queue, fleet);
        let held = adoption.hold();
        let sender = watch::Sender::new(held.clone());
        assert!(adoption.finish(&sender).await);
        assert!(sender.borrow().is_empty());
        held.iter().map(ToString::to_string).collect()
    }

    /// All that waits, as `LANE: TOPIC TOPIC …`.
    async fn waits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for lane in self.queue.stat().lanes.keys() {
            let leases = self.queue.lease(lane, 99).await.unwrap();
            for lease in &leases {
                assert!(self.queue.release(lease.id).await.unwrap());
            }
            let topics: Vec<_> = leases.into_iter().map(|lease| lease.topic).collect();
            lines.extend((!topics.is_empty()).then(|| format!("{lane}: {}", topics.join(" "))));
        }
        lines
    }
}

#[tokio::test]
async fn each_message_of_a_lane_that_is_gone_waits_where_it_belongs() {
    for (before, handed_in, after, meanwhile, held, want) in [
        ("a/# failover", "a/1 a/2 a/1", "a/+ failover", "", "route a/+", "route a/+: a/1 a/2 a/1"),
        ("a/# failover", "a/1 a/2", "b/# failover", "", "", "route a/#: a/1 a/2"),
        (
            "a/# failover",
            "a/1 b a/2",
            "a/1 failover\na/+ failover",
            "",
            "route a/+, route a/1",
            "route a/+: a/2|route a/1: a/1",
        ),
        // Fewer wait in the new lane than in the one that is gone, and more.
        (
            "a/# failover",
            "a/1 a/2 a/3",
            "a/+ failover",
            "a/1 a/4",
            "route a/+",
            "route a/+: a/1 a/2 a/3 a/1 a/4",
        ),
        ("a/# failover", "a/1", "a/+ failover", "a/1 a/4", "route a/+", "route a/+: a/1 a/1 a/4"),
        // Another one is held by its filter alone, a third goes on.
        (
            "a/# failover",
            "a/1 a/2",
            "a/9 failover\na/+ failover\nb failover",
            "a/9 b",
            "route a/+, route a/9",
            "route a/+: a/1 a/2|route a/9: a/9|route b: b",
        ),
        (
            "a/# all",
            "a/1 a/2",
            "a/+ all",
            "a/3",
            "copy m/s route a/+, copy m/t route a/+",
            "copy m/s route a/+: a/1 a/2 a/3|copy m/t route a/+: a/1 a/2 a/3",
        ),
        (
            "a/# failover",
            "a/1",
            "a/+ all",
            "",
            "copy m/s route a/+, copy m/t route a/+",
            "copy m/s route a/+: a/1",
        ),
    ] {
        let rig = Rig::new();
        let old = rig.fleet(&format!("{before}\n# failover"));
        let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
        for topic in words(handed_in).iter().filter(|topic| **topic != "b") {
            rig.hand_in(&old, &[topic]).await;
        }
        let new = rig.fleet(after);
        rig.hand_in(&new, &words(meanwhile)).await;
        let case = format!("{before}, then {after}");
        assert_eq!(rig.adopt(&new).await.join(", "), held, "{case}");
        assert_eq!(rig.waits().await.join("|"), want, "{case}");
        let check = Inspector::open(rig.dir.path()).unwrap().check().unwrap();
        assert_eq!(check, Vec::<String>::new(), "{case}");
    }
}

#[tokio::test]
async fn a_lane_with_one_home_gets_its_name_however_much_waits() {
    let rig = Rig::new();
    let (count, copies) = (20_000_u64, vec!["route a/#".to_owned(); 1_000]);
    for _ in 0..count / 1_000 {
        let message = NewMessage::new("", "a/1", "x");
        rig.queue.append_copies(message, copies.clone()).await.unwrap();
    }
    let new = rig.fleet("a/+ failover");
    rig.hand_in(&new, &["a/1"]).await;
    let before = rig.queue.stat().commits;
    rig.adopt(&new).await;
    let commits = rig.queue.stat().commits - before;
    assert!(commits <= 2, "one to bring the new one to the others, one to rename; not {commits}");
    assert_eq!(waiting(&rig.queue, "route a/+"), count + 1);
}

#[tokio::test]
async fn a_message_that_comes_under_the_former_name_after_the_look_is_not_taken_along() {
    let rig = Rig::new();
    let new = rig.fleet("a/1 failover\na/+ failover");
    rig.put("route a/#", &["a/2", "a/3"]).await;
    let mut adoption = Adoption::new(&rig.queue, &new);
    adoption.look(Duration::from_secs(60)).await;
    assert_eq!(adoption.hold(), Held::from(["route a/+".into()]));
    rig.put("route a/#", &["a/1", "a/2", "b"]).await;
    assert!(rig.queue.rename_lane("route a/#", "route a/+").await.unwrap());
    let Adoption { queue, reader, orphans, .. } = &mut adoption;
    sort_out(queue, reader, &orphans[0], &"route a/+".into()).await.unwrap();
    let want = ["route a/#: b", "route a/+: a/2 a/3 a/2", "route a/1: a/1"];
    assert_eq!(rig.waits().await, want);
}

#[tokio::test]
async fn what_comes_before_the_renaming_is_looked_at() {
    let rig = Rig::new();
    let new = rig.fleet("a/1 failover\na/+ failover");
    rig.put("route a/#", &["a/2"]).await;
    let mut adoption = Adoption::new(&rig.queue, &new);
    adoption.look(Duration::from_secs(60)).await;
    let sender = watch::Sender::new(adoption.hold());
    rig.put("route a/#", &["a/1"]).await;
    adoption.rename().await;
    assert_eq!(rig.waits().await, ["route a/#: a/2 a/1"], "it has two homes");
    assert!(adoption.finish(&sender).await);
    assert_eq!(rig.waits().await, ["route a/+: a/2", "route a/1: a/1"]);
}

#[tokio::test]
async fn a_lane_is_free_as_soon_as_nothing_more_comes_into_it() {
    let rig = Rig::new();
    rig.put("route a/#", &["a/1"]).await;
    rig.put("route b/#", &["b/1", "b/2"]).await;
    let new = rig.fleet("a/+ failover\nb/1 failover\nb/+ failover\nc failover");
    let mut adoption = Adoption::new(&rig.queue, &new);
    let sender = watch::Sender::new(adoption.hold());
    let mut held = sender.subscribe();
    let shown = |held: &Held| held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    assert_eq!(shown(&held.borrow_and_update()), "route a/+, route b/+, route b/1");
    let watching = async {
        let mut all = Vec::new();
        while held.changed().await.is_ok() {
            all.push(shown(&held.borrow_and_update()));
            if all.last().is_some_and(String::is_empty) {
                break;
            }
        }
        all
    };
    let (done, all) = tokio::join!(adoption.finish(&sender), watching);
    assert!(done);
    assert_eq!(all, ["route b/+, route b/1", ""]);
}

#[tokio::test]
async fn without_held_lanes_nothing_is_renamed_and_all_is_moved() {
    let rig = Rig::new();
    rig.put("route a/#", &["a/1", "a/2"]).await;
    rig.put("session m/gone", &["a/1"]).await;
    let new = rig.fleet("a/+ failover");
    let sender = watch::Sender::default();
    assert!(Adoption::new(&rig.queue, &new).finish(&sender).await);
    assert_eq!(rig.waits().await, ["route a/+: a/1 a/2", "session m/gone: a/1"]);
    // A lane that was renamed is not there any more; one that ran empty is.
    assert!(rig.queue.stat().lanes.contains_key("route a/#"));
}

#[tokio::test]
async fn what_waits_in_a_lane_of_the_former_name_is_taken_over() {
    let rig = Rig::new();
    let fleet = rig.fleet("a/# all\nb/# spread");
    let mut want = BTreeMap::new();
    for (topic, route) in ["a/1", "a/2", "b/1", "b/2", "b/3"].iter().zip([0, 0, 1, 1, 1]) {
        let route = &fleet.routes()[route];
        for lane in of_topic(route, topic) {
            let at = of_route(route).iter().position(|it| *it == lane).unwrap();
            let former = match route.policy {
                Policy::All => format!("route a/# copy {}", lane.to[0]),
                _ => format!("route b/# spread {at}"),
            };
            rig.put(&former, &[topic]).await;
            want.entry(lane.name).or_insert_with(Vec::new).push(*topic);
        }
    }
    rig.adopt(&fleet).await;
    let want: Vec<_> =
        want.iter().map(|(lane, topics)| format!("{lane}: {}", topics.join(" "))).collect();
    assert_eq!(rig.waits().await, want);
}
