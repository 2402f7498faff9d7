//! The modems and sessions that run now, as other parts see them.

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
    /// The facts that are known of it.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The way to it while it is identified.
    pub link: watch::Receiver<Option<Link>>,
    /// Its activity.
    pub activity: Arc<ActivityRecord>,
    /// Counts what its SIM carries, where a modem of the fleet has a budget.
    pub meter: Option<Meter>,
    /// The way to its port, for a person's own commands.
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
    /// How it is secured.
    pub security: Security,
    /// Where it stands, and how to hand it messages.
    pub uplink: Uplink,
}

impl SessionView {
    /// Where it stands.
    pub fn state(&self) -> SessionState {
        self.uplink.state.borrow().clone()
    }
}

/// How a session is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Plain TCP.
    Plain,
    /// TLS, and the broker's certificate has to be signed by the given authority.
    Tls,
    /// TLS, and any certificate is taken (`insecure: true`).
    InsecureTls,
}

/// The oldest messages of a lane that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The hand-in of the oldest that a connected session of the lane could carry.
    pub oldest: Option<SystemTime>,
    /// The hand-in of the oldest that only sessions could carry that are not there now.
    pub unfit: Option<SystemTime>,
}

/// What runs now: one value, so that nobody sees the half of a reload.
pub struct Now {
    /// The fleet file as it is applied.
    pub fleet: Fleet,
    /// All modems, in file order.
    pub modems: Vec<ModemView>,
    /// For each lane by its name, since when messages wait.
    pub waiting: Vec<(String, watch::Receiver<Waiting>)>,
}

impl Now {
    /// All sessions, in file order.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionView> {
        self.modems.iter().flat_map(|modem| &modem.sessions)
    }

    /// The modem of this name.
    pub fn modem(&self, name: &str) -> Option<&ModemView> {
        self.modems.iter().find(|modem| modem.name == name)
    }
}

/// A session and its modem.
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
    /// Told where a message may have been put into a lane that a reload has just taken away.
    pub strays: Arc<Notify>,
}

impl View {
    /// Of what `now` holds, and will.
    pub fn new(now: watch::Receiver<Arc<Now>>, queue: Queue) -> Self {
        Self { now, queue, strays: Arc::default() }
    }

    /// What runs now. Whoever keeps it for longer than a step keeps what is over.
    pub fn now(&self) -> Arc<Now> {
        Arc::clone(&self.now.borrow())
    }
}

impl ModemView {
    /// How its SIM stands; `None` where it has no budget.
    pub fn standing(&self) -> Option<Standing> {
        self.meter.as_ref()?.standing()
    }
}
