//! The running agent: its parts put together, and taken apart in order.

mod reload;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::inbox::Inbox;
use anyhow::{Context, anyhow};
use modem::Catalog;
use modem::environment::Environment;
use modem::session::Stagger;
use modem::turns::Turns;
use prometheus::core::Collector;
use queue::Queue;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::activity::Activities;
use crate::budget::Books;
use crate::chronicle::Chronicle;
use crate::http::{
    self, App, Console, Door, Gate, Listings, Places, Receipts, Reloading, Status, Streams, Tokens,
};
use crate::logging::Log;
use crate::messages::downlink::Downlink;
use crate::messages::forward;
use crate::messages::forward::{Adopter, Adoption, Forwarding};
use crate::messages::hand_in::HandIn;
use crate::metrics::Metrics;
use crate::metrics::process::Process;
use crate::metrics::scrape::Figures;
use crate::modems::devices::Devices;
use crate::modems::factory::{ModemFactory, NewModem, RunningModem, fixed};
use crate::modems::ledger::FileLedger;
use crate::modems::reconcile::{Order, Reconciler};
use crate::mqtt::{self, Users};
use crate::now::{Now, View};
use crate::recover::Recoverer;
use crate::reload::{Contents, Planner, Reloads, Request};
use crate::upkeep::follow::Follower;
use crate::upkeep::systemd::{self, Handed};
use crate::upkeep::telemetry;
use crate::upkeep::telemetry::TelemetryTasks;
use discovery::{Sightings, WantedModems};
use fleet::Fleet;
use fleet::models::Library;

/// The longest time for forwarders and servers to end once the modems have.
const LAST_ACKS: Duration = Duration::from_secs(1);

/// The longest time for the queue and the inbox to close at the end: one commit.
const CLOSE_QUEUE: Duration = Duration::from_secs(5);

/// The parts with which an agent starts.
pub struct Start {
    /// The fleet file, which is read again at a reload.
    pub file: PathBuf,
    /// This gateway's name, if it was given.
    pub gateway: Option<String>,
    /// Its contents now.
    pub fleet: Fleet,
    /// The models' files, which are read again at a reload.
    pub library: Library,
    /// All models.
    pub catalog: Catalog,
    /// The queue, open.
    pub queue: Queue,
    /// The inbox, if the fleet has one.
    pub inbox: Option<Inbox>,
    /// The log.
    pub log: Log,
}

/// The inputs of a reload.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) file: PathBuf,
    pub(crate) gateway: Option<String>,
    pub(crate) library: Library,
}

/// The values that are applied now, each watched by the parts that it concerns.
pub(crate) struct Applied {
    pub(crate) now: watch::Sender<Arc<Now>>,
    pub(crate) wanted: watch::Sender<WantedModems>,
    pub(crate) tokens: watch::Sender<Tokens>,
    pub(crate) users: watch::Sender<Users>,
    /// The contents of the secrets when they were applied.
    pub(crate) contents: watch::Sender<Contents>,
    /// All models, for those who meet a modem.
    pub(crate) catalog: watch::Sender<Arc<Catalog>>,
}

/// The modems that run.
pub(crate) struct ModemTasks {
    /// Their reconciler: they sign their sessions out when they are asked to stop.
    tasks: JoinSet<()>,
    /// The channel by which it is ordered.
    pub(crate) orders: mpsc::Sender<Order>,
    /// The agent's end of each.
    pub(crate) running: BTreeMap<String, RunningModem>,
}

impl ModemTasks {
    /// Runs a modem that was made.
    pub(crate) async fn start(&mut self, made: NewModem) {
        let NewModem { view, modem, running } = made;
        let (name, modem) = (view.name.clone(), Box::new(modem));
        let order = Order::Start { name, modem, stop: running.stop.clone() };
        self.running.insert(view.name, running);
        // Its end is that of the agent.
        drop(self.orders.send(order).await);
    }

    /// Waits for the end of all, which are asked to stop before; those that take longer than `grace` are ended.
    async fn end(&mut self, grace: Duration) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!("the grace time is over; open sessions end without DISCONNECT");
            self.tasks.shutdown().await;
        }
    }

    /// Returns the modems that discovery is to look for.
    pub(crate) fn wanted(&self, fleet: &Fleet) -> WantedModems {
        let wanted = |modem: &fleet::Modem| self.running.get(modem.name.as_str())?.wanted.clone();
        let modems = fleet.modems.iter().filter_map(wanted).collect();
        WantedModems { modems, fixed: fixed(fleet) }
    }
}

