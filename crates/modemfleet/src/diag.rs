//! `modemfleet diag`: a support bundle, from a running agent or around a stopped one, without secrets.

mod bundle;
mod machine;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use modem::Plugin;
use modem::session::Chain;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{queue, scan};
use crate::end::output_failed;
use api::client::{Call, Client, ClientError, DEFAULT_CONFIG, DEFAULT_URL, Target, converse};
use bundle::Bundle;
use fleet::models::Folder;
use fleet::printable::complain;
use fleet::{Secrets, redacted};

/// The time limit of a scan: mute ports are given up one after the other.
const SCAN: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "Examples:
  modemfleet diag                       modemfleet-diag-….tar.gz in this folder
  modemfleet diag -o - | ssh HOST 'cat > gateway.tar.gz'

The bundle holds the fleet file without values that may be secret, the state of the agent and its \
modems, metrics, the last lines of the log and of each modem's AT dialogue, the queue's figures, and \
facts of this machine. manifest.json lists the parts, and the missing ones with the reason. \
Passwords, PINs and keys are removed; IMEIs, ICCIDs and topics are included.

Exit codes: 0 written, 1 not written.";

/// Collects the facts that others need to find a fault.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The bundle to write: a new file, or `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The models, if no agent runs.
    #[command(flatten)]
    models: Folder,
    /// The address of the agent.
    #[command(flatten)]
    target: Target,
}

/// Collects the bundle and writes it.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let bundle = match converse(collect(args, plugins)) {
        Ok(bundle) => bundle,
        Err(error) => {
            complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    for (name, reason) in bundle.missing() {
        complain(&format!("not in the bundle: {name}: {reason}"));
    }
    let path = args.output.clone().unwrap_or_else(|| format!("{}.tar.gz", bundle.name()).into());
    if path == Path::new("-") {
        let written = bundle.write(io::stdout().lock()).and_then(|mut out| out.flush());
        return match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output_failed(&error),
        };
    }
    match bundle.write_file(&path) {
        Ok(()) => {
            let _ = writeln!(io::stdout(), "{}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("could not write {}: {error}", path.display()));
            ExitCode::FAILURE
        }
    }
}

async fn collect(args: &Args, plugins: &[&Plugin]) -> Bundle {
    let mut bundle = Bundle::new(SystemTime::now());
    bundle.json("versions.json", "this program", Ok(versions(plugins)));
    let file = args.target.config.clone().or_else(|| {
        // With an address the file may be another agent's, but it is still useful.
        Path::new(DEFAULT_CONFIG).exists().then(|| DEFAULT_CONFIG.into())
    });
    let is_good = fleet_file(&mut bundle, file.as_deref());
    // The errors of a broken file, with lines of it, would be repeated in each reason.
    let target = if is_good || args.target.url.is_some() {
        args.target.clone()
    } else {
        let url = Some(DEFAULT_URL.to_owned());
        Target { config: None, url, is_guess: true, ..args.target.clone() }
    };
    match target.client() {
        Ok(mut client) => agent(&mut bundle, &mut client).await,
        Err(error) => bundle.missing_part("the agent", Chain(&error).to_string()),
    }
    let devices = timeout(SCAN, scan::report(&target, &args.models, plugins)).await;
    let devices = devices
        .unwrap_or_else(|_| Err(format!("some ports did not answer within {} s", SCAN.as_secs())));
    bundle.json("devices.json", "scan", devices);
    bundle.json("queue.json", "queue stat", queue::report(&target).await);
    machine::facts(&mut bundle).await;
    bundle
}

fn versions(plugins: &[&Plugin]) -> Value {
    let profiles: Vec<&str> =
        plugins.iter().flat_map(|plugin| plugin.profiles).map(|profile| profile.id()).collect();
    json!({ "modemfleet": env!("CARGO_PKG_VERSION"), "profiles": profiles })
}

/// Adds the fleet file and its problems. Returns false if the file cannot be used.
fn fleet_file(bundle: &mut Bundle, file: Option<&Path>) -> bool {
    let Some(file) = file else {
        let reason = format!("no --config, and there is no {DEFAULT_CONFIG}");
        bundle.missing_part("fleet.yaml", reason);
        return true;
    };
    let from = file.display().to_string();
    match fleet::read(file) {
        Ok(bytes) => {
            let redacted = redacted(&bytes);
            if !redacted.has_values {
                let reason = "the file cannot be read as YAML, or repeats what may be a secret";
                bundle.missing_part("the values of fleet.yaml", reason.to_owned());
            }
            bundle.text("fleet.yaml", &from, redacted.text);
        }
        Err(error) => {
            bundle.missing_part("fleet.yaml", format!("{from}: {error}"));
            return false;
        }
    }
    let (is_good, problems) = match fleet::load_with(file, Secrets::Skip) {
        Ok(loaded) => (true, loaded.warnings),
        Err(problems) => (false, problems),
    };
    let problems: Vec<Value> = problems.iter().map(fleet::Problem::to_json).collect();
    bundle.json("problems.json", "check", Ok(json!(problems)));
    is_good
}

/// Adds the answers of the running agent.
async fn agent(bundle: &mut Bundle, client: &mut Client) {
    for (name, path) in [("status.json", "/api/v1/modems"), ("logging.json", "/api/v1/log")] {
        let got = client.json(&Call::get(path)).await;
        bundle.json(name, path, got.map_err(|error| words(&error)));
    }
    match client.text(&Call::get("/metrics")).await {
        Ok(text) => bundle.text("metrics.txt", "/metrics", text),
        Err(error) => bundle.missing_part("metrics.txt", words(&error)),
    }
    let path = "/api/v1/log/recent";
    let recent = match client.json(&Call::get(path)).await {
        Ok(recent) => recent,
        Err(error) => return bundle.missing_part("log.txt and at/", words(&error)),
    };
    let lines = |lines: &Value| {
        let lines = lines.as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.fold(String::new(), |all, line| all + line + "\n")
    };
    bundle.text("log.txt", path, recent.get("log").map(lines).unwrap_or_default());
    for (modem, dialogue) in recent.get("at").and_then(Value::as_object).into_iter().flatten() {
        bundle.text(&format!("at/{modem}.txt"), path, lines(dialogue));
    }
}

fn words(error: &ClientError) -> String {
    Chain(error).to_string()
}
