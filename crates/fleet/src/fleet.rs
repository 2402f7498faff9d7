//! The checked fleet, for the rest of the agent. Its values need no further checks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
pub use modem::Recovery;
pub use modem::attach::ApnProtocol;
pub use modem::mqtt::Qos;
use modem::mqtt::Triple;
pub use modem::reply::PdpType;
use modem::serial::Line;
pub use queue::{Fsync, WhenFull};
use secrecy::SecretString;

pub use super::name::Name;
use super::template::Template;
use super::tls::Tls;
use super::topic::topic_matches;
use crate::aliyun;
use crate::secret::{Ref, SecretError};

/// The id of a session: `modem/session`, unique within a fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The modem it runs on.
    pub modem: Name,
    /// Its name on that modem.
    pub session: Name,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.modem, self.session)
    }
}

/// The whole file, checked. Equal fleets have the same settings; see [`Ref`] on rotated secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The gateway's name: `gateway`, or the first label of the host name.
    pub gateway: Name,
    /// The longest time for an orderly end.
    pub shutdown_grace: Duration,
    /// The HTTP listener.
    pub http: Http,
    /// The store.
    pub queue: Queue,
    /// The store of received messages, if there is one.
    pub inbox: Option<Inbox>,
    /// The MQTT listener for local applications, if there is one.
    pub mqtt: Option<MqttListener>,
    /// The unix socket of the service that resets USB devices and runs power scripts.
    pub privileged: PathBuf,
    /// The modems in file order.
    pub modems: Vec<Modem>,
    /// The routes in file order, see [`Fleet::routes`].
    pub routes: Vec<Route>,
}

impl Fleet {
    /// The routes in file order, of which the first that matches counts. Without `routes` in the
    /// file there is one: `#` over all sessions in file order.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route that `topic` takes.
    pub fn route(&self, topic: &str) -> Option<&Route> {
        self.routes.iter().find(|route| topic_matches(&route.topic, topic))
    }

    /// All sessions, modem by modem in file order.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.modems.iter().flat_map(|modem| &modem.sessions)
    }
}

/// `http`: metrics, health, status page, API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The TCP address; beyond loopback only with a `token`.
    pub listen: SocketAddr,
    /// Host names in requests over TCP, in lower case, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The token of the API's callers.
    pub token: Option<Ref>,
    /// The token of callers that may only publish; not without `token`.
    pub publish_token: Option<Ref>,
    /// A unix socket for the API, at most 107 bytes long.
    pub socket: Option<PathBuf>,
    /// A unix socket for callers that may only publish.
    pub publish_socket: Option<PathBuf>,
}

impl Http {
    /// Reports whether other machines may reach it.
    pub fn is_open(&self) -> bool {
        !self.listen.ip().is_loopback()
    }
}

/// `hand_in.mqtt`: the MQTT listener for local applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttListener {
    /// The TCP address; beyond loopback only with users.
    pub listen: SocketAddr,
    /// The users that may connect, by name; everyone if it is empty.
    pub users: Vec<(String, Ref)>,
}

/// `queue`: the durable store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its folder or file.
    pub path: PathBuf,
    /// The most bytes of messages, at least 1 MiB.
    pub max_bytes: u64,
    /// The most messages; `None`: as many as fit into `max_bytes`.
    pub max_messages: Option<u64>,
    /// The age at which a message is dropped.
    pub max_age: Option<Duration>,
    /// The treatment of a message that no longer fits.
    pub when_full: WhenFull,
    /// The time at which written messages reach the disk.
    pub fsync: Fsync,
}

impl Queue {
    /// The queue's settings, for opening it.
    pub fn config(&self) -> queue::Config {
        queue::Config {
            max_bytes: self.max_bytes,
            max_messages: self.max_messages,
            max_age: self.max_age,
            when_full: self.when_full,
            fsync: self.fsync,
            ..queue::Config::new(&self.path)
        }
    }
}

