//! The AT dialogue of some modems in the log, switched while the agent runs.
//!
//! A filter of tracing-subscriber matches spans when they are made, but a modem's span lives as
//! long as the agent. So each span of a modem carries its name, and this filter checks each event.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, callsite};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The target of the port's log of sent and received data, with secrets redacted.
pub(super) const TARGET: &str = "modemfleet::at";

/// The span in which a modem's task runs.
const SPAN: &str = "modem";

/// The modems whose dialogue is logged, by name, with the end of each log.
#[derive(Debug, Clone, Default)]
pub struct Traced(Arc<RwLock<BTreeMap<String, Instant>>>);

impl Traced {
    /// Logs a modem's dialogue for `time`; zero ends it.
    pub fn set(&self, modem: &str, time: Duration) {
        let (now, mut all) =
            (Instant::now(), self.0.write().unwrap_or_else(PoisonError::into_inner));
        all.insert(modem.to_owned(), now + time);
        all.retain(|_, end| *end > now);
        drop(all);
        // Each call site caches the filters' earlier answers.
        callsite::rebuild_interest_cache();
    }

    /// Returns the names, in order.
    pub fn names(&self) -> Vec<String> {
        let (now, all) = (Instant::now(), self.0.read().unwrap_or_else(PoisonError::into_inner));
        all.iter().filter(|(_, end)| **end > now).map(|(name, _)| name.clone()).collect()
    }

    fn has(&self, modem: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(modem).is_some_and(|end| *end > Instant::now())
    }

    fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A modem's name, on its span.
pub(super) struct ModemName(pub(super) String);

/// The layer that stores modems' names on their spans.
pub(super) struct SpanNames;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanNames {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        let mut name = NameField(None);
        attributes.record(&mut name);
        if let (Some(name), Some(span)) = (name.0, context.span(id)) {
            span.extensions_mut().insert(ModemName(name));
        }
    }
}

struct NameField(Option<String>);

impl Visit for NameField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The filter that lets only the dialogue of traced modems through.
pub(super) struct AtDialogue(Traced);

impl AtDialogue {
    pub(super) fn of(traced: Traced) -> Self {
        Self(traced)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for AtDialogue {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        if metadata.target() != TARGET || self.0.is_empty() {
            return false;
        }
        let mut scope = context.lookup_current().into_iter().flat_map(|span| span.scope());
        scope.any(|span| {
            span.extensions().get::<ModemName>().is_some_and(|name| self.0.has(&name.0))
        })
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == TARGET && !self.0.is_empty() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.0.is_empty() { LevelFilter::OFF } else { LevelFilter::TRACE })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use tracing_subscriber::filter::{EnvFilter, FilterExt};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn the_dialogue_of_one_modem_is_switched_while_its_span_lives() {
        let (kept, traced) = (Kept::default(), Traced::default());
        let filter = EnvFilter::new("info").or(AtDialogue::of(traced.clone()));
        let lines = tracing_subscriber::fmt::layer().with_writer(kept.clone()).with_filter(filter);
        let subscriber = tracing_subscriber::registry().with(SpanNames).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let spans = ["north", "south"].map(|name| tracing::info_span!("modem", name));
            for (round, seconds) in [(1, 0), (2, 60), (3, 0)] {
                traced.set("north", Duration::from_secs(seconds));
                for span in &spans {
                    span.in_scope(|| tracing::trace!(target: "modemfleet::at", "> AT {round}"));
                }
            }
        });
        let text = String::from_utf8(kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let text = text.unwrap_or_default();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("north") && text.contains("> AT 2"), "{text}");
    }
}
