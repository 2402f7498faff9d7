//! The commands of `AT+QMT…`.

use tokio::time::Duration;

use super::{
    Client, Clients, Link, Operation, Settings, Target,
    buffer::{Buffer, Kept},
    index,
};
use crate::{
    broker::{self, Failure},
    command::{Arg, Command, Form},
    fault::Fault,
    illness::Symptom,
    later::Later,
    options::Coverage,
    prompt::{Outgoing, Purpose},
    reply::{Answer, Reply},
    unit::{Action, Unit},
};

/// The time limit of OPEN.
const OPEN_TIMEOUT: Duration = Duration::from_secs(75);

/// The longest payload of PUBEX.
const MAX_PAYLOAD: u32 = 1_500;

/// The longest topic, and the longest of the other strings.
const MAX_TOPIC: usize = 255;
const MAX_STRING: usize = 256;

impl Clients {
    /// Answers commands of the MQTT stack; any error is a bare `ERROR`.
    pub(super) fn stack_command(
        &mut self,
        unit: &mut Unit,
        port: usize,
        command: &Command,
    ) -> Option<Answer> {
        let word = command.name.strip_prefix("+QMT")?;
        let answer = match &command.form {
            Form::Read => self.read(word).map(Answer::from),
            Form::Write(args) => match word {
                "CFG" => self.configure(unit, args).map(Answer::from),
                "OPEN" => self.open(unit, port, args),
                "CONN" => self.connect(unit, port, args),
                "SUB" => self.subscribe(unit, port, args),
                "UNS" => self.unsubscribe(unit, port, args),
                "PUBEX" if unit.suffers(Symptom::OldFirmware) => None,
                "PUBEX" => self.publish("PUBEX", args),
                "RECV" => self.read_message(unit, port, args),
                "PUB" => self.publish("PUB", args),
                "DISC" => self.disconnect(unit, port, args),
                "CLOSE" => self.close(unit, port, args),
                _ => None,
            },
            Form::Test if word == "PUBEX" && !unit.suffers(Symptom::OldFirmware) => {
                let ranges = "+QMTPUBEX: (0-5),(0-65535),(0-2),(0,1),<topic>,<length>";
                Some(Reply::lines(vec![ranges.to_owned()]).into())
            }
            Form::Execute | Form::Test => None,
        };
        Some(answer.unwrap_or_else(|| Reply::error().into()))
    }

    fn read(&self, word: &str) -> Option<Reply> {
        let clients = self.clients.iter().enumerate();
        let lines = match word {
            "OPEN" => clients
                .filter(|(_, client)| client.link != Link::Down)
                .filter_map(|(index, client)| {
                    let Target { host, port } = client.target.as_ref()?;
                    Some(format!("+QMTOPEN: {index},\"{host}\",{port}"))
                })
                .collect(),
            "CONN" => clients
                .filter_map(|(index, client)| {
                    // 1 initial, 2 connecting, 3 connected.
                    let state = match client.link {
                        Link::Down | Link::Opening => return None,
                        Link::Open => 1,
                        Link::Connecting => 2,
                        Link::Up => 3,
                    };
                    Some(format!("+QMTCONN: {index},{state}"))
                })
                .collect(),
            "RECV" => clients
                .filter(|(_, client)| client.link == Link::Up)
                .map(|(index, client)| format!("+QMTRECV: {index},{}", client.buffer.states()))
                .collect(),
            _ => return None,
        };
        Some(Reply::lines(lines))
    }