/// `inbox`: the store of received messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    /// Its folder.
    pub path: PathBuf,
    /// The most bytes of messages, at least 1 MiB.
    pub max_bytes: u64,
    /// The age at which a message is dropped, and the time for which an absent reader is remembered.
    pub max_age: Duration,
    /// The longest time for which an absent client's session is kept.
    pub session_expiry: Duration,
}

impl Inbox {
    /// The inbox's settings, for opening it.
    pub fn config(&self) -> inbox::Config {
        inbox::Config {
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            session_expiry: self.session_expiry,
            ..inbox::Config::new(&self.path, topic_matches)
        }
    }
}

/// One modem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modem {
    /// Its name in the fleet.
    pub name: Name,
    /// The device.
    pub matching: Match,
    /// The access point; the modem's own setting if it is absent.
    pub apn: Option<Apn>,
    /// The SIM's PIN, 4 to 8 digits.
    pub pin: Option<Ref>,
    /// The rule for foreign networks.
    pub roaming: Roaming,
    /// The owner of radio and access point.
    pub radio: Owner,
    /// The time between two readings of signal and registration.
    pub poll: Duration,
    /// The owner of text messages.
    pub sms: Owner,
    /// The settings of its tty, if that is a UART.
    pub line: Line,
    /// The bytes that its SIM may carry.
    pub budget: Option<Budget>,
    /// The steps against a modem that stops answering.
    pub recovery: Recovery,
    /// Its state as messages, by one of its sessions.
    pub telemetry: Option<Telemetry>,
    /// Its MQTT sessions in file order.
    pub sessions: Vec<Session>,
}

/// `budget`: the bytes that the SIM of a modem may carry from one reset to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The bytes from one reset to the next, at least 1 kB.
    pub bytes: u64,
    /// The day of the month on which the count restarts, 1 to 31; the last day of a shorter month.
    pub reset_day: u8,
    /// The time zone of that day.
    pub time_zone: TimeZone,
    /// The percent from which log, status and metrics show a warning.
    pub warn: u8,
    /// The percent from which messages of a low priority wait.
    pub shed: Option<Shed>,
    /// The percent from which all messages wait; `None`: never.
    pub stop: Option<u8>,
    /// Messages of at least this priority pass after `stop`; `None`: none.
    pub urgent: Option<u8>,
}

/// `telemetry`: the state of a modem as messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// The session of this modem that carries it.
    pub session: Name,
    /// The topic of the state, without variables.
    pub topic: String,
    /// The time between two messages, 1 s to 1 d.
    pub every: Duration,
    /// The quality of service of all its messages.
    pub qos: Qos,
    /// True if the broker keeps the state.
    pub retain: bool,
    /// The topic of `online`, and of `offline` by the will of the session.
    pub status: Option<String>,
}

/// When messages of a low priority begin to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// The percent of the budget.
    pub at: u8,
    /// Those below this priority.
    pub below_priority: u8,
}

/// `match`: all keys that are given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The tty, an absolute path. With `usb_path` it must be a port of that device.
    pub port: Option<PathBuf>,
    /// The device's USB port: bus and ports, such as `1-1.2`.
    pub usb_path: Option<String>,
    /// The device's IMEI, 15 digits.
    pub imei: Option<String>,
    /// The SIM's number, 18 to 20 digits, in rare cases with letters.
    pub iccid: Option<String>,
    /// The beginning of the model's name in any case, without `SIMCOM_`.
    pub model: Option<String>,
}

/// An access point of a mobile network. Every text may be quoted into an AT command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apn {
    /// Its name, at most 100 bytes.
    pub name: String,
    /// The user, if the network asks for one.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Ref>,
    /// The kind of addresses; none keeps that of a context of this name.
    pub kind: Option<PdpType>,
    /// The protocol for user and password; none: CHAP with a user, and no protocol without one.
    pub auth: Option<ApnProtocol>,
    /// The number of its context, 1 to 15.
    pub cid: u8,
}

