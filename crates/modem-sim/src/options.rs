//! What a simulated modem is told at its making, and its surroundings.

use std::str::FromStr;

use tokio::time::Duration;

use crate::{
    fault::Faults,
    illness::{Illness, Onset},
    model::{Model, Order},
};

/// How a modem is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which model it is.
    pub model: Model,
    /// What it answers to `AT+CGMM` instead of its model's name, as a rebadged modem does.
    pub badge: Option<String>,
    /// Which modem of the fleet it is: makes its IMEI, ICCID and cell distinct.
    pub index: u32,
    /// `HOST:PORT` of the broker to which the modem's network leads, whatever host `CMQTTCONNECT`
    /// names. `None`: the host that is named.
    pub broker: Option<String>,
    /// Time before the first byte of each answer, prompts included.
    pub latency: Duration,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// What is wrong with it from the beginning, until it is cured.
    pub illness: Option<Illness>,
    /// What else befalls it, and when.
    pub onsets: Vec<Onset>,
    /// Seed of the dice that decide the faults. The index is added to it.
    pub seed: u64,
    /// The PIN of the SIM card; `None`: a card without one. Three wrong ones make it ask for the
    /// PUK, which is [`PUK`].
    pub pin: Option<String>,
    /// How often the PIN may still be tried, at most 3; at 0 the card asks for its PUK.
    pub pin_tries: u8,
    /// Whether there is a SIM card at all.
    pub card: bool,
    /// Time from power to `PB DONE`. The port is mute for the first half of it, the SIM busy until
    /// three quarters. Zero: the boot lines come at once. A modem is made already booted.
    pub boot_time: Duration,
    /// How late an answer is under the faults `late` and `late-prompt`.
    pub late: Duration,
    /// How long the tty is away under the fault `unplug`, and after [`Self::unplug_at`].
    pub unplugged: Duration,
    /// For each stay in turn at which step the tty vanishes: a command, or the data after a prompt.
    pub unplug_at: Vec<u64>,
    /// Whether `OK` comes before the result of START and STOP; `None`: as the model does it.
    pub order: Option<Order>,
    /// Print a failed operation as its result line and `ERROR` without an `OK` before, as some
    /// units do, and not as `OK` and the result line.
    pub early_failures: bool,
    /// What the radio sees.
    pub radio: Radio,
    /// What the modem's clock shows once it has power.
    pub clock: Clock,
}

impl Options {
    /// What it calls itself.
    pub(crate) fn cgmm(&self) -> &str {
        self.badge.as_deref().unwrap_or(self.model.cgmm())
    }
}

/// The PUK of every simulated SIM card.
pub const PUK: &str = "12345678";

/// How often the PIN of a fresh SIM card may be tried.
pub(crate) const PIN_TRIES: u8 = 3;

impl Options {
    /// A modem of this model in good order: registered at home, no faults, no latency, no PIN.
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

/// Who gives the modem the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The network: it is right, and shown eight hours ahead of UTC.
    Network,
    /// Nobody: it counts from 1980 at each boot until it is set.
    Unset,
}

/// What the radio sees.
#[derive(Debug, Clone)]
pub struct Radio {
    /// Registration with the network.
    pub registration: Registration,
    /// Whether the network gives the first context an address once registered; a wrong access point or
    /// a card without data gets none.
    pub address: bool,
    /// The access point at which the network has data, as it was written when the modem attached. `None`: at any.
    pub apn: Option<String>,
    /// Over what the modem is attached. `Nsa` and `Sa` need a SIM8200.
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

/// Whether there is a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The network is there.
    Full,
    /// Nothing gets through, and the modem has not noticed: connections stand still until their
    /// keep-alive or an acknowledgement times out. They go on where coverage comes back before.
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

/// A word that is no registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no registration; known are {}", Registration::ALL.map(|(word, _)| word).join(", "))]
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

    /// The number in `+CREG:`.
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

    /// Whether there is service.
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
