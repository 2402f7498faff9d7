//! The network: an APN that is written only if it differs, and the meaning of the registration.

use std::sync::PoisonError;
use std::time::Duration;

use at::{Answer, Exchange};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

pub use crate::apn::{Apn, ApnLogin, ApnProtocol, CONTEXT, authenticate, secretly};
use crate::apn::{ApnAuth, quoted};
use crate::card::unlock;
use crate::chain::Chain;
use crate::core::Core;
use crate::end::End;
use crate::known::Known;
use crate::port::{At, Kind};
use crate::profile::{self, PATIENCE, Profile, StepError};
use crate::reply::{self, Context, ContextLogin, PdpType, Registration};

/// The longest wait to detach or attach, which involves the network: a Quectel manual allows 140 s
/// (EC2x AT manual, `AT+CGATT`).
const ATTACH: Duration = Duration::from_secs(140);

/// The time after an attach within which the same card is not attached again. A modem that forces a
/// restart that soon restarts because of the attach, and may never show the values that were
/// written. The slowest boot takes most of a minute.
const SETTLED: Duration = Duration::from_secs(60);

/// The outcome of writing one part of an access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is as wanted, or the modem refuses it.
    Not,
    /// The modem had another value.
    Changed,
    /// The modem does not show its earlier value.
    Unseen,
}

/// Writes the access point if it differs (27.007 §10.1.1): the context, then its login. A refusal
/// is logged as a warning and otherwise ignored, since the network may serve all the same.
///
/// # Errors
/// [`StepError`] if the modem booted or is gone.
pub async fn write(
    at: &At,
    apn: &Apn,
    profile: &dyn Profile,
    order: ApnAuth,
) -> Result<[Written; 2], StepError> {
    let (context, pdp_type) = unless_refused("access point", write_context(at, apn).await)?
        .unwrap_or((Written::Not, apn.pdp_type.unwrap_or_default()));
    let login = match login_of(apn, pdp_type, order) {
        Some(login) => unless_refused("login", write_login(at, &login, profile).await)?,
        None => None,
    };
    Ok([context, login.unwrap_or(Written::Not)])
}

/// Turns a refusal into a warning and `None`; a port that is gone and a boot stay errors.
fn unless_refused<T>(what: &str, done: Result<T, StepError>) -> Result<Option<T>, StepError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_gone() || error.is_boot() => Err(error),
        Err(error) => {
            tracing::warn!(
                "the {what} of the fleet file could not be written, and the modem keeps its own: {}",
                Chain(&error)
            );
            Ok(None)
        }
    }
}

/// Writes the context. Returns the outcome and the address family.
async fn write_context(at: &At, apn: &Apn) -> Result<(Written, PdpType), StepError> {
    let cid = u32::from(apn.cid);
    let asked = profile::run(at, Kind::Basic, "AT+CGDCONT?", Answer::Prefix("+CGDCONT:")).await;
    let contexts = asked.and_then(|lines| reply::contexts(&lines).map_err(StepError::from));
    let shown = match contexts {
        Ok(contexts) => contexts,
        Err(error) if error.is_gone() || error.is_boot() => return Err(error),
        Err(error) => {
            tracing::info!("the modem does not list its access points: {}", Chain(&error));
            Vec::new()
        }
    };
    // A modem that shows no context at all may have ours all the same.
    let written = if shown.is_empty() { Written::Unseen } else { Written::Changed };
    let current = shown.into_iter().find(|context| context.cid == cid);
    if let Some(kept) = current.and_then(|current| kept(&current, apn)) {
        return Ok((Written::Not, kept));
    }
    let pdp_type = apn.pdp_type.unwrap_or_default();
    let (kind, name) = (quoted(pdp_type.as_str())?, quoted(&apn.name)?);
    let line = format!("AT+CGDCONT={cid},{},{}", *kind, *name);
    profile::run(at, Kind::Basic, &line, Answer::None).await?;
    tracing::info!(apn = apn.name, cid, "access point written");
    Ok((written, pdp_type))
}

/// Returns the address family of a context that is as wanted, and `None` for another context.
fn kept(current: &Context, apn: &Apn) -> Option<PdpType> {
    let name = current.apn.as_deref().unwrap_or_default();
    let is_ip = |kind| matches!(kind, PdpType::Ipv4 | PdpType::Ipv6 | PdpType::Ipv4v6);
    let fits = |kind: PdpType| apn.pdp_type.map_or_else(|| is_ip(kind), |wanted| wanted == kind);
    current.pdp_type.filter(|kind| is_same_name(name, &apn.name) && fits(*kind))
}

