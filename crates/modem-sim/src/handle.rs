//! Actions of tests and of the demo on a running modem.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    fault::Fault,
    illness::{Illness, Symptom},
    options::{Access, Coverage, Registration, Signal},
    port::{PortError, Wire},
    unit::Counts,
};

/// The reason why an action on a modem failed.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The modem does not run (any more).
    #[error("the simulated modem does not run")]
    NotRunning,
    /// The modem cannot be plugged in again.
    #[error("cannot plug the simulated modem in")]
    Port(#[source] PortError),
}

/// An action on a modem.
pub(crate) enum Deed {
    Unplug,
    Plug,
    Hang(bool),
    Coverage(Coverage),
    Fault(Fault, f64),
    Signal(Signal),
    Registration(Registration),
    Access(Access),
    Attach(Box<dyn Wire>),
    LoseConnections,
    Reset,
    UsbReset,
    FallIll(Illness),
    Heal(Symptom),
    TextMessage(String),
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deed")
    }
}

/// An action, and the channel for its result.
pub(crate) type Control = (Deed, oneshot::Sender<Result<(), PortError>>);

/// Counts that outlive the modem.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    commands: AtomicU64,
    published: AtomicU64,
    received: AtomicU64,
}

impl Shared {
    pub(crate) fn store(&self, counts: &Counts) {
        self.commands.store(counts.commands, Ordering::Relaxed);
        self.published.store(counts.published, Ordering::Relaxed);
        self.received.store(counts.received, Ordering::Relaxed);
    }
}

/// A handle on a modem, which can be cloned.
///
/// Its methods return once the action is done. A modem whose `run` is not polled yet does it when it starts.
///
/// # Cancel safety
/// A method that is dropped may still have its effect.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tty: watch::Receiver<Option<PathBuf>>,
}

impl Handle {
    async fn request(&self, deed: Deed) -> Result<(), HandleError> {
        let (done, wait) = oneshot::channel();
        self.control.send((deed, done)).await.map_err(|_| HandleError::NotRunning)?;
        wait.await.map_err(|_| HandleError::NotRunning)?.map_err(HandleError::Port)
    }

    /// Pulls the plug: the tty is closed and its link removed, connections to the broker break without
    /// DISCONNECT, and the modem loses power. All state but flash and SIM is lost.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn unplug(&self) -> Result<(), HandleError> {
        self.request(Deed::Unplug).await
    }

    /// Plugs the modem in: a new pty (or the tty again), the link again, power, boot lines. A modem that is
    /// plugged in stays as it is. For a stream, use [`Self::attach`].
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]; [`HandleError::Port`] if no tty is available.
    pub async fn plug(&self) -> Result<(), HandleError> {
        self.request(Deed::Plug).await
    }

    /// Makes the modem hang: it accepts input and answers nothing.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn hang(&self) -> Result<(), HandleError> {
        self.request(Deed::Hang(true)).await
    }

    /// Ends a hang. Input of the meantime is lost; answers that were under way arrive now.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn resume(&self) -> Result<(), HandleError> {
        self.request(Deed::Hang(false)).await
    }

    /// Removes or restores the network.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn network(&self, coverage: Coverage) -> Result<(), HandleError> {
        self.request(Deed::Coverage(coverage)).await
    }

    /// Sets the probability of a fault from now on.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn set(&self, fault: Fault, probability: f64) -> Result<(), HandleError> {
        self.request(Deed::Fault(fault, probability)).await
    }

    /// Sets the signal strengths and the temperature.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn set_signal(&self, signal: Signal) -> Result<(), HandleError> {
        self.request(Deed::Signal(signal)).await
    }

    /// Sets the registration. Connections to the broker stay as they are.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn register(&self, registration: Registration) -> Result<(), HandleError> {
        self.request(Deed::Registration(registration)).await
    }

    /// Sets the radio access over which the modem is attached.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn set_access(&self, access: Access) -> Result<(), HandleError> {
        self.request(Deed::Access(access)).await
    }

    /// Puts another wire on the first port, like another program that opens the tty: the state of the modem
    /// stays.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn attach(&self, wire: impl Wire + 'static) -> Result<(), HandleError> {
        self.request(Deed::Attach(Box::new(wire))).await
    }

    /// Drops every connection to the broker; the modem reports it by `+CMQTTCONNLOST: n,1`.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn lose_connections(&self) -> Result<(), HandleError> {
        self.request(Deed::LoseConnections).await
    }

    /// Makes the modem reboot by itself; the tty stays.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn reset(&self) -> Result<(), HandleError> {
        self.request(Deed::Reset).await
    }

    /// Resets the modem's USB device: the tty disappears and comes back, and everything else stays as it was.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]; [`HandleError::Port`] if no tty is available.
    pub async fn usb_reset(&self) -> Result<(), HandleError> {
        self.request(Deed::UsbReset).await
    }

    /// Sends the modem a text message, which is routed by `AT+CNMI`. In PDU mode, characters beyond the default
    /// alphabet arrive as `?`.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn text_message(&self, text: &str) -> Result<(), HandleError> {
        self.request(Deed::TextMessage(text.to_owned())).await
    }

    /// Makes the modem fall ill until it is cured. Each symptom has a single illness, the last. Open
    /// connections stay, unless the card or the radio is gone.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn fall_ill(&self, illness: Illness) -> Result<(), HandleError> {
        self.request(Deed::FallIll(illness)).await
    }

    /// Ends the modem's illness of this symptom, whatever its cure.
    ///
    /// # Errors
    /// [`HandleError::NotRunning`]
    pub async fn heal(&self, symptom: Symptom) -> Result<(), HandleError> {
        self.request(Deed::Heal(symptom)).await
    }

    /// Returns the tty to open: the first port's tty, or the link if there is a link. `None` while the modem is
    /// unplugged, and for a stream.
    #[must_use]
    pub fn tty(&self) -> Option<PathBuf> {
        self.tty.borrow().clone()
    }

    /// Returns the number of publishes that the modem has reported as done.
    #[must_use]
    pub fn publish_count(&self) -> u64 {
        self.shared.published.load(Ordering::Relaxed)
    }

    /// Returns the number of the broker's messages that the modem has printed.
    #[must_use]
    pub fn received_count(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Returns the number of command lines that the modem has seen, including swallowed lines.
    #[must_use]
    pub fn command_count(&self) -> u64 {
        self.shared.commands.load(Ordering::Relaxed)
    }
}
