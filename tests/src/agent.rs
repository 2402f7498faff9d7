//! The agent under test: its fleet file, its process, its metrics.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::binary::modemfleet;
use crate::http::Http;
use crate::metrics::Scrape;
use crate::port::Port;
use crate::process::Process;
use crate::wait::{PATIENCE, until, within};

/// The place of an agent: its folder, port and fleet file. Several agents may run there one after
/// another, on the same queue.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    port: Port,
    /// Further keys of `queue:`, each with a comma before it.
    pub queue: String,
    /// Further keys of `http:`, each with a comma before it.
    pub http: String,
    /// The rest of the fleet file: brokers, modems, routes.
    pub body: String,
    /// The filter of the log.
    pub log: String,
    /// The program; `modemfleet` if `None`.
    pub program: Option<PathBuf>,
    /// Further arguments of `run`.
    pub arguments: Vec<String>,
    /// Further variables of the agent's environment.
    pub environment: Vec<(String, PathBuf)>,
}

impl Site {
    /// Makes a folder and reserves a port, with no fleet yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            port: Port::free(),
            queue: String::new(),
            http: String::new(),
            body: String::new(),
            log: "debug".to_owned(),
            program: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port of the agent's HTTP server.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Writes a secret that only its owner may read, and returns its path.
    #[must_use]
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes the fleet file and returns its path.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        let path = self.dir().join("fleet.yaml");
        let Self { queue, http, body, .. } = self;
        let (port, folder) = (self.port(), self.dir().join("queue"));
        let head = format!(
            "gateway: gw\nhttp: {{ listen: \"127.0.0.1:{port}\"{http} }}\nqueue: {{ path: {}{queue} }}\n",
            folder.display()
        );
        fs::write(&path, head + body).unwrap();
        path
    }

    /// Starts an agent, and does not wait for it.
    #[must_use]
    pub fn spawn(&self) -> Agent {
        let program = self.program.as_deref().unwrap_or_else(|| modemfleet());
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(self.file()).args(["--log", &self.log]);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        let process = Process::start("agent", &mut command);
        Agent { process, http: Http::new(self.port()) }
    }

    /// Starts an agent and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Agent {
        let mut agent = self.spawn();
        until("the agent", || {
            let ended = agent.process.ended();
            assert!(ended.is_none(), "the agent ended: {:?}", agent.process.stderr());
            agent.http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 200)
        });
        agent
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// The HTTP server.
    pub http: Http,
}

impl Agent {
    /// Returns the metrics, parsed strictly.
    ///
    /// # Panics
    /// If they are not well formed.
    #[must_use]
    #[track_caller]
    pub fn scrape(&self) -> Scrape {
        let answer = self.http.get("/metrics");
        Scrape::parse(&answer.text()).unwrap_or_else(|fault| panic!("/metrics: {fault}"))
    }

    /// Returns the sum of all samples of this name that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.scrape().sum(name, labels)
    }

    /// Reports whether a session is connected.
    #[must_use]
    pub fn is_connected(&self, modem: &str, session: &str) -> bool {
        let labels = [("modem", modem), ("session", session)];
        self.sum("modemfleet_mqtt_connected", &labels) > 0.5
    }

    /// Waits for a session to connect.
    ///
    /// # Panics
    /// If it does not connect in time.
    #[track_caller]
    pub fn connected(&self, modem: &str, session: &str) {
        until(&format!("{modem}/{session} to connect"), || {
            self.is_connected(modem, session).then_some(())
        });
    }

    /// Returns the number of messages in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        let held = self.sum("modemfleet_queue_messages", &[]);
        // A small whole number: its text is the same as float and as integer.
        held.to_string().parse().unwrap()
    }

    /// Waits until the queue is empty.
    ///
    /// # Panics
    /// If it is not empty in time.
    #[track_caller]
    pub fn drained(&self) {
        assert!(self.drained_within(PATIENCE), "{} messages are still queued", self.queued());
    }

    /// Waits until the queue is empty; returns `false` if the limit passes first.
    #[must_use]
    pub fn drained_within(&self, limit: Duration) -> bool {
        within(limit, || (self.queued() == 0).then_some(())).is_some()
    }

    /// Hands a message in, and expects the status 202.
    ///
    /// # Panics
    /// On any other answer.
    #[track_caller]
    pub fn publish(&self, query: &str, payload: &[u8]) {
        let answer = self.http.publish(query, payload);
        assert_eq!(answer.status, 202, "{query}: {}", answer.text());
    }

    /// Returns the log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr().join("\n")
    }
}
