//! Finding modems on USB: events of udev, a table of what is plugged in, and a word to whom it concerns.
//!
//! The monitor listens before the first scan, so that what comes in between is told twice, not never.
//! A scan every half minute finds what an event missed (a full socket buffer loses them in silence).

mod source;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use modem::catalog::UsbLayout;
use modem::location::Ports;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use table::Table;

/// Between two scans while events tell what comes and goes.
const RECONCILE: Duration = Duration::from_secs(30);

/// Between two scans where nobody sends events.
const SCAN: Duration = Duration::from_secs(1);

/// A modem that is looked for on USB.
#[derive(Debug)]
pub struct Wanted {
    /// Where it is plugged in, as the kernel names it: `1-1.2`.
    pub usb_path: String,
    /// The only tty of that device that may be used, where the fleet file names one.
    pub port: Option<PathBuf>,
    /// Where its ports are told.
    pub ports: watch::Sender<Option<Ports>>,
}

/// Tells the `wanted` modems their ports until told to stop, on a thread of its own.
///
/// # Errors
/// Where the runtime of that thread could not start, or it panicked.
pub async fn run(
    layouts: Vec<UsbLayout>,
    wanted: Vec<Wanted>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("could not start the discovery of USB modems")?;
        runtime.block_on(watch_bus(Table::new(layouts), &wanted, &stop));
        Ok(())
    });
    thread.await.map_err(|error| anyhow!(error).context("the discovery of USB modems panicked"))?
}

async fn watch_bus(mut table: Table, wanted: &[Wanted], stop: &CancellationToken) {
    let mut events = source::monitor()
        .inspect_err(|error| tracing::warn!("no events of USB devices: {error}"))
        .ok();
    if !source::has_udevd() {
        tracing::warn!("udevd does not run: USB modems are looked for each second");
        events = None;
    }
    let mut ticks = tokio::time::interval(if events.is_some() { RECONCILE } else { SCAN });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        let next = async {
            match &mut events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        // All arms are cancel safe, and none awaits in its body: an event stays in its socket.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = next => match event {
                Some(Ok(event)) => {
                    let Some(change) = source::change(&event) else { continue };
                    tracing::debug!(?change, "udev");
                    table.apply(change, Instant::now());
                }
                Some(Err(error)) => {
                    tracing::warn!("events of USB devices were lost: {error}");
                    ticks.reset_immediately();
                }
                None => {
                    tracing::warn!("no more events of USB devices: they are looked for each second");
                    events = None;
                    ticks = tokio::time::interval(SCAN);
                }
            },
            _ = ticks.tick() => match source::scan() {
                Ok(found) => {
                    if table.rescan(found, Instant::now()) && events.is_some() && !is_first {
                        tracing::info!("a scan found what events of USB devices did not tell");
                    }
                    is_first = false;
                }
                Err(error) => tracing::warn!("could not look for USB devices: {error}"),
            },
        }
        tell(&table, wanted);
    }
}

/// Tells each modem its ports, where they are others than before.
fn tell(table: &Table, wanted: &[Wanted]) {
    for modem in wanted {
        let ports = table.ports(&modem.usb_path, modem.port.as_deref());
        modem.ports.send_if_modified(|told| {
            let is_new = *told != ports;
            *told = ports;
            is_new
        });
    }
}
