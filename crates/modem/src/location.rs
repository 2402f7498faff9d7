//! The location of a modem: a fixed tty, or the AT ports of a USB device that come and go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::identity::Identity;
pub use crate::place::{Place, Ports};
use crate::serial::Open;

/// The location of a modem.
#[derive(Debug, Clone)]
pub enum Location {
    /// A tty of a fixed name; no event announces it.
    Fixed(PathBuf),
    /// The ports of a USB device, as discovery reports them.
    Usb {
        /// The place's name in messages.
        name: String,
        /// The ports that are there now; `None` while the device is unplugged.
        ports: watch::Receiver<Option<Ports>>,
        /// The place for the port at which discovery identified the modem, still open.
        handover: Handover,
    },
}

/// Values that discovery and the modem's task leave for each other. Discovery leaves the port at
/// which it identified a device, still open. The modem's task leaves the identity that it read at
/// its port.
#[derive(Debug, Clone, Default)]
pub struct Handover(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
struct Left {
    asked: Option<Introduction>,
    heard: Option<Heard>,
    /// The means to wake discovery.
    waker: Option<Arc<Notify>>,
}

/// The identity that a modem's own task read at its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The time since which that device is there.
    pub since: Instant,
    /// Its model name.
    pub model: String,
    /// Its IMEI.
    pub imei: String,
    /// Its card; `None` if the card was not read.
    pub card: Option<Card>,
}

/// The state of a modem's card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Card {
    /// The ICCID of the inserted card.
    Iccid(String),
    /// No card is inserted, or it does not report its ICCID.
    Unread,
}

/// A port at which a modem was identified, and which is still open.
#[derive(Debug)]
pub struct Introduction {
    /// The modem's identity.
    pub identity: Identity,
    /// The port.
    pub open: Open,
}

impl Handover {
    /// Leaves a port; an earlier port is closed.
    pub fn leave(&self, asked: Introduction) {
        drop(self.lock().asked.replace(asked));
    }

    /// Takes the port that was left.
    pub fn take(&self) -> Option<Introduction> {
        self.lock().asked.take()
    }

    /// Sets the waker for news of the identity at the modem's port.
    pub fn wakes(&self, waker: &Arc<Notify>) {
        self.lock().waker = Some(Arc::clone(waker));
    }

    /// Leaves the identity at the modem's port, and wakes discovery.
    pub fn tell(&self, heard: Heard) {
        let mut left = self.lock();
        left.heard = Some(heard);
        if let Some(waker) = &left.waker {
            waker.notify_one();
        }
    }

    /// Takes the identity that the modem's task left last.
    pub fn heard(&self) -> Option<Heard> {
        self.lock().heard.take()
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ports of a device that were tried in vain, one after the other: a device is mute only if
/// none of its ports answers. A value: each case is a line of a table.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The start of this stay of the device.
    since: Option<Instant>,
    silent: Vec<PathBuf>,
    held: Vec<PathBuf>,
}

impl Round {
    /// Notes that no AT command was answered at this port, and reports whether that holds for all
    /// ports of the device now. Ports that another program has open do not count. After a complete
    /// round another one begins.
    pub(crate) fn silent(&mut self, tty: &Path, ports: Option<&Ports>) -> bool {
        let Some(ports) = ports else {
            // A fixed tty is the only port.
            return true;
        };
        self.of(ports);
        self.silent.push(tty.to_owned());
        let is_complete =
            ports.all().all(|tty| self.silent.contains(tty) || self.held.contains(tty));
        if is_complete {
            self.clear();
        }
        is_complete
    }

    /// Notes that another program has this port open. That alone is not evidence about the device.
    pub(crate) fn held(&mut self, tty: &Path, ports: Option<&Ports>) {
        if let Some(ports) = ports {
            self.of(ports);
            self.held.push(tty.to_owned());
        }
    }

    /// Notes that a port answered, or that the device went.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn of(&mut self, ports: &Ports) {
        if self.since != Some(ports.since) {
            *self = Self { since: Some(ports.since), ..Self::default() };
        }
    }
}

