//! The inside of the modem: bytes and events in; bytes with their times, and orders to the network
//! out. No I/O happens here.

use tokio::time::{Duration, Instant};

use crate::{
    broker,
    clock::OwnClock,
    cmq,
    cmqtt::Service,
    command::Command,
    course::Course,
    fault::{Dice, Fault, Pulls},
    illness::{Cure, Illness, Onset},
    later::{Agenda, Later},
    model::Identity,
    network::Network,
    options::Options,
    port_state::{Mode, PortState, Step},
    power::Power,
    qmt,
    reply::{Answer, Cme, Reply, framed},
    sim_card::SimCard,
    sms::Messages,
    tls::Contexts,
};

/// What the firmware wants of the world outside.
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

/// Settings that a reboot brings back to the factory's.
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
    /// Publishes the modem reported as done.
    pub(crate) published: u64,
    /// Messages from the broker printed.
    pub(crate) received: u64,
}

/// The modem without its wires.
#[derive(Debug)]
pub(crate) struct Firmware {
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) dice: Dice,
    pulls: Pulls,
    pub(crate) ports: Vec<PortState>,
    pub(crate) settings: Settings,
    pub(crate) sim: SimCard,
    pub(crate) network: Network,
    pub(crate) messages: Messages,
    pub(crate) service: Service,
    pub(crate) cmq: cmq::Client,
    pub(crate) qmt: qmt::Clients,
    pub(crate) tls: Contexts,
    pub(crate) clock: OwnClock,
    pub(crate) counts: Counts,
    pub(crate) actions: Vec<Action>,
    pub(crate) now: Instant,
    pub(crate) course: Course,
    pub(crate) agenda: Agenda,
    pub(crate) power: Power,
    /// The next step of the boot.
    pub(crate) boot: Option<(Instant, Power)>,
}

impl Firmware {
    /// A booted modem with one port.
    pub(crate) fn new(options: Options, now: Instant) -> Self {
        let seed = options.seed.wrapping_add(u64::from(options.index));
        let at_once = |illness: Illness| Onset { illness, after: Duration::ZERO };
        let onsets: Vec<Onset> =
            options.illness.map(at_once).into_iter().chain(options.onsets.clone()).collect();
        let mut firmware = Self {
            identity: Identity::new(options.index),
            dice: Dice::new(options.faults.clone(), seed),
            pulls: Pulls::new(&options.unplug_at),
            ports: vec![PortState::new()],
            settings: factory_settings(),
            sim: SimCard::new(options.pin.clone(), options.pin_tries),
            network: Network::new(options.radio.clone()),
            messages: Messages::default(),
            service: Service::default(),
            cmq: cmq::Client::default(),
            qmt: qmt::Clients::default(),
            tls: Contexts::default(),
            clock: OwnClock::new(options.clock, now),
            counts: Counts::default(),
            actions: Vec::new(),
            now,
            course: Course::new(&onsets, now),
            agenda: Agenda::default(),
            power: Power::On,
            boot: None,
            options,
        };
        firmware.go_through_illnesses();
        firmware
    }

    /// Gives the modem so many AT ports, one at least.
    pub(crate) fn set_ports(&mut self, count: usize) {
        self.ports.resize_with(count.max(1), PortState::new);
    }

    /// Takes bytes from a port.
    pub(crate) fn receive(&mut self, port: usize, bytes: &[u8], now: Instant) {
        self.now = now;
        if self.power <= Power::Dark || self.is_updating() {
            return;
        }
        if let Some(state) = self.ports.get_mut(port) {
            state.input.extend_from_slice(bytes);
        }
        self.advance(port);
    }

    /// Works off the input of a port as far as it goes.
    pub(crate) fn advance(&mut self, port: usize) {
        while let Some(step) = self.ports.get_mut(port).and_then(|state| state.step(self.now)) {
            match step {
                Step::More => {}
                Step::Line(line) => self.execute(port, &line),
                Step::Data(..) if self.pulls.step() => self.pull_out(),
                Step::Data(purpose, data) => {
                    let reply = self.take_data(port, purpose, data);
                    self.answer(port, reply);
                }
            }
        }
    }

    fn execute(&mut self, port: usize, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.counts.commands += 1;
        if self.strike() {
            return;
        }
        let Some(command) = std::str::from_utf8(line).ok().and_then(Command::parse) else {
            return self.answer(port, Reply::error().into());
        };
        if let Some(time) = self.slowness(&command.name) {
            self.block(port);
            return self.agenda.add(self.now + time, Later::Execute(port, command));
        }
        let answer = self.dispatch(port, &command);
        self.answer(port, answer);
    }

