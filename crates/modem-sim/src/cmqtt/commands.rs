//! The write and execute forms of `AT+CMQTT…`.

use tokio::time::Duration;

use super::{
    Acquired, Client, Link, Operation, Service, Target, Telling, aliauth::Triple, code, queries,
    will,
};
use crate::{
    broker::{self, Failure},
    command::{Arg, Command, Form},
    fault::Fault,
    illness::Symptom,
    later::Later,
    model::Order,
    options::Coverage,
    prompt::Field,
    reply::{Answer, Reply},
    stack::Stack,
    unit::{Action, Unit},
};

/// The refusal of a command.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A bare `ERROR`.
    Bare,
    /// `+CMQTT<word>: <err>` and `ERROR`.
    Service(&'static str, u8),
    /// `+CMQTT<word>: <index>,<err>` and `ERROR`.
    Client(&'static str, u32, u8),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let reply = match refusal {
            Refusal::Bare => Reply::error(),
            Refusal::Service(word, code) => Reply::refused(format!("+CMQTT{word}: {code}")),
            Refusal::Client(word, index, code) => {
                Reply::refused(format!("+CMQTT{word}: {index},{code}"))
            }
        };
        reply.into()
    }
}

pub(super) type Outcome = Result<Answer, Refusal>;

/// The state of the client that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// No operation is under way.
    Idle,
    Acquired,
    Connected,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

pub(super) fn refuse(word: &'static str, index: usize, code: u8) -> Refusal {
    Refusal::Client(word, number(index), code)
}

impl Service {
    /// Answers commands of the MQTT service. Without the service all but START and STOP are a bare `ERROR`, as
    /// seen on units; no manual has a code for it (the A76XX manual has `ERROR` for `REL?`).
    pub(super) fn stack_command(
        &mut self,
        unit: &mut Unit,
        port: usize,
        command: &Command,
    ) -> Option<Answer> {
        let word = command.name.strip_prefix("+CMQTT")?;
        let needs_service = !matches!(word, "START" | "STOP") && command.form != Form::Test;
        if needs_service && !self.started {
            return Some(Reply::error().into());
        }
        let outcome = match &command.form {
            Form::Test => return queries::test_form(unit, word).map(Answer::from),
            Form::Read => return self.read_form(unit, word).map(Answer::from),
            Form::Execute => match word {
                "START" => self.start(unit),
                "STOP" => self.stop(unit),
                _ => return None,
            },
            Form::Write(args) => self.write_form(unit, port, word, args),
        };
        Some(outcome.unwrap_or_else(Answer::from))
    }

    fn write_form(&mut self, unit: &mut Unit, port: usize, word: &str, args: &[Arg]) -> Outcome {
        match word {
            "ACCQ" => self.acquire(unit, args),
            "REL" => self.release(args),
            "SSLCFG" => self.tls_context(args),
            "CFG" => self.configure(unit, args).ok_or(Refusal::Bare).map(Answer::from),
            "CONNECT" => self.connect(unit, port, args),
            "DISC" => self.disconnect(unit, port, args),
            "PUB" => self.publish(unit, port, args),
            "SUB" => match args {
                [index, topic, level] if self.is_in_one_line(index) => {
                    self.subscribe_in_one_line(unit, port, args, topic, level)
                }
                [_] | [_, _] => self.subscribe_cached(unit, port, args),
                _ => self.field("SUB", args, 3..=4, |rest| Some(Field::Sub { qos: qos(rest)? })),
            },
            "UNSUB" => match args {
                [_] | [_, _] => self.unsubscribe_cached(unit, port, args),
                _ => self.field("UNSUB", args, 3..=3, |_| Some(Field::Unsub)),
            },
            "TOPIC" => self.field("TOPIC", args, 2..=2, |_| Some(Field::Topic)),
            "PAYLOAD" => self.field("PAYLOAD", args, 2..=2, |_| Some(Field::Payload)),
            "WILLTOPIC" => self.field("WILLTOPIC", args, 2..=2, |_| Some(Field::WillTopic)),
            "WILLMSG" => self
                .field("WILLMSG", args, 3..=3, |rest| Some(Field::WillMessage { qos: qos(rest)? })),
            "SUBTOPIC" => self
                .field("SUBTOPIC", args, 3..=3, |rest| Some(Field::SubTopic { qos: qos(rest)? })),
            "UNSUBTOPIC" => self.field("UNSUBTOPIC", args, 2..=2, |_| Some(Field::UnsubTopic)),
            _ => Err(Refusal::Bare),
        }
    }

