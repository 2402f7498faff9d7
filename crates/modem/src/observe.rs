//! Events of a modem's work as they happen. The agent counts them. Messages that come down are
//! reported here only to be counted: [`Inbox`](crate::Inbox) takes them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::exchange::Kind;
use crate::holder::Busy;
use crate::message::{Message, Received};

/// The outcome of an exchange, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExchangeResult {
    /// Ended with `OK`.
    Ok,
    /// Refused by the modem, or cut off.
    Error,
    /// No answer in time.
    Timeout,
}

/// The outcome of a publish, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishResult {
    /// The broker acknowledged it (QoS 1, 2), or the modem took it (QoS 0).
    Ok,
    /// The modem or the broker refused it, or the session ended during it.
    Error,
    /// The modem never reported the end.
    Timeout,
    /// No result within the stall time; it may still come, and then counts as well.
    Unknown,
}

/// The reason why a session ended, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The broker closed the connection.
    Broker,
    /// The network went, or the modem's own stack lost the connection.
    Network,
    /// This agent ended it.
    Agent,
    /// The modem went.
    Unplug,
}

/// A means to bring a modem back, in the words of the metrics: the rungs of the ladder, the lowest
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecoveryAction {
    /// The agent asked until it was in step with the modem again.
    Resync,
    /// The tty was closed and opened again.
    Reopen,
    /// The MQTT service was torn down and started again.
    ServiceRestart,
    /// The radio was switched off and on.
    RadioCycle,
    /// The modem was reset by a command.
    ModemReset,
    /// The USB device was reset.
    UsbReset,
    /// The operator's script for the modem's power supply was run.
    Power,
}

/// A trouble of a modem, in the words of the metrics. Several may hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryCause {
    /// Its port answers nothing.
    Mute,
    /// The network gives its MQTT service no data, though it is registered.
    Service,
    /// It answers, and a step to service fails for a reason of its own.
    Wedged,
    /// It is unregistered for too long.
    Unregistered,
    /// The network denies data to its SIM.
    Denied,
    /// Its SIM does not work, or is absent.
    Sim,
    /// It boots again and again when it starts its service or signs in.
    BootLoop,
    /// It writes its firmware.
    Update,
    /// Its sessions fail for reasons other than their brokers.
    Sessions,
    /// It is registered, and no traffic comes back.
    Path,
    /// It comes and goes.
    Flapping,
}

/// The outcome of a means of recovery, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecoveryOutcome {
    /// It brought the modem back.
    Cured,
    /// It did not bring the modem back.
    Failed,
    /// It is useless here, or not available: it was not tried, and costs nothing.
    Skipped,
}

impl ExchangeResult {
    /// All results, for metrics that start at 0.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Timeout];

    /// Returns the result in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl PublishResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Timeout, Self::Unknown];

    /// Returns the result in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

impl DisconnectReason {
    /// All reasons, for metrics that start at 0.
    pub const ALL: [Self; 4] = [Self::Broker, Self::Network, Self::Agent, Self::Unplug];

    /// Returns the reason in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Network => "network",
            Self::Agent => "agent",
            Self::Unplug => "unplug",
        }
    }
}

impl RecoveryAction {
    /// All rungs, the lowest first.
    pub const ALL: [Self; 7] = [
        Self::Resync,
        Self::Reopen,
        Self::ServiceRestart,
        Self::RadioCycle,
        Self::ModemReset,
        Self::UsbReset,
        Self::Power,
    ];

    /// Returns the action in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Reopen => "reopen",
            Self::ServiceRestart => "service_restart",
            Self::RadioCycle => "radio_cycle",
            Self::ModemReset => "modem_reset",
            Self::UsbReset => "usb_reset",
            Self::Power => "power",
        }
    }
}

impl RecoveryCause {
    /// All causes, for metrics that show each as 0 or 1.
    pub const ALL: [Self; 11] = [
        Self::Mute,
        Self::Service,
        Self::Wedged,
        Self::Unregistered,
        Self::Denied,
        Self::Sim,
        Self::BootLoop,
        Self::Update,
        Self::Sessions,
        Self::Path,
        Self::Flapping,
    ];

    /// Returns the cause in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Service => "service",
            Self::Wedged => "wedged",
            Self::Unregistered => "unregistered",
            Self::Denied => "denied",
            Self::Sim => "sim",
            Self::BootLoop => "boot_loop",
            Self::Update => "update",
            Self::Sessions => "sessions",
            Self::Path => "path",
            Self::Flapping => "flapping",
        }
    }
}

impl RecoveryOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Cured, Self::Failed, Self::Skipped];

    /// Returns the outcome in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cured => "cured",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Declares the observer, and its implementation for several observers: each method reaches them
/// all.
macro_rules! observer {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $argument:ident: $kind:ty)*);)*) => {
        /// The receiver of each event as it happens, called from the modem's task: implementations
        /// return at once. By default an event is ignored.
        ///
        /// ```
        /// use std::sync::atomic::{AtomicU64, Ordering};
        /// use modem::observe::Observer;
        ///
        /// #[derive(Default)]
        /// struct Urcs(AtomicU64);
        ///
        /// impl Observer for Urcs {
        ///     fn urc(&self) {
        ///         self.0.fetch_add(1, Ordering::Relaxed);
        ///     }
        /// }
        /// ```
        pub trait Observer: Send + Sync {
            $($(#[$doc])* fn $name(&self $(, $argument: $kind)*) { $(let _ = $argument;)* })*
        }

        impl Observer for All {
            $(fn $name(&self $(, $argument: $kind)*) {
                self.0.iter().for_each(|each| each.$name($($argument),*));
            })*
        }
    };
}

/// Several observers, which get each event in this order.
pub struct All(pub Vec<Arc<dyn Observer>>);

observer! {
    /// An exchange ended after `took`.
    fn exchange(&self, kind: Kind, result: ExchangeResult, took: Duration);
    /// The modem sent an unsolicited result code.
    fn urc(&self);
    /// The engine lost its step: a line was late, torn or missing.
    fn desync(&self);
    /// The engine asks the modem whether it is in step, although nothing shows a loss of step. That
    /// follows a refusal after which some firmware sends one more `OK`, a result that did not come,
    /// or a boot.
    fn precaution(&self);
    /// A CONNECT ended; `ok` is true if it succeeded.
    fn connect(&self, session: &str, ok: bool);
    /// A connected session ended.
    fn disconnect(&self, session: &str, reason: DisconnectReason);
    /// A publish is about to be handed to the modem, which may then send it whatever happens here.
    fn sending(&self, session: &str, message: &Message);
    /// The modem's SIM changed; `None` if it is not known, or not any more.
    fn sim(&self, iccid: Option<&str>);
    /// A publish ended; `took` is the time from the command that set its topic.
    fn publish(&self, session: &str, qos: u8, result: PublishResult, took: Duration);
    /// A message came down. The modem has acknowledged it to the broker before we see it.
    fn received(&self, session: &str, message: &Received);
    /// A message came down damaged, and is lost.
    fn damaged(&self);
    /// The tty appeared.
    fn appeared(&self);
    /// The tty was opened, or could not be; `busy` if another process has it.
    fn opened(&self, busy: Option<&Busy>);
    /// The tty vanished.
    fn vanished(&self);
    /// The profile was loaded, this long after the tty was found.
    fn detected(&self, took: Duration);
    /// The first session came up, this long after the tty was found.
    fn ready(&self, took: Duration);
    /// A means of recovery ended, or was skipped.
    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome);
    /// Values of a reply were implausible and left out.
    fn implausible(&self, count: u32);
}
