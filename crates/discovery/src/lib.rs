//! Discovery of modems on USB: it watches udev, keeps a table of devices, and assigns devices to
//! modems.
//!
//! The monitor listens before the first scan, so a device that comes in between is reported twice,
//! never missed. A scan every half minute finds devices that the events missed: a full socket
//! buffer loses events without notice.

mod arbiter;
pub mod interfaces;
pub mod plugged;
mod probing;
mod sighting;
mod source;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use modem::Catalog;
use modem::catalog::UsbLayout;
use modem::location::{Handover, Introduction, Ports};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use fleet::Match;

use arbiter::{Device, Known, Verdict};
use probing::Probing;
pub use sighting::{Port, Role, Sighting, Sightings, is_identity};
use source::Events;
pub use source::has_udevd;
use table::Table;

/// The time between two scans while udev sends events.
const RECONCILE: Duration = Duration::from_secs(30);

/// The time between two scans without events.
const SCAN: Duration = Duration::from_secs(1);

/// The time for which the place of a removed device is remembered: a device there that cannot be
/// identified counts as the same modem. A boot loader comes within seconds of a crash, and a modem
/// within two minutes of a power script.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A modem that is searched for on USB.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in the fleet file.
    pub name: String,
    /// The keys that its device must match.
    pub matching: Match,
    /// The channel that receives its ports.
    pub ports: Arc<watch::Sender<Option<Ports>>>,
    /// The place at which a port that was opened for probing is left for it, still open.
    pub handover: Handover,
}

/// The modems to search for.
#[derive(Debug, Clone, Default)]
pub struct WantedModems {
    /// The modems to search for, in the order of the fleet file.
    pub modems: Vec<Wanted>,
    /// Modems with a fixed tty, by name. A device with one of these ttys is ignored.
    pub fixed: Vec<(String, PathBuf)>,
}

impl WantedModems {
    fn names_a_sim(&self) -> bool {
        self.modems.iter().any(|wanted| wanted.matching.iccid.is_some())
    }
}

/// The search: its modems, its catalog and its reports.
pub struct Search {
    /// The catalog of models: their USB layouts with the AT interfaces, and their identification.
    /// It may be replaced.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The modems to search for. The list may change; a modem in both lists keeps its device.
    pub wanted: watch::Receiver<WantedModems>,
    /// True to identify each device of a known layout, even if no decision depends on it.
    pub is_thorough: bool,
    /// The channel for all that discovery sees.
    pub sightings: watch::Sender<Sightings>,
}

/// Returns the USB interface behind a tty such as `/dev/ttyUSB2`; symbolic links are followed.
///
/// # Errors
/// An error if /sys cannot be read. A tty that is not on USB is not an error.
pub fn usb_tty(tty: &Path) -> io::Result<Option<UsbTty>> {
    let node = tty.canonicalize().unwrap_or_else(|_| tty.to_owned());
    let found = source::scan()?.into_iter().find(|tty| tty.node == node);
    Ok(found.map(|tty| UsbTty { usb_path: tty.usb_path, usb_id: tty.id, interface: tty.interface }))
}

/// A USB interface with a serial port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsbTty {
    /// The place on USB of its device, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product` of its device.
    pub usb_id: String,
    /// Its number.
    pub interface: u8,
}

/// Runs discovery on its own thread until it is stopped, and sends modems their ports.
///
/// # Errors
/// An error if the thread's runtime could not start, or if the thread panicked.
pub async fn run(search: Search, stop: CancellationToken) -> anyhow::Result<()> {
    // Ports that are opened here are used on the modems' runtime.
    let modems = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("could not start the discovery of USB modems")?;
        runtime.block_on(Bus::new(search, modems).watch(&stop));
        // A thread may be stuck in a wedged driver, so the runtime does not wait for it.
        runtime.shutdown_background();
        Ok(())
    });
    thread.await.map_err(|error| anyhow!(error).context("the discovery of USB modems panicked"))?
}

fn layouts(catalog: &Catalog) -> Vec<Vec<UsbLayout>> {
    catalog.layouts().map(<[UsbLayout]>::to_vec).collect()
}

struct Bus {
    table: Table,
    probing: Probing,
    search: Search,
    /// The modems to search for now.
    wanted: WantedModems,
    /// The place of each modem's device, and the time since which it is there.
    held: Vec<Option<(String, Instant)>>,
    /// The modem that had a device at each place, and the time of its removal.
    was: BTreeMap<String, (String, Instant)>,
    /// Notified when a modem identified the device at its port.
    news: Arc<Notify>,
    duplicates: usize,
    /// The time of the next attempt to identify a device.
    again: Option<Instant>,
    /// True after the first successful scan.
    has_looked: bool,
}

