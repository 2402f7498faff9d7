//! `modemfleet doctor`: finds problems of the gateway, its modems and their sessions, and prints
//! advice.
//!
//! If an agent runs, it is asked: it has the ports open, and its permissions are the ones that
//! matter. This process checks the things that the agent's sandbox hides. If no agent runs, this
//! process opens the ports and checks everything.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modem::session::Chain;
use modem::{Catalog, Plugin, catalog::CatalogError};
use serde_json::{Value, json};

use super::scan::{Around, ScanError};
use super::status::Screen;
use super::table::{Cell, Table, Tone};
use crate::end::{output_failed, wrong};
use agent::doctor::{host, survey};
use agent::modems::devices::DeviceReport;
use api::client::{
    Call, Client, ClientError, DEFAULT_CONFIG, Target, TargetError, converse, encode,
};
use api::doctor::{Finding, Findings, Level, worst};
use discovery::plugged::Plugged;
use fleet::models::{Folder, Models, ModelsError};
use fleet::printable::complain;
use fleet::printable::printable;
use fleet::{Fleet, Problems, Secrets, Severity};

/// The path of the agent's findings.
const DOCTOR: &str = "/api/v1/doctor";

const EXAMPLES: &str = "Examples:
  modemfleet doctor
  modemfleet doctor north
  modemfleet doctor --json | jq -r '.findings[] | select(.level == \"fail\") | .advice'

Doctor changes nothing, and sessions continue. If no agent runs and no --url names one, the ports of \
the fleet file are opened with the rights of this user. A wrong fleet file is a finding.
Exit codes: 0 no check failed (there may be warnings), 1 a check failed, 2 wrong usage, 3 no agent \
runs at --url.";

/// Finds problems and shows advice.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Examine only this modem of the fleet file.
    #[arg(value_name = "MODEM")]
    pub modem: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The models, if no agent runs.
    #[command(flatten)]
    pub models: Folder,
    /// The address of the agent.
    #[command(flatten)]
    pub target: Target,
}

/// The reason why there are no findings.
#[derive(Debug, thiserror::Error)]
enum DoctorError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{file} has no modem {name:?}{hint}")]
    NoModem { file: String, name: String, hint: String },
    #[error("the server at {DOCTOR} is not a modemfleet agent, or has another version")]
    Strange(#[from] serde_json::Error),
    #[error("the models of this build are broken")]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the checks and prints the findings.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let looked = converse(look(args, plugins)).map_err(DoctorError::Io).and_then(|looked| looked);
    let report = match looked {
        Ok(report) => report,
        Err(error) => return refused(&error),
    };
    if let Err(error) = report.print(args.json) {
        return output_failed(&error);
    }
    if worst(&report.findings) == Level::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn refused(error: &DoctorError) -> ExitCode {
    let code = match error {
        DoctorError::Io(error) => return output_failed(error),
        DoctorError::Target(_) | DoctorError::NoModem { .. } => wrong(),
        DoctorError::Client(ClientError::Refused { code, .. }) if code == "unknown_modem" => {
            wrong()
        }
        DoctorError::Client(error) => error.code(),
        DoctorError::Strange(_) | DoctorError::Catalog(_) | DoctorError::Scan(_) => {
            ExitCode::FAILURE
        }
    };
    complain(&printable(&Chain(error).to_string()));
    code
}

/// The findings and their origin.
struct Report {
    /// True if they come from a running agent.
    by_agent: bool,
    findings: Vec<Finding>,
}

/// The fleet file, as far as it can be used.
struct File {
    findings: Vec<Finding>,
    fleet: Option<Fleet>,
}

async fn look(args: &Args, plugins: &[&Plugin]) -> Result<Report, DoctorError> {
    let (models, mut findings) = models(args, plugins)?;
    let only = args.modem.as_deref();
    let file = File::read(&args.target);
    if let (Some(name), Some(fleet)) = (only, &file.fleet) {
        known(name, fleet)?;
    }
    findings.splice(0..0, file.findings);
    let client = args.target.client().or_else(|error| match file.fleet {
        Some(_) => Err(error),
        None => args.target.client_without_file(),
    });
    let mut client = client?;
    let told = ask(&mut client, only).await;
    let place = client.place();
    let by_agent = told.is_ok();
    // The findings of another machine's agent do not concern this machine.
    let is_here = args.target.url.is_none() || file.fleet.is_some();
    let gateway = async {
        if !is_here {
            return Vec::new();
        }
        let mut findings = of_machine(&models.catalog, file.fleet.as_ref()).await;
        if let Some(fleet) = &file.fleet {
            findings.extend(survey::reach(fleet, only).await);
        }
        findings
    };
    let of_fleet = async {
        match told {
            Ok(told) => {
                let Findings { findings } = serde_json::from_value(told)?;
                let runs = Finding::ok("agent", format!("an agent runs at {place}"));
                Ok([vec![runs], findings].concat())
            }
            Err(error) if args.target.url.is_some() => Err(error.into()),
            Err(error @ ClientError::Refused { .. }) if refuses_the_modem(&error) => {
                Err(error.into())
            }
            Err(error) => {
                let mut findings = vec![no_agent(&error)];
                findings.extend(without_agent(args, &models, file.fleet.as_ref()).await?);
                Ok::<_, DoctorError>(findings)
            }
        }
    };
    let (gateway, of_fleet) = tokio::join!(gateway, of_fleet);
    findings.extend(gateway);
    findings.extend(of_fleet?);
    Ok(Report { by_agent, findings })
}

/// Returns the models and the problems of the overlay's files; if there are any, only the models of
/// this build.
fn models(args: &Args, plugins: &[&Plugin]) -> Result<(Models, Vec<Finding>), CatalogError> {
    let findings = match args.models.load(plugins) {
        Ok(models) => return Ok((models, Vec::new())),
        Err(ModelsError::BuiltIn(error)) => return Err(error),
        Err(ModelsError::Files(files)) => files.iter().flat_map(of_problems).collect(),
        Err(error @ ModelsError::Folder { .. }) => {
            let advice = "give the right folder with --models, or make it readable";
            vec![Finding::fail("config", Chain(&error).to_string(), advice)]
        }
    };
    Ok((Models::built_in(plugins)?, findings))
}

fn refuses_the_modem(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code, .. } if code == "unknown_modem")
}

