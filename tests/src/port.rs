//! TCP ports that no other test uses, in this process or another.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port: the range lies below the ports that the kernel picks for outgoing connections.
/// So none of those takes a port between its choice and its use.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port of the loopback, reserved while this value lives. Programs may use it one after
/// another: a restarted agent listens on the same port.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Other test processes see the lock. The kernel releases it even if this process is killed.
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    /// If a hundred ports in a row are taken.
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

    /// The number of the port.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
