//! Every USB modem with its ports, its identity, its entry in the fleet file, and other programs
//! that hold its ports.
//!
//! The facts of discovery and of the fleet's modems are joined here, for the API and for
//! `modemfleet scan` without an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modem::flapping;
use modem::holder::{self, Busy, Holder};
use modem::{RecoveryCause, State};
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::now::View;
use discovery::{Port, Role, Sighting, Sightings, is_identity};

/// The interval of looks at facts that udev does not report: holders of ports, and identities.
const LOOK: Duration = Duration::from_secs(1);

/// The relation of a device to the fleet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// An entry of the fleet file claims it.
    Claimed,
    /// No entry claims it.
    Unclaimed,
    /// Its identity does not suffice for a decision yet.
    Undecided,
    /// No profile names its id: it is not touched.
    Unsupported,
}

/// A serial port of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Its node.
    pub tty: PathBuf,
    /// The number of its USB interface.
    pub interface: u8,
    /// Its purpose.
    pub role: Role,
    /// True if another process is known to have it open.
    pub busy: bool,
    /// The process, if /proc shows it to this user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<Holder>,
}

/// A USB device with serial ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Its place on USB, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product`.
    pub usb_id: String,
    /// Its relation to the fleet file.
    pub claim: Claim,
    /// The modem's name in the fleet file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modem: Option<String>,
    /// The answer to `AT+CGMM`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Its IMEI.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imei: Option<String>,
    /// The ICCID of its SIM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iccid: Option<String>,
    /// True if another device has the same IMEI.
    pub duplicate_imei: bool,
    /// True if it came and went so often within ten minutes that its supply or cable is suspected.
    #[serde(default)]
    pub flapping: bool,
    /// The number of returns within ten minutes. Resets of a modem of the fleet are left out.
    #[serde(default)]
    pub returns: usize,
    /// The reason why it is not identified, or does not serve.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Its ports, by interface.
    pub ports: Vec<PortReport>,
}

impl DeviceReport {
    /// Returns the ports that another process holds, with that process if known.
    pub fn busy(&self) -> impl Iterator<Item = Busy> {
        self.ports
            .iter()
            .filter(|port| port.busy)
            .map(|port| Busy { tty: port.tty.clone(), holder: port.holder.clone() })
    }
}

impl From<Sighting> for DeviceReport {
    fn from(seen: Sighting) -> Self {
        let claim = match (&seen.entry, seen.is_known) {
            (Some(_), _) => Claim::Claimed,
            (None, false) => Claim::Unsupported,
            (None, true) if seen.is_unclaimed => Claim::Unclaimed,
            (None, true) => Claim::Undecided,
        };
        let port = |port: Port| {
            let busy = seen.busy.as_ref().filter(|busy| busy.tty == port.tty);
            PortReport {
                busy: busy.is_some(),
                holder: busy.and_then(|busy| busy.holder.clone()),
                tty: port.tty,
                interface: port.interface,
                role: port.role,
            }
        };
        let identity = seen.identity;
        let iccid = identity.as_ref().and_then(|identity| identity.iccid.clone());
        let (model, imei) = identity.map(|is| (is.model, is.imei)).unzip();
        Self {
            ports: seen.ports.into_iter().map(port).collect(),
            usb_path: seen.usb_path,
            usb_id: seen.usb_id,
            claim,
            modem: seen.entry,
            model,
            imei,
            iccid,
            duplicate_imei: false,
            flapping: seen.returns >= flapping::MANY,
            returns: seen.returns,
            reason: seen.note,
        }
    }
}

/// The plugged-in devices, as the agent knows them.
#[derive(Clone)]
pub struct Devices {
    sightings: watch::Receiver<Sightings>,
    view: View,
    metrics: Arc<Metrics>,
}

impl Devices {
    /// Joins discovery's sightings and the fleet's modems.
    pub fn new(sightings: watch::Receiver<Sightings>, view: &View, metrics: &Arc<Metrics>) -> Self {
        Self { sightings, view: view.clone(), metrics: Arc::clone(metrics) }
    }

    /// Returns all devices now.
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn report(&self) -> Vec<DeviceReport> {
        let seen = self.sightings.borrow().devices.clone();
        let mut devices: Vec<DeviceReport> = seen.into_iter().map(DeviceReport::from).collect();
        for device in &mut devices {
            self.add_what_the_modem_told(device);
        }
        complete(devices).await
    }

