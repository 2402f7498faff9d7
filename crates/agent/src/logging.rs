//! Log lines: one event a line, on standard error, as text or as JSON.

use std::io;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Sets logging up. `filter` is a level (`info`, `debug` …) or a list such as
/// `info,modemfleet::at=trace`, which shows the AT dialogue.
///
/// # Errors
/// The filter's fault, in words.
pub fn init(format: Format, filter: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| format!("--log {filter:?}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let set = match format {
        Format::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_target(false).with_ansi(colours).try_init()
        }
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    set.map_err(|error| error.to_string())
}
