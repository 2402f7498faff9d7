//! Unplugs at each step of opening and publishing: accepted messages arrive, and the modem comes
//! back.

use std::fmt::Write as _;
use std::time::Duration;

use e2e::{Mosquitto, Sim, Site, Subscriber, pause, until, within};

/// The number of modems that are unplugged at the same time, each at its own steps.
const MODEMS: usize = 12;

/// The number of steps. From the first question to an open session there are about 25 steps, and
/// four for each publish after that. So the last periods end in the middle of publishes.
const STEPS: usize = 48;

#[test]
fn a_modem_that_vanishes_at_any_step_comes_back_and_nothing_is_lost() {
    let broker = Mosquitto::open();
    let subscriber = Subscriber::new(broker.port());
    let mut site = Site::new();
    "info".clone_into(&mut site.log);
    site.body = "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
    let mut sims = Vec::new();
    for modem in 0..MODEMS {
        let dir = site.dir().join(format!("m{modem}"));
        let _ = writeln!(
            site.body,
            "  m{modem}: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }}",
            dir.join("modem0").display()
        );
        // Modem 0 is unplugged at step 1, later at 13, 25 …, modem 1 at 2, 14, 26 …
        let steps: Vec<String> =
            (modem + 1..=STEPS).step_by(MODEMS).map(|step| step.to_string()).collect();
        let mut more: Vec<&str> = vec!["--unplugged", "100"];
        steps.iter().for_each(|step| more.extend(["--unplug-at", step]));
        sims.push(Sim::start(&dir, 1, &broker.address(), &more));
    }
    let agent = site.start();
    let stays = STEPS / MODEMS + 1;
    let came = |modem: &str| {
        let log = agent.log();
        let gone = format!("modem{{name=\"{modem}\"}}: the port is gone");
        log.matches(&gone).count()
    };
    let names: Vec<String> = (0..MODEMS).map(|modem| format!("m{modem}")).collect();
    let is_over =
        || names.iter().all(|modem| came(modem) + 1 >= stays && agent.is_connected(modem, "s"));
    let mut sent = 0;
    let over = within(Duration::from_secs(90), || {
        // Each modem has a message to carry at all times.
        for modem in &names {
            agent.publish(
                &format!("topic=t/{sent}&qos=1&session={modem}/s"),
                format!("n{sent}").as_bytes(),
            );
            sent += 1;
        }
        pause(Duration::from_millis(100));
        is_over().then_some(())
    });
    let went: Vec<usize> = names.iter().map(|modem| came(modem)).collect();
    assert!(over.is_some(), "each was to go {} times and come back: {went:?}", stays - 1);
    until("all messages", || (subscriber.distinct().len() >= sent).then_some(()));
    agent.drained();
    for sim in &mut sims {
        assert!(sim.process.ended().is_none());
    }
}
