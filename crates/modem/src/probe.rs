//! Identification at a port that is not in service yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::catalog::Catalog;
use crate::end::End;
use crate::foreign::Protocol;
use crate::holder::Busy;
use crate::identify;
pub use crate::identity::Identity;
use crate::location::{Introduction, Place};
use crate::observe::Observer;
use crate::port::{At, Port, PortEnd, PortEvent};
use crate::serial::{self, Open, OpenError};

/// The longest time for a probe. A modem that answers at all identifies itself within a second; a
/// modem that boots is asked again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// The reason why no modem was identified.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The tty could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The port went while it was asked.
    #[error("{} went away while its identity was read", path.display())]
    Gone {
        /// The tty.
        path: PathBuf,
    },
    /// Nothing came that could be an answer.
    #[error("{} does not answer AT commands", path.display())]
    Mute {
        /// The tty.
        path: PathBuf,
    },
    /// The port is not for AT commands.
    #[error("{} {}", path.display(), protocol.as_str())]
    Foreign {
        /// The tty.
        path: PathBuf,
        /// Its protocol.
        protocol: Protocol,
    },
    /// The modem answers, but does not identify itself.
    #[error("{} does not identify itself: {reason}", path.display())]
    Unknown {
        /// The tty.
        path: PathBuf,
        /// The question and its answer.
        reason: String,
    },
}

/// Opens a tty and identifies the modem; a tty that is a guess is given up soon. `iccid` is true if
/// its SIM matters too. The port stays open for the task of that modem.
///
/// # Errors
/// [`ProbeError`]; the port is closed again.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later, on a thread of its own.
pub async fn probe(
    place: Place,
    catalog: &Catalog,
    iccid: bool,
) -> Result<Introduction, ProbeError> {
    let asking =
        async |at: At, mut events| identify::identity(catalog, &at, &mut events, iccid).await;
    let (identity, open) = at_port(place, catalog, PATIENCE, asking).await?;
    Ok(Introduction { identity, open })
}

/// As [`probe`], but reads only the model name, which no profile needs to know, and closes the
/// port.
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

/// Opens a tty, does `work` there for at most `patience`, and closes it.
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
    let (done, open) = at_port(place.clone(), catalog, patience, work).await?;
    open.tty.close().await;
    Ok(done)
}

/// As [`pass`], but a success leaves the port open.
async fn at_port<T>(
    place: Place,
    catalog: &Catalog,
    patience: Duration,
    work: impl AsyncFnOnce(At, mpsc::Receiver<PortEvent>) -> Result<T, End>,
) -> Result<(T, Open), ProbeError> {
    let is_guess = place.is_guess;
    let mut open = serial::open(place).await?;
    let (mut foreign, mut holder) = (None, None);
    let (port, at, events) = Port::new(&mut open.tty, catalog.framing(), Arc::new(Nobody));
    let port = if is_guess { port.as_a_guess() } else { port };
    let asking = work(at, events);
    // The work that the losing arm drops ends with the port.
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
        found = open.stranger.seen() => {
            holder = Some(found);
            Err(End::Mute)
        }
    };
    let end = match found {
        Ok(found) => return Ok((found, open)),
        Err(end) => end,
    };
    open.tty.close().await;
    let path = open.place.tty;
    if holder.is_some() {
        return Err(OpenError::Busy(Busy { tty: path, holder }).into());
    }
    if let Some(protocol) = foreign {
        return Err(ProbeError::Foreign { path, protocol });
    }
    Err(match end {
        End::Gone | End::Stopped => ProbeError::Gone { path },
        End::Mute | End::Booted(_) | End::Overdue => ProbeError::Mute { path },
        End::Unusable(reason)
        | End::Failed(reason)
        | End::Unopened(reason)
        | End::Foreign(reason)
        | End::Beyond(_, reason) => ProbeError::Unknown { path, reason },
    })
}

/// Counts nothing: the modem of a probe has no name yet.
struct Nobody;

impl Observer for Nobody {}
