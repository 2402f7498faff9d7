//! A modem behind a real port task, driven through the profile's `Mqtt` as the agent does it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use at::{Answer, Identity};
use modem::catalog::Catalog;
use modem::mqtt::{Client, Connection, Inbox, Message, Mqtt, MqttError, Qos, Received};
use modem::observe::{DisconnectReason, Observer, PublishResult, RecoveryAction, RecoveryOutcome};
use modem::port::{At, Kind, Port, PortEvent};
use modem::profile::{self, Notice, Plugin};
use modem_sim::{Handle, Modem, Options};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Subject;
use crate::broker::{Broker, PATIENCE};

/// Notices that no scenario has read yet. A full channel holds the listener back.
const NOTICES: usize = 64;

/// The first client of a stack.
pub const FIRST: Client = Client(0);
/// The second client of a stack.
pub const SECOND: Client = Client(1);

/// The record of an observer, one line for each event.
#[derive(Default)]
pub struct Book {
    lines: Mutex<Vec<String>>,
    received: Mutex<Vec<(String, Received)>>,
}

impl Book {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    /// Returns the number of events with this line.
    pub fn count(&self, line: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|told| *told == line).count()
    }

    /// Returns the lines that begin with `start`, without that beginning, in order.
    pub fn all(&self, start: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| Some(line.strip_prefix(start)?.to_owned())).collect()
    }

    /// Returns the inbox of a session.
    pub fn inbox(self: &Arc<Self>, session: &str) -> Arc<dyn Inbox> {
        let (book, session) = (Arc::clone(self), session.to_owned());
        Arc::new(move |received| book.received.lock().unwrap().push((session.clone(), received)))
    }

    /// Returns the messages received so far, with their sessions.
    pub fn received(&self) -> Vec<(String, Received)> {
        self.received.lock().unwrap().clone()
    }
}

impl Observer for Book {
    fn desync(&self) {
        self.note("desync".to_owned());
    }
    fn precaution(&self) {
        self.note("precaution".to_owned());
    }
    fn connect(&self, session: &str, ok: bool) {
        self.note(format!("connect {session} {ok}"));
    }
    fn disconnect(&self, session: &str, reason: DisconnectReason) {
        self.note(format!("disconnect {session} {}", reason.as_str()));
    }
    fn publish(&self, session: &str, qos: u8, result: PublishResult, _: Duration) {
        self.note(format!("publish {session} {qos} {}", result.as_str()));
    }
    fn appeared(&self) {
        self.note("appeared".to_owned());
    }
    fn vanished(&self) {
        self.note("vanished".to_owned());
    }
    fn detected(&self, _: Duration) {
        self.note("detected".to_owned());
    }
    fn ready(&self, _: Duration) {
        self.note("ready".to_owned());
    }
    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome) {
        self.note(format!("recovery {} {}", action.as_str(), outcome.as_str()));
    }
}

/// A stream that keeps all bytes written to it.
struct Tap {
    inner: DuplexStream,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A modem in step, with echo off.
pub struct Bench {
    /// Its port.
    pub at: At,
    /// Its dialect.
    pub mqtt: &'static dyn Mqtt,
    /// The longest payload that the model takes.
    pub max_payload: usize,
    /// The number of its clients.
    pub clients: u8,
    notices: mpsc::Receiver<Notice>,
    written: Arc<Mutex<Vec<u8>>>,
    tasks: JoinSet<()>,
}

impl Bench {
    /// Creates a simulated modem whose network leads to `broker`.
    pub async fn simulated(subject: Subject, broker: &Broker) -> (Self, Handle) {
        let options = Options { broker: Some(broker.address()), ..subject.options() };
        Self::with_options(subject.plugin, options).await
    }

    /// Creates a simulated modem with options of its own.
    pub async fn with_options(plugin: &'static Plugin, options: Options) -> (Self, Handle) {
        let (ours, theirs) = duplex(64 * 1024);
        let modem = Modem::new(options).on_stream(theirs);
        let handle = modem.handle();
        let mut tasks = JoinSet::new();
        tasks.spawn(modem.run());
        (Self::on(plugin, ours, tasks).await, handle)
    }

