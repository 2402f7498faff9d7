//! The table of plugged-in USB devices, their ttys, and the ttys that speak AT.
//!
//! It has no clock and no I/O, so each case is a line of a table test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use modem::catalog::UsbLayout;
use modem::flapping::Flapping;
use modem::location::Ports;
use tokio::time::Instant;

use super::sighting::{Port, Role};

/// The wait for a device's primary port. Interfaces come within milliseconds, but a driver may take
/// longer.
const LAYOUT: Duration = Duration::from_secs(3);

/// A tty of a USB device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tty {
    /// Its node, such as `/dev/ttyUSB2`.
    pub(super) node: PathBuf,
    /// The place on USB of its device, such as `1-1.2`.
    pub(super) usb_path: String,
    /// `vendor:product` of its device.
    pub(super) id: String,
    /// Number of its USB interface.
    pub(super) interface: u8,
    /// The interfaces of its device that had a tty when this tty was seen.
    pub(super) with_tty: Vec<u8>,
}

/// An event about a device or a tty.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "udev"),
    allow(dead_code, reason = "only udevd reports again what the kernel announced")
)]
pub(super) enum Change {
    /// The kernel added a USB device; udevd has not processed it yet.
    Announced(String),
    /// The kernel removed a USB device; udevd has not processed that yet.
    Withdrawn(String),
    /// A USB device, before its interfaces.
    DeviceCame(String),
    /// The removal of a USB device with all its ttys.
    DeviceWent(String, Number),
    /// A tty. Kernel and udevd report the same event under one number.
    Came(Tty, Number),
    /// The removal of the tty with this node.
    Went(PathBuf, Number),
}

/// The number of an event, as the kernel counts them.
pub(super) type Number = u64;

#[derive(Debug)]
struct Device {
    since: Instant,
    /// True if the kernel removed it. udevd has not reported that yet, and may do so only after the
    /// device came back.
    is_over: bool,
    ttys: Vec<Tty>,
    /// The interfaces that had a tty at the latest event of one of its ttys. The events of several
    /// ttys may come in any order, and the first may miss the ttys of the others.
    with_tty: Vec<u8>,
    /// True if its arrival was counted.
    is_counted: bool,
}

/// A plugged-in device for the published state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plugged<'a> {
    /// The place on USB.
    pub(super) usb_path: &'a str,
    /// `vendor:product`.
    pub(super) usb_id: &'a str,
    /// True if a layout has this id.
    pub(super) is_known: bool,
    /// Its ports, by interface.
    pub(super) ports: Vec<Port>,
    /// The number of its returns within the last minutes.
    pub(super) returns: usize,
}

/// All USB devices that were seen.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The layouts of each model; models without a profile come last.
    layouts: Vec<Vec<UsbLayout>>,
    /// The places in the fleet file: a device at one of them is a modem, whatever its id.
    named: BTreeSet<String>,
    devices: BTreeMap<String, Device>,
    /// The time at which the kernel announced each device.
    announced: BTreeMap<String, Instant>,
    /// The number of the event by which each node came, 0 for a scan. The kernel reports sooner
    /// than udevd. So udevd's events of an earlier stay of a node may follow.
    came: BTreeMap<PathBuf, Number>,
    /// The places at which a device was seen. `returns` counts the arrivals after the first.
    seen: BTreeSet<String>,
    returns: BTreeMap<String, Flapping>,
    /// The latest time that was passed in.
    now: Option<Instant>,
}

impl Device {
    fn new(since: Instant) -> Self {
        Self { since, is_over: false, ttys: Vec::new(), with_tty: Vec::new(), is_counted: false }
    }

    fn id(&self) -> &str {
        self.ttys.first().map_or("", |tty| &tty.id)
    }

    fn at(&self, interface: u8) -> Option<&Tty> {
        self.ttys.iter().find(|tty| tty.interface == interface)
    }

