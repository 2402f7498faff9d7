//! Shared parts of the tests of ports and ttys: an observer that counts, and a pty.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "every test file uses a part of this, and a test fails by panicking"
)]

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use modem::observe::Observer;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// An observer that counts the events which tests check.
#[derive(Default)]
pub struct Counts {
    pub lost: AtomicU64,
    pub desyncs: AtomicU64,
    pub precautions: AtomicU64,
    pub urcs: AtomicU64,
}

impl Counts {
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Observer for Counts {
    fn urc(&self) {
        self.urcs.fetch_add(1, Ordering::Relaxed);
    }
    fn desync(&self) {
        self.desyncs.fetch_add(1, Ordering::Relaxed);
    }
    fn precaution(&self) {
        self.precautions.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens a pty, and returns its master and the path of its slave.
pub fn pty() -> (File, PathBuf) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (File::from(master), PathBuf::from(path))
}
