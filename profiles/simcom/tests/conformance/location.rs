//! A modem whose ports come from discovery: they appear, disappear, are renumbered, and may be useless.

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use modem::environment::PrivilegedError;
use modem::holder::Busy;
use modem::location::{Card, Handover, Introduction, Location, Place, Ports};
use modem::probe::{ProbeError, probe};
use modem::serial::OpenError;
use modem::turns::Turns;
use modem::{Catalog, ModemConfig, Privileged, Recovery, State};
use modem_conformance::bench::connection;
use modem_conformance::broker::Broker;
use modem_sim::{Model, Options};
use profile_simcom::PLUGIN;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::whole::{Ledger, Running, Sim, config, to};

of_any_modem![
    a_modem_that_comes_back_under_another_tty_keeps_its_session_and_counters,
    where_the_first_port_is_mute_the_second_is_used,
    where_the_first_port_speaks_no_at_one_that_no_layout_names_is_found,
    a_port_is_asked_who_is_there_and_left_open,
    a_modem_goes_on_at_the_port_that_was_left_open,
    a_device_of_which_no_port_answers_is_cut_from_its_supply_once_all_were_asked,
    a_modem_says_whom_it_heard_and_goes_where_discovery_sends_it,
];

/// Returns a modem at a place on USB with nothing plugged in yet.
fn on_usb() -> (watch::Sender<Option<Ports>>, ModemConfig) {
    let (told, _, config) = on_usb_and_asked();
    (told, config)
}

/// The same, with the handover for an open port.
fn on_usb_and_asked() -> (watch::Sender<Option<Ports>>, Handover, ModemConfig) {
    let (told, ports) = watch::channel(None);
    let handover = Handover::default();
    let name = "USB 1-1.2".to_owned();
    let port = Location::Usb { name, ports, handover: handover.clone() };
    (told, handover, ModemConfig { port, ..config(Path::new("")) })
}

fn plug(told: &watch::Sender<Option<Ports>>, ttys: &[&PathBuf]) {
    plug_with(told, ttys, &[]);
}

fn plug_with(told: &watch::Sender<Option<Ports>>, ttys: &[&PathBuf], others: &[&PathBuf]) {
    let all = |ttys: &[&PathBuf]| ttys.iter().map(|tty| (*tty).clone()).collect();
    let ports = Ports { ttys: all(ttys), others: all(others), since: Instant::now(), came: true };
    told.send_replace(Some(ports));
}

async fn a_modem_that_comes_back_under_another_tty_keeps_its_session_and_counters(model: Model) {
    let broker = Broker::open().await;
    let (told, config) = on_usb();
    let mut running = Running::start(config, &["first"]);
    let absent = running.until(|s| s.state == State::Absent && s.reason.is_some()).await;
    assert_eq!(absent.reason.as_deref(), Some("USB 1-1.2 is not there"));
    let sim = Sim::at(model, &broker);
    plug(&told, &[&sim.port]);
    running.connected(0).await;
    let here = running.until(|s| s.state == State::Serving).await;
    assert_eq!(here.tty.as_ref(), Some(&sim.port));

    sim.handle.unplug().await.unwrap();
    told.send_replace(None);
    let gone = running.until(|s| s.state == State::Absent).await;
    assert_eq!(gone.tty, None);
    sim.handle.plug().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let renumbered = folder.path().join("ttyUSB7");
    symlink(std::fs::read_link(&sim.port).unwrap(), &renumbered).unwrap();
    plug(&told, &[&renumbered]);
    running.until(|s| s.tty.as_ref() == Some(&renumbered)).await;
    running.connected(0).await;
    assert_eq!((running.book.count("appeared"), running.book.count("vanished")), (2, 1));
    assert_eq!(running.book.count("detected"), 2);
}

async fn where_the_first_port_is_mute_the_second_is_used(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    // The other end is open, and nothing answers there.
    let (_mute, tty) = pty();
    let (told, config) = on_usb();
    plug(&told, &[&tty, &sim.port]);
    let mut running = Running::start(config, &["first"]);
    running.connected(0).await;
    running.until(|s| s.tty.as_ref() == Some(&sim.port)).await;
    assert_eq!(running.book.count("appeared"), 1, "it is one modem, at whatever port");
}

/// Returns a tty and its other end.
fn pty() -> (OwnedFd, PathBuf) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let tty = PathBuf::from(ptsname(&ours, Vec::new()).unwrap().into_string().unwrap());
    (ours, tty)
}

