//! The modem on ptys and on existing ttys.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use common::{Broker, Host, PATIENCE, sim7600};
use modem_sim::{Fault, Fleet, FleetOptions, Modem, Options, PortError};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, Join, join},
    net::unix::pipe::{Receiver, Sender},
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

type Wire = Join<Receiver, Sender>;

fn wire(fd: OwnedFd) -> Host<Wire> {
    let flags = rustix::fs::fcntl_getfl(&fd).unwrap() | OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&fd, flags).unwrap();
    let reader = Receiver::from_owned_fd_unchecked(fd.try_clone().unwrap()).unwrap();
    Host::new(join(reader, Sender::from_owned_fd_unchecked(fd).unwrap()))
}

fn open(path: &Path) -> Host<Wire> {
    wire(rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap())
}

/// Returns a pty whose slave stands for a tty of the modem's side; `link` leads to it.
fn cable(link: &Path) -> Host<Wire> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    drop(std::fs::remove_file(link));
    symlink(name.to_str().unwrap(), link).unwrap();
    wire(master)
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_pty_keeps_the_modem_while_programs_come_and_go() {
    let dir = tempdir().unwrap();
    let link = dir.path().join("modem0");
    let unplugged = Duration::from_millis(20);
    let options = Options { unplugged, ..sim7600() };
    let modem = Modem::new(options).on_pty(Some(&link)).unwrap();
    let handle = modem.handle();
    assert_eq!(handle.tty().as_deref(), Some(link.as_path()));
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());

    // As in serial libraries; without privileges a second open would fail for ever.
    let fd = rustix::fs::open(&link, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    rustix::termios::ioctl_tiocexcl(&fd).unwrap();
    let mut host = wire(fd);
    assert_eq!(host.ask("AT", "OK\r\n").await, "AT\r\r\nOK\r\n");
    host.ask("ATE0", "OK\r\n").await;
    host.ask("AT+CMQTTSTART", "OK\r\n").await;
    drop(host);
    let mut host = open(&link);
    assert_eq!(
        host.ask("AT+CMQTTSTART", "ERROR\r\n").await,
        "\r\n+CMQTTSTART: 23\r\n\r\nERROR\r\n"
    );

    handle.unplug().await.unwrap();
    assert!(!link.exists() && handle.tty().is_none());
    let mut byte = [0];
    assert!(matches!(host.wire.read(&mut byte).await, Ok(0) | Err(_)));
    handle.plug().await.unwrap();
    let mut host = open(&link);
    host.until("\r\nPB DONE\r\n").await;
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;

    handle.hang().await.unwrap();
    host.write("AT\r").await;
    host.silent(Duration::from_millis(10)).await;
    handle.resume().await.unwrap();
    host.ask("AT+CGMM", "SIMCOM_SIM7600G-H\r\n\r\nOK\r\n").await;

    handle.set(Fault::Unplug, 1.0).await.unwrap();
    host.write("AT\r").await;
    eventually(|| !link.exists()).await;
    handle.set(Fault::Unplug, 0.0).await.unwrap();
    eventually(|| link.exists()).await;
    open(&link).until("PB DONE\r\n").await;

    tasks.shutdown().await;
    assert!(std::fs::symlink_metadata(&link).is_err());
    assert!(handle.unplug().await.is_err());
}

