//! The recovery ladder: modems that a single rung cures, and trouble that must not climb the ladder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use modem::environment::PrivilegedError;
use modem::mqtt::{Connection, Qos};
use modem::session::{Outcome, SessionPhase};
use modem::turns::Turns;
use modem::{ModemConfig, Privileged, Recovery, Snapshot, State};
use modem_conformance::bench::{connection, message};
use modem_conformance::broker::Broker;
use modem_sim::{Coverage, Cure, Fault, Handle, Illness, Model, Options, Symptom};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::whole::{Ledger, Running, Sim, config, to};

/// The actions are the same for every model, so a single model is enough.
const MODEL: Model = Model::Sim7600;

/// Resets the simulated device, and takes its power.
struct Root(Handle);

#[async_trait]
impl Privileged for Root {
    async fn usb_reset(&self, _: &Path) -> Result<(), PrivilegedError> {
        self.0.usb_reset().await.unwrap();
        Ok(())
    }

    async fn power(&self, script: &str) -> Result<(), PrivilegedError> {
        assert_eq!(script, "north");
        self.0.unplug().await.unwrap();
        sleep(Duration::from_millis(50)).await;
        self.0.plug().await.unwrap();
        Ok(())
    }
}

/// Short times, and all means of recovery.
fn quick(port: &Path) -> ModemConfig {
    let recovery = Recovery {
        registration_lost: Duration::from_millis(500),
        service_lost: Duration::from_millis(500),
        boot: Duration::from_secs(2),
        power_script: Some("north".to_owned()),
        ..Recovery::default()
    };
    ModemConfig { recovery, ..config(port) }
}

fn start(sim: &Sim, config: ModemConfig, sessions: &[&str]) -> Running {
    let sessions = sessions.iter().map(|id| to(connection(id))).collect();
    let root = Arc::new(Root(sim.handle.clone()));
    Running::among(config, sessions, Arc::new(Ledger::default()), root, Turns::new())
}

/// A limit above the time of a whole ladder.
const CLIMB: Duration = Duration::from_secs(100);

async fn within(running: &mut Running, what: &str, is: impl FnMut(&Snapshot) -> bool) -> Snapshot {
    if let Ok(snapshot) = timeout(CLIMB, running.snapshot.wait_for(is)).await {
        return snapshot.unwrap().clone();
    }
    let actions = running.book.all("recovery ");
    panic!("{what}: it stands at {:?} after {actions:?}", running.snapshot.borrow())
}

/// Makes a connected modem ill, waits until it is back in service, and returns the actions taken.
async fn cured(symptom: Symptom, cure: Cure, boot_time: Duration) -> String {
    let broker = Broker::open().await;
    let sim =
        Sim::new(Options { broker: Some(broker.address()), boot_time, ..Options::new(MODEL) });
    let mut patient = quick(&sim.port);
    patient.recovery.boot = patient.recovery.boot.max(2 * boot_time);
    let mut running = start(&sim, patient, &["first"]);
    running.connected(0).await;
    sim.handle.fall_ill(Illness { symptom, cure }).await.unwrap();
    if symptom == Symptom::Service {
        sim.handle.lose_connections().await.unwrap();
    }
    let ill = within(&mut running, "trouble", |s| s.state == State::Recovering).await;
    assert!(ill.reason.is_some());
    within(&mut running, "service", |s| s.state == State::Serving).await;
    assert!(timeout(CLIMB, running.uplinks[0].state.wait_for(|s| s.is_connected())).await.is_ok());
    assert!(matches!(running.publish(0, "up/back").await, Some(Outcome::Acknowledged)));
    running.book.all("recovery ").join(", ")
}

