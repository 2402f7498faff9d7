//! Input of the ports, line by line, and plans that are due.

use tokio::time::Instant;

use crate::{
    command::Command,
    fault::Fault,
    firmware::Firmware,
    illness::{Cure, Forgery},
    later::Later,
    port_state::{Mode, Step},
    reply::{Answer, Cme, Reply},
    unit::{Action, Power},
};

/// The number of octets of a broker's message that is announced in a single piece.
const LONG: usize = 12_000;

impl Firmware {
    /// Takes bytes from a port.
    pub(crate) fn receive(&mut self, port: usize, bytes: &[u8], now: Instant) {
        self.unit.now = now;
        if self.unit.power <= Power::Dark || self.unit.course.is_updating() {
            return;
        }
        if let Some(state) = self.unit.ports.get_mut(port) {
            state.input.extend_from_slice(bytes);
        }
        self.advance(port);
    }

    /// Processes the input of a port as far as possible.
    fn advance(&mut self, port: usize) {
        while let Some(step) =
            self.unit.ports.get_mut(port).and_then(|state| state.step(self.unit.now))
        {
            match step {
                Step::More => {}
                Step::Line(line) => self.execute(port, &line),
                Step::Data(..) if self.pulls.step() => self.pull_out(),
                Step::Data(purpose, data) => {
                    let reply = self.stack.data(&mut self.unit, port, purpose, data);
                    self.answer(port, reply);
                }
            }
        }
    }

    /// Processes the waiting input of all ports, such as input after an answer that an event has ended.
    pub(crate) fn work_off_input(&mut self) {
        for port in 0..self.unit.ports.len() {
            self.advance(port);
        }
    }

    fn execute(&mut self, port: usize, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.unit.counts.commands += 1;
        if self.strike() {
            return;
        }
        let Some(command) = std::str::from_utf8(line).ok().and_then(Command::parse) else {
            return self.answer(port, Reply::error().into());
        };
        if let Some(time) = self.unit.course.slowness(&command.name) {
            self.unit.block(port);
            return self.unit.agenda.add(self.unit.now + time, Later::Execute(port, command));
        }
        let answer = self.dispatch(port, &command);
        self.answer(port, answer);
    }

    /// Rolls the faults that come before a command is parsed. Returns whether the command is lost.
    fn strike(&mut self) -> bool {
        if self.unit.dice.roll(Fault::Reset) {
            self.reset();
            return true;
        }
        if self.pulls.step() || self.unit.dice.roll(Fault::Unplug) {
            self.pull_out();
            return true;
        }
        if self.unit.dice.roll(Fault::Lost) {
            self.lose_connections();
        }
        self.unit.dice.roll(Fault::Silence)
    }

    fn pull_out(&mut self) {
        self.unit.actions.push(Action::Unplug);
        self.power_off();
    }

    /// Tries each group of commands in turn.
    fn dispatch(&mut self, port: usize, command: &Command) -> Answer {
        if self.unit.power == Power::SimBusy && command.name.starts_with("+CPIN") {
            return Reply::cme(Cme::SimBusy).into();
        }
        let own = self.stack.own(&self.unit, command).map(Answer::from);
        own.or_else(|| self.standard(port, command))
            .or_else(|| self.stack.command(&mut self.unit, port, command))
            .unwrap_or_else(|| Reply::error().into())
    }

    fn answer(&mut self, port: usize, answer: Answer) {
        match answer {
            Answer::Reply(reply) => self.unit.print_reply(port, &reply),
            Answer::Prompt(left, purpose) => {
                let prompt = purpose.prompt();
                self.unit.prompt(port, prompt, Mode::Data { left, data: Vec::new(), purpose });
            }
            Answer::TextPrompt(purpose) => {
                self.unit.prompt(port, b"\r\n>", Mode::Text { data: Vec::new(), purpose });
            }
            Answer::ServiceStopped(reply) => {
                self.treat(Cure::ServiceRestart);
                self.unit.print_reply(port, &reply);
            }
            Answer::Deferred => self.unit.block(port),
            Answer::Reboot => {
                self.unit.print_reply(port, &Reply::ok());
                self.stack.announce_reset(&mut self.unit);
                self.power_off();
                self.treat(Cure::ModemReset);
                self.start_boot();
            }
        }
    }

    /// Returns the time of the next [`Self::wake`].
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let boot = self.boot.map(|(due, _)| due);
        let others =
            [self.unit.network.next_report(), self.unit.agenda.next(), self.unit.course.next()];
        others.into_iter().chain([boot]).flatten().min()
    }

    /// Carries out the plans that are due.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.unit.now = now;
        while let Some((due, stage)) = self.boot.filter(|(due, _)| *due <= now) {
            self.boot = None;
            self.enter(stage, due);
        }
        self.go_through_illnesses();
        self.work_off_agenda();
        self.unit.periodic_report();
    }

    /// Answers a command that modems have in common: basic, card, text message or network.
    fn standard(&mut self, port: usize, command: &Command) -> Option<Answer> {
        if !self.stack.shares(&command.name) {
            return None;
        }
        self.basic(port, command)
            .or_else(|| self.unit.sim_command(command))
            .or_else(|| self.unit.messages.command(command).map(Answer::from))
            .or_else(|| self.unit.network_command(command))
    }

    /// Carries out the plans that are due.
    fn work_off_agenda(&mut self) {
        while let Some(later) = self.unit.agenda.due(self.unit.now) {
            match later {
                Later::Execute(port, command) => {
                    self.unit.unblock(port);
                    let answer = self.dispatch(port, &command);
                    self.answer(port, answer);
                    self.advance(port);
                }
                Later::End { client, connection, failure } => {
                    self.stack.end(&mut self.unit, client, connection, failure);
                }
                Later::BrownOut => self.reset(),
                Later::Progress { since } => self.progress(since),
                Later::Forge(line) => self.forge(&line),
            }
        }
    }

    /// Sends the text or message planned for the wait of a publish.
    fn forge(&mut self, line: &str) {
        for forgery in self.unit.course.forgeries() {
            match forgery {
                Forgery::Text | Forgery::Pdu => self.unit.text_message(line),
                Forgery::Download if line == "RDY" => {}
                Forgery::Download => {
                    let mut payload = [b"A".repeat(200), format!("\r\n{line}\r\n").into()].concat();
                    payload.resize(LONG, b'B');
                    self.stack.download(&mut self.unit, &payload);
                }
            }
        }
    }
}
