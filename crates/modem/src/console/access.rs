//! The way to a modem's port from outside its task: a handle while it is open, and what it says unasked.

use std::sync::Arc;

use tokio::sync::watch;

use crate::port::At;
use crate::urc_listeners::{Hearing, UrcListeners};

/// The way to one modem's port. Clones lead to the same.
#[derive(Debug, Clone)]
pub struct Access {
    port: watch::Receiver<Option<At>>,
    listeners: Arc<UrcListeners>,
}

impl Access {
    /// The way to a port, and the two ends by which its owner makes it one.
    pub(crate) fn new() -> (Self, watch::Sender<Option<At>>, Arc<UrcListeners>) {
        let (opened, port) = watch::channel(None);
        let listeners = Arc::new(UrcListeners::default());
        (Self { port, listeners: Arc::clone(&listeners) }, opened, listeners)
    }

    /// A handle on the port, while it is open.
    pub fn at(&self) -> Option<At> {
        self.port.borrow().clone()
    }

    /// Hears what the modem says unasked from now on; `None` where too many listen.
    pub fn listen(&self) -> Option<Hearing> {
        self.listeners.listen()
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