    /// Returns the layouts that match its present composition, in the order of the catalog.
    fn holding<'a>(&self, layouts: &'a [Vec<UsbLayout>]) -> Vec<&'a UsbLayout> {
        let has_tty = |number| self.with_tty.contains(&number) || self.at(number).is_some();
        let of_model = |all: &'a Vec<UsbLayout>| UsbLayout::holding(all, self.id(), has_tty);
        layouts.iter().flat_map(of_model).collect()
    }

    /// Returns its ttys at which these layouts have AT, each only once.
    fn at_ports<'a>(&self, layouts: impl Iterator<Item = &'a UsbLayout>) -> Vec<PathBuf> {
        let mut ttys: Vec<PathBuf> = Vec::new();
        for layout in layouts {
            let Some(primary) = self.at(layout.at) else { continue };
            let secondary = layout.secondary.and_then(|number| self.at(number));
            for tty in [Some(primary), secondary].into_iter().flatten() {
                if !ttys.contains(&tty.node) {
                    ttys.push(tty.node.clone());
                }
            }
        }
        ttys
    }
}

impl Table {
    /// Starts without devices. The layouts are in the catalog's order.
    pub(super) fn new(layouts: Vec<Vec<UsbLayout>>) -> Self {
        Self { layouts, ..Self::default() }
    }

    /// Replaces the layouts.
    pub(super) fn learn(&mut self, layouts: Vec<Vec<UsbLayout>>) {
        self.layouts = layouts;
    }

    /// Replaces the places in the fleet file.
    pub(super) fn name(&mut self, places: impl Iterator<Item = String>) {
        self.named = places.collect();
    }

    /// Applies an event; `now` is the time of its receipt.
    pub(super) fn apply(&mut self, change: Change, now: Instant) {
        self.now = Some(now);
        match change {
            Change::Announced(path) => {
                self.announced.insert(path, now);
            }
            Change::Withdrawn(path) => {
                self.announced.remove(&path);
                if let Some(device) = self.devices.get_mut(&path) {
                    device.is_over = true;
                }
            }
            Change::DeviceCame(path) => {
                let since = self.announced.get(&path).copied().unwrap_or(now);
                let device = self.devices.entry(path).or_insert_with(|| Device::new(since));
                // `udevadm trigger` repeats events of present devices. If there are no ttys, the
                // entry is from an earlier stay.
                if device.ttys.is_empty() {
                    *device = Device::new(since);
                }
            }
            Change::DeviceWent(path, number) => {
                let came = &self.came;
                let is_later = |tty: &Tty| came.get(&tty.node).is_some_and(|came| *came > number);
                if let Some(device) = self.devices.get_mut(&path) {
                    device.ttys.retain(is_later);
                }
                self.devices.retain(|other, device| *other != path || !device.ttys.is_empty());
            }
            Change::Came(tty, number) => {
                if self.is_before(&tty.node, number) {
                    return;
                }
                self.came.insert(tty.node.clone(), number);
                // A node belongs to one device, so its earlier device lost it.
                self.forget(&tty.node);
                let path = tty.usb_path.clone();
                let since = self.announced.get(&path).copied().unwrap_or(now);
                let device = self.devices.entry(path.clone()).or_insert_with(|| Device::new(since));
                if device.is_over {
                    *device = Device::new(since);
                }
                let is_new = !std::mem::replace(&mut device.is_counted, true);
                device.with_tty.clone_from(&tty.with_tty);
                device.ttys.push(tty);
                if is_new {
                    self.arrived(path, now);
                }
            }
            Change::Went(node, number) => {
                if !self.is_before(&node, number) {
                    self.came.remove(&node);
                    self.forget(&node);
                }
            }
        }
    }

    /// Replaces the table by the result of a scan. Known devices keep their time. Returns true if
    /// the table differed.
    pub(super) fn rescan(&mut self, ttys: Vec<Tty>, now: Instant) -> bool {
        let known: usize = self.devices.values().map(|device| device.ttys.len()).sum();
        let missed = known != ttys.len() || !ttys.iter().all(|tty| self.knows(tty));
        if missed {
            for device in self.devices.values_mut() {
                device.ttys.clear();
            }
            self.came.clear();
            for tty in ttys {
                self.apply(Change::Came(tty, 0), now);
            }
            self.devices.retain(|_, device| !device.ttys.is_empty());
        }
        missed
    }

