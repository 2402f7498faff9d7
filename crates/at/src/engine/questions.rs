//! Questions that one stay on a port leaves to the next: a slow modem answers them all in the end.

use super::Engine;
use crate::resync::Resync;

impl Engine {
    /// So many questions that were asked at this port before it was opened may be answered still.
    pub fn expect_answers(&mut self, open: u32) {
        if let Some(resync) = &mut self.resync {
            resync.expect_more(open);
        }
    }

    /// How many questions are not answered yet that [`Identity`](crate::Identity) asks, or a command that is answered like them.
    pub fn open_questions(&self) -> u32 {
        let bare = self.in_flight.as_ref().is_some_and(|f| f.exchange.answer.takes_bare());
        let asked = self.resync.as_ref().map_or(0, Resync::open);
        self.left_open.saturating_add(asked).saturating_add(bare.into())
    }
}
