//! The modem without its MQTT stack: its state, and its output.

use tokio::time::{Duration, Instant};

use crate::{
    broker,
    clock::OwnClock,
    course::Course,
    fault::{Dice, Fault},
    illness::{Forgery, Illness, Onset, Symptom},
    later::{Agenda, Later},
    model::Identity,
    network::Network,
    options::{Access, Coverage, Options, Registration},
    port_state::{Mode, PortState},
    reply::{Cme, Reply, framed},
    sim_card::SimCard,
    sms::Messages,
};

/// The time from the acceptance of START or CONNECT until the supply fails: the transmitter draws its full
/// current then.
const BROWN_OUT: Duration = Duration::from_millis(500);

/// The time from the acceptance of a publish until a forgery arrives.
const SOON: Duration = Duration::from_millis(200);

/// The time until the second text after that.
const SECOND: Duration = Duration::from_secs(2);

/// An action that the firmware requests from its surroundings.
#[derive(Debug)]
pub(crate) enum Action {
    /// Open a connection for this client; events carry its number.
    Open { client: usize, connection: u64, order: Box<broker::Connect> },
    /// Open TCP for this client, to sign in over it later.
    Dial { client: usize, connection: u64, order: Box<broker::Dial> },
    /// Pass an order to the connection of this client.
    Order { client: usize, order: broker::Order },
    /// Cut the connection of this client without a DISCONNECT.
    Cut { client: usize },
    /// Pull the plug.
    Unplug,
}

/// Settings that a reboot restores to the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// 0 none, 1 numbers, 2 text.
    pub(crate) cmee: u8,
    /// 1 full, 0 minimum, 4 flight mode.
    pub(crate) cfun: u32,
}

/// Counts that the handle shows.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Command lines seen.
    pub(crate) commands: u64,
    /// Publishes that the modem reported as done.
    pub(crate) published: u64,
    /// Messages from the broker printed.
    pub(crate) received: u64,
}

/// The progress of the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Power {
    /// No power.
    Off,
    /// Booting; the port is mute.
    Dark,
    /// The port answers, the SIM does not yet.
    SimBusy,
    /// Everything but the message store, whose lines are still missing.
    Ready,
    /// Booted.
    On,
}

/// The modem without its MQTT stack.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) dice: Dice,
    pub(crate) ports: Vec<PortState>,
    pub(crate) settings: Settings,
    pub(crate) sim: SimCard,
    pub(crate) network: Network,
    pub(crate) messages: Messages,
    pub(crate) clock: OwnClock,
    pub(crate) counts: Counts,
    pub(crate) actions: Vec<Action>,
    pub(crate) now: Instant,
    pub(crate) course: Course,
    pub(crate) agenda: Agenda,
    pub(crate) power: Power,
}

impl Unit {
    /// Returns a booted unit with a single port.
    pub(crate) fn new(options: Options, now: Instant) -> Self {
        let seed = options.seed.wrapping_add(u64::from(options.index));
        let at_once = |illness: Illness| Onset { illness, after: Duration::ZERO };
        let onsets: Vec<Onset> =
            options.illness.map(at_once).into_iter().chain(options.onsets.clone()).collect();
        Self {
            identity: Identity::new(options.index),
            dice: Dice::new(options.faults.clone(), seed),
            ports: vec![PortState::new()],
            settings: factory_settings(),
            sim: SimCard::new(options.pin.clone(), options.pin_tries),
            network: Network::new(options.radio.clone()),
            messages: Messages::default(),
            clock: OwnClock::new(options.clock, now),
            counts: Counts::default(),
            actions: Vec::new(),
            now,
            course: Course::new(&onsets, now),
            agenda: Agenda::default(),
            power: Power::On,
            options,
        }
    }

    /// Reports whether the modem has finished booting, and with it registering.
    pub(crate) fn is_up(&self) -> bool {
        self.power == Power::On
    }

