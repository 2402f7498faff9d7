//! The life of a session, with a scripted stack and a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::publish::BUSY_WAIT;
use super::stagger::STAGGER;
use super::*;
use crate::mqtt::{Client, Message, Mqtt, Received, ResultCode};
use crate::port::{At, Port};
use crate::tls::Tls;

/// The longest wait before a reconnect in these sessions.
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// The outcome of an operation of the stack.
#[derive(Clone, Copy)]
enum Turn {
    Succeeds,
    SucceedsAfter(Duration),
    Fails(Scope),
    /// Fails with a code of the stack's own, after this time.
    Wedged(Duration),
    NoCode,
    FailsAfter(Duration, Scope),
    TooLong,
    NoTriple,
}

/// A stack that follows its script, and succeeds beyond its end.
#[derive(Default)]
struct Stack {
    opens: Mutex<VecDeque<Turn>>,
    publishes: Mutex<VecDeque<Turn>>,
    told: Mutex<Vec<(&'static str, Instant)>>,
}

impl Stack {
    fn note(&self, what: &'static str) {
        self.told.lock().unwrap().push((what, Instant::now()));
    }

    /// Returns the times of this operation.
    fn times(&self, what: &str) -> Vec<Instant> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|(operation, _)| *operation == what).map(|(_, at)| *at).collect()
    }

    async fn go(&self, turns: &Mutex<VecDeque<Turn>>) -> Result<(), MqttError> {
        let turn = turns.lock().unwrap().pop_front().unwrap_or(Turn::Succeeds);
        match turn {
            Turn::Succeeds => Ok(()),
            Turn::SucceedsAfter(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Turn::Fails(scope) => Err(refused(scope, false)),
            Turn::Wedged(time) => {
                tokio::time::sleep(time).await;
                Err(refused(Scope::Session, true))
            }
            Turn::NoCode => {
                Err(MqttError::NoCode { operation: "TEST", said: "ERROR".to_owned(), advice: "" })
            }
            Turn::FailsAfter(time, scope) => {
                tokio::time::sleep(time).await;
                Err(refused(scope, false))
            }
            Turn::TooLong => Err(MqttError::ClientIdTooLong { length: 38, limit: 23 }),
            Turn::NoTriple => Err(MqttError::AliauthRefused { operation: "CMQTTCFG" }),
        }
    }
}

fn refused(scope: Scope, own: bool) -> MqttError {
    let code = ResultCode { number: 99, name: "told so", advice: "", scope, kick: true, own };
    MqttError::Refused { operation: "TEST", code }
}

#[async_trait]
impl Mqtt for Stack {
    async fn start(&self, _: &At) -> Result<(), MqttError> {
        Ok(())
    }
    async fn open(&self, _: &At, _: Client, _: &Connection) -> Result<(), MqttError> {
        self.note("open");
        self.go(&self.opens).await
    }
    async fn subscribe(&self, _: &At, _: Client, _: &[(String, Qos)]) -> Result<(), MqttError> {
        Ok(())
    }
    async fn unsubscribe(&self, _: &At, _: Client, _: &str) -> Result<(), MqttError> {
        Ok(())
    }
    async fn publish(&self, _: &At, _: Client, message: &Message) -> Result<(), MqttError> {
        self.note(match message.topic.as_str() {
            "online" => "online",
            "offline" => "offline",
            _ => "publish",
        });
        self.go(&self.publishes).await
    }
    async fn close(&self, _: &At, _: Client) {
        self.note("close");
    }
    async fn stop(&self, _: &At) {}
}

#[derive(Default)]
struct Book(Mutex<Vec<String>>);

impl Book {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn count(&self, line: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|told| *told == line).count()
    }
}

impl Observer for Book {
    fn connect(&self, _: &str, ok: bool) {
        self.note(format!("connect {ok}"));
    }
    fn disconnect(&self, _: &str, reason: DisconnectReason) {
        self.note(format!("disconnect {}", reason.as_str()));
    }
    fn publish(&self, _: &str, qos: u8, result: PublishResult, _: Duration) {
        self.note(format!("publish {qos} {}", result.as_str()));
    }
}