    /// Returns the places with a device.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// Returns the devices that have a tty, by place.
    pub(super) fn devices(&self) -> impl Iterator<Item = Plugged<'_>> {
        self.devices.iter().filter_map(|(usb_path, device)| {
            let usb_id = device.ttys.first()?.id.as_str();
            let layouts = device.holding(&self.layouts);
            let port = |tty: &Tty| Port {
                tty: tty.node.clone(),
                interface: tty.interface,
                role: role(tty, &layouts),
            };
            let mut ports: Vec<Port> = device.ttys.iter().map(port).collect();
            ports.sort_by_key(|port| port.interface);
            let is_known = self.is_known(usb_id);
            let returns = self.returns(usb_path);
            Some(Plugged { usb_path, usb_id, is_known, ports, returns })
        })
    }

    /// Returns `vendor:product` of the device at this place.
    pub(super) fn id(&self, usb_path: &str) -> &str {
        self.devices.get(usb_path).map_or("", Device::id)
    }

    fn is_known(&self, id: &str) -> bool {
        self.layouts.iter().flatten().any(|layout| layout.is_of(id))
    }

    /// Returns the number of returns at this place within the last minutes.
    pub(super) fn returns(&self, usb_path: &str) -> usize {
        let returns = self.returns.get(usb_path).zip(self.now);
        returns.map_or(0, |(flapping, now)| flapping.count(now))
    }

    /// Returns the ports of the device at this place, those that should speak AT first. Returns
    /// `None` until the primary port is there, since the interfaces come one by one. [`LAYOUT`]
    /// after the device came, its other ports are returned: its layout may be unknown. `only`
    /// limits the result to this tty.
    pub(super) fn ports(&self, usb_path: &str, only: Option<&Path>) -> Option<Ports> {
        let device = self.devices.get(usb_path)?;
        let since = device.since;
        let told = |tty: &Tty| self.came.get(&tty.node).is_some_and(|number| *number > 0);
        let came = device.ttys.iter().all(told);
        if let Some(only) = only {
            let is_there = device.ttys.iter().any(|tty| tty.node == only);
            let ttys = vec![only.to_owned()];
            return is_there.then_some(Ports { ttys, others: Vec::new(), since, came });
        }
        // A modem may have the id of its boot loader, or of a composition without a layout.
        let is_known = self.is_known(device.id());
        if !is_known && !self.named.contains(usb_path) {
            return None;
        }
        let mut ttys = device.at_ports(device.holding(&self.layouts).into_iter());
        if ttys.is_empty() {
            if self.now.is_none_or(|now| now < since + LAYOUT) {
                return None;
            }
            // If a driver leaves ports out, a layout's condition may hold in the wrong composition.
            let own = self.layouts.iter().flatten().filter(|layout| layout.is_of(device.id()));
            ttys = device.at_ports(own);
        }
        let mut others: Vec<&Tty> =
            device.ttys.iter().filter(|tty| !ttys.contains(&tty.node)).collect();
        others.sort_by_key(|tty| tty.interface);
        let mut others: Vec<PathBuf> = others.into_iter().map(|tty| tty.node.clone()).collect();
        if ttys.is_empty() && !is_known {
            ttys = std::mem::take(&mut others);
        }
        (!device.ttys.is_empty()).then_some(Ports { ttys, others, since, came })
    }

    /// Sets the present time. Returns the time at which a device without its primary port is to be
    /// tried anyway.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Instant> {
        self.now = Some(now);
        self.returns.retain(|_, flapping| !flapping.forget(now));
        let all = self.devices.values().filter(|device| !device.ttys.is_empty());
        all.map(|device| device.since + LAYOUT).filter(|late| *late > now).min()
    }

    fn knows(&self, tty: &Tty) -> bool {
        let is_it = |known: &Tty| {
            known.node == tty.node && known.interface == tty.interface && known.id == tty.id
        };
        let device = self.devices.get(&tty.usb_path);
        device
            .is_some_and(|device| device.ttys.iter().any(is_it) && device.with_tty == tty.with_tty)
    }

    /// Counts an arrival at this place.
    fn arrived(&mut self, usb_path: String, now: Instant) {
        if !self.seen.insert(usb_path.clone()) {
            self.returns.entry(usb_path).or_default().returned(now);
        }
    }

    /// Reports whether an event belongs to an earlier stay of this node.
    fn is_before(&self, node: &Path, number: Number) -> bool {
        self.came.get(node).is_some_and(|came| number < *came)
    }

    fn forget(&mut self, node: &Path) {
        for device in self.devices.values_mut() {
            device.ttys.retain(|tty| tty.node != node);
        }
    }
}

