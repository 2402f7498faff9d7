//! Batches from outside: fewer publishes, each message once and in order, and none lost by a kill.

use std::collections::BTreeSet;

use e2e::{Agent, Lab, until};
use serde_json::Value;

/// Makes a lab whose route makes batches, with one modem that is not yet plugged in.
fn lab(batch: &str) -> Lab {
    let mut lab = Lab::without_modems(1);
    lab.site.body += &format!("routes: [ {{ topic: \"#\", to: [m0/s], batch: {batch} }} ]\n");
    lab
}

fn publishes(agent: &Agent) -> f64 {
    agent.sum("modemfleet_mqtt_publishes_total", &[("result", "ok")])
}

/// Returns the elements of all arrays that arrived, in order.
fn elements(lab: &Lab) -> Vec<Value> {
    let arrays = lab.subscriber.messages().into_iter();
    arrays.flat_map(|m| serde_json::from_slice::<Vec<Value>>(&m.payload).unwrap()).collect()
}

#[test]
fn a_hundred_messages_take_a_few_publishes_and_keep_their_order() {
    let mut lab = lab("{ format: json_array, max_messages: 40, max_delay: 100ms }");
    let agent = lab.site.start();
    for number in 0..100 {
        agent.publish(&format!("topic=t/{}", number % 2), number.to_string().as_bytes());
    }
    agent.publish("topic=t/0&qos=0&retain=true", b"\"other\"");
    lab.sims.push(lab.plug_in(0, &[]));
    agent.drained();
    until("all of them", || (elements(&lab).len() == 101).then_some(()));
    for topic in 0..2 {
        let of_topic =
            lab.subscriber.messages().into_iter().filter(|m| m.topic == format!("t/{topic}"));
        let (ordinary, other): (Vec<_>, Vec<_>) = of_topic.partition(|m| m.qos == 1);
        let numbers: Vec<u64> = ordinary
            .iter()
            .flat_map(|m| serde_json::from_slice::<Vec<u64>>(&m.payload).unwrap())
            .collect();
        let want: Vec<u64> = (0..100).filter(|number| number % 2 == topic).collect();
        assert_eq!(numbers, want, "each once, in order");
        assert_eq!(other.len(), usize::from(topic == 0), "another QoS is another batch");
    }
    assert!(publishes(&agent) <= 10.0, "{} publishes", publishes(&agent));
    // A message that comes alone waits for others, but not for long.
    agent.publish("topic=t/1", b"{\"alone\": true}");
    until("the last one", || (elements(&lab).len() == 102).then_some(()));
    assert_eq!(lab.subscriber.messages().last().unwrap().payload, b"[{\"alone\": true}]");
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_ids_tell_what_came_twice() {
    let mut lab = lab("{ format: json_array, max_messages: 5, max_delay: 20ms, ids: true }");
    lab.sims.push(lab.plug_in(0, &["--latency", "50"]));
    let mut agent = lab.start();
    let mut ids = BTreeSet::new();
    for number in 0..60 {
        let answer = agent.http.publish("topic=t", number.to_string().as_bytes());
        assert_eq!(answer.status, 202);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        ids.insert(answer["id"].as_str().unwrap().to_owned());
    }
    until("some to arrive", || (!elements(&lab).is_empty()).then_some(()));
    agent.process.kill();
    assert!(elements(&lab).len() < 60, "it was over before the kill");
    let _agent = lab.start();
    let came = || -> BTreeSet<String> {
        elements(&lab).iter().map(|element| element["id"].as_str().unwrap().to_owned()).collect()
    };
    until("all of them", || (came() == ids).then_some(()));
    let numbers: BTreeSet<u64> =
        elements(&lab).iter().map(|element| element["payload"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..60).collect());
    let twice = elements(&lab).len() - ids.len();
    assert!(twice <= 10, "{twice} came twice, two batches at most");
}

#[test]
fn what_cannot_stand_in_a_batch_is_refused_or_set_aside() {
    let mut lab = lab("{ format: lines, max_messages: 2, max_delay: 4m }");
    let agent = lab.site.start();
    let refused = agent.http.publish("topic=t", b"two\nlines");
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("unbatchable"), "{}", refused.text());
    agent.publish("topic=t", b"no JSON");
    agent.publish("topic=t", b"17");
    drop(agent);
    // The route now makes batches of another format.
    lab.site.body = lab.site.body.replace("lines, max_messages: 2, max_delay: 4m", "json_array");
    lab.sims.push(lab.plug_in(0, &[]));
    let agent = lab.start();
    assert_eq!(lab.subscriber.wait(1)[0].payload, b"[17]");
    let aside = || agent.sum("modemfleet_queue_set_aside_messages", &[]);
    until("the other to be set aside", || (aside() > 0.5 && agent.queued() == 1).then_some(()));
    let large = vec![b'1'; 10_239];
    assert_eq!(
        agent.http.publish("topic=t", &large).status,
        413,
        "with its brackets it is too long"
    );
}
