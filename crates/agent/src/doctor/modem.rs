//! One modem: its identity, its card, its network, its access point and its clock.

use std::time::SystemTime;

use modem::State;
use modem::attach::is_same_name;
use modem::exam::{Exam, has_lost_imei};
use modem::reply::{Lock, Pin, PinTries, Rat, Registration, Signal, Stat, cme_advice};

use super::Finding;
use super::usb::LOST_IMEI;
use discovery::is_identity;
use fleet::{Owner, Roaming};

/// Below this a connection breaks off now and then (LTE, NR: reference signal; 3GPP 36.133 measures
/// to -140).
const WEAK_RSRP_DBM: f64 = -110.0;

/// The same for GSM and WCDMA, of the total received power.
const WEAK_RSSI_DBM: f64 = -100.0;

/// The least difference of clocks, in seconds, that an unknown time zone cannot explain.
const FAR_OFF_S: u64 = 86_400;

/// A PIN that the fleet file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenPin {
    /// The file gives none.
    None,
    /// The file gives a PIN that this card has not refused.
    Untried,
    /// The file gives a PIN that this card refused: it is not tried again.
    Refused,
}

/// Observed facts of a modem.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its answers, or the reason why it was not asked.
    pub exam: Result<Exam, String>,
    /// Its state and the reason, if an agent runs.
    pub state: Option<(State, Option<String>)>,
    /// The PIN of its card.
    pub pin: GivenPin,
    /// True if this machine's clock is right, as far as known: the modem's may be set by it.
    pub may_set_clock: bool,
}

impl Seen {
    /// Returns the findings on the modem. Without an answer, or without a ready card, the checks
    /// that depend on it are left out.
    pub fn findings(&self, modem: &fleet::Modem) -> Vec<Finding> {
        let exam = match &self.exam {
            Ok(exam) => exam,
            Err(why) => return vec![self.unasked(why)],
        };
        let mut findings = vec![identity(exam, &modem.matching)];
        let card = self.card(exam);
        let is_ready = matches!(&exam.card, Ok(pin) if pin.lock.lets_data_through());
        findings.push(card);
        if is_ready {
            findings.push(network(exam, modem.roaming));
            findings.extend(signal(exam));
            findings.push(self.apn(exam, modem));
            findings.extend(address(exam));
        }
        findings.push(self.clock(exam, modem));
        findings.extend(self.state.as_ref().and_then(state));
        findings
    }

    fn unasked(&self, why: &str) -> Finding {
        let advice = match &self.state {
            _ if has_lost_imei(why) => LOST_IMEI,
            _ if why.contains("no profile speaks its dialect") => {
                "if the modem speaks like a known model, a file of models can say so: docs/models.md"
            }
            _ if why.contains("on PCIe") => {
                "use a carrier for USB, or set the modem to its USB mode; `modemfleet scan` then shows its ports"
            }
            Some((State::Failed, _)) => {
                "correct `match` if another modem is meant; else read the dialogue (`modemfleet log --trace MODEM`), and cut the modem's power for a moment"
            }
            _ => {
                "check that this is an AT port (`modemfleet scan`); unplug the modem and plug it in again, or cut its power"
            }
        };
        Finding::fail("modem", why.to_owned(), advice)
    }

    fn card(&self, exam: &Exam) -> Finding {
        let check = "sim";
        let pin = match &exam.card {
            Ok(pin) => pin,
            Err(why) => {
                return Finding::warn(
                    check,
                    format!("the modem gave no usable answer: {why}"),
                    "try again",
                );
            }
        };
        let tries = exam.tries.as_ref().copied().unwrap_or_default();
        match pin.lock {
            Lock::None => Finding::ok(check, "ready"),
            Lock::SimPin2 | Lock::SimPuk2 => Finding::ok(
                check,
                "ready; the SIM asks for its second PIN or PUK, which data does not need",
            ),
            Lock::SimPin => self.wants_pin(tries),
            Lock::SimPuk => Finding::fail(
                check,
                format!("locked after wrong PINs; it needs its PUK{}", left(tries.puk)),
                "ask the operator for the PUK and enter it in a phone; ten wrong PUKs disable the SIM for ever",
            ),
            lock => match lock.bond() {
                Some(bond) => Finding::fail(
                    check,
                    bond,
                    "use a SIM that the modem accepts, or have its seller remove the lock",
                ),
                None => unknown_card(pin),
            },
        }
    }

