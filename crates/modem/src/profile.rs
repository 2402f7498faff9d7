//! The dialect of one modem family: the plugin's interface.
//!
//! A profile is a value handed to the agent: there is no registry and no dynamic loading. Its
//! defaults are 3GPP TS 27.007; a profile overrides only the differences of its family.

use std::time::Duration;

use async_trait::async_trait;
pub use at::Framing;
use at::{Answer, Urc};

use crate::apn::{self, ApnLogin};
use crate::chain::Chain;
use crate::console::CommandRule;
use crate::message::{Client, Received};
use crate::mqtt::{Mqtt, ResultCode};
use crate::port::{At, Kind};
use crate::reply::{self, Carrier, Decoder, Domain, PinTries, Registration, Sieve, Signal};
use crate::script::Question;
pub use crate::step::{PATIENCE, StepError, cme_code, persist, run, slow, unless_gone};
use crate::step::{TRIES, is_unknown};

/// The number of tries of a line setting that is refused, a [`SETTLE`] apart.
const PREPARATIONS: u32 = 3;
const SETTLE: Duration = Duration::from_secs(1);

/// The exports of a profile crate.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// The vendor's `models.yaml`.
    pub models: &'static str,
    /// The profiles that its models name.
    pub profiles: &'static [&'static dyn Profile],
    /// The decoders of the vendor's own replies to JSON, by command, for `profiles decode`.
    pub decoders: &'static [(&'static str, Decoder)],
    /// The vendor's lines that hold a code, for `explain`.
    pub codes: &'static [CodeTable],
    /// The vendor's lines that have a meaning without a code, for `explain`.
    pub lines: &'static [LineMeaning],
    /// The vendor's own commands and their effects, for the console.
    pub commands: &'static [CommandRule],
    /// The vendor's own commands in the script of `modemfleet record`. They only read.
    pub script: &'static [Question],
}

impl Plugin {
    /// An empty plugin. A plugin that takes its other fields from here still builds when a field is
    /// added.
    pub const NONE: Self = Self {
        models: "models: []",
        profiles: &[],
        decoders: &[],
        codes: &[],
        lines: &[],
        commands: &[],
        script: &[],
    };
}

/// Some lines that hold a code, its place in them, and its meaning there.
#[derive(Clone, Copy)]
pub struct CodeTable {
    /// The names of the lines, without their colon: `+CMQTTPUB`.
    pub lines: &'static [&'static str],
    /// The issuer of the codes, as text.
    pub whose: &'static str,
    /// The place of the code among the arguments, from 0.
    pub at: usize,
    /// Returns the meaning of a number in the line of this name, which has no `+` here. `None` if
    /// no manual has it.
    pub meaning: fn(&str, i32) -> Option<ResultCode>,
}

/// A line that has a meaning by itself, regardless of its arguments.
#[derive(Clone, Copy)]
pub struct LineMeaning {
    /// Its name, without its colon: `+CMQTTNONET`.
    pub line: &'static str,
    /// Its meaning.
    pub says: &'static str,
    /// Advice; empty if there is nothing to do.
    pub advice: &'static str,
}

/// The meaning of a URC.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The modem booted, and lost its whole state.
    Booted,
    /// The SIM was removed, or waits for a code: the service restarts with it.
    SimLost,
    /// A line with which a boot ends, such as `PB DONE`. During service it shows a boot that was
    /// not announced.
    BootDone,
    /// A client's connection is gone. `by_broker` is true if the broker closed it.
    Lost {
        /// The client.
        client: Client,
        /// The vendor's cause as text.
        cause: &'static str,
        /// True if the broker closed it, not the network.
        by_broker: bool,
    },
    /// The stack's network is gone; the service must be started again.
    ServiceLost,
    /// A message came down.
    Message {
        /// The client of the subscription.
        client: Client,
        /// The message.
        message: Received,
    },
    /// A message came down, and the modem keeps it until it is fetched: [`Mqtt::fetch`].
    Pending {
        /// The client of the subscription.
        client: Client,
        /// The modem's place for it.
        slot: u8,
    },
    /// A message came down damaged or in part, and is lost: the damage as text.
    Damaged(&'static str),
    /// The registration changed.
    Registration(Registration),
    /// The modem warns of a state that an operator should know, such as its supply voltage.
    Warning(String),
}

