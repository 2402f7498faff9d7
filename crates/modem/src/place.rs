//! The ttys of a device, and how one of them is set.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_serial::FlowControl;

/// The speeds that termios has, from the slowest that a modem is used at, in bits per second.
pub const RATES: [u32; 21] = [
    1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000,
    576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

/// How a UART is set. The tty of a USB device heeds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its speed, one of [`RATES`].
    pub baud: u32,
    /// How each end holds the other back.
    pub flow_control: FlowControl,
}

impl Line {
    /// 115,200 baud without flow control: what modems are shipped with.
    pub const DEFAULT: Self = Self { baud: 115_200, flow_control: FlowControl::None };
}

/// A device is new for so long: programs that answer to its coming open it later.
const NEW: Duration = Duration::from_secs(1);

/// The AT ports of a USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The ttys of which a layout says that they speak AT, the one to try first in front.
    pub ttys: Vec<PathBuf>,
    /// The device's other ttys: tried where those were of no use. Never empty together with those.
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
        self.ttys.len().saturating_add(self.others.len())
    }

    /// The tty to try at the `turn`th attempt: those that are known, then each of the others.
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
