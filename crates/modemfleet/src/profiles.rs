//! `modemfleet profiles`: the known models, the identification of a modem, and the meaning of its
//! replies.

mod explain;
mod lint;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use modem::Plugin;
use modem::catalog::{Basis, Model};
use modem::reply::{self, Decoder, ReplyError};
use modem::session::Chain;
use serde_json::json;

use super::table::{Cell, Table};
use crate::end::{code_of, output_failed, wrong};
use fleet::did_you_mean;
use fleet::models::{Folder, Models, ModelsError};
use fleet::printable::complain;
use fleet::printable::printable;

/// The most bytes of a reply. The longest reply of a modem, a list of networks, has a few KiB.
pub const MAX_REPLY: u64 = 64 * 1024;

/// The most lines before an echo that are shown, and the most characters of each.
const MAX_EARLY: usize = 16;
const MAX_LINE: usize = 128;

const EXAMPLES: &str = "Example:
  printf '+CPSI: LTE,Online,460-00,0x5A1E,187214780,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15\\r\\nOK\\r\\n' |
    modemfleet profiles decode --model sim7600 --command 'AT+CPSI?'

Exit codes: 0 done, 1 the reply is not valid, 2 unknown model or command.";

/// Shows the models of this build and of the folder of models.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The question about the models.
    #[command(subcommand)]
    pub what: What,
}

/// A question about the models.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// List the models, with how each is recognised, its abilities and the evidence for them.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// The models.
        #[command(flatten)]
        models: Folder,
    },
    /// Show which entry of the models a modem matches, why, and which others lost.
    Explain(explain::Args),
    /// Check files of models, and show how their entries affect one another.
    Lint(lint::Args),
    /// Read a modem's raw reply from standard input and print its meaning as JSON.
    #[command(after_help = EXAMPLES)]
    Decode {
        /// The model that replied, such as sim7600.
        #[arg(long, value_name = "MODEL")]
        model: String,
        /// The command of this reply, such as 'AT+CPSI?'.
        #[arg(long, value_name = "COMMAND")]
        command: String,
        /// The models.
        #[command(flatten)]
        models: Folder,
    },
}

/// The reason why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// The models could not be loaded.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// An unknown name.
    #[error("unknown {what} {given:?}; {help}known are {known}")]
    Unknown {
        /// `model` or `command`.
        what: &'static str,
        /// The name as given.
        given: String,
        /// The name that was probably meant, or nothing.
        help: String,
        /// All known names.
        known: String,
    },
    /// The reply does not answer the command.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The input is longer than any reply of a modem.
    #[error("the reply has more than {MAX_REPLY} bytes")]
    TooLong,
    /// Standard input or output failed.
    #[error("reading the reply or printing the result failed")]
    Io(#[from] io::Error),
}

/// Runs the command and returns its exit code.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let done = match &args.what {
        What::List { json, models } => models
            .load(plugins)
            .map_err(ProfilesError::from)
            .and_then(|models| list(&models, *json, &mut io::stdout())),
        What::Explain(args) => return explain::run(args, plugins),
        What::Lint(args) => return lint::run(args, plugins),
        What::Decode { model, command, models } => {
            models.load(plugins).map_err(ProfilesError::from).and_then(|models| {
                decode(plugins, &models, model, command, &mut io::stdin(), &mut io::stdout())
            })
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    let code = match &error {
        ProfilesError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            return output_failed(error);
        }
        ProfilesError::Models(error) => code_of(error),
        ProfilesError::Unknown { .. } => wrong(),
        _ => ExitCode::FAILURE,
    };
    complain(&Chain(&error).to_string());
    code
}

/// Prints all models, as a table or as one JSON object.
///
/// # Errors
/// [`ProfilesError::Io`].
pub fn list(models: &Models, json: bool, stdout: &mut impl Write) -> Result<(), ProfilesError> {
    let catalog = &models.catalog;
    if json {
        let entry = |model: &Model| {
            let mut entry = json!(model);
            if let Some(object) = entry.as_object_mut() {
                object.insert("origin".to_owned(), json!(models.origin_words(&model.id)));
            }
            entry
        };
        let all: Vec<_> = catalog.models().map(entry).collect();
        writeln!(stdout, "{:#}", json!({ "models": all }))?;
        return Ok(());
    }
    let head = [
        "MODEL",
        "MAKER",
        "NAME BEGINS WITH",
        "USB ID: AT PORTS",
        "CLIENTS",
        "TOPIC",
        "PAYLOAD",
        "IDENTIFICATION",
        "MQTT",
        "STATUS",
        "TLS",
    ];
    let mut table = Table::new(&head);
    for model in catalog.models() {
        rows(model, &mut table);
    }
    write!(stdout, "{}", table.render(false, None))?;
    let added: Vec<&Model> =
        catalog.models().filter(|model| models.origin(&model.id).is_some()).collect();
    if !added.is_empty() {
        writeln!(stdout)?;
    }
    for model in added {
        writeln!(stdout, "{}: {}", model.id, printable(&models.origin_words(&model.id)))?;
    }
    Ok(())
}

