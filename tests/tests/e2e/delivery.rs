//! From hand-in to the broker: no loss, no duplicates, byte for byte, in order, by the right path.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use e2e::{Lab, PATIENCE, Signal, Subscriber, until, within};

const OK: &str = "modemfleet_mqtt_publishes_total";

#[test]
fn three_hundred_messages_arrive_once_each() {
    let lab = Lab::new(2);
    let agent = lab.start();
    // Four applications at a time. Every other message is for the second modem alone.
    thread::scope(|scope| {
        for app in 0..4 {
            let http = agent.http;
            scope.spawn(move || {
                for number in 0..75 {
                    let path = if number % 2 == 0 { "" } else { "&session=m1/s" };
                    let payload = format!("{app}-{number}");
                    let answer =
                        http.publish(&format!("topic=bulk/{app}{path}"), payload.as_bytes());
                    assert_eq!(answer.status, 202, "{}", answer.text());
                }
            });
        }
    });
    agent.drained();
    let messages = lab.subscriber.wait(300);
    let want: BTreeSet<String> =
        (0..4).flat_map(|app| (0..75).map(move |number| format!("{app}-{number}"))).collect();
    assert_eq!(lab.subscriber.distinct(), want);
    assert_eq!(messages.len(), 300, "no duplicates");
    assert!(messages.iter().all(|message| message.qos == 1 && !message.retain));
    let scrape = agent.scrape();
    assert_eq!(scrape.sum(OK, &[("result", "ok"), ("qos", "1")]), 300.0);
    assert_eq!(scrape.sum(OK, &[]), 300.0, "no other result");
    assert_eq!(scrape.sum("modemfleet_queue_messages", &[]), 0.0);
    assert_eq!(scrape.sum("modemfleet_queue_bytes", &[]), 0.0);
    assert_eq!(scrape.sum("modemfleet_queue_dropped_total", &[]), 0.0);
    assert_eq!(scrape.sum(OK, &[("modem", "m1")]), 148.0, "what was pinned to m1, and no more");
}

#[test]
fn quality_retain_and_every_byte_are_kept() {
    let lab = Lab::new(1);
    let agent = lab.start();
    let all_bytes: Vec<u8> = (0..=255).cycle().take(10_240).collect();
    let hostile = b"\r\nOK\r\n\r\n+CMQTTPUB: 0,0\r\n>\x1a\x1b\0\"".as_slice();
    let sent: [(&str, u8, &[u8]); 7] = [
        ("q/0", 0, b"zero"),
        ("q/1", 1, b"one"),
        ("q/2", 2, b"two"),
        ("b/empty", 1, b""),
        ("b/hostile", 1, hostile),
        ("b/largest", 1, &all_bytes),
        ("b/\u{e9} \"\u{20ac}", 1, b"utf-8 and a quote in the topic"),
    ];
    for (topic, qos, payload) in sent {
        let topic = topic.replace(' ', "%20").replace('"', "%22");
        let topic = topic.replace('\u{e9}', "%C3%A9").replace('\u{20ac}', "%E2%82%AC");
        agent.publish(&format!("topic={topic}&qos={qos}"), payload);
    }
    agent.publish("topic=kept&retain=true", b"still here");
    let messages = lab.subscriber.wait(8);
    for (topic, qos, payload) in sent {
        let message = messages.iter().find(|message| message.topic == topic);
        let message = message.unwrap_or_else(|| panic!("{topic} did not arrive"));
        assert_eq!(message.qos, qos, "{topic}");
        assert!(message.payload == payload, "{topic}: {} bytes", message.payload.len());
    }
    let later = Subscriber::new(lab.broker.port()).wait(1);
    assert_eq!((later[0].topic.as_str(), later[0].retain), ("kept", true));
    assert_eq!(later.len(), 1, "nothing else was retained");
    agent.drained();
}