/// If the layout's port prints positions, as in another composition, the other ports are tried.
async fn where_the_first_port_speaks_no_at_one_that_no_layout_names_is_found(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let (positions, tty) = pty();
    let (silent, silent_tty) = pty();
    let mut speaker = JoinSet::new();
    speaker.spawn(async move {
        loop {
            let sentence = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";
            rustix::io::write(&positions, sentence).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let (told, config) = on_usb();
    plug_with(&told, &[&tty], &[&silent_tty, &sim.port]);
    let mut running = Running::start(config, &["first"]);
    let reason = format!("{} speaks NMEA, not AT", tty.display());
    running.until(|s| s.reason.as_ref() == Some(&reason)).await;
    let reason = format!("{} does not answer AT commands", silent_tty.display());
    running.until(|s| s.reason.as_ref() == Some(&reason)).await;
    running.connected(0).await;
    assert_eq!(running.book.count("appeared"), 1, "it is one modem, at whatever port");
    let recovery = running.book.all("recovery");
    assert!(recovery.is_empty(), "nothing was wrong with it: {recovery:?}");
    drop((speaker, silent));
}

async fn a_port_is_asked_who_is_there_and_left_open(model: Model) {
    let sim = Sim::new(Options::new(model));
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let place = Place::from(sim.port.clone());
    let Introduction { identity: told, open: held } =
        probe(place.clone(), &catalog, false).await.unwrap();
    assert_eq!((&told.imei[..], &told.iccid), ("861234560000005", &None));
    assert!(told.is_model(&told.model) && !told.is_model("SIM9"), "{told:?}");
    // The port stays open for the modem that will use it, and no other process can open it.
    let busy = probe(place.clone(), &catalog, false).await.unwrap_err();
    let ProbeError::Open(OpenError::Busy(Busy { holder: Some(holder), .. })) = &busy else {
        panic!("{busy}");
    };
    assert!(holder.is_self(), "{busy}");
    held.tty.close().await;
    let told = probe(place, &catalog, true).await.unwrap().identity;
    assert!(told.iccid.is_some_and(|iccid| iccid.starts_with("898600100042")));
}

async fn a_modem_goes_on_at_the_port_that_was_left_open(model: Model) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let (told, handover, config) = on_usb_and_asked();
    let mut running = Running::start(config, &["first"]);
    let since = Instant::now();
    let asked = |since| Place { since: Some(since), came: true, ..Place::from(sim.port.clone()) };
    handover.leave(probe(asked(since), &catalog, false).await.unwrap());
    // Nothing answers at the first port, and a modem that opened a port by itself would go there.
    let (_silent, silent_tty) = pty();
    let ttys = vec![silent_tty, sim.port.clone()];
    told.send_replace(Some(Ports { ttys, others: Vec::new(), since, came: true }));
    running.connected(0).await;
    let here = running.until(|s| s.state == State::Serving).await;
    assert_eq!(here.tty.as_ref(), Some(&sim.port));
    assert!(handover.take().is_none());
    assert_eq!(running.book.count("appeared"), 1);
}

/// A boot loader that gives way to the modem once its power was cut.
struct Supply {
    told: watch::Sender<Option<Ports>>,
    port: PathBuf,
    cuts: AtomicUsize,
}

#[async_trait]
impl Privileged for Supply {
    async fn usb_reset(&self, _: &Path) -> Result<(), PrivilegedError> {
        Err(PrivilegedError::Unavailable { reason: "not here".to_owned() })
    }

    async fn power(&self, _: &str) -> Result<(), PrivilegedError> {
        self.cuts.fetch_add(1, Ordering::Relaxed);
        self.told.send_replace(None);
        tokio::time::sleep(Duration::from_millis(50)).await;
        plug(&self.told, &[&self.port]);
        Ok(())
    }
}

async fn a_device_of_which_no_port_answers_is_cut_from_its_supply_once_all_were_asked(
    model: Model,
) {
    let broker = Broker::open().await;
    let sim = Sim::at(model, &broker);
    let ((_first, first), (_last, last)) = (pty(), pty());
    let (told, config) = on_usb();
    // No layout names any of them.
    plug_with(&told, &[], &[&first, &last]);
    let recovery = Recovery {
        boot: Duration::from_secs(1),
        power_script: Some("north".to_owned()),
        ..Recovery::default()
    };
    let config = ModemConfig { recovery, ..config };
    let cuts = AtomicUsize::new(0);
    let supply = Arc::new(Supply { told, port: sim.port.clone(), cuts });
    let sessions = vec![to(connection("first"))];
    let means = Arc::clone(&supply);
    let mut running =
        Running::among(config, sessions, Arc::new(Ledger::default()), means, Turns::new());
    for tty in [&first, &last] {
        running.until(|s| s.tty.as_ref() == Some(tty)).await;
        assert_eq!(supply.cuts.load(Ordering::Relaxed), 0, "before all were asked");
    }
    running.connected(0).await;
    assert_eq!(supply.cuts.load(Ordering::Relaxed), 1);
    let now = running.until(|s| s.state == State::Serving).await;
    assert_eq!(now.returns, 0, "its own resets are not counted");
}

async fn a_modem_says_whom_it_heard_and_goes_where_discovery_sends_it(model: Model) {
    let broker = Broker::open().await;
    let (here, there) = (Sim::at(model, &broker), Sim::at(model, &broker));
    let (told, handover, config) = on_usb_and_asked();
    plug(&told, &[&here.port]);
    let since = told.borrow().as_ref().map(|ports| ports.since);
    let mut running = Running::start(config, &["first"]);
    running.connected(0).await;
    let read = |s: &modem::Snapshot| s.identified.as_ref().is_some_and(|is| is.iccid.is_some());
    running.until(read).await;
    let heard = handover.heard().unwrap();
    assert_eq!((Some(heard.since), &*heard.imei), (since, "861234560000005"));
    assert!(matches!(&heard.card, Some(Card::Iccid(iccid)) if iccid.starts_with("8986001")));
    // Another entry claims that device: the modem has to leave a port that answers.
    plug(&told, &[&there.port]);
    running.until(|s| s.tty.as_ref() == Some(&there.port) && s.state == State::Serving).await;
    running.connected(0).await;
}
