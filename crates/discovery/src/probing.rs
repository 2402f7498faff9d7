//! Identification of devices: one task for each probe, and a record of the results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use modem::Catalog;
use modem::backoff::Backoff;
use modem::holder::Busy;
use modem::location::{Card, Heard, Introduction, Ports};
use modem::probe::{Identity, ProbeError, probe};
use modem::session::Chain;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arbiter::Known;
use super::is_identity;

/// The waits before a failed probe is repeated. If another program holds the port, there is no
/// reason to hurry.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The end of a probe.
pub(super) struct Asked {
    usb_path: String,
    since: Instant,
    end: End,
}

enum End {
    Answered(Box<Result<Introduction, ProbeError>>),
    /// An unused port was closed.
    Closed,
}

struct Stay {
    since: Instant,
    known: Known,
    attempts: usize,
    /// The number of ports; after so many attempts the first port is tried again.
    places: usize,
    /// True if a port was mute or foreign in this round.
    is_silent: bool,
    is_asked: bool,
    next: Instant,
    backoff: Backoff,
    last_words: String,
    busy: Option<Busy>,
    /// The port at which it was identified, kept open until it has an owner.
    open: Option<Introduction>,
    /// True if the SIM was read too.
    sim_asked: bool,
}

impl Stay {
    fn new(since: Instant, now: Instant) -> Self {
        Self {
            since,
            known: Known::NotYet,
            attempts: 0,
            places: 0,
            is_silent: false,
            is_asked: false,
            next: now,
            backoff: Backoff::new(AGAIN.0, AGAIN.1),
            last_words: String::new(),
            busy: None,
            open: None,
            sim_asked: false,
        }
    }

    /// Reports whether each of its ports was tried.
    fn is_round(&self) -> bool {
        self.attempts.checked_rem(self.places).unwrap_or(0) == 0
    }
}

/// The probes of all devices.
pub(super) struct Probing {
    catalog: Arc<Catalog>,
    with_iccid: bool,
    stays: BTreeMap<String, Stay>,
    tasks: JoinSet<Asked>,
    /// The runtime of the modems, which use the open ports later.
    runtime: Handle,
}

impl Probing {
    /// Starts without any probes.
    pub(super) fn new(catalog: Arc<Catalog>, with_iccid: bool, runtime: Handle) -> Self {
        Self { catalog, with_iccid, stays: BTreeMap::new(), tasks: JoinSet::new(), runtime }
    }

    /// Takes over a new catalog. Devices that were not identified, or not by a known model, are
    /// probed again.
    pub(super) fn learn(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
        self.stays.retain(|_, stay| stay.is_asked || matches!(stay.known, Known::Identity(_)));
    }

    /// Sets whether probes read the SIM too. Devices that were probed without it become unclear,
    /// and are probed again.
    pub(super) fn ask_for_sims(&mut self, with_iccid: bool) {
        self.with_iccid = with_iccid;
    }

    /// Returns the result for the device that is there since `since`.
    pub(super) fn known(&self, usb_path: &str, since: Instant) -> Known {
        let stay = self.stays.get(usb_path).filter(|stay| stay.since == since);
        stay.map_or(Known::NotYet, |stay| stay.known.clone())
    }

    /// Takes over the identity that a modem's own task found for the device that is there since
    /// then.
    pub(super) fn heard(&mut self, usb_path: &str, heard: Heard, now: Instant) {
        let Heard { since, model, imei, card } = heard;
        let stay = self.stays.entry(usb_path.to_owned()).or_insert_with(|| Stay::new(since, now));
        if stay.since != since {
            return;
        }
        stay.sim_asked |= card.is_some();
        let iccid = match (card, &stay.known) {
            (Some(Card::Iccid(iccid)), _) => Some(iccid),
            (None, Known::Identity(was)) if was.imei == imei => was.iccid.clone(),
            _ => None,
        };
        stay.known = Known::Identity(Identity { model, imei, iccid });
    }

    /// Reports whether a probe runs now and uses its port.
    pub(super) fn is_asked(&self, usb_path: &str) -> bool {
        self.stays.get(usb_path).is_some_and(|stay| stay.is_asked)
    }

    /// Probes a device, unless a probe runs or the last one was a moment ago; then returns the time
    /// of the next attempt. With `iccid` the SIM is read even if no entry needs it.
    pub(super) fn ask(
        &mut self,
        usb_path: &str,
        ports: &Ports,
        iccid: bool,
        now: Instant,
    ) -> Option<Instant> {
        let fresh = || Stay::new(ports.since, now);
        let stay = self.stays.entry(usb_path.to_owned()).or_insert_with(fresh);
        // The probe of an earlier stay ends by itself, since its port is gone.
        if stay.since != ports.since && !stay.is_asked {
            *stay = fresh();
        }
        if stay.is_asked || now < stay.next {
            return (!stay.is_asked).then_some(stay.next);
        }
        let place = ports.place(stay.attempts)?;
        stay.places = ports.places();
        stay.is_asked = true;
        stay.sim_asked |= self.with_iccid || iccid;
        stay.attempts = stay.attempts.saturating_add(1);
        let (usb_path, since) = (usb_path.to_owned(), stay.since);
        let (catalog, with_iccid) = (Arc::clone(&self.catalog), self.with_iccid || iccid);
        let question = async move {
            let end = End::Answered(Box::new(probe(place, &catalog, with_iccid).await));
            Asked { usb_path, since, end }
        };
        self.tasks.spawn_on(question, &self.runtime);
        None
    }

