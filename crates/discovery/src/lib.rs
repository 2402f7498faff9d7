//! Finding modems on USB: events of udev or the kernel, a table of what is plugged in, and a word to whom it concerns.
//!
//! The monitor listens before the first scan, so that what comes in between is told twice, not never.
//! A scan every half minute finds what an event missed (a full socket buffer loses them in silence).

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

/// Between two scans while events tell what comes and goes.
const RECONCILE: Duration = Duration::from_secs(30);

/// Between two scans where nobody sends events.
const SCAN: Duration = Duration::from_secs(1);

/// So long after a modem's device went, one that tells nothing at the same place is taken for it: a boot
/// loader comes within seconds of a crash, and a modem within two minutes of a power script.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A modem that is looked for on USB.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in the fleet file.
    pub name: String,
    /// What must hold for it.
    pub matching: Match,
    /// Where its ports are told.
    pub ports: Arc<watch::Sender<Option<Ports>>>,
    /// Where the port at which its device was asked is left for it, open.
    pub handover: Handover,
}

/// Whom to look for.
#[derive(Debug, Clone, Default)]
pub struct WantedModems {
    /// Modems to be found, in the order of the fleet file.
    pub modems: Vec<Wanted>,
    /// Ttys that modems of these names have for themselves: whose device has one of them is not looked at.
    pub fixed: Vec<(String, PathBuf)>,
}

impl WantedModems {
    fn names_a_sim(&self) -> bool {
        self.modems.iter().any(|wanted| wanted.matching.iccid.is_some())
    }
}

/// Whom to look for, and with what.
pub struct Search {
    /// All models: which interfaces of which devices speak AT, and who answers there. Another catalog may
    /// come.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Whom to look for. It may change; who is in it before and after keeps the device it has.
    pub wanted: watch::Receiver<WantedModems>,
    /// Whether each device of a known layout is to be asked who it is, also where nothing depends on it.
    pub is_thorough: bool,
    /// Where it is told what was seen.
    pub sightings: watch::Sender<Sightings>,
}

/// The USB interface that a tty is, such as that of `/dev/ttyUSB2`; links to ttys are followed.
///
/// # Errors
/// Where /sys cannot be read. A tty that is none of USB is no error.
pub fn usb_tty(tty: &Path) -> io::Result<Option<UsbTty>> {
    let node = tty.canonicalize().unwrap_or_else(|_| tty.to_owned());
    let found = source::scan()?.into_iter().find(|tty| tty.node == node);
    Ok(found.map(|tty| UsbTty { usb_path: tty.usb_path, usb_id: tty.id, interface: tty.interface }))
}

/// A USB interface with a serial port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsbTty {
    /// Where its device is plugged in, such as `1-1.2`.
    pub usb_path: String,
    /// `vendor:product` of its device.
    pub usb_id: String,
    /// Its number.
    pub interface: u8,
}

/// Tells modems their ports until told to stop, on a thread of its own.
///
/// # Errors
/// Where the runtime of that thread could not start, or it panicked.
pub async fn run(search: Search, stop: CancellationToken) -> anyhow::Result<()> {
    // What is opened here goes on there.
    let modems = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("could not start the discovery of USB modems")?;
        runtime.block_on(Bus::new(search, modems).watch(&stop));
        // A thread may be stuck in a wedged driver; nobody waits for it.
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
    /// Whom to look for now.
    wanted: WantedModems,
    /// The place whose device each wanted modem has, and since when that is there.
    held: Vec<Option<(String, Instant)>>,
    /// Whose device was where, and when it went.
    was: BTreeMap<String, (String, Instant)>,
    /// A modem heard at its port who is there.
    news: Arc<Notify>,
    duplicates: usize,
    /// When somebody who did not tell may be asked again.
    again: Option<Instant>,
    /// Whether it was looked once what is there.
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

    /// Hears from now on what the modems tell.
    fn listen(&self) {
        self.wanted.modems.iter().for_each(|wanted| wanted.handover.wakes(&self.news));
    }

    /// Knows other models from now on.
    fn learn(&mut self) {
        let catalog = Arc::clone(&self.search.catalog.borrow_and_update());
        self.table.learn(layouts(&catalog));
        self.probing.learn(catalog);
    }

    /// Looks for others from now on. Who was looked for before and still is keeps its device.
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

    /// How often it is looked what is there. Where nobody waits for a modem, now and then is enough.
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
                    "no events of USB devices: {error}; they are looked for each second"
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
                        tracing::warn!("events of USB devices were lost: {error}");
                        ticks.reset_immediately();
                    }
                    None => {
                        tracing::warn!("no more events of USB devices: they are looked for each second");
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

    /// Looks what is there; whether that could be seen.
    fn rescan(&mut self, expected: bool) -> bool {
        match source::scan() {
            Ok(found) => {
                if self.table.rescan(found, Instant::now()) && !expected {
                    tracing::info!("a scan found what events of USB devices did not tell");
                }
                true
            }
            Err(error) => {
                tracing::warn!("could not look for USB devices: {error}");
                false
            }
        }
    }

    /// Gives devices to modems, asks who must be asked, and tells each modem its ports.
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
            // Its port is in use while it is asked; the end of that leads here again.
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

    /// Takes in what modems heard at their own ports.
    fn hear(&mut self, now: Instant) {
        for (wanted, held) in self.wanted.modems.iter().zip(&self.held) {
            let Some(heard) = wanted.handover.heard() else { continue };
            if let Some((path, _)) = held.as_ref().filter(|(_, since)| *since == heard.since) {
                self.probing.heard(path, heard, now);
            }
        }
    }

    /// Remembers where the devices were that went.
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

    /// Reports whether a profile speaks to a model with the id of the device that is plugged in there.
    fn is_supported(&self, usb_path: &str) -> bool {
        let catalog = self.search.catalog.borrow();
        let id = self.table.id(usb_path);
        catalog.models().flat_map(|model| &model.usb).any(|layout| layout.is_of(id))
    }

    /// Leaves the ports that are still open for those who were given them; the others are closed.
    fn hand_over(&mut self) {
        // Who only looks leaves no port open.
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

    /// Which devices to ask who they are; with each whether its SIM matters too.
    fn questions(
        &self,
        verdict: &Verdict,
        devices: &[Device],
        misses_a_card: bool,
    ) -> Vec<(usize, bool)> {
        let known = |device: &usize| devices.get(*device).map(|device| &device.known);
        // What no profile speaks to is left alone, unless an entry may want it.
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

    /// Tells those who want to know what is seen.
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

    /// Devices with an AT port that no modem has by its tty's name.
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

    /// Tells each modem its ports, where they are others than before.
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
