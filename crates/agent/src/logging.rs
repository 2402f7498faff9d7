//! Log lines: one event a line, as text, as JSON, or with its fields into the journal.
//!
//! Repeated events are counted instead of logged. The filter, and the modems whose AT dialogue is
//! logged, can change while the agent runs.

mod at_dialogue;
mod journal;
mod leveled;
mod plain;
mod recent;

use std::io;
use std::os::linux::fs::MetadataExt;
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, FilterExt};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_throttle::{Policy, TracingRateLimitLayer};

use at_dialogue::{AtDialogue, SpanNames};
use journal::Journal;
use leveled::Leveled;
use plain::Plain;

pub use at_dialogue::Traced;
pub use recent::Recent;

/// The number of equal events that are logged at once …
const BURST: f64 = 10.0;

/// … and then once in ten seconds.
const REFILL_PER_SECOND: f64 = 0.1;

/// The interval of reports on events left out.
const SUMMARY: Duration = Duration::from_secs(60);

/// The most different events that are distinguished; beyond it the oldest are forgotten.
const SIGNATURES: usize = 1_000;

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people; with syslog levels if standard error is the systemd journal.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// For programs: an object a line.
    Json,
    /// Into systemd's journal, with modem and session as fields (`journalctl -u modemfleet MODEM_NAME=north`) and not in the
    /// message.
    Journald,
}

/// The log's settings, which can change while it runs.
#[derive(Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Named>,
    traced: Traced,
    recent: Recent,
}

impl Log {
    /// Returns the present filter, as it was given.
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// A description of the filter's fault.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = parse(filter)?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }

    /// Returns the latest events, including some that the filter does not let through.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Returns the modems whose AT dialogue is logged.
    pub fn traced(&self) -> &Traced {
        &self.traced
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("the filter {filter:?} is not valid: {error}"))
}

/// Sets up logging. `filter` is a level (`info`, `debug` …) or a list such as
/// `info,modemfleet::at=trace`, which shows the AT dialogue.
///
/// Call it inside the runtime, which sums up the events left out.
///
/// # Errors
/// A description of the fault of the filter or of the journal.
pub fn init(format: Format, filter: &str) -> Result<Log, String> {
    let (wanted, handle) = reload::Layer::new(parse(filter)?);
    let (traced, recent) = (Traced::default(), Recent::default());
    let filter = wanted.or(AtDialogue::of(traced.clone())).and(throttle()?);
    let lines = lines(format)?.with_filter(filter);
    tracing_subscriber::registry()
        .with(SpanNames)
        .with(lines)
        .with(recent.clone().with_filter(Recent::filter()))
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(Log { filter: handle, traced, recent })
}

/// Returns the layer that writes events in this form.
fn lines(format: Format) -> Result<Box<dyn Layer<Named> + Send + Sync>, String> {
    let text = tracing_subscriber::fmt::layer();
    let plain = |is_coloured| Plain { is_coloured };
    Ok(match format {
        Format::Auto if !to_journal() => return lines(Format::Text),
        Format::Auto => {
            text.with_writer(plain(false)).with_ansi(false).event_format(Leveled::new()).boxed()
        }
        Format::Journald => {
            let journal = tracing_journald::layer()
                .map_err(|error| format!("cannot write to the journal: {error}"))?;
            // Fields have their names in the code: MODEM_NAME, SESSION, CODE.
            Journal(journal.with_field_prefix(None)).boxed()
        }
        Format::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            text.with_writer(plain(colours)).with_target(false).with_ansi(colours).boxed()
        }
        Format::Json => {
            let text = text.with_writer(plain(false));
            text.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    })
}

type Named = tracing_subscriber::layer::Layered<SpanNames, Registry>;

/// Reports whether standard error is a stream of the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(is) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", is.st_dev(), is.st_ino())
}

/// Returns the layer that counts events repeated word for word on one modem. It leaves the AT
/// dialogue whole, since that was asked for.
fn throttle() -> Result<TracingRateLimitLayer, String> {
    let policy =
        Policy::token_bucket(BURST, REFILL_PER_SECOND).map_err(|error| error.to_string())?;
    TracingRateLimitLayer::builder()
        .with_policy(policy)
        .with_max_signatures(SIGNATURES)
        .with_summary_interval(SUMMARY)
        .with_active_emission(true)
        .with_span_context_fields(["name", "lane"].map(str::to_owned).to_vec())
        .with_exempt_targets(vec![at_dialogue::TARGET.to_owned()])
        .build()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer that counts its events.
    #[derive(Clone, Default)]
    struct Count(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_repeats_is_logged_a_few_times_and_the_rest_in_full() {
        let count = Count::default();
        let counted = count.clone().with_filter(throttle().unwrap_or_default());
        let subscriber = tracing_subscriber::registry().with(counted);
        let so_far = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        let _set = tracing::subscriber::set_default(subscriber);
        for _ in 0..100 {
            tracing::warn!(session = "cloud", "could not connect");
        }
        assert_eq!(so_far(), 10);
        for session in 0..100 {
            tracing::warn!(session, "another");
        }
        assert_eq!(so_far(), 110);
        for modem in ["north", "south"] {
            tracing::info_span!("modem", name = modem).in_scope(|| {
                for _ in 0..100 {
                    tracing::warn!("muted");
                    tracing::trace!(target: "modemfleet::at", "> AT");
                }
            });
        }
        assert_eq!(so_far(), 110 + 2 * (10 + 100));
    }
}
