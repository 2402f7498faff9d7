//! Transcripts of real units, replayed to a profile's own code: its `Mqtt`, its listener and its
//! polls, over an in-memory port. Nothing of a dialect is written here: only the profile knows the
//! lines that end a command, and their meanings.
//!
//! The modem of a replay answers a command with the lines behind that command in the transcript, in
//! their order and with their pauses. It uses each line of commands once. A command that the
//! transcript lacks gets a default of the dialect's test. A [`Story`] names the operations that
//! drive a transcript, and their outcomes.

mod recorded;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use at::Urc;
use modem::catalog::Catalog;
use modem::console::{ConsoleContext, Wish};
use modem::mqtt::{Client, Connection, Message, MqttError, Qos};
use modem::observe::Observer;
use modem::port::{At, Port, PortEvent};
use modem::profile::{Listener, Notice, Plugin, Profile, registration};
use modem::reply::Domain;
use modem::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

pub use recorded::replay as replay_recorded;

use crate::transcript::{Entry, Recorded, Transcript, Turn, is_same, transcripts, turns};

/// The permission to begin, which is given once.
const BEGINNINGS: usize = 1;

/// The time without a line after which the modem is done. Time is paused, so this costs none.
const QUIET: Duration = Duration::from_secs(20);

/// The time between two pieces of the modem's output: a byte of a slow UART.
const PIECE: Duration = Duration::from_millis(1);

/// Bytes of one read: the modem's whole output, pieces of a line, single bytes.
const PIECES: [usize; 3] = [usize::MAX, 7, 1];

/// The record of a replay.
#[derive(Default)]
struct Book {
    /// Lines that the modem printed unasked.
    unsolicited: Mutex<Vec<Urc>>,
    /// Data that differs from the transcript.
    faults: Mutex<Vec<String>>,
    /// Turns that were not used.
    left: Mutex<Vec<Turn>>,
    /// Commands that the transcript lacks.
    lacking: Mutex<Vec<String>>,
    desyncs: AtomicUsize,
}

impl Observer for Book {
    fn desync(&self) {
        self.desyncs.fetch_add(1, Ordering::Relaxed);
    }
}

/// The answer of a modem to a command that its transcript lacks.
pub type Lacking = fn(command: &str) -> Vec<Entry>;

/// The modem's end of the port.
struct Modem {
    stream: DuplexStream,
    book: Arc<Book>,
    /// Its name, if the transcript does not show that.
    name: String,
    lacking: Lacking,
    /// Bytes to be printed next, and the size of the pieces.
    out: Vec<u8>,
    piece: usize,
    /// The beginnings of lines whose last argument is data in quotation marks.
    quoted: Vec<&'static str>,
    /// Makes it print the lines before the first command.
    begin: mpsc::Receiver<()>,
}

impl Modem {
    async fn run(mut self) {
        let mut line = Vec::new();
        loop {
            // Both arms are cancel safe.
            let byte = tokio::select! {
                byte = self.stream.read_u8() => byte,
                Some(()) = self.begin.recv() => {
                    self.take("").await;
                    continue;
                }
            };
            match byte {
                Ok(b'\r') => {
                    let command = String::from_utf8(std::mem::take(&mut line)).unwrap();
                    if !command.is_empty() {
                        self.take(&command).await;
                    }
                }
                Ok(b'\n' | 0x1b) => {}
                Ok(byte) => line.push(byte),
                Err(_) => return,
            }
        }
    }

    /// Answers a command with its first turn that is left.
    async fn take(&mut self, command: &str) {
        let turn = {
            let mut left = self.book.left.lock().unwrap();
            let at = left.iter().position(|turn| is_same(&turn.command, command));
            at.map(|at| left.remove(at))
        };
        let entries = match turn {
            Some(turn) => turn.entries,
            None if command == "AT+CGMM" => {
                vec![Entry::Answer(self.name.clone()), Entry::Answer("OK".to_owned())]
            }
            None => {
                self.book.lacking.lock().unwrap().push(command.to_owned());
                (self.lacking)(command)
            }
        };
        self.play(command, &entries).await;
    }

