//! `modemfleet record MODEM`: a transcript of a modem, by a script of commands that only read and
//! one MQTT session with one publish.

mod report;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modem::Plugin;
use modem::holder::stranger_of_device;
use modem::probe::ProbeError;
use modem::recording::{self, Conversation, Plan, Recording};
use modem::session::Chain;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::at::error::AtError;
use crate::at::port::{AtClient, Said, UrcListener};
use crate::at::{agents_tty, fixed_tty};
use crate::end::{code_of, output_failed, wrong};
use api::client::{Client, ClientError, Target, TargetError, converse};
use fleet::models::{Folder, ModelsError};
use fleet::printable::{complain, printable};

const EXAMPLES: &str = "Examples:
  modemfleet record /dev/ttyUSB2                                   send commands that only read
  modemfleet record /dev/ttyUSB2 --broker test.mosquitto.org:1883  also publish one message
  modemfleet record north                                          ask through the running agent
  modemfleet record /dev/ttyUSB2 --model sim7600 --broker HOST     speak to an unknown modem as to a SIM7600
  modemfleet record --script                                       print the commands with their reasons

Only commands that read are sent, and those that one publish needs. No PIN is tried. Identities end in zeros;
numbers, passwords, addresses and access points are hidden. A modem that falls silent ends the recording.
Exit codes: 0 recorded, 1 recorded in part or not at all, 2 wrong usage, 3 no agent runs.";

/// The port of a broker without TLS (registered for MQTT).
const MQTT: u16 = 1883;

/// The most recordings of one model in one folder and day.
const MOST_FILES: u32 = 99;

/// Records a transcript of a modem, as `profiles/` keeps them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A modem of the fleet, or the path of a tty that no agent has.
    #[arg(value_name = "MODEM", required_unless_present = "script")]
    modem: Option<String>,
    /// Print the commands that only read, each with its reason, and send nothing.
    #[arg(long, conflicts_with_all = ["modem", "broker", "output", "model"])]
    script: bool,
    /// Also open one MQTT session with this broker, publish one message and sign out. It needs a
    /// tty that no agent has, a registered modem with data, and a broker without login.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = broker)]
    broker: Option<(String, u16)>,
    /// The file to write; `-` is standard output [default: MODEL-DATE.txt here].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The known model whose dialect an unknown modem speaks.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The speed of a tty that is not a USB modem's.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    baud: u32,
    /// The models.
    #[command(flatten)]
    models: Folder,
    /// The address of the agent.
    #[command(flatten)]
    target: Target,
}

/// The reason why there is no recording.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    At(#[from] AtError),
    #[error(transparent)]
    Port(#[from] ProbeError),
    #[error("no model {model:?} is known; `modemfleet profiles list` names them")]
    NoModel { model: String },
    #[error(
        "--broker: an agent serves {modem}, and one session more would disturb its own; stop the agent and name the tty, or leave --broker out"
    )]
    Served { modem: String },
    #[error(
        "--broker: {holder}, and one session more would disturb its own; stop that program, or leave --broker out"
    )]
    Held { holder: String },
    #[error("{modem} did not name its model")]
    Nameless { modem: String },
    #[error("could not write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl RecordError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Models(error) => code_of(error),
            Self::Target(_) | Self::NoModel { .. } | Self::Served { .. } | Self::Held { .. } => {
                wrong()
            }
            Self::At(AtError::Client(error)) => error.code(),
            Self::Port(ProbeError::Open(error)) => {
                agents_tty(error).iter().for_each(|hint| complain(hint));
                ExitCode::FAILURE
            }
            Self::Output(error) => output_failed(error),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Parses `HOST` or `HOST:PORT`.
fn broker(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} is not a port"))?),
        None => (text, MQTT),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if host.is_empty() || !host.chars().all(is_name) || port == 0 {
        return Err("it has to be a host name or an IPv4 address, and perhaps a port".to_owned());
    }
    Ok((host.to_owned(), port))
}

/// Records, writes the transcript and prints the next steps.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let done = converse(record(args, plugins)).map_err(RecordError::Output).and_then(|done| done);
    match done {
        Ok(code) => code,
        Err(RecordError::Output(error)) => output_failed(&error),
        Err(error) => {
            complain(&Chain(&error).to_string());
            error.code()
        }
    }
}