    /// Reports whether the unit has this symptom.
    pub(crate) fn suffers(&self, symptom: Symptom) -> bool {
        self.course.suffers(symptom)
    }

    /// Returns the error of an unavailable card, whatever its PIN.
    pub(crate) fn card_error(&self) -> Option<Cme> {
        if !self.options.card || self.suffers(Symptom::SimAbsent) {
            Some(Cme::SimNotInserted)
        } else {
            self.suffers(Symptom::SimFailure).then_some(Cme::SimFailure)
        }
    }

    /// Returns the state in `+CPIN:`; `None` if the card does not answer.
    pub(crate) fn card_state(&self) -> Option<&'static str> {
        if self.card_error().is_some() {
            None
        } else if self.sim.is_open() && self.suffers(Symptom::SimPin2) {
            Some("SIM PIN2")
        } else {
            Some(self.sim.state())
        }
    }

    /// Reports whether there is a card that asks for nothing.
    pub(crate) fn has_open_card(&self) -> bool {
        self.card_error().is_none() && self.sim.is_open()
    }

    /// Returns the registration for data.
    pub(crate) fn registration(&self) -> Registration {
        match self.voice_registration() {
            registered if !registered.has_service() => registered,
            _ if self.suffers(Symptom::VoiceOnly) => Registration::Denied,
            _ if !self.network.is_attached() => Registration::Idle,
            registered => registered,
        }
    }

    /// Returns the registration for voice, which `+CREG:` reports; without it there is no registration for
    /// data.
    pub(crate) fn voice_registration(&self) -> Registration {
        if self.settings.cfun != 1 || !self.has_open_card() {
            Registration::Idle
        } else if !self.is_up()
            || self.network.coverage == Coverage::None
            || self.suffers(Symptom::Registration)
        {
            Registration::Searching
        } else if self.suffers(Symptom::Denied) {
            Registration::Denied
        } else {
            self.network.radio.registration
        }
    }

    /// Reports whether the network gives a context on request.
    pub(crate) fn has_data(&self) -> bool {
        let refuses = self.suffers(Symptom::NoData) || !self.network.is_at_its_access_point();
        self.registration().has_service() && !refuses
    }

    /// Reports whether the first context has an address, without which there is no traffic.
    pub(crate) fn has_address(&self) -> bool {
        self.has_data() && self.network.radio.address
    }

    pub(crate) fn csq_line(&self) -> String {
        let Network { radio, coverage, .. } = &self.network;
        // On NR alone real units do not know CSQ.
        let known =
            radio.access != Access::Sa && *coverage != Coverage::None && self.settings.cfun == 1;
        let csq = if known { self.network.radio.signal.csq } else { 99 };
        format!("+CSQ: {csq},99")
    }
}

impl Unit {
    /// Takes no command of a port until an event unblocks it.
    pub(crate) fn block(&mut self, port: usize) {
        if let Some(state) = self.ports.get_mut(port) {
            state.blocked = true;
        }
    }

    pub(crate) fn prompt(&mut self, port: usize, prompt: &[u8], mode: Mode) {
        if self.dice.roll(Fault::NoPrompt) {
            return;
        }
        let late = self.dice.roll(Fault::LatePrompt) || self.dice.roll(Fault::Late);
        if let Some(state) = self.ports.get_mut(port) {
            state.mode = mode;
        }
        let mut bytes = self.dice.garbage();
        bytes.extend_from_slice(prompt);
        self.print(port, &bytes, self.delay(late));
    }

    /// Prints an answer, with the additions of the faults.
    pub(crate) fn print_reply(&mut self, port: usize, reply: &Reply) {
        let late = self.dice.roll(Fault::Late);
        let mut bytes = self.dice.garbage();
        let stray = self.dice.roll(Fault::Urc);
        let urc = if stray { framed(&self.stray_urc()) } else { Vec::new() };
        let first = stray && self.dice.coin();
        if first {
            bytes.extend_from_slice(&urc);
        }
        bytes.extend(reply.head());
        if !first {
            bytes.extend_from_slice(&urc);
        }
        bytes.extend(reply.tail(self.settings.cmee));
        self.print(port, &bytes, self.delay(late));
    }

