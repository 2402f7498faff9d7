//! Every fault of the simulator, each in its own fleet, at the same time. Messages may be slow, but
//! not lost or wrongly credited.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Mosquitto, PATIENCE, Sim, Site, Stopwatch, Subscriber, within};

/// A fault, further options that it needs, and the counter that shows that it happened.
type Fault = (&'static str, &'static [&'static str], Option<Trace>);
type Trace = (&'static str, &'static [(&'static str, &'static str)]);

const TIMEOUT: Trace = ("modemfleet_at_commands_total", &[("result", "timeout")]);
const DISCONNECT: Trace = ("modemfleet_mqtt_disconnects_total", &[]);
const UNPLUG: Trace = ("modemfleet_hotplug_events_total", &[("action", "remove")]);
const REFUSED: Trace = ("modemfleet_mqtt_publishes_total", &[("result", "error")]);

const FAULTS: [Fault; 13] = [
    ("silence", &[], Some(TIMEOUT)),
    ("late", &["--late", "300"], None),
    ("garbage", &[], None),
    ("urc", &[], None),
    ("late-prompt", &["--late", "300"], None),
    ("no-prompt", &[], Some(TIMEOUT)),
    ("reset", &[], Some(DISCONNECT)),
    ("unplug", &[], Some(UNPLUG)),
    ("result-first", &[], None),
    ("ok-first", &[], None),
    ("lost", &[], Some(DISCONNECT)),
    ("pub-error", &[], Some(REFUSED)),
    ("split", &[], None),
];

/// Faults for a modem that answers every command with a bare `OK`, such as the SIM7020. No other
/// line carries the broker's answers there. Left out are faults of prompts and result lines, which
/// it lacks, and faults that take it a minute.
const OF_BARE_ANSWERS: [&str; 7] =
    ["late", "garbage", "urc", "reset", "unplug", "pub-error", "split"];

/// The rate of each fault, per command (per piece of output for `split`).
const RATE: &str = "0.05";

/// Messages of a round.
const ROUND: usize = 20;

/// Rounds within which the fault must happen. One round usually suffices. Polls of the agent also
/// draw from the random numbers at any time, so no seed can guarantee it.
const ROUNDS: usize = 10;

/// The most time of a fleet for a round. A prompt that stays out costs ten seconds.
const LIMIT: Duration = Duration::from_secs(120);

struct Course {
    broker: Mosquitto,
    subscriber: Subscriber,
    agent: Agent,
    _sim: Sim,
    _site: Site,
}

impl Course {
    fn new(model: &str, fault: &str, more: &[&str]) -> Self {
        let broker = Mosquitto::open();
        let subscriber = Subscriber::new(broker.port());
        let mut site = Site::new();
        let dir = site.dir().join("sim");
        let rate = format!("{fault}={RATE}");
        let options = [&["--fault", &rate, "--seed", "7"], more].concat();
        let sim = Sim::of_model(model, &dir, 1, &broker.address(), &options);
        let _ = write!(
            site.body,
            "brokers: {{ lab: {{ url: \"mqtt://b\" }} }}\n\
             modems: {{ m: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }} }}\n",
            sim.tty(0).display()
        );
        let agent = site.start();
        Self { broker, subscriber, agent, _sim: sim, _site: site }
    }

    /// Returns topic and payload of a message. Each topic has its own payload, so that a payload
    /// under another topic is seen.
    fn message(number: usize) -> (String, String) {
        // The payloads look like a modem's output, so that a cut at the wrong place is seen.
        (format!("t/{number}"), format!("\r\nOK\r\n{number} > +CMQTTPUB: 0,0\r\n"))
    }

    /// Sends messages until the fault has happened; the error says which check failed.
    fn run(&self, trace: Option<Trace>) -> Result<(), String> {
        let happened = || trace.is_none_or(|(name, labels)| self.agent.sum(name, labels) > 0.5);
        for round in 1..=ROUNDS {
            self.round((round - 1) * ROUND, round * ROUND)?;
            if happened() {
                return Ok(());
            }
        }
        Err(format!("the fault never happened: {trace:?} is 0"))
    }

    /// Sends the messages from `first` up to `end`, which makes `end` in all.
    fn round(&self, first: usize, end: usize) -> Result<(), String> {
        for (topic, payload) in (first..end).map(Self::message) {
            let answer = self.agent.http.publish(&format!("topic={topic}"), payload.as_bytes());
            if answer.status != 202 {
                return Err(format!("hand-in: {} {}", answer.status, answer.text()));
            }
        }
        // A message that left the queue was acknowledged, so it must have reached the broker. This
        // is checked all the time: at the end, a repetition could have made up for a loss.
        let done = within(LIMIT, || {
            let gone = end - self.agent.queued();
            match self.arrives(gone) {
                true if gone < end => None,
                true => Some(Ok(())),
                false => Some(Err(format!("{gone} acknowledged and not all of them there"))),
            }
        });
        done.unwrap_or_else(|| Err(format!("{LIMIT:?} were too short for {ROUND} messages")))?;
        let (sent, arrived): (BTreeSet<_>, _) =
            ((0..end).map(Self::message).collect(), self.arrived());
        let strange: Vec<_> = arrived.difference(&sent).collect();
        if !strange.is_empty() {
            return Err(format!("never sent, but arrived: {strange:?}"));
        }
        if self.subscriber.count() > 2 * end {
            return Err(format!("{} deliveries of {end} messages", self.subscriber.count()));
        }
        self.counts(end)
    }

    /// Waits until this many different messages have arrived. The way from the broker to the
    /// subscriber takes time.
    fn arrives(&self, count: usize) -> bool {
        self.subscriber.has_within(count, PATIENCE)
    }

    fn arrived(&self) -> BTreeSet<(String, String)> {
        self.subscriber.messages().iter().map(|m| (m.topic.clone(), m.text())).collect()
    }

    /// Checks that each message has an `ok`, and that no more are counted than the broker
    /// acknowledged.
    fn counts(&self, messages: usize) -> Result<(), String> {
        let ok = self.agent.sum("modemfleet_mqtt_publishes_total", &[("result", "ok")]);
        let log = self.broker.log();
        let acks = log.iter().filter(|line| line.contains("Sending PUBACK to gw-m-s")).count();
        let claimed: usize = ok.to_string().parse().map_err(|_| format!("{ok} publishes"))?;
        if claimed < messages || claimed > acks {
            return Err(format!("{claimed} counted as ok, {acks} acknowledged, {messages} sent"));
        }
        Ok(())
    }
}

#[test]
fn no_fault_loses_a_message_or_credits_the_wrong_one() {
    let bare = FAULTS.into_iter().filter(|(fault, ..)| OF_BARE_ANSWERS.contains(fault));
    let all = FAULTS.map(|fault| ("sim7600", fault)).into_iter();
    let all = all.chain(bare.map(|fault| ("sim7020", fault)));
    let failures: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = all
            .map(|(model, (fault, more, trace))| {
                scope.spawn(move || {
                    let start = Stopwatch::start();
                    let course = Course::new(model, fault, more);
                    let outcome = course.run(trace);
                    let took = start.elapsed().as_secs_f64();
                    let deliveries = course.subscriber.count();
                    println!("{model} {fault}: {took:.1} s, {deliveries} deliveries");
                    let fault =
                        outcome.err().map(|outcome| format!("{model} {fault}: {outcome}"))?;
                    println!("{fault}\n{}", course.agent.log());
                    Some(fault)
                })
            })
            .collect();
        runs.into_iter().filter_map(|run| run.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