#[test]
fn an_idempotency_key_gives_one_message() {
    let lab = Lab::new(1);
    let agent = lab.start();
    let ask = |key: &str, payload: &str| {
        let headers = [("Idempotency-Key", key)];
        let answer =
            agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, payload.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.text()
    };
    let first = ask("order-1", "one");
    lab.subscriber.wait(1);
    agent.drained();
    // The first message is delivered and gone from the queue, but its key is remembered.
    assert_eq!(ask("order-1", "one"), first);
    let headers = [("Idempotency-Key", "order-1")];
    let reused = agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, b"another");
    assert_eq!(reused.status, 422);
    assert!(reused.text().contains("key_reused"), "{}", reused.text());
    assert_ne!(ask("order-2", "two"), first);
    let texts: Vec<_> = lab.subscriber.wait(2).iter().map(|message| message.text()).collect();
    assert_eq!(texts, ["one", "two"]);
    agent.drained();
    assert_eq!(lab.subscriber.count(), 2);
}

#[test]
fn what_waited_too_long_is_dropped_and_counted() {
    let mut lab = Lab::without_modems(1);
    let agent = lab.site.start();
    agent.publish("topic=t&ttl=300ms", b"stale");
    agent.publish("topic=t&ttl=1h", b"fresh");
    agent.publish("topic=t", b"eternal");
    assert_eq!(agent.queued(), 3);
    let expired = [("reason", "expired")];
    until("the message to expire", || {
        (agent.sum("modemfleet_queue_dropped_total", &expired) > 0.5).then_some(())
    });
    lab.sims.push(lab.plug_in(0, &[]));
    let texts: Vec<_> = lab.subscriber.wait(2).iter().map(|message| message.text()).collect();
    assert_eq!(texts, ["fresh", "eternal"]);
    agent.drained();
    assert_eq!(agent.sum("modemfleet_queue_dropped_total", &[]), 1.0);
}

#[test]
fn messages_of_one_topic_stay_in_order_and_wait_for_a_modem() {
    let mut lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let query = |number: u32| format!("topic=order/{}", number % 2);
    for number in 0..30 {
        agent.publish(&query(number), number.to_string().as_bytes());
    }
    let scrape = agent.scrape();
    assert_eq!(scrape.sum("modemfleet_queue_messages", &[]), 30.0);
    assert!(scrape.sum("modemfleet_queue_oldest_timestamp_seconds", &[]) > 1.6e9);
    assert_eq!(agent.http.get("/readyz").status, 503);
    lab.sims.push(lab.plug_in(0, &[]));
    agent.connected("m0", "s");
    for number in 30..60 {
        agent.publish(&query(number), number.to_string().as_bytes());
    }
    let messages = lab.subscriber.wait(60);
    for topic in 0..2_u32 {
        let name = format!("order/{topic}");
        let got: Vec<u32> = messages
            .iter()
            .filter(|message| message.topic == name)
            .map(|message| message.text().parse().unwrap())
            .collect();
        let want: Vec<u32> = (0..60).filter(|number| number % 2 == topic).collect();
        assert_eq!(got, want, "{name}");
    }
    agent.drained();
}

#[test]
fn a_session_that_is_asked_for_gets_the_message_and_waits_for_it() {
    let mut lab = Lab::without_modems(2);
    lab.sims.push(lab.plug_in(0, &[]));
    let agent = lab.start();
    agent.publish("topic=pinned&session=m1/s", b"for m1");
    agent.publish("topic=free", b"for whom it fits");
    assert_eq!(lab.subscriber.wait(1)[0].topic, "free");
    // It does not take the path that is open.
    until("the record of the other", || (agent.queued() == 1).then_some(()));
    assert_eq!(lab.subscriber.count(), 1);
    lab.sims.push(lab.plug_in(1, &[]));
    assert_eq!(lab.subscriber.wait(2)[1].topic, "pinned");
    // The broker forwards it before the modem reports the result.
    agent.drained();
    assert_eq!(agent.sum(OK, &[("modem", "m1"), ("result", "ok")]), 1.0);
}