fn role(tty: &Tty, layouts: &[&UsbLayout]) -> Role {
    let roles = layouts.iter().map(|layout| {
        if layout.at == tty.interface {
            Role::At
        } else if layout.secondary == Some(tty.interface) {
            Role::Secondary
        } else {
            Role::Other
        }
    });
    roles.min().unwrap_or(Role::Other)
}

#[cfg(test)]
mod tests {
    use modem::catalog::When;

    use super::*;

    fn layout(id: &str, at: u8, secondary: u8) -> UsbLayout {
        UsbLayout { id: id.to_owned(), at, secondary: Some(secondary), when: None }
    }

    fn table() -> Table {
        let twice = layout("1e0e:9001", 2, 3);
        let behind_network = When { no_tty: vec![0, 1], tty: Vec::new() };
        let rndis = UsbLayout { when: Some(behind_network), ..layout("2c7c:0125", 4, 5) };
        Table::new(vec![
            vec![twice.clone(), layout("1e0e:9011", 4, 5)],
            vec![twice, layout("1e0e:9011", 2, 3)],
            vec![rndis, layout("2c7c:0125", 2, 3)],
        ])
    }

    fn tty(number: u32, usb_path: &str, id: &str, interface: u8) -> Tty {
        let node = PathBuf::from(format!("/dev/ttyUSB{number}"));
        let (usb_path, id) = (usb_path.to_owned(), id.to_owned());
        Tty { node, usb_path, id, interface, with_tty: Vec::new() }
    }

    fn came(number: u32, usb_path: &str, interface: u8) -> Change {
        Change::Came(tty(number, usb_path, "1e0e:9001", interface), 0)
    }

    fn ttys(table: &Table, usb_path: &str) -> Vec<String> {
        let ports = table.ports(usb_path, None).map_or_else(Vec::new, |ports| ports.ttys);
        ports.iter().map(|tty| tty.display().to_string()).collect()
    }

