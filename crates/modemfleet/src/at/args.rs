//! The options of `modemfleet at`.

use std::path::PathBuf;
use std::time::Duration;

use api::client::Target;

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

/// Sends AT commands to a modem and shows the answers.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A modem of the fleet, or the path of a tty that no agent has.
    #[arg(value_name = "MODEM")]
    pub(super) modem: String,
    /// Command lines. Without any they are asked for, or read from standard input.
    #[arg(value_name = "COMMAND")]
    pub(super) commands: Vec<String>,
    /// What to answer to the prompt of the (one) command.
    #[arg(long, value_name = "TEXT", requires = "commands")]
    pub(super) data: Option<String>,
    /// The same from a file, byte by byte.
    #[arg(long, value_name = "FILE", requires = "commands", conflicts_with = "data")]
    pub(super) data_file: Option<PathBuf>,
    /// How long a command may take [default: 10s, operations 130s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Send whatever it does.
    #[arg(long)]
    pub(super) dangerous: bool,
    /// After the commands, show for so long what the modem says unasked.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) listen: Option<Duration>,
    /// The speed of a tty that is no USB modem's.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    pub(super) baud: u32,
    /// The address of the agent.
    #[command(flatten)]
    pub(super) target: Target,
}
