//! Shared parts of the simulator's tests: a host at the other end of the wire, and brokers.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "every test file uses a part of this, and a test fails by panicking"
)]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use modem_sim::{Handle, Model, Modem, Options};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    task::JoinSet,
    time::{Duration, timeout},
};

/// Longer than any step here takes, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// Longer than any time-out of the modem, on a paused clock.
const LONG: Duration = Duration::from_secs(200);

/// The host's end of an AT port.
pub struct Host<W = DuplexStream> {
    pub wire: W,
    pub seen: Vec<u8>,
}

impl<W: AsyncRead + AsyncWrite + Unpin> Host<W> {
    pub fn new(wire: W) -> Self {
        Self { wire, seen: Vec::new() }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = self.wire.read(&mut buffer).await.unwrap_or(0);
        self.seen.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads until `end` has arrived, and returns everything up to and with it.
    pub async fn until(&mut self, end: impl AsRef<[u8]>) -> Vec<u8> {
        self.within(PATIENCE, end.as_ref()).await
    }

    /// Reads likewise on a paused clock, for lines after the modem's time-outs.
    pub async fn until_timed_out(&mut self, end: &str) -> Vec<u8> {
        self.within(LONG, end.as_bytes()).await
    }

    async fn within(&mut self, patience: Duration, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|window| window == end) {
                return self.seen.drain(..at + end.len()).collect();
            }
            let more = timeout(patience, self.more()).await;
            assert!(
                matches!(more, Ok(true)),
                "no {:?} in {:?}",
                String::from_utf8_lossy(end),
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// Reads until both have arrived, in either order.
    pub async fn both(&mut self, one: &str, other: &str) -> String {
        let mut all = self.until("\r\n").await;
        let has = |all: &[u8], end: &str| all.windows(end.len()).any(|w| w == end.as_bytes());
        while !(has(&all, one) && has(&all, other)) {
            all.extend(self.until("\r\n").await);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Sends a command and returns the answer up to and with `end`, as text.
    pub async fn ask(&mut self, command: &str, end: &str) -> String {
        self.write(format!("{command}\r")).await;
        let answer = self.until(end).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a command that is answered by a bare `OK`.
    pub async fn ok(&mut self, command: &str) {
        let answer = self.ask(command, "OK\r\n").await;
        assert_eq!(answer, "\r\nOK\r\n", "{command}");
    }

    /// Sends a command, data at its prompt, and expects `OK`.
    pub async fn fill(&mut self, command: &str, data: impl AsRef<[u8]>) {
        assert_eq!(self.ask(command, ">").await, "\r\n>", "{command}");
        self.write(data).await;
        assert_eq!(self.until("OK\r\n").await, b"\r\nOK\r\n", "{command}");
    }

    /// Asserts that nothing arrives for a while.
    pub async fn silent(&mut self, time: Duration) {
        drop(timeout(time, async { while self.more().await {} }).await);
        assert_eq!(String::from_utf8_lossy(&self.seen), "");
    }

    /// Runs START up to a connected client 0, echo off.
    pub async fn connect(&mut self, id: &str) {
        self.write("ATE0\r").await;
        self.until("OK\r\n").await;
        self.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
        self.ok(&format!("AT+CMQTTACCQ=0,\"{id}\",0,4")).await;
        self.ask(CONNECT, "+CMQTTCONNECT: 0,0\r\n").await;
    }

    /// Runs TOPIC, PAYLOAD and PUB with quality 1, up to `OK`.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.fill(&format!("AT+CMQTTTOPIC=0,{}", topic.len()), topic).await;
        if !payload.is_empty() {
            self.fill(&format!("AT+CMQTTPAYLOAD=0,{}", payload.len()), payload).await;
        }
        self.write("AT+CMQTTPUB=0,1,60\r").await;
    }
}

pub const CONNECT: &str = "AT+CMQTTCONNECT=0,\"tcp://broker.example.com:1883\",60,1";

/// A running modem.
pub struct Bench {
    pub handle: Handle,
    pub tasks: JoinSet<()>,
}

/// Runs a modem in memory.
pub fn in_memory(options: Options) -> (Bench, Host) {
    let (ours, theirs) = duplex(64 * 1024);
    let modem = Modem::new(options).on_stream(theirs);
    let handle = modem.handle();
    let mut tasks = JoinSet::new();
    tasks.spawn(modem.run());
    (Bench { handle, tasks }, Host::new(ours))
}

pub fn sim7600() -> Options {
    Options::new(Model::Sim7600)
}

/// A mosquitto on a port of its own, killed on drop.
pub struct Broker {
    pub address: String,
    child: Child,
    dir: TempDir,
}

impl Broker {
    /// Starts a broker that accepts every client.
    pub async fn open() -> Self {
        Self::start("allow_anonymous true\n").await
    }

    /// Starts a broker with a single user.
    pub async fn with_password(user: &str, password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .args([file.as_os_str(), user.as_ref(), password.as_ref()])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        readable(&file);
        let lines = format!("allow_anonymous false\npassword_file {}\n", file.display());
        Self::start_in(dir, &lines).await
    }

    /// Starts a broker with these files beside its configuration, whose lines may name their folder.
    pub async fn with_files(files: &[(&str, &str)], lines: impl FnOnce(&str) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
            readable(&dir.path().join(name));
        }
        let lines = lines(dir.path().to_str().unwrap());
        Self::start_in(dir, &lines).await
    }

    async fn start(lines: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), lines).await
    }

    async fn start_in(dir: TempDir, lines: &str) -> Self {
        // As root the broker changes its user, and that user needs access to the folder.
        readable(dir.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("conf");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\n{lines}")).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        let broker = Self { address: format!("127.0.0.1:{port}"), child, dir };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(&broker.address).await.is_ok() {
                return broker;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("mosquitto did not start");
    }

    pub fn options(&self) -> Options {
        Options { broker: Some(self.address.clone()), ..sim7600() }
    }
}

fn readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Another client of the broker, subscribed to everything.
pub struct Peer {
    client: AsyncClient,
    events: EventLoop,
}

impl Peer {
    pub async fn new(broker: &Broker) -> Self {
        let (host, port) = broker.address.split_once(':').unwrap();
        let mut options = MqttOptions::new("peer", host, port.parse().unwrap());
        options.set_max_packet_size(100_000, 100_000);
        let (client, events) = AsyncClient::new(options, 16);
        client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
        let mut peer = Self { client, events };
        while !matches!(peer.next().await, Packet::SubAck(_)) {}
        peer
    }

    async fn next(&mut self) -> Packet {
        loop {
            let event = timeout(PATIENCE, self.events.poll()).await.unwrap().unwrap();
            if let Event::Incoming(packet) = event {
                return packet;
            }
        }
    }

    /// Returns the next message.
    pub async fn message(&mut self) -> (String, Vec<u8>, bool) {
        loop {
            if let Packet::Publish(publish) = self.next().await {
                return (publish.topic, publish.payload.to_vec(), publish.dup);
            }
        }
    }

    /// Publishes, and waits until the message has left.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(self.next().await, Packet::PubAck(_)) {}
    }
}
