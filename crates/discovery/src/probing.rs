//! Asking devices who they are, one task for each, and remembering what they told.

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

/// Waits before a device that did not tell is asked again; a port that another program holds is no
/// reason to hurry.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a question came to.
pub(super) struct Asked {
    usb_path: String,
    since: Instant,
    end: End,
}

enum End {
    Answered(Box<Result<Introduction, ProbeError>>),
    /// The port was of no use to anybody, and is closed again.
    Closed,
}

struct Stay {
    since: Instant,
    known: Known,
    attempts: usize,
    /// After so many the first port is tried again.
    places: usize,
    /// Whether a port was asked in vain since the first was.
    is_silent: bool,
    is_asked: bool,
    next: Instant,
    backoff: Backoff,
    last_words: String,
    busy: Option<Busy>,
    /// The port at which it told who it is, until it is known whose it is.
    open: Option<Introduction>,
    /// Whether its SIM was asked for, too.
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

    /// Reports whether each of its ports was asked.
    fn is_round(&self) -> bool {
        self.attempts.checked_rem(self.places).unwrap_or(0) == 0
    }
}

/// All devices that were asked, or are to be.
pub(super) struct Probing {
    catalog: Arc<Catalog>,
    with_iccid: bool,
    stays: BTreeMap<String, Stay>,
    tasks: JoinSet<Asked>,
    /// Where the ports are opened: on the runtime of those who go on with them.
    runtime: Handle,
}

impl Probing {
    /// Nobody is asked yet.
    pub(super) fn new(catalog: Arc<Catalog>, with_iccid: bool, runtime: Handle) -> Self {
        Self { catalog, with_iccid, stays: BTreeMap::new(), tasks: JoinSet::new(), runtime }
    }

    /// Knows these models from now on. Who did not tell who it is, or was of no known model, is asked again.
    pub(super) fn learn(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
        self.stays.retain(|_, stay| stay.is_asked || matches!(stay.known, Known::Identity(_)));
    }

    /// Whether devices are asked for their SIMs from now on, too. Those that were asked before, and not for
    /// their SIM, are unclear then and asked again.
    pub(super) fn ask_for_sims(&mut self, with_iccid: bool) {
        self.with_iccid = with_iccid;
    }

    /// What is known of the device that is there since then.
    pub(super) fn known(&self, usb_path: &str, since: Instant) -> Known {
        let stay = self.stays.get(usb_path).filter(|stay| stay.since == since);
        stay.map_or(Known::NotYet, |stay| stay.known.clone())
    }

    /// Takes in what a modem's own task heard of the device that is there since then.
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

    /// Whether it is being asked now, and its port in use for that.
    pub(super) fn is_asked(&self, usb_path: &str) -> bool {
        self.stays.get(usb_path).is_some_and(|stay| stay.is_asked)
    }

    /// Asks a device, unless it is being asked, or was so a moment ago: then says when it may be.
    /// `iccid` asks for its SIM too, also where no entry does.
    pub(super) fn ask(
        &mut self,
        usb_path: &str,
        ports: &Ports,
        iccid: bool,
        now: Instant,
    ) -> Option<Instant> {
        let fresh = || Stay::new(ports.since, now);
        let stay = self.stays.entry(usb_path.to_owned()).or_insert_with(fresh);
        // The question of an earlier stay ends by itself: its port is gone.
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

    /// The port at which a device told who it is, still open.
    pub(super) fn open(&mut self, usb_path: &str, since: Instant) -> Option<Introduction> {
        let stay = self.stays.get_mut(usb_path).filter(|stay| stay.since == since);
        stay.and_then(|stay| stay.open.take())
    }

    /// Closes the ports that nobody took; until that is done they are in use.
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

    /// Whether a device that is nobody's should be asked (again): it was not asked yet, also for its SIM, so
    /// that an operator sees what there is; it was mute, as one that boots is; or it did not tell its SIM,
    /// which may be put in later and then be somebody's.
    pub(super) fn is_unclear(&self, usb_path: &str, known: &Known) -> bool {
        let was_asked = self.stays.get(usb_path).is_some_and(|stay| stay.sim_asked);
        match known {
            Known::NotYet | Known::Mute => true,
            Known::Identity(identity) => {
                identity.iccid.is_none() && (self.with_iccid || !was_asked)
            }
        }
    }

    /// Who a device said it is, else why it did not, and which port another process has.
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

    /// Reports whether a device told who it is, or was asked at each of its ports and did not.
    pub(super) fn is_through(&self, usb_path: &str, ports: &Ports) -> bool {
        let Some(stay) = self.stays.get(usb_path).filter(|stay| stay.since == ports.since) else {
            return false;
        };
        let is_told = matches!(stay.known, Known::Identity(_));
        !stay.is_asked && (is_told || stay.attempts >= ports.places())
    }

    /// Waits for the end of a question; for ever where none is open.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn ended(&mut self) -> Option<Asked> {
        match self.tasks.join_next().await {
            Some(asked) => asked.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes in what a question came to.
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
                // Somebody else may let a port go; it is not the modem's fault. Another port may answer.
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

    /// Forgets devices that went.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.stays.retain(|usb_path, stay| stay.is_asked || is_there(usb_path));
    }

    /// How many of the IMEIs that were told are told by more than one device.
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

/// Whose fixed port one of these ttys is, whatever link names it there.
pub(super) fn fixed<'a>(ttys: &[PathBuf], fixed: &'a [(String, PathBuf)]) -> Option<&'a str> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_here = |path: &PathBuf| ttys.contains(path) || ttys.contains(&real(path));
    fixed.iter().find(|(_, path)| is_here(path)).map(|(name, _)| name.as_str())
}
