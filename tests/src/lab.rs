//! The usual set-up: one broker, simulated modems `m0`, `m1` … with a session `s` each, one agent.

use std::fmt::Write as _;

use crate::agent::{Agent, Site};
use crate::mosquitto::Mosquitto;
use crate::sim::Sim;
use crate::subscriber::Subscriber;

/// A broker, modems and the place of an agent. Fields drop in order: the broker drops last.
pub struct Lab {
    /// The modems, one process each, so that each can be killed alone.
    pub sims: Vec<Sim>,
    /// The place of the agent.
    pub site: Site,
    /// A client of the broker that keeps every message.
    pub subscriber: Subscriber,
    /// The broker.
    pub broker: Mosquitto,
}

impl Lab {
    /// Makes a fleet file for `modems` modems, and starts all their simulators.
    #[must_use]
    pub fn new(modems: usize) -> Self {
        let mut lab = Self::without_modems(modems);
        lab.sims = (0..modems).map(|modem| lab.plug_in(modem, &[])).collect();
        lab
    }

    /// Makes a fleet file for `modems` modems, and starts no simulator.
    #[must_use]
    pub fn without_modems(modems: usize) -> Self {
        let broker = Mosquitto::open();
        let subscriber = Subscriber::new(broker.port());
        let mut site = Site::new();
        site.body =
            "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
        for modem in 0..modems {
            let tty = site.dir().join(format!("m{modem}/modem0"));
            let _ = writeln!(
                site.body,
                "  m{modem}: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }}",
                tty.display()
            );
        }
        Self { sims: Vec::new(), site, subscriber, broker }
    }

    /// As [`new`](Self::new), with modems of another model.
    #[must_use]
    pub fn of_model(model: &str, modems: usize) -> Self {
        let mut lab = Self::without_modems(modems);
        let address = lab.broker.address();
        let plug_in = |modem| {
            let dir = lab.site.dir().join(format!("m{modem}"));
            Sim::of_model(model, &dir, 1, &address, &[])
        };
        lab.sims = (0..modems).map(plug_in).collect();
        lab
    }

    /// Starts the simulator of one modem.
    #[must_use]
    pub fn plug_in(&self, modem: usize, more: &[&str]) -> Sim {
        let dir = self.site.dir().join(format!("m{modem}"));
        Sim::start(&dir, 1, &self.broker.address(), more)
    }

    /// Starts the agent, and waits until all sessions of the running modems are connected.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Agent {
        let agent = self.site.start();
        for modem in 0..self.sims.len() {
            agent.connected(&format!("m{modem}"), "s");
        }
        agent
    }
}
