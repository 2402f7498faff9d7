//! `modemfleet log`: the running agent's log filter, and the modems whose AT dialogue is logged.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;
use modem::session::Chain;
use serde_json::json;

use crate::end::{output_failed, wrong};
use api::client::{Call, ClientError, Target, TargetError, converse};
use api::log::{Change, Logged};
use fleet::printable::complain;
use fleet::printable::printable;

const EXAMPLES: &str = "Examples:
  modemfleet log                                 print the current filter
  modemfleet log --filter debug                  log more, until the agent ends
  modemfleet log --trace north --for 5m          log the AT dialogue of one modem, secrets redacted

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no agent runs.";

/// Shows or changes the log's filter in the running agent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Log by this filter: a level, or a list such as `info,modemfleet::at=trace`.
    #[arg(long)]
    filter: Option<String>,
    /// Log the AT dialogue of this modem.
    #[arg(long, value_name = "MODEM")]
    trace: Option<String>,
    /// Stop the trace after this time [default: 10m].
    #[arg(long = "for", value_name = "TIME", requires = "trace", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Stop logging the AT dialogue of this modem.
    #[arg(long, value_name = "MODEM", conflicts_with = "trace")]
    untrace: Option<String>,
    /// The address of the agent.
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let done = converse(change(args)).map_err(LogError::Io).and_then(|done| done);
    let Err(error) = done else { return ExitCode::SUCCESS };
    let code = match &error {
        LogError::Io(error) => return output_failed(error),
        LogError::Target(_) => wrong(),
        LogError::Client(error) => error.code(),
    };
    complain(&Chain(&error).to_string());
    code
}

async fn change(args: &Args) -> Result<(), LogError> {
    let change = Change {
        filter: args.filter.clone(),
        trace: args.trace.clone(),
        for_seconds: args.time.map(|time| time.as_secs()),
        untrace: args.untrace.clone(),
    };
    let (method, body) = match change == Change::default() {
        true => (Method::GET, String::new()),
        false => (Method::PUT, json!(change).to_string()),
    };
    let mut client = args.target.client()?;
    let call = Call { method, path: "/api/v1/log", key: None, body: body.into() };
    let Logged { filter, traced } = client.read(&call).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "filter: {}", printable(&filter))?;
    for modem in traced {
        writeln!(out, "AT dialogue: {}", printable(&modem))?;
    }
    Ok(())
}
