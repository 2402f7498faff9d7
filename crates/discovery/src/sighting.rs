//! What discovery sees, for those who want to know: each USB device with a serial port.

use std::path::PathBuf;

use modem::holder::Busy;
use modem::probe::Identity;
use serde::{Deserialize, Serialize};

/// What a port is for, as far as the profiles tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The primary AT interface of a layout.
    At,
    /// The secondary AT interface of a layout.
    Secondary,
    /// No profile says that it speaks AT.
    Other,
}

/// A serial port of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its node.
    pub tty: PathBuf,
    /// The number of its USB interface.
    pub interface: u8,
    /// What it is for.
    pub role: Role,
}

/// A USB device with at least one serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where it is plugged in, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product`.
    pub usb_id: String,
    /// Whether a profile names that.
    pub is_known: bool,
    /// The entry of the fleet file that has it.
    pub entry: Option<String>,
    /// Whether it is decided that it is no entry's.
    pub is_unclaimed: bool,
    /// Who it is, where it was asked and told.
    pub identity: Option<Identity>,
    /// Why that is not known, of one that was asked.
    pub note: Option<String>,
    /// The port that could not be opened to ask, since another process has it.
    pub busy: Option<Busy>,
    /// Its ports, by interface.
    pub ports: Vec<Port>,
    /// How often it came back within the last ten minutes.
    pub returns: usize,
}

/// All that is seen now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sightings {
    /// By place.
    pub devices: Vec<Sighting>,
    /// Whether all that is there was looked for, and all who are to be asked were.
    pub is_settled: bool,
}

impl Sightings {
    /// Returns the number of devices of a known layout that no entry of the fleet file claims.
    pub fn unclaimed(&self) -> usize {
        self.devices.iter().filter(|device| device.is_unclaimed).count()
    }

    /// Returns the number of devices without an entry whose AT port another process has open.
    pub fn unclaimed_ports_busy(&self) -> usize {
        self.devices.iter().filter(|it| it.entry.is_none() && it.busy.is_some()).count()
    }
}

/// Reports whether an IMEI identifies a modem. A module that lost its own reports zeros.
pub fn is_identity(imei: &str) -> bool {
    imei.bytes().any(|digit| digit != b'0')
}