/// The rule for foreign networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roaming {
    /// Registration abroad (stat 5) is not used.
    #[default]
    Deny,
    /// It is used like home.
    Allow,
}

/// The owner of a part of the modem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// The agent, if needed.
    #[default]
    Ours,
    /// Another program: the agent leaves the part as it is.
    Leave,
}

/// One MQTT session inside a modem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// The broker's name in the file.
    pub broker: Name,
    /// The login.
    pub access: Access,
    /// TLS; none: plain TCP.
    pub tls: Option<Tls>,
    /// Whole seconds, 1 to 64,800; 30 to 1,200 for Alibaba Cloud.
    pub keep_alive: Duration,
    /// True if the broker forgets the session at its end.
    pub clean_session: bool,
    /// The longest wait before a reconnect, 1 s to 1 h; the first is about 1 s.
    pub reconnect_max: Duration,
    /// The message that the broker publishes when the session is lost.
    pub will: Option<Will>,
    /// The subscriptions, no filter twice.
    pub subscribe: Vec<Subscription>,
    /// Variables for the topics of routes; for Alibaba Cloud `product_key` and `device_name` as well.
    pub vars: BTreeMap<String, String>,
}

/// The login of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A plain MQTT broker.
    Plain {
        /// Its host name or IPv4 address.
        host: String,
        /// Its port.
        port: u16,
        /// At most 128 bytes.
        client_id: String,
        /// At most 256 bytes.
        username: Option<String>,
        /// At most 256 bytes; only with a user name.
        password: Option<Ref>,
    },
    /// Alibaba Cloud: the client id, user name and password are computed.
    Aliyun {
        /// The device.
        device: aliyun::Device,
        /// The options of the signature.
        options: aliyun::Options,
        /// Its secret.
        secret: Ref,
        /// True if the modem computes them, and not the agent.
        modem_signs: bool,
    },
}

/// The values of a CONNECT. All may be quoted into an AT command. `Debug` hides the password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Host name or IPv4 address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Client id, at most 128 bytes.
    pub client_id: String,
    /// User name, at most 256 bytes.
    pub username: Option<String>,
    /// Password, at most 256 bytes.
    pub password: Option<SecretString>,
    /// The values from which the modem makes user name and password, if the modem signs.
    pub triple: Option<Triple>,
    /// The TLS of the connection.
    pub tls: Option<modem::tls::Tls>,
}

/// The reason why a session cannot sign in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Its secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A value cannot be signed.
    #[error(transparent)]
    Field(#[from] aliyun::FieldError),
}

impl Modem {
    /// The secrets that it reads, without those of its sessions.
    pub fn secrets(&self) -> Vec<&Ref> {
        let password = self.apn.as_ref().and_then(|apn| apn.password.as_ref());
        self.pin.iter().chain(password).collect()
    }
}

impl Session {
    /// The secrets that it reads.
    pub fn secrets(&self) -> Vec<&Ref> {
        let signs_in = match &self.access {
            Access::Plain { password, .. } => password.as_ref(),
            Access::Aliyun { secret, .. } => Some(secret),
        };
        let files = self.tls.iter().flat_map(Tls::files);
        signs_in.into_iter().chain(files).collect()
    }

    /// Host and port of the broker.
    pub fn address(&self) -> (String, u16) {
        match &self.access {
            Access::Plain { host, port, .. } => (host.clone(), *port),
            Access::Aliyun { device, options, .. } => device.address(options),
        }
    }

    /// The client id as it is sent.
    pub fn client_id(&self) -> String {
        match &self.access {
            Access::Plain { client_id, .. } => client_id.clone(),
            Access::Aliyun { device, options, .. } => device.client_id(options),
        }
    }