/// All cases run at once: most of the time is spent on modems that do not answer.
#[tokio::test]
async fn each_modem_comes_back_by_the_lowest_rung_that_cures_it() {
    let cases: [(Symptom, Cure, &str); 8] = [
        (Symptom::Mute, Cure::Reopen, "resync failed, reopen cured"),
        (Symptom::Mute, Cure::UsbReset, "resync failed, reopen failed, usb_reset cured"),
        (Symptom::Mute, Cure::Power, "resync failed, reopen failed, usb_reset failed, power cured"),
        (Symptom::Service, Cure::ServiceRestart, "service_restart cured"),
        (Symptom::Service, Cure::RadioCycle, "service_restart failed, radio_cycle cured"),
        // Sessions stay up at first. A modem that has lost its registration is in trouble all the same.
        (Symptom::Registration, Cure::RadioCycle, "radio_cycle cured"),
        (Symptom::Registration, Cure::ModemReset, "radio_cycle failed, modem_reset cured"),
        (
            Symptom::Registration,
            Cure::Power,
            "radio_cycle failed, modem_reset failed, usb_reset failed, power cured",
        ),
    ];
    let all = cases.iter().map(|(symptom, cure, _)| cured(*symptom, *cure, Duration::ZERO));
    // The port is dark for eight seconds, longer than the time until a port is taken for mute. That is not a
    // failure of the reset.
    let slow = cured(Symptom::Registration, Cure::ModemReset, Duration::from_secs(16));
    let (done, slow) = tokio::join!(futures_util::future::join_all(all), slow);
    assert_eq!(slow, "radio_cycle failed, modem_reset cured");
    for ((symptom, cure, wanted), done) in cases.iter().zip(done) {
        assert_eq!(done, *wanted, "{symptom:?} until {cure:?}");
    }
}

/// Starts a modem that is ill from the start, and returns the actions until it was in service.
async fn served_at_last(symptom: Symptom, cure: Cure) -> String {
    let broker = Broker::open().await;
    let illness = Some(Illness { symptom, cure });
    let sim = Sim::new(Options { broker: Some(broker.address()), illness, ..Options::new(MODEL) });
    let mut running = start(&sim, quick(&sim.port), &["first"]);
    assert!(timeout(CLIMB, running.uplinks[0].state.wait_for(|s| s.is_connected())).await.is_ok());
    running.book.all("recovery ").join(", ")
}

/// Causes seen in the field: see docs/recovery.md.
#[tokio::test]
async fn each_cause_has_its_own_cure() {
    let cases: [(Symptom, Cure, &str); 6] = [
        (Symptom::SimFailure, Cure::CardPower, "radio_cycle cured"),
        (Symptom::StuckClient, Cure::ServiceRestart, "service_restart cured"),
        (Symptom::NoData, Cure::After(Duration::from_millis(400)), ""),
        (Symptom::BrownOutAtConnect, Cure::After(Duration::from_secs(5)), ""),
        (Symptom::SilentBoot, Cure::After(Duration::from_secs(5)), ""),
        (Symptom::RadioOff, Cure::Never, ""),
    ];
    let all = cases.iter().map(|(symptom, cure, _)| served_at_last(*symptom, *cure));
    for ((symptom, cure, wanted), done) in
        cases.iter().zip(futures_util::future::join_all(all).await)
    {
        assert!(done.ends_with(wanted), "{symptom:?} until {cure:?}: {done}");
        assert!(!done.contains("_reset") && !done.contains("power"), "{symptom:?}: {done}");
    }
}

/// Makes a modem deaf in this state; it hears again once its tty was closed.
async fn deaf(state: State) -> (State, String) {
    let broker = Broker::open().await;
    let illness = Illness { symptom: Symptom::Mute, cure: Cure::Reopen };
    let from_start = (state == State::Identifying).then_some(illness);
    let broker_at = Some(broker.address());
    let card = state != State::Sim;
    let sim =
        Sim::new(Options { broker: broker_at, illness: from_start, card, ..Options::new(MODEL) });
    if state == State::Searching {
        sim.handle.network(Coverage::None).await.unwrap();
    }
    let mut patient = quick(&sim.port);
    patient.recovery.registration_lost = CLIMB;
    let mut running = start(&sim, patient, &["first"]);
    within(&mut running, "its state", |s| s.state == state).await;
    if from_start.is_none() {
        sim.handle.fall_ill(illness).await.unwrap();
    }
    within(&mut running, "trouble", |s| s.state == State::Recovering).await;
    within(&mut running, "it again", |s| {
        s.identified.is_some() && (s.state == state || s.state == State::Serving)
    })
    .await;
    (state, running.book.all("recovery ").join(", "))
}