    fn configure(&mut self, unit: &Unit, args: &[Arg]) -> Option<Reply> {
        let (key, rest) = args.split_first()?;
        let is_old = unit.suffers(Symptom::OldFirmware);
        let client = self.clients.get_mut(index(rest)?)?;
        let settings = &mut client.settings;
        let values = rest.get(1..)?;
        let number = |at: usize, range| values.get(at).and_then(|value: &Arg| value.within(range));
        match key.text()? {
            "version" => drop(number(0, 3..=4)?),
            "keepalive" => settings.keep_alive = number(0, 0..=3_600)?,
            "session" => settings.clean = number(0, 0..=1)? == 1,
            "ssl" => {
                settings.tls = match number(0, 0..=1)? {
                    0 => None,
                    _ => Some(number(1, 0..=5)?),
                }
            }
            "timeout" => {
                settings.packet_timeout = number(0, 1..=60)? * (number(1, 0..=10)? + 1);
                number(2, 0..=1)?;
            }
            "dataformat" => {
                settings.hex = (number(0, 0..=1)? == 1, number(1, 0..=1)? == 1);
            }
            "recv/mode" if is_old => return None,
            "recv/mode" => {
                (settings.buffered, settings.with_length) =
                    (number(0, 0..=1)? == 1, number(1, 0..=1)? == 1);
            }
            "will" => settings.will = will(values)?,
            _ => return None,
        }
        Some(Reply::ok())
    }

    fn open(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [_, host, tcp_port] = args else { return None };
        let index = index(args)?;
        let host = host.text().filter(|host| (1..=100).contains(&host.len()))?.to_owned();
        let tcp_port = tcp_port.within(1..=65_535)?;
        let address = unit.options.broker.clone().unwrap_or_else(|| format!("{host}:{tcp_port}"));
        let now = unit.clock.unix(unit.now);
        let offline = !unit.has_address() || unit.network.coverage != Coverage::Full;
        let client = self.clients.get_mut(index)?;
        if client.operation.is_some() || client.link != Link::Down {
            return Some(at_once(format!("+QMTOPEN: {index},2")));
        }
        if offline {
            return Some(at_once(format!("+QMTOPEN: {index},3")));
        }
        self.connections += 1;
        client.connection = self.connections;
        client.buffer = Buffer::default();
        client.link = Link::Opening;
        client.target = Some(Target { host: host.clone(), port: tcp_port });
        client.operation = Some(Operation { word: "OPEN", port, packet: None });
        let (connection, context) = (client.connection, client.settings.tls);
        unit.strain(Symptom::BrownOutAtStart);
        if unit.course.black_hole(index, OPEN_TIMEOUT).is_some() {
            // This stack has no setting for that time.
            let later = Later::End { client: index, connection, failure: Failure::Unreachable };
            unit.agenda.add(unit.now + OPEN_TIMEOUT, later);
            return Some(Reply::ok().into());
        }
        let tls = context.map(|context| self.storage.terms(context, &host, now));
        let order = Box::new(broker::Dial { address, timeout: OPEN_TIMEOUT, tls });
        unit.actions.push(Action::Dial { client: index, connection, order });
        Some(Reply::ok().into())
    }

