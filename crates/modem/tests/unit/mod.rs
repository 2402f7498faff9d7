//! A whole modem against a unit on a pty that answers by rules.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and a unit has a thread of its own"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use at::Framing;
use modem::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos};
use modem::profile::{self, Listener, Notice, Plugin, Profile};
use modem::session::{SessionConfig, Stagger};
use modem::sim::PinLedger;
use modem::{At, Catalog, Environment, Modem, ModemConfig, Recovery, Snapshot, State};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::common::{Counts, pty};

pub const IMEI: &str = "490154203237518";
pub const ICCID: &str = "89860010004200000009";

/// The unit's answer to a command; `|` ends a line. `None` leaves it to the answer of a healthy
/// modem.
pub type Rules = Box<dyn FnMut(&str) -> Option<String> + Send>;

/// A profile of 27.007 alone. Its MQTT service is one command.
struct Plain;

struct UrcListener;

impl Listener for UrcListener {
    fn hear(&mut self, urc: at::Urc) -> Option<Notice> {
        Notice::standard(&urc.line)
    }
}

#[async_trait]
impl Profile for Plain {
    fn id(&self) -> &'static str {
        "plain"
    }
    fn framing(&self) -> Framing {
        Framing::default()
    }
    fn listener(&self) -> Box<dyn Listener> {
        Box::new(UrcListener)
    }
    fn mqtt(&self) -> &dyn Mqtt {
        self
    }
}

#[async_trait]
impl Mqtt for Plain {
    async fn start(&self, at: &At) -> Result<(), MqttError> {
        profile::slow(at, "AT+START").await.unwrap();
        Ok(())
    }
    async fn open(&self, _: &At, _: Client, _: &Connection) -> Result<(), MqttError> {
        Ok(())
    }
    async fn subscribe(&self, _: &At, _: Client, _: &[(String, Qos)]) -> Result<(), MqttError> {
        Ok(())
    }
    async fn unsubscribe(&self, _: &At, _: Client, _: &str) -> Result<(), MqttError> {
        Ok(())
    }
    async fn publish(&self, _: &At, _: Client, _: &Message) -> Result<(), MqttError> {
        Ok(())
    }
    async fn close(&self, _: &At, _: Client) {}
    async fn stop(&self, _: &At) {}
}

static PLUGIN: Plugin = Plugin {
    models: "models:\n  - { id: unit, manufacturer: Test, cgmm: [UNIT], profile: plain, usb: [], mqtt: { clients: 1, topic: 64, payload: 64 }, evidence: { identification: manual, mqtt: manual, status: manual } }\n",
    profiles: &[&Plain],
    ..Plugin::NONE
};

/// A ledger of PIN tries and access points in memory, for any number of runs of one test.
#[derive(Default)]
pub struct Ledger(Mutex<HashMap<String, String>>);

#[async_trait]
impl PinLedger for Ledger {
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().get(sim).is_some_and(|tried| tried == pin.expose_secret()))
    }
    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()> {
        self.0.lock().unwrap().insert(sim.to_owned(), pin.expose_secret().to_owned());
        Ok(())
    }
    async fn accepted(&self, sim: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(sim);
        Ok(())
    }
    async fn is_attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<bool> {
        self.was_refused(place, wanted).await
    }
    async fn attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<()> {
        self.trying(place, wanted).await
    }
}

/// Returns the modem's settings in the simplest case.
pub fn config() -> ModemConfig {
    ModemConfig {
        name: "north".to_owned(),
        port: PathBuf::new().into(),
        imei: None,
        model: None,
        iccid: None,
        sim_first: false,
        apn: None,
        pin: None,
        roaming: false,
        radio_is_ours: true,
        poll: Duration::from_millis(50),
        stores_messages: true,
        line: modem::serial::Line::DEFAULT,
        recovery: Recovery::default(),
    }
}