    async fn play(&mut self, command: &str, entries: &[Entry]) {
        let mut prompted = false;
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Answer(line) if line.starts_with("AT") => {
                    // The transcript's echo may be another form of the command, so the command
                    // itself is echoed.
                    self.out.extend(format!("{command}\r").as_bytes());
                }
                Entry::Answer(line) => self.out.extend(format!("\r\n{line}\r\n").as_bytes()),
                Entry::Unsolicited(line) => {
                    self.out.extend(format!("\r\n{line}\r\n").as_bytes());
                    let data = match entries.get(at + 1) {
                        Some(Entry::Data(length, text)) => Some(data(*length, text.as_deref())),
                        _ => None,
                    };
                    let urc = self.quoted(line).unwrap_or(Urc { line: line.clone(), data });
                    self.book.unsolicited.lock().unwrap().push(urc);
                }
                Entry::Prompt => {
                    self.out.extend(b"\r\n>");
                    prompted = true;
                }
                Entry::Data(length, text) if prompted => {
                    self.print().await;
                    self.ask(command, *length, text.as_deref()).await;
                    prompted = false;
                }
                Entry::Data(length, text) => {
                    self.out.extend(data(*length, text.as_deref()));
                    self.out.extend(b"\r\n");
                }
                Entry::Pause(time) => {
                    self.print().await;
                    sleep(*time).await;
                }
                Entry::Sent(_) => unreachable!("it begins a turn"),
            }
        }
        self.print().await;
    }

    /// Waits for the requested data.
    async fn ask(&mut self, command: &str, length: usize, text: Option<&str>) {
        let mut got = vec![0; length];
        if timeout(QUIET, self.stream.read_exact(&mut got)).await.is_err() {
            self.fault(format!("{command}: no {length} bytes of data came"));
        } else if text.is_some_and(|text| text.as_bytes() != got) {
            self.fault(format!("{command}: {:?} was sent", String::from_utf8_lossy(&got)));
        }
    }

    fn fault(&self, words: String) {
        self.book.faults.lock().unwrap().push(words);
    }

    async fn print(&mut self) {
        for piece in std::mem::take(&mut self.out).chunks(self.piece) {
            // At the end of a replay the port is gone.
            let _ = self.stream.write_all(piece).await;
            if self.piece != usize::MAX {
                sleep(PIECE).await;
            }
        }
    }

    /// Splits a line whose last argument is data in quotation marks.
    fn quoted(&self, line: &str) -> Option<Urc> {
        self.quoted.iter().find(|prefix| line.starts_with(**prefix))?;
        let (line, data) = line.strip_suffix('"')?.rsplit_once(",\"")?;
        Some(Urc { line: line.to_owned(), data: Some(data.as_bytes().to_vec()) })
    }
}

/// Returns the data. If only its length is known, it is filled with bytes that would matter if they
/// were read as lines.
fn data(length: usize, text: Option<&str>) -> Vec<u8> {
    match text {
        Some(text) => text.as_bytes().to_vec(),
        None => b"\r\nOK\r\n>".iter().copied().cycle().take(length).collect(),
    }
}

/// The values that a client signs in with.
#[derive(Clone, Copy)]
pub struct Login {
    /// The client's identifier.
    pub id: &'static str,
    /// The broker's name.
    pub host: &'static str,
    /// The broker's port.
    pub port: u16,
    /// The keep-alive, in seconds.
    pub keep_alive_s: u16,
    /// User name and password.
    pub user: Option<(&'static str, &'static str)>,
    /// Topic and payload of the will.
    pub will: Option<(&'static str, &'static str)>,
    /// True if the connection is secured, without certificates of our own.
    pub tls: bool,
}

