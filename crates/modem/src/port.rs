//! The task that owns a port, and [`At`], the handle on it.
//!
//! One task owns the byte stream and the engine. Exchanges come in by a bounded channel, each with
//! the channel for its answer. URCs go out by a bounded channel to the one owner, the modem. Reads
//! come before writes before new exchanges, so a flood of URCs cannot reorder exchanges.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use at::{Engine, Event, Exchange, Failure, Framing, Identity, Reply, Ticket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use zeroize::Zeroize;

pub use crate::exchange::{ExchangeError, Kind};
use crate::foreign::Protocol;
use crate::observe::{ExchangeResult, Observer};
use crate::tls::Written;
use crate::urc_listeners::UrcListeners;
use crate::vitals::Vitals;

mod audience;
mod pending;
mod trial;

pub use audience::PortEvent;
use audience::{Audience, READ};
use pending::{Answer, Pending, REQUESTS, Running, Waiting};
use trial::Trial;

/// The most reads in a row, after which writes and deadlines come first once. Otherwise a modem
/// that prints faster than we read would keep us from ever writing, or giving up.
const READS_IN_A_ROW: u32 = 64;

/// The reason why a port ended.
#[derive(Debug)]
pub enum PortEnd {
    /// The tty gave end of file or an error: unplugged.
    Gone(io::Error),
    /// The modem answers nothing.
    Mute,
    /// The port does not speak AT.
    Foreign(Protocol),
    /// All handles were dropped.
    Released,
}

enum Request {
    Run {
        kind: Kind,
        exchange: Box<Exchange>,
        answer: Answer,
    },
    Identity(Identity),
    Framing(Framing),
    Doubt,
    /// A sequence ended: exchanges that waited for it may start.
    TurnOver,
}

/// The right to run several exchanges that belong together; it ends when dropped.
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    requests: mpsc::Sender<Request>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        // A full queue wakes the port as well.
        let _ = self.requests.try_send(Request::TurnOver);
    }
}

/// A handle on one port. Clones share it.
#[derive(Debug, Clone)]
pub struct At {
    requests: mpsc::Sender<Request>,
    sequence: Arc<Semaphore>,
    written: Written,
    memory: Arc<OnceLock<Arc<dyn Any + Send + Sync>>>,
}

impl At {
    /// Returns the value in which a dialect stores facts of the modem at this port. It ends with
    /// the port, so that no fact of one modem is believed of another. There is one value: a second
    /// type gets an empty one each time.
    pub fn memory<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let memory = self.memory.get_or_init(|| Arc::<T>::default());
        Arc::clone(memory).downcast().unwrap_or_default()
    }

    /// Returns the files that were put into the modem through this port.
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Runs one exchange.
    ///
    /// # Errors
    /// [`ExchangeError`].
    ///
    /// # Cancel safety
    /// Dropping the future before its turn withdraws the exchange. After that the port finishes the
    /// exchange and drops the answer: the modem is never left at a prompt.
    pub async fn run(&self, kind: Kind, exchange: Exchange) -> Result<Reply, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        let exchange = if kind == Kind::Publish { exchange.irrevocable() } else { exchange };
        let request = Request::Run { kind, exchange: Box::new(exchange), answer };
        self.requests.send(request).await.map_err(|_| ExchangeError::Gone)?;
        answered.await.unwrap_or(Err(ExchangeError::Gone))
    }

    /// Waits for the right to run several exchanges that belong together, such as topic, payload
    /// and publish: a publish of one client may clear the half-set topic of another client. Status
    /// exchanges wait for the end of a sequence, or for a moment in it when a result is out. So a
    /// poll does not lengthen each of its steps.
    ///
    /// # Cancel safety
    /// Cancel safe. Turns are given in the order of the calls.
    pub async fn sequence(&self) -> Result<Turn, ExchangeError> {
        let permit = Arc::clone(&self.sequence).acquire_owned().await;
        let permit = Some(permit.map_err(|_| ExchangeError::Gone)?);
        Ok(Turn { permit, requests: self.requests.clone() })
    }

    /// Sets the answer that only this modem gives, for the next time the port is out of step.
    pub async fn set_identity(&self, identity: Identity) {
        let _ = self.requests.send(Request::Identity(identity)).await;
    }

    /// Sets the meaning of this modem's lines.
    pub async fn set_framing(&self, framing: Framing) {
        let _ = self.requests.send(Request::Framing(framing)).await;
    }

    /// Asks for a resynchronisation before the next exchange.
    pub async fn doubt(&self) {
        let _ = self.requests.send(Request::Doubt).await;
    }
}

/// A port: drive it with [`Port::run`].
pub struct Port<S> {
    read: ReadHalf<S>,
    write: WriteHalf<S>,
    engine: Engine,
    requests: mpsc::Receiver<Request>,
    pending: Pending,
    audience: Audience,
    trial: Trial,
    out: Vec<u8>,
    doubt: bool,
    mute: bool,
    /// The number of open questions, for the next task that opens the port.
    questions: Arc<AtomicU32>,
    reads: ReadShare,
}

