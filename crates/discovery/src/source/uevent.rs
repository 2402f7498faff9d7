//! An event of the kernel as bytes: `ACTION@DEVPATH`, then `KEY=VALUE` parts, each ended by a zero.
//!
//! Documentation/core-api/kobject.rst; `kobject_uevent_env` in lib/kobject_uevent.c.

/// The keys of an event that discovery needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Uevent<'a> {
    /// `add`, `remove`, `bind` and others.
    pub(super) action: &'a str,
    /// The device's folder below /sys, with a leading `/`.
    pub(super) devpath: &'a str,
    /// Its subsystem, such as `tty`.
    pub(super) subsystem: &'a str,
    /// Its kind within the subsystem, such as `usb_device`; empty if it has none.
    pub(super) devtype: &'a str,
    /// Its node below /dev; empty if it has none.
    pub(super) devname: &'a str,
    /// The event's number.
    pub(super) number: u64,
}

impl<'a> Uevent<'a> {
    /// Reads a message; `None` if it is not an event of the kernel.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let mut parts = message.split(|byte| *byte == 0).map(str::from_utf8);
        // udevd's own messages begin with `libudev`.
        let (_, _) = parts.next()?.ok()?.split_once('@')?;
        let mut event = Self::default();
        for part in parts {
            // A value that is not UTF-8 belongs to none of the keys below.
            let Some((key, value)) = part.ok().and_then(|part| part.split_once('=')) else {
                continue;
            };
            match key {
                "ACTION" => event.action = value,
                "DEVPATH" => event.devpath = value,
                "SUBSYSTEM" => event.subsystem = value,
                "DEVTYPE" => event.devtype = value,
                "DEVNAME" => event.devname = value,
                "SEQNUM" => event.number = value.parse().ok()?,
                _ => {}
            }
        }
        let is_whole = !event.action.is_empty() && event.devpath.starts_with('/');
        is_whole.then_some(event)
    }

    /// Returns the device's name: the last part of its path, such as `1-1.2`.
    pub(super) fn name(&self) -> &'a str {
        self.devpath.rsplit_once('/').map_or(self.devpath, |(_, name)| name)
    }

    /// Reports whether it is about a USB device, not one of its interfaces.
    pub(super) fn is_usb_device(&self) -> bool {
        self.subsystem == "usb" && self.devtype == "usb_device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTY: &[u8] = b"add@/devices/pci0000:00/usb1/1-1/1-1:1.2/ttyUSB2/tty/ttyUSB2\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/usb1/1-1/1-1:1.2/ttyUSB2/tty/ttyUSB2\0SUBSYSTEM=tty\0MAJOR=188\0\
        MINOR=2\0DEVNAME=ttyUSB2\0SEQNUM=2812\0";

    #[test]
    fn an_event_is_read_by_its_keys() {
        let event = Uevent::read(TTY).unwrap();
        assert_eq!((event.action, event.subsystem, event.number), ("add", "tty", 2812));
        assert_eq!((event.devname, event.name()), ("ttyUSB2", "ttyUSB2"));
        assert!(!event.is_usb_device());
        let device = b"remove@/devices/usb1/1-1.2\0ACTION=remove\0DEVPATH=/devices/usb1/1-1.2\0\
            SUBSYSTEM=usb\0DEVTYPE=usb_device\0PRODUCT=\xff\0SEQNUM=9";
        let event = Uevent::read(device).unwrap();
        assert!(event.is_usb_device());
        assert_eq!((event.name(), event.number, event.devname), ("1-1.2", 9, ""));
    }

    #[test]
    fn other_bytes_are_not_an_event() {
        for bytes in [
            &b""[..],
            b"\0",
            b"libudev\0\xfe\xed\xca\xfe",
            b"add@/devices/x\0ACTION=add\0",
            b"add@/x\0ACTION=add\0DEVPATH=x\0",
            b"add@/x\0ACTION=add\0DEVPATH=/x\0SEQNUM=-1\0",
            b"\xff@/x\0ACTION=add\0DEVPATH=/x\0",
        ] {
            assert_eq!(Uevent::read(bytes), None, "{bytes:?}");
        }
        // A message that is cut off at any byte does not panic.
        for end in 0..TTY.len() {
            let _ = Uevent::read(TTY.get(..end).unwrap());
        }
    }
}
