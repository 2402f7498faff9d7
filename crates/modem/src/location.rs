//! Where a modem is found: at a fixed tty, or at the AT ports of a USB device that come and go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::probe::Identity;
use crate::serial::{Line, Open};

/// A device is new for so long: programs that answer to its coming open it later.
const NEW: Duration = Duration::from_secs(1);

/// Where a modem is found.
#[derive(Debug, Clone)]
pub enum Location {
    /// A tty of a fixed name; nobody tells when it comes.
    Fixed(PathBuf),
    /// The ports of a USB device, as discovery tells them.
    Usb {
        /// How messages call the place.
        name: String,
        /// The ports that are there now; none while the device is unplugged.
        ports: watch::Receiver<Option<Ports>>,
        /// Where discovery leaves the port open at which it asked who is there.
        handover: Handover,
    },
}

/// Where one who asked a device who it is leaves the open port for the one whose device it is.
#[derive(Debug, Clone, Default)]
pub struct Handover(Arc<Mutex<Option<Introduction>>>);

/// A port that was asked who is there, and is still open.
#[derive(Debug)]
pub struct Introduction {
    /// Who that is.
    pub identity: Identity,
    /// The port.
    pub open: Open,
}

/// The AT ports of a USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The ttys of which a layout says that they speak AT, the one to try first in front.
    pub ttys: Vec<PathBuf>,
    /// The device's other ttys: tried where those were of no use twice. Never empty together with those.
    pub others: Vec<PathBuf>,
    /// Receipt of the device's first event.
    pub since: Instant,
    /// Whether an event told of its coming; otherwise it may have been there for long.
    pub came: bool,
}

/// A tty to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub tty: PathBuf,
    /// Since when its device is known to be there, where discovery tells.
    pub since: Option<Instant>,
    /// Whether an event told of its device's coming.
    pub came: bool,
    /// Whether no layout says that it speaks AT.
    pub is_guess: bool,
    /// How the tty is set, which matters where it is a UART.
    pub line: Line,
}

impl Handover {
    /// Leaves a port; one that was left before is closed.
    pub fn leave(&self, asked: Introduction) {
        drop(self.lock().replace(asked));
    }

    /// Takes what was left.
    pub fn take(&self) -> Option<Introduction> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Introduction>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether its device came a moment ago.
    pub fn is_new(&self) -> bool {
        self.came && self.since.is_some_and(|since| since.elapsed() < NEW)
    }
}

impl From<PathBuf> for Place {
    /// A tty of a fixed name.
    fn from(tty: PathBuf) -> Self {
        Self { tty, since: None, came: false, is_guess: false, line: Line::DEFAULT }
    }
}

impl Ports {
    /// After so many turns the first tty is tried again.
    pub fn places(&self) -> usize {
        self.ttys.len().saturating_mul(2).saturating_add(self.others.len())
    }

    /// The tty to try at the `turn`th attempt: those that are known twice round, then each of the others.
    pub fn place(&self, turn: usize) -> Option<Place> {
        let known = self.ttys.iter().chain(&self.ttys).map(|tty| (tty, false));
        let mut all = known.chain(self.others.iter().map(|tty| (tty, true)));
        let (tty, is_guess) = all.nth(turn.checked_rem(self.places())?)?;
        let since = Some(self.since);
        Some(Place { since, came: self.came, is_guess, ..tty.clone().into() })
    }
}

impl Location {
    /// The tty to try at the `turn`th attempt.
    pub(crate) fn place(&self, turn: usize) -> Option<Place> {
        match self {
            Self::Fixed(path) => Some(path.clone().into()),
            Self::Usb { ports, .. } => ports.borrow().as_ref()?.place(turn),
        }
    }

    /// The port that discovery left open, if it is of the device that is there now.
    pub(crate) fn take_open(&self) -> Option<Introduction> {
        let Self::Usb { ports, handover, .. } = self else { return None };
        // Before it is told which ports there are, what was left is for later.
        let since = ports.borrow().as_ref()?.since;
        handover.take().filter(|asked| asked.open.place.since == Some(since))
    }

    /// Waits until discovery tells something new; for ever at a fixed tty.
    ///
    /// # Cancel safety
    /// Nothing is lost: what is new stays new until it was waited for.
    pub(crate) async fn changed(&mut self) {
        if let Self::Usb { ports, .. } = self
            && ports.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Fixed(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Fixed(path.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(path) => path.display().fmt(f),
            Self::Usb { name, .. } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_tries_the_next_port_of_the_device() {
        let since = Instant::now();
        let (ports, watched) = watch::channel(None);
        let location = Location::Usb {
            name: "USB 1-1".to_owned(),
            ports: watched,
            handover: Handover::default(),
        };
        assert_eq!(location.place(0), None);
        let tried = |ttys: &[&str], others: &[&str], turns: usize| {
            let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
            let (ttys, others) = (paths(ttys), paths(others));
            let there = Ports { ttys, others, since, came: false };
            ports.send_replace(Some(there));
            let places: Vec<_> = (0..turns).filter_map(|turn| location.place(turn)).collect();
            assert!(places.iter().all(|place| place.since == Some(since)));
            let name = |place: &Place| {
                format!("{}{}", place.tty.display(), if place.is_guess { "?" } else { "" })
            };
            places.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tried(&["a", "b"], &[], 3), "a b a");
        assert_eq!(tried(&["a", "b"], &["c", "d"], 8), "a b a b c? d? a b");
        assert_eq!(tried(&["a"], &["c"], 4), "a a c? a");
        assert_eq!(tried(&[], &["c", "d"], 3), "c? d? c?");
        assert_eq!(tried(&[], &[], 3), "");
    }
}
