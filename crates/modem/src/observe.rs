//! What a modem tells about its work as it happens. The agent counts; this crate does not know how. Messages that come
//! down are told here only to be counted: [`Inbox`](crate::Inbox) takes them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::exchange::Kind;
use crate::holder::Busy;
use crate::message::{Message, Received};

/// How an exchange ended, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExchangeResult {
    /// Ended with `OK`.
    Ok,
    /// Refused by the modem, or cut off.
    Error,
    /// No answer in time.
    Timeout,
}

/// How a publish ended, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishResult {
    /// The broker acknowledged it (QoS 1, 2), or the modem took it (QoS 0).
    Ok,
    /// The modem or the broker refused it, or the session ended under it.
    Error,
    /// The modem never told how it ended.
    Timeout,
    /// No result within the stall time; it may still come, and then counts as well.
    Unknown,
}

/// Why a session ended, in the words of the metrics.
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

/// A means to bring a modem back, in the words of the metrics: the rungs of the ladder, the lowest first.
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
    /// The modem was told to boot.
    ModemReset,
    /// The USB device was reset.
    UsbReset,
    /// The operator's script for the modem's supply was run.
    Power,
}

/// What is wrong with a modem, in the words of the metrics. Several may hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryCause {
    /// Its port answers nothing.
    Mute,
    /// The network gives its MQTT service no data, though it is registered.
    Service,
    /// It answers, and a step to service fails for a reason of its own.
    Wedged,
    /// It is not registered for too long.
    Unregistered,
    /// The network denies data to its SIM.
    Denied,
    /// Its SIM does not work, or is not there.
    Sim,
    /// It boots again and again when it starts its service or signs in.
    BootLoop,
    /// It writes its firmware.
    Update,
    /// Its sessions fail, and not by their brokers' word.
    Sessions,
    /// It is registered, and no traffic comes back.
    Path,
    /// It comes and goes.
    Flapping,
}

/// What a means of recovery came to, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecoveryOutcome {
    /// It brought the modem back.
    Cured,
    /// It did not.
    Failed,
    /// It is of no use here, or not to be had: it was not tried, and costs nothing.
    Skipped,
}

impl ExchangeResult {
    /// All results, for metrics that start at 0.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Timeout];

    /// The result in the words of the metrics.
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

    /// The result in the words of the metrics.
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

    /// The reason in the words of the metrics.
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

    /// The action in the words of the metrics.
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

    /// The cause in the words of the metrics.
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

    /// The outcome in the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cured => "cured",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Declares the observer, and that several observers are one: a method that is added reaches them all.
macro_rules! observer {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $argument:ident: $kind:ty)*);)*) => {
        /// Told of each thing as it happens, from the modem's task: implementations return at once. What one
        /// does not ask for passes by.
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

/// Several observers, which hear of each thing in this order.
pub struct All(pub Vec<Arc<dyn Observer>>);

observer! {
    /// An exchange ended after `took`.
    fn exchange(&self, kind: Kind, result: ExchangeResult, took: Duration);
    /// The modem sent an unsolicited result code.
    fn urc(&self);
    /// The engine lost its step: a line was late, torn or missing.
    fn desync(&self);
    /// The engine asks the modem whether it is in step, though nothing shows that it is not: after a refusal that some
    /// firmware follows up with one more `OK`, a result that stayed out, or a boot.
    fn precaution(&self);
    /// A CONNECT ended; `ok` tells how.
    fn connect(&self, session: &str, ok: bool);
    /// A connected session ended.
    fn disconnect(&self, session: &str, reason: DisconnectReason);
    /// A publish is about to be handed to the modem, which may then send it whatever becomes of it here.
    fn sending(&self, session: &str, message: &Message);
    /// Which SIM is in the modem; `None` where that is not known, or not any more.
    fn sim(&self, iccid: Option<&str>);
    /// A publish ended; `took` is the time from the command that set its topic.
    fn publish(&self, session: &str, qos: u8, result: PublishResult, took: Duration);
    /// A message came down. The modem has acknowledged it to the broker before we see it.
    fn received(&self, session: &str, message: &Received);
    /// A message came down damaged, and is lost.
    fn damaged(&self);
    /// The tty is there.
    fn appeared(&self);
    /// The tty was opened, or could not be; `busy` where another process has it.
    fn opened(&self, busy: Option<&Busy>);
    /// The tty went.
    fn vanished(&self);
    /// The profile was loaded, this long after the tty was found.
    fn detected(&self, took: Duration);
    /// The first session came up, this long after the tty was found.
    fn ready(&self, took: Duration);
    /// A means of recovery came to its end, or was passed over.
    fn recovery(&self, action: RecoveryAction, outcome: RecoveryOutcome);
    /// Values of a reply were implausible and left out.
    fn implausible(&self, count: u32);
}
