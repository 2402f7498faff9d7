//! `queue`: where it lies, its bounds, and what a power loss may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use super::build::{Build, Place};
use crate::choices::{FSYNC, WHEN_FULL};
use crate::context::Secrets;
use crate::fleet::{Fsync, Queue, WhenFull};
use crate::private;
use crate::words::{self, Fault};

const DEFAULT_PATH: &str = "/var/lib/modemfleet/queue";
const DEFAULT_BYTES: ByteSize = ByteSize::mib(64);
const MIN_BYTES: ByteSize = ByteSize::mib(1);
/// Shorter than a modem may take to come back, an age would drop what could have been sent.
const AGES: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(10 * 365 * 86_400));
const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(600));

impl Build<'_> {
    /// The folder of a store.
    pub(super) fn folder(&mut self, text: &str, place: &Place<'_>) -> PathBuf {
        let path = self.path(text).unwrap_or_else(|fault| {
            self.fault(place, fault);
            PathBuf::new()
        });
        self.warn_of_writers(&path, place);
        path
    }

    pub(super) fn queue(&mut self, place: &Place<'_>) -> Queue {
        let path = self.folder(place.text("path").unwrap_or(DEFAULT_PATH), &place.at("path"));
        let size = |text: &str| words::size(text, MIN_BYTES);
        let max_bytes = self.optional(place, "max_bytes", size).unwrap_or(DEFAULT_BYTES.as_u64());
        let max_messages = self.optional(place, "max_messages", count);
        let age = |text: &str| words::duration(text, AGES.0, AGES.1);
        let max_age = self.optional(place, "max_age", age);
        let word = |text: &str| words::one_of(text, &WHEN_FULL);
        let when_full = self.optional(place, "when_full", word).unwrap_or_default();
        if when_full == WhenFull::DropOldest {
            let message = "`drop_oldest` deletes messages whose receipt was acknowledged";
            let help = "`reject` tells the sender instead, which then can keep them".to_owned();
            self.warn(&place.at("when_full"), message, Some(help));
        }
        let fsync = self.fsync(place);
        Queue { path, max_bytes, max_messages, max_age, when_full, fsync }
    }

    /// Warns of a folder of this machine in which others may put something in the place of our files.
    pub(super) fn warn_of_writers(&mut self, folder: &Path, place: &Place<'_>) {
        if self.context.secrets == Secrets::Skip {
            return;
        }
        let Some(mode) = private::openings(folder).is_writable() else { return };
        let folder = folder.display();
        let message = format!("other users may write to {folder} (mode {mode:04o})");
        self.warn(place, message, Some(format!("chmod go-w {folder}")));
    }

    fn fsync(&mut self, place: &Place<'_>) -> Fsync {
        let word = |text: &str| words::one_of(text, &FSYNC);
        let fsync = self.optional(place, "fsync", word).unwrap_or_default();
        let time = |text: &str| words::duration(text, INTERVALS.0, INTERVALS.1);
        let interval = self.optional(place, "fsync_interval", time);
        if fsync == Fsync::Off {
            let message = "`off` syncs nothing: a power loss takes acknowledged messages";
            let help = "`interval` bounds what is lost to a second".to_owned();
            self.warn(&place.at("fsync"), message, Some(help));
        }
        match (fsync, interval) {
            (Fsync::Interval(_), Some(interval)) => Fsync::Interval(interval),
            (Fsync::Always | Fsync::Off, Some(_)) => {
                let message =
                    "`fsync_interval` has no meaning without `fsync: interval`".to_owned();
                self.error_at_name(&place.at("fsync_interval"), message, None);
                fsync
            }
            (fsync, None) => fsync,
        }
    }
}

/// A number of messages.
fn count(text: &str) -> Result<u64, Fault> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| Fault::new("must be a number of messages, at least 1"))
}