/// The running agent.
pub struct Agent {
    pub(crate) sources: Sources,
    pub(crate) applied: Applied,
    pub(crate) modems: ModemTasks,
    stop: CancellationToken,
    /// Servers, and tasks that go on by themselves: they end when they are asked to.
    services: JoinSet<anyhow::Result<()>>,
    pub(crate) forwarding: Forwarding,
    pub(crate) adopter: Adopter,
    telemetry: TelemetryTasks,
    /// The parts with which modems are made.
    pub(crate) factory: ModemFactory,
    pub(crate) view: View,
    requests: mpsc::Receiver<Request>,
}

/// Opens the count of each SIM's bytes, if a modem has a budget.
///
/// # Errors
/// The system's error if the count that was kept cannot be read.
pub(crate) fn open_books(fleet: &Fleet) -> io::Result<Option<Arc<Books>>> {
    if fleet.modems.iter().all(|modem| modem.budget.is_none()) {
        return Ok(None);
    }
    Books::open(&fleet.queue.path, &fleet.modems).map(Some)
}

/// Listens on a unix socket, unless the service manager does.
async fn bound(path: &Path, handed: &mut Handed) -> anyhow::Result<UnixListener> {
    if let Some(listener) = handed.socket(path).context("the service manager's socket")? {
        return Ok(listener);
    }
    let listener = http::bind_socket(path).await;
    listener.with_context(|| format!("could not listen on {}", path.display()))
}

/// Adds the collectors that are read at each scrape.
fn register(factory: &ModemFactory, view: &View) -> prometheus::Result<()> {
    let mut collectors: Vec<Box<dyn Collector>> =
        vec![Box::new(view.clone()), Box::new(Process::new())];
    if let Some(inbox) = factory.downlink.inbox() {
        collectors.push(Box::new(Figures::new(inbox.clone())?));
    }
    let registry = factory.metrics.registry();
    collectors.into_iter().try_for_each(|collector| registry.register(collector))
}