/// The share of the reads in the port's work.
#[derive(Default)]
struct ReadShare {
    in_a_row: u32,
    /// True if the last read seems to have taken all bytes that were there.
    read_all: bool,
}

impl ReadShare {
    /// Reports whether a read comes before everything else; `writes` is true if bytes wait to be
    /// written.
    fn is_first(&self, writes: bool) -> bool {
        self.in_a_row < READS_IN_A_ROW && !(self.read_all && writes)
    }

    fn woke(&mut self, wake: &Wake) {
        self.in_a_row = if matches!(wake, Wake::Read(_)) { self.in_a_row + 1 } else { 0 };
        self.read_all = matches!(wake, Wake::Read(Ok(count)) if *count < READ);
    }
}

/// The reason why the loop woke up.
enum Wake {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Deadline,
    Request(Option<Request>),
    /// Reads had their share, and nothing else was due.
    Nothing,
}

impl<S: AsyncRead + AsyncWrite + Send> Port<S> {
    /// Creates a port over a byte stream that was just opened, with a handle on it and its events.
    pub fn new(
        stream: S,
        framing: Framing,
        observer: Arc<dyn Observer>,
    ) -> (Self, At, mpsc::Receiver<PortEvent>) {
        let (read, write) = tokio::io::split(stream);
        let (request_tx, requests) = mpsc::channel(REQUESTS);
        let (audience, events) = Audience::new(framing.clone(), observer);
        let sequence = Arc::new(Semaphore::new(1));
        let written = Written::default();
        let memory = Arc::default();
        let sequence_of_at = Arc::clone(&sequence);
        let at = At { requests: request_tx, sequence: sequence_of_at, written, memory };
        let port = Self {
            read,
            write,
            engine: Engine::new(framing, Instant::now().into_std()),
            requests,
            pending: Pending::new(sequence),
            audience,
            trial: Trial::new(Instant::now()),
            out: Vec::new(),
            doubt: false,
            mute: false,
            questions: Arc::default(),
            reads: ReadShare::default(),
        };
        (port, at, events)
    }

    /// Has the port give up soon if nothing answers: no layout names it as an AT port.
    #[must_use]
    pub fn as_a_guess(mut self) -> Self {
        self.trial.is_a_guess();
        self
    }

    /// Sends the URCs to these listeners, too.
    #[must_use]
    pub(crate) fn heard_by(mut self, listeners: Arc<UrcListeners>) -> Self {
        self.audience.listeners = Some(listeners);
        self
    }

    /// Notes in `vitals` while the modem is busy or updates its firmware.
    #[must_use]
    pub(crate) fn noted_in(mut self, vitals: Arc<Vitals>) -> Self {
        self.audience.vitals = Some(vitals);
        self
    }

    /// Expects answers to so many questions of earlier stays, and stores the number of open
    /// questions there.
    #[must_use]
    pub fn owed(mut self, questions: Arc<AtomicU32>) -> Self {
        self.engine.expect_answers(questions.load(Ordering::Relaxed));
        self.questions = questions;
        self
    }

    /// Runs the port until it ends.
    pub async fn run(mut self) -> PortEnd {
        let mut buffer = vec![0; READ];
        loop {
            self.settle();
            if self.mute {
                return PortEnd::Mute;
            }
            match self.wake(&mut buffer).await {
                Wake::Read(Ok(0)) => return self.gone(io::ErrorKind::UnexpectedEof.into()),
                Wake::Read(Ok(count)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let now = Instant::now();
                    let foreign = self.trial.hear(bytes, now);
                    self.engine.receive(bytes, now.into_std());
                    self.settle();
                    if let Some(protocol) = self.trial.verdict(foreign) {
                        return PortEnd::Foreign(protocol);
                    }
                }
                Wake::Written(Ok(count)) if count > 0 => self.written(count),
                Wake::Written(Ok(_)) => return self.gone(io::ErrorKind::WriteZero.into()),
                Wake::Read(Err(error)) | Wake::Written(Err(error)) => return self.gone(error),
                Wake::Deadline
                    if self.trial.deadline().is_some_and(|until| until <= Instant::now()) =>
                {
                    return PortEnd::Foreign(Protocol::Silence);
                }
                Wake::Deadline => self.engine.handle_timeout(Instant::now().into_std()),
                Wake::Request(Some(request)) => self.request(request),
                Wake::Request(None) if self.engine.is_idle() => return PortEnd::Released,
                // The last caller is gone; the exchange in flight is finished all the same.
                Wake::Request(None) | Wake::Nothing => {}
            }
        }
    }

    /// Removes written bytes from memory: they may hold a secret.
    fn written(&mut self, count: usize) {
        drop(self.out.drain(..count));
        if self.out.is_empty() {
            self.out.zeroize();
        }
    }