    /// Takes the port at which a device was identified, still open.
    pub(super) fn open(&mut self, usb_path: &str, since: Instant) -> Option<Introduction> {
        let stay = self.stays.get_mut(usb_path).filter(|stay| stay.since == since);
        stay.and_then(|stay| stay.open.take())
    }

    /// Closes the ports without a taker; they are in use until that is done.
    pub(super) fn close_open(&mut self) {
        for (usb_path, stay) in &mut self.stays {
            let Some(open) = stay.open.take() else { continue };
            stay.is_asked = true;
            let (usb_path, since) = (usb_path.clone(), stay.since);
            let close = async move {
                open.open.tty.close().await;
                Asked { usb_path, since, end: End::Closed }
            };
            self.tasks.spawn_on(close, &self.runtime);
        }
    }

    /// Reports whether a device without an entry should be probed (again). It should if it or its
    /// SIM was never probed, so that the operator sees it. It should if it was mute, as a booting
    /// modem is. It should if it had no ICCID, since a card may be put in later and match an entry.
    pub(super) fn is_unclear(&self, usb_path: &str, known: &Known) -> bool {
        let was_asked = self.stays.get(usb_path).is_some_and(|stay| stay.sim_asked);
        match known {
            Known::NotYet | Known::Mute => true,
            Known::Identity(identity) => {
                identity.iccid.is_none() && (self.with_iccid || !was_asked)
            }
        }
    }

    /// Returns the identity of a device, or else the reason why there is none, and the process that
    /// holds its port.
    pub(super) fn told(&self, usb_path: &str) -> (Option<Identity>, Option<String>, Option<Busy>) {
        let Some(stay) = self.stays.get(usb_path) else { return (None, None, None) };
        match &stay.known {
            Known::Identity(identity) => (Some(identity.clone()), None, None),
            Known::NotYet | Known::Mute => {
                let note = Some(&stay.last_words).filter(|words| !words.is_empty());
                (None, note.cloned(), stay.busy.clone())
            }
        }
    }

    /// Reports whether a device was identified, or was probed in vain at each of its ports.
    pub(super) fn is_through(&self, usb_path: &str, ports: &Ports) -> bool {
        let Some(stay) = self.stays.get(usb_path).filter(|stay| stay.since == ports.since) else {
            return false;
        };
        let is_told = matches!(stay.known, Known::Identity(_));
        !stay.is_asked && (is_told || stay.attempts >= ports.places())
    }

    /// Waits for the end of a probe; for ever if none runs.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn ended(&mut self) -> Option<Asked> {
        match self.tasks.join_next().await {
            Some(asked) => asked.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes over the end of a probe.
    pub(super) fn take(&mut self, asked: Asked, now: Instant) {
        let Asked { usb_path, since, end } = asked;
        let Some(stay) = self.stays.get_mut(&usb_path).filter(|stay| stay.since == since) else {
            return;
        };
        stay.is_asked = false;
        let End::Answered(result) = end else { return };
        // Another port may answer at once.
        let is_silent =
            matches!(*result, Err(ProbeError::Foreign { .. } | ProbeError::Mute { .. }));
        let goes_on = is_silent && !stay.is_round();
        stay.is_silent |= is_silent;
        stay.next = now + if goes_on { Duration::ZERO } else { stay.backoff.next_wait() };
        stay.busy = match &*result {
            Err(ProbeError::Open(error)) => error.busy().cloned(),
            _ => None,
        };
        match *result {
            Ok(met) => {
                let identity = met.identity.clone();
                stay.open = Some(met);
                let (model, imei) = (&identity.model, &identity.imei);
                if stay.known != Known::Identity(identity.clone()) {
                    tracing::info!(usb_path, model, imei, "modem identified");
                }
                stay.known = Known::Identity(identity);
            }
            Err(error) => {
                // A busy port is not the modem's fault and may become free. Another port may
                // answer.
                let is_in_vain =
                    (stay.is_round() && stay.is_silent) || (!is_silent && stay.busy.is_none());
                if stay.known == Known::NotYet && is_in_vain {
                    stay.known = Known::Mute;
                }
                let words = Chain(&error).to_string();
                if stay.last_words != words {
                    tracing::warn!(usb_path, "not identified: {words}");
                    stay.last_words = words;
                }
            }
        }
    }

    /// Forgets removed devices.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.stays.retain(|usb_path, stay| stay.is_asked || is_there(usb_path));
    }

    /// Returns the IMEIs that more than one device has, each with the places of these devices.
    pub(super) fn duplicates(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (usb_path, stay) in &self.stays {
            if let Known::Identity(identity) = &stay.known {
                all.entry(&identity.imei).or_default().push(usb_path);
            }
        }
        all.retain(|imei, places| places.len() > 1 && is_identity(imei));
        all
    }
}

/// Returns the modem whose fixed tty is one of these; symbolic links are followed.
pub(super) fn fixed<'a>(ttys: &[PathBuf], fixed: &'a [(String, PathBuf)]) -> Option<&'a str> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_here = |path: &PathBuf| ttys.contains(path) || ttys.contains(&real(path));
    fixed.iter().find(|(_, path)| is_here(path)).map(|(name, _)| name.as_str())
}
