//! The demo: a broker, two SIM7600 and a SIM8200, the unmodified agent, load, faults, and a tally.
//!
//! Broker, modems, sensors and subscriber live in this process; the agent runs in its own process.
//! The tally alone shows if a message was lost. It compares the messages answered with 202 and
//! those that reached a subscriber of the broker.

mod agent;
mod broker;
mod client;
mod load;
mod news;
mod place;
mod reading;
mod screen;
mod script;
mod subscriber;
mod tally;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use modem_sim::{Fleet, FleetOptions, Handle, Member, Model, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use agent::AgentProcess;
use broker::Broker;
use load::Source;
use news::News;
use place::Folder;
use reading::Reading;
use screen::Screen;
use tally::Tally;

use api::client::Target;

/// The interval at which the table is redrawn.
const REDRAW: Duration = Duration::from_millis(500);

/// The time limit until the agent answers.
const START: Duration = Duration::from_secs(30);

/// The time limit for the remaining messages to arrive after the load ends: several times the delay
/// after which the agent switches to another path.
const DRAIN: Duration = Duration::from_secs(60);

/// The length of a round of faults if the demo has no end.
const ROUND: Duration = Duration::from_secs(30);

/// The delay of each answer of the modems, similar to modems on USB.
const LATENCY: Duration = Duration::from_millis(10);

/// Runs the demo for this time, or until it is interrupted. Returns true if no message was lost.
///
/// # Errors
/// The error of a part that could not be started or that failed. In every case no process and no
/// file is left behind.
///
/// # Cancel safety
/// Dropping it kills the agent and removes the folder.
pub async fn run(time: Option<Duration>) -> anyhow::Result<bool> {
    let signals = Signals::new().context("could not listen for signals")?;
    let mut demo = Demo::start(signals).await?;
    demo.introduce()?;
    let ended = match demo.play(time).await? {
        End::Over => demo.end_agent().await,
        End::Twice => Err(in_a_hurry()),
    };
    let balanced = demo.sum_up().context("could not write")?;
    ended.map(|()| balanced)
}

/// Returns the error for a second interruption: the demo stops at once, and the agent is killed.
fn in_a_hurry() -> anyhow::Error {
    anyhow!("interrupted again: stopped at once")
}

/// The way in which the demo ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As planned.
    Over,
    /// By a second signal.
    Twice,
}

/// The reason why a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Done,
    Late,
    Interrupted,
}

/// The next event.
enum Turn {
    News(News),
    Redraw,
    Interrupted,
    Ended,
    Failed(anyhow::Error),
    Late,
}

/// The running demo. The order of the fields is the order of drops: the agent goes before its
/// folder.
struct Demo {
    agent: AgentProcess,
    /// The faults. They end before the modems that they affect.
    script: JoinSet<()>,
    /// The sensors. They end when `stop` is cancelled.
    load: JoinSet<()>,
    /// Broker, modems, subscriber, reader. They run until they are dropped.
    parts: JoinSet<anyhow::Result<()>>,
    modems: Vec<Handle>,
    http: SocketAddr,
    broker: SocketAddr,
    outbox: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
    signals: Signals,
    screen: Screen,
    redraw: Interval,
    started: Instant,
    subscribed: bool,
    tally: Tally,
    reading: Option<Reading>,
    /// As [`Reading::queued`], but only from readings since the load ended.
    queued: Option<u64>,
    folder: Folder,
}

impl Demo {
    async fn start(signals: Signals) -> anyhow::Result<Self> {
        let started = Instant::now();
        let folder = Folder::new().context("could not make a folder for temporary files")?;
        let server = Broker::bind().await.context("could not start the broker")?;
        let (broker, http) = (server.address(), free_port().await.context("no free port")?);
        let (outbox, inbox) = mpsc::channel(news::DEPTH);
        let mut parts = JoinSet::new();
        endless(&mut parts, server.run());
        let members = modems(&folder, broker, &mut parts)?;
        let agent = start_agent(&folder, http, broker, &members)?;
        parts.spawn(subscriber::watch(broker, outbox.clone()));
        endless(&mut parts, reading::watch(target(http).client()?, outbox.clone()));
        Ok(Self {
            agent,
            script: JoinSet::new(),
            load: JoinSet::new(),
            parts,
            modems: members.into_iter().map(|member| member.handle).collect(),
            http,
            broker,
            outbox,
            inbox,
            signals,
            screen: Screen::new(),
            redraw: interval(REDRAW),
            started,
            subscribed: false,
            tally: Tally::default(),
            reading: None,
            queued: None,
            folder,
        })
    }

