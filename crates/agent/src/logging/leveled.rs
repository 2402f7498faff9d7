//! Text for systemd: each line begins with its level in the form of sd-daemon(3), which the journal
//! removes.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{
    DefaultFields, Format, FormatEvent, FormatFields, Full, Writer,
};
use tracing_subscriber::registry::LookupSpan;

/// A line as for people, without its time, which the journal adds.
pub(super) struct Leveled(Format<Full, ()>);

impl Leveled {
    pub(super) fn new() -> Self {
        Self(Format::default().without_time().with_target(false).with_level(false).with_ansi(false))
    }
}

/// Returns the number of a level for syslog(3). The journal colours warnings and errors, and
/// filters by it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S> FormatEvent<S, DefaultFields> for Leveled
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    DefaultFields: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_level_and_whose_it_is() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(Leveled::new())
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("modem", name = "north").entered();
            tracing::info!(session = "lab", "connected");
            tracing::error!("gone");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let expected =
            "<6>modem{name=\"north\"}: connected session=\"lab\"\n<3>modem{name=\"north\"}: gone\n";
        assert_eq!(text, expected);
    }
}