    /// Faults that hit before a command is looked at. Returns whether it is gone.
    fn strike(&mut self) -> bool {
        if self.dice.roll(Fault::Reset) {
            self.reset();
            return true;
        }
        if self.pulls.step() || self.dice.roll(Fault::Unplug) {
            self.pull_out();
            return true;
        }
        if self.dice.roll(Fault::Lost) {
            self.lose_connections();
        }
        self.dice.roll(Fault::Silence)
    }

    fn pull_out(&mut self) {
        self.actions.push(Action::Unplug);
        self.power_off();
    }

    /// Asks each group of commands in turn.
    pub(crate) fn dispatch(&mut self, port: usize, command: &Command) -> Answer {
        if self.power == Power::SimBusy && command.name.starts_with("+CPIN") {
            return Reply::cme(Cme::SimBusy).into();
        }
        if let Some(answer) = self.by_dialect(port, command) {
            return answer;
        }
        self.standard(port, command)
            .or_else(|| self.tls_command(command))
            .or_else(|| self.cmqtt(port, command))
            .unwrap_or_else(|| Reply::error().into())
    }

    pub(crate) fn answer(&mut self, port: usize, answer: Answer) {
        match answer {
            Answer::Reply(reply) => self.print_reply(port, &reply),
            Answer::Prompt(left, purpose) => {
                let prompt = purpose.prompt();
                self.prompt(port, prompt, Mode::Data { left, data: Vec::new(), purpose });
            }
            Answer::TextPrompt(purpose) => {
                self.prompt(port, b"\r\n>", Mode::Text { data: Vec::new(), purpose });
            }
            Answer::Deferred => self.block(port),
            Answer::Reboot => {
                self.print_reply(port, &Reply::ok());
                self.announce_reset();
                self.power_off();
                self.treat(Cure::ModemReset);
                self.start_boot();
            }
        }
    }

    /// Takes no command of a port until something ends.
    fn block(&mut self, port: usize) {
        if let Some(state) = self.ports.get_mut(port) {
            state.blocked = true;
        }
    }

    fn prompt(&mut self, port: usize, prompt: &[u8], mode: Mode) {
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

    /// Prints an answer, with what the faults put into it.
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

    /// Lines that real units were seen to print inside answers; all of them tell the truth.
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

    /// Prints a result line on the port that asked.
    pub(crate) fn result(&mut self, port: usize, line: &str) {
        self.print(port, &framed(line), Duration::ZERO);
    }

    /// Prints a URC on every port that `CATR` lets have it.
    pub(crate) fn urc(&mut self, line: &str) {
        self.urc_bytes(&framed(line));
    }

    /// Prints unsolicited bytes that belong together. A port that nobody reads loses them whole.
    pub(crate) fn urc_bytes(&mut self, bytes: &[u8]) {
        for port in 0..self.ports.len() {
            let full = self.ports.get(port).is_none_or(|state| state.output.is_full());
            if full {
                tracing::debug!(port, "nobody reads the port: a URC is dropped");
            } else if self.network.urcs_reach(port) {
                self.print(port, bytes, Duration::ZERO);
            }
        }
    }

    /// Whether the first port, the one that is read if any is, has room for received messages.
    /// Until it has they wait at the broker; a second port that nobody reads delays nobody.
    pub(crate) fn takes_messages(&self) -> bool {
        self.ports.first().is_none_or(|port| !port.output.is_full())
    }

    /// When the firmware wants to be woken: [`Self::wake`].
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let boot = self.boot.map(|(due, _)| due);
        let others = [self.network.next_report(), self.agenda.next(), self.course.next()];
        others.into_iter().chain([boot]).flatten().min()
    }

    /// Does what has come due.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.now = now;
        while let Some((due, stage)) = self.boot.filter(|(due, _)| *due <= now) {
            self.boot = None;
            self.enter(stage, due);
        }
        self.go_through_illnesses();
        self.work_off_agenda();
        self.periodic_report();
    }

    /// Forgets what was still to be printed: the wires are gone.
    pub(crate) fn cut_wires(&mut self) {
        self.ports.iter_mut().for_each(|port| port.output.clear());
    }

    /// Switches the echo of a port.
    pub(crate) fn set_echo(&mut self, port: usize, echo: bool) {
        if let Some(state) = self.ports.get_mut(port) {
            state.echo = echo;
        }
    }
}

pub(crate) fn factory_settings() -> Settings {
    Settings { cmee: 2, cfun: 1 }
}
