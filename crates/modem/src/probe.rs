//! Asking a port who is there, before anybody is at work at it.

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

/// A modem that answers at all tells who it is within a second; one that boots is asked again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// Why nobody was identified.
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
    #[error("{} does not identify itself: {reason}", path.display())]
    Unknown {
        /// The tty.
        path: PathBuf,
        /// What was asked and came back.
        reason: String,
    },
}

/// Opens a tty and asks who is there; one that is a guess is given up soon. `iccid` says whether its SIM
/// matters too. The port stays open for whose modem it is.
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

/// As [`probe`], but asks only what the modem calls itself, which no profile need know, and closes the port.
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
    let (done, open) = at_port(place.clone(), catalog, patience, work).await?;
    open.tty.close().await;
    Ok(done)
}

/// [`pass`], but what was done well leaves the port open.
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

/// A question in passing is counted nowhere: the modem has no name yet.
struct Nobody;

impl Observer for Nobody {}
