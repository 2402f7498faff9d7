//! A message that was accepted with 202 arrives, whatever happens to the agent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Http, Lab, PATIENCE, pause, until};

/// The number of kills. `cargo xtask bench` does more.
const KILLS: u64 = 20;

/// Hands in messages until `stop` is set, and returns those that were answered with 202.
fn hand_in(http: Http, stop: &AtomicBool) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let payload = number.to_string();
        let target = format!("/api/v1/publish?topic=load/{}", number % 3);
        match http.try_ask("POST", &target, &[], payload.as_bytes()) {
            Some(answer) if answer.status == 202 => drop(taken.insert(payload)),
            Some(answer) => panic!("{} {}", answer.status, answer.text()),
            None => pause(Duration::from_millis(5)), // nobody is there just now
        }
    }
    taken
}

#[test]
fn a_killed_agent_loses_nothing_that_it_took() {
    let lab = Lab::new(2);
    let mut agent = lab.start();
    let (http, stop) = (agent.http, AtomicBool::new(false));
    let taken = thread::scope(|scope| {
        let applications = scope.spawn(|| hand_in(http, &stop));
        // Fixed, and without a common rhythm with anything in the agent.
        let moments = [310, 730, 90, 470, 190, 20, 590_u64].into_iter().cycle();
        for (moment, _) in moments.zip(0..KILLS) {
            pause(Duration::from_millis(moment));
            agent.process.kill();
            agent = lab.site.start();
        }
        pause(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        applications.join().unwrap()
    });
    assert!(taken.len() > 20, "there was load: {}", taken.len());
    assert!(agent.drained_within(PATIENCE), "{} are queued", agent.queued());
    assert!(lab.subscriber.has_within(taken.len(), PATIENCE));
    let (arrived, count) = (lab.subscriber.distinct(), lab.subscriber.count());
    let lost: Vec<_> = taken.difference(&arrived).collect();
    assert!(lost.is_empty(), "answered 202 and lost: {lost:?}");
    // A message on its way and one behind it, for each session.
    let allowed = usize::try_from(KILLS * 2 * 2).unwrap();
    let twice = count - arrived.len();
    assert!(twice <= allowed, "{twice} duplicates, {allowed} are allowed");
}

#[test]
fn a_second_agent_on_one_queue_ends_and_names_the_first() {
    let lab = Lab::new(1);
    let first = lab.start();
    let mut second = lab.site.spawn();
    let end = second.process.end_within(PATIENCE).expect("it ends");
    assert_eq!(end.code(), Some(1));
    assert!(second.log().contains(&first.process.pid().to_string()), "{}", second.log());
    // The first agent was not disturbed.
    first.publish("topic=t", b"x");
    lab.subscriber.wait(1);
}

#[test]
fn messages_of_routes_that_are_gone_take_those_that_are_there() {
    let mut lab = Lab::without_modems(2);
    let modems = lab.site.body.clone();
    lab.site.body = format!(
        "{modems}routes:\n  - {{ topic: \"old/#\", to: [m0/s] }}\n  - {{ topic: \"#\", to: [m1/s] }}\n"
    );
    let mut agent = lab.site.start();
    for number in 0..10_u32 {
        agent.publish("topic=old/a", format!("old {number}").as_bytes());
    }
    agent.publish("topic=other", b"other");
    agent.publish("topic=mine&session=m0/s", b"pinned");
    agent.process.kill();

    // `old/#` and the modem m0 are gone.
    let m0 = modems.lines().position(|line| line.starts_with("  m0:")).unwrap();
    let rest: Vec<_> = modems.lines().enumerate().filter(|(at, _)| *at != m0).collect();
    let rest: Vec<_> = rest.into_iter().map(|(_, line)| line).collect();
    lab.site.body = format!("{}\nroutes:\n  - {{ topic: \"+/#\", to: [m1/s] }}\n", rest.join("\n"));
    let mut agent = lab.site.start();
    let sim = lab.plug_in(1, &[]);
    let arrived = lab.subscriber.wait(11);
    let old: Vec<_> = arrived.iter().filter(|m| m.topic == "old/a").map(|m| m.text()).collect();
    let want: Vec<_> = (0..10).map(|number| format!("old {number}")).collect();
    assert_eq!(old, want, "all, and in their order");
    assert!(arrived.iter().any(|message| message.text() == "other"));
    let left = "what was pinned to a session that is gone, and nothing else, to be kept";
    until(left, || (agent.queued() == 1).then_some(()));
    agent.process.kill();

    // The session comes back, and gets the messages that waited for it.
    lab.site.body = modems;
    let agent = lab.site.start();
    let first = lab.plug_in(0, &[]);
    assert!(lab.subscriber.has_within(12, PATIENCE));
    agent.drained();
    drop((sim, first));
}
