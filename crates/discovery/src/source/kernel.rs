//! Events of the kernel itself, by a netlink socket: for systems without udevd, and programs without libudev.
//!
//! Without udevd the kernel makes the nodes, and mdev or procd may change their owner a moment later. A tty is
//! reported once this process may open it, so that no modem's first attempt fails for that alone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt,
};
use tokio::io::{Interest, unix::AsyncFd};
use tokio::time::{Instant, sleep_until};

use super::sys::{Sys, may_open};
use super::uevent::Uevent;
use crate::table::{Change, Number, Tty};

/// The multicast group of the kernel's own events; udevd sends its own to group 2.
const KERNEL: u32 = 1;

/// The kernel's events are at most 2048 bytes of keys behind a path (UEVENT_BUFFER_SIZE).
const LONGEST: usize = 8_192;

/// A hub with eight modems makes about 400 events at once; each takes up to 2 kB of the buffer.
const BUFFER: usize = 1 << 20;

/// The pause between two looks at nodes that may not be opened yet.
const LOOK: Duration = Duration::from_millis(50);

/// A node that stays closed for so long is reported: its modem then says which permission is missing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Events of ttys and of USB devices, from now on.
#[derive(Debug)]
pub(super) struct Events {
    socket: AsyncFd<OwnedFd>,
    waiting: Waiting,
    sys: Sys,
}

impl Events {
    /// Listens.
    ///
    /// # Errors
    /// If the socket cannot be had, as in a sandbox without AF_NETLINK.
    pub(super) fn listen(sys: Sys) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
        // More than the limit for all takes a capability; the kernel's default then has to do.
        let _is_forced = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER));
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self { socket: watched(socket)?, waiting: Waiting::default(), sys })
    }

    /// Returns the next event, if it is of interest; `None` if there will be no more.
    ///
    /// # Cancel safety
    /// An event that was not returned stays in its socket, and a tty that waits stays in its list.
    pub(super) async fn next(&mut self) -> Option<io::Result<Option<Change>>> {
        let Self { socket, waiting, sys } = self;
        let mut message = [0; LONGEST];
        let receive = |socket: &OwnedFd| {
            let (_, length, sender) = recvfrom(socket, &mut message[..], RecvFlags::empty())?;
            Ok((length, sender))
        };
        let looks = waiting.looks();
        // The arms take one event or nothing, and no body awaits.
        let received = tokio::select! {
            biased;
            received = socket.async_io(Interest::READABLE, receive) => received,
            () = until(looks) => return Some(Ok(waiting.look(Instant::now(), may_open))),
        };
        match received {
            Ok((length, sender)) => {
                // Other processes may send to this socket; the kernel has no port.
                let sender = sender.and_then(|any| SocketAddrNetlink::try_from(any).ok());
                let is_kernel = sender.is_some_and(|sender| sender.pid() == 0);
                let event = message.get(..length).filter(|_| is_kernel).and_then(Uevent::read);
                Some(
                    Ok(event.and_then(|event| waiting.take(&event, sys, Instant::now(), may_open))),
                )
            }
            // The buffer was full (netlink(7)).
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                Some(Err(error))
            }
            Err(error) => {
                tracing::warn!("the socket of the kernel's events failed: {error}");
                None
            }
        }
    }
}

/// Registers a descriptor with the runtime.
#[expect(
    deprecated,
    reason = "the replacement asks by `unsafe` for a descriptor that stays open and the same; this one is \
              owned by the AsyncFd alone"
)]
fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// The ttys that came and may not be opened yet.
#[derive(Debug, Default)]
struct Waiting {
    ttys: Vec<(Tty, Number, Instant)>,
    /// The time of the next look.
    next: Option<Instant>,
}

impl Waiting {
    /// Returns the time of the next look, if a tty waits.
    fn looks(&self) -> Option<Instant> {
        self.next.filter(|_| !self.ttys.is_empty())
    }

    /// Takes in an event, and returns the change that is to be reported now.
    fn take(
        &mut self,
        event: &Uevent<'_>,
        sys: &Sys,
        now: Instant,
        may_open: fn(&Path) -> bool,
    ) -> Option<Change> {
        let (name, number) = (event.name().to_owned(), event.number);
        match (event.action, event.subsystem) {
            ("add", _) if event.is_usb_device() => Some(Change::DeviceCame(name)),
            ("remove", _) if event.is_usb_device() => {
                self.ttys.retain(|(tty, ..)| tty.usb_path != name);
                Some(Change::DeviceWent(name, number))
            }
            ("add", "tty") => {
                let tty = sys.tty(event.devpath)?;
                self.ttys.retain(|(waiting, ..)| waiting.node != tty.node);
                if may_open(&tty.node) {
                    return Some(Change::Came(tty, number));
                }
                self.next = Some(now + LOOK);
                self.ttys.push((tty, number, now + PATIENCE));
                None
            }
            ("remove", "tty") => {
                let name = if event.devname.is_empty() { event.name() } else { event.devname };
                let node = Path::new("/dev").join(name);
                self.ttys.retain(|(tty, ..)| tty.node != node);
                Some(Change::Went(node, number))
            }
            _ => None,
        }
    }