    fn start(&mut self, unit: &mut Unit) -> Outcome {
        if self.started {
            let silent = unit.options.model.is_a76xx();
            let refusal = Refusal::Service("START", code::OPENED);
            return Err(if silent { Refusal::Bare } else { refusal });
        }
        if !unit.has_data() {
            return Err(Refusal::Service("START", code::NETWORK_OPEN));
        }
        self.started = true;
        unit.strain(Symptom::BrownOutAtStart);
        Ok(service_result(unit, "+CMQTTSTART: 0").into())
    }

    fn stop(&mut self, unit: &mut Unit) -> Outcome {
        if !self.started {
            return Err(Refusal::Service("STOP", code::NOT_OPENED));
        }
        // STOP ignores a client that nothing releases: STOP is the cure.
        let holds = |client: &Client| client.acquired.is_some() && !client.stuck;
        if self.clients.iter().any(holds) && !unit.suffers(Symptom::Wedged) {
            return Err(Refusal::Service("STOP", code::NOT_RELEASED));
        }
        self.cut_connections(unit);
        self.started = false;
        self.clients.iter_mut().for_each(|client| *client = client.fresh());
        Ok(Answer::ServiceStopped(service_result(unit, "+CMQTTSTOP: 0")))
    }

    /// Returns the client that the first argument names, if its state fits the command.
    pub(super) fn client(
        &mut self,
        word: &'static str,
        args: &[Arg],
        needs: Needs,
    ) -> Result<(usize, &mut Client), Refusal> {
        let given = args.first().and_then(Arg::number).ok_or(Refusal::Bare)?;
        let index = usize::try_from(given).unwrap_or(usize::MAX);
        let refuse = |code| Refusal::Client(word, given, code);
        let client = self.clients.get_mut(index).ok_or(refuse(code::INDEX))?;
        let missing = if client.stuck && word == "ACCQ" {
            Some(code::USED)
        } else if client.operation.is_some() || client.stuck {
            Some(code::BUSY)
        } else if needs == Needs::Idle {
            None
        } else if client.acquired.is_none() {
            Some(code::NOT_ACQUIRED)
        } else if needs == Needs::Connected && client.link != Link::Up {
            Some(code::NO_CONNECTION)
        } else {
            None
        };
        match missing {
            Some(code) => Err(refuse(code)),
            None => Ok((index, client)),
        }
    }

    fn acquire(&mut self, unit: &Unit, args: &[Arg]) -> Outcome {
        // An A76xx takes no version here, and speaks 3.1 until it is set.
        let is_a76xx = unit.options.model.is_a76xx();
        let (most, usual) = if is_a76xx { (3, 3) } else { (4, 4) };
        let (index, client) = self.client("ACCQ", args, Needs::Idle)?;
        let refuse = |code| refuse("ACCQ", index, code);
        if client.acquired.is_some() {
            return Err(refuse(code::USED));
        }
        let id = args.get(1).and_then(Arg::text).ok_or(Refusal::Bare)?;
        if !(1..=128).contains(&id.len()) {
            return Err(refuse(code::LENGTH));
        }
        let tls = optional(args, 2, 0..=1, 0).ok_or_else(|| refuse(code::PARAMETER))?;
        let version = optional(args, 3, 3..=4, usual).ok_or_else(|| refuse(code::PARAMETER))?;
        if args.len() > most {
            return Err(Refusal::Bare);
        }
        *client = client.fresh();
        let acquired =
            Acquired { id: id.to_owned(), tls: tls == 1, version, shows_version: !is_a76xx };
        client.acquired = Some(acquired);
        Ok(Reply::ok().into())
    }

    /// Releases a client. A client that is not acquired is released with `OK`, as on real units.
    fn release(&mut self, args: &[Arg]) -> Outcome {
        let (index, client) = self.client("REL", args, Needs::Idle)?;
        match (args, client.link) {
            ([_], Link::Down) => {
                *client = client.fresh();
                Ok(Reply::ok().into())
            }
            ([_], _) => Err(refuse("REL", index, code::BUSY)),
            _ => Err(Refusal::Bare),
        }
    }

    fn tls_context(&mut self, args: &[Arg]) -> Outcome {
        let index = args.first().and_then(|index| index.within(0..=1)).ok_or(Refusal::Bare)?;
        let context = args.get(1).and_then(|context| context.within(0..=9)).ok_or(Refusal::Bare)?;
        let index = usize::try_from(index).unwrap_or(0);
        if let Some(client) = self.clients.get_mut(index) {
            client.tls_context = Some(context);
        }
        Ok(Reply::ok().into())
    }