#[tokio::test]
async fn a_modem_that_goes_mute_in_any_state_comes_back() {
    let states = [State::Identifying, State::Sim, State::Searching, State::Serving];
    for (state, done) in futures_util::future::join_all(states.map(deaf)).await {
        assert_eq!(done, "resync failed, reopen cured", "{state:?}");
    }
}

#[tokio::test]
async fn a_modem_that_is_only_slow_comes_back_by_being_asked() {
    let broker = Broker::open().await;
    let sim = Sim::at(MODEL, &broker);
    let mut running = start(&sim, quick(&sim.port), &["first"]);
    running.connected(0).await;
    sim.handle.hang().await.unwrap();
    within(&mut running, "patience", |s| s.busy && s.state == State::Serving).await;
    // The first query is swallowed; the next is answered.
    sleep(Duration::from_millis(1_200)).await;
    sim.handle.resume().await.unwrap();
    while running.book.all("recovery ").is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(running.book.all("recovery "), ["resync cured"]);
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    assert_eq!(running.book.count("connect first true"), 1);
}

#[tokio::test]
async fn a_modem_that_nothing_cures_fails_until_it_is_plugged_in_anew() {
    let broker = Broker::open().await;
    let illness = Some(Illness { symptom: Symptom::Mute, cure: Cure::Never });
    let sim = Sim::new(Options { broker: Some(broker.address()), illness, ..Options::new(MODEL) });
    let mut ill = quick(&sim.port);
    ill.recovery.budget = 1;
    let mut running = start(&sim, ill, &["first"]);
    let failed = within(&mut running, "failure", |s| s.state == State::Failed).await;
    let reason = failed.reason.unwrap();
    assert!(
        reason.contains("the next follow in 60 min") && reason.contains("does not answer"),
        "{reason}"
    );
    let done = running.book.all("recovery ");
    let tried = |done: &[String]| {
        let costs = |line: &&String| line.contains("_reset") || line.contains("power");
        done.iter().filter(costs).count()
    };
    assert_eq!(tried(&done), 1, "{done:?}");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(running.book.all("recovery "), done, "nothing more is done");
    // A new and healthy life of the modem.
    sim.handle.unplug().await.unwrap();
    sim.handle.fall_ill(Illness { symptom: Symptom::Mute, cure: Cure::Power }).await.unwrap();
    sim.handle.unplug().await.unwrap();
    sim.handle.plug().await.unwrap();
    running.connected(0).await;
    assert_eq!(running.book.all("recovery "), done);
}

#[tokio::test]
async fn a_service_that_nothing_cures_fails() {
    let broker = Broker::open().await;
    let illness = Some(Illness { symptom: Symptom::Service, cure: Cure::Never });
    let sim = Sim::new(Options { broker: Some(broker.address()), illness, ..Options::new(MODEL) });
    let mut ill = quick(&sim.port);
    (ill.recovery.usb_reset, ill.recovery.power_script) = (false, None);
    let mut running = start(&sim, ill, &["first"]);
    within(&mut running, "failure", |s| s.state == State::Failed).await;
    let done = running.book.all("recovery ");
    // A network without data is not a reason to reset a modem: its SIM may have no data plan.
    let wanted = ["service_restart failed", "radio_cycle failed"];
    assert_eq!(done, wanted);
    // The modem still answers, and its signal is shown.
    let shown = |s: &Snapshot| s.state == State::Failed && !s.signals.is_empty();
    within(&mut running, "its signal", shown).await;
    assert_eq!(running.book.all("recovery "), wanted);
    running.stop().await;
}

#[tokio::test]
async fn a_network_that_comes_by_itself_ends_a_failure() {
    let broker = Broker::open().await;
    let sim = Sim::at(MODEL, &broker);
    sim.handle.register(modem_sim::Registration::Searching).await.unwrap();
    let mut ill = quick(&sim.port);
    ill.recovery.budget = 1;
    let mut running = start(&sim, ill, &["first"]);
    let failed = within(&mut running, "failure", |s| s.state == State::Failed).await;
    assert!(failed.reason.unwrap().contains("not registered"));
    assert_eq!(running.book.all("recovery "), ["radio_cycle failed"]);
    sim.handle.register(modem_sim::Registration::Home).await.unwrap();
    within(&mut running, "service", |s| s.state == State::Serving).await;
    running.connected(0).await;
}