/// A session in service.
struct Rig {
    stack: Arc<Stack>,
    book: Arc<Book>,
    uplink: Uplink,
    lost: mpsc::Sender<Lost>,
    registered: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: JoinSet<ServeEnd>,
}

impl Rig {
    fn new(opens: &[Turn], publishes: &[Turn]) -> Self {
        Self::made(None, opens, publishes, None)
    }

    fn over(tls: Option<Tls>, opens: &[Turn], publishes: &[Turn]) -> Self {
        Self::made(tls, opens, publishes, None)
    }

    fn with_presence(opens: &[Turn], publishes: &[Turn], presence: Option<Presence>) -> Self {
        Self::made(None, opens, publishes, presence)
    }

    fn made(
        tls: Option<Tls>,
        opens: &[Turn],
        publishes: &[Turn],
        presence: Option<Presence>,
    ) -> Self {
        Self::among(Others::default(), tls, opens, publishes, presence)
    }

    fn among(
        others: Others,
        tls: Option<Tls>,
        opens: &[Turn],
        publishes: &[Turn],
        presence: Option<Presence>,
    ) -> Self {
        fastrand::seed(7);
        let stack = Arc::new(Stack {
            opens: Mutex::new(opens.iter().copied().collect()),
            publishes: Mutex::new(publishes.iter().copied().collect()),
            told: Mutex::default(),
        });
        let connection = Connection {
            host: "broker".to_owned(),
            port: 1883,
            client_id: "id".to_owned(),
            username: None,
            password: None,
            keep_alive_s: 60,
            clean_session: true,
            will: None,
            tls,
            is_shared: false,
            context: 1,
            triple: None,
        };
        let config = SessionConfig {
            name: "s".to_owned(),
            connection: Arc::new(move || Ok(connection.clone())),
            subscriptions: Vec::new(),
            reconnect_max: RECONNECT_MAX,
            secured: false,
            presence,
            inbox: Arc::new(drop::<Received>),
        };
        let book = Arc::new(Book::default());
        let (uplink, mut session) = session(config, book.clone());
        let (lost, losses) = mpsc::channel(8);
        let (registered, may) = watch::channel(true);
        let stop = CancellationToken::new();
        let (asked, served) = (stop.clone(), Arc::clone(&stack));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (_wire, at) = silent_port();
            let stagger = Stagger::new();
            let context = SessionContext {
                at: &at,
                mqtt: &*served,
                client: Client(0),
                registered: may,
                forbidden: watch::channel(false).1,
                lost: losses,
                stagger: &stagger,
                stop: &asked,
                supervisor: &others,
            };
            session.serve(context).await
        });
        Self { stack, book, uplink, lost, registered, stop, tasks }
    }

    async fn phase(&mut self, phase: SessionPhase) -> SessionState {
        let reached = self.uplink.state.wait_for(|state| state.phase == phase);
        timeout(Duration::from_secs(600), reached).await.unwrap().unwrap().clone()
    }

    async fn send(&self) -> mpsc::Receiver<Progress> {
        self.send_as(false).await
    }

    async fn send_as(&self, is_suspect: bool) -> mpsc::Receiver<Progress> {
        let (progress, news) = mpsc::channel(2);
        let (topic, payload) = ("t".to_owned(), Vec::new());
        let message = Message { topic, payload, qos: Qos::AtLeastOnce, retain: false };
        let job = Job { message, stall: STALL, is_suspect, progress };
        self.uplink.jobs.send(job).await.unwrap();
        news
    }

    /// The broker kicks the client.
    async fn kick(&mut self) {
        self.phase(SessionPhase::Connected).await;
        self.lost.send(Lost { cause: "kicked", by_broker: true }).await.unwrap();
        self.phase(SessionPhase::BackingOff).await;
    }
}

