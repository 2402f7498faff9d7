//! A laboratory of real processes: mosquitto, simulated modems, the agent. All end when it is
//! dropped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// The time in which a process must be ready.
const START: Duration = Duration::from_secs(10);

/// Clock ticks a second in `/proc/PID/stat`; the kernel's user interface has 100 on all machines.
const TICKS: f64 = 100.0;

/// A child process that ends with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = format!("{command:?}");
        Ok(Self(command.spawn().with_context(|| format!("cannot start {shown}"))?))
    }
}

impl Process {
    /// Kills it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Returns a figure of its memory (`VmRSS`, `VmHWM`) in MiB (proc(5)).
    pub(crate) fn resident(&self, what: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(figure.with_context(|| format!("the system reports no {what}"))? / 1024.0)
    }

    /// Returns its user and system time so far, in seconds (proc(5), fields 14 and 15 of `stat`).
    pub(crate) fn processor(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, after_name) = stat.rsplit_once(')').context("no process name in stat")?;
        let fields = after_name.split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Takes its standard output, if it is piped and not yet taken.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Takes its standard input, if it is piped and not yet taken.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Returns the bytes that it wrote so far (proc(5)). Works until the process is waited for, so
    /// also after its end.
    pub(crate) fn written(&self) -> anyhow::Result<Written> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.0.id()))?;
        let figure = |name: &str| -> anyhow::Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            Ok(line.with_context(|| format!("the system reports no {name}"))?.parse()?)
        };
        Ok(Written { calls: figure("wchar")?, storage: figure("write_bytes")? })
    }

    /// Sends SIGTERM and waits until the process has ended, but leaves its figures to be read.
    pub(crate) fn end(&self, limit: Duration) -> anyhow::Result<()> {
        let id = self.0.id();
        let asked = Command::new("kill").arg(id.to_string()).status()?;
        ensure!(asked.success(), "process {id} cannot be asked to end");
        wait_until("the agent ends", limit, || self.is_over())
    }

    /// Reports whether it has ended, without waiting for it.
    pub(crate) fn is_over(&self) -> bool {
        // `PID (NAME) STATE …`: Z until the process is waited for.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    }
}

/// The bytes that a process wrote.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    /// By its calls, to files, sockets and pipes alike (`wchar`).
    pub(crate) calls: u64,
    /// In pages that the system must write to storage (`write_bytes`).
    pub(crate) storage: u64,
}

/// Runs the queue's own measurement; returns the two numbers that it prints, as soon as they are
/// there.
pub(crate) fn queue_bench(words: &[&str]) -> anyhow::Result<((u64, u64), Process)> {
    let program = crate::step::target().join("release/examples/bench");
    let mut process = Process::start(Command::new(program).args(words).stdout(Stdio::piped()))?;
    let out = process.0.stdout.take().context("the measurement has no output")?;
    let line = BufReader::new(out).lines().next().context("the measurement printed nothing")??;
    let mut numbers = line.split(' ').filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(one), Some(other)) => Ok(((one, other), process)),
        _ => anyhow::bail!("the measurement printed {line:?}"),
    }
}

