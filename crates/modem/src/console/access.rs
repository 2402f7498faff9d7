//! The way to a modem's port from outside its task: a handle while it is open, and its URCs.

use std::sync::Arc;

use tokio::sync::watch;

use crate::port::At;
use crate::urc_listeners::{Hearing, UrcListeners};

/// The way to one modem's port. Clones lead to the same port.
#[derive(Debug, Clone)]
pub struct Access {
    port: watch::Receiver<Option<At>>,
    listeners: Arc<UrcListeners>,
}

impl Access {
    /// Creates the way to a port, with the two ends that the port's owner uses.
    pub(crate) fn new() -> (Self, watch::Sender<Option<At>>, Arc<UrcListeners>) {
        let (opened, port) = watch::channel(None);
        let listeners = Arc::new(UrcListeners::default());
        (Self { port, listeners: Arc::clone(&listeners) }, opened, listeners)
    }

    /// Returns a handle on the port, while it is open.
    pub fn at(&self) -> Option<At> {
        self.port.borrow().clone()
    }

    /// Listens to the modem's URCs from now on; `None` if there are too many listeners.
    pub fn listen(&self) -> Option<Hearing> {
        self.listeners.listen()
    }
}

/// A port that is open: others get the handle until this is dropped.
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
