//! A whole modem on a tty: found, identified, attached, serving, and back after every kind of loss.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use modem::environment::Unprivileged;
use modem::mqtt::{Connection, Message, Qos, Received};
use modem::session::{Job, Outcome, Progress, STALL, SessionPhase, SessionState, Stagger};
use modem::sim::PinLedger;
use modem::turns::Turns;
use modem::{
    Catalog, Environment, Modem, ModemConfig, Privileged, Recovery, Roster, SessionConfig,
    Snapshot, State, Uplink, session,
};
use modem_conformance::bench::{Book, connection, message};
use modem_conformance::broker::{Broker, PATIENCE, Peer};
use modem_sim::{Coverage, Handle, Model, Options};
use profile_simcom::PLUGIN;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::unit::Unit;

scenarios!(from_absent_to_serving_and_out_again);

of_any_modem!(
    a_session_comes_back_after_the_broker_dropped_it,
    an_unplug_in_mid_publish_is_no_acknowledgement,
    a_reset_in_mid_publish_is_no_acknowledgement,
    a_modem_that_lost_its_network_starts_its_service_again,
    two_sessions_run_and_a_third_has_no_client,
    sessions_come_and_go_and_their_neighbour_never_notices,
    a_busy_client_is_asked_again,
    a_message_that_is_refused_leaves_the_session_up,
    a_refused_subscription_is_a_failed_connect,
);

/// Tried PINs, by SIM, and access points in force, for all restarts of a test.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<String, String>>);

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

/// A simulated modem on a pty, with a link that stays the same over an unplug.
pub(crate) struct Sim {
    pub(crate) handle: Handle,
    pub(crate) port: PathBuf,
    _folder: TempDir,
    _tasks: JoinSet<()>,
}

impl Sim {
    pub(crate) fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("tty");
        let modem = modem_sim::Modem::new(options).on_pty(Some(&port)).unwrap();
        let handle = modem.handle();
        let mut tasks = JoinSet::new();
        tasks.spawn(modem.run());
        Self { handle, port, _folder: folder, _tasks: tasks }
    }

    pub(crate) fn at(model: Model, broker: &Broker) -> Self {
        Self::new(Options { broker: Some(broker.address()), ..Options::new(model) })
    }
}

/// A running modem of the fleet.
pub(crate) struct Running {
    pub(crate) book: Arc<Book>,
    pub(crate) snapshot: watch::Receiver<Snapshot>,
    pub(crate) uplinks: Vec<Uplink>,
    pub(crate) roster: Arc<Roster>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Returns a modem's entry in the fleet file, in the simplest case.
pub(crate) fn config(port: &Path) -> ModemConfig {
    ModemConfig {
        name: "north".to_owned(),
        port: port.into(),
        imei: None,
        model: None,
        iccid: None,
        sim_first: false,
        apn: None,
        pin: None,
        roaming: false,
        radio_is_ours: true,
        poll: Duration::from_millis(200),
        stores_messages: true,
        line: modem::serial::Line::DEFAULT,
        recovery: Recovery::default(),
    }
}

/// Returns a session with this login that subscribes to `down/#`.
pub(crate) fn to(connection: Connection) -> SessionConfig {
    SessionConfig {
        name: connection.client_id.clone(),
        connection: Arc::new(move || Ok(connection.clone())),
        subscriptions: vec![("down/#".to_owned(), Qos::AtLeastOnce)],
        reconnect_max: Duration::from_secs(60),
        secured: false,
        presence: None,
        inbox: Arc::new(drop::<Received>),
    }
}

/// Seeds the jitter of this thread so that its first waits are near their lower end.
fn wait_as_short_as_allowed() {
    let short = |seed: &u64| {
        fastrand::seed(*seed);
        fastrand::f64() < 0.02 && fastrand::f64() < 0.2
    };
    fastrand::seed((0..).find(short).unwrap());
}

impl Running {
    pub(crate) fn start(config: ModemConfig, sessions: &[&str]) -> Self {
        let sessions = sessions.iter().map(|id| to(connection(id))).collect();
        Self::with(config, sessions, Arc::new(Ledger::default()))
    }

    pub(crate) fn with(
        config: ModemConfig,
        sessions: Vec<SessionConfig>,
        ledger: Arc<dyn PinLedger>,
    ) -> Self {
        Self::among(config, sessions, ledger, Arc::new(Unprivileged), Turns::new())
    }

