//! The state of discovery as published: each USB device with a serial port.

use std::path::PathBuf;

use modem::holder::Busy;
use modem::probe::Identity;
use serde::{Deserialize, Serialize};

/// The role of a port in the profiles' layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The primary AT interface of a layout.
    At,
    /// The secondary AT interface of a layout.
    Secondary,
    /// No layout has AT at this port.
    Other,
}

/// A serial port of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its node.
    pub tty: PathBuf,
    /// The number of its USB interface.
    pub interface: u8,
    /// Its role.
    pub role: Role,
}

/// A USB device with at least one serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The place on USB, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product`.
    pub usb_id: String,
    /// True if a profile has this id.
    pub is_known: bool,
    /// The entry of the fleet file that has it.
    pub entry: Option<String>,
    /// True if it is decided that no entry claims it.
    pub is_unclaimed: bool,
    /// The device's identity, if it was identified.
    pub identity: Option<Identity>,
    /// The reason why it is not identified: the last probe's error, or that no profile supports its
    /// id.
    pub note: Option<String>,
    /// The port that could not be opened for probing, and the process that holds it.
    pub busy: Option<Busy>,
    /// Its ports, by interface.
    pub ports: Vec<Port>,
    /// The number of its returns within the last ten minutes.
    pub returns: usize,
}

/// The present state of discovery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sightings {
    /// By place.
    pub devices: Vec<Sighting>,
    /// True if the scan is done and every probe that is due has ended.
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

/// Reports whether an IMEI identifies a modem. A module that lost its IMEI reports zeros.
pub fn is_identity(imei: &str) -> bool {
    imei.bytes().any(|digit| digit != b'0')
}
