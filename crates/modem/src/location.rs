//! Where a modem is found: at a fixed tty, or at the AT ports of a USB device that come and go.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::time::Instant;

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
    },
}

/// The AT ports of a USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The ttys, the one to try first in front. Never empty.
    pub ttys: Vec<PathBuf>,
    /// Receipt of the device's first event.
    pub since: Instant,
}

impl Location {
    /// The tty to try at the `turn`th attempt, and since when its device is known to be there.
    pub(crate) fn tty(&self, turn: usize) -> Option<(PathBuf, Option<Instant>)> {
        match self {
            Self::Fixed(path) => Some((path.clone(), None)),
            Self::Usb { ports, .. } => {
                let ports = ports.borrow();
                let ports = ports.as_ref()?;
                let tty = ports.ttys.iter().cycle().nth(turn.checked_rem(ports.ttys.len())?)?;
                Some((tty.clone(), Some(ports.since)))
            }
        }
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
        let ttys = vec![PathBuf::from("/dev/ttyUSB2"), PathBuf::from("/dev/ttyUSB3")];
        let (ports, watched) = watch::channel(None);
        let location = Location::Usb { name: "USB 1-1".to_owned(), ports: watched };
        assert_eq!(location.tty(0), None);
        ports.send_replace(Some(Ports { ttys, since }));
        let tried: Vec<_> = (0..3).filter_map(|turn| location.tty(turn)).collect();
        let names: Vec<_> = tried.iter().map(|(tty, _)| tty.to_str().unwrap()).collect();
        assert_eq!(names, ["/dev/ttyUSB2", "/dev/ttyUSB3", "/dev/ttyUSB2"]);
        assert!(tried.iter().all(|(_, from)| *from == Some(since)));
    }
}