    /// Returns a line that real units were seen to print inside answers; each of these lines is true.
    fn stray_urc(&mut self) -> String {
        match self.dice.below(4) {
            0 => "+CGEV: EPS PDN ACT 1".to_owned(),
            1 => "SMS DONE".to_owned(),
            2 => format!("+CREG: {}", self.registration().stat()),
            _ => self.csq_line(),
        }
    }

    pub(crate) fn delay(&self, late: bool) -> Duration {
        if late { self.options.latency + self.options.late } else { self.options.latency }
    }

    pub(crate) fn print(&mut self, port: usize, bytes: &[u8], delay: Duration) {
        let Some(state) = self.ports.get_mut(port) else { return };
        if self.dice.roll(Fault::Split) {
            let dice = &mut self.dice;
            state.output.push_split(self.now, delay, bytes, || 1 + dice.below(7));
        } else {
            state.output.push(self.now, delay, bytes);
        }
    }

    /// Prints a result line on the port of its command.
    pub(crate) fn result(&mut self, port: usize, line: &str) {
        self.print(port, &framed(line), Duration::ZERO);
    }

    /// Prints a URC on every port that `CATR` selects.
    pub(crate) fn urc(&mut self, line: &str) {
        self.urc_bytes(&framed(line));
    }

    /// Prints unsolicited bytes that belong together. A port whose reader has stopped loses them whole.
    pub(crate) fn urc_bytes(&mut self, bytes: &[u8]) {
        for port in 0..self.ports.len() {
            let full = self.ports.get(port).is_none_or(|state| state.output.is_full());
            if full {
                tracing::debug!(port, "no program reads the port: a URC is dropped");
            } else if self.network.urcs_reach(port) {
                self.print(port, bytes, Duration::ZERO);
            }
        }
    }

    /// Reports whether the first port has room for received messages. Until then they wait at the broker. If any
    /// port is read, the first is: an unread second port delays no message.
    pub(crate) fn takes_messages(&self) -> bool {
        self.ports.first().is_none_or(|port| !port.output.is_full())
    }

    /// Switches the echo of a port.
    pub(crate) fn set_echo(&mut self, port: usize, echo: bool) {
        if let Some(state) = self.ports.get_mut(port) {
            state.echo = echo;
        }
    }

    /// Takes commands of a port again.
    pub(crate) fn unblock(&mut self, port: usize) {
        if let Some(state) = self.ports.get_mut(port) {
            state.blocked = false;
        }
    }

    /// Draws the current of a transmission, at which a weak supply fails.
    pub(crate) fn strain(&mut self, weak: Symptom) {
        if self.suffers(weak) {
            self.agenda.add(self.now + BROWN_OUT, Later::BrownOut);
        }
    }

    /// Receives a text message if there is service: to the port, or into the store.
    pub(crate) fn text_message(&mut self, text: &str) {
        if self.registration().has_service()
            && let Some(line) = self.messages.deliver(text)
        {
            self.urc(&line);
        }
    }

    /// Plans the forgeries for the wait of a publish, if any. `result` is the line of a good result.
    pub(crate) fn forge_soon(&mut self, result: String) {
        let forgeries = self.course.forgeries();
        if forgeries.iter().any(|forgery| *forgery != Forgery::Download) {
            self.agenda.add(self.now + SOON + SECOND, Later::Forge("RDY".to_owned()));
        }
        if !forgeries.is_empty() {
            self.agenda.add(self.now + SOON, Later::Forge(result));
        }
    }
}

pub(crate) fn factory_settings() -> Settings {
    Settings { cmee: 2, cfun: 1 }
}
