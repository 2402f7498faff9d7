//! `queue`: its folder, its bounds, and the messages that a power loss may take.

use std::path::Path;

use super::build::{Build, Place};
use crate::choices::{FSYNC, WHEN_FULL};
use crate::context::Secrets;
use crate::fleet::{Fsync, Queue, WhenFull};
use crate::private;

impl Build<'_> {
    pub(super) fn queue(&mut self, place: &Place<'_>) -> Option<Queue> {
        let path = self.folder(place);
        let max_bytes = self.size(place, "max_bytes");
        let max_messages = self.number(place, "max_messages");
        let max_age = self.time(place, "max_age");
        let when_full = self.word(place, "when_full", &WHEN_FULL)?;
        if when_full == WhenFull::DropOldest {
            let message = "`drop_oldest` deletes messages that were accepted";
            let help = "with `reject` the sender gets an error and can keep the message".to_owned();
            self.warn(&place.at("when_full"), message, Some(help));
        }
        let (path, max_bytes, fsync) = (path?, max_bytes?, self.fsync(place)?);
        Some(Queue { path, max_bytes, max_messages, max_age, when_full, fsync })
    }

    /// Warns of a folder of this machine in which other users may replace the files.
    pub(super) fn warn_of_writers(&mut self, folder: &Path, place: &Place<'_>) {
        if self.context.secrets == Secrets::Skip {
            return;
        }
        let Some(mode) = private::openings(folder).is_writable() else { return };
        let folder = folder.display();
        let message = format!("other users can write to {folder} (mode {mode:04o})");
        self.warn(place, message, Some(format!("chmod go-w {folder}")));
    }

    fn fsync(&mut self, place: &Place<'_>) -> Option<Fsync> {
        let fsync = self.word(place, "fsync", &FSYNC)?;
        let interval = self.time(place, "fsync_interval")?;
        if fsync == Fsync::Off {
            let message = "`off` syncs nothing: a power loss takes accepted messages";
            let help = "with `interval` a power loss takes those of one second".to_owned();
            self.warn(&place.at("fsync"), message, Some(help));
        }
        if let Fsync::Interval(_) = fsync {
            return Some(Fsync::Interval(interval));
        }
        if place.has("fsync_interval") {
            let message = "`fsync_interval` has no effect without `fsync: interval`".to_owned();
            self.error_at_name(&place.at("fsync_interval"), message, None);
        }
        Some(fsync)
    }
}
