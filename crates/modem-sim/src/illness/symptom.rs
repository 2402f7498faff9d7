//! The symptoms by name. The effect of each is in the command or the event that it changes.

use std::fmt;

use tokio::time::Duration;

use super::time::{Time, time};

/// A symptom of a modem, or a behaviour of its unit that differs from the manual.
///
/// docs/without-hardware.md has the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// It accepts input and answers nothing.
    Mute,
    /// This command takes this time, and its port answers nothing else meanwhile.
    Slow {
        /// A name of [`Self::COMMANDS`]; `any` is every command.
        command: &'static str,
        /// The time of the command.
        time: Duration,
    },
    /// It writes new firmware: a line each second, and no answer to anything. If it loses power meanwhile, it
    /// never answers again.
    Update {
        /// True if it boots at the end.
        boots: bool,
    },
    /// Its supply fails half a second after START was accepted: it boots.
    BrownOutAtStart,
    /// Its supply fails half a second after CONNECT was accepted: it boots.
    BrownOutAtConnect,
    /// It boots without its first lines: nothing comes before `SMS DONE`.
    SilentBoot,

    /// It finds no network.
    Registration,
    /// The network refuses its card in all domains.
    Denied,
    /// The network takes it for voice and refuses it data: `+CREG: 0,1`, `+CGREG: 0,3`, `+CEREG: 0,0`.
    VoiceOnly,
    /// It is registered, and the network gives it no data: START fails with code 7, "network open fail".
    NoData,
    /// An earlier program has turned the radio off (`AT+CFUN=4`); `AT+CFUN=1` turns it on.
    RadioOff,
    /// `AT+CFUN=0` and 4 print `+CPIN: NOT READY`, 1 prints `+CPIN: READY`, and a boot leaves CFUN as it is.
    KeepsFlightMode,

    /// The card does not answer: `+CME ERROR: 13`.
    SimFailure,
    /// The card has lost contact: `+CME ERROR: 10`.
    SimAbsent,
    /// `AT+CPIN?` is answered by `SIM PIN2`, and all else works.
    SimPin2,

    /// Its MQTT service starts, and CONNECT fails with code 9, "network not opened".
    Service,
    /// CONNECT is accepted, and its result never comes.
    Wedged,
    /// CONNECT fails, and from then on its client is in use: REL fails with code 14, ACCQ with 19.
    StuckClient,
    /// Clients outlive a boot and a loss of the network; START succeeds although they are there.
    LeftClients,
    /// The broker of this client is a black hole: CONNECT fails with code 3 once its time is up.
    BlackHole {
        /// The client's index.
        client: u8,
        /// True if `AT+CMQTTCFG="optimeout"` sets that time; else it is 120 s.
        is_heeded: bool,
    },
    /// The broker of this client acknowledges no publish: PUB fails with code 17 once its time is up.
    NoAcknowledgement {
        /// The client's index.
        client: u8,
    },
    /// While a publish waits for its result, a text or message arrives that contains the line of a good result.
    Forged(Forgery),

    /// A Quectel of old firmware: no `AT+QMTCFG="recv/mode"` and no `AT+QMTPUBEX`.
    OldFirmware,
    /// An earlier program has left `"recv/mode"` of a Quectel at 1: messages are announced and have to be read.
    Buffered,
    /// A Quectel prints messages without their length, whatever the value of `"recv/mode"`.
    NoLength,
    /// An earlier program has left `"dataformat"` of a Quectel at 1,1: payloads are hexadecimal digits.
    HexData,
}

/// A text or message that arrives while a publish waits for its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A text message in text mode, and two seconds later a text message with `RDY`. An earlier program has
    /// left `AT+CNMI=2,2` and `AT+CMGF=1`.
    Text,
    /// The same in PDU mode, in which the text is hexadecimal digits.
    Pdu,
    /// A message from the broker, announced with 12,000 bytes in a single piece: more than any manual allows.
    Download,
}

const NAMED: [(&str, Symptom); 32] = [
    ("mute", Symptom::Mute),
    ("update", Symptom::Update { boots: false }),
    ("update:boot", Symptom::Update { boots: true }),
    ("brown-out:start", Symptom::BrownOutAtStart),
    ("brown-out:connect", Symptom::BrownOutAtConnect),
    ("silent-boot", Symptom::SilentBoot),
    ("registration", Symptom::Registration),
    ("denied", Symptom::Denied),
    ("voice-only", Symptom::VoiceOnly),
    ("no-data", Symptom::NoData),
    ("radio-off", Symptom::RadioOff),
    ("keeps-flight-mode", Symptom::KeepsFlightMode),
    ("sim-failure", Symptom::SimFailure),
    ("sim-absent", Symptom::SimAbsent),
    ("sim-pin2", Symptom::SimPin2),
    ("service", Symptom::Service),
    ("wedged", Symptom::Wedged),
    ("stuck-client", Symptom::StuckClient),
    ("left-clients", Symptom::LeftClients),
    ("black-hole:0", Symptom::BlackHole { client: 0, is_heeded: true }),
    ("black-hole:1", Symptom::BlackHole { client: 1, is_heeded: true }),
    ("black-hole:0:120s", Symptom::BlackHole { client: 0, is_heeded: false }),
    ("black-hole:1:120s", Symptom::BlackHole { client: 1, is_heeded: false }),
    ("no-acknowledgement:0", Symptom::NoAcknowledgement { client: 0 }),
    ("no-acknowledgement:1", Symptom::NoAcknowledgement { client: 1 }),
    ("forged:text", Symptom::Forged(Forgery::Text)),
    ("forged:pdu", Symptom::Forged(Forgery::Pdu)),
    ("forged:download", Symptom::Forged(Forgery::Download)),
    ("old-firmware", Symptom::OldFirmware),
    ("buffered", Symptom::Buffered),
    ("no-length", Symptom::NoLength),
    ("hex-data", Symptom::HexData),
];

impl Symptom {
    /// The commands that may be slow. Commands about the network query it, and take minutes while it does not
    /// answer (27.007); START may take 120 s, COPS 180 s.
    pub const COMMANDS: [&'static str; 22] = [
        "any",
        "+CMQTTSTART",
        "+CMQTTSTOP",
        "+CMQTTREL",
        "+COPS",
        "+CPSI",
        "+CREG",
        "+CGREG",
        "+CEREG",
        "+C5GREG",
        "+CFUN",
        "+CGATT",
        "+CGACT",
        "+CGDCONT",
        "+CPIN",
        "+CSQ",
        "+CCLK",
        "+CPMUTEMP",
        "+QENG",
        "+QCSQ",
        "+QNWINFO",
        "+QTEMP",
    ];

    /// Returns the names on the command line.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name).chain(["slow:<COMMAND>:<TIME>"])
    }

    pub(super) fn names() -> String {
        let names: Vec<&str> = Self::all_names().collect();
        format!("{} (a COMMAND is {})", names.join(", "), Self::COMMANDS.join(" "))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(slow) = text.strip_prefix("slow:") {
            let (command, long) = slow.split_once(':')?;
            let command =
                Self::COMMANDS.into_iter().find(|known| known.eq_ignore_ascii_case(command))?;
            return Some(Self::Slow { command, time: time(long)? });
        }
        NAMED.iter().find(|(name, _)| *name == text).map(|(_, symptom)| *symptom)
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Slow { command, time } = self {
            return write!(f, "slow:{command}:{}", Time(*time));
        }
        let named = NAMED.iter().find(|(_, symptom)| symptom == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}
