//! The commands of `AT+CMQ…` (SIM7020 manual V1.05 ch. 11).

use tokio::time::Duration;

use super::{CLIENT, Client, Doing, Link, Operation};
use crate::{
    broker,
    command::{Arg, Command, Form},
    fault::Fault,
    options::Coverage,
    reply::{Answer, Reply},
    unit::{Action, Unit},
};

const MAX_TOPIC: usize = 128;

/// `<message_len>`, for a message in hexadecimal digits.
const LENGTH: std::ops::RangeInclusive<u32> = 2..=1_000;

impl Client {
    /// Answers commands of the MQTT stack; any error is a bare `ERROR`.
    pub(super) fn stack_command(
        &mut self,
        unit: &mut Unit,
        port: usize,
        command: &Command,
    ) -> Option<Answer> {
        let name = command.name.as_str();
        match &command.form {
            Form::Read => self.read(name).map(Answer::from),
            Form::Test => test_form(name).map(Answer::from),
            Form::Write(args) => match name {
                "+CMQNEW" => self.create(unit, port, args),
                "+CMQCON" => self.connect(unit, port, args),
                "+CMQPUB" => self.publish(unit, port, args),
                "+CMQSUB" => self.subscribe(unit, port, args),
                "+CMQUNSUB" => self.unsubscribe(unit, port, args),
                "+CMQDISCON" => self.disconnect(unit, port, args),
                "+CMQTSYNC" => set(&mut self.waits, args).map(Answer::from),
                "+CREVHEX" => set(&mut self.digits, args).map(Answer::from),
                _ => None,
            },
            Form::Execute => None,
        }
    }

    fn read(&self, name: &str) -> Option<Reply> {
        let Self { link, ref server, waits, digits, .. } = *self;
        let state = |is: bool| if is { format!("0,1,\"{server}\"") } else { "0,0,null".to_owned() };
        Some(Reply::line(match name {
            "+CMQNEW" => format!("+CMQNEW: {}", state(link != Link::Free)),
            "+CMQCON" => format!("+CMQCON: {}", state(link == Link::Up)),
            "+CMQTSYNC" => format!("+CMQTSYNC: {}", u8::from(waits)),
            "+CREVHEX" => format!("+CREVHEX: {}", u8::from(digits)),
            _ => return None,
        }))
    }

    /// Takes `"server","port",<timeout ms>,<buffer>[,<cid>]`
    fn create(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let ([host, tcp_port, timeout, buffer] | [host, tcp_port, timeout, buffer, _]) = args
        else {
            return None;
        };
        let host = host.text().filter(|host| (1..=50).contains(&host.len()))?;
        let tcp_port: u16 = tcp_port.text()?.parse().ok()?;
        let timeout = Duration::from_millis(timeout.within(0..=60_000)?.into());
        let buffer = usize::try_from(buffer.within(20..=1_132)?).ok()?;
        let offline = !unit.has_address() || unit.network.coverage != Coverage::Full;
        if self.link != Link::Free || self.operation.is_some() || offline {
            return None;
        }
        let address = unit.options.broker.clone().unwrap_or_else(|| format!("{host}:{tcp_port}"));
        *self = Self {
            link: Link::Opening,
            connection: self.connection + 1,
            server: host.to_owned(),
            timeout,
            buffer,
            ..self.after_reset()
        };
        let connection = self.connection;
        let order = Box::new(broker::Dial { address, timeout, tls: None });
        unit.actions.push(Action::Dial { client: CLIENT, connection, order });
        // The number of the client is the answer, so it always waits.
        self.operation = Some(Operation { doing: Doing::New, port: Some(port) });
        Some(Answer::Deferred)
    }

