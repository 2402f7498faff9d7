//! The options of `modemfleet at`.

use std::path::PathBuf;
use std::time::Duration;

use api::client::Target;

const EXAMPLES: &str = "Examples:
  modemfleet at north                       a console with history and URCs; Ctrl-D ends it
  modemfleet at north AT+CSQ 'AT+CPSI?'     in this order, until one fails
  modemfleet at north --dangerous AT+CRESET
  modemfleet at /dev/ttyUSB2                directly on a tty that no agent uses
  modemfleet at /dev/ttyUSB2 'AT+CMQTTTOPIC=0,3' --data a/b
  modemfleet at /dev/ttyUSB2 < script       one command a line, each followed by its data
  modemfleet at north --listen 1m AT        then unsolicited lines for a minute

Commands that only read are sent. A command that could do harm, or disturb the agent's sessions, \
needs `--dangerous`.
Exit codes: 0 all commands succeeded, 1 one failed, 2 wrong usage or a refused command, 3 no agent runs.";

/// Sends AT commands to a modem and shows the answers.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A modem of the fleet, or the path of a tty that no agent uses.
    #[arg(value_name = "MODEM")]
    pub(super) modem: String,
    /// The command lines [default: a console, or lines of standard input].
    #[arg(value_name = "COMMAND")]
    pub(super) commands: Vec<String>,
    /// The data to send at the prompt of a single command.
    #[arg(long, value_name = "TEXT", requires = "commands")]
    pub(super) data: Option<String>,
    /// A file with the data to send at the prompt.
    #[arg(long, value_name = "FILE", requires = "commands", conflicts_with = "data")]
    pub(super) data_file: Option<PathBuf>,
    /// The time limit of a command [default: 10s, operations 130s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Send also commands that may do harm or disturb the agent's sessions.
    #[arg(long)]
    pub(super) dangerous: bool,
    /// Keep printing unsolicited lines for this long after the last command.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) listen: Option<Duration>,
    /// The speed of a tty that does not belong to a USB modem.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    pub(super) baud: u32,
    /// The address of the agent.
    #[command(flatten)]
    pub(super) target: Target,
}