/// A modem that runs on a unit.
pub struct Running {
    heard: Arc<Mutex<Vec<String>>>,
    wire: Arc<Mutex<File>>,
    snapshot: watch::Receiver<Snapshot>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    pub fn new(config: ModemConfig, ledger: &Arc<Ledger>, rules: Rules) -> Self {
        let (reader, path) = raw_pty();
        let wire = Arc::new(Mutex::new(reader.try_clone().unwrap()));
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (writer, lines) = (Arc::clone(&wire), Arc::clone(&heard));
        std::thread::spawn(move || serve(reader, &writer, &lines, rules));
        let ledger: Arc<dyn PinLedger> = ledger.clone();
        let stop = CancellationToken::new();
        let env = Environment {
            catalog: watch::channel(Arc::new(Catalog::new(&[&PLUGIN]).unwrap())).1,
            stagger: Stagger::new(),
            ledger,
            turns: modem::turns::Turns::new(),
            privileged: Arc::new(modem::environment::Unprivileged),
            stop: stop.clone(),
        };
        let observer: Arc<dyn modem::Observer> = Arc::new(Counts::default());
        let session = SessionConfig {
            name: "s".to_owned(),
            connection: Arc::new(|| Err("nobody opens it".to_owned())),
            subscriptions: Vec::new(),
            reconnect_max: Duration::from_secs(60),
            secured: false,
            presence: None,
            inbox: Arc::new(drop::<modem::mqtt::Received>),
        };
        let (_, session) = modem::session(session, Arc::clone(&observer));
        let config = ModemConfig { port: path.into(), ..config };
        let (mut modem, snapshot) = Modem::new(config, vec![session], env, observer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { modem.run().await });
        Self { heard, wire, snapshot, stop, tasks }
    }

    /// Waits until the snapshot satisfies `is`.
    pub async fn until(&mut self, is: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let waited = tokio::time::timeout(Duration::from_secs(20), self.snapshot.wait_for(is));
        if let Ok(snapshot) = waited.await {
            return snapshot.unwrap().clone();
        }
        panic!("it stands at {:?}; {:?}", self.snapshot.borrow(), self.heard())
    }

    /// Waits until it serves.
    pub async fn serves(&mut self) -> Snapshot {
        self.until(|snapshot| snapshot.state == State::Serving).await
    }

    /// Waits until it gives a reason in this state, and returns the reason.
    pub async fn reason(&mut self, state: State) -> String {
        let stands = self.until(|s| s.state == state && s.reason.is_some()).await;
        stands.reason.unwrap()
    }

    /// Waits until the unit got `times` commands that begin with `start`.
    pub async fn hears(&self, start: &str, times: usize) {
        let count = || self.heard().iter().filter(|line| line.starts_with(start)).count();
        for _ in 0..2_000 {
            if count() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{start} was sent {} times: {:?}", count(), self.heard());
    }

    /// Returns the commands that the unit got so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Returns the commands that begin with one of `starts`, in order.
    pub fn sent(&self, starts: &[&str]) -> Vec<String> {
        let mut heard = self.heard();
        heard.retain(|line| starts.iter().any(|start| line.starts_with(start)));
        heard
    }

    /// Sends lines from the unit, unasked.
    pub fn say(&self, words: &str) {
        write(&self.wire, words);
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn raw_pty() -> (File, PathBuf) {
    let (master, path) = pty();
    let mut mode = tcgetattr(&master).unwrap();
    mode.make_raw();
    tcsetattr(&master, OptionalActions::Now, &mode).unwrap();
    (master, path)
}

fn write(wire: &Mutex<File>, words: &str) {
    let words = format!("\r\n{}\r\n", words.replace('|', "\r\n"));
    let _ = wire.lock().unwrap().write_all(words.as_bytes());
}

/// Answers until the process ends.
fn serve(mut reader: File, writer: &Mutex<File>, heard: &Mutex<Vec<String>>, mut rules: Rules) {
    let (mut line, mut byte) = (Vec::new(), [0; 1]);
    loop {
        match reader.read(&mut byte) {
            Ok(1) if byte != *b"\r" => line.push(byte[0]),
            Ok(1) if !line.is_empty() => {
                let command = String::from_utf8(std::mem::take(&mut line)).unwrap();
                let said = rules(&command).unwrap_or_else(|| in_good_order(&command));
                heard.lock().unwrap().push(command);
                write(writer, &said);
            }
            Ok(1) => {}
            // The other end is not open.
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn in_good_order(command: &str) -> String {
    let line = match command {
        "AT+CGMM" => "UNIT",
        "AT+CGSN" => IMEI,
        "AT+CFUN?" => "+CFUN: 1",
        "AT+CPIN?" => "+CPIN: READY",
        "AT+CEREG?" => "+CEREG: 0,1",
        "AT+CGDCONT?" => "+CGDCONT: 1,\"IP\",\"cmnet\",\"0.0.0.0\",0,0",
        "AT+CCID" => return format!("+CCID: {ICCID}||OK"),
        "AT+CGREG?" | "AT+CREG?" | "AT+CGAUTH?" | "AT+CPINR" => return "ERROR".to_owned(),
        _ => return "OK".to_owned(),
    };
    format!("{line}||OK")
}