    /// Starts a modem among other modems, with the given means to reset it from outside.
    pub(crate) fn among(
        config: ModemConfig,
        sessions: Vec<SessionConfig>,
        ledger: Arc<dyn PinLedger>,
        privileged: Arc<dyn Privileged>,
        turns: Arc<Turns>,
    ) -> Self {
        wait_as_short_as_allowed();
        let book = Arc::new(Book::default());
        let observer: Arc<dyn modem::Observer> = book.clone();
        let stop = CancellationToken::new();
        let environment = Environment {
            catalog: watch::channel(Arc::new(Catalog::new(&[&PLUGIN]).unwrap())).1,
            stagger: Stagger::new(),
            ledger,
            turns,
            privileged,
            stop: stop.clone(),
        };
        let begun = sessions.into_iter().map(|config| {
            let inbox = book.inbox(&config.name);
            session(SessionConfig { inbox, ..config }, Arc::clone(&observer))
        });
        let (uplinks, sessions) = begun.unzip();
        let (mut modem, snapshot) =
            Modem::new(config, sessions, environment, Arc::clone(&observer));
        let roster = modem.roster();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { modem.run().await });
        Self { book, snapshot, uplinks, roster, stop, tasks }
    }

    /// Waits until the snapshot meets this condition.
    pub(crate) async fn until(&mut self, is: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        if let Ok(snapshot) = timeout(PATIENCE, self.snapshot.wait_for(is)).await {
            return snapshot.unwrap().clone();
        }
        panic!("it stands at {:?}", self.snapshot.borrow())
    }

    /// Waits until the modem is in this state, and returns the reason.
    pub(crate) async fn stands(&mut self, state: State) -> String {
        self.until(|snapshot| snapshot.state == state).await.reason.unwrap_or_default()
    }

    /// Waits until a session meets this condition.
    pub(crate) async fn session(
        &mut self,
        number: usize,
        is: impl FnMut(&SessionState) -> bool,
    ) -> SessionState {
        let state = &mut self.uplinks[number].state;
        if let Ok(state) = timeout(PATIENCE, state.wait_for(is)).await {
            return state.unwrap().clone();
        }
        panic!("it stands at {:?}", state.borrow())
    }

    pub(crate) async fn connected(&mut self, number: usize) {
        self.session(number, SessionState::is_connected).await;
    }

    /// Hands a message over.
    pub(crate) async fn send(&self, number: usize, message: Message) -> mpsc::Receiver<Progress> {
        let (progress, news) = mpsc::channel(2);
        self.uplinks[number]
            .jobs
            .send(Job { message, stall: STALL, is_suspect: false, progress })
            .await
            .unwrap();
        news
    }

    /// Publishes, and waits for the end of it.
    pub(crate) async fn publish(&self, number: usize, topic: &str) -> Option<Outcome> {
        outcome(self.send(number, message(topic, topic, Qos::AtLeastOnce)).await).await
    }

    /// Stops it in order.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.expect("it stops").unwrap().unwrap();
    }
}

/// Returns the end of a message; `None` if the sender of news was dropped.
pub(crate) async fn outcome(mut news: mpsc::Receiver<Progress>) -> Option<Outcome> {
    loop {
        match timeout(PATIENCE, news.recv()).await.expect("the message ends") {
            Some(Progress::Stalled) => {}
            Some(Progress::Done(outcome)) => return Some(outcome),
            None => return None,
        }
    }
}

async fn from_absent_to_serving_and_out_again(model: Model) {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("later");
    let mut running = Running::start(config(&port), &["first"]);
    let absent = running.until(|s| s.state == State::Absent && s.reason.is_some()).await;
    assert!(absent.reason.unwrap().ends_with("later is not there"));
    let watched = running.snapshot.clone();
    let sim = Sim::at(model, &broker);
    std::os::unix::fs::symlink(std::fs::read_link(&sim.port).unwrap(), &port).unwrap();
    comes_up(watched).await;
    running.connected(0).await;
    carries(&running, &mut peer).await;
    is_known(&mut running, model).await;

    let (book, uplink) = (Arc::clone(&running.book), running.uplinks[0].clone());
    running.stop().await;
    broker.logged("Client first disconnected.").await;
    assert!(!uplink.state.borrow().is_connected());
    for once in ["appeared", "detected", "ready", "connect first true", "disconnect first agent"] {
        assert_eq!(book.count(once), 1, "{once}");
    }
}

/// Watches a modem start: identification is the first state seen.
async fn comes_up(mut watched: watch::Receiver<Snapshot>) {
    let mut states = Vec::new();
    while states.last() != Some(&State::Serving) {
        timeout(PATIENCE, watched.changed()).await.unwrap().unwrap();
        states.push(watched.borrow_and_update().state);
    }
    states.dedup();
    assert_eq!(states[0], State::Identifying, "{states:?}");
}