/// Returns the wanted login; `None` leaves the modem's login alone.
fn login_of(apn: &Apn, pdp_type: PdpType, order: ApnAuth) -> Option<ApnLogin<'_>> {
    let wanted = apn.auth.or(apn.login.as_ref().map(|_| ApnProtocol::Chap))?;
    let protocol = match (wanted, order) {
        (ApnProtocol::Chap, ApnAuth::UserFirstPap) => {
            if apn.auth.is_some() {
                tracing::warn!("this modem does not support CHAP: the login is sent by PAP");
            }
            ApnProtocol::Pap
        }
        (wanted, _) => wanted,
    };
    let login = apn.login.as_ref().filter(|_| protocol != ApnProtocol::None);
    let login = login.map(|(user, password)| (user.as_str(), password));
    Some(ApnLogin { cid: apn.cid, apn: &apn.name, pdp_type, protocol, login, order })
}

/// Writes the login, unless the modem shows that it has it already.
async fn write_login(
    at: &At,
    login: &ApnLogin<'_>,
    profile: &dyn Profile,
) -> Result<Written, StepError> {
    let written = match shown_logins(at).await? {
        Some(shown) => compare(&shown, login),
        None => Written::Unseen,
    };
    if written != Written::Not {
        profile.log_in(at, login).await?;
    }
    Ok(written)
}