    #[test]
    fn a_modem_is_there_once_its_primary_port_is() {
        let (mut table, now) = (table(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        table.apply(Change::DeviceCame("1-1".to_owned()), now);
        let steps: [(Change, &[&str]); 6] = [
            (came(0, "1-1", 0), &[]),
            (came(3, "1-1", 3), &[]),
            (came(2, "1-1", 2), &["/dev/ttyUSB2", "/dev/ttyUSB3"]),
            (came(5, "1-2", 2), &["/dev/ttyUSB2", "/dev/ttyUSB3"]),
            (Change::Went("/dev/ttyUSB3".into(), 0), &["/dev/ttyUSB2"]),
            (Change::DeviceWent("1-1".to_owned(), 0), &[]),
        ];
        for (ms, (change, expected)) in (1..).zip(steps) {
            let told = format!("{change:?}");
            table.apply(change, after(ms));
            assert_eq!(ttys(&table, "1-1"), expected, "after {told}");
            if let Some(ports) = table.ports("1-1", None) {
                assert_eq!(ports.since, now, "counted from the device's event, after {told}");
            }
        }
        assert_eq!(table.ports("1-2", None).map(|ports| ports.since), Some(after(4)));
    }

    #[test]
    fn time_counts_from_the_kernels_word_where_it_came() {
        let (mut table, now) = (table(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        // The second stay begins before udevd has processed the first.
        let steps = [
            (Change::Announced("1-1".to_owned()), None),
            (Change::DeviceCame("1-1".to_owned()), None),
            (came(2, "1-1", 2), Some(0)),
            (Change::Withdrawn("1-1".to_owned()), Some(0)),
            (Change::Announced("1-1".to_owned()), Some(0)),
            (Change::DeviceWent("1-1".to_owned(), 0), None),
            (Change::DeviceCame("1-1".to_owned()), None),
            (came(2, "1-1", 2), Some(4)),
            (Change::Withdrawn("1-1".to_owned()), Some(4)),
        ];
        for (ms, (change, expected)) in (0..).zip(steps) {
            let told = format!("{change:?}");
            table.apply(change, after(ms));
            let since = table.ports("1-1", None).map(|ports| ports.since);
            assert_eq!(since, expected.map(after), "after {told}");
        }
        assert_eq!(table.announced.len(), 0);
    }

    #[test]
    fn a_modem_comes_back_under_other_numbers_with_a_time_of_its_own() {
        let (mut table, now) = (table(), Instant::now());
        // Not every removal is reported in full: udev may report the device first, or only the
        // ttys.
        let ways: [&[Change]; 3] = [
            &[Change::Went("/dev/ttyUSB2".into(), 0), Change::DeviceWent("1-1".to_owned(), 0)],
            &[Change::DeviceWent("1-1".to_owned(), 0), Change::Went("/dev/ttyUSB2".into(), 0)],
            &[Change::Went("/dev/ttyUSB2".into(), 0)],
        ];
        for (stay, way) in (0..).zip(ways) {
            let back = now + Duration::from_secs(60 * (stay + 1));
            table.apply(Change::DeviceCame("1-1".to_owned()), now);
            table.apply(came(2, "1-1", 2), now);
            for change in way {
                table.apply(change.clone(), now);
            }
            assert_eq!(table.ports("1-1", None), None, "after {way:?}");
            table.apply(Change::DeviceCame("1-1".to_owned()), back);
            assert_eq!(table.ports("1-1", None), None, "its interfaces are not there yet");
            table.apply(came(4, "1-1", 0), back + Duration::from_millis(1));
            table.apply(came(6, "1-1", 2), back + Duration::from_millis(3));
            let (ttys, others) = (vec!["/dev/ttyUSB6".into()], vec!["/dev/ttyUSB4".into()]);
            let ports = Ports { ttys, others, since: back, came: false };
            assert_eq!(table.ports("1-1", None), Some(ports), "after {way:?}");
            table.apply(Change::DeviceWent("1-1".to_owned(), 0), back);
        }
    }

    #[test]
    fn layouts_of_one_id_are_tried_in_the_order_of_the_catalog() {
        let (mut table, now) = (table(), Instant::now());
        for interface in 2..6 {
            let tty = tty(interface.into(), "2-1.4", "1E0E:9011", interface);
            table.apply(Change::Came(tty, 0), now);
        }
        let expected = ["/dev/ttyUSB4", "/dev/ttyUSB5", "/dev/ttyUSB2", "/dev/ttyUSB3"];
        assert_eq!(ttys(&table, "2-1.4"), expected);
        // A device whose id no model has is not a modem, whatever its interfaces.
        table.apply(Change::Came(tty(9, "3-1", "0403:6001", 2), 0), now);
        assert_eq!(table.ports("3-1", None), None);
    }

    #[test]
    fn a_device_whose_primary_port_does_not_come_is_tried_at_the_others_after_a_while() {
        let (mut table, now) = (table(), Instant::now());
        for (number, interface) in [(1, 3), (0, 1)] {
            table.apply(came(number, "1-1", interface), now);
        }
        table.apply(Change::Came(tty(9, "3-1", "0403:6001", 2), 0), now);
        assert_eq!(table.tick(now), Some(now + LAYOUT));
        assert_eq!(table.ports("1-1", None), None);
        assert_eq!(table.tick(now + LAYOUT), None);
        let others = vec!["/dev/ttyUSB0".into(), "/dev/ttyUSB1".into()];
        let ports = Ports { ttys: Vec::new(), others, since: now, came: false };
        assert_eq!(table.ports("1-1", None), Some(ports));
        assert_eq!(table.ports("3-1", None), None, "no layout has its id");
        table.name(["3-1".to_owned()].into_iter());
        let named = table.ports("3-1", None).map(|ports| (ports.ttys.len(), ports.others.len()));
        assert_eq!(named, Some((1, 0)), "an entry names its place");
        // Ports without a known role stay behind the AT ports.
        table.apply(came(2, "1-1", 2), now + 2 * LAYOUT);
        let (ttys, others) =
            (vec!["/dev/ttyUSB2".into(), "/dev/ttyUSB1".into()], vec!["/dev/ttyUSB0".into()]);
        assert_eq!(table.ports("1-1", None), Some(Ports { ttys, others, since: now, came: false }));
    }

    #[test]
    fn a_node_that_went_over_to_another_device_leaves_the_first() {
        let (mut table, now) = (table(), Instant::now());
        table.apply(came(2, "1-1", 2), now);
        table.apply(came(2, "1-2", 2), now);
        assert_eq!((ttys(&table, "1-1").len(), ttys(&table, "1-2").len()), (0, 1));
        // A repeated event by `udevadm trigger` changes nothing.
        let before = table.ports("1-2", None);
        table.apply(Change::DeviceCame("1-2".to_owned()), now + Duration::from_secs(9));
        assert_eq!(table.ports("1-2", None), before);
    }

    #[test]
    fn a_modem_that_comes_back_before_udevd_told_that_it_went_is_plugged_in_anew() {
        let (mut table, now) = (table(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        let came = |number, event| Change::Came(tty(number, "1-1", "1e0e:9001", 2), event);
        table.apply(Change::Announced("1-1".to_owned()), now);
        table.apply(came(2, 10), after(1));
        table.apply(Change::Withdrawn("1-1".to_owned()), after(5));
        table.apply(Change::Announced("1-1".to_owned()), after(6));
        table.apply(came(6, 20), after(7));
        for late in [
            Change::Went("/dev/ttyUSB2".into(), 15),
            Change::DeviceWent("1-1".to_owned(), 16),
            Change::DeviceCame("1-1".to_owned()),
            came(6, 20),
        ] {
            let told = format!("{late:?}");
            let ports = table.ports("1-1", None).unwrap();
            assert_eq!(
                (ports.ttys, ports.since),
                (vec!["/dev/ttyUSB6".into()], after(6)),
                "{told}"
            );
            table.apply(late, after(9));
        }
        // An event of the kernel by `udevadm trigger` does not begin a new stay.
        table.apply(Change::Announced("1-1".to_owned()), after(20));
        table.apply(came(6, 30), after(21));
        assert_eq!(table.ports("1-1", None).map(|ports| ports.since), Some(after(6)));
    }

    #[test]
    fn what_udevd_tells_late_of_an_earlier_stay_changes_nothing() {
        let (mut table, now) = (table(), Instant::now());
        let came = |usb_path: &str, number| Change::Came(tty(2, usb_path, "1e0e:9001", 2), number);
        // The kernel reports two stays before udevd has processed the first.
        table.apply(came("1-1", 10), now);
        table.apply(came("1-2", 20), now);
        for late in [
            came("1-1", 10),
            Change::Went("/dev/ttyUSB2".into(), 15),
            Change::DeviceWent("1-2".to_owned(), 16),
            came("1-2", 20),
        ] {
            let told = format!("{late:?}");
            table.apply(late, now);
            let there = (ttys(&table, "1-1").len(), ttys(&table, "1-2").len());
            assert_eq!(there, (0, 1), "after {told}");
        }
        table.apply(Change::Went("/dev/ttyUSB2".into(), 25), now);
        assert_eq!(ttys(&table, "1-2").len(), 0);
        assert!(table.came.is_empty());
        // A tty from an event is new; a tty from a scan may have been there for long.
        table.apply(came("1-2", 30), now);
        assert!(table.ports("1-2", None).is_some_and(|ports| ports.came));
        let found = vec![tty(2, "1-2", "1e0e:9001", 2), tty(3, "1-2", "1e0e:9001", 3)];
        assert!(table.rescan(found, now));
        assert!(table.ports("1-2", None).is_some_and(|ports| !ports.came));
    }

    #[test]
    fn a_tty_that_is_asked_for_must_be_one_of_the_device() {
        let (mut table, now) = (table(), Instant::now());
        table.apply(came(2, "1-1", 2), now);
        table.apply(came(7, "1-2", 3), now);
        let only = |path: &str, tty: &str| table.ports(path, Some(Path::new(tty)));
        assert_eq!(only("1-1", "/dev/ttyUSB7"), None);
        let ports = only("1-2", "/dev/ttyUSB7");
        assert_eq!(ports.map(|ports| ports.ttys), Some(vec![PathBuf::from("/dev/ttyUSB7")]));
    }

    #[test]
    fn a_scan_finds_what_the_events_missed_and_nothing_twice() {
        let (mut table, now) = (table(), Instant::now());
        let later = now + Duration::from_secs(30);
        table.apply(came(2, "1-1", 2), now);
        table.apply(came(6, "1-3", 2), now);
        let there = || vec![tty(2, "1-1", "1e0e:9001", 2), tty(4, "1-2", "1e0e:9001", 2)];
        assert!(table.rescan(there(), later));
        let since = |path: &str| table.ports(path, None).map(|ports| ports.since);
        assert_eq!((since("1-1"), since("1-2"), since("1-3")), (Some(now), Some(later), None));
        assert!(!table.rescan(there(), later), "a second scan finds nothing new");
    }

    /// Plugs in an EC25 with ttys at these interfaces. Each event knows the ttys so far, or all at
    /// once.
    fn ec25(table: &mut Table, usb_path: &str, interfaces: &[u8], at_once: bool, now: Instant) {
        for (at, interface) in interfaces.iter().enumerate() {
            let so_far = if at_once { interfaces } else { &interfaces[..=at] };
            let number = u32::from(*interface) + 10;
            let tty = tty(number, usb_path, "2c7c:0125", *interface);
            table.apply(Change::Came(Tty { with_tty: so_far.to_vec(), ..tty }, 0), now);
        }
    }

    #[test]
    fn the_layout_is_that_of_the_composition_which_is_plugged_in() {
        let now = Instant::now();
        let names = |numbers: &[u8]| -> Vec<String> {
            numbers.iter().map(|number| format!("/dev/ttyUSB{}", number + 10)).collect()
        };
        // Interfaces with a tty, in the order of their events; the AT ports once all came, and
        // later.
        for (interfaces, at_once, soon, late) in [
            (&[0, 1, 2, 3][..], false, &[2, 3][..], &[2, 3][..]),
            // RNDIS takes 0 and 1: DM is 2, positions 3, AT 4, data 5.
            (&[2, 3, 4, 5], false, &[4, 5], &[4, 5]),
            (&[4, 2, 5, 3], true, &[4, 5], &[4, 5]),
            // udevd may process the AT port first.
            (&[2, 0, 3, 1], true, &[2, 3], &[2, 3]),
            // A kernel that knows only two ports of the other composition: 4 never has a tty.
            (&[2, 3], false, &[], &[2, 3]),
            (&[2], false, &[], &[2]),
            // The boot loader.
            (&[0], false, &[], &[]),
        ] {
            let mut table = table();
            ec25(&mut table, "1-1", interfaces, at_once, now);
            assert_eq!(ttys(&table, "1-1"), names(soon), "{interfaces:?}");
            table.tick(now + LAYOUT);
            assert_eq!(ttys(&table, "1-1"), names(late), "{interfaces:?}, later");
            let ports = table.ports("1-1", None).unwrap();
            assert_eq!(ports.places(), interfaces.len(), "all are tried: {interfaces:?}");
        }
    }

    #[test]
    fn two_modems_of_one_id_may_be_in_two_compositions() {
        let (mut table, now) = (table(), Instant::now());
        ec25(&mut table, "1-1", &[0, 1, 2, 3], false, now);
        for interface in 2..6_u8 {
            let tty = tty(u32::from(interface) + 20, "1-2", "2C7C:0125", interface);
            let with_tty = (2..=interface).collect();
            table.apply(Change::Came(Tty { with_tty, ..tty }, 0), now);
        }
        assert_eq!(ttys(&table, "1-1"), ["/dev/ttyUSB12", "/dev/ttyUSB13"]);
        assert_eq!(ttys(&table, "1-2"), ["/dev/ttyUSB24", "/dev/ttyUSB25"]);
        let roles: Vec<Role> =
            table.devices().flat_map(|device| device.ports).map(|port| port.role).collect();
        let expected = [Role::Other, Role::Other, Role::At, Role::Secondary];
        assert_eq!(roles, [expected, expected].concat());
    }

    #[test]
    fn what_comes_and_goes_is_counted_by_its_place_and_what_stays_is_not() {
        let (mut table, now) = (table(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        table.rescan(vec![tty(2, "1-1", "1e0e:9001", 2), tty(6, "1-2", "1e0e:9001", 2)], now);
        for stay in 1..5_u64 {
            table.rescan(vec![tty(6, "1-2", "1e0e:9001", 2)], after(10 * stay));
            let both = vec![tty(2, "1-1", "1e0e:9001", 2), tty(6, "1-2", "1e0e:9001", 2)];
            table.rescan(both, after(10 * stay + 5));
            table.tick(after(10 * stay + 5));
            assert_eq!(
                (table.returns("1-1"), table.returns("1-2")),
                (usize::try_from(stay).unwrap(), 0)
            );
        }
        table.tick(after(1_000));
        assert_eq!(table.returns("1-1"), 0);
    }
}
