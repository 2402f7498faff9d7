//! A modem whose ports are told by discovery: they come, go, are renumbered, and one may be of no use.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use modem::holder::Busy;
use modem::location::{Location, Ports};
use modem::probe::{ProbeError, probe};
use modem::serial::OpenError;
use modem::{Catalog, ModemConfig, State};
use modem_sim::{Model, Options};
use profile_simcom::PLUGIN;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::whole::{Running, Sim, config};

scenarios![
    a_modem_that_comes_back_under_another_tty_keeps_its_session_and_counters,
    where_the_first_port_is_mute_the_second_is_used,
    a_port_is_asked_who_is_there_and_free_again,
];

/// A modem at a place on USB where nothing is plugged in yet.
fn on_usb() -> (watch::Sender<Option<Ports>>, ModemConfig) {
    let (told, ports) = watch::channel(None);
    let port = Location::Usb { name: "USB 1-1.2".to_owned(), ports };
    (told, ModemConfig { port, ..config(Path::new("")) })
}

fn plug(told: &watch::Sender<Option<Ports>>, ttys: &[&PathBuf]) {
    let ttys = ttys.iter().map(|tty| (*tty).clone()).collect();
    told.send_replace(Some(Ports { ttys, since: Instant::now() }));
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
    // Its other end is open, and nobody answers there.
    let mute = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&mute).unwrap();
    unlockpt(&mute).unwrap();
    let tty = PathBuf::from(ptsname(&mute, Vec::new()).unwrap().into_string().unwrap());
    let (told, config) = on_usb();
    plug(&told, &[&tty, &sim.port]);
    let mut running = Running::start(config, &["first"]);
    running.connected(0).await;
    running.until(|s| s.tty.as_ref() == Some(&sim.port)).await;
    assert_eq!(running.book.count("appeared"), 1, "it is one modem, at whatever port");
}

async fn a_port_is_asked_who_is_there_and_free_again(model: Model) {
    let sim = Sim::new(Options::new(model));
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let told = probe(&sim.port, &catalog, false).await.unwrap();
    assert_eq!((&told.imei[..], &told.iccid), ("861234560000005", &None));
    assert!(told.is_model(&told.model) && !told.is_model("SIM9"), "{told:?}");
    // It is closed when the answer is there, so that whoever the modem is for can open it at once.
    let held = modem::serial::open(&sim.port, 115_200).await.unwrap();
    let busy = probe(&sim.port, &catalog, false).await.unwrap_err();
    let ProbeError::Open(OpenError::Busy(Busy { holder: Some(holder), .. })) = &busy else {
        panic!("{busy}");
    };
    assert!(holder.is_self(), "{busy}");
    held.close().await;
    let told = probe(&sim.port, &catalog, true).await.unwrap();
    assert!(told.iccid.is_some_and(|iccid| iccid.starts_with("898600100042")));
}
