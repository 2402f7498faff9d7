//! `modemfleet demo`: broker, modems, agent, load and faults on one machine; it leaves nothing
//! behind.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use fleet::printable::complain;
use lab::demo;

/// The seconds of a year: a longer demo needs no end.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// Starts a broker, three simulated modems and the agent; unplugs one modem, hangs another, and counts.
///
/// Ends with 0 only if everything that the agent took arrived.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after this many seconds of load [default: at Ctrl-C].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: Option<u64>,
}

/// Runs the demo.
pub fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(demo::run(args.seconds.map(Duration::from_secs))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            if !is_broken_pipe(&error) {
                complain(&format!("{error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Reports whether the reader closed the pipe (`| head`). The demo then ends quietly, but not with
/// success.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