    /// Takes settings between ACCQ and CONNECT.
    fn configure(&mut self, unit: &Unit, args: &[Arg]) -> Option<Reply> {
        let [key, index, values @ ..] = args else { return None };
        let index = usize::try_from(index.within(0..=1)?).ok()?;
        let has_urc_switch = unit.options.model.has_nr();
        let is_a76xx = unit.options.model.is_a76xx();
        let client = self.clients.get_mut(index)?;
        if client.acquired.is_none() || client.link != Link::Down || client.operation.is_some() {
            return None;
        }
        let [value] = values else {
            if let (true, Some("argtopic"), [on, length]) = (is_a76xx, key.text(), values) {
                client.one_line = one_line(on, Some(length))?;
                return Some(Reply::ok());
            }
            let values = if is_a76xx { &[] } else { values };
            client.triple = Some(Triple::of(values).filter(|_| key.text() == Some("aliauth"))?);
            return Some(Reply::ok());
        };
        match key.text()? {
            "checkUTF8" => client.check_utf8 = value.within(0..=1)? == 1,
            "optimeout" => client.operation_timeout = value.within(20..=120)?,
            "acturc" if has_urc_switch => client.all_ports = value.within(0..=1)? == 1,
            "version" if is_a76xx => client.acquired.as_mut()?.version = value.within(3..=4)?,
            "argtopic" if is_a76xx => client.one_line = one_line(value, None)?,
            _ => return None,
        }
        Some(Reply::ok())
    }

    fn connect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Outcome {
        let offline = !unit.has_address() || unit.network.coverage != Coverage::Full;
        let closed = unit.suffers(Symptom::Service);
        let via = unit.options.broker.clone();
        let sticks = unit.suffers(Symptom::StuckClient);
        let now = unit.clock.unix(unit.now);
        let (index, client) = self.client("CONNECT", args, Needs::Acquired)?;
        // Without SSLCFG the context has the client's own number.
        let context = client.tls_context.unwrap_or(number(index));
        if client.link != Link::Down {
            return Err(refuse("CONNECT", index, code::NOT_SUPPORTED));
        }
        let parameter = || refuse("CONNECT", index, code::PARAMETER);
        let target = target(args).ok_or_else(parameter)?;
        let named = address(&target.url).ok_or_else(parameter)?;
        let secure = client.acquired.as_ref().is_some_and(|acquired| acquired.tls);
        let mut order = broker::Connect {
            address: via.unwrap_or(named),
            client_id: client.acquired.as_ref().map_or_else(String::new, |a| a.id.clone()),
            user: target.user.clone(),
            password: target.password.clone(),
            keep_alive: u16::try_from(target.keep_alive).unwrap_or(u16::MAX),
            clean: target.clean == 1,
            will: will(client),
            timeout: Duration::from_secs(client.operation_timeout.into()),
            tls: None,
            is_3_1: client.acquired.as_ref().is_some_and(|acquired| acquired.version == 3),
        };
        if let Some(triple) = &client.triple {
            triple.sign(&mut order, secure);
        }
        if closed {
            return Ok(fails(unit, "CONNECT", index, code::NOT_OPENED));
        }
        if offline || sticks {
            client.tls_context = None;
            client.stuck = sticks;
            return Ok(fails(unit, "CONNECT", index, code::SOCKET_CONNECT));
        }
        client.link = Link::Connecting;
        let host = host(&target.url).to_owned();
        client.target = Some(target);
        order.tls = secure.then(|| self.tls.terms(context, &host, now));
        self.set_out(unit, index, order);
        Ok(self.begin(unit, port, index, "CONNECT"))
    }

    /// Opens the connection of a client, or lets it fail.
    fn set_out(&mut self, unit: &mut Unit, client: usize, order: broker::Connect) {
        self.connections += 1;
        let connection = self.connections;
        if let Some(client) = self.clients.get_mut(client) {
            client.connection = connection;
        }
        unit.strain(Symptom::BrownOutAtConnect);
        if let Some(time) = unit.course.black_hole(client, order.timeout) {
            let failure = Failure::Unreachable;
            unit.agenda.add(unit.now + time, Later::End { client, connection, failure });
        } else if !unit.suffers(Symptom::Wedged) {
            unit.actions.push(Action::Open { client, connection, order: Box::new(order) });
        }
    }

