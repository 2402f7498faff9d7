//! `modemfleet recover`: one action that needs root, requested through a socket or by hand.

mod means;

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::recover::{Answer, MAX_LINE, PrivilegedAction};
use fleet::printable::complain;

use means::Means;

/// Performs the request on a line of standard input, and prints the answer as a line: `done`,
/// `unavailable: …`, `busy: …` or `failed: …`. systemd runs it for each connection to
/// modemfleet-recover.socket.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request, instead of standard input: `usb-reset BUS-PORT` or `power NAME`.
    #[arg(value_name = "REQUEST", num_args = 2)]
    request: Vec<String>,
    /// The folder of the power scripts. Folder and scripts must belong to root, and only root may have
    /// write permission.
    #[arg(long, value_name = "DIR", default_value = "/etc/modemfleet/power.d")]
    scripts: PathBuf,
    /// The kernel's folder of devices.
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    sysfs: PathBuf,
    /// The folder of the USB device nodes.
    #[arg(long, value_name = "DIR", default_value = "/dev/bus/usb")]
    usbfs: PathBuf,
    /// The time limit of a script, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

/// Runs the action; the exit code is 0 if it is done.
pub fn run(args: &Args) -> ExitCode {
    let answer = match args.request.as_slice() {
        [] => asked(args, &mut io::stdin().lock()),
        words => perform(args, &words.join(" ")),
    };
    let mut out = io::stdout();
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    if answer == Answer::Done {
        return ExitCode::SUCCESS;
    }
    // For root, who reads the journal.
    complain(&answer.to_string());
    ExitCode::FAILURE
}

/// Reads one line. If none comes, the unit's time limit ends this program.
fn asked(args: &Args, input: &mut impl BufRead) -> Answer {
    let mut line = Vec::new();
    match input.take(MAX_LINE).read_until(b'\n', &mut line) {
        Ok(_) => perform(args, &String::from_utf8_lossy(&line)),
        Err(error) => Answer::Failed(format!("could not read the request: {error}")),
    }
}

fn perform(args: &Args, line: &str) -> Answer {
    let action: PrivilegedAction = match line.parse() {
        Ok(action) => action,
        Err(error) => return Answer::Unavailable(format!("{error}")),
    };
    complain(&format!("asked for: {action}"));
    let means = Means {
        scripts: args.scripts.clone(),
        sysfs: args.sysfs.clone(),
        usbfs: args.usbfs.clone(),
        patience: Duration::from_secs(args.patience),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(means.perform(&action)),
        Err(error) => Answer::Failed(format!("could not start: {error}")),
    }
}
