//! The options of a simulated modem and its surroundings.

use std::str::FromStr;

use tokio::time::Duration;

use crate::{
    fault::Faults,
    illness::{Illness, Onset},
    model::{Model, Order},
};

/// The options of a simulated modem.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model.
    pub model: Model,
    /// The answer to `AT+CGMM` instead of the model's name, as in a rebadged modem.
    pub badge: Option<String>,
    /// The modem's index in the fleet, which makes its IMEI, ICCID and cell distinct.
    pub index: u32,
    /// `HOST:PORT` of the broker to which the modem's network leads, instead of the host in `CMQTTCONNECT`.
    /// `None`: the host in the command.
    pub broker: Option<String>,
    /// Time before the first byte of each answer, prompts included.
    pub latency: Duration,
    /// The faults and their probabilities.
    pub faults: Faults,
    /// The illness from the beginning, until it is cured.
    pub illness: Option<Illness>,
    /// Further illnesses and their times.
    pub onsets: Vec<Onset>,
    /// Seed of the dice that decide the faults. The index is added to it.
    pub seed: u64,
    /// The PIN of the SIM card; `None`: a card without a PIN. After three wrong PINs the card asks for the PUK,
    /// which is [`PUK`].
    pub pin: Option<String>,
    /// The tries left for the PIN, at most 3; at 0 the card asks for its PUK.
    pub pin_tries: u8,
    /// False if there is no SIM card.
    pub card: bool,
    /// Time from power to `PB DONE`. The port is mute for the first half of it, the SIM is busy until three
    /// quarters. Zero: the boot lines come at once. A modem is created booted.
    pub boot_time: Duration,
    /// The delay of an answer under the faults `late` and `late-prompt`.
    pub late: Duration,
    /// The time for which the tty is away under the fault `unplug`, and after [`Self::unplug_at`].
    pub unplugged: Duration,
    /// For each stay in turn the step at which the tty vanishes: a command, or the data after a prompt.
    pub unplug_at: Vec<u64>,
    /// The order of `OK` and the result of START and STOP; `None`: the model's order.
    pub order: Option<Order>,
    /// True if a failed operation prints its result line and `ERROR` without an `OK` before, like some units,
    /// instead of `OK` and the result line.
    pub early_failures: bool,
    /// The network and the signal that the radio finds.
    pub radio: Radio,
    /// The source of the clock's time after power on.
    pub clock: Clock,
}

impl Options {
    /// Returns the answer to `AT+CGMM`.
    pub(crate) fn cgmm(&self) -> &str {
        self.badge.as_deref().unwrap_or(self.model.cgmm())
    }
}

/// The PUK of every simulated SIM card.
pub const PUK: &str = "12345678";

/// The tries for the PIN of a fresh SIM card.
pub(crate) const PIN_TRIES: u8 = 3;

impl Options {
    /// Returns a healthy modem of this model: registered at home, no faults, no latency, no PIN.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self {
            model,
            badge: None,
            index: 0,
            broker: None,
            latency: Duration::ZERO,
            faults: Faults::none(),
            illness: None,
            onsets: Vec::new(),
            seed: 0,
            pin: None,
            pin_tries: PIN_TRIES,
            card: true,
            boot_time: Duration::ZERO,
            late: Duration::from_secs(5),
            unplugged: Duration::from_secs(1),
            unplug_at: Vec::new(),
            order: None,
            early_failures: false,
            radio: Radio::new(model),
            clock: Clock::Network,
        }
    }
}

/// The source of the modem's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The network: the time is right, and shown eight hours ahead of UTC.
    Network,
    /// None: the clock counts from 1980 at each boot until it is set.
    Unset,
}

/// The network and the signal that the radio finds.
#[derive(Debug, Clone)]
pub struct Radio {
    /// Registration with the network.
    pub registration: Registration,
    /// True if the network gives the first context an address once registered; a wrong access point or a card
    /// without data gets none.
    pub address: bool,
    /// The access point at which the network has data, as it was written when the modem attached. `None`: any
    /// access point.
    pub apn: Option<String>,
    /// The radio access over which the modem is attached. `Nsa` and `Sa` need a SIM8200.
    pub access: Access,
    /// Strengths and temperature.
    pub signal: Signal,
}

impl Radio {
    fn new(model: Model) -> Self {
        let access = if model.has_nr() { Access::Nsa } else { Access::Lte };
        let signal = Signal::default();
        Self { registration: Registration::Home, address: true, apn: None, access, signal }
    }
}

/// The presence of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The network is there.
    Full,
    /// Nothing gets through, and the modem has not noticed: connections wait until their keep-alive or an
    /// acknowledgement times out. If coverage comes back before that, they continue.
    Silent,
    /// The modem has lost the network: `+CMQTTCONNLOST: n,3` for each connection, `+CMQTTNONET`,
    /// and the MQTT service has to be started again.
    None,
}

/// Registration as in 27.007 §7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Not registered, not searching.
    Idle,
    /// Registered at home.
    Home,
    /// Searching.
    Searching,
    /// Denied by the network.
    Denied,
    /// Unknown: out of coverage.
    Unknown,
    /// Registered, roaming.
    Roaming,
}

/// A word that is not a registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a registration; known are {}", Registration::ALL.map(|(word, _)| word).join(", "))]
pub struct UnknownRegistration {
    given: String,
}

impl FromStr for Registration {
    type Err = UnknownRegistration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|(word, _)| *word == text);
        known.map(|(_, it)| it).ok_or_else(|| UnknownRegistration { given: text.to_owned() })
    }
}

impl Registration {
    const ALL: [(&str, Self); 6] = [
        ("idle", Self::Idle),
        ("home", Self::Home),
        ("searching", Self::Searching),
        ("denied", Self::Denied),
        ("unknown", Self::Unknown),
        ("roaming", Self::Roaming),
    ];

    /// Returns the number in `+CREG:`.
    pub(crate) fn stat(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Home => 1,
            Self::Searching => 2,
            Self::Denied => 3,
            Self::Unknown => 4,
            Self::Roaming => 5,
        }
    }

    /// Reports whether there is service.
    pub(crate) fn has_service(self) -> bool {
        matches!(self, Self::Home | Self::Roaming)
    }
}

/// Radio access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// LTE alone.
    Lte,
    /// An LTE anchor and New Radio beside it (EN-DC).
    Nsa,
    /// New Radio alone.
    Sa,
}

/// Signal strengths as the modem prints them. The fields `…_tenths` are tenths of a dB or dBm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// `+CSQ:` 0 to 31, or 99 for unknown.
    pub csq: u8,
    /// LTE reference signal power, tenths of a dBm.
    pub rsrp_tenths: i16,
    /// LTE reference signal quality, tenths of a dB.
    pub rsrq_tenths: i16,
    /// LTE signal strength, tenths of a dBm.
    pub rssi_tenths: i16,
    /// LTE RSSNR, in the modem's own unit (0 to 30).
    pub rssnr: i16,
    /// NR reference signal power, tenths of a dBm.
    pub nr_rsrp_tenths: i16,
    /// NR reference signal quality, tenths of a dB.
    pub nr_rsrq_tenths: i16,
    /// NR signal to noise, tenths of a dB.
    pub nr_snr_tenths: i16,
    /// Temperature of the module, degrees Celsius.
    pub temperature: i8,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            csq: 22,
            rsrp_tenths: -850,
            rsrq_tenths: -94,
            rssi_tenths: -545,
            rssnr: 15,
            nr_rsrp_tenths: -960,
            nr_rsrq_tenths: -120,
            nr_snr_tenths: 95,
            temperature: 29,
        }
    }
}
