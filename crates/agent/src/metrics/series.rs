//! Families of series: made, counted and pruned.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use super::families::{Family, Kind};

/// Makes families and registers them. A refusal by Prometheus is a mistake in the table, which
/// every test with a registry finds.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

impl Maker<'_> {
    pub(super) fn counter(&self, family: &Family) -> prometheus::Result<IntCounterVec> {
        let made = IntCounterVec::new(family.opts(), &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    pub(super) fn number(&self, family: &Family) -> prometheus::Result<IntGauge> {
        let made = IntGauge::with_opts(family.opts())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    pub(super) fn gauge(&self, family: &Family) -> prometheus::Result<GaugeVec> {
        let made = GaugeVec::new(family.opts(), &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    pub(super) fn histogram(&self, family: &Family) -> prometheus::Result<HistogramVec> {
        let Kind::Histogram(buckets) = family.kind else {
            return Err(prometheus::Error::Msg(format!("{} is not a histogram", family.name)));
        };
        let opts = HistogramOpts { common_opts: family.opts(), buckets: buckets.to_vec() };
        let made = HistogramVec::new(opts, &family.label_names())?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

pub(super) type Labels<'a> = HashMap<&'a str, &'a str>;

/// Removes the series whose labels `keep` rejects.
pub(super) fn prune<T: MetricVecBuilder>(vec: &MetricVec<T>, keep: impl Fn(&Labels<'_>) -> bool)
where
    MetricVec<T>: Collector,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: Labels<'_> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if !keep(&labels) {
                // It existed a moment ago.
                let _ = vec.remove(&labels);
            }
        }
    }
}

/// Adds to a counter. A wrong number of labels is a mistake in this module and must not end a
/// modem.
pub(super) fn bump(family: &IntCounterVec, labels: &[&str], by: u64) {
    match family.get_metric_with_label_values(labels) {
        Ok(counter) => IntCounter::inc_by(&counter, by),
        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
    }
}

pub(super) fn observe(family: &HistogramVec, labels: &[&str], seconds: Duration) {
    match family.get_metric_with_label_values(labels) {
        Ok(histogram) => histogram.observe(seconds.as_secs_f64()),
        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
    }
}

pub(super) fn set(family: &GaugeVec, labels: &[&str], value: f64) {
    match family.get_metric_with_label_values(labels) {
        Ok(gauge) => gauge.set(value),
        Err(error) => tracing::error!("a metric is wired wrongly: {error}"),
    }
}
