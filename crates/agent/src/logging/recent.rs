//! The latest lines of the log and of each modem's AT dialogue, kept in memory for questions after
//! a fault.
//!
//! Lines before a question explain a fault, so they are kept from the start. They are bounded by
//! bytes, and hold more detail than the usual log. Secrets are redacted before a line is made.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::at_dialogue::{ModemName, TARGET};
use fleet::printable::is_unprintable;

/// The most bytes of the log.
const LOG: usize = 256 * 1024;

/// The most bytes of one modem's dialogue: some minutes of a busy modem.
const DIALOGUE: usize = 64 * 1024;

/// The most dialogues kept; no gateway has more modems.
const DIALOGUES: usize = 128;

/// The most bytes of one line.
const LINE: usize = 2 * 1024;

/// Our packages. Of other libraries only warnings and errors are kept.
const OURS: [&str; 9] = [
    "agent",
    "discovery",
    "fleet",
    "inbox",
    "modem",
    "modemfleet",
    "profile_quectel",
    "profile_simcom",
    "queue",
];

/// The latest lines.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    log: Lines,
    dialogues: BTreeMap<String, Lines>,
}

/// The newest lines, up to a number of bytes.
#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, line: String, most: usize) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        while self.bytes > most
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }
}

impl Recent {
    /// Returns the filter of the events that are kept.
    pub(super) fn filter() -> Targets {
        Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(OURS.map(|target| (target, LevelFilter::DEBUG)))
            .with_target(TARGET, LevelFilter::TRACE)
    }

    /// Returns all lines, the oldest first: `log`, and `at` by modem.
    pub fn json(&self) -> Value {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dialogues: BTreeMap<&String, &VecDeque<String>> =
            kept.dialogues.iter().map(|(modem, lines)| (modem, &lines.lines)).collect();
        json!({ "log": kept.log.lines, "at": dialogues })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let modem = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .find_map(|span| span.extensions().get::<ModemName>().map(|name| name.0.clone()));
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let is_dialogue = event.metadata().target() == TARGET;
        let mut line = Text(time.to_string());
        if !is_dialogue {
            // A write into memory does not fail.
            let _ = write!(line, " {}", event.metadata().level());
            if let Some(modem) = &modem {
                let _ = write!(line, " {modem}:");
            }
        }
        event.record(&mut line);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match modem.filter(|_| is_dialogue) {
            Some(modem)
                if kept.dialogues.len() < DIALOGUES || kept.dialogues.contains_key(&modem) =>
            {
                kept.dialogues.entry(modem).or_default().push(line.0, DIALOGUE);
            }
            Some(_) => {}
            None => kept.log.push(line.0, LOG),
        }
    }
}

/// A line under construction, which stops growing at its bound.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().take(LINE.saturating_sub(self.0.len())) {
            // An event is one line.
            self.0.push(if is_unprintable(c) { ' ' } else { c });
        }
        Ok(())
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self, " {value:?}"),
            name => write!(self, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::at_dialogue::SpanNames;
    use super::*;

    #[test]
    fn the_newest_is_kept_by_modem_and_within_its_bound() {
        let recent = Recent::default();
        let layer = recent.clone().with_filter(Recent::filter());
        let subscriber = tracing_subscriber::registry().with(SpanNames).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let north = tracing::info_span!("modem", name = "north");
            north.in_scope(|| {
                tracing::warn!(target: "modem", state = "recovering", "the modem\n answers nothing");
                for number in 0..4_000 {
                    tracing::trace!(target: "modemfleet::at", "> AT+CSQ {number:04} of many");
                }
                tracing::trace!(target: "modem", "not that much");
            });
            tracing::info!(target: "hyper", "what a library says");
            tracing::info!(target: "agent::run", long = "x".repeat(9_000), "cut");
        });
        let kept = recent.json();
        let log: Vec<&str> =
            kept["log"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(
            log[0].ends_with("WARN north: the modem  answers nothing state=\"recovering\""),
            "{log:?}"
        );
        assert!(log[1].len() <= LINE + 30);
        let dialogue = kept["at"]["north"].as_array().unwrap();
        assert!(dialogue.last().unwrap().as_str().unwrap().ends_with("> AT+CSQ 3999 of many"));
        let bytes: usize = dialogue.iter().filter_map(Value::as_str).map(str::len).sum();
        assert!(bytes <= DIALOGUE && bytes > DIALOGUE / 2, "{bytes}");
    }

    /// Packages that log in other processes than the agent's: the simulator, and tests of profiles.
    const ELSEWHERE: [&str; 2] = ["modem-sim", "modem-conformance"];

    #[test]
    fn the_lines_of_all_packages_of_the_agent_are_kept() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folders = ["crates", "profiles"].map(|folder| root.join(folder).read_dir().unwrap());
        let mut logging = 0;
        for folder in folders.into_iter().flatten() {
            let manifest = std::fs::read_to_string(folder.unwrap().path().join("Cargo.toml"));
            let manifest = manifest.unwrap_or_default();
            if !manifest.lines().any(|line| line.starts_with("tracing")) {
                continue;
            }
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            let name = name.trim_matches('"');
            if !ELSEWHERE.contains(&name) {
                let target = format!("{}::x", name.replace('-', "_"));
                let kept = Recent::filter().would_enable(&target, &tracing::Level::DEBUG);
                assert!(kept, "a line of {name} is not kept");
                logging += 1;
            }
        }
        assert_eq!(logging, OURS.len(), "OURS names a package that does not log");
    }
}