impl Notice {
    /// Returns the meaning of a line from the standard: a registration (27.007 §7.2 and similar),
    /// or a SIM that is not ready any more (§8.3).
    pub fn standard(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(':')?;
        if name == "+CPIN" {
            // Only functions that networks do not need ask for the second PIN.
            let is_ready = matches!(rest.trim(), "READY" | "SIM PIN2" | "SIM PUK2");
            return (!is_ready).then_some(Self::SimLost);
        }
        let domain = Domain::ALL.into_iter().find(|domain| domain.prefix() == name)?;
        reply::unsolicited(domain, line).ok().map(Self::Registration)
    }
}

/// Reads the URCs of one modem. It may hold state: SIMCom sends a message in pieces.
///
/// ```
/// use at::Urc;
/// use modem::profile::{Listener, Notice};
///
/// /// A modem that prints `+POWERON` when it has booted.
/// struct Acme;
///
/// impl Listener for Acme {
///     fn hear(&mut self, urc: Urc) -> Option<Notice> {
///         match urc.line.as_str() {
///             "+POWERON" => Some(Notice::Booted),
///             line => Notice::standard(line),
///         }
///     }
/// }
/// ```
pub trait Listener: Send {
    /// Returns the meaning of this URC; `None` if it has none for us.
    fn hear(&mut self, urc: Urc) -> Option<Notice>;
}

/// The findings of a status poll. Unknown values are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// One entry per radio access technology in use.
    pub signals: Vec<Signal>,
    /// The aggregated carriers, if the module reports them; without aggregation one carrier.
    pub carriers: Vec<Carrier>,
    /// The module's temperature in °C.
    pub temperature_celsius: Option<f64>,
    /// The number of values that were left out as implausible.
    pub implausible: u32,
}

/// The dialect of one modem family. Each method is here because families differ in it. A method
/// that no profile overrides is a function beside the trait; a test of the repository checks that.
///
/// A family that has another vendor's MQTT stack, and a command of its own for the card's number:
///
/// ```
/// use async_trait::async_trait;
/// use at::Answer;
/// use modem::mqtt::Mqtt;
/// use modem::port::{At, Kind};
/// use modem::profile::{Framing, Listener, Profile, StepError, run};
/// use modem::reply;
///
/// struct Acme {
///     stack: &'static dyn Profile,
/// }
///
/// #[async_trait]
/// impl Profile for Acme {
///     fn id(&self) -> &'static str {
///         "acme"
///     }
///     fn framing(&self) -> Framing {
///         self.stack.framing()
///     }
///     fn listener(&self) -> Box<dyn Listener> {
///         self.stack.listener()
///     }
///     fn mqtt(&self) -> &dyn Mqtt {
///         self.stack.mqtt()
///     }
///     async fn iccid(&self, at: &At) -> Result<String, StepError> {
///         let lines = run(at, Kind::Status, "AT+CICCID", Answer::Prefix("+ICCID:")).await?;
///         Ok(reply::iccid("AT+CICCID", &["+ICCID"], &lines)?)
///     }
/// }
/// ```
///
/// The whole example is `profiles/example-out-of-tree`.
#[async_trait]
pub trait Profile: Send + Sync {
    /// The name of this profile in `models.yaml`.
    fn id(&self) -> &'static str;

    /// The meaning of the family's lines for the splitter.
    fn framing(&self) -> Framing;

    /// Creates a listener for the URCs of one modem.
    fn listener(&self) -> Box<dyn Listener>;

    /// Returns the MQTT stack.
    fn mqtt(&self) -> &dyn Mqtt;