/// Returns the logins that the modem shows; `None` if it shows none.
async fn shown_logins(at: &At) -> Result<Option<Vec<ContextLogin>>, StepError> {
    let exchange = Exchange::new("AT+CGAUTH?", PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "a command", source })?
        .answer(Answer::Prefix("+CGAUTH:"))
        .secret_answer();
    let asked = at.run(Kind::Basic, exchange).await.map_err(StepError::from);
    let shown = asked.and_then(|reply| Ok(reply::context_logins(&reply.lines)?));
    match shown {
        Ok(shown) if shown.is_empty() => Ok(None),
        Ok(shown) => Ok(Some(shown)),
        Err(error) if error.is_gone() || error.is_boot() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Compares the logins that the modem shows with the wanted login.
fn compare(shown: &[ContextLogin], wanted: &ApnLogin<'_>) -> Written {
    let protocol = wanted.protocol.number();
    let shown = shown.iter().find(|shown| shown.cid == u32::from(wanted.cid));
    let Some(shown) = shown.filter(|shown| shown.protocol != ApnProtocol::None.number()) else {
        let is_same = protocol == ApnProtocol::None.number();
        return if is_same { Written::Not } else { Written::Changed };
    };
    let Some((user, password)) = wanted.login else { return Written::Changed };
    let password = password.expose_secret();
    // The order in which they are shown differs among models, as the order in the command does.
    let others = || shown.texts.iter().filter(|text| text.as_str() != user);
    let shows_user = shown.texts.iter().any(|text| text.as_str() == user);
    let shows_password = shown.texts.iter().any(|text| text.as_str() == password);
    let hides_password = others().all(|text| text.bytes().all(|byte| byte == b'*'));
    match (shows_user, shows_password || password.is_empty() && hides_password) {
        (true, true) if shown.protocol == protocol => Written::Not,
        // The modem may show the protocols that it accepts, such as either, instead of its own.
        (true, true) => Written::Unseen,
        (true, false) if hides_password => Written::Unseen,
        (false, _) if shown.texts.is_empty() => Written::Unseen,
        _ => Written::Changed,
    }
}

/// Writes the access point of the fleet file, and attaches again if that changed something. The
/// network learned the old access point when the modem attached (24.301 §5.5.1.2; in LTE the
/// default bearer comes with the attach).
pub(crate) async fn access_point(core: &Core, at: &At, known: &Known) -> Result<(), End> {
    let Some(apn) = core.config.apn.as_ref().filter(|_| core.config.radio_is_ours) else {
        return Ok(());
    };
    let written = write(at, apn, known.profile, known.model.apn_auth).await?;
    if written == [Written::Not; 2] {
        return Ok(());
    }
    let place = place(at, known).await?;
    let wanted = fingerprint(apn);
    if !written.contains(&Written::Changed) && is_in_force(core, &place, &wanted).await {
        return Ok(());
    }
    if !may_attach_anew(core, &place) {
        tracing::warn!("the modem did not keep the access point that was written");
        return Ok(());
    }
    tracing::info!(apn = apn.name, "attaching again with the access point that was written");
    {
        let _step = core.radio.step();
        if attach_anew(at).await?
            && let Err(error) = core.env.ledger.attached_with(&place, &wanted).await
        {
            tracing::warn!("could not note which access point is in force: {error}");
        }
    }
    // Some firmware restarts the card.
    unlock(core, at, known).await
}

/// Returns the name of this modem and card in the ledger.
async fn place(at: &At, known: &Known) -> Result<String, End> {
    let iccid = match known.profile.iccid(at).await {
        Ok(iccid) => iccid,
        Err(error) if error.is_gone() || error.is_boot() => return Err(error.into()),
        Err(_) => "untold".to_owned(),
    };
    Ok(format!("{iccid} in {}", known.imei))
}

/// Reports whether this access point came into force last. If the ledger fails, the answer is yes:
/// otherwise the modem would be attached again at each start.
async fn is_in_force(core: &Core, place: &str, wanted: &SecretString) -> bool {
    match core.env.ledger.is_attached_with(place, wanted).await {
        Ok(is_in_force) => is_in_force,
        Err(error) => {
            tracing::warn!("which access point is in force was not noted: {error}");
            true
        }
    }
}

fn may_attach_anew(core: &Core, place: &str) -> bool {
    let mut last = core.radio.attached.lock().unwrap_or_else(PoisonError::into_inner);
    let may = last.as_ref().is_none_or(|(was, at)| was != place || at.elapsed() >= SETTLED);
    if may {
        *last = Some((place.to_owned(), Instant::now()));
    }
    may
}

/// Joins all parts of an access point in one text.
fn fingerprint(apn: &Apn) -> SecretString {
    let Apn { name, cid, pdp_type, login, auth } = apn;
    let (user, password) = login
        .as_ref()
        .map_or(("", ""), |(user, password)| (user.as_str(), password.expose_secret()));
    let kind = pdp_type.map_or("", PdpType::as_str);
    let auth = auth.map_or(9, ApnProtocol::number);
    // No part holds a line feed.
    SecretString::from([&cid.to_string(), name, kind, &auth.to_string(), user, password].join("\n"))
}

/// Detaches and attaches, and reports whether that was done. It switches the radio off and on: in
/// LTE the network then learns the access point again, and no port is blocked while there is no
/// network. A modem without flight mode detaches from the packet domain instead (27.007 §10.1.9).
async fn attach_anew(at: &At) -> Result<bool, StepError> {
    match profile::radio_cycle(at).await {
        Ok(()) => return Ok(true),
        Err(error) if error.is_refused() => tracing::info!("flight mode failed: {}", Chain(&error)),
        Err(error) => return or_gone(error),
    }
    for state in [0, 1] {
        let exchange = Exchange::new(format!("AT+CGATT={state}"), ATTACH)
            .map_err(|source| StepError::Unsendable { what: "a command", source })?;
        match at.run(Kind::Setup, exchange).await {
            // Without an answer, the modem may still have detached.
            Err(error) if state == 1 || error.refusal().is_some() => return or_gone(error.into()),
            _ => {}
        }
    }
    Ok(true)
}

fn or_gone(error: StepError) -> Result<bool, StepError> {
    if error.is_gone() {
        return Err(error);
    }
    tracing::warn!("the access point that was written may not be in force: {}", Chain(&error));
    Ok(false)
}

/// Reports whether a name that the modem shows means this access point. While a context is up, some
/// firmware (A76xx) appends the operator's identifier: `cmnet.MNC000.MCC460.GPRS` (23.003 §9.1.2).
#[must_use]
pub fn is_same_name(told: &str, wanted: &str) -> bool {
    let digits = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_operator = |text: &str| {
        let mut labels = text.split('.');
        let mut number = |name: &str| labels.next()?.strip_prefix(name).filter(|n| digits(n));
        number("MNC").is_some()
            && number("MCC").is_some()
            && labels.next() == Some("GPRS")
            && labels.next().is_none()
    };
    let (told, wanted) = (told.to_ascii_uppercase(), wanted.to_ascii_uppercase());
    match told.strip_prefix(&wanted) {
        Some("") => true,
        Some(rest) => !wanted.is_empty() && rest.strip_prefix('.').is_some_and(is_operator),
        None => false,
    }
}

/// Checks that sessions may open.
///
/// # Errors
/// The reason in words.
pub fn may_serve(registration: &Registration, roaming_allowed: bool) -> Result<(), String> {
    let stat = registration.stat;
    if !stat.is_registered() {
        return Err(registration.in_words());
    }
    if stat.is_roaming() && !roaming_allowed {
        return Err("registered, but roaming, and the fleet file has `roaming: deny`".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_point_is_the_same_with_its_operator_behind_it() {
        for (told, wanted, same) in [
            ("cmnet", "CMNET", true),
            ("nodata.MNC011.MCC460.GPRS", "nodata", true),
            ("NODATA.mnc011.mcc460.gprs", "nodata.MNC011.MCC460.GPRS", true),
            ("", "", true),
            ("cmnet", "", false),
            (".MNC011.MCC460.GPRS", "", false),
            ("cmnet.MNC11.MCC460.GPRS", "cmnet", false),
            ("cmnet.MNC011.MCC460", "cmnet", false),
            ("cmnet.MNC011.MCC460.GPRS.x", "cmnet", false),
            ("cmnet.test", "cmnet", false),
            ("cmnet", "cmnet.MNC011.MCC460.GPRS", false),
        ] {
            assert_eq!(is_same_name(told, wanted), same, "{told:?} {wanted:?}");
        }
    }
}