    fn wants_pin(&self, tries: PinTries) -> Finding {
        let (check, left) = ("sim", left(tries.pin));
        match self.pin {
            GivenPin::None => Finding::fail(
                check,
                format!("needs its PIN{left}; the fleet file has none"),
                "set `pin: { file: … }` for this modem, or remove the SIM's PIN in a phone",
            ),
            GivenPin::Refused => Finding::fail(
                check,
                format!("refused the PIN of the fleet file{left}; it is not tried again"),
                "correct the PIN's file, then `modemfleet reload` (a credential needs a restart of the agent): another PIN is tried once",
            ),
            GivenPin::Untried if tries.pin == Some(1) => Finding::fail(
                check,
                "needs its PIN, with one try left, which the agent does not use",
                "enter the PIN in a phone or by hand: the right PIN restores the other tries, a wrong one locks the SIM",
            ),
            GivenPin::Untried => {
                Finding::ok(check, format!("needs its PIN{left}; the fleet file has it"))
            }
        }
    }

    fn apn(&self, exam: &Exam, modem: &fleet::Modem) -> Finding {
        let check = "apn";
        let context = match &exam.context {
            Ok(context) => context.as_ref(),
            Err(why) => {
                return Finding::warn(
                    check,
                    format!("the modem gave no usable answer: {why}"),
                    "try again",
                );
            }
        };
        let shown = context.and_then(|context| context.apn.as_deref()).unwrap_or_default();
        let Some(wanted) = &modem.apn else {
            return match (context, shown) {
                (None, _) => Finding::fail(
                    check,
                    "the modem has no context 1, and the fleet file names no access point",
                    "set `apn: NAME`; the operator knows the name",
                ),
                (Some(_), "") => Finding::ok(check, "none: the network chooses"),
                (Some(_), shown) => Finding::ok(check, format!("{shown}, the modem's own setting")),
            };
        };
        let has_kind = context.is_some_and(|context| {
            wanted.kind.map_or(context.pdp_type.is_some(), |kind| context.pdp_type == Some(kind))
        });
        if has_kind && is_same_name(shown, &wanted.name) {
            return Finding::ok(check, format!("{shown}, as in the fleet file"));
        }
        let kind = wanted.kind.map(|kind| format!(" ({})", kind.as_str())).unwrap_or_default();
        let message = format!("the modem has {shown:?}, the fleet file {:?}{kind}", wanted.name);
        match self.state {
            _ if modem.radio == Owner::Leave => Finding::warn(
                check,
                format!("{message}; with `radio: leave` the agent writes none"),
                "set it in the program that owns the radio, and remove `apn` from the fleet file",
            ),
            None => Finding::ok(check, format!("{message}: the agent writes it when it starts")),
            Some(_) => Finding::warn(
                check,
                message,
                "another program changes it; unplug the modem and plug it in again, and the agent writes it",
            ),
        }
    }

