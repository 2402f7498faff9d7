//! The MQTT stack inside a modem: what every vendor's can do, and how it fails.

pub mod command;

use async_trait::async_trait;
use at::FinalCode;
use secrecy::SecretString;

pub use crate::message::{Client, Inbox, MAX_PAYLOAD, Message, NO_TOPIC, Qos, Received};
use crate::port::{At, ExchangeError};
use crate::reply::{CmeError, cme_advice};
use crate::tls::Tls;

/// What a session signs in with.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Host name or address of the broker.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// MQTT client id.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password; only with a user name (MQTT 3.1.1 §3.1.2.9).
    pub password: Option<SecretString>,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Whether the broker forgets the session's subscriptions at the end.
    pub clean_session: bool,
    /// What the broker publishes when the session ends without DISCONNECT.
    pub will: Option<Message>,
    /// How the connection is secured; none: plain TCP.
    pub tls: Option<Tls>,
    /// Another session of the modem waits while this one holds its stack: what takes long is given up sooner.
    pub is_shared: bool,
    /// The number of the packet data context that it runs over, for stacks that can be told.
    pub context: u8,
    /// What the modem makes user name and password of by itself, and the whole client id; those above are
    /// absent then, and [`Self::client_id`] is its bare part.
    pub triple: Option<Triple>,
}

/// A device of Alibaba Cloud. `Debug` hides the secret.
#[derive(Debug, Clone)]
pub struct Triple {
    /// Its product's key.
    pub product_key: String,
    /// Its name.
    pub device_name: String,
    /// Its secret.
    pub device_secret: SecretString,
}

/// How much of a failure is lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This message or command alone; the session stands.
    Message,
    /// The client is busy with an earlier operation: ask again later.
    Busy,
    /// The session: it must be closed and opened again.
    Session,
    /// The stack's network: the service must be restarted before any session opens.
    Service,
}

/// A result code of the modem's MQTT stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCode {
    /// As the modem prints it. -1 is a code as well: a failure of which the modem knows no more.
    pub number: i32,
    /// Its name in the vendor's manual.
    pub name: &'static str,
    /// What to try; empty where there is nothing better than to try again.
    pub advice: &'static str,
    /// What is lost.
    pub scope: Scope,
    /// The broker ended the session while it had the message: it may have been the message's fault.
    pub kick: bool,
    /// The stack's own trouble, and neither the broker's word nor the network's: a few in a row mean that the service
    /// is to be started again.
    pub own: bool,
}

impl std::fmt::Display for ResultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.number, self.name)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ": {}", self.advice) }
    }
}

