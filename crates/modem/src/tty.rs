//! A person's own console, on a tty that no other program has open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::console::{Access, Hearing};
use crate::end::End;
use crate::identify;
use crate::location::Place;
use crate::observe::Observer;
use crate::port::{At, Port, PortEnd};
use crate::probe::ProbeError;
use crate::serial::{self, Line};

/// The longest wait for the exchange in flight when a person leaves.
const FINISH: Duration = Duration::from_secs(10);

/// Opens a tty for a person, waits until the modem answers, runs `work` on it, and closes it again.
///
/// Nothing is set on the modem: its echo and the form of its errors stay as they are.
///
/// # Errors
/// [`ProbeError`]: the tty cannot be opened, or no modem answers there, or it went.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later; the modem may be left at a prompt.
pub async fn on_tty<T, F>(
    path: &Path,
    baud: u32,
    catalog: &Catalog,
    work: impl FnOnce(At, Hearing) -> F,
) -> Result<T, ProbeError>
where
    F: Future<Output = T>,
{
    let line = Line { baud, ..Line::DEFAULT };
    let mut tty = serial::open(Place { line, ..path.to_owned().into() }).await?.tty;
    let (port, at, mut events) = Port::new(&mut tty, catalog.framing(), Arc::new(Nobody));
    let (_, _, listeners) = Access::new();
    let Some(hearing) = listeners.listen() else {
        return Err(ProbeError::Gone { path: path.to_owned() });
    };
    let port = port.heard_by(listeners);
    let done = {
        let mut port = std::pin::pin!(port.run());
        let using = async {
            let cgmm = identify::in_step(&at, &mut events).await?;
            if let Some((_, profile)) = catalog.identify(&cgmm) {
                at.set_framing(profile.framing()).await;
            }
            // URCs come by the listeners; events in the channel are read so that the port goes on.
            tokio::select! {
                done = work(at.clone(), hearing) => Ok(done),
                end = identify::ignore(&mut events) => Err(end),
            }
        };
        // The work that the losing arm drops ends with the port.
        let done = tokio::select! {
            end = &mut port => Err(end_of(end)),
            done = using => done,
        };
        drop(at);
        drop(events);
        if done.is_ok() {
            let _ = tokio::time::timeout(FINISH, port).await;
        }
        done
    };
    tty.close().await;
    let path = path.to_owned();
    done.map_err(|end| match end {
        End::Gone | End::Stopped => ProbeError::Gone { path },
        End::Unusable(reason)
        | End::Failed(reason)
        | End::Unopened(reason)
        | End::Foreign(reason) => ProbeError::Unknown { path, reason },
        End::Mute | End::Booted(_) | End::Overdue | End::Beyond(..) => ProbeError::Mute { path },
    })
}

fn end_of(end: PortEnd) -> End {
    match end {
        PortEnd::Mute => End::Mute,
        PortEnd::Gone(_) | PortEnd::Released => End::Gone,
        PortEnd::Foreign(protocol) => End::Foreign(protocol.as_str().to_owned()),
    }
}

/// Counts nothing of a person's own console.
struct Nobody;

impl Observer for Nobody {}
