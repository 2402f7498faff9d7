//! The way to a modem's port from outside its task: a handle while it is open, and what it says unasked.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ears::{Ears, Hearing};
use crate::port::At;

/// The way to one modem's port. Clones lead to the same.
#[derive(Debug, Clone)]
pub struct Access {
    port: watch::Receiver<Option<At>>,
    ears: Arc<Ears>,
}

impl Access {
    /// The way to a port, and the two ends by which its owner makes it one.
    pub(crate) fn new() -> (Self, watch::Sender<Option<At>>, Arc<Ears>) {
        let (opened, port) = watch::channel(None);
        let ears = Arc::new(Ears::default());
        (Self { port, ears: Arc::clone(&ears) }, opened, ears)
    }

    /// A handle on the port, while it is open.
    pub fn at(&self) -> Option<At> {
        self.port.borrow().clone()
    }

    /// Hears what the modem says unasked from now on; `None` where too many listen.
    pub fn listen(&self) -> Option<Hearing> {
        self.ears.listen()
    }
}

/// A port that is open: the handle is given out until this is dropped.
pub(crate) struct Open<'a>(&'a watch::Sender<Option<At>>);

impl<'a> Open<'a> {
    pub(crate) fn new(opened: &'a watch::Sender<Option<At>>, at: At) -> Self {
        opened.send_replace(Some(at));
        Self(opened)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}
