//! An exam of a modem: its card, its network, its access point and its clock.
//!
//! All questions only read, so that they may be asked while the modem's sessions go on. As status
//! exchanges they wait for everything else at the port.

use std::time::{Duration, SystemTime};

use at::{Answer, Exchange, Failure, FinalCode};
use tokio::time::Instant;

use crate::catalog::{Catalog, Model};
use crate::chain::Chain;
use crate::identify;
use crate::location::Place;
use crate::port::{At, ExchangeError, Kind};
use crate::probe::{self, Identity, ProbeError};
use crate::profile::{self, PATIENCE, Profile, Status, StepError};
use crate::reply::{self, Clock, CmeError, Lock, Pin, PinTries, Registration};

/// The longest time for all questions together. A responsive modem takes a second. For a modem that
/// hangs, the caller must get its answer within the time of an HTTP request.
const WHOLE: Duration = Duration::from_secs(15);

/// The number of times that a question without an answer is asked.
const TRIES: u32 = 2;

/// An answer, or as text the reason why there is none.
pub type Reading<T> = Result<T, String>;

/// The answers of a modem. The outcome of one question does not affect the others.
#[derive(Debug, Clone)]
pub struct Exam {
    /// Its identity.
    pub identity: Identity,
    /// Its entry of the catalog.
    pub model: Model,
    /// True if its profile supports TLS.
    pub speaks_tls: bool,
    /// True if its profile can have the modem itself sign in at Alibaba Cloud.
    pub signs_aliyun: bool,
    /// The state of its card: the code that it waits for, if any.
    pub card: Reading<Pin>,
    /// The ICCID of its card.
    pub iccid: Reading<String>,
    /// The tries left for PIN and PUK.
    pub tries: Reading<PinTries>,
    /// Its registration.
    pub registration: Reading<Registration>,
    /// The network in use.
    pub operator: Reading<reply::Operator>,
    /// Signal, temperature and similar readings.
    pub status: Reading<Status>,
    /// The access point of the context that its MQTT service uses; `None` if that is not defined.
    pub context: Reading<Option<reply::Context>>,
    /// The address of that context; `None` if it has none.
    pub address: Reading<Option<std::net::IpAddr>>,
    /// The time of its clock, and this machine's time at that moment.
    pub clock: Reading<(Clock, SystemTime)>,
}

/// The way to an identified modem, for questions beside its service.
#[derive(Clone)]
pub struct Link {
    at: At,
    profile: &'static dyn Profile,
    model: Model,
    identity: Identity,
    /// The number of the context that it uses.
    cid: u8,
}

impl Link {
    /// Creates the way to an identified modem; `cid` is the number of the context that it uses.
    pub(crate) fn new(
        at: At,
        profile: &'static dyn Profile,
        model: Model,
        identity: Identity,
        cid: u8,
    ) -> Self {
        Self { at, profile, model, identity, cid }
    }

    /// Asks all questions. The port keeps its owner.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the questions that were not asked yet.
    pub async fn exam(&self) -> Exam {
        exam(&self.at, self.profile, self.model.clone(), self.identity.clone(), self.cid).await
    }
}

/// Opens a tty that is not in use, identifies the modem, asks all questions and closes the tty. It
/// sets echo and the form of errors as for service, which only the tty's next user sees. `cid` is
/// the number of the context that its sessions use.
///
/// # Errors
/// [`ProbeError`] if no modem is identified; the port is closed again in any case.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later, on a thread of its own.
pub async fn examine(place: &Place, catalog: &Catalog, cid: u8) -> Result<Exam, ProbeError> {
    let whole = probe::PATIENCE + WHOLE;
    probe::pass(place, catalog, whole, async |at, mut events| {
        let (model, profile, identity) =
            identify::with_profile(catalog, &at, &mut events, false).await?;
        let asking = async {
            profile::prepare(&at).await?;
            Ok(exam(&at, profile, model, identity, cid).await)
        };
        // URCs mean nothing here, but must be read.
        tokio::select! {
            found = asking => found,
            end = identify::ignore(&mut events) => Err(end),
        }
    })
    .await
}