    fn disconnect(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Outcome {
        let shortest = shortest_timeout(unit);
        let (index, client) = self.client("DISC", args, Needs::Acquired)?;
        let wait = optional(args, 1, 0..=180, 0).filter(|wait| *wait == 0 || *wait >= shortest);
        if wait.is_none() || args.len() > 2 {
            return Err(refuse("DISC", index, code::PARAMETER));
        }
        match client.link {
            Link::Up => {
                unit.actions
                    .push(Action::Order { client: index, order: broker::Order::Disconnect });
                Ok(self.begin(unit, port, index, "DISC"))
            }
            Link::Dead => {
                client.link = Link::Down;
                Ok(Reply { after: vec![format!("+CMQTTDISC: {index},0")], ..Reply::ok() }.into())
            }
            Link::Down | Link::Connecting => Err(refuse("DISC", index, code::NO_CONNECTION)),
        }
    }

    fn publish(&mut self, unit: &mut Unit, port: usize, args: &[Arg]) -> Outcome {
        let shortest = shortest_timeout(unit);
        // Busy leaves topic and payload alone; every other end of PUB erases them.
        let (index, client) = self.client("PUB", args, Needs::Idle)?;
        let (topic, payload) = (client.topic.take(), client.payload.take());
        let refuse = |code| refuse("PUB", index, code);
        self.client("PUB", args, Needs::Connected)?;
        let (qos, wait, retain, dup) =
            publish_arguments(args, shortest).ok_or_else(|| refuse(code::PARAMETER))?;
        let topic = topic.ok_or_else(|| refuse(code::NO_TOPIC))?;
        if unit.dice.roll(Fault::PubError) {
            let code = if unit.dice.coin() { code::FAILED } else { code::SOCKET_SEND };
            return Ok(fails(unit, "PUB", index, code));
        }
        // MQTT has UTF-8 topics only; a broker would not accept the packet.
        let Ok(topic) = String::from_utf8(topic) else {
            return Ok(fails(unit, "PUB", index, code::PACKET));
        };
        let timeout = Duration::from_secs(wait.into());
        let payload = payload.unwrap_or_default();
        let order = broker::Order::Publish { topic, payload, qos, retain, dup, timeout };
        self.hand_over(unit, index, order, timeout);
        Ok(self.begin(unit, port, index, "PUB"))
    }

    /// Passes a publish to the connection of a client, or lets it wait for an acknowledgement that does not
    /// come.
    fn hand_over(
        &mut self,
        unit: &mut Unit,
        client: usize,
        order: broker::Order,
        timeout: Duration,
    ) {
        let connection = self.clients.get(client).map_or(0, |client| client.connection);
        unit.forge_soon(format!("+CMQTTPUB: {client},{}", code::OK));
        if unit.course.is_unacknowledged(client) {
            let failure = Failure::Timeout;
            unit.agenda.add(unit.now + timeout, Later::End { client, connection, failure });
        } else {
            unit.actions.push(Action::Order { client, order });
        }
    }

    pub(super) fn operation_timeout(&self, index: usize) -> Duration {
        let seconds = self.clients.get(index).map_or(120, |c| c.operation_timeout);
        Duration::from_secs(seconds.into())
    }

    /// Notes that an operation runs, and answers it in the order of this unit.
    pub(super) fn begin(
        &mut self,
        unit: &mut Unit,
        port: usize,
        index: usize,
        word: &'static str,
    ) -> Answer {
        let usual = usual_telling(unit, word);
        let telling = telling(unit, usual);
        if let Some(client) = self.clients.get_mut(index) {
            client.operation = Some(Operation { word, port, telling });
        }
        match telling {
            Telling::OkFirst => Reply::ok().into(),
            Telling::ResultFirst | Telling::Early => Answer::Deferred,
        }
    }
}

impl Client {
    /// Returns a client in its state before ACCQ. Its TLS context stays: real hosts set it before REL and ACCQ.
    fn fresh(&self) -> Self {
        Self { connection: self.connection, tls_context: self.tls_context, ..Self::default() }
    }
}

/// Returns an optional argument; `None` if it is given and wrong.
pub(super) fn optional(
    args: &[Arg],
    place: usize,
    range: std::ops::RangeInclusive<u32>,
    default: u32,
) -> Option<u32> {
    args.get(place).map_or(Some(default), |arg| arg.within(range))
}

/// Returns the quality of service at the start of `rest`.
pub(super) fn qos(rest: &[Arg]) -> Option<u8> {
    rest.first()?.within(0..=2).and_then(|qos| u8::try_from(qos).ok())
}

/// Returns the form that `"argtopic"` sets: messages in a single line or not, and then with their length or
/// without.
fn one_line(on: &Arg, length: Option<&Arg>) -> Option<Option<bool>> {
    let is_on = on.within(0..=1)? == 1;
    let with_length = length.map_or(Some(0), |length| length.within(0..=1))? == 1;
    Some(is_on.then_some(with_length))
}

fn publish_arguments(args: &[Arg], shortest: u32) -> Option<(u8, u32, bool, bool)> {
    let qos = qos(args.get(1..)?)?;
    let wait = args.get(2)?.within(shortest..=180)?;
    let retain = optional(args, 3, 0..=1, 0)? == 1;
    let dup = optional(args, 4, 0..=1, 0)? == 1;
    (args.len() <= 5).then_some((qos, wait, retain, dup))
}

fn target(args: &[Arg]) -> Option<Target> {
    let (url, keep_alive, clean, login) = match args {
        [_, url, keep_alive, clean, login @ ..] if login.len() <= 2 => {
            (url, keep_alive, clean, login)
        }
        _ => return None,
    };
    let credential =
        |arg: &Arg| arg.text().filter(|text| (1..=256).contains(&text.len())).map(str::to_owned);
    let url = url.text().filter(|url| (9..=256).contains(&url.len()))?.to_owned();
    let mut login = login.iter().map(credential);
    let user = login.next();
    let password = login.next();
    Some(Target {
        url,
        keep_alive: keep_alive.within(1..=64_800)?,
        clean: clean.within(0..=1)?,
        // Given and wrong is an error; missing is allowed.
        user: user.map_or(Some(None), |user| user.map(Some))?,
        password: password.map_or(Some(None), |password| password.map(Some))?,
    })
}

/// Returns the host of a URL that [`address`] takes.
fn host(url: &str) -> &str {
    let rest = url.strip_prefix("tcp://").unwrap_or(url);
    rest.rsplit_once(':').map_or(rest, |(host, _)| host)
}

/// Returns host and port of a URL; the default port is 1883. The scheme is `tcp` for TLS too.
fn address(url: &str) -> Option<String> {
    let rest = url.strip_prefix("tcp://")?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => (rest, 1883),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then(|| format!("{host}:{port}"))
}

/// Returns `OK` and the result of START or STOP in the order of this unit.
fn service_result(unit: &mut Unit, line: &str) -> Reply {
    let order = unit.options.order.unwrap_or_else(|| unit.options.model.start_order());
    match telling(unit, order.into()) {
        Telling::ResultFirst => Reply::line(line),
        Telling::OkFirst | Telling::Early => Reply { after: vec![line.to_owned()], ..Reply::ok() },
    }
}

/// Returns the order of a result: the unit's order, unless a fault reverses it.
fn telling(unit: &mut Unit, usual: Telling) -> Telling {
    let (result, ok) = (unit.dice.roll(Fault::ResultFirst), unit.dice.roll(Fault::OkFirst));
    match (result, ok) {
        (true, _) => Order::ResultFirst.into(),
        (false, true) => Order::OkFirst.into(),
        (false, false) => usual,
    }
}

/// Returns the unit's usual order. A connection that an A76xx cannot open has no `OK` before its result (seen
/// on an A7670E).
fn usual_telling(unit: &Unit, word: &str) -> Telling {
    let waits = unit.options.model.is_a76xx() && word == "CONNECT";
    // A unit that waited for a result that never comes would not answer any more.
    let waits = waits && !unit.suffers(Symptom::Wedged);
    if unit.options.early_failures || waits { Telling::Early } else { Telling::OkFirst }
}

/// Returns the smallest time that PUB and DISC take, in seconds.
fn shortest_timeout(unit: &Unit) -> u32 {
    if unit.options.model.is_a76xx() { 1 } else { 60 }
}

/// Answers an operation that fails at once.
pub(super) fn fails(unit: &mut Unit, word: &'static str, index: usize, code: u8) -> Answer {
    let line = format!("+CMQTT{word}: {index},{code}");
    let usual = usual_telling(unit, word);
    match telling(unit, usual) {
        Telling::OkFirst => Reply { after: vec![line], ..Reply::ok() }.into(),
        Telling::ResultFirst | Telling::Early => Reply::refused(line).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_as_the_manual_has_them() {
        assert_eq!(address("tcp://test.mosquitto.org").as_deref(), Some("test.mosquitto.org:1883"));
        assert_eq!(address("tcp://10.0.0.1:8883").as_deref(), Some("10.0.0.1:8883"));
        for bad in ["mqtt://host:1", "tcp://", "tcp://:1883", "tcp://h:0", "tcp://h:x", "tcp://a b"]
        {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