    /// Creates the host's side on a stream.
    pub async fn on(plugin: &'static Plugin, stream: DuplexStream, mut tasks: JoinSet<()>) -> Self {
        let catalog = Catalog::new(&[plugin]).unwrap();
        let written = Arc::default();
        let tap = Tap { inner: stream, written: Arc::clone(&written) };
        let (port, at, mut events) = Port::new(tap, catalog.framing(), Arc::new(Book::default()));
        tasks.spawn(async move { drop(port.run().await) });
        let cgmm = loop {
            match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
                PortEvent::InStep { answer } => break answer,
                PortEvent::Urc(_) | PortEvent::EchoBack => {}
            }
        };
        let (model, profile) = catalog.identify(&cgmm).expect("a model of this profile");
        let (told, notices) = mpsc::channel(NOTICES);
        let mut listener = profile.listener();
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if let PortEvent::Urc(urc) = event
                    && let Some(notice) = listener.hear(urc)
                {
                    told.send(notice).await.unwrap();
                }
            }
        });
        profile::prepare(&at).await.unwrap();
        let imei = profile::run(&at, Kind::Basic, "AT+CGSN", Answer::Bare).await.unwrap();
        at.set_identity(Identity::Imei(imei[0].clone())).await;
        let (mqtt, max_payload, clients) = (profile.mqtt(), model.mqtt.payload, model.mqtt.clients);
        let bench = Self { at, mqtt, max_payload, clients, notices, written, tasks };
        bench.forget();
        bench
    }

    /// Creates a simulated modem with the service up and one client signed in.
    pub async fn opened(subject: Subject, broker: &Broker) -> (Self, Handle) {
        let (bench, handle) = Self::simulated(subject, broker).await;
        bench.mqtt.start(&bench.at).await.unwrap();
        bench.open(FIRST, &connection("first")).await.unwrap();
        (bench, handle)
    }

    /// Signs a client in.
    pub async fn open(&self, client: Client, to: &Connection) -> Result<(), MqttError> {
        self.mqtt.open(&self.at, client, to).await
    }

    /// Publishes without the retain flag.
    pub async fn publish(
        &self,
        client: Client,
        topic: &str,
        payload: impl Into<Vec<u8>>,
        qos: Qos,
    ) -> Result<(), MqttError> {
        self.mqtt.publish(&self.at, client, &message(topic, payload, qos)).await
    }

    /// Subscribes with QoS 1.
    pub async fn subscribe(&self, client: Client, filters: &[&str]) -> Result<(), MqttError> {
        let filters: Vec<_> =
            filters.iter().map(|filter| ((*filter).to_owned(), Qos::AtLeastOnce)).collect();
        self.mqtt.subscribe(&self.at, client, &filters).await
    }

    /// Waits for the next notice of the modem.
    pub async fn notice(&mut self) -> Notice {
        timeout(PATIENCE, self.notices.recv()).await.expect("the modem tells something").unwrap()
    }

    /// Waits for the next message that came down whole.
    pub async fn received(&mut self) -> (Client, String, Vec<u8>) {
        loop {
            match self.notice().await {
                Notice::Message { client, message } => {
                    return (client, message.topic, message.payload);
                }
                Notice::Damaged(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Forgets the bytes written so far.
    pub fn forget(&self) {
        self.written.lock().unwrap().clear();
    }

    /// Returns the commands that were written, and the data that followed their prompts.
    pub fn commands(&self) -> Vec<(String, Vec<u8>)> {
        let written = self.written.lock().unwrap();
        let (mut rest, mut commands) = (written.as_slice(), Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\r') {
            let line = String::from_utf8(rest[..end].to_vec()).unwrap();
            rest = &rest[end + 1..];
            let length = data_length(&line).min(rest.len());
            let (data, after) = rest.split_at(length);
            rest = after;
            if !line.is_empty() {
                commands.push((line, data.to_vec()));
            }
        }
        commands
    }

    /// Ends the port; the modem's task goes on until the bench is dropped.
    pub fn tasks(self) -> JoinSet<()> {
        self.tasks
    }
}

/// Returns the number of bytes that follow the prompt of a command.
fn data_length(line: &str) -> usize {
    let Some((name, arguments)) = line.split_once('=') else { return 0 };
    let arguments: Vec<_> = arguments.split(',').collect();
    let prompts = match name {
        "AT+CMQTTTOPIC" | "AT+CMQTTPAYLOAD" | "AT+CMQTTWILLTOPIC" | "AT+CMQTTWILLMSG"
        | "AT+CMQTTSUBTOPIC" => true,
        "AT+CMQTTSUB" | "AT+CMQTTUNSUB" => arguments.len() > 2,
        "AT+CCERTDOWN" | "AT+QFUPL" => true,
        "AT+QMTPUBEX" => return arguments.last().unwrap().parse().unwrap(),
        _ => false,
    };
    if prompts { arguments[1].parse().unwrap() } else { 0 }
}

/// Creates the settings with which a client signs in. The address is the one that the modem's
/// network resolves.
pub fn connection(client_id: &str) -> Connection {
    Connection {
        host: "broker.example.com".to_owned(),
        port: 1883,
        client_id: client_id.to_owned(),
        username: None,
        password: None,
        keep_alive_s: 60,
        clean_session: true,
        will: None,
        tls: None,
        is_shared: false,
        context: 1,
        triple: None,
    }
}

/// Creates a message that the broker does not keep.
pub fn message(topic: &str, payload: impl Into<Vec<u8>>, qos: Qos) -> Message {
    Message { topic: topic.to_owned(), payload: payload.into(), qos, retain: false }
}

/// Returns the code with which the stack refused.
pub fn code(result: Result<(), MqttError>) -> i32 {
    match result {
        Err(MqttError::Refused { code, .. }) => code.number,
        other => panic!("{other:?} instead of a result code"),
    }
}
