//! The clients of a modem's MQTT stack, and the sessions that hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::message::{Client, Inbox};
use crate::session::{Lost, Session, SessionConfig};

/// News of lost sessions that waits to be read: one per connection at most.
const LOSSES: usize = 8;

/// The session that holds a client of the MQTT stack.
pub(crate) struct Holder {
    pub(crate) session: String,
    pub(crate) inbox: Arc<dyn Inbox>,
    is_secured: bool,
    pub(crate) lost: mpsc::Sender<Lost>,
}

/// The session that holds each client of the MQTT stack.
#[derive(Default)]
pub(crate) struct Holders(watch::Sender<BTreeMap<Client, Holder>>);

impl Holders {
    pub(crate) fn free_client(&self, clients: u8) -> Option<Client> {
        let holders = self.0.borrow();
        (0..clients).map(Client).find(|client| !holders.contains_key(client))
    }

    /// Gives a client to a session. The receiver gets the losses of its connection.
    pub(crate) fn hold(
        &self,
        client: Client,
        session: Option<&mut Session>,
    ) -> mpsc::Receiver<Lost> {
        let (lost, losses) = mpsc::channel(LOSSES);
        if let Some(config) = session.map(|session| &session.config) {
            let SessionConfig { name, secured, inbox, .. } = config;
            let (session, inbox) = (name.clone(), Arc::clone(inbox));
            let holder = Holder { session, inbox, is_secured: *secured, lost };
            self.0.send_modify(|holders| drop(holders.insert(client, holder)));
        }
        losses
    }

    /// Reports whether more than one session is in service, or about to be.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.borrow().len() > 1
    }

    /// Ends the hold of all sessions.
    pub(crate) fn clear(&self) {
        self.0.send_modify(BTreeMap::clear);
    }

    pub(crate) fn let_go(&self, client: Client) {
        self.0.send_modify(|holders| drop(holders.remove(&client)));
    }

    /// Calls `tell` with the session that has this client, if any.
    pub(crate) fn with(&self, client: Client, tell: impl FnOnce(&Holder)) {
        if let Some(holder) = self.0.borrow().get(&client) {
            tell(holder);
        }
    }

    /// Returns the clients of sessions that use TLS now.
    pub(crate) fn secured(&self) -> Vec<Client> {
        let holders = self.0.borrow();
        holders.iter().filter(|(_, holder)| holder.is_secured).map(|(client, _)| *client).collect()
    }
}
