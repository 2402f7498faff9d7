//! A real broker on a port of its own, and another client of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than any step here takes, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The number of tries for a free port: another test may take the port before the broker does.
const PORT_TRIES: usize = 5;

/// A mosquitto that is killed on drop.
pub struct Broker {
    /// The port on the loopback.
    pub port: u16,
    child: Child,
    folder: TempDir,
}

impl Broker {
    /// Starts a broker that accepts every client.
    pub async fn open() -> Self {
        Self::start(tempfile::tempdir().unwrap(), "allow_anonymous true\n").await
    }

    /// Starts a broker that accepts a single user.
    pub async fn with_login(user: &str, password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .args([file.as_os_str(), user.as_ref(), password.as_ref()])
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("mosquitto_passwd is installed").success());
        let lines = format!("allow_anonymous false\npassword_file {}\n", file.display());
        Self::start(folder, &lines).await
    }

    /// Starts a broker with these lines in its file, which may name files of the folder.
    pub async fn start(folder: TempDir, lines: &str) -> Self {
        let program = if PathBuf::from("/usr/sbin/mosquitto").exists() {
            "/usr/sbin/mosquitto" // Debian's place, which is not in every user's PATH
        } else {
            "mosquitto"
        };
        let (config, log) = (folder.path().join("conf"), folder.path().join("log"));
        for _ in 0..PORT_TRIES {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // As root the broker would switch to its own user, who cannot read the folder.
            let text = format!(
                "user root\nlistener {port} 127.0.0.1\nset_tcp_nodelay true\nlog_type all\nlog_dest file {}\n{lines}",
                log.display()
            );
            std::fs::write(&config, text).unwrap();
            drop(std::fs::remove_file(&log)); // of a try before
            let mut child = Command::new(program)
                .arg("-c")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("mosquitto is installed");
            if runs(&log, &mut child).await {
                return Self { port, child, folder };
            }
            drop(child.kill());
            drop(child.wait());
        }
        panic!("mosquitto did not start");
    }

    /// Returns `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until the broker's log has these words.
    pub async fn logged(&self, words: &str) {
        let mut log = String::new();
        for _ in 0..400 {
            log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if log.contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the broker's log has no {words:?}:\n{log}");
    }

    /// Returns the number of times that the broker's log has these words.
    pub fn times_logged(&self, words: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.matches(words).count()
    }
}

/// Waits until this broker logs that it runs. An answer at the port is not a proof: it may come
/// from the broker of another test, which was quicker.
async fn runs(log: &Path, child: &mut Child) -> bool {
    for _ in 0..1_000 {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if std::fs::read_to_string(log).is_ok_and(|log| log.contains(" running")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    false
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Another client, subscribed to `up/#`.
pub struct Peer {
    client: AsyncClient,
    events: EventLoop,
}

impl Peer {
    /// Connects a client without a login.
    pub async fn new(broker: &Broker) -> Self {
        Self::login(broker, "up/#", None).await
    }

    /// Connects a client that subscribes to this filter, with user and password if the broker asks
    /// for them.
    pub async fn login(broker: &Broker, filter: &str, login: Option<(&str, &str)>) -> Self {
        let mut options = MqttOptions::new("peer", "127.0.0.1", broker.port);
        options.set_max_packet_size(100_000, 100_000);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, events) = AsyncClient::new(options, 16);
        client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
        let mut peer = Self { client, events };
        while !matches!(peer.next().await, Packet::SubAck(_)) {}
        peer
    }

    async fn next(&mut self) -> Packet {
        loop {
            let event = timeout(PATIENCE, self.events.poll()).await;
            if let Event::Incoming(packet) = event.expect("the broker says something").unwrap() {
                return packet;
            }
        }
    }

    /// Waits for the next message on `up/#`.
    pub async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.next().await {
                return publish;
            }
        }
    }

    /// Publishes, and waits until the broker has the message.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(self.next().await, Packet::PubAck(_)) {}
    }
}
