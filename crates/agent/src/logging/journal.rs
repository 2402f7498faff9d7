//! The journal's fields, without characters that could command a terminal or deceive its reader.
//! `journalctl` shows all of UTF-8 unchanged.

use std::fmt;

use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::plain::plain;

/// The layer for the journal, which receives each event with printable texts only. Spans pass
/// unchanged: they hold names of the fleet file, with letters, digits and a few marks.
pub(super) struct Journal<L>(pub(super) L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Journal<L> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = event.metadata().fields();
        let mut texts = Texts(vec![None; fields.len()]);
        event.record(&mut texts);
        let values: Vec<Option<&dyn Value>> =
            texts.0.iter().map(|text| text.as_ref().map(value)).collect();
        let values = fields.value_set_all(&values);
        self.0.on_event(&Event::new(event.metadata(), &values), context);
    }
}

fn value(text: &String) -> &dyn Value {
    text
}

/// The values of an event in the order of its fields. All of them are text, as in the journal.
struct Texts(Vec<Option<String>>);

impl Texts {
    fn put(&mut self, field: &Field, text: &str) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(plain(text, false));
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A layer that keeps its fields as the journal's layer writes them.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Visit for Kept {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.lock().unwrap().push(format!("{field}={value}"));
        }

        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.lock().unwrap().push(format!("{field}={value:?}"));
        }
    }

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            attributes.record(&mut self.clone());
        }

        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            event.record(&mut self.clone());
        }
    }

    /// Logs one event of each kind of value.
    fn log(said: &str) {
        let error: &dyn std::error::Error = &io::Error::other(format!("{said} in an error"));
        let _span = tracing::info_span!("modem", name = "north").entered();
        tracing::warn!(
            none = tracing::field::Empty,
            said,
            shown = %said,
            error,
            count = 7_u64,
            is_up = true,
            "it said {said}"
        );
    }

    #[test]
    fn what_a_modem_says_is_plain_in_every_field_and_all_else_stays() {
        let (journal, bare) = (Kept::default(), Kept::default());
        let layers = tracing_subscriber::registry().with(Journal(journal.clone()));
        tracing::subscriber::with_default(layers, || log("a\u{202e}b\u{1b}[2J\nc\u{2066}"));
        let layers = tracing_subscriber::registry().with(bare.clone());
        tracing::subscriber::with_default(layers, || log("a\u{fffd}b\u{fffd}[2J c\u{fffd}"));
        let (journal, bare) = (journal.0.lock().unwrap(), bare.0.lock().unwrap());
        assert_eq!(*journal, *bare);
        assert!(bare.contains(&"count=7".to_owned()) && bare.contains(&"name=north".to_owned()));
    }
}
