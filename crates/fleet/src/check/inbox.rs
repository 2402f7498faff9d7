//! `inbox`: the store of what comes down, and its bounds.

use std::time::Duration;

use bytesize::ByteSize;

use super::build::{Build, Place};
use crate::fleet::Inbox;
use crate::words;

const DEFAULT_PATH: &str = "/var/lib/modemfleet/inbox";
const DEFAULT_BYTES: ByteSize = ByteSize::mib(64);
const MIN_BYTES: ByteSize = ByteSize::mib(1);
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_AGE: Duration = Duration::from_secs(7 * 86_400);
/// Shorter than an application takes to start again, it would keep nothing for it.
const AGES: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(10 * 365 * 86_400));
const EXPIRIES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(365 * 86_400));

impl Build<'_> {
    pub(super) fn inbox(&mut self, place: &Place<'_>) -> Inbox {
        let path = self.folder(place.text("path").unwrap_or(DEFAULT_PATH), &place.at("path"));
        let size = |text: &str| words::size(text, MIN_BYTES);
        let max_bytes = self.optional(place, "max_bytes", size);
        let age = |text: &str| words::duration(text, AGES.0, AGES.1);
        let max_age = self.optional(place, "max_age", age);
        let expiry = |text: &str| words::duration(text, EXPIRIES.0, EXPIRIES.1);
        let session_expiry = self.optional(place, "session_expiry", expiry);
        Inbox {
            path,
            max_bytes: max_bytes.unwrap_or(DEFAULT_BYTES.as_u64()),
            max_age: max_age.unwrap_or(DEFAULT_AGE),
            session_expiry: session_expiry.unwrap_or(DAY),
        }
    }
}