fn known(name: &str, fleet: &Fleet) -> Result<(), DoctorError> {
    let names: Vec<&str> = fleet.modems.iter().map(|modem| modem.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let hint = fleet::did_you_mean(name, &names).map(|hint| format!("; {hint}"));
    let file = "the fleet file".to_owned();
    Err(DoctorError::NoModem { file, name: name.to_owned(), hint: hint.unwrap_or_default() })
}

async fn ask(client: &mut Client, only: Option<&str>) -> Result<Value, ClientError> {
    let path = match only {
        Some(name) => format!("{DOCTOR}?modem={}", encode(name)),
        None => DOCTOR.to_owned(),
    };
    client.json(&Call::get(&path)).await
}

/// Returns a warning: without an agent the fleet may still be checked, before its first start.
fn no_agent(error: &ClientError) -> Finding {
    let words = printable(&Chain(error).to_string());
    match error {
        ClientError::NotRunning(_) | ClientError::Faulty { .. } => Finding::warn(
            "agent",
            "no agent runs; this process asks the modems",
            "`systemctl start modemfleet`, or `modemfleet run --config FILE`",
        ),
        ClientError::Token { .. } => Finding::fail(
            "agent",
            words,
            "give the right file with --token-file, or run doctor as a user that can read it",
        ),
        _ => Finding::fail(
            "agent",
            words,
            "if the agent hangs, its watchdog or `systemctl restart modemfleet` restarts it; an agent of another version may not answer this request",
        ),
    }
}

async fn of_machine(catalog: &Catalog, fleet: Option<&Fleet>) -> Vec<Finding> {
    let layouts = catalog.models().flat_map(|model| &model.usb);
    let known: Vec<String> = layouts.map(|layout| layout.id.to_ascii_lowercase()).collect();
    let wants_usb = fleet
        .is_some_and(|fleet| fleet.modems.iter().any(|modem| host::is_on_usb(&modem.matching)));
    let places = fleet.into_iter().flat_map(|fleet| &fleet.modems);
    let places: Vec<String> = places.filter_map(|modem| modem.matching.usb_path.clone()).collect();
    let catalog = catalog.clone();
    let seen = tokio::task::spawn_blocking(move || {
        let remarks = Plugged::look(&catalog, &places).remarks(&catalog).into_iter();
        // The check `driver` reports it for the modems that a profile supports.
        let remarks = remarks.filter(|it| !it.is_portless);
        let remarks = remarks.map(|it| Finding::warn("usb", it.message, it.advice));
        host::gateway(&known, wants_usb).findings().into_iter().chain(remarks).collect()
    });
    seen.await.unwrap_or_default()
}

async fn without_agent(
    args: &Args,
    models: &Models,
    fleet: Option<&Fleet>,
) -> Result<Vec<Finding>, DoctorError> {
    let Some(fleet) = fleet else { return Ok(Vec::new()) };
    let devices: Vec<DeviceReport> =
        if fleet.modems.iter().any(|modem| modem.matching.port.is_none()) {
            let mut around = Around::start(&args.target, models.clone())?;
            let devices = around.settled().await?;
            // The scan opens ports as well, and must close them first.
            around.end().await;
            devices
        } else {
            Vec::new()
        };
    Ok(survey::by_itself(fleet, &models.catalog, &devices, args.modem.as_deref()).await)
}

impl File {
    fn read(target: &Target) -> Self {
        let default = Path::new(DEFAULT_CONFIG);
        let path: Option<PathBuf> = target
            .config
            .clone()
            .or_else(|| (target.url.is_none() && default.exists()).then(|| default.to_owned()));
        let Some(path) = path else {
            let findings = if target.url.is_some() { Vec::new() } else { vec![no_file()] };
            return Self { findings, fleet: None };
        };
        // The secrets are checked one by one, with their users.
        match fleet::load_with(&path, Secrets::Skip) {
            Ok(loaded) => {
                let mut findings = of_problems(&loaded.warnings);
                if findings.is_empty() {
                    let words =
                        format!("{}: {}", path.display(), super::check::counts(&loaded.fleet));
                    findings.push(Finding::ok("config", words));
                }
                Self { findings, fleet: Some(loaded.fleet) }
            }
            Err(problems) => Self { findings: of_problems(&problems), fleet: None },
        }
    }
}

fn no_file() -> Finding {
    Finding::warn(
        "config",
        format!("there is no {DEFAULT_CONFIG}"),
        "give the fleet file with `--config FILE`; without it no modem is known",
    )
}

fn of_problems(problems: &Problems) -> Vec<Finding> {
    let each = problems.iter().map(|problem| {
        let place = format!("{}:{}:{}", problems.file(), problem.line, problem.column);
        let message = format!("{place}: {}", problem.message);
        let general = || format!("`modemfleet check {}` shows the place", problems.file());
        let advice = problem.help.clone().unwrap_or_else(general);
        match problem.severity {
            Severity::Error => Finding::fail("config", message, advice),
            Severity::Warning => Finding::warn("config", message, advice),
        }
    });
    each.collect()
}

impl Report {
    fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            let document = json!({
                "ok": worst(&self.findings) != Level::Fail,
                "source": if self.by_agent { "agent" } else { "this process" },
                "findings": self.findings,
            });
            return writeln!(out, "{}", serde_json::to_string_pretty(&document)?);
        }
        write!(out, "{}", self.picture(Screen::of_stdout().colour))
    }

    /// Returns a line for each finding with its advice below, and a sum at the end.
    fn picture(&self, colour: bool) -> String {
        let mut table = Table::new(&["", "OF", "CHECK", "FOUND"]);
        for finding in &self.findings {
            let tone = match finding.level {
                Level::Ok => Tone::Good,
                Level::Warn => Tone::Warning,
                Level::Fail => Tone::Bad,
            };
            table.push(vec![
                Cell::new(finding.level.word()).toned(tone),
                Cell::new(finding.subject.as_deref().unwrap_or("gateway")),
                Cell::new(&finding.check),
                Cell::new(&finding.message),
            ]);
        }
        let rendered = table.render(colour, None);
        let mut picture = String::new();
        let advice = self.findings.iter().map(|finding| finding.advice.as_deref());
        // The first line is the headline, which belongs to no finding.
        for (line, advice) in rendered.lines().zip([None].into_iter().chain(advice)) {
            picture.push_str(line);
            picture.push('\n');
            if let Some(advice) = advice {
                picture.push_str(&format!("      try: {}\n", printable(advice)));
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
        picture.push_str(&format!("\n{ok} ok, {warn} warnings, {fail} failed\n"));
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_was_found() {
        let findings = vec![
            Finding::ok("clock", "right"),
            Finding::fail("sim", "there is none\u{1b}[2J", "insert one").of("north"),
        ];
        let report = Report { by_agent: true, findings };
        assert_eq!(
            report.picture(false),
            "      OF       CHECK  FOUND
ok    gateway  clock  right
fail  north    sim    there is none\u{fffd}[2J
      try: insert one

1 ok, 0 warnings, 1 failed
"
        );
    }
}