/// Why an operation of the MQTT stack failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MqttError {
    /// The stack gave a result code.
    #[error("{operation} failed with code {code}")]
    Refused {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// What the stack said.
        code: ResultCode,
    },
    /// The modem refused and gave no code of its MQTT stack.
    #[error("the modem refused {operation} ({said}){}{advice}", if advice.is_empty() { "" } else { ": " })]
    NoCode {
        /// The command's name without `AT+`, and the setting where there are several.
        operation: &'static str,
        /// The modem's answer in the place of a code, in words.
        said: String,
        /// The usual cause, and what to try; empty if none is known.
        advice: &'static str,
    },
    /// A stack that has no codes refused.
    #[error("the modem refused {operation} (it gives no code): {advice}")]
    Uncoded {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// What is behind it as a rule, and what to try.
        advice: &'static str,
    },
    /// A stack that has no codes refused so late that it may have been its own time-out.
    #[error(
        "the modem gave {operation} up (it gives no code): the broker gave no answer in time, or the connection was lost"
    )]
    Unanswered {
        /// The command's name without `AT+`.
        operation: &'static str,
    },
    /// The firmware takes shorter client ids only.
    #[error(
        "the client id has {length} bytes, but this firmware takes at most {limit}; update the firmware or choose a shorter id"
    )]
    ClientIdTooLong {
        /// Bytes of the client id.
        length: usize,
        /// What the firmware takes.
        limit: usize,
    },
    /// The modem's command has no room for a value of this length.
    #[error("{what} has {length} bytes, but this modem takes {least} to {most}")]
    OutOfRange {
        /// Which value.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The fewest bytes it may have.
        least: usize,
        /// The most bytes it may have.
        most: usize,
    },
    /// The modem's command has no form for a value.
    #[error("{what} cannot be sent to this modem: {reason}")]
    Inexpressible {
        /// Which value.
        what: &'static str,
        /// What stands against it, in words.
        reason: &'static str,
    },
    /// The firmware answers before the broker has acknowledged, and cannot be told to wait: nobody would know
    /// whether a message arrived.
    #[error(
        "the modem refused {operation}, without which it does not report the broker's acknowledgements; if this lasts, its firmware needs an update"
    )]
    NoReceipts {
        /// The command's name without `AT+`.
        operation: &'static str,
    },
    /// The modem takes shorter files only.
    #[error(
        "the file for {option} has {length} bytes, but the modem takes at most {limit}; remove certificates that are not needed"
    )]
    FileTooLong {
        /// What it is for, in the words of the modem's setting.
        option: &'static str,
        /// Bytes of the file.
        length: usize,
        /// What the modem takes.
        limit: usize,
    },
    /// A file came to the modem otherwise than it was sent.
    #[error("the file for {option} arrived incomplete in the modem")]
    FileTorn {
        /// What it is for, in the words of the modem's setting.
        option: &'static str,
    },
    /// There is nothing to sign in with just now.
    #[error("nothing to sign in with: {reason}")]
    NoCredentials {
        /// Why, in words.
        reason: String,
    },
    /// The connection is to be secured, and this modem's dialect cannot do it.
    #[error(
        "TLS is not supported on this modem; use a broker with mqtt://, or a modem whose profile speaks TLS"
    )]
    NoTls,
    /// The modem is to sign in at Alibaba Cloud by itself, and its dialect or its firmware cannot do it.
    #[error(
        "this modem cannot sign in at Alibaba Cloud by itself; remove `aliauth`, and the agent signs"
    )]
    NoAliauth,
    /// The modem did not take what it is to sign in with, and gave no code. A firmware that cannot sign in
    /// answers so, and one that is busy too.
    #[error(
        "the modem refused {operation} and gave no code; if this lasts, its firmware cannot sign in at Alibaba Cloud by itself: remove `aliauth`, and the agent signs"
    )]
    AliauthRefused {
        /// The command's name without `AT+`.
        operation: &'static str,
    },
    /// A value cannot be sent in a command.
    #[error("{what} cannot be sent to the modem")]
    Unsendable {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: at::InvalidLine,
    },
    /// The exchange itself went wrong: no answer in time, or the port closed.
    #[error("{operation} did not end")]
    Exchange {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// What happened.
        #[source]
        source: ExchangeError,
    },
}

impl MqttError {
    /// A refusal without a code of the stack's own. `refusal` is the final result code that came in its place, and
    /// `advice` says what is usually behind it; what the standard says of a `+CME ERROR` comes first.
    pub fn without_code(
        operation: &'static str,
        refusal: Option<&FinalCode>,
        advice: &'static str,
    ) -> Self {
        let Some(FinalCode::Cme(_)) = refusal else {
            return Self::NoCode { operation, said: "it gave no code".to_owned(), advice };
        };
        let line = refusal.map(ToString::to_string).unwrap_or_default();
        let told = CmeError::of_line(&line).ok();
        let code = told.as_ref().and_then(|told| told.code);
        let said = match (code, told.map(|told| told.text).filter(|text| !text.is_empty())) {
            (Some(code), Some(text)) => format!("+CME ERROR: {code}, {text}"),
            (None, Some(text)) => format!("+CME ERROR: {text}"),
            (_, None) => line,
        };
        // 3, "not allowed", is of any command: what is known of this one says more.
        let code = code.filter(|code| *code != 3 || advice.is_empty());
        Self::NoCode { operation, said, advice: code.and_then(cme_advice).unwrap_or(advice) }
    }