impl Location {
    /// Returns the tty to try at the `turn`th attempt.
    pub(crate) fn place(&self, turn: usize) -> Option<Place> {
        match self {
            Self::Fixed(path) => Some(path.clone().into()),
            Self::Usb { ports, .. } => ports.borrow().as_ref()?.place(turn),
        }
    }

    /// Returns the ports that are there now; `None` at a fixed tty.
    pub(crate) fn ports(&self) -> Option<Ports> {
        match self {
            Self::Fixed(_) => None,
            Self::Usb { ports, .. } => ports.borrow().clone(),
        }
    }

    /// Reports whether discovery assigns the device, and may assign another one.
    pub(crate) fn is_found(&self) -> bool {
        matches!(self, Self::Usb { .. })
    }

    /// Reports to discovery the identity at the port of the present device.
    pub(crate) fn tell(&self, model: &str, imei: &str, card: Option<Card>) {
        let Self::Usb { ports, handover, .. } = self else { return };
        let Some(since) = ports.borrow().as_ref().map(|ports| ports.since) else { return };
        handover.tell(Heard { since, model: model.to_owned(), imei: imei.to_owned(), card });
    }

    /// Takes the port that discovery left open, if it is of the device that is there now.
    pub(crate) fn take_open(&self) -> Option<Introduction> {
        let Self::Usb { ports, handover, .. } = self else { return None };
        // Until the ports are known, a port that was left is for later.
        let since = ports.borrow().as_ref()?.since;
        handover.take().filter(|asked| asked.open.place.since == Some(since))
    }

    /// Returns the time since which the device is there, as discovery reports it.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.ports().map(|ports| ports.since)
    }

    /// Waits until the ports differ from these: another device, the same device plugged in again,
    /// or none. Waits for ever at a fixed tty.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn replaced(&mut self, was: Option<Ports>) {
        while self.ports() == was {
            self.changed().await;
        }
    }

    /// Waits until discovery assigned another device than that of this tty. An unplugged device is
    /// not an event here: its port reports that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn given_another(&mut self, tty: &Path) {
        let is_other = |ports: &Ports| !ports.all().any(|other| other == tty);
        while !self.ports().as_ref().is_some_and(is_other) {
            self.changed().await;
        }
    }

    /// Waits for the next change from discovery; for ever at a fixed tty.
    ///
    /// # Cancel safety
    /// Nothing is lost: a change stays unread until it was waited for.
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
    use std::time::Duration;

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
        assert_eq!(tried(&["a", "b"], &["c", "d"], 6), "a b c? d? a b");
        assert_eq!(tried(&["a"], &["c"], 4), "a c? a c?");
        assert_eq!(tried(&[], &["c", "d"], 3), "c? d? c?");
        assert_eq!(tried(&[], &[], 3), "");
    }

    #[test]
    fn a_device_is_mute_once_each_of_its_ports_was_asked_in_vain() {
        let now = Instant::now();
        let ports = |since| Ports {
            ttys: vec!["b".into()],
            others: vec!["a".into(), "c".into()],
            since,
            came: false,
        };
        let (first, later) = (ports(now), ports(now + Duration::from_secs(9)));
        // `b!` another program has it, `>` the device came again, `*` a port answered, `=` all were
        // in vain.
        for steps in [
            "b a c= b a c=",
            "b b a a c=",
            "a c b= b",
            "b * a c b=",
            "b a > c a b=",
            "b! a c= a c b=",
            "b! a! c! b! a! c!",
            "b! a! c=",
        ] {
            let (mut round, mut there) = (Round::default(), &first);
            for step in steps.split(' ') {
                let tty = Path::new(step.trim_end_matches(['!', '=']));
                match step {
                    "*" => round.clear(),
                    ">" => there = &later,
                    _ if step.ends_with('!') => round.held(tty, Some(there)),
                    _ => {
                        let is_mute = round.silent(tty, Some(there));
                        assert_eq!(is_mute, step.ends_with('='), "{step} of {steps}");
                    }
                }
            }
        }
        assert!(Round::default().silent(Path::new("x"), None), "a fixed tty is all there is");
    }
}
