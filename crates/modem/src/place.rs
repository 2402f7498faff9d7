//! The ttys of a device, and the settings of a tty.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_serial::FlowControl;

/// The speeds of termios, from the slowest that is used for modems, in bits per second.
pub const RATES: [u32; 21] = [
    1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000,
    576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

/// The settings of a UART. The tty of a USB device ignores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its speed, one of [`RATES`].
    pub baud: u32,
    /// The way in which each end holds the other back.
    pub flow_control: FlowControl,
}

impl Line {
    /// 115,200 baud without flow control: the default of new modems.
    pub const DEFAULT: Self = Self { baud: 115_200, flow_control: FlowControl::None };
}

/// The time for which a device is new: programs that react to its arrival open it later.
const NEW: Duration = Duration::from_secs(1);

/// The AT ports of a USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The ttys that a layout names as AT ports; the tty to try first comes first.
    pub ttys: Vec<PathBuf>,
    /// The device's other ttys, tried if the AT ports fail. The two lists are never both empty.
    pub others: Vec<PathBuf>,
    /// Receipt of the device's first event.
    pub since: Instant,
    /// True if an event announced the device; otherwise it may have been there for long.
    pub came: bool,
}

/// A tty to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The tty.
    pub tty: PathBuf,
    /// The time since which its device is known to be there, if discovery knows it.
    pub since: Option<Instant>,
    /// True if an event announced its device.
    pub came: bool,
    /// True if no layout names it as an AT port.
    pub is_guess: bool,
    /// The settings of the tty, which matter if it is a UART.
    pub line: Line,
}

impl Place {
    /// Reports whether its device came a moment ago.
    pub fn is_new(&self) -> bool {
        self.came && self.since.is_some_and(|since| since.elapsed() < NEW)
    }
}

impl From<PathBuf> for Place {
    /// Creates the place of a tty with a fixed name.
    fn from(tty: PathBuf) -> Self {
        Self { tty, since: None, came: false, is_guess: false, line: Line::DEFAULT }
    }
}

impl Ports {
    /// Returns the number of turns after which the first tty is tried again.
    pub fn places(&self) -> usize {
        self.ttys.len().saturating_add(self.others.len())
    }

    /// Returns the tty to try at the `turn`th attempt: the known AT ports, then each of the others.
    pub fn place(&self, turn: usize) -> Option<Place> {
        let known = self.ttys.iter().map(|tty| (tty, false));
        let mut all = known.chain(self.others.iter().map(|tty| (tty, true)));
        let (tty, is_guess) = all.nth(turn.checked_rem(self.places())?)?;
        let since = Some(self.since);
        Some(Place { since, came: self.came, is_guess, ..tty.clone().into() })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.ttys.iter().chain(&self.others)
    }
}
