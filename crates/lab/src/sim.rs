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
    /// A model of `modemfleet profiles list`, such as sim7600. A model that has no simulation of its
    /// own, or comes from the folder of models, is simulated as the first one with the same dialect,
    /// under the first of its own names.
    #[arg(long)]
    model: String,
    /// The models to choose from.
    #[command(flatten)]
    models: Folder,
    /// The number of modems.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Make a link `modemN` to each modem's tty in this folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A tty to use instead of a pty; `DEV,DEV2` are two ports of one modem. Each --tty adds a modem.
    #[arg(long, value_name = "DEV[,DEV2]")]
    tty: Vec<String>,
    /// The broker that every connection of the modems reaches, whatever host it names.
    #[arg(long, value_name = "HOST:PORT")]
    broker: String,
    /// The time before the first byte of each answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// A fault and its probability for each command, such as `silence=0.05`.
    #[arg(long, value_name = "NAME=PROBABILITY")]
    fault: Vec<FaultRate>,
    /// A lasting fault and its cure, such as `mute=reopen`, `no-data=40s` or `slow:+COPS:20s=never`;
    /// with the time at which it begins: `update=50s@8s`. The error for an unknown one lists all;
    /// docs/without-hardware.md describes them.
    #[arg(long, value_name = "SYMPTOM=CURE[@TIME]")]
    ill: Vec<Onset>,
    /// The delay of the faults `late` and `late-prompt`, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    late: u64,
    /// Unplug the tty at the N-th step after it was plugged in. A step is a command, or the data after
    /// a prompt. Give the option several times to unplug the tty several times.
    #[arg(long, value_name = "N")]
    unplug_at: Vec<u64>,
    /// The time for which the fault `unplug` and `--unplug-at` remove the tty, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    unplugged: u64,
    /// The seed of the random numbers that decide the faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The number of the first modem. Numbers make IMEI, SIM and cell distinct, also between
    /// processes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: u32,
    /// The PIN of the SIM cards.
    #[arg(long)]
    pin: Option<String>,
    /// The number of tries left for that PIN; at 0 the cards ask for their PUK.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pin_tries: u8,
    /// The registration of the modems: home, roaming, searching, denied, unknown or idle.
    #[arg(long, value_name = "STATE", default_value = "home")]
    registration: Registration,
    /// The signal of the network: the reference signal's power in dBm.
    #[arg(long, value_name = "DBM", default_value_t = -85, allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-140..=-40))]
    rsrp: i16,
    /// The access point at which the network gives data. A context that was written takes effect when
    /// the modem attaches again; until then the access point is `cmnet`.
    #[arg(long, value_name = "NAME")]
    apn: Option<String>,
    /// Things that the modems lack: a SIM card, an address from the network, or the time.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Lack>,
}

/// A part that a modem may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lack {
    /// A SIM card in the holder.
    Sim,
    /// An address from the network, as if the access point were wrong or the card had no data.
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
