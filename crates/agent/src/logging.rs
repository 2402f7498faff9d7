//! Log lines: one event a line, as text, as JSON, or with its fields into the journal.
//!
//! What repeats is counted instead of repeated. What is logged, and whose AT dialogue, can be changed
//! while the agent runs.

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

/// An event that repeats is logged so often at once …
const BURST: f64 = 10.0;

/// … and then once in ten seconds.
const REFILL_PER_SECOND: f64 = 0.1;

/// How often the log says what it left out.
const SUMMARY: Duration = Duration::from_secs(60);

/// Different events that are told apart; beyond it the oldest are forgotten.
const SIGNATURES: usize = 1_000;

/// How log lines look.
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

/// What is logged now, and how to change it.
#[derive(Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Named>,
    traced: Traced,
    recent: Recent,
}

impl Log {
    /// The filter in force, as it was given.
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// The filter's fault, in words.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = parse(filter)?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }

    /// The last of it, more than the filter lets through.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The modems whose AT dialogue is logged.
    pub fn traced(&self) -> &Traced {
        &self.traced
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("the filter {filter:?} is not valid: {error}"))
}

/// Sets logging up. `filter` is a level (`info`, `debug` …) or a list such as
/// `info,modemfleet::at=trace`, which shows the AT dialogue.
///
/// Call it inside the runtime, on which what was left out is summed up.
///
/// # Errors
/// The filter's fault, or that of the journal, in words.
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

/// Where the events go, and how they look.
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
            // Fields as they are called in the code: MODEM_NAME, SESSION, CODE.
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

/// Whether standard error is a stream of the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(is) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", is.st_dev(), is.st_ino())
}

/// What repeats word for word on the same modem is counted. The AT dialogue is asked for: it stays whole.
fn throttle() -> Result<TracingRateLimitLayer, String> {
    let policy =
        Policy::token_bucket(BURST, REFILL_PER_SECOND).map_err(|error| error.to_string())?;
    TracingRateLimitLayer::builder()
        .with_policy(policy)
        .with_max_signatures(SIGNATURES)
        .with_summary_interval(SUMMARY)
        .with_active_emission(true)
        .with_span_context_fields(vec!["name".to_owned()])
        .with_exempt_targets(vec![at_dialogue::TARGET.to_owned()])
        .build()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what reaches it.
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
