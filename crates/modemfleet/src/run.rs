//! `modemfleet run`: starts the agent and handles its signals.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::inbox::Inbox;
use anyhow::Context;
use modem::Plugin;
use modem::session::Chain;
use queue::Queue;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::end::{code_of, wrong};
use agent::agent::{Agent, Start};
use agent::logging;
use agent::upkeep::descriptors;
use agent::upkeep::systemd;
use fleet::models::{Folder, Library, Models, ModelsError};
use fleet::private;

/// Arguments of `modemfleet run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The fleet file.
    #[arg(long, value_name = "FILE", default_value = "/etc/modemfleet/fleet.yaml")]
    pub(crate) config: PathBuf,
    /// This gateway's name in the fleet file [default: the host name].
    #[arg(long, value_name = "NAME", env = fleet::GATEWAY)]
    pub(crate) gateway: Option<String>,
    /// The models.
    #[command(flatten)]
    pub(crate) models: Folder,
    /// The format of log lines.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: logging::Format,
    /// The log filter: a level, or a list such as `info,modemfleet::at=trace` for the AT dialogue.
    #[arg(long, value_name = "FILTER", env = "MODEMFLEET_LOG", default_value = "info")]
    pub(crate) log: String,
}

/// Runs the agent until SIGTERM or SIGINT.
pub(crate) fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    descriptors::raise_limit();
    // A core would hold PINs, passwords and keys. PR_SET_DUMPABLE is not used: it hides /proc/PID
    // from its own user. A library reads it at its start, and operators read it to find the holder
    // of a port.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        fleet::printable::complain(&format!("a crash may leave a core with secrets: {error}"));
    }
    // One thread. The work is at most a few thousand small and fast steps a second, and passing
    // them between threads costs more than it gains. Blocking work (files, ttys, the queue) has its
    // own threads.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            fleet::printable::complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let entered = runtime.enter();
    // Before the file is read, so that a reload requested from here on is not lost.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            fleet::printable::complain(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let gateway = args.gateway.clone();
    let context = fleet::Context::named(&args.config, fleet::Secrets::Read, gateway);
    let models = models(args, plugins);
    let context = match &models {
        Ok((_, models)) => context.with_models(&models.catalog),
        // The problems of the fleet file are printed first.
        Err(_) => context,
    };
    let fleet = match fleet::load_in(&args.config, &context) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                fleet::printable::complain(&loaded.warnings.render(false));
            }
            loaded.fleet
        }
        Err(problems) => {
            fleet::printable::complain(&problems.render(false));
            return wrong();
        }
    };
    let (library, models) = match models {
        Ok(models) => models,
        Err(error) => {
            fleet::printable::complain(&Chain(&error).to_string());
            return code_of(&error);
        }
    };
    let log = match logging::init(args.log_format, &args.log) {
        Ok(log) => log,
        Err(error) => {
            fleet::printable::complain(&format!("--log: {error}"));
            return wrong();
        }
    };
    drop(entered);
    let file = args.config.clone();
    let done = open_stores(&fleet).and_then(|(queue, inbox)| {
        let (gateway, catalog) = (args.gateway.clone(), models.catalog);
        let start = Start { file, gateway, fleet, library, catalog, queue, inbox, log };
        runtime.block_on(serve(start, signals))
    });
    // A thread may be stuck in a wedged driver, so the wait is limited.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(code) => code,
        Err(error) => {
            // The chain as one sentence: the failed action and its cause.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the models, and the library from which a reload reads them again.
fn models(args: &Args, plugins: &[&Plugin]) -> Result<(Library, Models), ModelsError> {
    let library = Library::new(plugins, args.models.clone())?;
    let models = library.read()?;
    Ok((library, models))
}

fn open_stores(fleet: &fleet::Fleet) -> anyhow::Result<(Queue, Option<Inbox>)> {
    private::tighten(&fleet.queue.path);
    if let Some(inbox) = &fleet.inbox {
        private::tighten(&inbox.path);
    }
    let queue = Queue::open(fleet.queue.config())
        .with_context(|| format!("could not open the queue in {}", fleet.queue.path.display()))?;
    // Its errors name its place.
    Ok((queue, fleet.inbox.as_ref().map(|inbox| Inbox::open(inbox.config())).transpose()?))
}

/// The signals that the agent handles.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen =
            |kind, name| signal(kind).with_context(|| format!("could not listen for {name}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hang_up: listen(SignalKind::hangup(), "SIGHUP")?,
        })
    }

    /// Waits for a signal that requests the end.
    ///
    /// # Cancel safety
    /// No signal is lost.
    async fn end(&mut self) {
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(start: Start, mut signals: Signals) -> anyhow::Result<ExitCode> {
    // Nothing is open yet that must be closed.
    let started = tokio::select! {
        started = Agent::start(start) => started,
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    let mut agent = started?;
    let failed = until_the_end(&mut agent, &mut signals).await;
    systemd::stopping();
    tracing::info!("stopping: signing the sessions out");
    // A dropped `end` leaves sessions open, as a second signal requests.
    tokio::select! {
        () = agent.end() => {}
        () = signals.end() => tracing::warn!("second signal: stopping at once"),
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Reloads on request, until a signal requests the end or a part fails.
async fn until_the_end(agent: &mut Agent, signals: &mut Signals) -> Option<anyhow::Error> {
    loop {
        // All arms are cancel safe, and none awaits in its body.
        let request = tokio::select! {
            _ = signals.terminate.recv() => return None,
            _ = signals.interrupt.recv() => return None,
            _ = signals.hang_up.recv() => None,
            happened = agent.happens() => match happened {
                Ok(request) => Some(request),
                Err(error) => return Some(error),
            },
        };
        // The end of the agent may interrupt a reload, which does no harm.
        tokio::select! {
            () = agent.serve_request(request) => {}
            () = signals.end() => return None,
        }
    }
}