    /// Waits until a report may differ.
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn changed(&self) {
        let mut sightings = self.sightings.clone();
        sightings.mark_unchanged();
        // If discovery ends, the agent ends: there is no further change.
        let told = async {
            if sightings.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        drop(tokio::time::timeout(LOOK, told).await);
    }

    /// Sets the gauges of devices: unclaimed devices, their busy ports, and IMEIs that several
    /// modems report, on USB or at a fixed port.
    pub fn count(&self) {
        let (unclaimed, busy) = {
            let seen = self.sightings.borrow();
            (seen.unclaimed(), seen.unclaimed_ports_busy())
        };
        set(self.metrics.modems.unclaimed(), unclaimed);
        set(self.metrics.modems.unclaimed_ports_busy(), busy);
        set(self.metrics.modems.duplicate_imeis(), self.duplicates());
    }

    fn duplicates(&self) -> usize {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for device in &self.sightings.borrow().devices {
            let Some(identity) = &device.identity else { continue };
            let who = device.entry.as_ref().unwrap_or(&device.usb_path);
            told.entry(identity.imei.clone()).or_default().insert(who.clone());
        }
        for modem in &self.view.now().modems {
            let Some(is) = modem.snapshot.borrow().identified.clone() else { continue };
            told.entry(is.imei).or_default().insert(modem.name.clone());
        }
        told.iter().filter(|(imei, who)| is_identity(imei) && who.len() > 1).count()
    }

    /// Adds the facts of a served modem: they are more, and newer, than those of a probe.
    fn add_what_the_modem_told(&self, device: &mut DeviceReport) {
        let name = device.modem.as_ref();
        let now = self.view.now();
        let Some(modem) = name.and_then(|name| now.modem(name)) else { return };
        let snapshot = modem.snapshot.borrow();
        if let Some(identified) = &snapshot.identified {
            device.model = Some(identified.model.clone());
            device.imei = Some(identified.imei.clone());
            device.iccid = identified.iccid.clone().or(device.iccid.take());
        }
        // Resets by the modem's own task are not a fault of the supply.
        device.flapping = snapshot.causes.contains(&RecoveryCause::Flapping);
        device.returns = snapshot.returns;
        if snapshot.state != State::Serving {
            device.reason = snapshot.reason.clone().or(device.reason.take());
        }
        if let Some(busy) = modem.activity.read().busy
            && let Some(port) = device.ports.iter_mut().find(|port| port.tty == busy.tty)
        {
            (port.busy, port.holder) = (true, busy.holder);
        }
    }
}

fn set(gauge: &IntGauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Adds the holders of ports, and marks IMEIs that occur twice.
///
/// # Cancel safety
/// It changes nothing.
pub async fn complete(mut devices: Vec<DeviceReport>) -> Vec<DeviceReport> {
    mark_duplicates(&mut devices);
    let ttys: Vec<PathBuf> =
        devices.iter().flat_map(|device| &device.ports).map(|port| port.tty.clone()).collect();
    // The walk through /proc blocks.
    let walk = tokio::task::spawn_blocking(move || holder::holders(&ttys));
    let holders = walk.await.unwrap_or_default();
    let ports = devices.iter_mut().flat_map(|device| &mut device.ports);
    for (port, holder) in ports.zip(holders) {
        if let Some(holder) = holder.filter(|holder| !holder.is_self()) {
            (port.busy, port.holder) = (true, Some(holder));
        }
    }
    devices
}

fn mark_duplicates(devices: &mut [DeviceReport]) {
    let all: Vec<Option<String>> = devices.iter().map(|device| device.imei.clone()).collect();
    for device in devices {
        let same = |imei: &&Option<String>| {
            imei.as_deref().is_some_and(is_identity) && **imei == device.imei
        };
        device.duplicate_imei = all.iter().filter(same).count() > 1;
    }
}

#[cfg(test)]
mod tests {
    use modem::probe::Identity;

    use super::*;

    fn seen(usb_path: &str, imei: Option<&str>) -> Sighting {
        let identity = imei.map(|imei| Identity {
            model: "SIM7600".to_owned(),
            imei: imei.to_owned(),
            iccid: None,
        });
        Sighting {
            usb_path: usb_path.to_owned(),
            usb_id: "1e0e:9001".to_owned(),
            is_known: true,
            entry: None,
            is_unclaimed: false,
            identity,
            note: None,
            busy: None,
            returns: 0,
            ports: vec![
                Port { tty: "/dev/no-such-tty1".into(), interface: 1, role: Role::Other },
                Port { tty: "/dev/no-such-tty2".into(), interface: 2, role: Role::At },
            ],
        }
    }

    #[test]
    fn whose_a_device_is() {
        let claim = |change: fn(&mut Sighting)| {
            let mut device = seen("1-1", None);
            change(&mut device);
            DeviceReport::from(device).claim
        };
        assert_eq!(claim(|_| {}), Claim::Undecided);
        assert_eq!(claim(|device| device.is_unclaimed = true), Claim::Unclaimed);
        assert_eq!(claim(|device| device.entry = Some("north".to_owned())), Claim::Claimed);
        assert_eq!(claim(|device| device.is_known = false), Claim::Unsupported);
    }

    #[tokio::test]
    async fn duplicates_and_busy_ports_are_marked() {
        let holder = Holder { name: "ModemManager".to_owned(), pid: 812 };
        let busy = Busy { tty: "/dev/no-such-tty2".into(), holder: Some(holder.clone()) };
        let devices = [
            seen("1-1", Some("8")),
            Sighting { busy: Some(busy.clone()), ..seen("1-2", None) },
            seen("1-3", Some("8")),
            seen("1-4", Some("9")),
            seen("1-5", Some("000000000000000")),
            seen("1-6", Some("000000000000000")),
        ];
        let devices = complete(devices.map(DeviceReport::from).to_vec()).await;
        let duplicates: Vec<bool> = devices.iter().map(|device| device.duplicate_imei).collect();
        assert_eq!(duplicates, [true, false, true, false, false, false]);
        let all: Vec<Busy> = devices.iter().flat_map(DeviceReport::busy).collect();
        assert_eq!(all, [busy]);
    }
}
