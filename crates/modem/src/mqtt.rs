//! The MQTT stack inside a modem: the operations that every vendor's stack has, and their failures.

pub mod command;

use async_trait::async_trait;
use at::FinalCode;
use secrecy::SecretString;

pub use crate::message::{Client, Inbox, MAX_PAYLOAD, Message, NO_TOPIC, Qos, Received};
use crate::port::{At, ExchangeError};
use crate::reply::{CmeError, cme_advice};
use crate::tls::Tls;

/// The settings with which a session signs in.
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
    /// True if the broker forgets the session's subscriptions at the end.
    pub clean_session: bool,
    /// The message that the broker publishes if the session ends without DISCONNECT.
    pub will: Option<Message>,
    /// The security of the connection; `None` is plain TCP.
    pub tls: Option<Tls>,
    /// True if another session of the modem waits for its stack meanwhile: slow operations are
    /// given up sooner.
    pub is_shared: bool,
    /// The number of the packet data context for the connection, for stacks that can choose one.
    pub context: u8,
    /// The values from which the modem itself computes user name, password and the whole client id.
    /// User name and password above are absent then, and [`Self::client_id`] is the bare part.
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

/// The extent of the loss that a failure causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only this message or command; the session goes on.
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
    /// The number that the modem prints. -1 is a code as well: a failure without a known cause.
    pub number: i32,
    /// Its name in the vendor's manual.
    pub name: &'static str,
    /// Advice; empty if another try is the best.
    pub advice: &'static str,
    /// The extent of the loss.
    pub scope: Scope,
    /// True if the broker ended the session while it had the message: the message may have caused
    /// that.
    pub kick: bool,
    /// True if the stack itself failed, not the broker or the network. A few in a row mean that the
    /// service is due for a restart.
    pub own: bool,
}

impl std::fmt::Display for ResultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.number, self.name)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ": {}", self.advice) }
    }
}

/// The reason why an operation of the MQTT stack failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MqttError {
    /// The stack gave a result code.
    #[error("{operation} failed with code {code}")]
    Refused {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// The stack's code.
        code: ResultCode,
    },
    /// The modem refused and gave no code of its MQTT stack.
    #[error("the modem refused {operation} ({said}){}{advice}", if advice.is_empty() { "" } else { ": " })]
    NoCode {
        /// The command's name without `AT+`, and the setting if the command has several.
        operation: &'static str,
        /// The modem's answer in place of a code, as text.
        said: String,
        /// The usual cause, and advice; empty if no cause is known.
        advice: &'static str,
    },
    /// A stack that has no codes refused.
    #[error("the modem refused {operation} (it gives no code): {advice}")]
    Uncoded {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// The usual cause, and advice.
        advice: &'static str,
    },
    /// A stack that has no codes refused so late that the cause may be its own time-out.
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
        /// The firmware's limit.
        limit: usize,
    },
    /// The modem's command has no room for a value of this length.
    #[error("{what} has {length} bytes, but this modem takes {least} to {most}")]
    OutOfRange {
        /// The name of the value.
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
        /// The name of the value.
        what: &'static str,
        /// The obstacle, as text.
        reason: &'static str,
    },
    /// The firmware answers before the broker has acknowledged, and has no setting to wait. It
    /// would stay unknown whether a message arrived.
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
        /// The purpose of the file, in the words of the modem's setting.
        option: &'static str,
        /// Bytes of the file.
        length: usize,
        /// The modem's limit.
        limit: usize,
    },
    /// The file in the modem differs from the file that was sent.
    #[error("the file for {option} arrived incomplete in the modem")]
    FileTorn {
        /// The purpose of the file, in the words of the modem's setting.
        option: &'static str,
    },
    /// There are no credentials to sign in with at present.
    #[error("nothing to sign in with: {reason}")]
    NoCredentials {
        /// The reason as text.
        reason: String,
    },
    /// The connection needs TLS, and this modem's dialect does not support it.
    #[error(
        "TLS is not supported on this modem; use a broker with mqtt://, or a modem whose profile speaks TLS"
    )]
    NoTls,
    /// The modem is to sign in at Alibaba Cloud by itself, and its dialect or firmware cannot do
    /// that.
    #[error(
        "this modem cannot sign in at Alibaba Cloud by itself; remove `aliauth`, and the agent signs"
    )]
    NoAliauth,
    /// The modem refused the values to sign in with, and gave no code. A firmware that cannot sign
    /// in answers so, and a busy firmware too.
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
        /// The name of the value.
        what: &'static str,
        /// The reason.
        #[source]
        source: at::InvalidLine,
    },
    /// The exchange itself failed: no answer in time, or the port closed.
    #[error("{operation} did not end")]
    Exchange {
        /// The command's name without `AT+`.
        operation: &'static str,
        /// The failure.
        #[source]
        source: ExchangeError,
    },
}