    /// Prints the parts of the demo and the commands to look at them.
    fn introduce(&mut self) -> io::Result<()> {
        let Self { http, broker, .. } = self;
        let agent = self.agent.id().map(|id| id.to_string()).unwrap_or_default();
        let text = format!(
            "page:    http://{http}/\n\
             metrics: curl -s http://{http}/metrics\n\
             modems:  curl -s http://{http}/api/v1/modems\n\
             publish: curl -X POST 'http://{http}/api/v1/publish?topic=hello' -d hi\n\
             watch:   mosquitto_sub -h {} -p {} -t '#' -v\n\
             started: an MQTT broker on {broker}; simulated modems north and south (SIM7600), east (SIM8200); \
             the agent (process {agent}), its files in {}",
            broker.ip(),
            broker.port(),
            self.folder.join("").display(),
        );
        self.screen.print(&text)
    }

    /// Runs load and faults, then waits until all messages arrived.
    async fn play(&mut self, time: Option<Duration>) -> anyhow::Result<End> {
        let ready = |demo: &Self| demo.subscribed && demo.reading.is_some();
        match self.until(Some(Instant::now() + START), ready).await? {
            Wait::Done => {}
            Wait::Late => bail!("the agent did not answer within {START:?}"),
            Wait::Interrupted => return Ok(End::Over),
        }
        let stop = CancellationToken::new();
        let source = Source::new(target(self.http), self.outbox.clone(), stop.clone());
        source.start(&mut self.load)?;
        let (round, again) = (time.unwrap_or(ROUND), time.is_none());
        let (modems, news) = (self.modems.clone(), self.outbox.clone());
        self.script.spawn(script::play(modems, round, again, news));

        self.until(time.map(|time| Instant::now() + time), |_| false).await?;
        stop.cancel();
        self.script.shutdown().await;
        script::restore(&self.modems).await;
        self.event("no more load: waiting until all messages have arrived")?;
        self.queued = None;
        let drained = |demo: &Self| {
            demo.load.is_empty() && demo.tally.missing() == 0 && demo.queued == Some(0)
        };
        match self.until(Some(Instant::now() + DRAIN), drained).await? {
            Wait::Done => Ok(End::Over),
            Wait::Interrupted => Ok(End::Twice),
            Wait::Late => {
                self.event(&format!("stopped waiting after {DRAIN:?}"))?;
                Ok(End::Over)
            }
        }
    }

    /// Asks the agent to end, and waits unless another signal comes.
    async fn end_agent(&mut self) -> anyhow::Result<()> {
        // The losing arm is no longer needed: after a signal the agent is given up.
        tokio::select! {
            ended = self.agent.end() => ended,
            () = self.signals.recv() => Err(in_a_hurry()),
        }
    }

    /// Counts messages until `done`, an interruption, or the deadline.
    async fn until(
        &mut self,
        deadline: Option<Instant>,
        done: fn(&Self) -> bool,
    ) -> anyhow::Result<Wait> {
        while !done(self) {
            match self.turn(deadline).await {
                Turn::News(news) => self.take(news).context("could not write")?,
                Turn::Redraw => self.show().context("could not write")?,
                Turn::Ended => {}
                Turn::Interrupted => return Ok(Wait::Interrupted),
                Turn::Late => return Ok(Wait::Late),
                Turn::Failed(error) => return Err(error),
            }
        }
        self.show().context("could not write")?;
        Ok(Wait::Done)
    }

    async fn turn(&mut self, deadline: Option<Instant>) -> Turn {
        let late = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        // All arms are cancel safe: an event that is not taken now stays for the next call.
        tokio::select! {
            Some(news) = self.inbox.recv() => Turn::News(news),
            _ = self.redraw.tick() => Turn::Redraw,
            () = self.signals.recv() => Turn::Interrupted,
            Some(ended) = self.load.join_next() => ended.map_or_else(part_failed, |()| Turn::Ended),
            Some(ended) = self.parts.join_next() => part_ended(ended),
            error = self.agent.ended() => Turn::Failed(error),
            () = late => Turn::Late,
        }
    }

