//! Counters of modems that come and go, and gauges of plugged-in devices.

use std::time::Duration;

use modem::observe::{RecoveryAction, RecoveryOutcome};
use prometheus::{GaugeVec, Histogram, IntCounterVec, IntGauge};

use super::families;
use super::series::{Labels, Maker, bump, prune, set};

/// Modems' arrivals and departures, detection, panics and recovery.
pub struct ModemMetrics {
    detection: Histogram,
    ready: Histogram,
    hotplug: IntCounterVec,
    panics: IntCounterVec,
    recovery: IntCounterVec,
    ports_busy: GaugeVec,
    unclaimed: IntGauge,
    duplicate_imeis: IntGauge,
    unclaimed_ports_busy: IntGauge,
}

impl ModemMetrics {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let alone = |family| make.histogram(family)?.get_metric_with_label_values::<&str>(&[]);
        let hotplug = make.counter(&families::HOTPLUG)?;
        for action in families::PLUG_ACTIONS {
            bump(&hotplug, &[action], 0);
        }
        Ok(Self {
            detection: alone(&families::DETECTION)?,
            ready: alone(&families::READY)?,
            hotplug,
            panics: make.counter(&families::PANICS)?,
            recovery: make.counter(&families::RECOVERY)?,
            ports_busy: make.gauge(&families::PORTS_BUSY)?,
            unclaimed: make.number(&families::UNCLAIMED)?,
            duplicate_imeis: make.number(&families::DUPLICATE_IMEIS)?,
            unclaimed_ports_busy: make.number(&families::UNCLAIMED_PORTS_BUSY)?,
        })
    }

    /// Adds the series of a modem. Its ports count as free until another process is found to hold
    /// one.
    pub(super) fn begin(&self, modem: &str) {
        bump(&self.panics, &[modem], 0);
        self.set_busy(modem, false);
    }

    pub(super) fn appeared(&self) {
        bump(&self.hotplug, &["add"], 1);
    }

    pub(super) fn vanished(&self, modem: &str) {
        self.set_busy(modem, false);
        bump(&self.hotplug, &["remove"], 1);
    }

    /// Sets whether another process holds a port of the modem.
    pub(super) fn set_busy(&self, modem: &str, is_busy: bool) {
        set(&self.ports_busy, &[modem], f64::from(u8::from(is_busy)));
    }

    pub(super) fn detected(&self, took: Duration) {
        self.detection.observe(took.as_secs_f64());
    }

    pub(super) fn ready(&self, took: Duration) {
        self.ready.observe(took.as_secs_f64());
    }

    pub(super) fn recovery(&self, modem: &str, action: RecoveryAction, outcome: RecoveryOutcome) {
        bump(&self.recovery, &[modem, action.as_str(), outcome.as_str()], 1);
    }

    /// Counts a panic of a modem's task.
    pub fn panicked(&self, modem: &str) {
        bump(&self.panics, &[modem], 1);
    }

    /// Returns the gauge of modems that no entry claims.
    pub fn unclaimed(&self) -> &IntGauge {
        &self.unclaimed
    }

    /// Returns the gauge of IMEIs that several modems share.
    pub fn duplicate_imeis(&self) -> &IntGauge {
        &self.duplicate_imeis
    }

    /// Returns the gauge of busy ports of modems that no entry claims.
    pub fn unclaimed_ports_busy(&self) -> &IntGauge {
        &self.unclaimed_ports_busy
    }

    pub(super) fn keep(&self, keep: impl Fn(&Labels<'_>) -> bool + Copy) {
        prune(&self.panics, keep);
        prune(&self.recovery, keep);
        prune(&self.ports_busy, keep);
    }
}