impl Agent {
    /// Starts all parts.
    ///
    /// # Errors
    /// The reason for which one of them cannot start; those that did end when this is dropped.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        let Start { file, gateway, fleet, library, catalog, queue, inbox, log } = start;
        let reading = fleet.clone();
        let contents = tokio::task::spawn_blocking(move || Contents::of(&reading)).await?;
        let stop = CancellationToken::new();
        let (now, watched) =
            watch::channel(Arc::new(Now { fleet, modems: Vec::new(), waiting: Vec::new() }));
        let (catalog, models) = watch::channel(Arc::new(catalog));
        let factory = factory(&now.borrow().fleet, models, inbox, &stop)?;
        let view = View::new(watched, queue.clone());
        register(&factory, &view).context("the metrics of this build are broken")?;
        let (reconciler, orders) = Reconciler::new(Arc::clone(&factory.metrics), stop.clone());
        let (reloads, requests) = Reloads::new();
        let forwarding = Forwarding::new(queue, Arc::clone(&factory.metrics), stop.clone());
        let mut agent = Self {
            sources: Sources { file, gateway, library },
            applied: Applied {
                now,
                wanted: watch::Sender::default(),
                tokens: watch::Sender::default(),
                users: watch::Sender::default(),
                contents: watch::Sender::new(contents),
                catalog,
            },
            modems: ModemTasks { tasks: JoinSet::new(), orders, running: BTreeMap::new() },
            adopter: Adopter::new(view.clone(), forwarding.held(), stop.clone()),
            stop,
            services: JoinSet::new(),
            forwarding,
            telemetry: TelemetryTasks::default(),
            factory,
            view,
            requests,
        };
        let (sightings, sighted) = watch::channel(Sightings::default());
        let made = agent.populate().await?;
        let app = agent.app(log, reloads, sighted);
        let fleet = agent.view.now();
        let fleet = &fleet.fleet;
        agent
            .applied
            .tokens
            .send_replace(Tokens::read(&fleet.http).context("could not read the tokens")?);
        let mut handed = Handed::take().context("the service manager's sockets")?;
        let places = Places::new(Arc::clone(&agent.factory.metrics));
        agent.listen(&fleet.http, &mut handed, &app, &places).await?;
        agent.listen_mqtt(fleet.mqtt.as_ref(), &mut handed, &app).await?;
        for socket in handed.rest().context("the service manager's sockets")? {
            agent.serve_socket(socket, &app, &places, Door::Socket);
        }
        agent.keep(app);
        agent.tell();
        agent.modems.tasks.spawn(reconciler.run());
        for made in made {
            agent.modems.start(made).await;
        }
        agent.applied.wanted.send_replace(agent.modems.wanted(fleet));
        agent.discover(sightings);
        tracing::info!(gateway = %fleet.gateway, modems = fleet.modems.len(), http = %fleet.http.listen, "running");
        systemd::ready();
        Ok(agent)
    }

    /// Makes the modems, and forwards to their sessions; none is opened yet.
    async fn populate(&mut self) -> anyhow::Result<Vec<NewModem>> {
        let fleet = self.view.now().fleet.clone();
        let made = fleet.modems.iter().map(|modem| self.factory.modem(modem));
        let made: Vec<NewModem> =
            made.collect::<Result<_, _>>().context("could not read a secret")?;
        // Many messages may wait in lanes that are gone: they are looked at while all else serves.
        let mut adoption = Adoption::new(&self.view.queue, &fleet);
        self.forwarding.hold(adoption.hold());
        let modems: Vec<_> = made.iter().map(|made| made.view.clone()).collect();
        self.forwarding.start(forward::plan(&fleet, &modems));
        let waiting = self.forwarding.waiting();
        self.applied.now.send_replace(Arc::new(Now { fleet, modems, waiting }));
        self.adopter.begin(adoption);
        Ok(made)
    }

    fn app(&self, log: Log, reloads: Reloads, sighted: watch::Receiver<Sightings>) -> App {
        let ModemFactory { metrics, downlink, .. } = &self.factory;
        let (view, metrics, stop) = (self.view.clone(), Arc::clone(metrics), self.stop.clone());
        let tokens = self.applied.tokens.subscribe();
        let planner = Planner::new(
            view.clone(),
            self.sources.gateway.clone(),
            self.sources.library.clone(),
            self.applied.catalog.subscribe(),
            self.applied.contents.subscribe(),
            stop.clone(),
        );
        App {
            gate: Gate::new(tokens.clone(), view.clone(), Arc::clone(&metrics), stop.clone()),
            hand_in: HandIn::new(view.clone(), Arc::clone(&metrics), stop.clone()),
            receipts: Receipts::new(view.queue.clone(), self.forwarding.given()),
            streams: Streams::new(downlink.clone(), stop),
            status: Status::new(view.clone(), tokens),
            devices: Devices::new(sighted, &view, &metrics),
            listings: Listings::default(),
            console: Console::new(self.factory.env.catalog.borrow().commands()),
            reloading: Reloading::new(reloads, planner),
            log,
            view,
            metrics,
            chronicle: self.factory.activities.chronicle.clone(),
        }
    }

    /// Starts the tasks that go on by themselves: the signals' history, the watchdog, the books.
    fn keep(&mut self, app: App) {
        let (queue, stop) = (self.view.queue.clone(), self.stop.clone());
        self.services.spawn(async move {
            systemd::feed_watchdog(&queue, &stop).await;
            Ok(())
        });
        self.keep_books();
        self.keep_chronicle();
        let App { gate, status, .. } = app;
        self.services.spawn(async move {
            gate.report().await;
            Ok(())
        });
        let stop = self.stop.clone();
        self.services.spawn(async move {
            status.keep(&stop).await;
            Ok(())
        });
    }

    /// Starts the telemetry of the modems that have it.
    pub(crate) fn tell(&mut self) {
        let now = self.view.now();
        self.telemetry.set(telemetry::tasks(&now.fleet, &now.modems), &self.stop);
    }

    /// Keeps the books up to date, if there are any.
    pub(crate) fn keep_books(&mut self) {
        let Some(books) = self.factory.books.clone() else { return };
        let stop = self.stop.clone();
        self.services.spawn(async move {
            books.keep(&stop).await;
            Ok(())
        });
    }

    /// Notes what happens, and keeps it on disk.
    fn keep_chronicle(&mut self) {
        let chronicle = self.factory.activities.chronicle.clone();
        let (writer, stop) = (chronicle.clone(), self.stop.clone());
        self.services.spawn(async move {
            writer.keep(&stop).await;
            Ok(())
        });
        let (view, stop) = (self.view.clone(), self.stop.clone());
        self.services.spawn(async move {
            Follower(chronicle).follow(&view, &stop).await;
            Ok(())
        });
    }

    async fn listen_mqtt(
        &mut self,
        config: Option<&fleet::MqttListener>,
        handed: &mut Handed,
        app: &App,
    ) -> anyhow::Result<()> {
        let Some(config) = config else { return Ok(()) };
        let users = Users::read(&config.users).context("could not read hand_in.mqtt.users")?;
        self.applied.users.send_replace(users);
        let serving = mqtt::Serving::new(
            app.hand_in.clone(),
            self.factory.downlink.clone(),
            self.applied.users.subscribe(),
            Arc::clone(&app.metrics),
            self.stop.clone(),
        );
        let listener = handed
            .listen(config.listen)
            .await
            .with_context(|| format!("could not listen on {} for MQTT", config.listen))?;
        self.services.spawn(async move {
            mqtt::listen(listener, serving).await;
            Ok(())
        });
        Ok(())
    }

    /// Looks on USB for the modems that are wanted there.
    fn discover(&mut self, sightings: watch::Sender<Sightings>) {
        let search = discovery::Search {
            catalog: self.applied.catalog.subscribe(),
            wanted: self.applied.wanted.subscribe(),
            is_thorough: false,
            sightings,
        };
        self.services.spawn(discovery::run(search, self.stop.clone()));
    }

    async fn listen(
        &mut self,
        config: &fleet::Http,
        handed: &mut Handed,
        app: &App,
        places: &Places,
    ) -> anyhow::Result<()> {
        let listener = handed
            .listen(config.listen)
            .await
            .with_context(|| format!("could not listen on {}", config.listen))?;
        let (router, stop) = (http::router(app.clone()), self.stop.clone());
        let all = places.clone();
        self.services.spawn(async move {
            http::serve(listener, router, all, stop).await;
            Ok(())
        });
        let doors = [(&config.socket, Door::Socket), (&config.publish_socket, Door::PublishSocket)];
        for (path, door) in doors {
            if let Some(path) = path {
                self.serve_socket(bound(path, handed).await?, app, places, door);
            }
        }
        Ok(())
    }

    /// Serves a unix socket. Its permissions are the authority for what its callers may do.
    fn serve_socket(&mut self, listener: UnixListener, app: &App, places: &Places, door: Door) {
        let gate = app.gate.clone().at(door);
        let (router, stop) = (http::router(App { gate, ..app.clone() }), self.stop.clone());
        let places = places.clone();
        self.services.spawn(async move {
            http::serve_socket(listener, door, router, places, stop).await;
            Ok(())
        });
    }

    /// Waits until there is a request, or a part ends that never should.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn happens(&mut self) -> Result<Request, anyhow::Error> {
        // All arms are cancel safe, and none awaits in its body.
        tokio::select! {
            Some(request) = self.requests.recv() => Ok(request),
            Some(ended) = self.services.join_next() => Err(match ended {
                Ok(Ok(())) => anyhow!("a part of the agent ended unexpectedly"),
                Ok(Err(error)) => error,
                Err(panic) => anyhow!(panic).context("a part of the agent panicked"),
            }),
            failed = self.forwarding.failed() => Err(failed),
            failed = self.adopter.failed() => Err(failed),
            failed = self.telemetry.failed() => Err(failed),
        }
    }

    /// Stops intake, signs every session out, and closes the queue; each within its time.
    pub async fn end(&mut self) {
        let chronicle = self.factory.activities.chronicle.clone();
        chronicle.ending();
        self.stop.cancel();
        let grace = self.view.now().fleet.shutdown_grace;
        self.modems.end(grace).await;
        self.adopter.stop().await;
        // The results of the last publishes are still on their way from the sessions to the queue.
        let (services, forwarding) = (&mut self.services, &mut self.forwarding);
        let ended = async {
            let services = async { while services.join_next().await.is_some() {} };
            tokio::join!(services, forwarding.all_ended());
        };
        if tokio::time::timeout(LAST_ACKS, ended).await.is_err() {
            self.services.shutdown().await;
            self.forwarding.shutdown().await;
        }
        if let Some(books) = &self.factory.books {
            books.save().await;
        }
        let close_inbox = async {
            if let Some(inbox) = self.factory.downlink.inbox() {
                inbox.close().await;
            }
        };
        let closed = async { tokio::join!(self.view.queue.close(), close_inbox, chronicle.save()) };
        if tokio::time::timeout(CLOSE_QUEUE, closed).await.is_err() {
            tracing::warn!("the disk did not store the last commit in time");
        }
    }
}

/// The parts with which modems are made.
fn factory(
    fleet: &Fleet,
    catalog: watch::Receiver<Arc<Catalog>>,
    inbox: Option<Inbox>,
    stop: &CancellationToken,
) -> anyhow::Result<ModemFactory> {
    let metrics = Metrics::new().context("the metrics of this build are broken")?;
    let ledger = FileLedger::new(&fleet.queue.path);
    let env = Environment {
        catalog,
        stagger: Stagger::new(),
        ledger: Arc::new(ledger.clone()),
        turns: Turns::new(),
        privileged: Arc::new(Recoverer::new(fleet.privileged.clone())),
        stop: stop.clone(),
    };
    let books = open_books(fleet).with_context(|| {
        format!("could not read the budget's account in {}", fleet.queue.path.display())
    })?;
    let downlink = Downlink::new(Arc::clone(&metrics), inbox);
    let activities = Activities::new(Chronicle::open(&fleet.queue.path));
    Ok(ModemFactory { env, ledger, metrics, activities, downlink, books })
}