impl Login {
    /// Creates a login without user, will and TLS, and with the usual keep-alive.
    pub const fn new(id: &'static str, host: &'static str, port: u16) -> Self {
        Self { id, host, port, keep_alive_s: 60, user: None, will: None, tls: false }
    }

    fn connection(self) -> Connection {
        Connection {
            host: self.host.to_owned(),
            port: self.port,
            client_id: self.id.to_owned(),
            username: self.user.map(|(user, _)| user.to_owned()),
            password: self.user.map(|(_, password)| password.into()),
            keep_alive_s: self.keep_alive_s,
            clean_session: true,
            will: self.will.map(|(topic, payload)| message(topic, payload)),
            tls: self.tls.then_some(Tls { ca: None, identity: None }),
            is_shared: false,
            context: 1,
            triple: None,
        }
    }
}

fn message(topic: &str, payload: &str) -> Message {
    let payload = payload.as_bytes().to_vec();
    Message { topic: topic.to_owned(), payload, qos: Qos::AtLeastOnce, retain: false }
}

/// One operation of the program, on the first client.
#[derive(Clone, Copy)]
pub enum Step {
    /// The modem prints the lines before the first command.
    Hear,
    /// `Mqtt::start`.
    Start,
    /// `Mqtt::open`.
    Open(Login),
    /// `Mqtt::subscribe` to these filters.
    Subscribe(&'static [&'static str]),
    /// `Mqtt::unsubscribe` from this filter.
    Unsubscribe(&'static str),
    /// Topic and payload.
    Publish(&'static str, &'static str),
    /// `Mqtt::close`.
    Close,
    /// `Mqtt::stop`.
    Stop,
    /// `Profile::status`.
    Status,
    /// The registration in this domain.
    Registration(Domain),
    /// `Profile::reset`.
    Reset,
    /// A person's own command, as the console runs it.
    Say(&'static str),
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Hear => "hear",
            Self::Start => "start",
            Self::Open(_) => "open",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish(..) => "publish",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Status => "status",
            Self::Registration(_) => "registration",
            Self::Reset => "reset",
            Self::Say(_) => "say",
        }
    }
}

/// The operations that drive one transcript, and their outcomes.
pub struct Story {
    /// The transcript.
    pub file: &'static str,
    /// The operations, in order.
    pub steps: &'static [Step],
    /// The outcome of each step, and the listener's notices of the lines that came meanwhile. A
    /// step that cannot fail has no outcome.
    pub outcome: &'static [&'static str],
    /// Commands of the transcript in a form that the program does not use.
    pub leaves: &'static [&'static str],
}

