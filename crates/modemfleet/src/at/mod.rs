//! `modemfleet at MODEM`: a person's own commands, through the running agent or on a tty of one's own.

mod editor;
mod input;
mod port;
mod screen;
mod talk;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use modem::console::{Commands, Refusal};
use modem::probe::ProbeError;
use modem::session::Chain;
use modem::tty::on_tty;
use modem::{Catalog, Plugin};
use tokio::signal::unix::{SignalKind, signal};

use super::output_failed;
use crate::wrong;
use api::client::{ClientError, Target, TargetError, converse};
use fleet::Secrets;
use fleet::printable::complain;
use port::{Ears, Mouth};
use talk::Talk;

const EXAMPLES: &str = "Examples:
  modemfleet at north                       a console: history, URCs as they come, Ctrl-D ends it
  modemfleet at north AT+CSQ 'AT+CPSI?'     one after the other; stops at the first that fails
  modemfleet at north --dangerous AT+CRESET
  modemfleet at /dev/ttyUSB2                on a tty that no agent has
  modemfleet at /dev/ttyUSB2 'AT+CMQTTTOPIC=0,3' --data a/b
  modemfleet at /dev/ttyUSB2 < script       a line a command; what one asks for stands below it
  modemfleet at north --listen 1m AT        then what the modem says unasked, for a minute

What only reads is sent; what could harm, or disturb the agent's sessions, needs `--dangerous`.
Exit codes: 0 all did, 1 one failed, 2 wrong usage, or refused, 3 no agent runs.";

/// Sends AT commands to a modem and shows what it answers.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A modem of the fleet, or the path of a tty that no agent has.
    #[arg(value_name = "MODEM")]
    modem: String,
    /// Command lines. Without any they are asked for, or read from standard input.
    #[arg(value_name = "COMMAND")]
    commands: Vec<String>,
    /// What to answer to the prompt of the (one) command.
    #[arg(long, value_name = "TEXT", requires = "commands")]
    data: Option<String>,
    /// The same from a file, byte by byte.
    #[arg(long, value_name = "FILE", requires = "commands", conflicts_with = "data")]
    data_file: Option<PathBuf>,
    /// How long a command may take [default: 10s, operations 130s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Send whatever it does.
    #[arg(long)]
    dangerous: bool,
    /// After the commands, show for so long what the modem says unasked.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    listen: Option<Duration>,
    /// The speed of a tty that is no USB modem's.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    baud: u32,
    /// Where the agent is.
    #[command(flatten)]
    target: Target,
}

/// Why the console ends early.
#[derive(Debug, thiserror::Error)]
enum AtError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{command}: not sent")]
    Refused {
        /// As it may be shown.
        command: String,
        #[source]
        refusal: Refusal,
    },
    #[error(transparent)]
    Port(#[from] ProbeError),
    #[error("what answers there is no modemfleet agent, or one of another version")]
    Strange,
    #[error("the models of this build are broken")]
    Catalog(#[from] modem::catalog::CatalogError),
    #[error("`--data` answers one command, and there are several")]
    DataOfMany,
    #[error("could not read {from}")]
    Input {
        /// What was read.
        from: String,
        source: io::Error,
    },
    #[error("line {number} of the script asks for {length} bytes, and less follows")]
    ShortScript {
        /// Counted from 1.
        number: u64,
        /// What it announces.
        length: usize,
    },
    #[error("the terminal's line editor failed")]
    Editor(#[from] rustyline::error::ReadlineError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Whether all commands did what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

/// Talks to the modem that `args` name.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let done = converse(console(args, plugins)).map_err(AtError::Output).and_then(|done| done);
    let error = match done {
        Ok(Verdict::Good) => return ExitCode::SUCCESS,
        Ok(Verdict::Bad) => return ExitCode::FAILURE,
        Err(AtError::Output(error)) => return output_failed(&error),
        Err(error) => error,
    };
    complain(&Chain(&error).to_string());
    match error {
        AtError::Target(_) | AtError::Refused { .. } | AtError::DataOfMany => wrong(),
        AtError::Client(error) if error.is_refusal_of("dangerous") => wrong(),
        AtError::Client(error) => error.code(),
        AtError::Port(ProbeError::Open(error)) => {
            if let Some(hint) = agents_tty(&error) {
                complain(&hint);
            }
            ExitCode::FAILURE
        }
        _ => ExitCode::FAILURE,
    }
}

/// Where an agent has the tty, it is the way to the modem.
fn agents_tty(error: &modem::serial::OpenError) -> Option<String> {
    let holder = error.busy()?.holder.as_ref()?;
    holder.name.starts_with("modemfleet").then(|| {
        "where that is an agent, `modemfleet at NAME` goes through it, by the modem's name in the fleet file"
            .to_owned()
    })
}

async fn console(args: &Args, plugins: &[&Plugin]) -> Result<Verdict, AtError> {
    if args.commands.len() > 1 && (args.data.is_some() || args.data_file.is_some()) {
        return Err(AtError::DataOfMany);
    }
    let catalog = Catalog::new(plugins)?;
    let commands = catalog.commands();
    if args.modem.contains('/') {
        return alone(args, Path::new(&args.modem), &catalog, &commands, plugins).await;
    }
    let client = args.target.client()?;
    match Ears::of_agent(&client, &args.modem).await {
        Ok(ears) => {
            let mouth = Mouth::of_agent(client, &args.modem, &commands);
            converse_with(args, mouth, ears, plugins).await
        }
        Err(error @ ClientError::NotRunning(_)) => match fixed_tty(args) {
            Some(tty) => {
                complain(&format!("no agent runs: on {} directly", tty.display()));
                alone(args, &tty, &catalog, &commands, plugins).await
            }
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The tty at which the fleet file has the modem, where that is one of fixed name.
fn fixed_tty(args: &Args) -> Option<PathBuf> {
    let file = args.target.config.as_deref()?;
    let fleet = fleet::load_with(file, Secrets::Skip).ok()?.fleet;
    let fixed = agent::modems::factory::fixed(&fleet);
    fixed.into_iter().find(|(name, _)| *name == args.modem).map(|(_, tty)| tty)
}

/// On a tty that nobody else has.
async fn alone(
    args: &Args,
    tty: &Path,
    catalog: &Catalog,
    commands: &Commands,
    plugins: &[&Plugin],
) -> Result<Verdict, AtError> {
    let work = async |at, hearing| {
        let mouth = Mouth::alone(at, commands);
        converse_with(args, mouth, Ears::Port(hearing), plugins).await
    };
    on_tty(tty, args.baud, catalog, work).await?
}

async fn converse_with(
    args: &Args,
    mouth: Mouth<'_>,
    ears: Ears,
    plugins: &[&Plugin],
) -> Result<Verdict, AtError> {
    let interrupt = signal(SignalKind::interrupt())?;
    let mut talk = Talk::new(mouth, ears, interrupt, args, plugins);
    let verdict = if !args.commands.is_empty() {
        input::arguments(&mut talk, args).await?
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return screen::run(&mut talk, args).await;
    } else {
        input::script(&mut talk).await?
    };
    if let Some(time) = args.listen.filter(|_| verdict == Verdict::Good) {
        talk.listen(time).await?;
    }
    Ok(verdict)
}
