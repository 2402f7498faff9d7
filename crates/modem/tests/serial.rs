//! Opening, losing and closing ttys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use common::pty;
use modem::holder::Busy;
use modem::location::Place;
use modem::serial::{self, FlowControl, Line, OpenError, RATES, Tty};
use rustix::termios::{ControlModes, InputModes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(50);

async fn open(path: &Path, baud: u32) -> Result<Tty, OpenError> {
    let line = Line { baud, ..Line::DEFAULT };
    Ok(serial::open(Place { line, ..path.to_owned().into() }).await?.tty)
}

#[tokio::test]
async fn a_tty_in_use_names_its_holder() {
    let (_master, path) = pty();
    let held = open(&path, 115_200).await.unwrap();
    let error = open(&path, 115_200).await.unwrap_err();
    let Some(Busy { holder: Some(holder), .. }) = error.busy() else { panic!("{error:?}") };
    assert!(holder.is_self(), "{holder}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    drop(held);
}

#[tokio::test]
async fn a_tty_can_be_opened_again_once_it_was_dropped() {
    let (mut master, path) = pty();
    drop(open(&path, 115_200).await.unwrap());
    // TIOCEXCL outlives the close of a pty's slave, since its master is open; a real tty forgets
    // it.
    rustix::termios::ioctl_tiocnxcl(&master).unwrap();
    let again = timeout(SOON, async {
        loop {
            match open(&path, 115_200).await {
                Ok(tty) => return tty,
                // A thread of its own closes it.
                Err(OpenError::Busy(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut again = again.await.unwrap();
    master.write_all(b"RDY").unwrap();
    let mut read = [0; 3];
    timeout(SOON, again.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"RDY");
}

#[tokio::test]
async fn what_was_unread_before_is_gone() {
    let (mut master, path) = pty();
    let first = open(&path, 115_200).await.unwrap();
    rustix::termios::ioctl_tiocnxcl(&master).unwrap();
    master.write_all(b"of an earlier program").unwrap();
    drop(first);
    let mut tty = timeout(SOON, async {
        loop {
            if let Ok(tty) = open(&path, 115_200).await {
                return tty;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    master.write_all(b"new").unwrap();
    let mut read = [0; 64];
    let count = timeout(SOON, tty.read(&mut read)).await.unwrap().unwrap();
    assert_eq!(read.get(..count), Some(b"new".as_slice()));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_no_tty() {
    let error = open(Path::new("/dev/no-such-tty"), 115_200).await.unwrap_err();
    assert!(matches!(error, OpenError::Absent { .. }), "{error:?}");
    assert_eq!(error.to_string(), "/dev/no-such-tty is not there");
    let error = open(Path::new("/dev/null"), 115_200).await.unwrap_err();
    assert!(matches!(error, OpenError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("as a serial port"), "{error}");
    // A modem on PCIe has character devices that are not ttys.
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("wwan0at0");
    std::fs::write(&node, "").unwrap();
    let error = open(&node, 115_200).await.unwrap_err();
    assert!(error.to_string().ends_with("modems on PCIe are not supported"), "{error}");
}

/// The kernel reports an unplug as a read of no bytes, again and again: that must be an error.
#[tokio::test]
async fn a_hang_up_is_an_error() {
    let (master, path) = pty();
    let mut tty = open(&path, 115_200).await.unwrap();
    drop(master);
    for _ in 0..2 {
        let mut read = [0; 16];
        let ended = timeout(SOON, tty.read(&mut read)).await.unwrap();
        assert!(ended.is_err(), "{ended:?}");
    }
}

#[tokio::test]
async fn dropping_a_tty_nobody_reads_blocks_nobody() {
    let (_master, path) = pty();
    let mut tty = open(&path, 115_200).await.unwrap();
    // Until the kernel takes no more.
    let full = async {
        loop {
            tty.write_all(&[b'x'; 4_096]).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(20), full).await.is_err());
    let before = Instant::now();
    timeout(SOON, tty.flush()).await.unwrap().unwrap();
    drop(tty);
    // The kernel waits for 30 s at the close of a tty with unread bytes (closing_wait of
    // setserial(8)).
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_uart_is_set_as_it_is_told() {
    let rates = RATES.map(|baud| (baud, FlowControl::None));
    let flows = [FlowControl::Hardware, FlowControl::Software].map(|flow| (9_600, flow));
    for (baud, flow_control) in rates.into_iter().chain(flows) {
        let (master, path) = pty();
        let line = Line { baud, flow_control };
        let _open = serial::open(Place { line, ..path.into() }).await.unwrap();
        let set = rustix::termios::tcgetattr(&master).unwrap();
        assert_eq!((set.input_speed(), set.output_speed()), (baud, baud));
        let is_hardware = set.control_modes.contains(ControlModes::CRTSCTS);
        assert_eq!(is_hardware, flow_control == FlowControl::Hardware, "{line:?}");
        let is_software = set.input_modes.contains(InputModes::IXON | InputModes::IXOFF);
        assert_eq!(is_software, flow_control == FlowControl::Software, "{line:?}");
    }
}
