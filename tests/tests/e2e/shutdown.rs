//! The end of the agent: sessions signed out, exit code 0, within the grace time.

use std::time::Duration;

use e2e::{Agent, Lab, PATIENCE, Signal, until};

/// Makes a lab whose agent may take this long to end.
fn lab(modems: usize, grace: &str) -> Lab {
    let mut lab = Lab::new(modems);
    lab.site.body.insert_str(0, &format!("shutdown_grace: {grace}\n"));
    lab
}

/// Longer than [`PATIENCE`]: an agent that ends within that did not wait for the end of its grace
/// time.
const LONG: &str = "3m";

fn signs_out(signal: Signal) {
    let lab = lab(2, LONG);
    let mut agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    agent.drained();
    agent.process.signal(signal);
    let end = agent.process.end_within(PATIENCE).expect("it ends in time");
    assert_eq!(end.code(), Some(0), "{}", agent.log());
    for client in ["gw-m0-s", "gw-m1-s"] {
        lab.broker.logged(&format!("Received DISCONNECT from {client}"));
        lab.broker.logged(&format!("Client {client} disconnected."));
    }
    let log = lab.broker.log();
    let rude = ["Socket error on client gw-", "Client gw-m0-s closed", "Client gw-m1-s closed"];
    let rude: Vec<_> = log.iter().filter(|l| rude.iter().any(|rude| l.contains(rude))).collect();
    assert!(rude.is_empty(), "{rude:?}");
}

#[test]
fn sigterm_signs_every_session_out() {
    signs_out(Signal::TERM);
}

#[test]
fn sigint_signs_every_session_out() {
    signs_out(Signal::INT);
}

#[test]
fn the_end_under_load_loses_nothing() {
    let lab = lab(1, LONG);
    let twice = end_under_load(&lab);
    // The message on its way and the one behind it.
    assert!(twice <= 2, "{twice} duplicates");
}

#[test]
fn the_end_under_load_repeats_nothing() {
    let lab = lab(1, LONG);
    assert_eq!(end_under_load(&lab), 0);
}

/// Ends an agent in the middle of its work, and returns how many messages its successor repeats.
fn end_under_load(lab: &Lab) -> usize {
    let mut agent = lab.start();
    for number in 0..50 {
        agent.publish("topic=t", format!("{number}").as_bytes());
    }
    agent.process.signal(Signal::TERM);
    assert_eq!(agent.process.end_within(PATIENCE).and_then(|end| end.code()), Some(0));
    lab.broker.logged("Client gw-m0-s disconnected.");
    let agent = lab.start();
    agent.drained();
    assert!(lab.subscriber.has_within(50, PATIENCE));
    lab.subscriber.count() - 50
}

/// Starts an agent with a modem that hangs in the middle of a publish.
fn hanging(lab: &mut Lab) -> Agent {
    "debug,modemfleet::at=trace".clone_into(&mut lab.site.log);
    let agent = lab.start();
    lab.sims[0].process.signal(Signal::STOP);
    agent.publish("topic=t", b"x");
    until("the publish to be under way", || agent.log().contains("> AT+CMQTTTOPIC=").then_some(()));
    agent
}

#[test]
fn a_modem_that_hangs_does_not_hold_up_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut lab = lab(1, "1s");
        let mut agent = hanging(&mut lab);
        agent.process.signal(signal);
        let end = agent.process.end_within(PATIENCE).expect("it ends");
        assert_eq!(end.code(), Some(0), "{}", agent.log());
        // The agent did not wait until the modem was given up.
        assert!(agent.log().contains("the grace time is over"), "{}", agent.log());
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut lab = lab(1, LONG);
        let mut agent = hanging(&mut lab);
        agent.process.signal(signal);
        until("the end to begin", || agent.log().contains("stopping").then_some(()));
        assert!(agent.process.end_within(Duration::from_millis(500)).is_none(), "it has minutes");
        agent.process.signal(signal);
        let end = agent.process.end_within(PATIENCE).expect("it ends at once");
        assert_eq!(end.code(), Some(0), "{}", agent.log());
    }
}

#[test]
fn no_message_is_taken_after_the_signal() {
    let mut lab = lab(1, "2s");
    let mut agent = hanging(&mut lab);
    agent.process.signal(Signal::TERM);
    until("the end to begin", || agent.log().contains("stopping").then_some(()));
    // Either the port is closed, or the answer is 503. A 202 would be a lost message.
    if let Some(answer) = agent.http.try_ask("POST", "/api/v1/publish?topic=t", &[], b"late") {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert!(agent.process.end_within(PATIENCE).is_some());
}
