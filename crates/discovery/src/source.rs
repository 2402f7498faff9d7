//! Ttys of USB devices from udev: events, and scans.
//!
//! libudev needs the feature `udev` and a running udevd. Without either, the kernel's own events and /sys serve:
//! on OpenWrt, in containers, and in the static program.

mod kernel;
mod sys;
#[cfg(feature = "udev")]
mod udev;
mod uevent;

use std::io;
use std::path::Path;

use crate::table::{Change, Tty};
use sys::Sys;

/// Exists only while udevd runs. Without udevd libudev delivers no event, and no error either.
const UDEVD: &str = "/run/udev/control";

/// The user namespace's range of users. The kernel sends its events to the first namespace alone.
const USERS: &str = "/proc/self/uid_map";

/// Reports whether udevd runs.
pub fn has_udevd() -> bool {
    Path::new(UDEVD).exists()
}

/// The stream of events of ttys and USB devices.
pub(super) struct Events(Source);

enum Source {
    /// The kernel's own events, which come before udevd has processed a device. A process that may
    /// open the ttys as the kernel makes them, such as root, need not wait for udevd.
    #[cfg(feature = "udev")]
    Udev(Box<udev::Events>),
    /// Event numbers of ttys that the kernel announced and udevd has not.
    Kernel(kernel::Events),
}

impl Events {
    /// Starts to listen.
    ///
    /// # Errors
    /// An error if no netlink socket for udev's events can be opened.
    pub(super) fn listen() -> io::Result<Self> {
        #[cfg(feature = "udev")]
        if has_udevd() {
            return Ok(Self(Source::Udev(Box::new(udev::Events::listen()?))));
        }
        tracing::info!("events of USB devices come from the kernel itself, without udevd");
        Ok(Self(Source::Kernel(kernel::Events::listen(Sys::default())?)))
    }

    /// Returns the next event, or `Some(Ok(None))` if it is not of interest; `None` after the last
    /// one.
    ///
    /// # Cancel safety
    /// An event that was not returned stays in its socket.
    pub(super) fn are_delivered(&self) -> bool {
        match &self.0 {
            #[cfg(feature = "udev")]
            Source::Udev(_) => true,
            Source::Kernel(_) => {
                std::fs::read_to_string(USERS).is_ok_and(|map| has_all_users(&map))
            }
        }
    }

    /// Returns the next event, if it is of interest; `None` if there will be no more.
    ///
    /// # Cancel safety
    /// An event that was not returned stays in its socket.
    pub(super) async fn next(&mut self) -> Option<io::Result<Option<Change>>> {
        match &mut self.0 {
            #[cfg(feature = "udev")]
            Source::Udev(events) => events.next().await,
            Source::Kernel(events) => events.next().await,
        }
    }
}

/// Returns the ttys of USB devices that are there.
///
/// # Errors
/// An error if /sys cannot be read.
pub(super) fn scan() -> io::Result<Vec<Tty>> {
    #[cfg(feature = "udev")]
    if has_udevd() {
        return udev::scan();
    }
    Sys::default().scan()
}

/// Reads `uid_map` (user_namespaces(7)): only the first namespace has all users under their own numbers.
fn has_all_users(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_namespace_has_all_users() {
        assert!(has_all_users("         0          0 4294967295\n"));
        assert!(!has_all_users("         0       1000          1\n"));
        assert!(!has_all_users("0 1000 1\n1 100000 65536\n"));
        assert!(!has_all_users(""));
    }
}
