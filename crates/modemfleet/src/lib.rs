//! The command line of the agent, as a library: a third party's binary passes its own profiles to
//! [`main`].

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
pub mod record;
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

/// Carry MQTT messages over a fleet of cellular modems.
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
    /// Check a fleet file and point at each error.
    Check(check::Args),
    /// List USB modems with their ports, their entries and other programs that use a port.
    Scan(scan::Args),
    /// Show the modems, sessions and queue of the running agent.
    Status(status::Args),
    /// Send AT commands to a modem, through the running agent or directly on a tty.
    At(at::Args),
    /// Record a transcript of a modem: its answers to commands that only read, and one publish.
    Record(record::Args),
    /// Collect a support bundle, with secrets removed.
    Diag(diag::Args),
    /// Publish messages through the running agent.
    Publish(publish::Args),
    /// Show and change the messages in the queue, also while no agent runs.
    Queue(queue::Args),
    /// Show or change the log filter of the running agent, or trace one modem's AT dialogue.
    Log(log::Args),
    /// Reset a USB device or run a power script, as root.
    ///
    /// The request is one line of standard input, and so is the answer on standard output: `done`,
    /// `unavailable: …`, `busy: …` or `failed: …`. systemd runs this command for each connection of
    /// the agent to modemfleet-recover.socket.
    Recover(recover::Args),
    /// Reload the fleet file of the running agent.
    Reload(reload::Args),
    /// Find faults of gateway, modems and sessions, and print a remedy for each.
    Doctor(doctor::Args),
    /// Show the path that a topic takes, and the reason.
    Route(route::Args),
    /// Print the JSON Schema of the fleet file.
    Schema(schema::Args),
    /// List the known models, explain how a modem is recognised, and decode its replies.
    Profiles(profiles::Args),
    /// Explain a code of a modem or a broker, and suggest a remedy.
    Explain(explain::Args),
    /// Print the completion script for a shell.
    Completions(man::Completions),
    /// Write the manual pages.
    Man(man::Man),
    /// Print the MQTT credentials of a device at a cloud.
    Sign(sign::Args),
    /// Run simulated modems on ttys.
    #[cfg(feature = "lab")]
    Sim(lab::sim::Args),
    /// Run a broker, three simulated modems, the agent and a load of messages.
    ///
    /// The demo unplugs one modem, hangs another, and counts the messages. The exit code is 0 only if
    /// every accepted message arrived.
    #[cfg(feature = "lab")]
    Demo(demo::Args),
}

/// Parses the command line and runs the command.
///
/// Exit codes: 0 done, 1 failed at run time, 2 wrong configuration or usage, 3 no agent runs.
pub fn main(plugins: &[&Plugin]) -> ExitCode {
    // A closed pipe (`| head`) ends this program quietly.
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
        Command::Record(args) => return record::run(&args, plugins),
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
