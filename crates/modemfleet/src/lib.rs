//! The command line of the agent, as a library: a third party's binary hands its own profiles to [`main`].

pub mod at;
pub mod check;
#[cfg(feature = "lab")]
pub mod demo;
pub mod diag;
pub mod doctor;
mod end;
pub mod explain;
pub mod init;
pub mod log;
pub mod man;
pub mod profiles;
pub mod publish;
pub mod queue;
pub mod recover;
pub mod reload;
pub mod route;
mod run;
pub mod scan;
pub mod schema;
pub mod sign;
pub mod status;
mod table;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use modem::Plugin;

use end::{output_failed, wrong};
use fleet::printable::complain;

/// A fleet of cellular modems, each with MQTT sessions of its own.
#[derive(Debug, Parser)]
#[command(name = "modemfleet", version = agent::version::SHOWN, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent.
    Run(run::Args),
    /// Write a first fleet file for the modems that are plugged in.
    Init(init::Args),
    /// Say whether a fleet file is good, and if not, where.
    Check(check::Args),
    /// Show every USB modem, its ports, whose it is, and who else has a port.
    Scan(scan::Args),
    /// Show the running agent's modems, sessions and queue.
    Status(status::Args),
    /// Send AT commands to a modem, through the running agent or on a tty of one's own.
    At(at::Args),
    /// Collect what somebody else needs to find a fault, without secrets.
    Diag(diag::Args),
    /// Hand messages to the running agent.
    Publish(publish::Args),
    /// Show and change what the queue holds, also while no agent runs.
    Queue(queue::Args),
    /// Show or change what the running agent logs, such as the AT dialogue of one modem.
    Log(log::Args),
    /// Reset a USB device or run a power script, as root; the agent asks for it through a socket.
    Recover(recover::Args),
    /// Make the running agent read its fleet file again.
    Reload(reload::Args),
    /// Look for what is wrong with gateway, modems and sessions, and say what to do about it.
    Doctor(doctor::Args),
    /// Say which path a topic takes, and why.
    Route(route::Args),
    /// Print the JSON Schema of the fleet file.
    Schema(schema::Args),
    /// Say which models there are, and what a modem's reply means.
    Profiles(profiles::Args),
    /// Say what a code of a modem or a broker means, and what to try.
    Explain(explain::Args),
    /// Print a completion script for a shell.
    Completions(man::Completions),
    /// Write the manual pages.
    Man(man::Man),
    /// Print what a device signs in with at a cloud.
    Sign(sign::Args),
    /// Run simulated modems on ttys.
    #[cfg(feature = "lab")]
    Sim(lab::sim::Args),
    /// Show it all in motion: a broker, three simulated modems, the agent, and what goes wrong.
    #[cfg(feature = "lab")]
    Demo(demo::Args),
}

/// Reads the command line and does what it says.
///
/// Exit codes: 0 done, 1 failed at run time, 2 wrong configuration or usage, 3 no agent runs.
pub fn main(plugins: &[&Plugin]) -> ExitCode {
    // A reader that has enough (`| head`) ends this program quietly.
    let Cli { command } = Cli::parse();
    let done = match command {
        Command::Run(args) => return run::run(&args, plugins),
        #[cfg(feature = "lab")]
        Command::Sim(args) => return lab::sim::run(&args, plugins),
        #[cfg(feature = "lab")]
        Command::Demo(args) => return demo::run(&args),
        Command::Init(args) => return init::run(&args, plugins),
        Command::Scan(args) => return scan::run(&args, plugins),
        Command::Status(args) => return status::run(&args),
        Command::At(args) => return at::run(&args, plugins),
        Command::Diag(args) => return diag::run(&args, plugins),
        Command::Publish(args) => return publish::run(&args),
        Command::Queue(args) => return queue::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Log(args) => return log::run(&args),
        Command::Recover(args) => return recover::run(&args),
        Command::Doctor(args) => return doctor::run(&args, plugins),
        Command::Route(args) => return route::run(&args),
        Command::Explain(args) => return explain::run(&args, plugins),
        Command::Completions(args) => return man::completions(&args, &mut Cli::command()),
        Command::Man(args) => return man::man(&args, Cli::command()),
        Command::Schema(args) => return schema::run(&args),
        Command::Profiles(args) => return profiles::run(&args, plugins),
        Command::Check(args) => {
            let styled = io::stderr().is_terminal();
            check::run(&args, plugins, styled, &mut io::stdout(), &mut io::stderr()).map(
                |verdict| match verdict {
                    check::Verdict::Good => ExitCode::SUCCESS,
                    check::Verdict::Wrong => wrong(),
                    check::Verdict::NoDiff(code) => code,
                },
            )
        }
        Command::Sign(args) => return sign_code(&args),
    };
    done.unwrap_or_else(|error| output_failed(&error))
}

fn sign_code(args: &sign::Args) -> ExitCode {
    match sign::run(args, &mut io::stdin(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&modem::session::Chain(&error).to_string());
            wrong()
        }
    }
}
