//! The running modems and sessions, as other parts see them.

use std::sync::Arc;
use std::time::SystemTime;

use fleet::{Fleet, SessionId};
use modem::Snapshot;
use modem::console::Access;
use modem::exam::Link;
use modem::reset::Resets;
use modem::session::{SessionState, Uplink};
use queue::Queue;
use tokio::sync::{Notify, watch};

use crate::activity::ActivityRecord;
use crate::budget::{Meter, Standing};

/// One modem as others see it.
#[derive(Clone)]
pub struct ModemView {
    /// Its name in the fleet file.
    pub name: String,
    /// The tty or the USB path at which it is expected.
    pub port: String,
    /// The USB path at which it is plugged in, if it was found by USB.
    pub usb_path: Option<String>,
    /// The known facts of it.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The exchanges with it while it is identified.
    pub link: watch::Receiver<Option<Link>>,
    /// Its activity.
    pub activity: Arc<ActivityRecord>,
    /// Counts the traffic of its SIM, if a modem of the fleet has a budget.
    pub meter: Option<Meter>,
    /// The access to its port for a person's own commands.
    pub access: Access,
    /// The way to ask for its reset.
    pub resets: Resets,
    /// Its sessions, in file order.
    pub sessions: Vec<SessionView>,
}

/// One session as others see it.
#[derive(Clone)]
pub struct SessionView {
    /// `modem/session`.
    pub id: SessionId,
    /// Its broker's name in the fleet file.
    pub broker: String,
    /// Its security.
    pub security: Security,
    /// Its state, and the channel for its messages.
    pub uplink: Uplink,
}

impl SessionView {
    /// Returns its state.
    pub fn state(&self) -> SessionState {
        self.uplink.state.borrow().clone()
    }
}

/// The security of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Plain TCP.
    Plain,
    /// TLS; the broker's certificate must be signed by the given authority.
    Tls,
    /// TLS; any certificate is accepted (`insecure: true`).
    InsecureTls,
}

/// The oldest waiting messages of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The time of the oldest message that a connected session of the lane could carry.
    pub oldest: Option<SystemTime>,
    /// The time of the oldest message that only sessions without a connection could carry.
    pub unfit: Option<SystemTime>,
}

/// The running fleet: one value, so that no reader sees half of a reload.
pub struct Now {
    /// The applied fleet file.
    pub fleet: Fleet,
    /// All modems, in file order.
    pub modems: Vec<ModemView>,
    /// The oldest waiting messages of each lane, by the lane's name.
    pub waiting: Vec<(String, watch::Receiver<Waiting>)>,
}

impl Now {
    /// Returns all sessions, in file order.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionView> {
        self.modems.iter().flat_map(|modem| &modem.sessions)
    }

    /// Returns the modem of this name.
    pub fn modem(&self, name: &str) -> Option<&ModemView> {
        self.modems.iter().find(|modem| modem.name == name)
    }
}

/// Returns a session and its modem.
pub fn find_session<'a>(
    modems: &'a [ModemView],
    id: &SessionId,
) -> Option<(&'a ModemView, &'a SessionView)> {
    let modem = modems.iter().find(|modem| modem.name == id.modem.as_str())?;
    Some((modem, modem.sessions.iter().find(|session| session.id == *id)?))
}

/// The fleet and its queue as others see them.
#[derive(Clone)]
pub struct View {
    now: watch::Receiver<Arc<Now>>,
    /// The queue.
    pub queue: Queue,
    /// Notified when a message may have entered a lane that a reload has just removed.
    pub strays: Arc<Notify>,
}

impl View {
    /// Makes a view of the present and future values of `now`.
    pub fn new(now: watch::Receiver<Arc<Now>>, queue: Queue) -> Self {
        Self { now, queue, strays: Arc::default() }
    }

    /// Returns the running fleet. A caller that keeps it for longer than a step keeps an outdated
    /// value.
    pub fn now(&self) -> Arc<Now> {
        Arc::clone(&self.now.borrow())
    }
}

impl ModemView {
    /// Returns the state of its SIM's budget; `None` if it has none.
    pub fn standing(&self) -> Option<Standing> {
        self.meter.as_ref()?.standing()
    }
}
