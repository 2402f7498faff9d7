//! `inbox`: the store of received messages.

use super::build::{Build, Place};
use crate::fleet::Inbox;

impl Build<'_> {
    pub(super) fn inbox(&mut self, place: &Place<'_>) -> Option<Inbox> {
        let path = self.folder(place);
        let max_bytes = self.size(place, "max_bytes");
        let max_age = self.time(place, "max_age");
        let session_expiry = self.time(place, "session_expiry");
        Some(Inbox {
            path: path?,
            max_bytes: max_bytes?,
            max_age: max_age?,
            session_expiry: session_expiry?,
        })
    }
}
