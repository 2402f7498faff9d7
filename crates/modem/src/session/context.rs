//! What a session has of its modem, and what the modem learns of it.

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::stagger::Stagger;
use crate::mqtt::{Client, Mqtt};
use crate::port::At;

/// The news a session gets from the URCs of its modem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub cause: &'static str,
    pub by_broker: bool,
}

/// What a session needs of its modem while the service is up.
pub(crate) struct SessionContext<'a> {
    pub at: &'a At,
    pub mqtt: &'a dyn Mqtt,
    pub client: Client,
    pub registered: watch::Receiver<bool>,
    /// The fleet file forbids to be connected as things are: roaming.
    pub forbidden: watch::Receiver<bool>,
    pub lost: mpsc::Receiver<Lost>,
    pub stagger: &'a Stagger,
    pub stop: &'a CancellationToken,
    /// Who is told how the session fares.
    pub supervisor: &'a dyn Supervisor,
}

/// Is told how a session fares, and knows how the others of its modem do. All of it returns at once.
pub(crate) trait Supervisor: Sync {
    /// Its CONNECT is about to be sent.
    fn connecting(&self);
    /// It is connected.
    fn connected(&self);
    /// Its CONNECT was refused, but not for want of a network inside the modem.
    fn refused(&self);
    /// A publish was acknowledged.
    fn acknowledged(&self);
    /// It is not connected any more.
    fn ended(&self);
    /// Reports whether the modem has another session, which waits while this one holds the stack.
    fn is_shared(&self) -> bool;
    /// Reports whether it fails again and again, and not by its broker's word.
    fn fails(&self, session: &str, fails: bool);
    /// Reports whether the service is to be started again for sessions that fail so.
    fn is_restart_due(&self) -> bool;
    /// Another session, still connected, had a publish acknowledged a moment ago, so the service is sound.
    fn others_are_sound(&self) -> bool;
}

/// Why a session stopped serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServeEnd {
    /// It was told to, and signed out.
    Stopped,
    /// The stack's network is gone: the service must be started again.
    ServiceLost,
    /// It fails again and again, and not by its broker's word: the service is to be started again.
    Failing,
    /// The stack knows nothing any more of a service that was good: the modem booted, as a rule.
    Forgotten,
    /// The modem has not been registered for too long.
    Unregistered,
    /// There are sessions now and were none, or the other way round.
    Regrouped,
}