    /// Reads secret and certificates, and returns the values of a CONNECT. Reads files: call it only if
    /// blocking is allowed, before each connect, so that a rotated secret is taken up.
    ///
    /// # Errors
    /// [`LoginError::Secret`] if the secret is missing or no longer usable.
    pub fn login(&self) -> Result<Login, LoginError> {
        let tls = self.tls.as_ref().map(Tls::read).transpose()?;
        match &self.access {
            Access::Plain { host, port, client_id, username, password } => Ok(Login {
                host: host.clone(),
                port: *port,
                client_id: client_id.clone(),
                username: username.clone(),
                password: password.as_ref().map(Ref::read).transpose()?,
                triple: None,
                tls,
            }),
            Access::Aliyun { device, options, secret, modem_signs: true } => {
                let (host, port) = device.address(options);
                let (product_key, device_name) = (device.product_key(), device.device_name());
                let triple = Triple {
                    product_key: product_key.to_owned(),
                    device_name: device_name.to_owned(),
                    device_secret: secret.read()?,
                };
                let client_id = options.client_id.as_deref().unwrap_or(device_name).to_owned();
                let (username, password) = (None, None);
                Ok(Login { host, port, client_id, username, password, triple: Some(triple), tls })
            }
            Access::Aliyun { device, options, secret, modem_signs: false } => {
                let signed = device.sign(&secret.read()?, options)?;
                Ok(Login {
                    host: signed.host,
                    port: signed.port,
                    client_id: signed.client_id,
                    username: Some(signed.username),
                    password: Some(signed.password),
                    triple: None,
                    tls,
                })
            }
        }
    }
}

/// A last will. Topic and payload have 1 to 1,024 bytes (AT+CMQTTWILLTOPIC, AT+CMQTTWILLMSG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// A topic without wildcards.
    pub topic: String,
    /// The payload.
    pub payload: String,
    /// Quality of service.
    pub qos: Qos,
    /// True if the broker keeps the message.
    pub retain: bool,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// A checked topic filter.
    pub filter: String,
    /// The highest quality of service asked for.
    pub qos: Qos,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A checked topic filter.
    pub topic: String,
    /// The sessions, the preferred one first; every one exists, none twice.
    pub to: Vec<SessionId>,
    /// The way in which they share the work.
    pub policy: Policy,
    /// The topic that is published instead of the message's own.
    pub publish_as: Option<Template>,
    /// A path that went down and came back is preferred again only after it held for so long.
    pub hold_down: Duration,
    /// True if a preferred path that came back is used again while the other works.
    pub fail_back: bool,
    /// After this long without a result a message goes to the next path.
    pub stall: Duration,
    /// A name for people.
    pub name: Option<Name>,
    /// The batches of its messages; without it each message is a publish of its own.
    pub batch: Option<Batch>,
}

/// `batch`: several messages of one topic as one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The form of a batch.
    pub format: BatchFormat,
    /// The most messages, 2 to 256.
    pub max_messages: usize,
    /// The most bytes, as long as a single message is not longer; at least 128.
    pub max_bytes: usize,
    /// The time for which a message waits for others, 10 ms to 4 min.
    pub max_delay: Duration,
    /// True if each message carries its id.
    pub ids: bool,
}

/// The form of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// A JSON array of payloads, each of which is JSON.
    JsonArray,
    /// A payload on each line.
    Lines,
}

impl BatchFormat {
    /// All formats with their words.
    pub const ALL: [(&'static str, Self); 2] =
        [("json_array", Self::JsonArray), ("lines", Self::Lines)];
}

/// The use of a route's sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The first session that can; the next if it cannot.
    #[default]
    Failover,
    /// By topic, each session its share; one that goes is replaced by the next in the list.
    Spread,
    /// A copy to each.
    All,
}

impl Policy {
    /// All policies with their words.
    pub const ALL: [(&'static str, Self); 3] =
        [("failover", Self::Failover), ("spread", Self::Spread), ("all", Self::All)];
}