    fn clock(&self, exam: &Exam, modem: &fleet::Modem) -> Finding {
        let check = "clock";
        let needs_it = modem
            .sessions
            .iter()
            .any(|session| session.tls.as_ref().is_some_and(|tls| !tls.is_insecure()));
        let (clock, now) = match &exam.clock {
            Ok((clock, now)) => (clock, *now),
            Err(why) => {
                return Finding::warn(
                    check,
                    format!("the modem gave no usable answer: {why}"),
                    "try again",
                );
            }
        };
        let shown = match (&clock.iso8601, clock.unix_seconds) {
            (Some(shown), Some(seconds)) => {
                let off = seconds.abs_diff(unix(now));
                if off <= FAR_OFF_S {
                    return Finding::ok(check, format!("shows {shown}"));
                }
                format!("shows {shown}, {} days from this machine's time", off / FAR_OFF_S)
            }
            _ => "is not set: no network gave the time".to_owned(),
        };
        match (needs_it, self.may_set_clock) {
            (false, _) => {
                Finding::ok(check, format!("{shown}; only TLS needs it, and no session uses TLS"))
            }
            (true, true) => Finding::warn(
                check,
                format!("{shown}; certificates are checked against it"),
                "the agent sets it from this machine's clock before it connects: check that clock",
            ),
            (true, false) => Finding::fail(
                check,
                format!("{shown}, and this machine's clock was never set either"),
                "set this machine's clock, for example with `timedatectl set-ntp true`: the agent then sets the modem's",
            ),
        }
    }
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns words such as `, with 2 tries left`.
fn left(tries: Option<u32>) -> String {
    match tries {
        Some(1) => ", with one try left".to_owned(),
        Some(tries) => format!(", with {tries} tries left"),
        None => String::new(),
    }
}

fn identity(exam: &Exam, matching: &fleet::Match) -> Finding {
    let is = &exam.identity;
    let iccid = exam.iccid.as_deref().ok();
    let differs = [
        ("imei", matching.imei.as_deref(), Some(is.imei.as_str()), false),
        ("iccid", matching.iccid.as_deref(), iccid, false),
        ("model", matching.model.as_deref(), Some(is.model.as_str()), true),
    ];
    for (key, wanted, found, is_model) in differs {
        let (Some(wanted), Some(found)) = (wanted, found) else { continue };
        let fits = if is_model { is.is_model(wanted) } else { wanted == found };
        if !fits {
            return Finding::fail(
                "modem",
                format!("the fleet file names {key} {wanted}, but the modem there has {found}"),
                "correct `match`, or plug in the right modem; `modemfleet scan` lists all modems",
            );
        }
    }
    if !is_identity(&is.imei) {
        let message = format!("{} answers, and its IMEI is all zeros", is.model);
        return Finding::warn("modem", message, LOST_IMEI);
    }
    Finding::ok("modem", format!("{} answers, with the profile {}", is.model, exam.model.profile))
}

fn unknown_card(pin: &Pin) -> Finding {
    let check = "sim";
    if pin.sim_present == Some(false) {
        return Finding::fail(
            check,
            "no SIM is inserted",
            "insert one, the right way round and up to its stop; some boards have two holders, or need the power off first",
        );
    }
    let advice = pin.code.and_then(cme_advice);
    let text = pin.text.as_deref().unwrap_or("no reason is known");
    Finding::fail(
        check,
        format!("not ready: {text}"),
        advice.unwrap_or(
            "wait half a minute and try again; then take the SIM out and insert it again, or test it in a phone",
        ),
    )
}

fn network(exam: &Exam, roaming: Roaming) -> Finding {
    let check = "network";
    let registration = match &exam.registration {
        Ok(registration) => registration,
        Err(why) => {
            return Finding::warn(
                check,
                format!("the modem gave no usable answer: {why}"),
                "try again",
            );
        }
    };
    let stat = registration.stat;
    if stat.is_registered() && stat.is_roaming() && roaming == Roaming::Deny {
        return Finding::fail(
            check,
            "registered, but roaming, and the fleet file has `roaming: deny`",
            "set `roaming: allow` for this modem, if its tariff allows roaming",
        );
    }
    if stat.is_registered() {
        return Finding::ok(check, registered(registration, exam));
    }
    let (words, advice) = match stat {
        Stat::Denied => (
            "the network denies data to this SIM or this modem",
            "ask the operator whether the SIM is active with a data plan, and whether the IMEI is blocked; test the SIM in a phone",
        ),
        Stat::NotRegistered => (
            "not registered, and not searching for a network",
            "the radio may be off (`AT+CFUN?` should answer 1), or the operator was chosen by hand (`AT+COPS=0` makes the choice automatic)",
        ),
        Stat::Searching => (
            "searching for a network; none found yet",
            "wait a minute after the plug-in; then check antenna and place, and whether the modem supports the operator's bands",
        ),
        Stat::Unknown => {
            ("out of coverage", "check the antenna, its cable and place, and the operator's bands")
        }
        other => (other.in_words(), "ask the operator whether this SIM has a data plan"),
    };
    let voice = if registration.voice_only { "; it is registered for voice only" } else { "" };
    Finding::fail(check, format!("{words} ({}){voice}", stat.as_str()), advice)
}

fn registered(registration: &Registration, exam: &Exam) -> String {
    let how = if registration.stat.is_roaming() { "roaming" } else { "at home" };
    let operator = exam.operator.as_ref().ok().and_then(|network| network.operator.as_deref());
    let operator = operator.map(|name| format!(", {name}")).unwrap_or_default();
    let rat = registration.act.and_then(modem::reply::Act::rat).map(Rat::as_str);
    let rat = rat.map(|rat| format!(", {rat}")).unwrap_or_default();
    format!("registered {how}{operator}{rat}")
}

fn signal(exam: &Exam) -> Option<Finding> {
    let check = "signal";
    let signals = &exam.status.as_ref().ok()?.signals;
    let is_registered = exam.registration.as_ref().is_ok_and(|r| r.stat.is_registered());
    let told: Vec<(bool, String)> = signals.iter().filter_map(strength).collect();
    let words: Vec<&str> = told.iter().map(|(_, words)| words.as_str()).collect();
    if told.is_empty() {
        let advice = "try again in a minute; then check the antenna";
        return is_registered
            .then(|| Finding::warn(check, "the modem reports no signal strength", advice));
    }
    // A second radio may be weak beside a good one.
    if told.iter().all(|(weak, _)| *weak) {
        return Some(Finding::warn(
            check,
            format!("weak: {}", words.join(", ")),
            "move the antenna, use a better or a second one, or a shorter cable",
        ));
    }
    Some(Finding::ok(check, words.join(", ")))
}

/// Returns true if a signal is weak, with its strength in words.
fn strength(signal: &Signal) -> Option<(bool, String)> {
    let rat = signal.rat.as_str();
    match (signal.rsrp_dbm, signal.rssi_dbm) {
        (Some(rsrp), _) => Some((rsrp < WEAK_RSRP_DBM, format!("{rat} RSRP {rsrp:.0} dBm"))),
        (None, Some(rssi)) => Some((rssi < WEAK_RSSI_DBM, format!("{rat} RSSI {rssi:.0} dBm"))),
        (None, None) => None,
    }
}

/// Without a registration no address is expected.
fn address(exam: &Exam) -> Option<Finding> {
    let check = "address";
    let is_registered = exam.registration.as_ref().is_ok_and(|r| r.stat.is_registered());
    match &exam.address {
        Ok(Some(address)) => Some(Finding::ok(check, format!("the network gave {address}"))),
        Ok(None) if is_registered => Some(Finding::fail(
            check,
            "registered, but the network gave no address",
            "compare `apn` (name, type, user, password) with the operator's data; the SIM may have no data plan, or no volume left",
        )),
        Ok(None) => None,
        Err(why) => Some(Finding::warn(
            check,
            format!("the modem gave no usable answer: {why}"),
            "try again",
        )),
    }
}

/// Returns the finding on the state that the running agent reports.
fn state((state, reason): &(State, Option<String>)) -> Option<Finding> {
    let reason = reason.as_deref().unwrap_or("no reason is known");
    let words = format!("{}: {reason}", state.as_str());
    match state {
        State::Failed => Some(Finding::fail(
            "state",
            words,
            "see the reason, and the log for the recovery so far; unplug the modem and plug it in again to start at once",
        )),
        State::Recovering => {
            Some(Finding::warn("state", words, "wait: recovery is under way, see docs/recovery.md"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