async fn record(args: &Args, plugins: &[&Plugin]) -> Result<ExitCode, RecordError> {
    let catalog = args.models.load(plugins)?.catalog;
    let like = match &args.model {
        None => None,
        Some(id) => match catalog.model(&id.to_ascii_lowercase()) {
            Some(model) => Some(model),
            None => return Err(RecordError::NoModel { model: id.clone() }),
        },
    };
    let Some(modem) = &args.modem else {
        report::script(&catalog)?;
        return Ok(ExitCode::SUCCESS);
    };
    let output = Output::open(args.output.as_deref())?;
    let progress = |words: &str| complain(&printable(words));
    let plan = Plan { catalog: &catalog, like, broker: args.broker.clone(), progress: &progress };
    let (mut recording, on) = taken(args, modem, &plan).await?;
    recording.transcript.source = report::source(&recording, &on);
    let path = output.write(&recording)?;
    let is_whole = report::print(&recording, &catalog, path.as_deref(), args.broker.is_some())?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records by the way that leads to the modem, and returns the port in words.
async fn taken(
    args: &Args,
    modem: &str,
    plan: &Plan<'_>,
) -> Result<(Recording, String), RecordError> {
    if modem.contains('/') {
        return on_tty(args, Path::new(modem), plan).await;
    }
    let client = args.target.client()?;
    match UrcListener::of_agent(&client, modem).await {
        Ok(_) if plan.broker.is_some() => Err(RecordError::Served { modem: modem.to_owned() }),
        Ok(urcs) => {
            let recording = through_agent(modem, client, urcs, plan).await?;
            Ok((recording, "a gateway, through its agent".to_owned()))
        }
        Err(error @ ClientError::NotRunning(_)) => match fixed_tty(&args.target, modem) {
            Some(tty) => {
                complain(&format!("no agent runs: on {} directly", tty.display()));
                on_tty(args, &tty, plan).await
            }
            None => Err(AtError::from(error).into()),
        },
        Err(error) => Err(AtError::from(error).into()),
    }
}

async fn on_tty(
    args: &Args,
    tty: &Path,
    plan: &Plan<'_>,
) -> Result<(Recording, String), RecordError> {
    // An agent on another port of the modem has sessions in the same MQTT stack.
    if plan.broker.is_some()
        && let Some(busy) = stranger_of_device(tty)
    {
        return Err(RecordError::Held { holder: busy.to_string() });
    }
    let recording = recording::on_tty(tty, args.baud, plan, interrupted()?).await?;
    Ok((recording, report::place(tty)))
}

/// Returns a future that resolves at Ctrl-C.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let _ = interrupt.recv().await;
    })
}

/// Asks the questions through the agent.
async fn through_agent(
    modem: &str,
    client: Client,
    mut urcs: UrcListener,
    plan: &Plan<'_>,
) -> Result<Recording, RecordError> {
    let commands = plan.catalog.commands();
    let mut client = AtClient::of_agent(client, modem, &commands);
    let mut conversation = Conversation::new(plan);
    let mut stop = std::pin::pin!(interrupted()?);
    let mut asked = 0;
    while let Some(question) = conversation.question(asked) {
        asked += 1;
        (plan.progress)(question.command);
        let sent = Instant::now();
        let outcome = {
            let mut saying = std::pin::pin!(client.say(Conversation::wish(question)));
            loop {
                // All arms are cancel safe or polled again, and none awaits in its body.
                tokio::select! {
                    outcome = &mut saying => break Some(outcome?),
                    said = urcs.next() => hear(&mut conversation, said),
                    () = &mut stop => break None,
                }
            }
        };
        let Some(outcome) = outcome else {
            conversation.cut("it was stopped".to_owned());
            break;
        };
        if !conversation.answered(question, sent, outcome) {
            break;
        }
        let until = Instant::now() + urcs.lag();
        while let Ok(said) = timeout_at(until, urcs.next()).await {
            hear(&mut conversation, said);
        }
    }
    conversation.recording().ok_or_else(|| RecordError::Nameless { modem: modem.to_owned() })
}

fn hear(conversation: &mut Conversation<'_>, said: Said) {
    if let Said::Urc(heard) = said {
        conversation.unsolicited(&heard.line, heard.data.as_deref());
    }
}

/// The place of the transcript.
enum Output {
    Standard,
    /// A file that was named. It is opened before the recording, so that none is lost.
    Named(PathBuf, File),
    /// A new file in this folder, whose name the model gives.
    New,
}

impl Output {
    fn open(output: Option<&Path>) -> Result<Self, RecordError> {
        match output {
            None => Ok(Self::New),
            Some(path) if path == Path::new("-") => Ok(Self::Standard),
            Some(path) => {
                // Its content stays until there is another.
                let options = File::options().write(true).create(true).truncate(false).open(path);
                match options {
                    Ok(file) => Ok(Self::Named(path.to_owned(), file)),
                    Err(source) => Err(RecordError::File { path: path.to_owned(), source }),
                }
            }
        }
    }

    /// Writes the transcript, and returns the file's path; `None` is standard output.
    fn write(self, recording: &Recording) -> Result<Option<PathBuf>, RecordError> {
        let text = recording.transcript.to_string();
        let (path, opened) = match self {
            Self::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
                return Ok(None);
            }
            // A device, such as /dev/null, has no length.
            Self::Named(path, file) => {
                drop(file.set_len(0));
                (path, Ok(file))
            }
            Self::New => new_file(&report::file_name(recording)),
        };
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| RecordError::File { path: path.clone(), source })?;
        Ok(Some(path))
    }
}

/// Creates a file of this name with `.txt`, or with a number if that is taken.
fn new_file(name: &str) -> (PathBuf, io::Result<File>) {
    let first = PathBuf::from(format!("{name}.txt"));
    let others = (2..=MOST_FILES).map(|number| PathBuf::from(format!("{name}-{number}.txt")));
    for path in std::iter::once(first.clone()).chain(others) {
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return (path, opened),
        }
    }
    (first, Err(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_perhaps_a_port() {
        assert_eq!(broker("a.example.com"), Ok(("a.example.com".to_owned(), 1883)));
        assert_eq!(broker("10.0.0.1:2883"), Ok(("10.0.0.1".to_owned(), 2883)));
        for text in ["", ":1883", "a:0", "a:b", "a:70000", "mqtt://a", "a\"b", "a b", "::1"] {
            assert!(broker(text).is_err(), "{text}");
        }
    }
}