    /// Takes `0,<version>,"id",<keep alive>,<clean>,<will>[,"will"][,"user","password"]`
    fn connect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [client, version, id, keep_alive, clean, has_will, rest @ ..] = args else {
            return None;
        };
        client.within(0..=0)?;
        let is_3_1 = version.within(3..=4)? == 3;
        let client_id = id.text().filter(|id| (1..=120).contains(&id.len()))?.to_owned();
        let keep_alive = u16::try_from(keep_alive.within(0..=64_800)?).ok()?;
        let clean = clean.within(0..=1)? == 1;
        let (will, rest) = match (has_will.within(0..=1)?, rest) {
            (0, rest) => (None, rest),
            (_, [will, rest @ ..]) => (Some(self.will(will.text()?)?), rest),
            _ => return None,
        };
        let login = |arg: &Arg| arg.text().filter(|text| text.len() <= 100).map(str::to_owned);
        let (user, password) = match rest {
            [] => (None, None),
            [user, password] => (Some(login(user)?), Some(login(password)?)),
            _ => return None,
        };
        if self.link != Link::Open || self.operation.is_some() {
            return None;
        }
        self.link = Link::Connecting;
        let order = broker::Order::SignIn(Box::new(broker::Connect {
            address: String::new(), // the connection is open
            is_3_1,
            client_id,
            user,
            password,
            keep_alive,
            clean,
            will,
            timeout: self.timeout,
            tls: None,
        }));
        Some(self.begin(unit, port, Doing::Connect, order))
    }

    /// Takes `topic=…,QoS=…,retained=…,message_len=…,message=…`
    fn will(&self, text: &str) -> Option<broker::Will> {
        let mut parts = text.splitn(5, ',');
        let mut part = |name: &str| {
            let (key, value) = parts.next()?.split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        };
        let topic = part("topic").filter(|topic| (1..=MAX_TOPIC).contains(&topic.len()))?;
        let qos = part("QoS")?.parse().ok().filter(|qos| *qos <= 2)?;
        let retain = part("retained")? == "1";
        let length = part("message_len")?.parse().ok()?;
        let message = self.message(length, part("message")?)?;
        Some(broker::Will { topic: topic.to_owned(), message, qos, retain })
    }

    /// Returns the bytes of a message, in the form that `CREVHEX` has set.
    fn message(&self, length: u32, text: &str) -> Option<Vec<u8>> {
        let fits = LENGTH.contains(&length) && usize::try_from(length).ok()? == text.len();
        match (fits, self.digits) {
            (false, _) => None,
            (true, false) => Some(text.as_bytes().to_vec()),
            (true, true) => from_digits(text),
        }
    }

    /// Takes `0,"topic",<qos>,<retained>,<dup>,<length>,"message"`
    fn publish(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [_, name, level, retain, dup, length, message] = args else { return None };
        let (topic, qos) = (topic(name)?, qos(level)?);
        let (retain, dup) = (retain.within(0..=1)? == 1, dup.within(0..=1)? == 1);
        let payload = self.message(length.number()?, message.text()?)?;
        self.ready(args)?;
        // A header of at most seven bytes, with the topic's length and the packet's number.
        if topic.len() + payload.len() + 7 > self.buffer || unit.dice.roll(Fault::PubError) {
            return None;
        }
        let timeout = self.timeout;
        let order = broker::Order::Publish { topic, payload, qos, retain, dup, timeout };
        Some(self.begin(unit, port, Doing::Publish, order))
    }

    fn subscribe(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [_, filter, level] = args else { return None };
        let filters = vec![(topic(filter)?, qos(level)?)];
        self.ready(args)?;
        let timeout = self.timeout;
        let order = broker::Order::Subscribe { filters, timeout };
        Some(self.begin(unit, port, Doing::Other, order))
    }

    fn unsubscribe(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [_, filter] = args else { return None };
        let filters = vec![topic(filter)?];
        self.ready(args)?;
        let timeout = self.timeout;
        let order = broker::Order::Unsubscribe { filters, timeout };
        Some(self.begin(unit, port, Doing::Other, order))
    }

    /// Ends the connection and frees the client.
    fn disconnect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Option<Answer> {
        let [client] = args else { return None };
        client.within(0..=0)?;
        if self.link == Link::Up && self.operation.is_none() {
            self.operation = Some(Operation { doing: Doing::Disconnect, port: Some(port) });
            let order = broker::Order::Disconnect;
            unit.actions.push(Action::Order { client: CLIENT, order });
            return Some(Answer::Deferred);
        }
        if self.link == Link::Free {
            return None;
        }
        self.cut(unit);
        self.link = Link::Free;
        Some(Reply::ok().into())
    }

    /// Returns `Some` if the given client is connected and idle.
    fn ready(&self, args: &[Arg]) -> Option<()> {
        args.first()?.within(0..=0)?;
        (self.link == Link::Up && self.operation.is_none()).then_some(())
    }

    /// Passes an order to the connection. In synchronisation mode the answer waits for the order's end.
    fn begin(
        &mut self,
        unit: &mut Unit,
        port: usize,
        doing: Doing,
        order: broker::Order,
    ) -> Answer {
        unit.actions.push(Action::Order { client: CLIENT, order });
        let port = self.waits.then_some(port);
        self.operation = Some(Operation { doing, port });
        if port.is_some() { Answer::Deferred } else { Reply::ok().into() }
    }
}

fn test_form(name: &str) -> Option<Reply> {
    Some(Reply::line(match name {
        "+CMQNEW" => "+CMQNEW: \"Server name or IP address\",(0-65535),(0-60000),(20-1132)",
        "+CMQCON" => "+CMQCON: (0-0),(3,4),\"client ID\",(0-64800),(0,1),(0,1)",
        "+CMQDISCON" => "+CMQDISCON: (0-0)",
        "+CMQSUB" => "+CMQSUB: (0-0),\"topic\",(0-2)",
        "+CMQUNSUB" => "+CMQUNSUB: (0-0),\"topic\"",
        "+CMQPUB" => "+CMQPUB: (0-0),\"topic\",(0-2),(0,1),(0,1),(2-1000),\"message\"",
        "+CMQTSYNC" => "+CMQTSYNC: (0,1)",
        "+CREVHEX" => "+CREVHEX: (0,1)",
        _ => return None,
    }))
}

fn set(setting: &mut bool, args: &[Arg]) -> Option<Reply> {
    let [value] = args else { return None };
    *setting = value.within(0..=1)? == 1;
    Some(Reply::ok())
}

fn topic(arg: &Arg) -> Option<String> {
    arg.text().filter(|topic| (1..=MAX_TOPIC).contains(&topic.len())).map(str::to_owned)
}

fn qos(arg: &Arg) -> Option<u8> {
    arg.within(0..=2).and_then(|qos| u8::try_from(qos).ok())
}

fn from_digits(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let byte = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}