    /// Signs in over the connection that OPEN made.
    fn connect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let index = index(args)?;
        let text = |at: usize| match args.get(at) {
            None => Some(None),
            Some(arg) => {
                arg.text().filter(|text| text.len() <= MAX_STRING).map(|t| Some(t.to_owned()))
            }
        };
        let (id, user, password) = (text(1)??, text(2)?, text(3)?);
        let client = self.clients.get_mut(index)?;
        if args.len() > 4 || client.operation.is_some() || client.link != Link::Open {
            return None;
        }
        let Settings { keep_alive, clean, will, packet_timeout, .. } = client.settings.clone();
        let order = broker::Connect {
            address: String::new(), // the connection is open
            client_id: id,
            user,
            password,
            keep_alive: u16::try_from(keep_alive).unwrap_or(u16::MAX),
            clean,
            will,
            timeout: Duration::from_secs(packet_timeout.into()),
            tls: None,
            is_3_1: false,
        };
        client.link = Link::Connecting;
        client.operation = Some(Operation { word: "CONN", port, packet: None });
        unit.strain(Symptom::BrownOutAtConnect);
        if !unit.suffers(Symptom::Wedged) {
            let order = broker::Order::SignIn(Box::new(order));
            unit.actions.push(Action::Order { client: index, order });
        }
        Some(Reply::ok().into())
    }

    /// Returns a client that is connected and idle.
    fn ready(&mut self, args: &[Arg]) -> Option<(usize, &mut Client)> {
        let index = index(args)?;
        let client = self.clients.get_mut(index)?;
        (client.operation.is_none() && client.link == Link::Up).then_some((index, client))
    }

    fn begin(
        &mut self,
        unit: &mut Unit,
        index: usize,
        operation: Operation,
        order: impl FnOnce(Duration) -> broker::Order,
    ) -> Option<Answer> {
        let client = self.clients.get_mut(index)?;
        client.operation = Some(operation);
        let timeout = Duration::from_secs(client.settings.packet_timeout.into());
        unit.actions.push(Action::Order { client: index, order: order(timeout) });
        Some(Reply::ok().into())
    }

    fn subscribe(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let packet = args.get(1)?.within(1..=65_535)?;
        let pairs = args.get(2..).filter(|pairs| !pairs.is_empty() && pairs.len() % 2 == 0)?;
        let filters: Option<Vec<_>> =
            pairs.chunks(2).map(|pair| Some((topic(pair.first()?)?, qos(pair.get(1)?)?))).collect();
        let (index, _) = self.ready(args)?;
        let filters = filters?;
        let operation = Operation { word: "SUB", port, packet: Some(packet) };
        self.begin(unit, index, operation, |timeout| broker::Order::Subscribe { filters, timeout })
    }

    fn unsubscribe(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let packet = args.get(1)?.within(1..=65_535)?;
        let filters: Option<Vec<_>> = args.get(2..)?.iter().map(topic).collect();
        let filters = filters.filter(|filters| !filters.is_empty())?;
        let (index, _) = self.ready(args)?;
        let operation = Operation { word: "UNS", port, packet: Some(packet) };
        self.begin(unit, index, operation, |timeout| broker::Order::Unsubscribe {
            filters,
            timeout,
        })
    }

    /// Starts a publish. PUBEX counts its data; the data of PUB ends with a control character.
    fn publish(&mut self, word: &'static str, args: &[Arg]) -> Option<Answer> {
        let (head, length) = match (word, args) {
            ("PUBEX", [head @ .., length]) => (head, Some(length.within(1..=MAX_PAYLOAD)?)),
            _ => (args, None),
        };
        let [_, packet, level, retain, name] = head else { return None };
        let (qos, packet) = (qos(level)?, packet.within(0..=65_535)?);
        // Only QoS 0 has no number.
        if (packet == 0) != (qos == 0) {
            return None;
        }
        let (retain, topic) = (retain.within(0..=1)? == 1, topic(name)?);
        let (client, _) = self.ready(args)?;
        let outgoing = Outgoing { client, word, packet, qos, retain, topic };
        let length = length.and_then(|length| usize::try_from(length).ok());
        Some(match length {
            Some(length) => Answer::Prompt(length, Purpose::Publish(outgoing)),
            None => Answer::TextPrompt(Purpose::Publish(outgoing)),
        })
    }

    /// Takes the data of a publish's prompt.
    pub(super) fn take_data(
        &mut self,
        unit: &mut Unit,
        port: usize,
        outgoing: Outgoing,
        payload: Vec<u8>,
    ) -> Answer {
        let Outgoing { client: index, word, packet, qos, retain, topic } = outgoing;
        let ready = self.clients.get(index);
        // The state may have changed since the prompt.
        if ready.is_none_or(|client| client.operation.is_some() || client.link != Link::Up) {
            return Reply::error().into();
        }
        let is_hex = ready.is_some_and(|client| client.settings.hex.0);
        if unit.dice.roll(Fault::PubError) {
            return at_once(format!("+QMT{word}: {index},{packet},2"));
        }
        let operation = Operation { word, port, packet: Some(packet) };
        let Some(payload) = (if is_hex { octets(&payload) } else { Some(payload) }) else {
            return at_once(format!("+QMT{word}: {index},{packet},2"));
        };
        unit.forge_soon(format!("+QMT{word}: {index},{packet},0"));
        let order =
            |timeout| broker::Order::Publish { topic, payload, qos, retain, dup: false, timeout };
        let begun = if unit.course.is_unacknowledged(index) {
            self.wait(unit, index, operation)
        } else {
            self.begin(unit, index, operation, order)
        };
        begun.unwrap_or_else(|| Reply::error().into())
    }

    /// Takes `AT+QMTRECV=<client>,<number>`: prints a message and forgets it.
    pub(super) fn read_message(
        &mut self,
        unit: &mut Unit,
        port: usize,
        args: &[Arg],
    ) -> Option<Answer> {
        let [_, number] = args else { return None };
        let client_index = index(args)?;
        let number = usize::try_from(number.number()?).ok()?;
        let client = self.clients.get_mut(client_index)?;
        let Kept { topic, payload } = client.buffer.take(number)?;
        let bytes = self.message_line(unit, client_index, &topic, &payload);
        unit.print(port, &bytes, unit.delay(false));
        Some(Reply::ok().into())
    }

    /// Waits for an acknowledgement that does not come.
    fn wait(&mut self, unit: &mut Unit, index: usize, operation: Operation) -> Option<Answer> {
        let client = self.clients.get_mut(index)?;
        client.operation = Some(operation);
        let time = Duration::from_secs(client.settings.packet_timeout.into());
        let later =
            Later::End { client: index, connection: client.connection, failure: Failure::Timeout };
        unit.agenda.add(unit.now + time, later);
        Some(Reply::ok().into())
    }

    fn disconnect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let (index, client) = self.ready(args)?;
        client.operation = Some(Operation { word: "DISC", port, packet: None });
        unit.actions.push(Action::Order { client: index, order: broker::Order::Disconnect });
        Some(Reply::ok().into())
    }

    /// Cuts the connection, whatever is under way on it.
    fn close(&mut self, unit: &mut Unit, _: usize, args: &[Arg]) -> Option<Answer> {
        let index = index(args).filter(|_| args.len() == 1)?;
        if self.clients.get(index)?.link == Link::Down {
            return None;
        }
        self.cut(unit, index);
        let client = self.clients.get_mut(index)?;
        (client.link, client.operation) = (Link::Down, None);
        Some(at_once(format!("+QMTCLOSE: {index},0")))
    }
}

/// Returns the octets of hexadecimal digits; `None` for anything else.
fn octets(digits: &[u8]) -> Option<Vec<u8>> {
    let value =
        |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

/// Returns `OK`, and the end right after it.
fn at_once(line: String) -> Answer {
    Reply { after: vec![line], ..Reply::ok() }.into()
}

fn topic(arg: &Arg) -> Option<String> {
    arg.text().filter(|topic| (1..=MAX_TOPIC).contains(&topic.len())).map(str::to_owned)
}

fn qos(arg: &Arg) -> Option<u8> {
    arg.within(0..=2).and_then(|qos| u8::try_from(qos).ok())
}

/// Takes `0`, or `1,<qos>,<retain>,"<topic>","<message>"`.
fn will(values: &[Arg]) -> Option<Option<broker::Will>> {
    match values {
        [off] if off.within(0..=0).is_some() => Some(None),
        [on, level, retain, name, message] => {
            on.within(1..=1)?;
            let retain = retain.within(0..=1)? == 1;
            let message = message.text().filter(|text| text.len() <= MAX_STRING)?;
            let message = message.as_bytes().to_vec();
            Some(Some(broker::Will { topic: topic(name)?, message, qos: qos(level)?, retain }))
        }
        _ => None,
    }
}
