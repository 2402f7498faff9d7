//! Routes from outside: `spread`, `all`, another topic, and the return to the first path.

use std::process::Command;

use e2e::{Agent, Lab, Sim, modemfleet, run, until};

const OK: &str = "modemfleet_mqtt_publishes_total";

fn lab(routes: &str) -> Lab {
    let mut lab = Lab::new(2);
    lab.site.body += routes;
    lab
}

fn ok(agent: &Agent, modem: &str) -> f64 {
    agent.sum(OK, &[("modem", modem), ("result", "ok")])
}

#[test]
fn spread_gives_each_its_share_and_keeps_each_topic_in_order() {
    let lab = lab("routes: [ { topic: \"#\", to: [m0/s, m1/s], policy: spread } ]\n");
    let agent = lab.start();
    for number in 0..5 {
        for topic in 0..12 {
            agent.publish(&format!("topic=t/{topic}"), number.to_string().as_bytes());
        }
    }
    let received = lab.subscriber.wait(60);
    agent.drained();
    for topic in 0..12 {
        let topic = format!("t/{topic}");
        let of_topic = received.iter().filter(|message| message.topic == topic);
        let order: Vec<String> =
            of_topic.map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect();
        assert_eq!(order, ["0", "1", "2", "3", "4"], "{topic}");
    }
    let shares = (ok(&agent, "m0"), ok(&agent, "m1"));
    assert!(shares.0 >= 10.0 && shares.1 >= 10.0, "{shares:?}");
    assert_eq!(shares.0 + shares.1, 60.0);
}

#[test]
fn all_gives_a_copy_to_each_and_a_key_counts_for_all() {
    let lab = lab("routes: [ { topic: \"#\", to: [m0/s, m1/s], policy: all } ]\n");
    let agent = lab.start();
    for _ in 0..2 {
        let headers = [("Idempotency-Key", "once")];
        assert_eq!(agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, b"x").status, 202);
    }
    lab.subscriber.wait(2);
    agent.drained();
    assert_eq!((ok(&agent, "m0"), ok(&agent, "m1")), (1.0, 1.0));
    assert_eq!(lab.subscriber.count(), 2);
}

#[test]
fn copies_are_taken_all_or_none_also_under_a_key() {
    let mut lab = Lab::without_modems(2);
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s], policy: all } ]\n";
    lab.site.queue = ", max_messages: 3".to_owned();
    let agent = lab.site.start();
    let publish = |key: &str| {
        let headers = [("Idempotency-Key", key)];
        agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, b"x")
    };
    let first = publish("once");
    assert_eq!(first.status, 202);
    // There is room for one of two copies.
    assert_eq!(publish("twice").status, 429);
    assert_eq!(agent.queued(), 2, "nothing of it was stored");
    let again = publish("once");
    assert_eq!((again.status, &again.body), (202, &first.body), "all copies are named again");
    lab.sims.extend([lab.plug_in(0, &[]), lab.plug_in(1, &[])]);
    lab.subscriber.wait(2);
    agent.drained();
    assert_eq!(publish("twice").status, 202);
    lab.subscriber.wait(4);
    agent.drained();
    assert_eq!((ok(&agent, "m0"), ok(&agent, "m1")), (2.0, 2.0));
}

#[test]
fn where_not_all_copies_fit_none_is_published() {
    let mut lab = Lab::without_modems(2);
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s], policy: all } ]\n";
    lab.site.queue = ", max_messages: 3".to_owned();
    let agent = lab.site.start();
    lab.sims.push(lab.plug_in(0, &[]));
    for left in [1, 2] {
        agent.publish("topic=t", b"x");
        until("the first path to be drained", || (agent.queued() == left).then_some(()));
    }
    // There is room for one of two copies, and a path that is up.
    for _ in 0..20 {
        assert_eq!(agent.http.publish("topic=t", b"x").status, 429);
    }
    lab.sims.push(lab.plug_in(1, &[]));
    agent.drained();
    assert_eq!((ok(&agent, "m0"), ok(&agent, "m1")), (2.0, 2.0));
}

#[test]
fn a_route_publishes_on_another_topic() {
    let routes = "routes: [ { topic: \"sensors/#\", to: [m0/s], \
                  publish_as: \"${gateway}/${modem}/${session}/${topic}/${id}\" } ]\n";
    let lab = lab(routes);
    let agent = lab.start();
    let answer = agent.http.publish("topic=sensors/t1", b"x");
    let id: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let topic = &lab.subscriber.wait(1)[0].topic;
    assert_eq!(*topic, format!("gw/m0/s/sensors/t1/{}", id["id"].as_str().unwrap()));
    // A topic that would become too long is rejected at hand-in, and not lost later.
    let long = format!("topic=sensors/{}", "x".repeat(1_000));
    let refused = agent.http.publish(&long, b"x");
    assert_eq!(refused.status, 400, "{}", refused.text());
    // The acknowledgement of a single message may wait for the next commit.
    agent.drained();
}