/// A connection to the agent, kept from one request to the next.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(http: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(http)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a POST, and returns the status of the answer.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.post_with(path, "", body)
    }

    /// As [`post`](Self::post), with more headers, each with its line end.
    pub(crate) fn post_with(
        &mut self,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<u16> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the agent closed the connection");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if status.is_none() {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        self.0.read_exact(&mut vec![0; length])?;
        status.context("no HTTP status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker in its own folder.
pub(crate) struct Lab {
    dir: PathBuf,
    broker: SocketAddr,
    _mosquitto: Process,
}

impl Lab {
    /// Starts a broker on a free port.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with_broker("")
    }

    /// As [`new`](Self::new), with more lines for the broker's file.
    pub(crate) fn with_broker(more: &str) -> anyhow::Result<Self> {
        Self::below(&std::env::temp_dir(), more)
    }

    /// As [`with_broker`](Self::with_broker), in the given folder.
    pub(crate) fn below(folder: &Path, more: &str) -> anyhow::Result<Self> {
        let dir = folder.join(format!("modemfleet-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let broker = free_port()?;
        let config = dir.join("mosquitto.conf");
        let text = format!(
            "listener {} {}\nallow_anonymous true\nmax_queued_messages 0\n{more}",
            broker.port(),
            broker.ip()
        );
        fs::write(&config, text)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("mosquitto");
        // Debian installs it in a system folder.
        command.env("PATH", format!("{path}:/usr/sbin")).arg("-c").arg(config).current_dir(&dir);
        let log = File::create(dir.join("mosquitto.log"))?;
        let mosquitto = Process::start(command.stdout(log.try_clone()?).stderr(log))?;
        wait_until("the broker listens", START, || TcpStream::connect(broker).is_ok())?;
        Ok(Self { dir, broker, _mosquitto: mosquitto })
    }

    /// The broker's address.
    pub(crate) fn broker(&self) -> SocketAddr {
        self.broker
    }

    /// Makes a subscription whose client is away, so that the broker must keep messages.
    pub(crate) fn offline_subscriber(&self, filter: &str) -> anyhow::Result<()> {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", &self.broker.ip().to_string(), "-p", &self.broker.port().to_string()]);
        command.args(["-q", "1", "-t", filter, "-i", "bench-offline", "-c", "-E"]);
        ensure!(command.status()?.success(), "mosquitto_sub failed");
        Ok(())
    }

    /// Returns a path in the laboratory's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts simulated SIM7600s behind `sim/modem0`, `sim/modem1` …
    pub(crate) fn sim(&self, count: usize, more: &[String]) -> anyhow::Result<Process> {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        self.sims("sim", count, self.broker, &more)
    }

    /// Starts one modem behind `FOLDER/modem0`, whose network leads to this address.
    pub(crate) fn sim_in(
        &self,
        folder: &str,
        broker: SocketAddr,
        more: &[&str],
    ) -> anyhow::Result<Process> {
        self.sims(folder, 1, broker, more)
    }

    fn sims(
        &self,
        folder: &str,
        count: usize,
        broker: SocketAddr,
        more: &[&str],
    ) -> anyhow::Result<Process> {
        let folder = self.path(folder);
        // The link of an earlier modem that was killed: another pty may have the number of its tty
        // by now.
        let _ = fs::remove_file(folder.join("modem0"));
        let mut command = binary();
        command.args(["sim", "--model", "sim7600", "--count", &count.to_string()]);
        command.args(["--broker", &broker.to_string(), "--dir"]).arg(folder).args(more);
        let mut process = Process::start(command.stdout(Stdio::piped()))?;
        let out = process.0.stdout.take().context("the simulator has no output")?;
        for line in BufReader::new(out).lines().take(count) {
            line.context("the simulator ended at once")?;
        }
        Ok(process)
    }

    /// Starts the agent on this many modems. `filter` is its log filter; the log is JSON in
    /// `agent.log`.
    pub(crate) fn agent(&self, modems: usize, poll: &str, filter: &str) -> anyhow::Result<Agent> {
        self.agent_with(modems, poll, filter, "")
    }

    /// As [`agent`](Self::agent), with more keys for each session, such as `, reconnect_max: 2s`.
    pub(crate) fn agent_with(
        &self,
        modems: usize,
        poll: &str,
        filter: &str,
        session: &str,
    ) -> anyhow::Result<Agent> {
        self.agent_on(free_port()?, modems, poll, filter, session)
    }

    /// As [`agent_with`](Self::agent_with), at a given address.
    pub(crate) fn agent_on(
        &self,
        http: SocketAddr,
        modems: usize,
        poll: &str,
        filter: &str,
        session: &str,
    ) -> anyhow::Result<Agent> {
        self.agent_of(http, &self.fleet(http, modems, poll, session), filter)
    }

    /// Returns the fleet file of [`agent_on`](Self::agent_on), to which lines may be added.
    pub(crate) fn fleet(
        &self,
        http: SocketAddr,
        modems: usize,
        poll: &str,
        session: &str,
    ) -> String {
        let mut fleet = format!(
            "gateway: bench\nhttp: {{ listen: \"{http}\" }}\nqueue: {{ path: {}, max_bytes: 1GiB }}\n\
             brokers:\n  lab: {{ url: \"mqtt://{}\" }}\nmodems:\n",
            self.path("queue").display(),
            self.broker
        );
        for modem in 0..modems {
            let port = self.path("sim").join(format!("modem{modem}"));
            fleet += &format!(
                "  m{modem}:\n    match: {{ port: {} }}\n    poll: {poll}\n    sessions: {{ lab: {{ broker: lab{session} }} }}\n",
                port.display()
            );
        }
        fleet
    }

    /// Starts the agent on a given fleet file, which must name `http` as its address.
    pub(crate) fn agent_of(
        &self,
        http: SocketAddr,
        fleet: &str,
        filter: &str,
    ) -> anyhow::Result<Agent> {
        self.agent_by(binary(), "agent", http, fleet, filter)
    }

    /// As [`agent_of`](Self::agent_of), by a command that ends with the program. `name` is for its
    /// fleet file and log.
    pub(crate) fn agent_by(
        &self,
        mut command: Command,
        name: &str,
        http: SocketAddr,
        fleet: &str,
        filter: &str,
    ) -> anyhow::Result<Agent> {
        let file = self.path(&format!("{name}.yaml"));
        fs::write(&file, fleet)?;
        let log = self.path(&format!("{name}.log"));
        command.args(["run", "--log-format", "json", "--log", filter, "--config"]).arg(file);
        let process = Process::start(command.stderr(File::create(&log)?))?;
        wait_until("the agent listens", START, || TcpStream::connect(http).is_ok())?;
        Ok(Agent { http, log, process })
    }

    /// Writes every message of `filter` to a file, one `topic payload` a line.
    pub(crate) fn subscriber(&self, filter: &str) -> anyhow::Result<(Process, PathBuf)> {
        self.subscriber_of(filter, "%t %p")
    }

    /// Writes every message as `seconds topic payload`, with the time of its arrival.
    pub(crate) fn timed_subscriber(&self, filter: &str) -> anyhow::Result<(Process, PathBuf)> {
        self.subscriber_of(filter, "%U %t %p")
    }

    fn subscriber_of(&self, filter: &str, format: &str) -> anyhow::Result<(Process, PathBuf)> {
        let path = self.path("received.txt");
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", &self.broker.ip().to_string(), "-p", &self.broker.port().to_string()]);
        command.args(["-q", "1", "-t", filter, "-F", format, "-i", "bench-subscriber", "-c"]);
        let process = Process::start(command.stdout(File::create(&path)?))?;
        thread_sleep(Duration::from_millis(300)); // its SUBSCRIBE has no sign that we could see
        Ok((process, path))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running agent.
pub(crate) struct Agent {
    http: SocketAddr,
    log: PathBuf,
    process: Process,
}

impl Agent {
    /// Hands in `count` messages of QoS 1 on `topic/N`, eight at a time, and returns the duration.
    pub(crate) fn hand_in(
        &self,
        topic: &str,
        payload: &[u8],
        count: usize,
    ) -> anyhow::Result<Duration> {
        let started = now();
        thread::scope(|scope| {
            let worker = |first: usize| {
                scope.spawn(move || -> anyhow::Result<()> {
                    for number in (first..count).step_by(8) {
                        let path = format!("/api/v1/publish?topic={topic}/{number}");
                        let (status, body) = self.request("POST", &path, payload)?;
                        ensure!(status == 202, "a message was answered {status}: {body}");
                    }
                    Ok(())
                })
            };
            let workers: Vec<_> = (0..8).map(worker).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?
            })
        })?;
        Ok(started.elapsed())
    }

    /// Returns the bytes of one scrape, as Prometheus reads it.
    pub(crate) fn scrape(&self) -> anyhow::Result<usize> {
        let (status, text) = self.request("GET", "/metrics", b"")?;
        ensure!(status == 200, "/metrics was answered {status}");
        Ok(text.len())
    }

    /// Returns the sum of each family's samples, by name and by `name{labels}`.
    pub(crate) fn metrics(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let (status, text) = self.request("GET", "/metrics", b"")?;
        ensure!(status == 200, "/metrics was answered {status}");
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or_default();
            samples.insert(name.to_owned(), value);
            let family = name.split('{').next().unwrap_or(name);
            if family != name {
                *samples.entry(family.to_owned()).or_default() += value;
            }
        }
        Ok(samples)
    }

    /// Returns the number of publishes that ended with `result`, over all modems.
    pub(crate) fn publishes(&self, result: &str) -> anyhow::Result<f64> {
        let wanted = format!("result=\"{result}\"");
        let all = self.metrics()?;
        let of = |name: &str| {
            name.starts_with("modemfleet_mqtt_publishes_total{") && name.contains(&wanted)
        };
        Ok(all.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum())
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// The address of its HTTP server.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
        request(self.http, method, path, body)
    }
}

/// Sends a request to an HTTP server of this machine, and returns status and body.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    asked(TcpStream::connect(server)?, method, path, body)
}

/// As [`request`], given up if the connection, or the next part of the answer, takes longer than
/// `limit`.
pub(crate) fn request_within(
    limit: Duration,
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    let stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    asked(stream, method, path, body)
}

fn asked(
    mut stream: TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    stream.set_nodelay(true)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((status.context("no HTTP status")?, body.unwrap_or_default()))
}

/// Returns the command of the release binary.
pub(super) fn binary() -> Command {
    Command::new(crate::step::target().join("release/modemfleet"))
}

/// Returns an unused port.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until `holds` returns true, checked every few milliseconds.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let started = now();
    while !holds() {
        ensure!(started.elapsed() < limit, "waited {limit:?} until {what}, in vain");
        thread_sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Returns the lines of a file so far.
pub(crate) fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(text.lines().map(str::to_owned).collect())
}

#[expect(clippy::disallowed_methods, reason = "times real programs; there is no clock to pause")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "waits for real programs, on a thread of its own")]
pub(crate) fn thread_sleep(time: Duration) {
    thread::sleep(time);
}
