//! Events of udev and its list of devices: ttys of USB devices.
//!
//! Only std and libudev read /sys here. No value of libudev leaves its thread, since its reference
//! counts are not atomic.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use futures_util::StreamExt;
use tokio_udev::{AsyncMonitorSocket, Device, Enumerator, Event, EventType, MonitorBuilder};

use super::sys::may_open;
use crate::interfaces;
use crate::table::{Change, Number, Tty};

/// The most event numbers that are kept: more than the ttys that come at once. udevd may lose an
/// event.
const TOLD: usize = 64;

/// Events of ttys and of USB devices, from now on.
pub(super) struct Events {
    udev: AsyncMonitorSocket,
    /// The kernel's own events: they report a device, and its ttys, before udevd has worked on it. A
    /// process that may open a tty as the kernel makes it, as root may, need not wait for udevd.
    kernel: Option<AsyncMonitorSocket>,
    /// Ttys that the kernel has reported, and udevd has not yet.
    told: BTreeSet<Number>,
}

impl Events {
    /// Listens.
    ///
    /// # Errors
    /// If no netlink socket for udev's events can be opened.
    pub(super) fn listen() -> io::Result<Self> {
        let devices = |builder: MonitorBuilder| {
            let builder = builder.match_subsystem("tty")?;
            builder.match_subsystem_devtype("usb", "usb_device")?.listen()
        };
        let udev = devices(MonitorBuilder::new()?)?;
        // Some sandboxes allow only udevd's events; times then count from those.
        let kernel =
            MonitorBuilder::new_kernel().and_then(devices).and_then(AsyncMonitorSocket::new);
        let kernel = kernel
            .inspect_err(|error| tracing::debug!("no events from the kernel itself: {error}"))
            .ok();
        Ok(Self { udev: AsyncMonitorSocket::new(udev)?, kernel, told: BTreeSet::new() })
    }

    /// Returns the next event, with `None` inside if it is not of interest; `None` if there are no
    /// more.
    ///
    /// # Cancel safety
    /// An event that was not returned stays in its socket.
    pub(super) async fn next(&mut self) -> Option<io::Result<Option<Change>>> {
        let Self { udev, kernel, told } = self;
        let announced = async {
            match kernel {
                Some(kernel) => kernel.next().await,
                None => std::future::pending().await,
            }
        };
        // The arms only take one event, and nothing follows.
        tokio::select! {
            biased;
            event = announced => match event {
                Some(Ok(event)) => {
                    let change = announcement(&event);
                    if let Some(Change::Came(_, number)) = change {
                        told.insert(number);
                    }
                    Some(Ok(change))
                }
                _ => {
                    self.kernel = None;
                    Some(Ok(None))
                }
            },
            // A second reading of known facts takes longer than the modem's first answer.
            event = udev.next() => Some(event?.map(|event| {
                let is_known = told.remove(&event.sequence_number());
                while told.len() > TOLD {
                    told.pop_first();
                }
                if is_known { None } else { change(&event) }
            })),
        }
    }
}

/// Returns the change of a kernel event: a USB device, or a tty that this process may open already.
fn announcement(event: &Event) -> Option<Change> {
    let device = event.device();
    if device.subsystem() == Some(OsStr::new("tty")) {
        let is_new = event.event_type() == EventType::Add;
        let tty = Some(device).filter(|_| is_new).and_then(|device| tty(&device));
        return Some(Change::Came(tty.filter(|tty| may_open(&tty.node))?, event.sequence_number()));
    }
    let place = text(device.sysname())?;
    match event.event_type() {
        EventType::Add => Some(Change::Announced(place)),
        EventType::Remove => Some(Change::Withdrawn(place)),
        _ => None,
    }
}

/// Returns the change of an event of udev; `None` for `bind`, `change` and other ttys.
fn change(event: &Event) -> Option<Change> {
    let device = event.device();
    let is_tty = device.subsystem() == Some(OsStr::new("tty"));
    match event.event_type() {
        EventType::Add if is_tty => {
            tty(&device).map(|tty| Change::Came(tty, event.sequence_number()))
        }
        EventType::Add => Some(Change::DeviceCame(text(device.sysname())?)),
        // Its parents may be gone, so only the name is read.
        EventType::Remove if is_tty => {
            Some(Change::Went(device.devnode()?.to_owned(), event.sequence_number()))
        }
        EventType::Remove => {
            Some(Change::DeviceWent(text(device.sysname())?, event.sequence_number()))
        }
        _ => None,
    }
}

/// Returns the ttys of USB devices. A tty that udevd has not finished with is left out if this process
/// may not open it yet: its event follows, and until then its node lacks its owner and group.
///
/// # Errors
/// If /sys cannot be read.
pub(super) fn scan() -> io::Result<Vec<Tty>> {
    let mut done = enumerate(true)?;
    let not_yet = enumerate(false)?.into_iter().filter(|tty| may_open(&tty.node));
    let more: Vec<Tty> = not_yet.filter(|tty| !done.contains(tty)).collect();
    done.extend(more);
    Ok(done)
}

fn enumerate(only_done: bool) -> io::Result<Vec<Tty>> {
    let mut all = Enumerator::new()?;
    all.match_subsystem("tty")?;
    if only_done {
        all.match_is_initialized()?;
    }
    Ok(all.scan_devices()?.filter_map(|device| tty(&device)).collect())
}

fn tty(device: &Device) -> Option<Tty> {
    let interface = device.parent_with_subsystem_devtype("usb", "usb_interface").ok()??;
    let usb = interface.parent_with_subsystem_devtype("usb", "usb_device").ok()??;
    let attribute = |device: &Device, name: &str| device.attribute_value(name).and_then(text);
    let vendor = attribute(&usb, "idVendor")?;
    let product = attribute(&usb, "idProduct")?;
    let number = attribute(&interface, "bInterfaceNumber")?;
    Some(Tty {
        node: device.devnode()?.to_owned(),
        usb_path: text(usb.sysname())?,
        id: format!("{vendor}:{product}"),
        interface: u8::from_str_radix(number.trim(), 16).ok()?,
        with_tty: with_tty(usb.syspath()),
    })
}

/// Returns the interfaces of the device in this folder that have a tty now.
fn with_tty(device: &Path) -> Vec<u8> {
    let found = interfaces::of(device).into_iter().filter(|interface| interface.has_tty);
    found.map(|interface| interface.number).collect()
}

fn text(words: &OsStr) -> Option<String> {
    words.to_str().map(str::to_owned)
}
