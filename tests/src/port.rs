//! TCP ports that no other test has, in this process or another.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel picks ports for outgoing connections, so that none of those
/// takes a port between its choice here and its use.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port of the loopback, reserved while this value lives. A program may give it up and another
/// take it: a restarted agent listens where the one before did.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Other test processes see the lock, which the kernel takes back whatever becomes of us.
    _lock: File,
}

impl Port {
    /// A free one.
    ///
    /// # Panics
    /// Where a hundred in a row are taken.
    #[must_use]
    pub fn free() -> Self {
        for _ in 0..100 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let start = u16::try_from(std::process::id() % 400).unwrap() * 50;
            let number = FIRST + start.wrapping_add(step) % COUNT;
            let path = std::env::temp_dir().join(format!("modemfleet-test-port-{number}"));
            let lock = File::create(path).expect("the folder for temporary files is writable");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port");
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