#[tokio::test]
async fn two_ttys_are_two_ports_of_one_modem() {
    let broker = Broker::open().await;
    let dir = tempdir().unwrap();
    let links = [dir.path().join("at"), dir.path().join("modem")];
    let (mut first, mut second) = (cable(&links[0]), cable(&links[1]));
    let modem = Modem::new(broker.options()).on_ttys(&links, None).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());

    first.connect("c").await;
    // Echo belongs to a port, the MQTT service to the modem.
    assert!(second.ask("AT+CMQTTSTART", "ERROR\r\n").await.contains("+CMQTTSTART: 23"));
    first.fill("AT+CMQTTSUB=0,1,1", "t").await;
    first.until("+CMQTTSUB: 0,0\r\n").await;
    first.publish("t", b"x").await;
    first.both("+CMQTTPUB: 0,0\r\n", "+CMQTTRXEND: 0\r\n").await;
    let urc = second.until("+CMQTTRXEND: 0\r\n").await;
    assert!(!urc.windows(8).any(|window| window == b"CMQTTPUB"), "results stay on their port");
    second.ask("AT+CATR=3", "OK\r\n").await;
    first.publish("t", b"x").await;
    first.both("+CMQTTPUB: 0,0\r\n", "+CMQTTRXEND: 0\r\n").await;
    second.silent(Duration::from_millis(10)).await;

    // A tty that disappears is a loss of power; the modem comes back with the tty.
    drop((first, second));
    let (mut first, _second) = (cable(&links[0]), cable(&links[1]));
    first.until("PB DONE\r\n").await;
    first.ask("ATE0", "OK\r\n").await;
    first.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
}

#[tokio::test]
async fn a_fleet_has_links_names_and_numbers_of_its_own() {
    let dir = tempdir().unwrap();
    let fleet_dir = dir.path().join("sim");
    std::fs::create_dir(&fleet_dir).unwrap();
    symlink("/dev/pts/none", fleet_dir.join("modem0")).unwrap();
    let options =
        FleetOptions { modem: sim7600(), count: 3, dir: Some(fleet_dir.clone()), ttys: Vec::new() };
    let fleet = Fleet::new(&options).unwrap();
    let names: Vec<_> = fleet.members().iter().map(|m| (m.name.clone(), m.tty.clone())).collect();
    let expected = [0, 1, 2].map(|n| (format!("modem{n}"), fleet_dir.join(format!("modem{n}"))));
    assert_eq!(names, expected);
    let mut tasks = JoinSet::new();
    tasks.spawn(fleet.run());
    let mut imeis = Vec::new();
    for (_, tty) in &names {
        let mut host = open(tty);
        host.ask("ATE0", "OK\r\n").await;
        imeis.push(host.ask("AT+CGSN", "OK\r\n").await);
    }
    imeis.dedup();
    assert_eq!(imeis.len(), 3);
    tasks.shutdown().await;
    assert_eq!(std::fs::read_dir(&fleet_dir).unwrap().count(), 0);

    std::fs::write(fleet_dir.join("modem1"), "a file").unwrap();
    assert!(matches!(Fleet::new(&options), Err(PortError::Link { .. })));
    assert!(!fleet_dir.join("modem0").exists(), "what was made is taken down");
    let none = FleetOptions { ttys: vec![vec![PathBuf::from("/dev/null")]], dir: None, ..options };
    assert!(matches!(Fleet::new(&none), Err(PortError::Tty { .. })));
}

#[tokio::test]
async fn an_unread_port_stops_nobody() {
    let dir = tempdir().unwrap();
    let links = [dir.path().join("at"), dir.path().join("modem")];
    let (mut first, mut unread) = (cable(&links[0]), cable(&links[1]));
    let modem = Modem::new(sim7600()).on_ttys(&links, None).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());
    first.ask("ATE0", "OK\r\n").await;
    // Far more answers than any buffer holds.
    let flood = async {
        for _ in 0..40 {
            unread.write("AT&V\r".repeat(100)).await;
        }
    };
    drop(tokio::time::timeout(Duration::from_millis(100), flood).await);
    assert_eq!(first.ask("AT+CSQ", "OK\r\n").await, "\r\n+CSQ: 22,99\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn thousands_of_exchanges_a_second() {
    let modem = Modem::new(Options { seed: 1, ..sim7600() }).on_pty(None).unwrap();
    let tty = modem.handle().tty().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());
    let mut host = open(&tty);
    host.ask("ATE0", "OK\r\n").await;
    let start = Instant::now();
    for _ in 0..1_000 {
        host.ask("AT+CSQ", "OK\r\n").await;
    }
    let taken = start.elapsed();
    println!("1000 exchanges over a pty: {taken:?}");
    // Far above the usual time, so that a busy machine does not fail it; a poll each 10 ms would.
    assert!(taken < Duration::from_secs(8), "{taken:?}");
}