/// Sends a message up, and a message down.
async fn carries(running: &Running, peer: &mut Peer) {
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    assert_eq!(peer.message().await.topic, "up/x");
    peer.publish("down/y", "hi").await;
    while running.book.received().is_empty() {
        tokio::task::yield_now().await;
    }
    let (session, received) = running.book.received().remove(0);
    assert_eq!((session.as_str(), received.topic.as_str()), ("first", "down/y"));
}

/// Checks the identity that is learned once the session is up.
async fn is_known(running: &mut Running, model: Model) {
    let known = running.until(|s| s.identified.as_ref().is_some_and(|i| i.iccid.is_some())).await;
    let identified = known.identified.unwrap();
    let (id, profile) = (identified.model_id.as_str(), identified.profile.as_str());
    let speaks = if model == Model::A7670 { "a76xx" } else { model.name() };
    assert_eq!((id, profile), (model.name(), speaks));
    assert_eq!((identified.max_topic, identified.max_payload), (1_024, 10_240));
    assert!(identified.firmware.is_some());
    let is_polled = |s: &Snapshot| {
        s.temperature_celsius.is_some() && !s.signals.is_empty() && s.operator.is_some()
    };
    let polled = running.until(is_polled).await;
    assert_eq!(polled.operator.as_deref(), Some("CHINA MOBILE"));
}

async fn a_session_comes_back_after_the_broker_dropped_it(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    sim.handle.lose_connections().await.unwrap();
    let down = running.session(0, |state| !state.is_connected()).await;
    assert!(down.reason.unwrap().contains("the broker closed the connection"));
    running.connected(0).await;
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("disconnect first broker"), 1);
    assert_eq!(running.book.count("connect first true"), 2);
    assert_eq!(running.book.count("recovery service_restart cured"), 0, "its index alone");
}

/// Hands over a message whose acknowledgement cannot come, and waits until the modem has it.
async fn stuck(running: &Running, sim: &Sim) -> mpsc::Receiver<Progress> {
    sim.handle.network(Coverage::Silent).await.unwrap();
    let before = sim.handle.command_count();
    let news = running.send(0, message("up/stuck", "x", Qos::AtLeastOnce)).await;
    // Topic, payload, publish.
    while sim.handle.command_count() < before + 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    news
}