impl Bus {
    fn new(mut search: Search, modems: Handle) -> Self {
        let catalog = Arc::clone(&search.catalog.borrow_and_update());
        let wanted = search.wanted.borrow_and_update().clone();
        let table = Table::new(layouts(&catalog));
        let probing = Probing::new(catalog, wanted.names_a_sim(), modems);
        let held = wanted.modems.iter().map(|_| None).collect();
        let (was, news) = (BTreeMap::new(), Arc::default());
        let (duplicates, again, has_looked) = (0, None, false);
        let mut bus =
            Self { table, probing, search, wanted, held, was, news, duplicates, again, has_looked };
        bus.name_places();
        bus.listen();
        bus
    }

    /// Subscribes to the identifications by the modems.
    fn listen(&self) {
        self.wanted.modems.iter().for_each(|wanted| wanted.handover.wakes(&self.news));
    }

    /// Takes over a new catalog.
    fn learn(&mut self) {
        let catalog = Arc::clone(&self.search.catalog.borrow_and_update());
        self.table.learn(layouts(&catalog));
        self.probing.learn(catalog);
    }

    /// Takes over a new list of modems. A modem that stays keeps its device.
    fn enlist(&mut self) {
        let wanted = self.search.wanted.borrow_and_update().clone();
        let held = |wanted: &Wanted| {
            let before = self.wanted.modems.iter();
            let at = before.clone().position(|old| Arc::ptr_eq(&old.ports, &wanted.ports))?;
            self.held.get(at).cloned().flatten()
        };
        self.held = wanted.modems.iter().map(held).collect();
        self.probing.ask_for_sims(wanted.names_a_sim());
        self.wanted = wanted;
        self.name_places();
        self.listen();
    }

    fn name_places(&mut self) {
        let places =
            self.wanted.modems.iter().filter_map(|wanted| wanted.matching.usb_path.clone());
        self.table.name(places);
    }