    /// Reads the ICCID of the SIM card (ETSI TS 102 221 §13.2). 27.007 §8.76 has `+CCID` only since
    /// release 17; vendors have older commands of their own.
    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        let lines = run(at, Kind::Status, "AT+CCID", Answer::Prefix("+CCID:")).await?;
        Ok(reply::iccid("AT+CCID", &["+CCID"], &lines)?)
    }

    /// Reads the tries left for PIN and PUK of the SIM card (27.007 §8.65). Vendors have older
    /// commands of their own.
    async fn pin_tries(&self, at: &At) -> Result<PinTries, StepError> {
        pin_tries(at).await
    }

    /// Writes the login of an access point (27.007 §10.1.31), before the modem attaches with it.
    /// Vendors have older commands of their own.
    async fn log_in(&self, at: &At, login: &ApnLogin<'_>) -> Result<(), StepError> {
        apn::authenticate(at, login).await
    }

    /// Has the modem boot (27.007 §8.2). Returns `Ok` once the modem accepted the command.
    async fn reset(&self, at: &At) -> Result<(), StepError> {
        slow(at, "AT+CFUN=1,1").await
    }

    /// Reads signal, temperature and similar values, at low priority. The operator's name is not
    /// among them, since some modems ask the network for it.
    async fn status(&self, at: &At) -> Result<Status, StepError> {
        let mut status = Status::default();
        let lines = run(at, Kind::Status, "AT+CSQ", Answer::Prefix("+CSQ:")).await?;
        let rssi_dbm = reply::csq(&lines)?.rssi_dbm;
        let operator = operator(at).await?;
        if let (Some(rat), Some(rssi_dbm)) = (operator.act.and_then(reply::Act::rat), rssi_dbm) {
            let mut sieve = Sieve::default();
            let signal = Signal { rssi_dbm: Some(rssi_dbm), ..Signal::unknown(rat) };
            status.signals.push(signal.plausible(&mut sieve));
            status.implausible = sieve.implausible();
        }
        Ok(status)
    }
}