async fn exam(at: &At, profile: &dyn Profile, model: Model, identity: Identity, cid: u8) -> Exam {
    let until = Instant::now() + WHOLE;
    Exam {
        speaks_tls: profile.mqtt().speaks_tls(),
        signs_aliyun: profile.mqtt().signs_aliyun(),
        card: read(until, card(at)).await,
        iccid: read(until, profile.iccid(at)).await,
        tries: read(until, profile.pin_tries(at)).await,
        registration: read(until, profile::registration(at, &model.registration)).await,
        operator: read(until, profile::operator(at)).await,
        status: read(until, profile.status(at)).await,
        context: read(until, context(at, cid)).await,
        address: read(until, address(at, cid)).await,
        clock: read(until, clock(at)).await,
        identity,
        model,
    }
}

async fn read<T>(
    until: Instant,
    asked: impl Future<Output = Result<T, StepError>> + Send,
) -> Reading<T> {
    match tokio::time::timeout_at(until, asked).await {
        Ok(answered) => answered.map_err(|error| Chain(&error).to_string()),
        Err(_) => Err(format!("no answer within {} s", WHOLE.as_secs())),
    }
}

/// Reads the card's state (27.007 §8.3). An error is an answer too: a modem without a card reports
/// one.
async fn card(at: &At) -> Result<Pin, StepError> {
    let exchange = Exchange::new("AT+CPIN?", PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "a command", source })?
        .answer(Answer::Prefix("+CPIN:"));
    match profile::persist(at, Kind::Status, exchange, TRIES).await {
        Ok(reply) => Ok(reply::pin(&reply.lines)?),
        Err(ExchangeError::Failed { failure: Failure::Refused { code, .. }, .. }) => {
            let error = match &code {
                FinalCode::Cme(text) => CmeError::of_line(&format!("+CME ERROR: {text}")).ok(),
                _ => None,
            };
            let untold = || Pin {
                lock: Lock::Unknown,
                ready: None,
                error: None,
                code: None,
                text: None,
                sim_present: None,
            };
            Ok(error.as_ref().map_or_else(untold, reply::pin_refused))
        }
        Err(error) => Err(error.into()),
    }
}

async fn context(at: &At, cid: u8) -> Result<Option<reply::Context>, StepError> {
    let lines = ask(at, "AT+CGDCONT?", "+CGDCONT:").await?;
    Ok(reply::contexts(&lines)?.into_iter().find(|context| context.cid == u32::from(cid)))
}

async fn address(at: &At, cid: u8) -> Result<Option<std::net::IpAddr>, StepError> {
    let lines = ask(at, "AT+CGPADDR", "+CGPADDR:").await?;
    let all = reply::context_addresses(&lines)?;
    let own = all.into_iter().find(|context| context.cid == u32::from(cid));
    Ok(own.and_then(|own| own.address.or(own.address_2)))
}

async fn clock(at: &At) -> Result<(Clock, SystemTime), StepError> {
    let lines = ask(at, "AT+CCLK?", "+CCLK:").await?;
    Ok((reply::clock(&lines)?, SystemTime::now()))
}

async fn ask(at: &At, line: &str, prefix: &'static str) -> Result<Vec<String>, StepError> {
    profile::run(at, Kind::Status, line, Answer::Prefix(prefix)).await
}

/// Reports whether an unidentified modem answers but has no IMEI; `why` is the reason that was
/// given.
pub fn has_lost_imei(why: &str) -> bool {
    why.contains("AT+CGSN") && (why.contains("gave no IMEI") || why.contains("ERROR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_an_imei_is_told_from_one_that_does_not_answer() {
        assert!(has_lost_imei(
            "no usable answer: AT+CGSN failed: the modem answered +CME ERROR: memory failure"
        ));
        assert!(has_lost_imei("AT+CGSN gave no IMEI but \"\""));
        assert!(!has_lost_imei("no usable answer: AT+CGSN failed: no answer within 3s"));
    }
}
