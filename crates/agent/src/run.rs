//! `modemfleet run`: the parts put together, and taken apart in order.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use modem::session::Stagger;
use modem::turns::Turns;
use modem::{Catalog, Environment, Modem, Plugin};
use prometheus::core::Collector;
use queue::Queue;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::budget::Books;
use crate::config::{self, Fleet};
use crate::devices::Devices;
use crate::discovery::Sightings;
use crate::downlink::Downlink;
use crate::forward;
use crate::hand_in::HandIn;
use crate::history::History;
use crate::http::{self, App, Pages, Token};
use crate::ledger::FileLedger;
use crate::logging::{self, Log};
use crate::metrics::Metrics;
use crate::mqtt::{self, Users};
use crate::process::Process;
use crate::reconcile::Reconciler;
use crate::recover::Recoverer;
use crate::view::{ModemView, View};
use crate::{discovery, fleet, systemd, telemetry, wrong};

/// How long forwarders and servers may take to end once the modems have.
const LAST_ACKS: Duration = Duration::from_secs(1);

/// How long the queue may take to close at the end: one commit.
const CLOSE_QUEUE: Duration = Duration::from_secs(5);

/// Arguments of `modemfleet run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fleet file.
    #[arg(long, value_name = "FILE", default_value = "/etc/modemfleet/fleet.yaml")]
    pub config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: logging::Format,
    /// What is logged: a level, or a list such as `info,modemfleet::at=trace` for the AT dialogue.
    #[arg(long, value_name = "FILTER", env = "MODEMFLEET_LOG", default_value = "info")]
    pub log: String,
}

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let fleet = match config::load(&args.config) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                crate::complain(&loaded.warnings.render(false));
            }
            loaded.fleet
        }
        Err(problems) => {
            crate::complain(&problems.render(false));
            return wrong();
        }
    };
    // One thread: the work is a few thousand small steps a second at most, each fast, and handing them
    // between threads costs more than it gives. What blocks (files, ttys, the queue) has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let entered = runtime.enter();
    let log = match logging::init(args.log_format, &args.log) {
        Ok(log) => log,
        Err(error) => {
            crate::complain(&format!("--log: {error}"));
            return wrong();
        }
    };
    drop(entered);
    match start(fleet, plugins, runtime, log) {
        Ok(code) => code,
        Err(error) => {
            // The chain as one sentence: what was tried, and why it failed.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(
    fleet: Fleet,
    plugins: &[&Plugin],
    runtime: Runtime,
    log: Log,
) -> anyhow::Result<ExitCode> {
    let catalog = Arc::new(Catalog::new(plugins).context("the models of this build are broken")?);
    let queue = open_queue(&fleet.queue)?;
    let code = runtime.block_on(Agent::serve(fleet, catalog, queue, log));
    // A thread may be stuck in a wedged driver; nobody waits for it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

fn open_queue(config: &config::Queue) -> anyhow::Result<Queue> {
    Queue::open(config.config())
        .with_context(|| format!("could not open the queue in {}", config.path.display()))
}

/// Where no modem has a budget nobody asks what a SIM carries.
fn open_books(fleet: &Fleet) -> anyhow::Result<Option<Arc<Books>>> {
    if fleet.modems.iter().all(|modem| modem.budget.is_none()) {
        return Ok(None);
    }
    let dir = &fleet.queue.path;
    let books = Books::open(dir, &fleet.modems);
    books
        .map(Some)
        .with_context(|| format!("could not read the budget's count in {}", dir.display()))
}

/// Adds what is read at each scrape.
fn register(metrics: &Metrics, view: &View) -> prometheus::Result<()> {
    let collectors: [Box<dyn Collector>; 2] = [Box::new(view.clone()), Box::new(Process::new())];
    collectors.into_iter().try_for_each(|collector| metrics.registry().register(collector))
}

/// Modems for those who watch them, run them and find them.
fn parts(made: Vec<fleet::Made>) -> (Vec<ModemView>, Vec<(String, Modem)>, Vec<discovery::Wanted>) {
    let (mut views, mut modems, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    for fleet::Made { view, modem, wanted: on_usb } in made {
        modems.push((view.name.clone(), modem));
        views.push(view);
        wanted.extend(on_usb);
    }
    (views, modems, wanted)
}

/// The running agent.
struct Agent {
    stop: CancellationToken,
    /// Modems: they sign their sessions out when told to stop.
    modems: JoinSet<()>,
    /// Forwarders and servers: they end when told to.
    services: JoinSet<anyhow::Result<()>>,
    queue: Queue,
    books: Option<Arc<Books>>,
    grace: Duration,
}

impl Agent {
    async fn serve(
        fleet: Fleet,
        catalog: Arc<Catalog>,
        queue: Queue,
        log: Log,
    ) -> anyhow::Result<ExitCode> {
        let mut terminate =
            signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let mut interrupt =
            signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
        // Nothing is open yet that would have to be closed.
        let started = tokio::select! {
            started = Self::start(fleet, catalog, queue, log) => started,
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        };
        let mut agent = started?;
        // All arms are cancel safe, and none awaits in its body.
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failed = agent.failed() => Some(failed),
        };
        systemd::stopping();
        tracing::info!("ending: signing the sessions out");
        // A dropped end leaves sessions open, which is what a second signal asks for.
        tokio::select! {
            () = agent.end() => {}
            _ = terminate.recv() => tracing::warn!("second signal: ending at once"),
            _ = interrupt.recv() => tracing::warn!("second signal: ending at once"),
        }
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }

    async fn start(
        fleet: Fleet,
        catalog: Arc<Catalog>,
        queue: Queue,
        log: Log,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let metrics = Metrics::new().context("the metrics of this build are broken")?;
        let env = Environment {
            catalog,
            stagger: Stagger::new(),
            ledger: Arc::new(FileLedger::new(&fleet.queue.path)),
            turns: Turns::new(),
            privileged: Arc::new(Recoverer::new(fleet.privileged.clone())),
            stop: stop.clone(),
        };
        let downlink = Downlink::new(Arc::clone(&metrics));
        let books = open_books(&fleet)?;
        let made = fleet::modems(&fleet, &env, &metrics, &downlink, books.as_ref())
            .context("could not read a secret")?;
        let (views, modems, wanted) = parts(made);
        let view = View { modems: views.into(), queue: queue.clone() };
        register(&metrics, &view).context("the metrics of this build are broken")?;
        forward::adopt_orphans(&queue, &fleet).await.context("could not read the queue")?;

        let mut agent = Self {
            stop: stop.clone(),
            modems: JoinSet::new(),
            services: JoinSet::new(),
            queue,
            books,
            grace: fleet.shutdown_grace,
        };
        let token = fleet
            .http
            .token
            .as_ref()
            .map(crate::secret::Ref::read)
            .transpose()
            .context("could not read http.token")?;
        let fleet = Arc::new(fleet);
        let forwarders = forward::forwarders(&fleet, &view, &metrics, &stop);
        let hand_in =
            HandIn::new(Arc::clone(&fleet), view.clone(), Arc::clone(&metrics), stop.clone());
        let (sightings, sighted) = watch::channel(Sightings::default());
        let app = App {
            gateway: fleet.gateway.clone(),
            fleet: Arc::clone(&fleet),
            waiting: forwarders.iter().map(forward::Forwarder::waiting).collect(),
            hand_in,
            downlink,
            view: view.clone(),
            metrics: Arc::clone(&metrics),
            history: Arc::new(History::default()),
            pages: Pages::default(),
            log,
            devices: Devices::new(sighted, &view, &metrics),
            token: token.as_ref().map(Token::new),
            stop: stop.clone(),
        };
        agent.listen(&fleet.http, &app).await?;
        agent.listen_mqtt(fleet.mqtt.as_ref(), &app).await?;
        agent.keep(app);
        for forwarder in forwarders {
            agent.services.spawn(async move {
                forwarder.run().await;
                Ok(())
            });
        }
        agent.discover(&fleet, &env.catalog, &metrics, wanted, sightings);
        let reconciler = Reconciler::new(modems, Arc::clone(&metrics), stop.clone());
        agent.modems.spawn(reconciler.run());
        tracing::info!(gateway = %fleet.gateway, modems = fleet.modems.len(), http = %fleet.http.listen, "running");
        systemd::ready();
        Ok(agent)
    }

    /// Starts what goes on by itself: the signals' history, the watchdog, the books, telemetry.
    fn keep(&mut self, app: App) {
        let (queue, stop) = (self.queue.clone(), self.stop.clone());
        self.services.spawn(async move {
            systemd::feed_watchdog(&queue, &stop).await;
            Ok(())
        });
        if let Some(books) = self.books.clone() {
            let stop = self.stop.clone();
            self.services.spawn(async move {
                books.keep(&stop).await;
                Ok(())
            });
        }
        for teller in telemetry::tellers(&app.fleet, &app.view) {
            let stop = self.stop.clone();
            self.services.spawn(async move {
                teller.run(stop).await;
                Ok(())
            });
        }
        self.services.spawn(async move {
            app.history.keep(&app.view, &app.stop).await;
            Ok(())
        });
    }

    async fn listen_mqtt(
        &mut self,
        config: Option<&config::MqttListener>,
        app: &App,
    ) -> anyhow::Result<()> {
        let Some(config) = config else { return Ok(()) };
        let users = Users::read(&config.users).context("could not read hand_in.mqtt.users")?;
        let serving = mqtt::Serving::new(
            app.hand_in.clone(),
            app.downlink.clone(),
            users,
            Arc::clone(&app.metrics),
            self.stop.clone(),
        );
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("could not listen on {} for MQTT", config.listen))?;
        self.services.spawn(async move {
            mqtt::listen(listener, serving).await;
            Ok(())
        });
        Ok(())
    }

    /// Looks on USB for the modems that are wanted there.
    fn discover(
        &mut self,
        fleet: &Fleet,
        catalog: &Arc<Catalog>,
        metrics: &Arc<Metrics>,
        wanted: Vec<discovery::Wanted>,
        sightings: watch::Sender<Sightings>,
    ) {
        let search = discovery::Search {
            catalog: Arc::clone(catalog),
            wanted,
            fixed: fleet::fixed(fleet),
            is_thorough: false,
            sightings,
            metrics: Arc::clone(metrics),
        };
        self.services.spawn(discovery::run(search, self.stop.clone()));
    }

    async fn listen(&mut self, config: &config::Http, app: &App) -> anyhow::Result<()> {
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("could not listen on {}", config.listen))?;
        let (router, stop) = (http::router(app.clone()), self.stop.clone());
        self.services.spawn(async move {
            http::serve(listener, router, stop).await.context("the HTTP server failed")
        });
        let handed = systemd::handed_over().context("the service manager's socket")?;
        let listener = match (handed, &config.socket) {
            (Some(listener), _) => UnixListener::from_std(listener).context("the API socket")?,
            (None, Some(path)) => http::bind_socket(path)
                .await
                .with_context(|| format!("could not listen on {}", path.display()))?,
            (None, None) => return Ok(()),
        };
        // Who may open the socket may use the API: its permissions are the authority.
        let router = http::router(App { token: None, ..app.clone() });
        let stop = self.stop.clone();
        self.services.spawn(async move {
            http::serve_socket(listener, router, stop).await.context("the API socket failed")
        });
        Ok(())
    }

    /// Waits until a part ends that never should.
    async fn failed(&mut self) -> anyhow::Error {
        match self.services.join_next().await {
            Some(Ok(Ok(()))) => anyhow!("a part of the agent ended by itself"),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => anyhow!(panic).context("a part of the agent panicked"),
            None => std::future::pending().await,
        }
    }

    /// Stops intake, signs every session out, and closes the queue; each within its time.
    async fn end(&mut self) {
        self.stop.cancel();
        let modems = async { while self.modems.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace, modems).await.is_err() {
            tracing::warn!(
                "the grace time is over; sessions that are still open end without DISCONNECT"
            );
            self.modems.shutdown().await;
        }
        // What the last publishes came to is still on its way from the sessions to the queue.
        let services = async { while self.services.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ACKS, services).await.is_err() {
            self.services.shutdown().await;
        }
        if let Some(books) = &self.books {
            books.save().await;
        }
        if tokio::time::timeout(CLOSE_QUEUE, self.queue.close()).await.is_err() {
            tracing::warn!("the disk did not take the last commit in time");
        }
    }
}
