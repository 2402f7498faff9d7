//! `modemfleet at MODEM`: the operator's own AT commands, through the running agent or directly on
//! a tty.

mod args;
mod console;
mod editor;
pub(crate) mod error;
mod input;
pub(crate) mod port;
mod screen;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modem::console::Commands;
use modem::probe::ProbeError;
use modem::session::Chain;
use modem::tty::on_tty;
use modem::{Catalog, Plugin};
use tokio::signal::unix::{SignalKind, signal};

use crate::end::{output_failed, wrong};
use api::client::{ClientError, Target, converse};
use fleet::Secrets;
use fleet::printable::complain;

pub use args::Args;
use console::{Console, Verdict};
use error::AtError;
use port::{AtClient, UrcListener};

/// Runs the console for the modem in `args`.
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

/// Returns a hint if an agent holds the tty: the modem is then reached through the agent.
pub(crate) fn agents_tty(error: &modem::serial::OpenError) -> Option<String> {
    let holder = error.busy()?.holder.as_ref()?;
    holder.name.starts_with("modemfleet").then(|| {
        "if that process is an agent, use `modemfleet at NAME` with the modem's name in the fleet file"
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
    match UrcListener::of_agent(&client, &args.modem).await {
        Ok(urcs) => {
            let client = AtClient::of_agent(client, &args.modem, &commands);
            converse_with(args, client, urcs, plugins).await
        }
        Err(error @ ClientError::NotRunning(_)) => match fixed_tty(&args.target, &args.modem) {
            Some(tty) => {
                complain(&format!("no agent runs: using {} directly", tty.display()));
                alone(args, &tty, &catalog, &commands, plugins).await
            }
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Returns the modem's tty by the fleet file, if its name is fixed.
pub(crate) fn fixed_tty(target: &Target, modem: &str) -> Option<PathBuf> {
    let file = target.config.as_deref()?;
    let fleet = fleet::load_with(file, Secrets::Skip).ok()?.fleet;
    let fixed = agent::modems::factory::fixed(&fleet);
    fixed.into_iter().find(|(name, _)| *name == modem).map(|(_, tty)| tty)
}

/// Opens a tty that no other process has, and runs the console on it.
async fn alone(
    args: &Args,
    tty: &Path,
    catalog: &Catalog,
    commands: &Commands,
    plugins: &[&Plugin],
) -> Result<Verdict, AtError> {
    let work = async |at, hearing| {
        let client = AtClient::alone(at, commands);
        converse_with(args, client, UrcListener::Port(hearing), plugins).await
    };
    on_tty(tty, args.baud, catalog, work).await?
}

async fn converse_with(
    args: &Args,
    client: AtClient<'_>,
    urcs: UrcListener,
    plugins: &[&Plugin],
) -> Result<Verdict, AtError> {
    let interrupt = signal(SignalKind::interrupt())?;
    let mut console = Console::new(client, urcs, interrupt, args, plugins);
    let verdict = if !args.commands.is_empty() {
        input::arguments(&mut console, args).await?
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return screen::run(&mut console, args).await;
    } else {
        input::script(&mut console).await?
    };
    if let Some(time) = args.listen.filter(|_| verdict == Verdict::Good) {
        console.listen(time).await?;
    }
    Ok(verdict)
}