    fn take(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Subscribed => self.subscribed = true,
            News::Accepted { number, print, at } => self.tally.accepted(number, print, at),
            News::Refused(why) => {
                self.tally.refused += 1;
                return self.event(&format!("not accepted: {why}"));
            }
            News::Arrived { number, print, at } => {
                self.tally.arrived(number, print, at);
                if self.tally.received == 1 && self.tally.duplicates == 0 {
                    return self.event("the first message is through");
                }
            }
            News::Read(reading) => return self.read(reading),
            News::Done(words) => return self.event(&words),
        }
        Ok(())
    }

    /// Takes over a reading, and prints the modems that changed.
    fn read(&mut self, reading: Reading) -> io::Result<()> {
        let before = self.reading.take().unwrap_or_default();
        for row in &reading.modems {
            let known = before.modems.iter().find(|known| known.name == row.name);
            let changed = known
                .is_none_or(|known| (&known.state, &known.session) != (&row.state, &row.session));
            if changed {
                self.event(&format!("{}: {}, session {}", row.name, row.state, row.session))?;
            }
        }
        self.queued = Some(reading.queued);
        self.reading = Some(reading);
        Ok(())
    }

    fn event(&mut self, text: &str) -> io::Result<()> {
        self.screen.event(self.started.elapsed(), text)
    }

    fn show(&mut self) -> io::Result<()> {
        let Some(reading) = &self.reading else { return Ok(()) };
        self.screen.show(self.started.elapsed(), &self.tally, reading)
    }

    /// Prints the final figures. Returns true if no message was lost.
    fn sum_up(&mut self) -> io::Result<bool> {
        let Tally { handed_in, refused, received, duplicates, damaged, .. } = self.tally;
        let lost = self.tally.missing();
        let reading = self.reading.clone().unwrap_or_default();
        let latency = |per_mille| match self.tally.latency(per_mille) {
            Some(latency) => format!("{:.3} s", latency.as_secs_f64()),
            None => "-".to_owned(),
        };
        let text = format!(
            "\npublished: {handed_in}\nacknowledged: {}\nreceived: {received}\nduplicates: {duplicates}\n\
             lost: {lost}\ndamaged: {damaged}\nnot accepted: {refused}\nlatency p50: {}\nlatency p99: {}\n\
             reconnects: {}\n{}",
            reading.acknowledged,
            latency(500),
            latency(990),
            reading.reconnects,
            verdict(handed_in, lost, damaged),
        );
        self.screen.print(&text)?;
        Ok(handed_in > 0 && lost == 0 && damaged == 0)
    }
}

fn verdict(handed_in: u64, lost: usize, damaged: u64) -> &'static str {
    match (handed_in, lost, damaged) {
        (0, ..) => "nothing was published",
        (_, 0, 0) => "nothing was lost",
        _ => "FAILED: not every message that was answered with 202 arrived unchanged",
    }
}

/// Starts two SIM7600 and one SIM8200 on ttys in the folder.
fn modems(
    folder: &Folder,
    broker: SocketAddr,
    parts: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    // In separate folders, since each fleet counts its links from 0.
    for (model, count, name) in [(Model::Sim7600, 2, "sim7600"), (Model::Sim8200, 1, "sim8200")] {
        let modem = Options {
            index: u32::try_from(members.len()).unwrap_or_default(),
            broker: Some(broker.to_string()),
            latency: LATENCY,
            ..Options::new(model)
        };
        let dir = Some(folder.join(name));
        let fleet = Fleet::new(&FleetOptions { modem, count, dir, ttys: Vec::new() })
            .context("could not make the simulated modems")?;
        members.extend(fleet.members().iter().cloned());
        endless(parts, fleet.run());
    }
    Ok(members)
}

fn start_agent(
    folder: &Folder,
    http: SocketAddr,
    broker: SocketAddr,
    members: &[Member],
) -> anyhow::Result<AgentProcess> {
    let [north, south, east] = members else { bail!("the modems are not three") };
    let fleet = place::fleet(folder, http, broker, [&north.tty, &south.tty, &east.tty]);
    let file = folder.join("fleet.yaml");
    std::fs::write(&file, fleet).context("could not write the fleet file")?;
    AgentProcess::start(&file, folder.join("agent.log"))
}

/// Starts a part that neither fails nor ends.
fn endless(
    parts: &mut JoinSet<anyhow::Result<()>>,
    part: impl Future<Output = ()> + Send + 'static,
) {
    parts.spawn(async move {
        part.await;
        Ok(())
    });
}

/// Returns the demo's agent as a target; the fleet file of an installed agent does not matter.
fn target(http: SocketAddr) -> Target {
    Target { url: Some(format!("http://{http}")), ..Target::default() }
}

/// Returns a free address of the loopback. If another program takes it before the agent does, the
/// agent reports that and the demo ends.
async fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

fn part_ended(ended: Result<anyhow::Result<()>, JoinError>) -> Turn {
    match ended {
        Ok(Ok(())) => Turn::Failed(anyhow!("a part of the demo ended unexpectedly")),
        Ok(Err(error)) => Turn::Failed(error),
        Err(panic) => part_failed(panic),
    }
}

fn part_failed(panic: JoinError) -> Turn {
    Turn::Failed(anyhow!(panic).context("a part of the demo panicked"))
}

/// The signals that end the demo: SIGINT (Ctrl-C), SIGTERM, and SIGHUP when the terminal closes.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next signal.
    async fn recv(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        // Cancel safe: a signal that is not taken now stays for the next call.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
