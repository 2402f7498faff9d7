//! The telemetry of modems, from the view of a subscriber of the broker.

use e2e::{Lab, PATIENCE, Received, Signal, Sim, Subscriber, until};
use serde_json::Value;

const STATUS: &str = "modemfleet/gw/m0/status";
const STATE: &str = "modemfleet/gw/m0/state";

/// Makes a lab whose modems publish telemetry.
fn lab(modems: usize, telemetry: &str) -> Lab {
    let mut lab = Lab::without_modems(modems);
    lab.site.body =
        lab.site.body.replace("match:", &format!("telemetry: {telemetry}, poll: 1s, match:"));
    lab.sims = (0..modems).map(|modem| lab.plug_in(modem, &[])).collect();
    lab
}

/// Returns the retained message of a topic, as a later subscriber gets it.
fn retained(lab: &Lab, topic: &str) -> String {
    let late = Subscriber::new(lab.broker.port());
    let found = until("what is retained", || {
        late.messages().into_iter().find(|message| message.topic == topic && message.retain)
    });
    found.text()
}

fn of(lab: &Lab, topic: &str) -> Vec<Received> {
    lab.subscriber.messages().into_iter().filter(|message| message.topic == topic).collect()
}

fn words(lab: &Lab) -> Vec<String> {
    of(lab, STATUS).iter().map(Received::text).collect()
}

#[test]
fn online_at_the_start_offline_by_the_will_and_at_an_orderly_end() {
    let mut lab = lab(1, "{ every: 1h }");
    let mut agent = lab.start();
    until("online", || (words(&lab) == ["online"]).then_some(()));
    let told = until("its state", || of(&lab, STATE).into_iter().next());
    let state: Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!((&state["modem"], &state["state"]), (&"m0".into(), &"serving".into()), "{state}");
    assert!(state["signals"][0]["rsrp_dbm"].is_number(), "the first waits for a signal: {state}");
    assert!(state["model"].as_str().unwrap().contains("SIM7600"), "{state}");
    assert!(!told.text().contains("8986") && !told.text().contains("861234"), "{state}");
    assert_eq!((told.qos, retained(&lab, STATE)), (1, told.text()));
    assert_eq!(retained(&lab, STATUS), "online");

    // SIMCom's stack cannot retain its will: only connected subscribers see it.
    lab.sims[0].unplug();
    until("the will", || (words(&lab) == ["online", "offline"]).then_some(()));
    lab.sims[0] = lab.plug_in(0, &[]);
    until("online again", || (words(&lab) == ["online", "offline", "online"]).then_some(()));
    until("its state again", || (of(&lab, STATE).len() == 2).then_some(()));

    agent.process.signal(Signal::TERM);
    assert!(agent.process.end_within(PATIENCE).is_some(), "the agent does not end");
    // The last message takes time from the broker to the subscriber. The broker then has no will to
    // publish.
    until("its last word", || (words(&lab).len() > 3).then_some(()));
    assert_eq!(words(&lab)[3..], ["offline"]);
}

#[test]
fn states_come_from_time_to_time_and_take_no_place_of_a_message() {
    let topics =
        "{ every: 1s, qos: 0, retain: false, topic: \"t/${modem}/${session}\", status: none }";
    let mut lab = lab(2, topics);
    lab.site.queue = ", max_messages: 5".to_owned();
    // The second modem is not plugged in: its state is not kept anywhere.
    lab.sims[1].unplug();
    lab.sims.truncate(1);
    let agent = lab.start();
    until("three states", || (of(&lab, "t/m0/s").len() >= 3).then_some(()));
    assert!(of(&lab, "t/m0/s").iter().all(|told| told.qos == 0 && !told.retain));
    assert_eq!((of(&lab, "t/m1/s").len(), agent.queued()), (0, 0));
    assert!(words(&lab).is_empty());
    for number in 0..5 {
        agent.publish("topic=wait&session=m1/s", number.to_string().as_bytes());
    }
    assert_eq!(
        agent.http.publish("topic=wait&session=m1/s", b"x").status,
        429,
        "by messages alone"
    );
}

#[test]
fn another_session_says_that_one_is_away_for_those_who_come_later() {
    let mut lab = lab(2, "{ every: 1h }");
    let agent = lab.start();
    until("online", || (words(&lab) == ["online"]).then_some(()));
    lab.sims[0].unplug();
    until("the will, and the word of the other", || {
        (words(&lab) == ["online", "offline", "offline"]).then_some(())
    });
    assert_eq!(retained(&lab, STATUS), "offline");
    assert_eq!(retained(&lab, "modemfleet/gw/m1/status"), "online");
    lab.sims[0] = lab.plug_in(0, &[]);
    agent.connected("m0", "s");
    until("its own word again", || (retained(&lab, STATUS) == "online").then_some(()));
}

#[test]
fn what_wills_and_words_need_is_there_on_a_modem_that_can_have_its_will_retained() {
    let mut lab = Lab::without_modems(1);
    lab.site.body = lab.site.body.replace("match:", "telemetry: {}, match:");
    lab.sims =
        vec![Sim::of_model("ec25", &lab.site.dir().join("m0"), 1, &lab.broker.address(), &[])];
    let _agent = lab.start();
    until("online", || (words(&lab) == ["online"]).then_some(()));
    lab.sims[0].unplug();
    until("the will", || (words(&lab) == ["online", "offline"]).then_some(()));
    assert_eq!(retained(&lab, STATUS), "offline");
}
