//! Telemetry: topics, session, will.

use super::*;

#[test]
fn telemetry_has_its_topics_its_session_and_its_will() {
    let of = |telemetry: &str| {
        let sessions =
            "sessions: { one: { broker: lab }, two: { broker: lab, vars: { site: roof } } }";
        let loaded =
            parse(&north(&format!("    telemetry: {telemetry}\n    {sessions}\n"))).unwrap();
        loaded.fleet.modems[0].clone()
    };
    let modem = of("{}");
    let least = modem.telemetry.unwrap();
    assert_eq!(
        (least.session.as_str(), least.topic.as_str()),
        ("one", "modemfleet/gw/north/state")
    );
    assert_eq!(
        (least.every, least.qos, least.retain),
        (Duration::from_secs(60), Qos::AtLeastOnce, true)
    );
    let will = modem.sessions[0].will.clone().unwrap();
    assert_eq!(least.status.as_deref(), Some("modemfleet/gw/north/status"));
    assert_eq!(
        (will.topic.as_str(), will.payload.as_str()),
        ("modemfleet/gw/north/status", "offline")
    );
    assert!(will.retain && modem.sessions[1].will.is_none());
    let modem = of(
        "{ session: two, topic: \"${site}/${session}\", status: none, every: 5m, qos: 0, retain: false }",
    );
    let most = modem.telemetry.unwrap();
    assert_eq!((most.topic.as_str(), most.status, most.retain), ("roof/two", None, false));
    assert!(modem.sessions.iter().all(|session| session.will.is_none()));
}

#[test]
fn telemetry_that_cannot_be_told_is_refused() {
    let own_will = "        broker: lab\n        will: { topic: t, payload: p }\n";
    let with = |telemetry: &str, session: &str| {
        north(&format!("    telemetry: {telemetry}\n    sessions:\n      s:\n{session}"))
    };
    let plain = |telemetry: &str| with(telemetry, "        broker: lab\n");
    assert!(parse(&with("{ status: none }", own_will)).is_ok());
    refused(&[
        (with("{}", &own_will.replace("will:", "¶will:")), "not allowed with `telemetry`"),
        (north("    ¶telemetry: {}\n"), "needs a session"),
        (plain("{ session: ¶t }"), "not a session of this modem"),
        (plain("{ every: ¶10 }"), "needs a unit"),
        (plain("{ every: ¶2d }"), "must be"),
        (plain("{ topic: ¶\"a/#\" }"), "not a filter"),
        (plain("{ topic: ¶\"${site}/x\" }"), "unknown variable ${site}"),
        (plain("{ topic: ¶\"${id}/x\" }"), "unknown variable ${id}"),
        (plain("{ topic: ¶a/status }"), "the same topic as the state"),
        (plain("{ topic: a/b, status: ¶a/b }"), "the same topic as the state"),
        (plain("{ status: ¶\"a/+\" }"), "not a filter"),
        (plain("{ ¶interval: 1m }"), "unknown key"),
    ]);
}