    /// Returns the interval of scans. If no modem is searched for, a scan now and then is enough.
    fn pace(&self, has_events: bool) -> Interval {
        let is_urgent = !self.wanted.modems.is_empty() || self.search.is_thorough;
        let seldom = has_events || !is_urgent;
        let mut ticks = tokio::time::interval(if seldom { RECONCILE } else { SCAN });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    async fn watch(mut self, stop: &CancellationToken) {
        let mut events = Events::listen()
            .inspect_err(|error| {
                tracing::warn!(
                    "no events about USB devices: {error}; scanning for them each second"
                );
            })
            .ok();
        let mut ticks = self.pace(has_all_events(events.as_ref()));
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
                Ok(()) = self.search.wanted.changed() => {
                    self.enlist();
                    ticks = self.pace(has_all_events(events.as_ref()));
                }
                Ok(()) = self.search.catalog.changed() => self.learn(),
                event = next => match event {
                    Some(Ok(change)) => {
                        let Some(change) = change else { continue };
                        tracing::debug!(?change, "udev");
                        self.table.apply(change, Instant::now());
                    }
                    Some(Err(error)) => {
                        tracing::warn!("events about USB devices were lost: {error}");
                        ticks.reset_immediately();
                    }
                    None => {
                        tracing::warn!("no more events about USB devices: scanning each second");
                        events = None;
                        ticks = tokio::time::interval(SCAN);
                    }
                },
                asked = self.probing.ended() => {
                    if let Some(asked) = asked {
                        self.probing.take(asked, Instant::now());
                    }
                }
                () = until(self.again) => {}
                () = self.news.notified() => {}
                _ = ticks.tick() => {
                    let told_all = !has_all_events(events.as_ref()) || !self.has_looked;
                    self.has_looked |= self.rescan(told_all);
                }
            }
            self.settle(Instant::now());
        }
    }

    /// Scans the devices. Returns false if another scan may see more: this one failed, and not
    /// because there is no /sys, as in a bare root.
    fn rescan(&mut self, expected: bool) -> bool {
        match source::scan() {
            Ok(found) => {
                if self.table.rescan(found, Instant::now()) && !expected {
                    tracing::info!(
                        "a scan found changes for which no event about USB devices arrived"
                    );
                }
                true
            }
            Err(error) => {
                tracing::warn!("could not look for USB devices: {error}");
                error.kind() == io::ErrorKind::NotFound
            }
        }
    }

    /// Assigns devices to modems, starts probes, and sends each modem its ports.
    fn settle(&mut self, now: Instant) {
        let late = self.table.tick(now);
        let there: Vec<(String, Ports)> = self.free().collect();
        self.probing.keep(|usb_path| there.iter().any(|(path, _)| path == usb_path));
        self.hear(now);
        self.let_go(&there, now);
        let devices: Vec<Device> =
            there.iter().map(|(path, ports)| self.device(path, ports)).collect();
        let entries: Vec<&Match> =
            self.wanted.modems.iter().map(|wanted| &wanted.matching).collect();
        let verdict = arbiter::decide(&entries, &devices);
        let misses_a_card = arbiter::misses_a_card(&entries, &devices, &verdict.given);
        for (held, device) in self.held.iter_mut().zip(&verdict.given) {
            let given = device.and_then(|device| there.get(device));
            // Probing uses its port; the end of the probe leads here again.
            let given = given.filter(|(path, _)| !self.probing.is_asked(path));
            *held = given.map(|(path, ports)| (path.clone(), ports.since));
        }
        self.hand_over();
        let ask = self.questions(&verdict, &devices, misses_a_card);
        let ask = ask.into_iter().filter_map(|(device, more)| Some((there.get(device)?, more)));
        let again =
            ask.filter_map(|((path, ports), more)| self.probing.ask(path, ports, more, now));
        self.again = again.chain(late).min();
        self.report_duplicates();
        self.tell();
        let unclaimed = verdict.unclaimed.iter().filter_map(|device| there.get(*device));
        let nobodys: Vec<&str> = unclaimed
            .map(|(path, _)| path.as_str())
            .filter(|path| self.is_supported(path))
            .collect();
        self.publish(&nobodys);
    }

    /// Takes over the identities that modems found at their own ports.
    fn hear(&mut self, now: Instant) {
        for (wanted, held) in self.wanted.modems.iter().zip(&self.held) {
            let Some(heard) = wanted.handover.heard() else { continue };
            if let Some((path, _)) = held.as_ref().filter(|(_, since)| *since == heard.since) {
                self.probing.heard(path, heard, now);
            }
        }
    }

    /// Remembers the places of removed devices.
    fn let_go(&mut self, there: &[(String, Ports)], now: Instant) {
        let Self { held, wanted, was, .. } = self;
        was.retain(|_, (_, went)| now.saturating_duration_since(*went) < REMEMBERED);
        for (held, wanted) in held.iter_mut().zip(&wanted.modems) {
            let stays = |(path, since): &(String, Instant)| {
                there.iter().any(|(other, ports)| other == path && ports.since == *since)
            };
            if let Some((path, _)) = held.take_if(|held| !stays(held)) {
                was.insert(path, (wanted.name.clone(), now));
            }
        }
    }

    /// Reports whether a profile supports a model with the id of the device at this place.
    fn is_supported(&self, usb_path: &str) -> bool {
        let catalog = self.search.catalog.borrow();
        let id = self.table.id(usb_path);
        catalog.models().flat_map(|model| &model.usb).any(|layout| layout.is_of(id))
    }

    /// Leaves open ports to the modems that own their devices, and closes the others.
    fn hand_over(&mut self) {
        // A scan for display only leaves no port open.
        let takers = self.wanted.modems.iter().zip(&self.held).filter(|_| !self.search.is_thorough);
        for (wanted, held) in takers {
            let open = held.as_ref().and_then(|(path, since)| self.probing.open(path, *since));
            let fits = |met: &Introduction| {
                wanted.matching.port.as_ref().is_none_or(|p| *p == met.open.place.tty)
            };
            if let Some(open) = open.filter(fits) {
                wanted.handover.leave(open);
            }
        }
        self.probing.close_open();
    }

    /// Returns the devices to probe, each with true if its SIM is needed too.
    fn questions(
        &self,
        verdict: &Verdict,
        devices: &[Device],
        misses_a_card: bool,
    ) -> Vec<(usize, bool)> {
        let known = |device: &usize| devices.get(*device).map(|device| &device.known);
        // A device that no profile supports is left alone, unless an entry may claim it.
        let unclear = |device: &&usize| {
            devices.get(**device).is_some_and(|Device { usb_path, known, .. }| {
                self.is_supported(usb_path)
                    && (misses_a_card || self.probing.is_unclear(usb_path, known))
            })
        };
        let mut ask: Vec<(usize, bool)> = verdict.ask.iter().map(|d| (*d, false)).collect();
        ask.extend(verdict.unclaimed.iter().filter(unclear).map(|device| (*device, true)));
        if self.search.is_thorough {
            ask = (0..devices.len())
                .filter(|device| !matches!(known(device), Some(Known::Identity(_))))
                .filter(|at| devices.get(*at).is_some_and(|d| self.is_supported(&d.usb_path)))
                .map(|device| (device, true))
                .collect();
        }
        ask
    }

    /// Publishes the present state.
    fn publish(&self, nobodys: &[&str]) {
        let devices: Vec<Sighting> =
            self.table.devices().map(|device| self.sighting(device, nobodys)).collect();
        let was_asked = |device: &Sighting| {
            let ports = self.table.ports(&device.usb_path, None);
            !device.is_known
                || self.is_fixed(device)
                || ports.is_none_or(|ports| self.probing.is_through(&device.usb_path, &ports))
        };
        let is_settled = self.has_looked && devices.iter().all(was_asked);
        let now = Sightings { devices, is_settled };
        self.search.sightings.send_if_modified(|told| {
            let is_new = *told != now;
            *told = now;
            is_new
        });
    }

    fn sighting(&self, device: table::Plugged<'_>, nobodys: &[&str]) -> Sighting {
        let usb_path = device.usb_path;
        let holder = self.held.iter().position(|h| h.as_ref().is_some_and(|(p, _)| p == usb_path));
        let wanted = holder.and_then(|entry| self.wanted.modems.get(entry));
        let ttys: Vec<PathBuf> = device.ports.iter().map(|port| port.tty.clone()).collect();
        let fixed = probing::fixed(&ttys, &self.wanted.fixed);
        let (identity, note, busy) = self.probing.told(usb_path);
        let is_supported = self.is_supported(usb_path);
        let note = note.or_else(|| {
            let catalog = self.search.catalog.borrow();
            let id = device.usb_id;
            catalog
                .unsupported_id(id)
                .filter(|_| identity.is_none())
                .map(|words| format!("{id}: {words}"))
        });
        Sighting {
            usb_path: usb_path.to_owned(),
            usb_id: device.usb_id.to_owned(),
            is_known: device.is_known && is_supported,
            returns: device.returns,
            entry: wanted.map(|wanted| wanted.name.as_str()).or(fixed).map(str::to_owned),
            is_unclaimed: nobodys.contains(&usb_path),
            identity,
            note,
            busy,
            ports: device.ports,
        }
    }

    fn is_fixed(&self, device: &Sighting) -> bool {
        let ttys: Vec<PathBuf> = device.ports.iter().map(|port| port.tty.clone()).collect();
        probing::fixed(&ttys, &self.wanted.fixed).is_some()
    }

    /// Returns the devices with an AT port, except those of modems with a fixed tty.
    fn free(&self) -> impl Iterator<Item = (String, Ports)> {
        let all =
            self.table.places().filter_map(|path| Some((path, self.table.ports(path, None)?)));
        let ttys = |ports: &Ports| [&ports.ttys[..], &ports.others].concat();
        all.filter(move |(_, ports)| probing::fixed(&ttys(ports), &self.wanted.fixed).is_none())
            .map(|(path, ports)| (path.to_owned(), ports))
    }

    fn device(&self, path: &str, ports: &Ports) -> Device {
        let holds =
            |held: &Option<(String, Instant)>| held.as_ref().is_some_and(|(p, _)| p == path);
        Device {
            usb_path: path.to_owned(),
            known: self.probing.known(path, ports.since),
            holder: self.held.iter().position(holds),
            was: self.was.get(path).and_then(|(name, _)| {
                self.wanted.modems.iter().position(|wanted| wanted.name == *name)
            }),
        }
    }

    fn report_duplicates(&mut self) {
        let duplicates = self.probing.duplicates();
        if duplicates.len() > self.duplicates {
            tracing::warn!(
                ?duplicates,
                "modems have the same IMEI; entries that name it take the lower USB path"
            );
        }
        self.duplicates = duplicates.len();
    }

    /// Sends each modem its ports if they changed.
    fn tell(&self) {
        for (modem, held) in self.wanted.modems.iter().zip(&self.held) {
            let port = modem.matching.port.as_deref();
            let ports = held.as_ref().and_then(|(path, _)| self.table.ports(path, port));
            modem.ports.send_if_modified(|told| {
                let is_new = *told != ports;
                *told = ports;
                is_new
            });
            if held.is_none() {
                drop(modem.handover.take());
            }
        }
    }
}

/// Reports whether events tell of all that comes and goes.
fn has_all_events(events: Option<&Events>) -> bool {
    events.is_some_and(Events::are_delivered)
}

/// Waits until then; for ever where there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
