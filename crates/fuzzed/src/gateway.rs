//! A gateway without hardware: the parts of the agent that serve local applications, on a queue in memory.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use agent::activity::Activities;
use agent::messages::downlink::Downlink;
use agent::messages::hand_in::HandIn;
use agent::metrics::Metrics;
use agent::modems::factory::ModemFactory;
use agent::modems::ledger::FileLedger;
use agent::now::{Now, View};
use agent::recover::Recoverer;
use fleet::{Context, Fleet, Secrets, topic_matches};
use modem::environment::Environment;
use modem::session::Stagger;
use modem::turns::Turns;
use modem::{Catalog, Modem};
use queue::{Fsync, Queue, WhenFull};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::place::folder;

/// Bytes of messages that its queue holds: few, so that an input that reads them all is fast.
const QUEUE: u64 = 256 << 10;

/// The text of its fleet file except for the queue's place.
const FLEET: &str = r#"
gateway: g
brokers:
  b: { url: "mqtt://broker.example" }
modems:
  m: { match: { port: /dev/null }, sessions: { s: { broker: b }, t: { broker: b } } }
routes:
  - { topic: "all/#", to: [m/s, m/t], policy: all }
  - { topic: "one/+", to: [m/t] }
  - { topic: "a/#", to: [m/s, m/t], policy: spread }
"#;

/// The parts of the gateway; the modems are never opened.
pub(crate) struct Gateway {
    pub(crate) view: View,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) downlink: Downlink,
    pub(crate) catalog: Catalog,
    /// Modems that live without running: a question to them is answered that they are absent.
    _modems: Vec<Modem>,
    _now: watch::Sender<Arc<Now>>,
    _folder: TempDir,
}

impl Gateway {
    pub(crate) fn new(has_inbox: bool) -> Self {
        let folder = folder();
        let fleet = fleet(folder.path());
        let queue = open_queue(&fleet);
        let inbox = has_inbox.then(|| {
            let config = inbox::Config::new(folder.path().join("inbox"), topic_matches);
            inbox::Inbox::open(config).expect("a new inbox")
        });
        let catalog = catalog().clone();
        let (now, watched) =
            watch::channel(Arc::new(Now { fleet, modems: Vec::new(), waiting: Vec::new() }));
        let metrics = Metrics::new().expect("good names");
        let downlink = Downlink::new(Arc::clone(&metrics), inbox);
        let factory = ModemFactory {
            ledger: FileLedger::new(folder.path()),
            env: environment(&catalog, folder.path()),
            metrics: Arc::clone(&metrics),
            downlink: downlink.clone(),
            books: None,
            activities: Activities::default(),
        };
        let fleet = now.borrow().fleet.clone();
        let made = fleet.modems.iter().map(|modem| factory.modem(modem).expect("no secrets"));
        let (modems, _modems) = made.map(|made| (made.view, made.modem)).unzip();
        now.send_replace(Arc::new(Now { fleet, modems, waiting: Vec::new() }));
        let view = View::new(watched, queue);
        Self { view, metrics, downlink, catalog, _modems, _now: now, _folder: folder }
    }

    pub(crate) fn hand_in(&self, stop: &CancellationToken) -> HandIn {
        HandIn::new(self.view.clone(), Arc::clone(&self.metrics), stop.clone())
    }

    /// Waits until the threads of queue and inbox have done all earlier work.
    pub(crate) async fn settle(&self) {
        drop(self.view.queue.lease("no such lane", 1).await);
        if let Some(inbox) = self.downlink.inbox() {
            drop(inbox.forget("no such reader").await);
        }
    }

    pub(crate) async fn close(&self) {
        self.view.queue.close().await;
        if let Some(inbox) = self.downlink.inbox() {
            inbox.close().await;
        }
    }
}

/// Returns the models of this build; reading them takes longer than most inputs.
fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    CATALOG.get_or_init(|| Catalog::new(&plugins).expect("the models of this build"))
}

fn fleet(folder: &Path) -> Fleet {
    let text = format!("{FLEET}\nqueue: {{ path: {}/queue }}\n", folder.display());
    let context = Context { secrets: Secrets::Skip, ..Context::default() };
    match fleet::parse("fleet.yaml", text.into_bytes(), &context) {
        Ok(loaded) => loaded.fleet,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

fn open_queue(fleet: &Fleet) -> Queue {
    let config = queue::Config {
        max_bytes: QUEUE,
        when_full: WhenFull::DropOldest,
        fsync: Fsync::Off,
        check: None,
        ..queue::Config::new(&fleet.queue.path)
    };
    Queue::open(config).expect("a new queue")
}

fn environment(catalog: &Catalog, folder: &Path) -> Environment {
    Environment {
        catalog: watch::channel(Arc::new(catalog.clone())).1,
        stagger: Stagger::new(),
        ledger: Arc::new(FileLedger::new(folder)),
        turns: Turns::new(),
        privileged: Arc::new(Recoverer::new(folder.join("recover"))),
        stop: CancellationToken::new(),
    }
}