async fn an_unplug_in_mid_publish_is_no_acknowledgement(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    let news = stuck(&running, &sim).await;
    sim.handle.unplug().await.unwrap();
    let ended = outcome(news).await;
    assert!(matches!(ended, None | Some(Outcome::Lost { .. })), "{ended:?}");
    running.stands(State::Absent).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    sim.handle.plug().await.unwrap();
    running.connected(0).await;
    assert!(matches!(running.publish(0, "up/back").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("disconnect first unplug"), 1);
    assert_eq!((running.book.count("appeared"), running.book.count("vanished")), (2, 1));
}

async fn a_reset_in_mid_publish_is_no_acknowledgement(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    let news = stuck(&running, &sim).await;
    sim.handle.reset().await.unwrap();
    let ended = outcome(news).await;
    assert!(matches!(ended, None | Some(Outcome::Lost { .. })), "{ended:?}");
    running.session(0, |state| !state.is_connected()).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    running.connected(0).await;
    assert!(matches!(running.publish(0, "up/back").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("vanished"), 0, "the tty stayed");
    assert_eq!(running.book.count("disconnect first network"), 1);
}

async fn a_modem_that_lost_its_network_starts_its_service_again(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    sim.handle.network(Coverage::None).await.unwrap();
    running.session(0, |state| !state.is_connected()).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    running.connected(0).await;
    assert!(matches!(running.publish(0, "up/back").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("disconnect first network"), 1);
    assert!(running.book.count("recovery service_restart cured") >= 1);
}

async fn two_sessions_run_and_a_third_has_no_client(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["one", "two", "three"]);
    running.connected(0).await;
    running.connected(1).await;
    let failed = running.session(2, |state| state.phase == SessionPhase::Failed).await;
    let words = format!("no free client: a {} holds 2", model.name());
    assert_eq!(failed.reason.as_deref(), Some(words.as_str()));
    let (one, two) = tokio::join!(running.publish(0, "up/1"), running.publish(1, "up/2"));
    assert!(matches!((one, two), (Some(Outcome::Acknowledged), Some(Outcome::Acknowledged))));
    let refused = running.send(2, message("up/3", "x", Qos::AtLeastOnce));
    // A failed session takes nothing; a message handed over waits in vain.
    assert!(timeout(Duration::from_millis(20), outcome(refused.await)).await.is_err());
    running.stop().await;
    broker.logged("Client one disconnected.").await;
    broker.logged("Client two disconnected.").await;
}

/// The waiting session takes the client of the session that leaves. After the last session left, the next
/// starts the service again.
async fn sessions_come_and_go_and_their_neighbour_never_notices(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["one", "two", "three"]);
    running.connected(0).await;
    running.connected(1).await;
    running.session(2, |state| state.phase == SessionPhase::Failed).await;
    running.roster.leave(&running.uplinks[0]);
    broker.logged("Client one disconnected.").await;
    running.connected(2).await;
    for number in [1, 2] {
        assert!(matches!(running.publish(number, "up/x").await, Some(Outcome::Acknowledged)));
    }
    assert_eq!(running.book.all("connect "), ["one true", "two true", "three true"]);
    assert_eq!(running.book.all("disconnect "), ["one agent"]);
    for number in [1, 2] {
        running.roster.leave(&running.uplinks[number]);
    }
    broker.logged("Client two disconnected.").await;
    broker.logged("Client three disconnected.").await;
    let observer: Arc<dyn modem::Observer> = running.book.clone();
    let (uplink, joining) = session(to(connection("four")), observer);
    running.uplinks.push(uplink);
    running.roster.join(joining);
    running.connected(3).await;
    running.stop().await;
    broker.logged("Client four disconnected.").await;
}

/// Code 14 passes by itself, and costs neither the message nor the session.
async fn a_busy_client_is_asked_again(model: Model) {
    let prompts = ("AT+CMQTTTOPIC", ">~|OK|");
    let payload = ("AT+CMQTTPAYLOAD", ">~|OK|");
    let script = [
        ("AT+CMQTTSTART", "|OK||+CMQTTSTART: 0|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
        ("AT+CMQTTTOPIC", "|+CMQTTTOPIC: 0,14||ERROR|"),
        prompts,
        payload,
        ("AT+CMQTTPUB", "|+CMQTTPUB: 0,14||ERROR|"),
        prompts,
        payload,
        ("AT+CMQTTPUB", "|OK||+CMQTTPUB: 0,0|"),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let mut running = Running::start(config(&unit.on_pty()), &["first"]);
    running.connected(0).await;
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    let heard = heard.lock().unwrap().clone();
    let times = |start: &str| heard.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((times("AT+CMQTTTOPIC"), times("AT+CMQTTPUB")), (3, 2));
    assert_eq!(running.book.count("publish first 1 ok"), 1);
    assert_eq!(running.book.count("publish first 1 error"), 0);
}

async fn a_message_that_is_refused_leaves_the_session_up(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    let topic = format!("up/{}", "t".repeat(1_022));
    let refused = running.publish(0, &topic).await;
    assert!(matches!(refused, Some(Outcome::Refused(_))), "{refused:?}");
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("connect first true"), 1);
}

/// Seen on a unit: SUB fails since the broker hung up, and an additional `OK` follows without a cause. That
/// `OK` must not be taken for the answer to the DISC that tears the client down.
async fn a_refused_subscription_is_a_failed_connect(model: Model) {
    let script = [
        ("AT+CMQTTSTART", "|+CMQTTSTART: 0||OK|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,6||+CMQTTCONNLOST: 0,1|^|OK|"),
        ("AT+CMQTTDISC", "|+CMQTTDISC: 0,11||ERROR|"),
        ("AT+CMQTTCONNECT", "|OK||+CMQTTCONNECT: 0,0|"),
        ("AT+CMQTTSUB", ">~|OK||+CMQTTSUB: 0,0|"),
    ];
    let unit = Unit::new(model, &script);
    let heard = unit.heard();
    let mut running = Running::start(config(&unit.on_pty()), &["first"]);
    let down = running.session(0, |state| state.phase == SessionPhase::BackingOff).await;
    assert!(down.reason.unwrap().contains("code 6"));
    running.connected(0).await;
    assert_eq!(running.book.count("connect first false"), 1);
    let heard = heard.lock().unwrap().clone();
    let failed = heard.iter().position(|line| line.starts_with("AT+CMQTTSUB")).unwrap();
    assert_eq!(
        heard[failed + 1..failed + 4],
        ["AT+CGSN", "AT+CMQTTDISC=0,60", "AT+CMQTTREL=0"],
        "in step first"
    );
    assert_eq!(heard.iter().filter(|line| *line == "AT+CMQTTSTART").count(), 1);
}
