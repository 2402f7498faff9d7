//! Counters of the dialogue with the modems.

use std::time::Duration;

use modem::observe::ExchangeResult;
use modem::port::Kind;
use prometheus::{HistogramVec, IntCounterVec};

use super::families;
use super::series::{Labels, Maker, bump, observe, prune};

/// Exchanges, URCs, and their faults, by modem.
pub(super) struct AtMetrics {
    commands: IntCounterVec,
    seconds: HistogramVec,
    urcs: IntCounterVec,
    desyncs: IntCounterVec,
    precautions: IntCounterVec,
    implausible: IntCounterVec,
}

impl AtMetrics {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            commands: make.counter(&families::AT_COMMANDS)?,
            seconds: make.histogram(&families::AT_SECONDS)?,
            urcs: make.counter(&families::AT_URCS)?,
            desyncs: make.counter(&families::AT_DESYNCS)?,
            precautions: make.counter(&families::AT_PRECAUTIONS)?,
            implausible: make.counter(&families::IMPLAUSIBLE)?,
        })
    }

    /// Adds the series of a modem.
    pub(super) fn begin(&self, modem: &str) {
        for family in [&self.urcs, &self.desyncs, &self.precautions, &self.implausible] {
            bump(family, &[modem], 0);
        }
        for kind in Kind::ALL {
            for result in ExchangeResult::ALL {
                bump(&self.commands, &[modem, kind.as_str(), result.as_str()], 0);
            }
        }
    }

    pub(super) fn exchange(&self, modem: &str, kind: Kind, result: ExchangeResult, took: Duration) {
        bump(&self.commands, &[modem, kind.as_str(), result.as_str()], 1);
        observe(&self.seconds, &[modem, kind.as_str()], took);
    }

    pub(super) fn urc(&self, modem: &str) {
        bump(&self.urcs, &[modem], 1);
    }

    pub(super) fn desync(&self, modem: &str) {
        bump(&self.desyncs, &[modem], 1);
    }

    pub(super) fn precaution(&self, modem: &str) {
        bump(&self.precautions, &[modem], 1);
    }

    pub(super) fn implausible(&self, modem: &str, count: u32) {
        bump(&self.implausible, &[modem], u64::from(count));
    }

    pub(super) fn keep(&self, keep: impl Fn(&Labels<'_>) -> bool + Copy) {
        let Self { commands, seconds, urcs, desyncs, precautions, implausible } = self;
        for family in [commands, urcs, desyncs, precautions, implausible] {
            prune(family, keep);
        }
        prune(seconds, keep);
    }
}