    /// Waits for the next event. Reads come first, so that an answer that is there already beats
    /// its deadline. But if the last read took everything, its consequences are written before the
    /// next read: that read would find nothing, and the modem would wait for its command meanwhile.
    async fn wake(&mut self, buffer: &mut [u8]) -> Wake {
        let deadline = self.engine.poll_timeout().map(Instant::from_std);
        let deadline = deadline.into_iter().chain(self.trial.deadline()).min();
        let room = self.pending.has_room();
        let released = self.requests.is_closed() && self.requests.is_empty();
        let reads_first = self.reads.is_first(!self.out.is_empty());
        let heard = self.audience.has_room();
        // All arms are cancel safe, and none awaits in its body.
        let wake = tokio::select! {
            biased;
            read = self.read.read(buffer), if reads_first && heard => Wake::Read(read),
            written = self.write.write(&self.out), if !self.out.is_empty() => Wake::Written(written),
            () = sleep_until(deadline) => Wake::Deadline,
            request = self.requests.recv(), if room && (!released || self.engine.is_idle()) => Wake::Request(request),
            () = self.audience.room(), if !heard => Wake::Nothing,
            () = std::future::ready(()), if !reads_first => Wake::Nothing,
        };
        self.reads.woke(&wake);
        wake
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Run { kind, exchange, answer } => {
                self.pending.add(Waiting { kind, exchange, answer });
            }
            Request::Identity(identity) => self.engine.set_identity(identity),
            Request::Framing(framing) => {
                self.audience.framing = framing.clone();
                self.engine.set_framing(framing);
            }
            Request::Doubt => self.doubt = true,
            Request::TurnOver => {}
        }
    }

    /// Drains the engine, starts the exchanges that may start, and repeats until nothing changes.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.engine.poll_event() {
                self.event(event);
            }
            while let Some(mut bytes) = self.engine.poll_transmit() {
                self.out.extend_from_slice(&bytes);
                bytes.zeroize();
            }
            if !self.start_next() {
                break;
            }
        }
        self.questions.store(self.engine.open_questions(), Ordering::Relaxed);
        self.audience.set_busy(self.engine.is_busy());
    }

    /// Starts the first exchange that may run, status last. Reports whether anything happened.
    fn start_next(&mut self) -> bool {
        let now = Instant::now();
        if self.doubt && self.pending.none_runs() {
            self.doubt = false;
            self.engine.doubt(now.into_std());
            return true;
        }
        let Some(waiting) = self.pending.next(&self.engine) else { return false };
        let Waiting { kind, exchange, answer } = waiting;
        let (command, hides_answer) = (exchange.shown().to_owned(), exchange.hides_answer());
        tracing::trace!(target: "modemfleet::at", "> {command}");
        match self.engine.submit(*exchange, now.into_std()) {
            Ok(ticket) => {
                let running = Running { kind, command, hides_answer, since: now, answer };
                self.audience.hides_lines = hides_answer;
                self.pending.started(ticket, running);
            }
            // `ready_for` held a moment ago, and nothing happened since.
            Err(exchange) => self.pending.put_back(Waiting { kind, exchange, answer }),
        }
        true
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Completed(ticket, outcome) => self.completed(ticket, outcome),
            Event::Urc(urc) => self.audience.urc(urc),
            Event::Desync(cause) => self.audience.desync(&cause),
            Event::InStep { answer, questions } => {
                self.trial.end();
                self.audience.in_step(answer, questions);
            }
            Event::EchoBack => self.audience.tell(PortEvent::EchoBack),
            Event::Mute => self.mute = true,
        }
    }

    fn completed(&mut self, ticket: Ticket, outcome: Result<Reply, Failure>) {
        let Some(running) = self.pending.ended(ticket) else { return };
        let Running { kind, command, hides_answer, since, answer } = running;
        let result = match &outcome {
            Ok(_) => ExchangeResult::Ok,
            Err(Failure::Timeout(_)) => ExchangeResult::Timeout,
            Err(_) => ExchangeResult::Error,
        };
        self.audience.observer.exchange(kind, result, since.elapsed());
        tracing::trace!(target: "modemfleet::at", took = ?since.elapsed(), "< {command}: {}", Shown { outcome: &outcome, hides_answer, framing: &self.audience.framing });
        let outcome = outcome.map_err(|failure| ExchangeError::Failed { command, failure });
        // The caller may have lost interest; the exchange was finished for the modem's sake.
        let _ = answer.send(outcome);
    }

    fn gone(&mut self, error: io::Error) -> PortEnd {
        self.engine.close();
        while let Some(event) = self.engine.poll_event() {
            self.event(event);
        }
        PortEnd::Gone(error)
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// An outcome as logs may show it, without secret answers and without the secrets in other answers.
struct Shown<'a> {
    outcome: &'a Result<Reply, Failure>,
    hides_answer: bool,
    framing: &'a Framing,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.outcome {
            Ok(_) if self.hides_answer => f.write_str("OK"),
            Ok(reply) => {
                for line in reply.lines.iter().chain(&reply.result) {
                    write!(f, "{} ", self.framing.shown(line))?;
                }
                f.write_str("OK")
            }
            Err(failure) => write!(f, "{failure}"),
        }
    }
}