/// One modem in step, with its listener.
struct Stage {
    at: At,
    profile: &'static dyn Profile,
    catalog: Catalog,
    listener: Box<dyn Listener>,
    events: mpsc::Receiver<PortEvent>,
    begin: mpsc::Sender<()>,
    urcs: Vec<Urc>,
    outcome: Vec<String>,
    /// Dropped last: this ends modem and port.
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn perform(&mut self, step: Step) {
        let (mqtt, first) = (self.profile.mqtt(), Client(0));
        let at = &self.at;
        let said = match step {
            Step::Hear => {
                self.begin.send(()).await.unwrap();
                String::new()
            }
            Step::Start => ended(mqtt.start(at).await),
            Step::Open(login) => ended(mqtt.open(at, first, &login.connection()).await),
            Step::Subscribe(filters) => {
                let filters: Vec<_> =
                    filters.iter().map(|filter| ((*filter).to_owned(), Qos::AtLeastOnce)).collect();
                ended(mqtt.subscribe(at, first, &filters).await)
            }
            Step::Unsubscribe(filter) => ended(mqtt.unsubscribe(at, first, filter).await),
            Step::Publish(topic, payload) => {
                ended(mqtt.publish(at, first, &message(topic, payload)).await)
            }
            Step::Close => {
                mqtt.close(at, first).await;
                String::new()
            }
            Step::Stop => {
                mqtt.stop(at).await;
                String::new()
            }
            Step::Status => match self.profile.status(at).await {
                Ok(status) => status.signals.iter().map(signal).collect::<Vec<_>>().join(", "),
                Err(error) => format!("{error}"),
            },
            Step::Registration(domain) => match registration(at, &[domain]).await {
                Ok(is) if is.stat.is_registered() => "registered".to_owned(),
                Ok(_) => "not registered".to_owned(),
                Err(error) => format!("{error}"),
            },
            Step::Reset => match self.profile.reset(at).await {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error}"),
            },
            Step::Say(line) => self.say(line).await,
        };
        if !said.is_empty() {
            self.outcome.push(format!("{}: {said}", step.name()));
        }
        self.listen().await;
    }

    async fn say(&self, line: &str) -> String {
        let commands = self.catalog.commands();
        let wish =
            Wish { line: Zeroizing::new(line.to_owned()), dangerous: true, ..Wish::default() };
        let order = commands.order(wish, ConsoleContext::Own).unwrap();
        let outcome = commands.run(&self.at, order).await;
        let lines = outcome.lines.into_iter().chain(outcome.result).chain(outcome.code);
        lines.chain(outcome.failure).collect::<Vec<_>>().join(" ")
    }

    /// Reads all URCs, until the modem is quiet.
    async fn listen(&mut self) {
        while let Ok(event) = timeout(QUIET, self.events.recv()).await {
            let Some(event) = event else { panic!("the port ended") };
            if let PortEvent::Urc(urc) = event {
                self.urcs.push(urc.clone());
                self.outcome.extend(self.listener.hear(urc).map(notice));
            }
        }
    }
}

fn ended(result: Result<(), MqttError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(MqttError::Refused { operation, code }) => format!("{operation} {}", code.number),
        Err(error) => format!("{error}"),
    }
}

fn signal(signal: &modem::reply::Signal) -> String {
    let value = |name: &str, value: Option<f64>| value.map(|value| format!(" {name} {value}"));
    let values = [
        value("rssi", signal.rssi_dbm),
        value("rsrp", signal.rsrp_dbm),
        value("rsrq", signal.rsrq_db),
        value("sinr", signal.sinr_db),
    ];
    values.into_iter().flatten().fold(signal.rat.as_str().to_owned(), |all, value| all + &value)
}

