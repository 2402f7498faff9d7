//! Questions left open at a port that was closed: a slow modem answers all of them in the end.

use super::Engine;
use crate::resync::Resync;

impl Engine {
    /// Expects late answers to `open` questions that were asked at this port before it was opened.
    pub fn expect_answers(&mut self, open: u32) {
        if let Some(resync) = &mut self.resync {
            resync.expect_more(open);
        }
    }

    /// Returns the number of unanswered questions of [`Identity`](crate::Identity), and of commands
    /// that are answered like them.
    pub fn open_questions(&self) -> u32 {
        let bare = self.in_flight.as_ref().is_some_and(|f| f.exchange.answer.takes_bare());
        let asked = self.resync.as_ref().map_or(0, Resync::open);
        self.left_open.saturating_add(asked).saturating_add(bare.into())
    }
}