    /// What is lost with it.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Refused { code, .. } => code.scope,
            Self::NoCode { .. }
            | Self::FileTorn { .. }
            | Self::Uncoded { .. }
            | Self::Unanswered { .. }
            | Self::NoCredentials { .. }
            | Self::AliauthRefused { .. }
            | Self::NoReceipts { .. }
            | Self::Exchange { .. } => Scope::Session,
            Self::ClientIdTooLong { .. }
            | Self::OutOfRange { .. }
            | Self::Inexpressible { .. }
            | Self::FileTooLong { .. }
            | Self::NoTls
            | Self::NoAliauth
            | Self::Unsendable { .. } => Scope::Message,
        }
    }

    /// The command that failed, without `AT+`; `None` where none was sent.
    pub fn command(&self) -> Option<&'static str> {
        match self {
            Self::Refused { operation, .. }
            | Self::NoCode { operation, .. }
            | Self::Uncoded { operation, .. }
            | Self::Unanswered { operation }
            | Self::AliauthRefused { operation }
            | Self::NoReceipts { operation }
            | Self::Exchange { operation, .. } => Some(operation),
            Self::ClientIdTooLong { .. }
            | Self::OutOfRange { .. }
            | Self::Inexpressible { .. }
            | Self::FileTooLong { .. }
            | Self::FileTorn { .. }
            | Self::NoCredentials { .. }
            | Self::NoTls
            | Self::NoAliauth
            | Self::Unsendable { .. } => None,
        }
    }

    /// The stack's result code, where it gave one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(code.number),
            _ => None,
        }
    }

    /// Whether the session may have ended because of the message: the broker had it, or may have had it.
    pub fn may_accuse_message(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.kick,
            // A stack without codes tells so that the connection went under the message; a late refusal may be bad
            // radio.
            Self::Uncoded { .. } => true,
            Self::Unanswered { .. } => false,
            other => other.is_timeout(),
        }
    }

    /// Reports whether it is the stack's own trouble: no answer in time, no code, or a code that says so.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.own,
            Self::NoCode { .. } | Self::Uncoded { .. } | Self::Unanswered { .. } => true,
            other => other.is_timeout(),
        }
    }

    /// Whether the modem's code is one that it tells after a broker closed the connection.
    pub fn is_kick(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.kick)
    }

    /// Whether a session that could not open for this reason never will as it is configured.
    pub fn is_hopeless(&self) -> bool {
        matches!(
            self,
            Self::ClientIdTooLong { .. }
                | Self::OutOfRange { .. }
                | Self::Inexpressible { .. }
                | Self::FileTooLong { .. }
                | Self::NoTls
                | Self::NoAliauth
                | Self::Unsendable { .. }
        )
    }

    /// Whether the modem never told how the operation ended.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Exchange {
                source: ExchangeError::Failed { failure: at::Failure::Timeout(_), .. },
                ..
            }
        )
    }
}

/// The MQTT stack of a modem family. Every operation waits for its result, not for its acceptance.
///
/// # Cancel safety
/// Dropping an operation leaves the modem's client in a state that only [`close`](Self::close) ends.
#[async_trait]
pub trait Mqtt: Send + Sync {
    /// Brings the service up with nothing left over from an earlier run.
    async fn start(&self, at: &At) -> Result<(), MqttError>;

    /// Whether clients need a service that is started once for all of them, and are refused without a code where it is
    /// not.
    fn has_service(&self) -> bool {
        true
    }

    /// Whether [`open`](Self::open) secures a connection that asks for it. Where it does not, such a
    /// connection is refused before: it must never become a plain one.
    fn speaks_tls(&self) -> bool {
        false
    }

    /// Whether [`open`](Self::open) can leave the signing to the modem where a connection has a [`Triple`].
    /// Where it cannot, such a connection is refused before.
    fn signs_aliyun(&self) -> bool {
        false
    }

    /// Has the modem print a received message that it keeps ([`Notice::Pending`](crate::profile::Notice)). The
    /// message comes as a URC, as if it had not been kept. A stack that keeps none has nothing to print.
    async fn fetch(&self, _at: &At, _client: Client, _slot: u8) -> Result<(), MqttError> {
        Ok(())
    }

    /// Removes what earlier runs left in the modem for clients that are not `secured` now, such as keys.
    async fn tidy(&self, _at: &At, _secured: &[Client]) {}

    /// Signs a client in.
    async fn open(&self, at: &At, client: Client, connection: &Connection)
    -> Result<(), MqttError>;

    /// Subscribes to all these filters.
    async fn subscribe(
        &self,
        at: &At,
        client: Client,
        filters: &[(String, Qos)],
    ) -> Result<(), MqttError>;

    /// Ends one subscription.
    async fn unsubscribe(&self, at: &At, client: Client, filter: &str) -> Result<(), MqttError>;

    /// Publishes; `Ok` is the broker's acknowledgement (QoS 1, 2) or the modem's acceptance (QoS 0).
    async fn publish(&self, at: &At, client: Client, message: &Message) -> Result<(), MqttError>;

    /// Signs a client out, whatever state it is in. The service goes on.
    async fn close(&self, at: &At, client: Client);

    /// Ends the service, once all clients are closed.
    async fn stop(&self, at: &At);
}
