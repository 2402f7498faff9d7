//! States as metrics: read from their owners at each scrape. A scrape never talks to a modem.
//!
//! An unknown value has no series: a gauge of 0 or -1 for "unknown" would be read as a value.

use std::time::UNIX_EPOCH;

use ::inbox::Inbox;
use modem::{RecoveryCause, State};
use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec};
use queue::Queue;

use super::families::{self as all, Family};
use super::labels::READER_KINDS;
use crate::budget::{Stage, Standing};
use crate::now::{ModemView, Security, View};

impl Collector for View {
    /// Returns none: the series are known only at the scrape.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for modem in &self.now().modems {
            modem_families(&mut families, modem);
        }
        queue_families(&mut families, &self.queue);
        families.finish()
    }
}

/// The figures of an inbox as metrics.
pub struct Figures {
    inbox: Inbox,
    /// Any one description: without it, the registry could not distinguish two collectors.
    desc: Desc,
}

impl Figures {
    /// Returns the figures of this inbox.
    ///
    /// # Errors
    /// If Prometheus refuses a name, which is a mistake in the table of families.
    pub fn new(inbox: Inbox) -> prometheus::Result<Self> {
        Ok(Self { inbox, desc: all::INBOX_MESSAGES.opts().describe()? })
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stat = self.inbox.stat();
        let mut families = Families::default();
        families.gauge(&all::INBOX_MESSAGES, &[], count(stat.messages));
        families.gauge(&all::INBOX_BYTES, &[], count(stat.bytes));
        for (kind, all_of_kind) in READER_KINDS.into_iter().zip([&stat.readers, &stat.sessions]) {
            let number = u64::try_from(all_of_kind.len()).unwrap_or(u64::MAX);
            families.gauge(&all::INBOX_READERS, &[kind], count(number));
        }
        families.counter(&all::INBOX_STORED, &[([], count(stat.stored))]);
        let dropped = stat.dropped.by_reason().map(|(reason, dropped)| ([reason], count(dropped)));
        families.counter(&all::INBOX_DROPPED, &dropped);
        families.counter(&all::INBOX_COMMIT_ERRORS, &[([], count(stat.failed_commits))]);
        families.counter(&all::INBOX_CORRUPTIONS, &[([], count(stat.corruptions))]);
        families.finish()
    }
}

/// Families under construction, by their order of first use.
#[derive(Default)]
struct Families {
    open: Vec<(&'static str, GaugeVec)>,
    done: Vec<MetricFamily>,
}

impl Families {
    /// Returns all families.
    fn finish(self) -> Vec<MetricFamily> {
        let gauges = self.open.into_iter().flat_map(|(_, family)| family.collect());
        gauges.chain(self.done).collect()
    }

