//! The AT engine under a script: exchanges, the modem's bytes split at any place, and time.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use at::{Answer, Engine, Event, Exchange, Failure, Framing, Identity, Reply, ResultLine, Ticket};

use crate::cost::within_memory;

mod script;

use script::{Op, ops};

/// The identity of the modem, and its answer to the question for it.
const IMEI: &str = "861234567000003";

/// A time longer than any exchange, after which all have ended: 8 h.
const LONG: Duration = Duration::from_secs(8 * 60 * 60);

/// The most deadlines in that time. An engine that sets more asks without end.
const DEADLINES: usize = 20_000;

/// The most bytes that one step may make the engine write: padding for a data mode, and a question.
const WRITTEN: usize = 64 * 1024;

/// Runs a script (`engine/script.rs`) twice. The second time the modem's bytes come one by one,
/// which must change nothing.
pub fn run(input: &[u8]) {
    let ops = ops(input);
    let mut whole = Vec::new();
    within_memory(input.len(), || whole = Port::play(&ops, false));
    assert_eq!(whole, Port::play(&ops, true), "where a read ends changes what is told");
}

/// Returns the union of all families' framings, and each framing alone.
fn framings() -> &'static [Framing] {
    static FRAMINGS: OnceLock<Vec<Framing>> = OnceLock::new();
    FRAMINGS.get_or_init(|| {
        let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
        let each = plugins.iter().flat_map(|plugin| plugin.profiles.iter().map(|p| p.framing()));
        let each: Vec<_> = each.collect();
        let all = each.iter().fold(Framing::default(), Framing::union);
        std::iter::once(all).chain(each).collect()
    })
}

/// A start for the virtual clock: instants have no literal.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a start for a virtual clock")]
    *START.get_or_init(Instant::now)
}

/// An engine, its clock, and its exchanges.
struct Port {
    engine: Engine,
    now: Instant,
    /// True if bytes come one by one.
    cut: bool,
    open: BTreeMap<Ticket, Exchange>,
    /// The bytes written and the events reported, as text, in order.
    log: Vec<String>,
    written: usize,
}

impl Port {
    fn play(ops: &[Op], cut: bool) -> Vec<String> {
        let now = start();
        let engine = Engine::new(framings()[0].clone(), now);
        let mut port =
            Self { engine, now, cut, open: BTreeMap::new(), log: Vec::new(), written: 0 };
        port.drain();
        for op in ops {
            port.written = 0;
            port.step(op);
            assert!(port.written <= WRITTEN, "{} bytes for {op:?}", port.written);
        }
        port.written = 0;
        port.wait(LONG);
        assert!(port.open.is_empty(), "not ended after {LONG:?}: {:?}", port.open);
        port.log
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Submit(exchange) => self.submit((**exchange).clone()),
            Op::Hear(bytes) => self.hear(bytes),
            Op::Prove => self.hear(format!("\r\n{IMEI}\r\n\r\nOK\r\n").as_bytes()),
            Op::Wait(time) => self.wait(*time),
            Op::Identify => self.engine.set_identity(Identity::Imei(IMEI.to_owned())),
            Op::Frame(number) => {
                let framings = framings();
                self.engine.set_framing(framings[number % framings.len()].clone());
            }
            Op::Doubt => self.engine.doubt(self.now),
            Op::FailWrite => self.engine.write_failed(self.now),
            Op::Close => self.engine.close(),
        }
        self.drain();
    }

    fn submit(&mut self, exchange: Exchange) {
        let ready = self.engine.ready_for(&exchange);
        match self.engine.submit(exchange.clone(), self.now) {
            Ok(ticket) => {
                assert!(ready && self.open.insert(ticket, exchange).is_none(), "{ticket:?}");
            }
            Err(_) => assert!(!ready, "refused although it said ready: {exchange:?}"),
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let pieces = if self.cut { 1 } else { bytes.len().max(1) };
        bytes.chunks(pieces).for_each(|piece| self.engine.receive(piece, self.now));
    }

    /// Lets time pass, deadline by deadline.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..DEADLINES {
            let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.drain();
            let next = self.engine.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "due at once after its time");
        }
        panic!("{DEADLINES} deadlines within {time:?}");
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.engine.poll_transmit() {
            self.written += bytes.len();
            self.log.push(format!("> {}", bytes.escape_ascii()));
        }
        while let Some(event) = self.engine.poll_event() {
            self.log.push(format!("{event:?}"));
            if let Event::Completed(ticket, end) = event {
                let exchange = self.open.remove(&ticket).expect("an exchange that is open");
                judge(&exchange, &end);
            }
        }
    }
}

/// Panics if an exchange got lines of another.
fn judge(exchange: &Exchange, end: &Result<Reply, Failure>) {
    let (Ok(Reply { lines, result }) | Err(Failure::Refused { lines, result, .. })) = end else {
        return;
    };
    let (answer, wanted) = script::expected(exchange.line());
    let is_own = |line: &String| match &answer {
        Answer::None => false,
        Answer::Prefix(prefix) => line.starts_with(prefix),
        Answer::Matching(holds) => holds(line),
        Answer::Bare => !line.starts_with(['+', '*', '^']),
        Answer::Named(_) | Answer::Any => true,
    };
    assert!(lines.iter().all(is_own), "{exchange:?} got {lines:?}");
    if let Some(result) = result {
        let ResultLine { prefix, first, .. } = wanted.expect("an exchange that has a result");
        let rest = result.strip_prefix(prefix);
        let argument = rest.and_then(|rest| rest.split(',').next()?.trim().parse::<u8>().ok());
        let is_own = rest.is_some() && first.is_none_or(|first| argument == Some(first));
        assert!(is_own, "{exchange:?} got {result:?}");
    }
}