/// Adds a row for each USB layout of the model.
fn rows(model: &Model, table: &mut Table) {
    let mut layouts = model.usb.iter().map(|layout| {
        let secondary = layout.secondary.map(|port| format!(", {port}")).unwrap_or_default();
        let when = layout.when.as_ref().map(|when| format!(" {when}")).unwrap_or_default();
        format!("{}: {}{secondary}{when}", layout.id, layout.at)
    });
    let basis = |basis| Cell::new(basis_word(basis));
    let (mqtt, evidence) = (model.mqtt, model.evidence);
    table.push(vec![
        Cell::new(&model.id),
        Cell::new(&model.manufacturer),
        Cell::new(&model.cgmm.join(", ")),
        Cell::new(&layouts.next().unwrap_or_default()),
        Cell::new(&mqtt.clients.to_string()),
        Cell::new(&mqtt.topic.to_string()),
        Cell::new(&mqtt.payload.to_string()),
        basis(evidence.identification),
        basis(evidence.mqtt),
        basis(evidence.status),
        evidence.tls.map_or_else(Cell::default, basis),
    ]);
    for layout in layouts {
        let mut row = vec![Cell::default(); 3];
        row.push(Cell::new(&layout));
        table.push(row);
    }
}

fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Manual => "manual",
        Basis::Transcript => "transcript",
        Basis::Hardware => "hardware",
        Basis::Inferred => "inferred",
    }
}

/// Reads a raw reply to `command` and prints its meaning as one line of JSON.
///
/// # Errors
/// [`ProfilesError`]. If model or command are unknown, nothing is read.
pub fn decode(
    plugins: &[&Plugin],
    models: &Models,
    model: &str,
    command: &str,
    stdin: &mut impl Read,
    stdout: &mut impl Write,
) -> Result<(), ProfilesError> {
    let decoder = decoder(plugins, models, model, command)?;
    let mut raw = Vec::new();
    stdin.take(MAX_REPLY + 1).read_to_end(&mut raw)?;
    if u64::try_from(raw.len()).unwrap_or(u64::MAX) > MAX_REPLY {
        return Err(ProfilesError::TooLong);
    }
    // Names may hold any bytes, but the decoders take text.
    let raw = String::from_utf8_lossy(&raw);
    let mut meaning = decoder(&raw)?;
    let early = before_echo(command, &raw);
    if let Some(object) = meaning.as_object_mut()
        && !early.is_empty()
    {
        object.insert("urc_before".to_owned(), json!(early));
    }
    Ok(writeln!(stdout, "{meaning}")?)
}

/// Returns the lines before the command's echo: they were sent before the command, and are not part
/// of its answer.
fn before_echo(command: &str, raw: &str) -> Vec<String> {
    let lines: Vec<&str> =
        raw.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let echo = lines.iter().position(|line| line.eq_ignore_ascii_case(command.trim()));
    let early = lines.iter().take(echo.unwrap_or(0).min(MAX_EARLY));
    early.map(|line| line.chars().take(MAX_LINE).collect()).collect()
}

/// Returns the decoder of the model's own vendor; another vendor may have a command of the same
/// name.
fn decoder(
    plugins: &[&Plugin],
    models: &Models,
    model: &str,
    command: &str,
) -> Result<Decoder, ProfilesError> {
    let id = model.to_ascii_lowercase();
    let Some(found) = models.catalog.model(&id) else {
        let known: Vec<&str> = models.catalog.models().map(|model| model.id.as_str()).collect();
        return Err(unknown("model", model, &known));
    };
    let speaks =
        |plugin: &&&Plugin| plugin.profiles.iter().any(|profile| profile.id() == found.profile);
    let own = plugins.iter().find(speaks).map_or(&[][..], |plugin| plugin.decoders);
    let decoder = reply::decoder(own, command).or_else(|| reply::decoder(reply::DECODERS, command));
    decoder.ok_or_else(|| {
        let known = own.iter().chain(reply::DECODERS).map(|(known, _)| *known);
        unknown("command", command, &known.collect::<Vec<_>>())
    })
}

fn unknown(what: &'static str, given: &str, known: &[&str]) -> ProfilesError {
    let help = did_you_mean(given, known).map(|help| format!("{help} ")).unwrap_or_default();
    ProfilesError::Unknown {
        what,
        given: given.chars().take(40).collect(),
        help,
        known: known.join(", "),
    }
}