/// A port that no task runs: these stacks send nothing.
fn silent_port() -> ((DuplexStream, impl Sized), At) {
    let (ours, theirs) = duplex(64);
    let (port, at, events) = Port::new(ours, at::Framing::default(), Arc::new(Book::default()));
    ((theirs, (port, events)), at)
}

fn gaps(times: &[Instant]) -> Vec<Duration> {
    times.iter().zip(times.iter().skip(1)).map(|(one, next)| *next - *one).collect()
}

#[tokio::test(start_paused = true)]
async fn kicked_right_after_connect_is_a_failure_and_waits_grow() {
    let mut rig = Rig::new(&[], &[]);
    const KICKS: usize = 40;
    for _ in 0..KICKS {
        rig.kick().await;
    }
    rig.phase(SessionPhase::Connected).await;
    let gaps = gaps(&rig.stack.times("open"));
    let most = RECONNECT_MAX + Duration::from_secs(1);
    assert!(gaps.iter().all(|gap| (RECONNECT..most).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > Duration::from_secs(10)), "it grows: {gaps:?}");
    let (connects, kicks) = (rig.book.count("connect true"), rig.book.count("disconnect broker"));
    assert_eq!((connects, kicks), (KICKS + 1, KICKS));
    assert_eq!(rig.stack.times("close").len(), KICKS, "its client is torn down each time");

    // After two stable minutes earlier failures are forgotten.
    tokio::time::sleep(STABLE).await;
    let before = Instant::now();
    rig.kick().await;
    rig.phase(SessionPhase::Connected).await;
    assert!(before.elapsed() <= RECONNECT * 3 + STAGGER, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_waits_as_well() {
    let refused = [Turn::Fails(Scope::Session), Turn::Fails(Scope::Message)];
    let mut rig = Rig::new(&refused, &[]);
    let down = rig.phase(SessionPhase::BackingOff).await;
    assert_eq!(down.reason.as_deref(), Some("TEST failed with code 99 (told so)"));
    rig.phase(SessionPhase::Connected).await;
    let gaps = gaps(&rig.stack.times("open"));
    assert!(gaps.len() == 2 && gaps.iter().all(|gap| *gap >= RECONNECT), "{gaps:?}");
    assert_eq!(rig.book.count("connect false"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stack_without_tls_is_never_asked_to_open_in_the_clear() {
    let mut rig = Rig::over(Some(Tls { ca: None, identity: None }), &[], &[]);
    let failed = rig.phase(SessionPhase::Failed).await;
    assert!(failed.reason.unwrap().contains("TLS is not supported on this modem"));
    assert_eq!(rig.stack.times("open"), []);
}

#[tokio::test(start_paused = true)]
async fn a_modem_that_did_not_take_the_triple_once_is_asked_again() {
    let mut rig = Rig::new(&[Turn::NoTriple], &[]);
    let down = rig.phase(SessionPhase::BackingOff).await;
    assert!(down.reason.unwrap().contains("remove `aliauth`, and the agent signs"));
    rig.phase(SessionPhase::Connected).await;
    assert_eq!(rig.stack.times("open").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_go_back_at_once_while_it_is_down() {
    let mut rig = Rig::new(&[Turn::Fails(Scope::Session)], &[]);
    rig.phase(SessionPhase::BackingOff).await;
    let before = Instant::now();
    let news = rig.send().await.recv().await;
    assert!(matches!(news, Some(Progress::Done(Outcome::NotSent))), "{news:?}");
    rig.registered.send_replace(false);
    rig.phase(SessionPhase::Waiting).await;
    let waits = Instant::now();
    for _ in 0..5 {
        let news = rig.send().await.recv().await;
        assert!(matches!(news, Some(Progress::Done(Outcome::NotSent))), "{news:?}");
    }
    assert!(before < waits && waits.elapsed() < Duration::from_millis(1), "nobody waited");
    assert_eq!(rig.stack.times("publish").len(), 0);
    rig.registered.send_replace(true);
    rig.phase(SessionPhase::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_publish_is_told_and_so_is_its_late_result() {
    let late = Turn::SucceedsAfter(Duration::from_secs(40));
    let mut rig = Rig::new(&[], &[late]);
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    let before = Instant::now();
    assert!(matches!(news.recv().await, Some(Progress::Stalled)));
    assert_eq!(before.elapsed().as_secs(), STALL.as_secs());
    assert_eq!((rig.book.count("publish 1 unknown"), rig.book.count("publish 1 ok")), (1, 0));
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    assert_eq!(before.elapsed().as_secs(), 40);
    assert_eq!((rig.book.count("publish 1 unknown"), rig.book.count("publish 1 ok")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_withdrawn_is_not_sent() {
    let slow = Turn::SucceedsAfter(Duration::from_secs(1));
    let mut rig = Rig::new(&[], &[slow]);
    rig.phase(SessionPhase::Connected).await;
    let mut first = rig.send().await;
    drop(rig.send().await);
    assert!(matches!(first.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    let mut third = rig.send().await;
    assert!(matches!(third.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    assert_eq!(rig.stack.times("publish").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn busy_passes_or_costs_the_session_after_seconds() {
    let busy = [Turn::Fails(Scope::Busy); 24];
    let mut rig = Rig::new(&[], &busy);
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Lost { .. }))));
    let tries = rig.stack.times("publish");
    assert_eq!(tries.len(), 21, "once and twenty times more");
    assert!(gaps(&tries).iter().all(|gap| *gap >= BUSY_WAIT));
    rig.phase(SessionPhase::BackingOff).await;
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    assert_eq!(rig.stack.times("publish").len(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_costs_itself_and_a_broken_session_what_waits_behind() {
    let turns = [Turn::Fails(Scope::Message), Turn::Succeeds, Turn::Fails(Scope::Session)];
    let mut rig = Rig::new(&[], &turns);
    rig.phase(SessionPhase::Connected).await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(rig.send().await.recv().await);
    }
    assert!(matches!(
        ends.as_slice(),
        [
            Some(Progress::Done(Outcome::Refused(_))),
            Some(Progress::Done(Outcome::Acknowledged)),
            Some(Progress::Done(Outcome::Lost { .. }))
        ]
    ));
    rig.phase(SessionPhase::BackingOff).await;
    assert_eq!(rig.book.count("disconnect network"), 1);
}

/// The URC of the lost connection follows the failed publish: the broker closed it.
#[tokio::test(start_paused = true)]
async fn who_closed_the_connection_is_known_a_moment_later() {
    let mut rig = Rig::new(&[], &[Turn::Fails(Scope::Session)]);
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    rig.phase(SessionPhase::BackingOff).await;
    rig.lost.send(Lost { cause: "kicked", by_broker: true }).await.unwrap();
    let told = news.recv().await;
    assert!(matches!(told, Some(Progress::Done(Outcome::Lost { by_broker: true }))), "{told:?}");
    // The next connection comes after the disconnect was counted.
    rig.phase(SessionPhase::Connected).await;
    assert_eq!(rig.book.count("disconnect broker"), 1);
}

/// Causes 2 and 3, and a modem without network, speak against no message. A code of a kick whose
/// URC never comes does.
#[tokio::test(start_paused = true)]
async fn only_a_kick_while_registered_speaks_against_the_message() {
    for (urc, registered, accused) in [
        (Some(true), true, true),
        (Some(true), false, false),
        (Some(false), true, false),
        (None, true, true),
        (None, false, false),
    ] {
        let mut rig = Rig::new(&[], &[Turn::Fails(Scope::Session)]);
        rig.phase(SessionPhase::Connected).await;
        rig.registered.send_replace(registered);
        let mut news = rig.send().await;
        rig.phase(SessionPhase::BackingOff).await;
        if let Some(by_broker) = urc {
            rig.lost.send(Lost { cause: "as told", by_broker }).await.unwrap();
        }
        let Some(Progress::Done(Outcome::Lost { by_broker })) = news.recv().await else {
            panic!("{urc:?} {registered}: it was not lost");
        };
        assert_eq!(by_broker, accused, "{urc:?} {registered}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_tried_once() {
    let mut rig = Rig::new(&[Turn::TooLong], &[]);
    let failed = rig.phase(SessionPhase::Failed).await;
    assert!(failed.reason.unwrap().contains("38 bytes"));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(rig.stack.times("open").len(), 1);
    let news = rig.send().await.recv().await;
    assert!(matches!(news, Some(Progress::Done(Outcome::NotSent))), "{news:?}");
    rig.stop.cancel();
    assert_eq!(rig.tasks.join_next().await.unwrap().unwrap(), ServeEnd::Stopped);
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_it_signs_out() {
    let mut rig = Rig::new(&[], &[]);
    rig.phase(SessionPhase::Connected).await;
    rig.stop.cancel();
    assert_eq!(rig.tasks.join_next().await.unwrap().unwrap(), ServeEnd::Stopped);
    assert_eq!(rig.stack.times("close").len(), 1);
    assert_eq!(rig.book.count("disconnect agent"), 1);
    assert!(!rig.uplink.state.borrow().is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_lost_ends_the_serving() {
    let mut rig = Rig::new(&[Turn::Fails(Scope::Service)], &[]);
    assert_eq!(rig.tasks.join_next().await.unwrap().unwrap(), ServeEnd::ServiceLost);
}

/// The other sessions of the modem, and the permission to start its service again.
#[derive(Default)]
struct Others {
    are_sound: bool,
    may_restart: bool,
}

impl Supervisor for Others {
    fn connecting(&self) {}

    fn is_shared(&self) -> bool {
        false
    }

    fn fails(&self, _: &str, _: bool) {}

    fn is_restart_due(&self) -> bool {
        self.may_restart
    }

    fn connected(&self) {}
    fn refused(&self) {}
    fn acknowledged(&self) {}
    fn ended(&self) {}
    fn others_are_sound(&self) -> bool {
        self.are_sound
    }
}

/// Three failures in a row, caused by the stack and not by the broker.
#[tokio::test(start_paused = true)]
async fn failures_of_the_stacks_own_have_the_service_started_again() {
    let own = Turn::Wedged(Duration::ZERO);
    let broker = Turn::Fails(Scope::Session);
    let restarted = async |others: Others, opens: &[Turn], publishes: &[Turn]| {
        let mut rig = Rig::among(others, None, opens, publishes, None);
        for _ in publishes {
            rig.phase(SessionPhase::Connected).await;
            rig.send().await.recv().await;
        }
        let ended = timeout(Duration::from_secs(600), rig.tasks.join_next()).await;
        ended.ok().map(|ended| ended.unwrap().unwrap())
    };
    let may = || Others { may_restart: true, ..Others::default() };
    assert_eq!(restarted(may(), &[own, own, own], &[]).await, Some(ServeEnd::Failing));
    assert_eq!(restarted(may(), &[], &[own, own, own]).await, Some(ServeEnd::Failing));
    assert_eq!(
        restarted(may(), &[own, own, broker, own, own], &[]).await,
        None,
        "its word ends a row"
    );
    assert_eq!(restarted(Others::default(), &[own; 5], &[]).await, None, "not yet due");
    let sound = Others { are_sound: true, may_restart: true };
    assert_eq!(restarted(sound, &[own; 5], &[]).await, None, "another session works");
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_knows_no_service_any_more_was_booted() {
    let mut rig = Rig::new(&[Turn::Succeeds, Turn::NoCode], &[Turn::NoCode]);
    rig.phase(SessionPhase::Connected).await;
    rig.send().await.recv().await;
    assert_eq!(rig.tasks.join_next().await.unwrap().unwrap(), ServeEnd::Forgotten);
    // Before it ever worked, the cause may be anything.
    let mut rig = Rig::new(&[Turn::NoCode], &[]);
    rig.phase(SessionPhase::BackingOff).await;
    rig.phase(SessionPhase::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_held_up_a_sound_one_waits_longer_than_it_did() {
    let held = Duration::from_secs(25);
    let sound = Others { are_sound: true, may_restart: true };
    let rig = Rig::among(sound, None, &[Turn::Wedged(held); 6], &[], None);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let opens = rig.stack.times("open");
    assert!(gaps(&opens).iter().all(|gap| *gap >= 2 * held), "{:?}", gaps(&opens));
    assert!(opens.len() >= 4, "and is tried all the same");
}

/// A day of service does not count as holding up others.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_connected_for_long_is_opened_again_soon() {
    let sound = Others { are_sound: true, may_restart: true };
    let mut rig = Rig::among(sound, None, &[], &[Turn::Wedged(Duration::from_secs(3))], None);
    rig.phase(SessionPhase::Connected).await;
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    let ended = Instant::now();
    rig.send().await.recv().await;
    rig.phase(SessionPhase::BackingOff).await;
    rig.phase(SessionPhase::Connected).await;
    assert!(ended.elapsed() < RECONNECT_MAX, "{:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn trouble_that_is_young_is_tried_soon() {
    let rig = Rig::new(&[Turn::Fails(Scope::Session); 200], &[]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let opens = rig.stack.times("open");
    let start = opens[0];
    for pair in opens.windows(2) {
        let most = if pair[0] < start + Duration::from_secs(120) { 20 } else { 60 };
        assert!(pair[1] - pair[0] <= Duration::from_secs(most), "{:?}", gaps(&opens));
    }
}

fn presence() -> Presence {
    let message = |word: &str| Message {
        topic: word.to_owned(),
        payload: Vec::new(),
        qos: Qos::AtLeastOnce,
        retain: true,
    };
    Presence { online: message("online"), offline: message("offline") }
}

impl Stack {
    /// Returns all operations, in order.
    fn all(&self) -> Vec<&'static str> {
        self.told.lock().unwrap().iter().map(|(operation, _)| *operation).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_word_comes_before_all_messages_and_the_last_before_the_end() {
    let mut rig = Rig::with_presence(&[], &[], Some(presence()));
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    rig.kick().await;
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    rig.stop.cancel();
    rig.tasks.join_next().await.unwrap().unwrap();
    let want =
        ["open", "online", "publish", "close", "open", "online", "publish", "offline", "close"];
    assert_eq!(rig.stack.all(), want, "after a kick the will speaks");
}

#[tokio::test(start_paused = true)]
async fn a_last_word_that_takes_too_long_is_not_waited_for() {
    let long = Turn::SucceedsAfter(Duration::from_secs(3_600));
    let mut rig = Rig::with_presence(&[], &[Turn::Succeeds, long], Some(presence()));
    rig.phase(SessionPhase::Connected).await;
    rig.send().await; // its turn comes after the first word; nobody waits for its end
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = Instant::now();
    rig.stop.cancel();
    rig.tasks.join_next().await.unwrap().unwrap();
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    assert_eq!(rig.stack.all().last(), Some(&"close"));
}

#[tokio::test(start_paused = true)]
async fn a_first_word_that_the_broker_forbids_is_left_out_in_the_end() {
    let kicks = [Turn::Fails(Scope::Session); 10];
    let mut rig = Rig::with_presence(&[], &kicks[..3], Some(presence()));
    rig.phase(SessionPhase::Connected).await;
    let mut news = loop {
        let mut news = rig.send().await;
        if let Some(Progress::Done(Outcome::Acknowledged)) = news.recv().await {
            break news;
        }
        rig.phase(SessionPhase::Connected).await;
    };
    assert!(news.recv().await.is_none());
    assert_eq!(rig.stack.times("online").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_time_to_stall_and_those_behind_are_told() {
    let slow = Turn::SucceedsAfter(Duration::from_secs(60));
    let mut rig = Rig::new(&[], &[slow]);
    rig.phase(SessionPhase::Connected).await;
    let (progress, mut news) = mpsc::channel(2);
    let message = presence().online;
    let stall = Duration::from_secs(2);
    let before = Instant::now();
    rig.uplink.jobs.send(Job { message, stall, is_suspect: false, progress }).await.unwrap();
    assert!(matches!(news.recv().await, Some(Progress::Stalled)));
    assert_eq!(before.elapsed().as_secs(), 2);
    rig.uplink.stalled.wait_for(|stalled| *stalled).await.unwrap();
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Acknowledged))));
    assert!(!*rig.uplink.stalled.borrow());
}

/// The cause that the modem gives during an operation is a part of the reason.
#[tokio::test(start_paused = true)]
async fn the_cause_of_a_loss_under_an_operation_is_not_dropped() {
    let refused = "TEST failed with code 99 (told so)";
    let mut rig = Rig::new(&[], &[Turn::Fails(Scope::Session)]);
    rig.phase(SessionPhase::Connected).await;
    let mut news = rig.send().await;
    rig.phase(SessionPhase::BackingOff).await;
    rig.lost.send(Lost { cause: "kicked (cause 1)", by_broker: true }).await.unwrap();
    assert!(matches!(news.recv().await, Some(Progress::Done(Outcome::Lost { .. }))));
    let told = |state: &SessionState| {
        state.reason.as_deref() == Some(&format!("kicked (cause 1); {refused}"))
    };
    timeout(Duration::from_secs(1), rig.uplink.state.wait_for(told)).await.unwrap().unwrap();

    let slow = Turn::FailsAfter(Duration::from_secs(1), Scope::Session);
    let mut rig = Rig::new(&[slow], &[]);
    rig.phase(SessionPhase::Connecting).await;
    rig.lost.send(Lost { cause: "kicked (cause 1)", by_broker: true }).await.unwrap();
    let down = rig.phase(SessionPhase::BackingOff).await;
    assert_eq!(down.reason, Some(format!("kicked (cause 1); {refused}")));
}

#[tokio::test(start_paused = true)]
async fn kicks_under_suspected_messages_make_nobody_wait_longer() {
    let kicked = [Turn::Fails(Scope::Session); 20];
    let mut longest = Vec::new();
    for is_suspect in [true, false] {
        let mut rig = Rig::new(&[], &kicked);
        for _ in 0..20 {
            rig.phase(SessionPhase::Connected).await;
            let mut news = rig.send_as(is_suspect).await;
            let told = news.recv().await;
            assert!(matches!(told, Some(Progress::Done(Outcome::Lost { by_broker: true }))));
        }
        longest.push(gaps(&rig.stack.times("open")).into_iter().max().unwrap());
    }
    let soon = RECONNECT + LOST_FOLLOWS + STAGGER;
    assert!(longest[0] <= soon && longest[1] > RECONNECT * 5, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_person_has_it_sign_in_again_or_cuts_its_wait_short() {
    let refused = Turn::Fails(Scope::Session);
    let mut rig = Rig::new(&[Turn::Succeeds, refused, refused, refused, Turn::TooLong], &[]);
    rig.phase(SessionPhase::Connected).await;
    rig.uplink.reconnect();
    // It signs out, and is refused three times with growing waits.
    rig.phase(SessionPhase::BackingOff).await;
    while rig.stack.times("open").len() < 4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.phase(SessionPhase::BackingOff).await;
    let asked = Instant::now();
    rig.uplink.reconnect();
    while rig.stack.times("open").len() < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    // It can never work, as far as the modem knows: only a person has it tried again.
    rig.phase(SessionPhase::Failed).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(rig.stack.times("open").len(), 5);
    rig.uplink.reconnect();
    rig.phase(SessionPhase::Connected).await;
}
