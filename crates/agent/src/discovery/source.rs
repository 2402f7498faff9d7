//! What udev tells: ttys of USB devices as they come and go, and those that are there.
//!
//! Only std and libudev read /sys here, and no value of libudev's leaves its thread: its reference
//! counts are not atomic.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use futures_util::StreamExt;
use tokio_udev::{AsyncMonitorSocket, Device, Enumerator, Event, EventType, MonitorBuilder};

use super::table::{Change, Tty};

/// Here only while udevd runs; without it no event ever comes, and no error either.
const UDEVD: &str = "/run/udev/control";

/// Whether udevd runs.
pub(crate) fn has_udevd() -> bool {
    Path::new(UDEVD).exists()
}

/// Events of ttys and of USB devices, from now on.
pub(super) struct Events {
    udev: AsyncMonitorSocket,
    /// The kernel's own: it tells of a device while udevd is still to work on it.
    kernel: Option<AsyncMonitorSocket>,
}

impl Events {
    /// Listens.
    ///
    /// # Errors
    /// Where no netlink socket for udev's events can be had.
    pub(super) fn listen() -> io::Result<Self> {
        let devices = |builder: MonitorBuilder| {
            builder.match_subsystem_devtype("usb", "usb_device")?.listen()
        };
        let udev = devices(MonitorBuilder::new()?.match_subsystem("tty")?)?;
        // Some sandboxes let only udevd's through: times then count from those.
        let kernel =
            MonitorBuilder::new_kernel().and_then(devices).and_then(AsyncMonitorSocket::new);
        let kernel = kernel
            .inspect_err(|error| tracing::debug!("no events from the kernel itself: {error}"))
            .ok();
        Ok(Self { udev: AsyncMonitorSocket::new(udev)?, kernel })
    }

    /// The next event, if it is of interest; `None` where there will be no more.
    ///
    /// # Cancel safety
    /// An event that was not returned stays in its socket.
    pub(super) async fn next(&mut self) -> Option<io::Result<Option<Change>>> {
        let Self { udev, kernel } = self;
        let announced = async {
            match kernel {
                Some(kernel) => kernel.next().await,
                None => std::future::pending().await,
            }
        };
        // The arms only take one event, and nothing follows.
        let told = tokio::select! {
            biased;
            event = announced => match event {
                Some(Ok(event)) => Some(Ok(announcement(&event))),
                _ => None,
            },
            event = udev.next() => return Some(event?.map(|event| change(&event))),
        };
        if told.is_none() {
            self.kernel = None;
        }
        Some(told.unwrap_or(Ok(None)))
    }
}

/// What the kernel says of a USB device.
fn announcement(event: &Event) -> Option<Change> {
    let place = text(event.device().sysname())?;
    match event.event_type() {
        EventType::Add => Some(Change::Announced(place)),
        EventType::Remove => Some(Change::Withdrawn(place)),
        _ => None,
    }
}

/// What an event of udev says; nothing where it is of no interest (`bind`, `change`, other ttys).
fn change(event: &Event) -> Option<Change> {
    let device = event.device();
    let is_tty = device.subsystem() == Some(OsStr::new("tty"));
    match event.event_type() {
        EventType::Add if is_tty => tty(&device).map(Change::Came),
        EventType::Add => Some(Change::DeviceCame(text(device.sysname())?)),
        // Its parents may be gone: only the name is asked for.
        EventType::Remove if is_tty => Some(Change::Went(device.devnode()?.to_owned())),
        EventType::Remove => Some(Change::DeviceWent(text(device.sysname())?)),
        _ => None,
    }
}

/// The ttys of USB devices that are there. One that udevd has not finished with is left out: its event
/// follows, and before that its node has not its owner and group.
///
/// # Errors
/// Where /sys cannot be read.
pub(super) fn scan() -> io::Result<Vec<Tty>> {
    let mut all = Enumerator::new()?;
    all.match_subsystem("tty")?;
    if has_udevd() {
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
    })
}

fn text(words: &OsStr) -> Option<String> {
    words.to_str().map(str::to_owned)
}