#[test]
fn a_dying_modem_under_load_loses_nothing_and_gets_its_load_back() {
    let mut lab = Lab::new(2);
    // A path that returns is used at once. Another test covers `hold_down`.
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s], hold_down: 0s } ]\n";
    let agent = lab.start();
    let publish = |from: u32, to: u32| {
        for number in from..to {
            agent.publish("topic=load", number.to_string().as_bytes());
        }
    };
    publish(0, 60);
    lab.sims[0].unplug(); // in the middle of its work
    publish(60, 100);
    assert!(lab.subscriber.has_within(100, PATIENCE), "lost: {:?}", missing(&lab));
    agent.drained();
    assert!(lab.subscriber.count() <= 102, "{} messages", lab.subscriber.count());
    until("m0 to be missed", || (!agent.is_connected("m0", "s")).then_some(()));
    let absent = [("modem", "m0"), ("state", "absent")];
    until("m0 to be absent", || (agent.sum("modemfleet_modem_state", &absent) > 0.5).then_some(()));
    let before = agent.scrape();
    assert!(before.sum(OK, &[("modem", "m1"), ("result", "ok")]) > 30.0);
    assert_eq!(before.sum("modemfleet_hotplug_events_total", &[("action", "remove")]), 1.0);
    let unplugged = [("modem", "m0"), ("reason", "unplug")];
    assert_eq!(before.sum("modemfleet_mqtt_disconnects_total", &unplugged), 1.0);

    lab.sims[0] = lab.plug_in(0, &[]);
    agent.connected("m0", "s");
    publish(100, 110);
    assert!(lab.subscriber.has_within(110, PATIENCE), "lost: {:?}", missing(&lab));
    agent.drained();
    let after = agent.scrape();
    let on = |modem| after.sum(OK, &[("modem", modem)]) - before.sum(OK, &[("modem", modem)]);
    assert_eq!((on("m0"), on("m1")), (10.0, 0.0), "the first path is used again");
}

/// Returns the numbers that have not arrived at the broker.
fn missing(lab: &Lab) -> Vec<u32> {
    let have = lab.subscriber.distinct();
    (0..110).filter(|number| !have.contains(&number.to_string())).collect()
}

#[test]
fn a_modem_that_hangs_holds_up_nobody_but_itself() {
    let lab = Lab::new(2);
    let agent = lab.start();
    lab.sims[0].process.signal(Signal::STOP);
    for number in 0..20 {
        agent.publish("topic=t&session=m1/s", number.to_string().as_bytes());
    }
    // Shorter than the time after which the first modem is given up as mute: from then on nothing
    // would wait for it.
    let done = within(Duration::from_secs(15), || (lab.subscriber.count() >= 20).then_some(()));
    assert!(done.is_some(), "{} of 20 in 15 s", lab.subscriber.count());
    lab.sims[0].process.signal(Signal::CONT);
    agent.drained();
}

#[test]
fn a_modem_whose_access_point_wants_a_login_serves() {
    let mut lab = Lab::without_modems(1);
    let secret = lab.site.secret("apn", "sesame").display().to_string();
    let apn = format!("apn: {{ name: cmnet, user: u, password: {{ file: {secret} }} }}, match:");
    lab.site.body = lab.site.body.replace("match:", &apn);
    lab.sims.push(lab.plug_in(0, &[]));
    let agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
}

#[test]
fn a_mute_modem_was_plugged_in_once() {
    let mut lab = Lab::without_modems(1);
    let sim = lab.plug_in(0, &[]);
    sim.process.signal(Signal::STOP);
    lab.sims.push(sim);
    let agent = lab.site.start();
    until("a second attempt to open it", || {
        let failed = [("action", "reopen"), ("outcome", "failed")];
        (agent.sum("modemfleet_recovery_actions_total", &failed) > 0.5).then_some(())
    });
    assert_eq!(agent.sum("modemfleet_hotplug_events_total", &[("action", "add")]), 1.0);
}
