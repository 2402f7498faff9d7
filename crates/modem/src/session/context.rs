//! The modem's parts that a session uses, and the reports of a session to its modem.

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::stagger::Stagger;
use crate::mqtt::{Client, Mqtt};
use crate::port::At;

/// The news that a session gets from the URCs of its modem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub cause: &'static str,
    pub by_broker: bool,
}

/// The parts of its modem that a session needs while the service is up.
pub(crate) struct SessionContext<'a> {
    pub at: &'a At,
    pub mqtt: &'a dyn Mqtt,
    pub client: Client,
    pub registered: watch::Receiver<bool>,
    /// True if the fleet file forbids a connection at present: roaming.
    pub forbidden: watch::Receiver<bool>,
    pub lost: mpsc::Receiver<Lost>,
    pub stagger: &'a Stagger,
    pub stop: &'a CancellationToken,
    /// The receiver of the session's reports.
    pub supervisor: &'a dyn Supervisor,
}

/// The receiver of a session's reports, which also knows the state of the modem's other sessions.
/// All methods return at once.
pub(crate) trait Supervisor: Sync {
    /// Its CONNECT is about to be sent.
    fn connecting(&self);
    /// It is connected.
    fn connected(&self);
    /// Its CONNECT was refused, but not because the modem had no network.
    fn refused(&self);
    /// A publish was acknowledged.
    fn acknowledged(&self);
    /// It is not connected any more.
    fn ended(&self);
    /// Reports whether the modem has another session, which waits while this one holds the stack.
    fn is_shared(&self) -> bool;
    /// Notes whether it keeps failing for another reason than its broker.
    fn fails(&self, session: &str, fails: bool);
    /// Reports whether the service is due for a restart because of such sessions.
    fn is_restart_due(&self) -> bool;
    /// Reports whether another session, still connected, had a publish acknowledged a moment ago,
    /// so that the service is sound.
    fn others_are_sound(&self) -> bool;
}

/// The reason why a session stopped serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServeEnd {
    /// It had to stop, and signed out.
    Stopped,
    /// The stack's network is gone: the service must be started again.
    ServiceLost,
    /// It keeps failing for another reason than its broker: the service must be restarted.
    Failing,
    /// The stack lost a service that worked: usually the modem booted.
    Forgotten,
    /// The modem has not been registered for too long.
    Unregistered,
    /// The first session joined, or the last session left.
    Regrouped,
}