/// Sets the line after each boot: echo off (V.250 §6.2.4), numeric errors (27.007 §9.1). A modem
/// that refuses these settings is served all the same: an echo is recognised, and errors are read
/// as text too.
///
/// # Errors
/// [`StepError`] if the modem does not answer.
pub async fn prepare(at: &At) -> Result<(), StepError> {
    for line in ["ATE0", "AT+CMEE=1"] {
        for left in (0..PREPARATIONS).rev() {
            match run(at, Kind::Basic, line, Answer::None).await {
                // A modem that boots may refuse it, and accept it a moment later.
                Err(error) if error.is_refused() && left > 0 => tokio::time::sleep(SETTLE).await,
                Err(error) if error.is_refused() => {
                    tracing::warn!("{}", Chain(&error))
                }
                set => {
                    set?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Switches the radio off and on (27.007 §8.2). It avoids minimum functionality (0), which powers
/// the SIM down, so that the SIM would ask for its PIN again. Once the radio is off it is switched
/// on again whatever comes in between: some firmware reports that the SIM is not ready, or boots.
///
/// # Errors
/// [`StepError`].
///
/// # Cancel safety
/// None: half of it leaves the radio off. The caller holds a step of `Radio`.
pub async fn radio_cycle(at: &At) -> Result<(), StepError> {
    cycle(at, &["AT+CFUN=4"]).await
}

/// Cuts the supply of the SIM card and restores it, by minimum functionality (27.007 §8.2). If the
/// modem refuses that, its radio is switched off and on.
///
/// # Errors
/// [`StepError`].
///
/// # Cancel safety
/// None, as of [`radio_cycle`].
pub async fn card_cycle(at: &At) -> Result<(), StepError> {
    cycle(at, &["AT+CFUN=0", "AT+CFUN=4"]).await
}

/// Switches off with the first of these commands that is not refused, and on again. Both are one
/// step, even if the first has no answer: the radio may be off.
async fn cycle(at: &At, off: &[&str]) -> Result<(), StepError> {
    let mut switched = Ok(());
    for command in off {
        switched = slow(at, command).await;
        if !switched.as_ref().is_err_and(StepError::is_refused) {
            break;
        }
    }
    if switched.as_ref().is_err_and(|error| error.is_refused() || error.is_gone()) {
        return switched;
    }
    for _ in 1..TRIES {
        match slow(at, ON).await {
            Ok(()) => return switched,
            Err(error) if error.is_gone() => return Err(error),
            Err(error) => tracing::warn!("{ON}: {}", Chain(&error)),
        }
    }
    slow(at, ON).await.and(switched)
}

/// Reads the tries left for PIN and PUK (27.007 §8.65).
///
/// # Errors
/// [`StepError`].
pub async fn pin_tries(at: &At) -> Result<PinTries, StepError> {
    let lines = run(at, Kind::Status, "AT+CPINR", Answer::Prefix("+CPINR:")).await?;
    Ok(reply::pin_tries(&lines)?)
}

/// Full functionality (27.007 §8.2).
const ON: &str = "AT+CFUN=1";

/// Reads the modem's registration for data (27.007 §10.1.20, §10.1.22, §10.1.47): the first
/// registration in the given order of domains. If no domain is registered, it returns the most
/// informative state, and whether there is at least speech (§7.2). For a modem without a domain for
/// data, the domain of speech counts.
///
/// # Errors
/// [`StepError`] if no domain gave an answer.
pub async fn registration(at: &At, domains: &[Domain]) -> Result<Registration, StepError> {
    let mut told: Option<Registration> = None;
    let mut failed: Option<StepError> = None;
    let mut knows_none = true;
    let others = [Domain::Eps, Domain::Ps].into_iter().filter(|domain| !domains.contains(domain));
    for domain in domains.iter().copied().filter(|domain| domain.carries_data()).chain(others) {
        if !knows_none && !domains.contains(&domain) {
            continue;
        }
        match state_in(at, domain).await {
            Ok(found) if found.stat.is_registered() => return Ok(found),
            Ok(found) => {
                knows_none = false;
                if told.as_ref().is_none_or(|told| told.stat.weight() < found.stat.weight()) {
                    told = Some(found);
                }
            }
            Err(error) if error.is_gone() => return Err(error),
            Err(error) => {
                knows_none &= is_unknown(&error);
                failed.get_or_insert(error);
            }
        }
    }
    match (told, failed) {
        (Some(told), _) => {
            let speech = state_in(at, Domain::Cs).await;
            let voice_only = speech.is_ok_and(|speech| speech.stat.is_registered());
            Ok(Registration { voice_only, ..told })
        }
        (None, Some(error)) if !knows_none => Err(error),
        (None, _) => state_in(at, Domain::Cs).await,
    }
}

async fn state_in(at: &At, domain: Domain) -> Result<Registration, StepError> {
    let answer = Answer::Matching(reply::is_solicited);
    let lines = run(at, Kind::Status, domain.query(), answer).await?;
    Ok(reply::solicited(domain, &lines)?)
}

/// Reads the network in use (27.007 §7.3).
///
/// # Errors
/// [`StepError`].
pub async fn operator(at: &At) -> Result<reply::Operator, StepError> {
    let lines = run(at, Kind::Status, "AT+COPS?", Answer::Prefix("+COPS:")).await?;
    Ok(reply::operator(&lines)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_standard_mean_the_same_for_every_family() {
        for line in ["+CREG: 2", "+CGREG: 1", "+CEREG: 5", "+C5GREG: 1"] {
            assert!(matches!(Notice::standard(line), Some(Notice::Registration(_))), "{line}");
        }
        assert_eq!(Notice::standard("+CPIN: SIM REMOVED"), Some(Notice::SimLost));
        for nothing in
            ["+CPIN: READY", "+CPIN: SIM PIN2", "+CREG: x", "+CREGX: 1", "+CSQ: 1,1", "RDY", ""]
        {
            assert_eq!(Notice::standard(nothing), None, "{nothing}");
        }
    }
}