    /// Adds one sample.
    fn gauge(&mut self, is: &'static Family, labels: &[&str], value: f64) {
        let known = self.open.iter().position(|(open, _)| *open == is.name);
        let family = match known.and_then(|at| self.open.get(at)) {
            Some((_, family)) => family.clone(),
            None => match GaugeVec::new(is.opts(), &is.label_names()) {
                Ok(family) => {
                    self.open.push((is.name, family.clone()));
                    family
                }
                Err(error) => return tracing::error!("a metric is wired wrongly: {error}"),
            },
        };
        match family.get_metric_with_label_values(labels) {
            Ok(gauge) => gauge.set(value),
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }

    /// Adds a counter with all its samples.
    fn counter<const LABELS: usize>(
        &mut self,
        is: &'static Family,
        samples: &[([&str; LABELS], f64)],
    ) {
        match CounterVec::new(is.opts(), &is.label_names()) {
            Ok(family) => {
                for (labels, count) in samples {
                    match family.get_metric_with_label_values(labels) {
                        Ok(counter) => counter.inc_by(*count),
                        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
                    }
                }
                self.done.extend(family.collect());
            }
            Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
        }
    }
}

fn yes(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn modem_families(families: &mut Families, modem: &ModemView) {
    let snapshot = modem.snapshot.borrow().clone();
    let name = modem.name.as_str();
    families.gauge(&all::MODEM_PRESENT, &[name], yes(snapshot.present));
    families.gauge(&all::MODEM_UP, &[name], yes(snapshot.identified.is_some()));
    for state in State::ALL {
        families.gauge(&all::MODEM_STATE, &[name, state.as_str()], yes(state == snapshot.state));
    }
    families.gauge(&all::MODEM_BUSY, &[name], yes(snapshot.busy));
    for cause in RecoveryCause::ALL {
        let labels = [name, cause.as_str()];
        families.gauge(&all::RECOVERY_CAUSE, &labels, yes(snapshot.causes.contains(&cause)));
    }
    if let Some(is) = &snapshot.identified {
        let firmware = is.firmware.as_deref().unwrap_or_default();
        let labels = [name, &is.manufacturer, &is.model, firmware, &is.profile];
        families.gauge(&all::MODEM_INFO, &labels, 1.0);
    }
    if let Some(registration) = &snapshot.registration {
        families.gauge(&all::REGISTERED, &[name], yes(registration.stat.is_registered()));
    }
    for signal in &snapshot.signals {
        signal_families(families, name, signal);
    }
    let optional = [
        (&all::TEMPERATURE, snapshot.temperature_celsius),
        (&all::LAST_DETECTION, snapshot.detection_seconds),
        (&all::LAST_READY, snapshot.ready_seconds),
    ];
    for (family, value) in optional {
        if let Some(value) = value {
            families.gauge(family, &[name], value);
        }
    }
    if let Some(standing) = modem.standing() {
        budget_families(families, name, &standing);
    }
    session_families(families, modem);
}

fn session_families(families: &mut Families, modem: &ModemView) {
    for session in &modem.sessions {
        let labels = [modem.name.as_str(), session.id.session.as_str()];
        families.gauge(&all::CONNECTED, &labels, yes(session.state().is_connected()));
        if session.security == Security::InsecureTls {
            families.gauge(&all::TLS_INSECURE, &labels, 1.0);
        }
    }
}

fn budget_families(families: &mut Families, modem: &str, standing: &Standing) {
    let resets_at = standing.resets_at.map(|at| at.as_duration().as_secs_f64());
    let values = [
        (&all::BUDGET, Some(count(standing.bytes))),
        (&all::BUDGET_USED, standing.used.map(count)),
        (&all::BUDGET_LEFT, standing.left().map(count)),
        (&all::BUDGET_RESET, resets_at),
    ];
    for (family, value) in values {
        if let Some(value) = value {
            families.gauge(family, &[modem], value);
        }
    }
    for stage in Stage::ALL {
        let labels = [modem, stage.as_str()];
        families.gauge(&all::BUDGET_STAGE, &labels, yes(stage == standing.stage));
    }
}

fn signal_families(families: &mut Families, modem: &str, signal: &modem::reply::Signal) {
    let values = [
        (&all::RSSI, signal.rssi_dbm),
        (&all::RSRP, signal.rsrp_dbm),
        (&all::RSRQ, signal.rsrq_db),
        (&all::SINR, signal.sinr_db),
    ];
    for (family, value) in values {
        if let Some(value) = value {
            families.gauge(family, &[modem, signal.rat.as_str()], value);
        }
    }
}

fn queue_families(families: &mut Families, queue: &Queue) {
    let stat = queue.stat();
    families.gauge(&all::QUEUE_MESSAGES, &[], count(stat.messages));
    families.gauge(&all::QUEUE_BYTES, &[], count(stat.bytes));
    families.gauge(&all::QUEUE_LIMIT, &[], count(queue.max_bytes()));
    families.gauge(&all::QUEUE_ASIDE, &[], count(stat.aside.messages));
    if let Some(oldest) = stat.oldest {
        let when = oldest.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        families.gauge(&all::QUEUE_OLDEST, &[], when);
    }
    families.counter(&all::QUEUE_CORRUPTIONS, &[([], count(stat.salvages))]);
    families.counter(&all::QUEUE_COMMIT_ERRORS, &[([], count(stat.failed_commits))]);
    families.counter(&all::QUEUE_SYNC_ERRORS, &[([], count(stat.failed_syncs))]);
    let dropped = stat.dropped.by_reason().map(|(reason, dropped)| ([reason], count(dropped)));
    families.counter(&all::QUEUE_DROPPED, &dropped);
}

/// Converts a count for Prometheus. Beyond 2^53 it is rounded, which no queue reaches.
pub(crate) fn count(count: u64) -> f64 {
    #[expect(
        clippy::as_conversions,
        reason = "there is no lossless conversion, and none is needed"
    )]
    let count = count as f64;
    count
}