#[test]
fn a_modem_has_to_take_the_topic_that_its_route_publishes_on() {
    // This model takes a topic of 255 bytes.
    let mut lab = Lab::of_model("ec25", 1);
    lab.site.body += "routes:\n- { topic: \"short/#\", to: [m0/s], publish_as: \"s/${id}\" }\n\
                      - { topic: \"long/#\", to: [m0/s], publish_as: \"up/${gateway}/${topic}/${id}\" }\n";
    let agent = lab.start();
    agent.connected("m0", "s");
    let topic = |filter: &str, bytes: usize| format!("{filter}/{}", "x".repeat(bytes));
    let answer = agent.http.publish(&format!("topic={}", topic("short", 400)), b"x");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(lab.subscriber.wait(1)[0].topic.starts_with("s/"));
    let answer = agent.http.publish(&format!("topic={}", topic("long", 240)), b"x");
    assert_eq!(answer.status, 413, "{}", answer.text());
    agent.drained();
}

#[test]
fn a_path_that_came_back_is_preferred_once_it_held() {
    // Longer than the time to see on a busy machine that the first path is back, and to send a
    // message.
    let mut lab = lab("routes: [ { topic: \"#\", to: [m0/s, m1/s], hold_down: 8s } ]\n");
    let agent = lab.start();
    let active = |modem: &str| {
        agent.sum("modemfleet_route_active", &[("route", "#"), ("modem", modem)]) > 0.5
    };
    let switches = |cause: &str| agent.sum("modemfleet_route_switches_total", &[("cause", cause)]);
    agent.publish("topic=t", b"0");
    until("the first path", || active("m0").then_some(()));
    agent.drained();
    // At the start the second path may have been up first.
    let at_start = switches("fail_back");
    lab.sims[0].unplug();
    until("the loss", || (!agent.is_connected("m0", "s")).then_some(()));
    agent.publish("topic=t", b"1");
    until("the second path", || active("m1").then_some(()));
    assert_eq!((switches("down"), switches("fail_back") - at_start), (1.0, 0.0));
    lab.sims[0] = lab.plug_in(0, &[]);
    agent.connected("m0", "s");
    agent.publish("topic=t", b"2");
    lab.subscriber.wait(3);
    assert_eq!(ok(&agent, "m1"), 2.0, "it has not held yet");
    until("the way back", || active("m0").then_some(()));
    agent.publish("topic=t", b"3");
    lab.subscriber.wait(4);
    agent.drained();
    assert_eq!((ok(&agent, "m0"), ok(&agent, "m1")), (2.0, 2.0));
    assert_eq!((switches("down"), switches("fail_back") - at_start), (1.0, 1.0));
}

#[test]
fn a_path_that_is_too_small_is_skipped_and_where_none_fits_nothing_is_taken() {
    let mut lab = Lab::without_modems(2);
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s] } ]\n";
    let small = lab.site.dir().join("m0");
    lab.sims.push(Sim::of_model("ec25", &small, 1, &lab.broker.address(), &[]));
    let agent = lab.start();
    let large = [b'x'; 5_000];
    for query in ["topic=t", "topic=t&session=m0/s"] {
        let answer = agent.http.publish(query, &large);
        // The second modem is not yet known: its limit may be large enough.
        assert_eq!(answer.status, if query.contains("session") { 413 } else { 202 }, "{query}");
    }
    for number in 1..4 {
        agent.publish("topic=t", b"small");
        let got = lab.subscriber.wait(number);
        assert_eq!(got[number - 1].payload, b"small", "the large one holds up nobody");
    }
    lab.sims.push(lab.plug_in(1, &[]));
    assert_eq!(lab.subscriber.wait(4)[3].payload.len(), 5_000);
    agent.drained();
    assert_eq!((ok(&agent, "m0"), ok(&agent, "m1")), (3.0, 1.0));
}

#[test]
fn route_test_says_which_path_and_why() {
    let routes = "routes:\n- { topic: \"a/#\", to: [m1/s], publish_as: \"x/${topic}\" }\n\
                  - { topic: \"b/#\", to: [m0/s, m1/s], policy: all }\n\
                  - { name: third, topic: \"d/#\", to: [m0/s, m1/s], stall: 90s }\n";
    let lab = lab(routes);
    let tested = |topic: &str| {
        let mut command = Command::new(modemfleet());
        command.args(["route", "test", topic, "--config"]).arg(lab.site.file());
        let done = run(&mut command, b"");
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, words) = tested("a/b");
    assert_eq!(code, Some(0));
    assert!(words.contains("1. m1/s as \"x/a/b\"\n") && words.contains("failover"), "{words}");
    let (_, words) = tested("d/1");
    assert!(
        words.contains("routes[2] third d/#: matches") && words.contains("after 1m 30s"),
        "{words}"
    );
    let (code, words) = tested("c");
    assert!(code == Some(1) && words.contains("no route matches"), "{words}");
    assert_eq!(tested("a/#").0, Some(2));
    let _agent = lab.start();
    let (_, words) = tested("b/1");
    assert!(words.contains("m0/s: connected") && words.contains("m1/s: connected"), "{words}");
}