    /// Looks again at the ttys that wait. Returns one that may be opened now, or waited long enough.
    fn look(&mut self, now: Instant, may_open: fn(&Path) -> bool) -> Option<Change> {
        let is_over =
            |(tty, _, until): &(Tty, Number, Instant)| *until <= now || may_open(&tty.node);
        let Some(at) = self.ttys.iter().position(is_over) else {
            self.next = Some(now + LOOK);
            return None;
        };
        // The next look follows at once: another one may be due.
        self.next = Some(now);
        let (tty, number, _) = self.ttys.remove(at);
        Some(Change::Came(tty, number))
    }
}

/// Waits until then; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::tests::Fake;
    use super::*;

    fn event(action: &'static str, devpath: &str, number: u64) -> String {
        let kind = if devpath.contains("/tty/") { "tty" } else { "usb\0DEVTYPE=usb_device" };
        format!(
            "{action}@{devpath}\0ACTION={action}\0DEVPATH={devpath}\0SUBSYSTEM={kind}\0SEQNUM={number}\0"
        )
    }

    fn told(waiting: &mut Waiting, fake: &Fake, text: &str, may_open: fn(&Path) -> bool) -> String {
        let event = Uevent::read(text.as_bytes()).unwrap();
        let change = waiting.take(&event, &fake.sys(), Instant::now(), may_open);
        change.map_or_else(String::new, |change| match change {
            Change::Came(tty, number) => format!("came {} {number}", tty.node.display()),
            Change::Went(node, number) => format!("went {} {number}", node.display()),
            Change::DeviceCame(path) => format!("device came {path}"),
            Change::DeviceWent(path, number) => format!("device went {path} {number}"),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_plug_and_an_unplug_are_the_same_changes_as_udevs() {
        let (fake, mut waiting) = (Fake::new(), Waiting::default());
        let ttys = fake.plug("1-1", ("1e0e", "9001"), &[(2, "ttyUSB2"), (3, "ttyUSB3")]);
        let device = "/devices/pci0000:00/0000:00:14.0/usb1/1-1";
        for (text, expected) in [
            (event("add", device, 1), "device came 1-1"),
            (event("bind", device, 2), ""),
            (event("add", &ttys[0], 3), "came /dev/ttyUSB2 3"),
            (event("add", &ttys[1], 4), "came /dev/ttyUSB3 4"),
            (event("change", &ttys[1], 5), ""),
            (event("add", "/devices/virtual/tty/tty0/tty/x", 6), ""),
            (event("remove", &ttys[0], 7), "went /dev/ttyUSB2 7"),
            (event("remove", device, 8), "device went 1-1 8"),
        ] {
            assert_eq!(told(&mut waiting, &fake, &text, |_| true), expected, "{text:?}");
        }
        assert_eq!(waiting.looks(), None);
    }

    #[test]
    fn a_node_is_waited_for_until_it_may_be_opened_and_not_for_ever() {
        let (fake, mut waiting) = (Fake::new(), Waiting::default());
        let ttys = fake.plug("1-1", ("1e0e", "9001"), &[(2, "ttyUSB2"), (3, "ttyUSB3")]);
        let first_only = |node: &Path| node.ends_with("ttyUSB2");
        for (tty, number) in ttys.iter().zip(1..) {
            assert_eq!(told(&mut waiting, &fake, &event("add", tty, number), |_| false), "");
        }
        let now = Instant::now();
        assert!(waiting.looks().is_some());
        assert_eq!(waiting.look(now, |_| false), None);
        let came = waiting.look(now, first_only);
        assert!(matches!(came, Some(Change::Came(tty, 1)) if tty.interface == 2));
        assert_eq!(waiting.look(now, first_only), None);
        let late = waiting.look(now + PATIENCE, first_only);
        assert!(matches!(late, Some(Change::Came(tty, 2)) if tty.interface == 3));
        assert_eq!(waiting.looks(), None);
        // A device that goes takes along what still waits.
        told(&mut waiting, &fake, &event("add", &ttys[0], 3), |_| false);
        told(&mut waiting, &fake, &event("remove", "/devices/usb1/1-1", 4), |_| false);
        assert_eq!((waiting.looks(), waiting.ttys.len()), (None, 0));
    }

    #[tokio::test]
    async fn the_kernel_lets_a_process_listen() {
        // Sandboxes without netlink are met by the scan each second.
        let Ok(mut events) = Events::listen(Fake::new().sys()) else { return };
        let quiet = tokio::time::timeout(Duration::from_millis(10), events.next()).await;
        // A device may be plugged in by chance; an error or an end would be wrong.
        assert!(!matches!(quiet, Ok(None | Some(Err(_)))), "{quiet:?}");
    }
}
