//! Facts about the modem at a port, remembered until the port closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use modem::port::At;

/// Facts about a modem, and the number of its last packet.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    packet: AtomicU16,
    counted: AtomicU8,
    no_length: AtomicBool,
}

/// A firmware's knowledge of `AT+QMTPUBEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// No evidence for or against it.
    Unknown,
    /// The modem accepted it.
    Known,
    /// The firmware does not know it.
    Missing,
}

/// Returns the facts about the modem behind `at`.
pub(crate) fn of(at: &At) -> Arc<Memory> {
    at.memory()
}

impl Memory {
    /// Returns the number of the next packet: 1 to 65,535, and then from 1 again.
    pub(crate) fn packet(&self) -> u16 {
        let taken = self.packet.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(last.checked_add(1).unwrap_or(1))
        });
        taken.unwrap_or(0).checked_add(1).unwrap_or(1)
    }

    /// Reports whether a message can be published with its length.
    pub(crate) fn counted(&self) -> Counted {
        match self.counted.load(Ordering::Relaxed) {
            1 => Counted::Known,
            2 => Counted::Missing,
            _ => Counted::Unknown,
        }
    }

    pub(crate) fn note_counted(&self, counted: Counted) {
        let number = match counted {
            Counted::Unknown => 0,
            Counted::Known => 1,
            Counted::Missing => 2,
        };
        self.counted.store(number, Ordering::Relaxed);
    }

    /// Reports whether received messages come without their length.
    pub(crate) fn has_no_length(&self) -> bool {
        self.no_length.load(Ordering::Relaxed)
    }

    pub(crate) fn note_no_length(&self, it: bool) {
        self.no_length.store(it, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_numbered_from_1_and_never_0() {
        let memory = Memory { packet: AtomicU16::new(u16::MAX - 1), ..Memory::default() };
        assert_eq!([memory.packet(), memory.packet(), memory.packet()], [u16::MAX, 1, 2]);
    }
}
