//! The agent's own process under the names that every Prometheus client uses (`process_*`).
//!
//! The library's own collector brings five more crates for seven numbers of `/proc/self` (proc(5)).

use std::collections::HashMap;
use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::metrics::families;

/// Reads `/proc/self` at each scrape. Values that the system does not report are left out.
pub struct Process {
    /// One family stands for all: the registry distinguishes collectors by their descriptions.
    described: Vec<Desc>,
    /// Seconds since the epoch; fixed for the life of the process.
    started: Option<f64>,
}

impl Process {
    /// Returns a collector for this process.
    pub fn new() -> Self {
        let is = &families::PROCESS_STARTED;
        let described =
            Desc::new(is.name.to_owned(), is.help.to_owned(), Vec::new(), HashMap::default());
        Self { described: described.into_iter().collect(), started: started() }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields of `/proc/self/stat` after the command's name, from field 3 of proc(5).
struct Stat(Vec<u64>);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name may hold blanks and brackets: the last bracket ends it.
        let (_, fields) = text.rsplit_once(')')?;
        // The state is a letter, and some fields are negative: only counts are ever asked for.
        Some(Self(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()))
    }

    /// Returns field `number` of proc(5), from 3.
    fn field(&self, number: usize) -> Option<u64> {
        self.0.get(number.checked_sub(3)?).copied()
    }
}

fn seconds(ticks: u64) -> f64 {
    crate::metrics::scrape::count(ticks) / crate::metrics::scrape::count(clock_ticks_per_second())
}

/// Returns the start of the process: the boot time plus field 22.
fn started() -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 =
        boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + seconds(Stat::read()?.field(22)?))
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stat = Stat::read();
        let field = |number| stat.as_ref().and_then(|stat| stat.field(number));
        let page = u64::try_from(page_size()).unwrap_or(4_096);
        let open =
            fs::read_dir("/proc/self/fd").ok().and_then(|open| u64::try_from(open.count()).ok());
        let limit = getrlimit(Resource::Nofile).current.map(crate::metrics::scrape::count);
        let cpu = field(14).zip(field(15)).map(|(user, system)| seconds(user + system));
        let gauges = [
            (&families::PROCESS_FDS, open.map(crate::metrics::scrape::count)),
            (&families::PROCESS_MAX_FDS, limit),
            (&families::PROCESS_VIRTUAL, field(23).map(crate::metrics::scrape::count)),
            (
                &families::PROCESS_RESIDENT,
                field(24).map(|pages| crate::metrics::scrape::count(pages * page)),
            ),
            (&families::PROCESS_THREADS, field(20).map(crate::metrics::scrape::count)),
            (&families::PROCESS_STARTED, self.started),
        ];
        let mut collected = Vec::new();
        for (is, value) in gauges {
            if let (Some(value), Ok(gauge)) = (value, Gauge::with_opts(is.opts())) {
                gauge.set(value);
                collected.extend(gauge.collect());
            }
        }
        let counter = Counter::with_opts(families::PROCESS_CPU.opts());
        if let (Some(cpu), Ok(counter)) = (cpu, counter) {
            counter.inc_by(cpu);
            collected.extend(counter.collect());
        }
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let families = Process::new().collect();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(
            names,
            [
                "process_open_fds",
                "process_max_fds",
                "process_virtual_memory_bytes",
                "process_resident_memory_bytes",
                "process_threads",
                "process_start_time_seconds",
                "process_cpu_seconds_total"
            ]
        );
        let value = |at: usize| families[at].get_metric()[0].get_gauge().get_value();
        assert!(value(0) >= 3.0 && value(0) <= value(1), "{} of {}", value(0), value(1));
        assert!(value(3) > 1e5 && value(3) <= value(2), "{} of {}", value(3), value(2));
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        assert!(value(5) <= now + 1.0 && value(5) > now - 3_600.0, "{} at {now}", value(5));
    }
}
