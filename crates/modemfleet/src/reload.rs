//! `modemfleet reload`: makes the running agent read its fleet file again.

use std::io::{self, Write};
use std::process::ExitCode;

use bytes::Bytes;
use hyper::Method;
use modem::session::Chain;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::end::wrong;
use api::client::{Call, Client, ClientError, Target, TargetError, converse, encode};
use api::reload::{Line, Plan, summary};
use fleet::printable::complain;
use fleet::printable::printable;

const EXAMPLES: &str = "Examples:
  modemfleet check --diff /etc/modemfleet/fleet.yaml    print the changes that a reload would make
  modemfleet reload                                     reload, and print the changes

`+` is added, `-` removed, `~` changed and `=` unchanged: an unchanged modem keeps its sessions. \
Changes that need a restart of the agent are listed with the reason.

Exit codes: 0 applied, 1 failed, 2 the file is refused and the old fleet keeps running, 3 no agent runs.";

/// Makes the running agent read its fleet file again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    /// The address of the agent.
    #[command(flatten)]
    pub target: Target,
}

/// The reason why there is no plan to print.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The agent's address is not known.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The agent did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not a plan.
    #[error("the agent's answer has no plan: has the agent another version?")]
    Strange,
}

impl ReloadError {
    /// Returns the exit code by the contract.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Target(_) => wrong(),
            Self::Client(ClientError::Refused { code, .. }) if code == "refused" => wrong(),
            Self::Client(error) => error.code(),
            Self::Strange => ExitCode::FAILURE,
        }
    }
}

/// Reloads, and prints the changes.
///
/// # Errors
/// Only errors of the output.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    match converse(reload(&args.target))? {
        Ok(lines) => {
            print(&mut io::stdout().lock(), &lines, args.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(&Chain(&error).to_string());
            Ok(error.code())
        }
    }
}

async fn reload(target: &Target) -> Result<Vec<Line>, ReloadError> {
    let call = Call { method: Method::POST, path: "/api/v1/reload", key: None, body: Bytes::new() };
    // If the file has errors, the agent reports them and counts the refusal.
    lines(&target.client()?.json(&call).await?)
}

/// Returns the changes that a reload of this checked file would make in the running agent.
///
/// # Errors
/// [`ReloadError`].
///
/// # Cancel safety
/// Nothing is changed.
pub(super) async fn plan_of(
    client: &mut Client,
    file: &std::path::Path,
    text: Vec<u8>,
) -> Result<Vec<Line>, ReloadError> {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = path.parent().unwrap_or(&path);
    let (name, folder) = (file.display().to_string(), folder.display().to_string());
    let path = format!("/api/v1/reload/plan?name={}&folder={}", encode(&name), encode(&folder));
    let call = Call { method: Method::POST, path: &path, key: None, body: text.into() };
    lines(&client.json(&call).await?)
}

fn lines(answer: &Value) -> Result<Vec<Line>, ReloadError> {
    let plan = Plan::deserialize(answer).map_err(|_fault| ReloadError::Strange)?;
    Ok(plan.plan)
}

/// Prints a plan: a line for each entry, and the number of lines of each kind.
///
/// # Errors
/// The errors of the output.
pub(super) fn print(out: &mut impl Write, lines: &[Line], as_json: bool) -> io::Result<()> {
    let summary = summary(lines);
    if as_json {
        return writeln!(out, "{}", json!({ "plan": lines, "summary": summary }));
    }
    for line in lines {
        writeln!(out, "{}", printable(&line.to_string()))?;
    }
    writeln!(out, "{summary}")
}
