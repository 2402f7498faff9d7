//! A budget for each SIM, from outside: it is used up, others take over, it survives restarts and
//! follows its card.

use std::fs;
use std::process::Command;

use e2e::{Agent, Lab, PATIENCE, Signal, Sim, modemfleet, run, until};
use serde_json::Value;

/// The limit of the budget, in bytes: about 20 messages, since one of 1,000 bytes costs about
/// 1,180.
const BUDGET: f64 = 25_000.0;

/// Plugs in two modems with a budget; `sims[modem]` is the number of the card in it.
fn plug_in(lab: &Lab, sims: [&str; 2]) -> Vec<Sim> {
    sims.iter().enumerate().map(|(modem, sim)| lab.plug_in(modem, &["--index", sim])).collect()
}

fn used(agent: &Agent, modem: &str) -> f64 {
    agent.sum("modemfleet_budget_used_bytes", &[("modem", modem)])
}

fn stopped(agent: &Agent, modem: &str) -> bool {
    agent.sum("modemfleet_budget_stage", &[("modem", modem), ("stage", "stopped")]) > 0.5
}

fn acknowledged(agent: &Agent, modem: &str) -> f64 {
    agent.sum("modemfleet_mqtt_publishes_total", &[("modem", modem), ("result", "ok")])
}

#[test]
fn a_budget_that_is_used_up_stops_its_sim_wherever_it_is_and_loses_nothing() {
    let mut lab = Lab::without_modems(2);
    let budget = "budget: { bytes: 25kB, reset_day: 31, time_zone: Asia/Shanghai, urgent: 9 }";
    lab.site.body = lab.site.body.replace("match:", &format!("{budget}, match:"));
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s] } ]\n";
    lab.sims = plug_in(&lab, ["0", "1"]);
    let mut agent = lab.start();

    // One message after another, so that each is counted before the next.
    let payload = |number: usize| format!("{number:01000}").into_bytes();
    let mut sent = 0;
    while acknowledged(&agent, "m1") < 3.0 {
        agent.publish("topic=t", &payload(sent));
        sent += 1;
        lab.subscriber.wait(sent);
        assert!(sent < 40, "the budget never ends");
    }
    assert!(stopped(&agent, "m0") && !stopped(&agent, "m1"));
    let spent = used(&agent, "m0");
    assert!((BUDGET..BUDGET + 2.0 * 1_300.0).contains(&spent), "{spent} bytes");
    let through = acknowledged(&agent, "m0");
    assert!((15.0..22.0).contains(&through), "{through} messages");
    assert_eq!(agent.sum("modemfleet_budget_left_bytes", &[("modem", "m0")]), 0.0);
    let switched = |cause| agent.sum("modemfleet_route_switches_total", &[("cause", cause)]);
    assert_eq!(switched("budget"), 1.0);

    let fleet: Value = serde_json::from_slice(&agent.http.get("/api/v1/modems").body).unwrap();
    let shown = &fleet["modems"][0]["budget"];
    assert_eq!((&shown["stage"], &shown["left_bytes"]), (&"stopped".into(), &0.into()), "{shown}");
    let doctor = agent.http.get("/api/v1/doctor?modem=m0").text();
    assert!(
        doctor.contains("\"check\":\"budget\"") && doctor.contains("used up, messages wait"),
        "{doctor}"
    );
    let status =
        run(Command::new(modemfleet()).arg("status").arg("--config").arg(lab.site.file()), b"");
    let words = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(words.contains("budget is used up"), "{words}");

    // A message for this SIM alone waits, unless it is urgent.
    agent.publish("topic=pinned&session=m0/s", b"waits");
    agent.publish("topic=pinned&session=m0/s&priority=9", b"urgent");
    assert_eq!(lab.subscriber.wait(sent + 1)[sent].payload, b"urgent");
    until("the urgent one to leave", || (agent.queued() == 1).then_some(()));

    // The count is on disk as soon as it stops a SIM.
    let file = lab.site.dir().join("queue/budget.json");
    until("the count on disk", || {
        let counts: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        let counts = counts.as_object()?.values();
        counts
            .filter_map(|count| count["bytes"].as_f64())
            .any(|bytes| bytes >= BUDGET)
            .then_some(())
    });
    agent.process.kill();
    let mut agent = lab.start();
    assert!(stopped(&agent, "m0") && used(&agent, "m0") >= BUDGET);
    agent.publish("topic=t", b"after the restart");
    lab.subscriber.wait(sent + 2);
    assert_eq!((acknowledged(&agent, "m0"), acknowledged(&agent, "m1")), (0.0, 1.0));
    agent.process.signal(Signal::TERM);
    assert!(agent.process.end_within(PATIENCE).is_some(), "the agent does not end");

    // The cards change places: the used budget moves with its card, and the waiting message is
    // sent.
    lab.sims.iter_mut().for_each(Sim::unplug);
    lab.sims = plug_in(&lab, ["1", "0"]);
    let agent = lab.start();
    lab.subscriber.wait(sent + 3);
    agent.drained();
    assert!(stopped(&agent, "m1") && !stopped(&agent, "m0"));
    assert!(lab.subscriber.distinct().contains("waits"));
    assert_eq!(lab.subscriber.count(), sent + 3, "each once");
}

#[test]
fn what_is_shed_is_of_low_priority() {
    let mut lab = Lab::without_modems(1);
    let budget = "budget: { bytes: 100kB, warn: 1%, shed: { at: 1%, below_priority: 5 } }";
    lab.site.body = lab.site.body.replace("match:", &format!("{budget}, match:"));
    lab.sims = plug_in(&lab, ["0", "1"]).into_iter().take(1).collect();
    let agent = lab.start();
    agent.publish("topic=t&priority=5", &[b'x'; 1_000]);
    lab.subscriber.wait(1);
    agent.publish("topic=t", b"ordinary");
    agent.publish("topic=t&priority=5", b"important");
    assert_eq!(lab.subscriber.wait(2)[1].payload, b"important");
    until("the important one to leave", || (agent.queued() == 1).then_some(()));
    let shedding = [("modem", "m0"), ("stage", "shedding")];
    assert_eq!(agent.sum("modemfleet_budget_stage", &shedding), 1.0);
}