fn notice(notice: Notice) -> String {
    match notice {
        Notice::Message { message, .. } => {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            if payload.contains('\n') {
                return format!("message: {} + {} bytes", message.topic.len(), payload.len());
            }
            format!("message: {} {payload}", message.topic).trim_end().to_owned()
        }
        Notice::Lost { by_broker: true, .. } => "lost: by the broker".to_owned(),
        Notice::Lost { .. } => "lost".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Replays each transcript of a profile to each of its models with reads of each size, and prints
/// the operations that drove it.
pub async fn replay(profile: &str, plugin: &'static Plugin, stories: &[Story], lacking: Lacking) {
    let transcripts = transcripts(profile);
    for story in stories {
        let is_there = transcripts.iter().any(|transcript| transcript.name == story.file);
        assert!(is_there, "{}: a story without a transcript", story.file);
    }
    let mut faults = Vec::new();
    for transcript in &transcripts {
        let story = stories.iter().find(|story| story.file == transcript.name);
        let Some(story) = story else {
            assert!(transcript.recorded.is_some(), "nothing drives {}", transcript.name);
            recorded::replay(transcript, plugin).await;
            continue;
        };
        let steps: Vec<_> = story.steps.iter().map(|step| step.name()).collect();
        println!("{} ({}): {}", story.file, transcript.models.join(", "), steps.join(", "));
        for model in &transcript.models {
            for piece in PIECES {
                let found = play_story(transcript, story, plugin, model, piece, lacking).await;
                let size =
                    if piece == usize::MAX { "any size".to_owned() } else { piece.to_string() };
                let about = format!("{} on {model}, reads of {size}: ", story.file);
                faults.extend(found.into_iter().map(|fault| about.clone() + &fault));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Plays one story once, and returns its faults.
async fn play_story(
    transcript: &Transcript,
    story: &Story,
    plugin: &'static Plugin,
    model: &str,
    piece: usize,
    lacking: Lacking,
) -> Vec<String> {
    let book = Arc::new(Book::default());
    *book.left.lock().unwrap() = turns(&transcript.entries);
    let mut stage = stage(plugin, model, piece, lacking, &book).await;
    for step in story.steps {
        stage.perform(*step).await;
    }
    let mut faults = book.faults.lock().unwrap().clone();
    let recorded = transcript.recorded;
    if let Some(Recorded { is_whole, .. }) = recorded {
        // Notices of the listener are not recorded, and a session that failed has its own outcome.
        let starts: &[&str] =
            if is_whole { &["say: ", "start: ", "open: ", "publish: "] } else { &["say: "] };
        stage.outcome.retain(|line| starts.iter().any(|start| line.starts_with(start)));
    }
    let outcome = story.outcome.iter().filter(|line| {
        recorded.is_none_or(|recorded| recorded.is_whole || line.starts_with("say: "))
    });
    let outcome: Vec<_> = outcome.copied().collect();
    if stage.outcome != outcome {
        faults.push(format!("{:#?} came of it, not {outcome:#?}", stage.outcome));
        faults.push(format!("not in the transcript: {:?}", book.lacking.lock().unwrap()));
    }
    let printed = book.unsolicited.lock().unwrap();
    if stage.urcs != *printed {
        faults.push(format!("{:?} came unasked, not {printed:?}", stage.urcs));
    }
    let left = book.left.lock().unwrap();
    let left: Vec<_> = left
        .iter()
        .filter(|turn| !turn.command.is_empty() || !turn.entries.is_empty())
        // The last command of a recording that was cut has no answer.
        .filter(|turn| recorded.is_none() || !turn.entries.is_empty())
        .map(|turn| turn.command.as_str())
        .collect();
    if left != story.leaves {
        faults.push(format!("nothing drove {left:?}; {:?} may stay", story.leaves));
    }
    let desyncs = book.desyncs.load(Ordering::Relaxed);
    if desyncs != 0 {
        faults.push(format!("{desyncs} times out of step"));
    }
    faults
}

/// Creates a port in step with the modem of a replay.
async fn stage(
    plugin: &'static Plugin,
    model: &str,
    piece: usize,
    lacking: Lacking,
    book: &Arc<Book>,
) -> Stage {
    let catalog = Catalog::new(&[plugin]).unwrap();
    let cgmm = &catalog.model(model).unwrap_or_else(|| panic!("no model {model}")).cgmm[0];
    let (_, profile) = catalog.identify(cgmm).unwrap();
    let (ours, stream) = duplex(64 * 1024);
    let (begin, begins) = mpsc::channel(BEGINNINGS);
    let framing = profile.framing();
    let quoted = framing.quoted.iter().map(|quoted| quoted.prefix).collect();
    let (book, observer) = (Arc::clone(book), Arc::<Book>::clone(book));
    let name = cgmm.clone();
    let modem =
        Modem { stream, book, name, lacking, out: Vec::new(), piece, quoted, begin: begins };
    let (port, at, events) = Port::new(ours, framing, observer);
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());
    tasks.spawn(async move { drop(port.run().await) });
    let listener = profile.listener();
    let (urcs, outcome) = (Vec::new(), Vec::new());
    let mut stage =
        Stage { at, profile, catalog, listener, events, begin, urcs, outcome, _tasks: tasks };
    stage.listen().await;
    stage
}