impl MqttError {
    /// Makes the error of a refusal without a code of the stack's own. `refusal` is the final
    /// result code that came in place of a code. `advice` names the usual cause; the standard's
    /// advice on a `+CME ERROR` comes first.
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
        // 3, "not allowed", may follow any command: the advice for this command is more precise.
        let code = code.filter(|code| *code != 3 || advice.is_empty());
        Self::NoCode { operation, said, advice: code.and_then(cme_advice).unwrap_or(advice) }
    }

    /// Returns the extent of the loss.
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

    /// Returns the command that failed, without `AT+`; `None` if none was sent.
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

    /// Returns the stack's result code, if there is one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(code.number),
            _ => None,
        }
    }

    /// Reports whether the message may have caused the end of the session: the broker had the
    /// message, or may have had it.
    pub fn may_accuse_message(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.kick,
            // A stack without codes refuses so when the connection broke during the message. A late
            // refusal may be bad radio.
            Self::Uncoded { .. } => true,
            Self::Unanswered { .. } => false,
            other => other.is_timeout(),
        }
    }

    /// Reports whether the stack itself failed: no answer in time, no code, or a code that means
    /// so.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.own,
            Self::NoCode { .. } | Self::Uncoded { .. } | Self::Unanswered { .. } => true,
            other => other.is_timeout(),
        }
    }

    /// Reports whether the code means that the broker closed the connection.
    pub fn is_kick(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.kick)
    }

    /// Reports whether a session that failed to open for this reason will always fail with its
    /// present settings.
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

    /// Reports whether the modem never reported the end of the operation.
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
    /// Starts the service, without anything left over from an earlier run.
    async fn start(&self, at: &At) -> Result<(), MqttError>;

    /// Reports whether clients need a service that is started once for all of them. If it is not
    /// running, the stack refuses them without a code.
    fn has_service(&self) -> bool {
        true
    }

    /// Reports whether [`open`](Self::open) secures a connection that asks for it. If not, such a
    /// connection is refused before: it must never become a plain one.
    fn speaks_tls(&self) -> bool {
        false
    }

    /// Reports whether [`open`](Self::open) can leave the signing to the modem if a connection has
    /// a [`Triple`]. If not, such a connection is refused before.
    fn signs_aliyun(&self) -> bool {
        false
    }

    /// Has the modem print a received message that it keeps
    /// ([`Notice::Pending`](crate::profile::Notice)). The message comes as a URC, like one that was
    /// not kept. A stack that keeps no messages does nothing.
    async fn fetch(&self, _at: &At, _client: Client, _slot: u8) -> Result<(), MqttError> {
        Ok(())
    }

    /// Removes files of earlier runs from the modem, such as keys, for clients that are not
    /// `secured` now.
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

    /// Signs a client out, in any state. The service goes on.
    async fn close(&self, at: &At, client: Client);

    /// Ends the service, once all clients are closed.
    async fn stop(&self, at: &At);
}
