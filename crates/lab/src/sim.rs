//! `modemfleet sim`: simulated modems on ptys or ttys, for trying the agent without hardware.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use modem::Plugin;
use modem::session::Chain;
use modem_sim::{
    Clock, FaultRate, FleetOptions, Model, Onset, Options, Radio, Registration, UnknownModel,
};
use tokio::signal::unix::{SignalKind, signal};

use api::client::WRONG;
use fleet::models::{Folder, ModelsError};
use fleet::printable::complain;

/// Runs simulated modems and prints `NAME TTY` for each, until it is stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model of `modemfleet profiles list`, such as sim7600. One that is not simulated itself, or is of the
    /// folder of models, is simulated as the first that speaks like it, under the first of its own names.
    #[arg(long)]
    model: String,
    /// The models to choose from.
    #[command(flatten)]
    models: Folder,
    /// How many modems.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Makes a link `modemN` to each modem's tty in this folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A tty to use instead of a pty; `DEV,DEV2` are two ports of one modem. Each `--tty` is a modem.
    #[arg(long, value_name = "DEV[,DEV2]")]
    tty: Vec<String>,
    /// The broker that the modems' network leads to, whatever host they are told.
    #[arg(long, value_name = "HOST:PORT")]
    broker: String,
    /// Time before the first byte of each answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// A fault and its probability for each command, such as `silence=0.05`.
    #[arg(long, value_name = "NAME=PROBABILITY")]
    fault: Vec<FaultRate>,
    /// What is wrong, until it is cured: `mute=reopen`, `no-data=40s`, `slow:+COPS:20s=never`, or from a time
    /// on: `update=50s@8s`. A wrong one lists all there are; docs/without-hardware.md describes them.
    #[arg(long, value_name = "SYMPTOM=CURE[@TIME]")]
    ill: Vec<Onset>,
    /// How late the faults `late` and `late-prompt` are, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    late: u64,
    /// The tty vanishes at the N-th step after it came: a command, or the data after a prompt. Once for each
    /// time this is given, each for a stay of its own.
    #[arg(long, value_name = "N")]
    unplug_at: Vec<u64>,
    /// How long the tty is away under the fault `unplug` and after `--unplug-at`, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    unplugged: u64,
    /// Seed of the dice that decide the faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of the first modem: it makes IMEI, SIM and cell distinct, also from those of another
    /// process.
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: u32,
    /// The PIN of the SIM cards.
    #[arg(long)]
    pin: Option<String>,
    /// How often that PIN may still be tried; at 0 the cards ask for their PUK.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pin_tries: u8,
    /// Where the modems are registered: home, roaming, searching, denied, unknown or idle.
    #[arg(long, value_name = "STATE", default_value = "home")]
    registration: Registration,
    /// How well they hear the network: the reference signal's power in dBm.
    #[arg(long, value_name = "DBM", default_value_t = -85, allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-140..=-40))]
    rsrp: i16,
    /// The access point at which the network has data. What is written to a context counts once the modem attaches
    /// again; before that it is `cmnet`.
    #[arg(long, value_name = "NAME")]
    apn: Option<String>,
    /// What the modems lack: a SIM card, an address from the network, the time.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Lack>,
}

/// A part that a modem may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lack {
    /// No SIM card is in its holder.
    Sim,
    /// The network gives no address: a wrong access point, or a card without data.
    Address,
    /// The time from the network.
    Clock,
}

impl Args {
    fn lacks(&self, what: Lack) -> bool {
        self.without.contains(&what)
    }

    fn radio(&self, mut radio: Radio) -> Radio {
        radio.registration = self.registration;
        radio.address = !self.lacks(Lack::Address);
        radio.apn.clone_from(&self.apn);
        radio.signal.rsrp_tenths = self.rsrp.saturating_mul(10);
        radio
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let (model, badge) = match model(args, plugins) {
        Ok(found) => found,
        Err(error) => {
            complain(&Chain(&error).to_string());
            return ExitCode::from(WRONG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(simulate(args, Options { badge, ..Options::new(model) })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&Chain(error.as_ref()).to_string());
            ExitCode::FAILURE
        }
    }
}

/// The reason why no modem is simulated.
#[derive(Debug, thiserror::Error)]
enum SimError {
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error("--model")]
    Unknown(#[from] UnknownModel),
}

/// Returns the model to simulate, and the name that it reports if that differs.
fn model(args: &Args, plugins: &[&Plugin]) -> Result<(Model, Option<String>), SimError> {
    if let Ok(model) = args.model.parse() {
        return Ok((model, None));
    }
    let models = args.models.load(plugins)?;
    let found = models.catalog.model(&args.model.to_ascii_lowercase());
    let mut siblings = found.into_iter().flat_map(|model| models.siblings(model));
    let badge = found.and_then(|model| model.cgmm.first().cloned());
    match siblings.find_map(|id| id.parse().ok()) {
        Some(model) => Ok((model, badge)),
        None => Ok((args.model.parse()?, badge)),
    }
}

async fn simulate(args: &Args, modem: Options) -> Result<(), Box<dyn std::error::Error>> {
    let options = FleetOptions {
        modem: Options {
            broker: Some(args.broker.clone()),
            latency: Duration::from_millis(args.latency),
            faults: args.fault.iter().copied().collect(),
            onsets: args.ill.clone(),
            late: Duration::from_millis(args.late),
            unplug_at: args.unplug_at.clone(),
            unplugged: Duration::from_millis(args.unplugged),
            seed: args.seed,
            index: args.index,
            pin: args.pin.clone(),
            pin_tries: args.pin_tries,
            card: !args.lacks(Lack::Sim),
            clock: if args.lacks(Lack::Clock) { Clock::Unset } else { modem.clock },
            radio: args.radio(modem.radio.clone()),
            ..modem
        },
        count: args.count.max(args.tty.len()),
        dir: args.dir.clone(),
        ttys: args.tty.iter().map(|ttys| ttys.split(',').map(PathBuf::from).collect()).collect(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let modems = modem_sim::run(&options, |member| {
        // Flushed at once, since a script reads this line through a pipe.
        let mut out = std::io::stdout();
        let _ =
            writeln!(out, "{} {}", member.name, member.tty.display()).and_then(|()| out.flush());
    });
    tokio::select! {
        ended = modems => Ok(ended?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
