//! Asking a port who is there, in passing: opened, asked, closed again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::catalog::Catalog;
use crate::foreign::Protocol;
use crate::identify;
use crate::location::Place;
use crate::modem::End;
use crate::observe::Observer;
use crate::port::{At, Port, PortEnd, PortEvent};
use crate::serial::{self, OpenError};

/// A modem that answers at all tells who it is within a second; one that boots is asked again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// Who is at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What `AT+CGMM` answers.
    pub model: String,
    /// The device's IMEI.
    pub imei: String,
    /// The number of its SIM, where it was asked for and could be read.
    pub iccid: Option<String>,
}

/// Why nobody was identified.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The tty could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The port went while it was asked.
    #[error("{} went away while it was asked who is there", path.display())]
    Gone {
        /// The tty.
        path: PathBuf,
    },
    /// Nothing that is an answer came.
    #[error("{} does not answer AT commands", path.display())]
    Mute {
        /// The tty.
        path: PathBuf,
    },
    /// It is none for AT commands.
    #[error("{} {}", path.display(), protocol.as_str())]
    Foreign {
        /// The tty.
        path: PathBuf,
        /// What it speaks.
        protocol: Protocol,
    },
    /// It answers, and not with who it is.
    #[error("{} does not say who it is: {reason}", path.display())]
    Unknown {
        /// The tty.
        path: PathBuf,
        /// What was asked and came back.
        reason: String,
    },
}

impl Identity {
    /// Whether its model begins like this, as the fleet file writes models.
    pub fn is_model(&self, wanted: &str) -> bool {
        identify::fits_model(wanted, &self.model)
    }
}

/// Opens a tty, asks who is there, and closes it; one that is a guess is given up soon. `iccid` says whether its SIM matters too.
///
/// # Errors
/// [`ProbeError`]; the port is closed again in any case.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later, on a thread of its own.
pub async fn probe(place: &Place, catalog: &Catalog, iccid: bool) -> Result<Identity, ProbeError> {
    pass(place, catalog, PATIENCE, async |at, mut events| {
        identify::identity(catalog, &at, &mut events, iccid).await
    })
    .await
}

/// As [`probe`], but asks only what the modem calls itself, which no profile need know.
///
/// # Errors
/// [`ProbeError`]; the port is closed again in any case.
///
/// # Cancel safety
/// As for [`probe`].
pub async fn model(place: &Place, catalog: &Catalog) -> Result<String, ProbeError> {
    let name = async |at: At, mut events| identify::name(&at, &mut events).await;
    pass(place, catalog, PATIENCE, name).await
}

/// Opens a tty, does something there for at most `patience`, and closes it.
///
/// # Errors
/// [`ProbeError`]; the port is closed again in any case.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later, on a thread of its own.
pub(crate) async fn pass<T>(
    place: &Place,
    catalog: &Catalog,
    patience: Duration,
    work: impl AsyncFnOnce(At, mpsc::Receiver<PortEvent>) -> Result<T, End>,
) -> Result<T, ProbeError> {
    let path = place.tty.as_path();
    let mut tty = serial::open(path, 115_200).await?;
    let mut foreign = None;
    let (port, at, events) = Port::new(&mut tty, catalog.framing(), Arc::new(Nobody));
    let port = if place.is_guess { port.as_a_guess() } else { port };
    let asking = work(at, events);
    // What is dropped with the losing arm ends with the port.
    let found = tokio::select! {
        end = port.run() => Err(match end {
            PortEnd::Foreign(protocol) => {
                foreign = Some(protocol);
                End::Mute
            }
            PortEnd::Mute => End::Mute,
            PortEnd::Gone(_) | PortEnd::Released => End::Gone,
        }),
        found = tokio::time::timeout(patience, asking) => found.unwrap_or(Err(End::Mute)),
    };
    tty.close().await;
    let path = path.to_owned();
    if let Some(protocol) = foreign {
        return Err(ProbeError::Foreign { path, protocol });
    }
    found.map_err(|end| match end {
        End::Gone | End::Stopped => ProbeError::Gone { path },
        End::Mute | End::Booted | End::Overdue(_) => ProbeError::Mute { path },
        End::Unusable(reason)
        | End::Failed(reason)
        | End::Unopened(reason)
        | End::Beyond(_, reason) => ProbeError::Unknown { path, reason },
    })
}

/// A question in passing is counted nowhere: the modem has no name yet.
struct Nobody;

impl Observer for Nobody {}