/// Waits for two refusals, with no recovery in between.
async fn refused_twice(running: &mut Running) {
    let limit = Instant::now() + CLIMB;
    while running.book.count("connect first false") < 2 {
        assert!(Instant::now() < limit);
        sleep(Duration::from_millis(20)).await;
    }
    running.session(0, |state| state.phase == SessionPhase::BackingOff).await;
    assert_eq!(running.book.all("recovery "), Vec::<String>::new());
    assert_eq!(running.snapshot.borrow().state, State::Serving);
}

#[tokio::test]
async fn a_wrong_password_climbs_nothing() {
    let broker = Broker::with_login("gw", "right").await;
    let sim = Sim::at(MODEL, &broker);
    let login = Connection {
        username: Some("gw".to_owned()),
        password: Some("wrong".into()),
        ..connection("first")
    };
    let root = Arc::new(Root(sim.handle.clone()));
    let ledger = Arc::new(Ledger::default());
    let config = quick(&sim.port);
    let mut running = Running::among(config, vec![to(login)], ledger, root, Turns::new());
    refused_twice(&mut running).await;
}

#[tokio::test]
async fn a_broker_that_is_away_climbs_nothing() {
    let broker = Some("127.0.0.1:1".to_owned());
    let sim = Sim::new(Options { broker, ..Options::new(MODEL) });
    let mut running = start(&sim, quick(&sim.port), &["first"]);
    refused_twice(&mut running).await;
}

/// A session is refused for want of a network, and the other session evidently has the network.
#[tokio::test]
async fn a_session_that_works_vetoes() {
    let broker = Broker::open().await;
    let sim = Sim::at(MODEL, &broker);
    let mut running = start(&sim, quick(&sim.port), &["first", "second"]);
    running.connected(0).await;
    running.connected(1).await;
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
    let illness = Illness { symptom: Symptom::Service, cure: Cure::Never };
    sim.handle.fall_ill(illness).await.unwrap();
    sim.handle.set(Fault::PubError, 1.0).await.unwrap();
    let _news = running.send(1, message("up/y", "y", Qos::AtLeastOnce)).await;
    running.session(1, |state| !state.is_connected()).await;
    sim.handle.set(Fault::PubError, 0.0).await.unwrap();
    let limit = Instant::now() + CLIMB;
    while running.book.count("connect second false") < 1 {
        assert!(Instant::now() < limit);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(running.publish(0, "up/z").await, Some(Outcome::Acknowledged)));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(running.book.all("recovery "), Vec::<String>::new());
    assert_eq!(running.book.count("connect first true"), 1);
}

/// Delays a reset, and checks that no other reset runs meanwhile.
struct Slow {
    root: Root,
    alone: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
}

#[async_trait]
impl Privileged for Slow {
    async fn usb_reset(&self, tty: &Path) -> Result<(), PrivilegedError> {
        let alone = self.alone.try_acquire().expect("nobody else resets a modem now");
        sleep(Duration::from_millis(500)).await;
        drop(alone);
        self.done.fetch_add(1, Ordering::Relaxed);
        self.root.usb_reset(tty).await
    }

    async fn power(&self, script: &str) -> Result<(), PrivilegedError> {
        self.root.power(script).await
    }
}

#[tokio::test]
async fn one_modem_is_reset_at_a_time() {
    let broker = Broker::open().await;
    let (turns, alone) = (Turns::new(), Arc::new(Semaphore::new(1)));
    let done = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    for index in 0..2 {
        let illness = Some(Illness { symptom: Symptom::Registration, cure: Cure::UsbReset });
        let broker = Some(broker.address());
        let sim = Sim::new(Options { broker, illness, index, ..Options::new(MODEL) });
        let root = Root(sim.handle.clone());
        let slow = Slow { root, alone: Arc::clone(&alone), done: Arc::clone(&done) };
        let sessions = vec![to(connection(&format!("m{index}")))];
        let ledger = Arc::new(Ledger::default());
        let turns = Arc::clone(&turns);
        let running = Running::among(quick(&sim.port), sessions, ledger, Arc::new(slow), turns);
        all.push((sim, running));
    }
    for (_, running) in &mut all {
        within(running, "service", |s| s.state == State::Serving).await;
    }
    assert_eq!(done.load(Ordering::Relaxed), 2);
}
