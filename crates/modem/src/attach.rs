//! The network: an APN that is written only where it differs, and what the registration means.

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

/// Detaching and attaching ask the network: a Quectel's manual allows 140 s (EC2x AT manual, `AT+CGATT`).
const ATTACH: Duration = Duration::from_secs(140);

/// A modem that makes us begin anew within this time of an attach is not attached anew with the same card: it was the
/// attach that did, and what the modem shows may never be what was written. The slowest boot takes most of a minute.
const SETTLED: Duration = Duration::from_secs(60);

/// What became of one part of an access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is as wanted, or the modem does not take it.
    Not,
    /// The modem had another one.
    Changed,
    /// The modem does not show what it had.
    Unseen,
}

/// Writes the access point where it is another one now (27.007 §10.1.1): the context, then its login. What is refused is
/// warned of and left, since the network may serve all the same.
///
/// # Errors
/// [`StepError`] where the modem booted or is gone.
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

/// What the modem refuses is a warning; a port that is gone and a boot are errors.
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

/// Writes the context; what became of it, and its address family.
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
    // One that shows none at all may have ours all the same.
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

/// The address family of a context that is as wanted; `None` for another one.
fn kept(current: &Context, apn: &Apn) -> Option<PdpType> {
    let name = current.apn.as_deref().unwrap_or_default();
    let is_ip = |kind| matches!(kind, PdpType::Ipv4 | PdpType::Ipv6 | PdpType::Ipv4v6);
    let fits = |kind: PdpType| apn.pdp_type.map_or_else(|| is_ip(kind), |wanted| wanted == kind);
    current.pdp_type.filter(|kind| is_same_name(name, &apn.name) && fits(*kind))
}

/// The login that is wanted; `None` where nothing is to be said of it.
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

/// Writes the login, unless the modem shows that it has it.
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

/// The logins that the modem shows; `None` where it shows none.
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

/// What the modem shows beside what is wanted.
fn compare(shown: &[ContextLogin], wanted: &ApnLogin<'_>) -> Written {
    let protocol = wanted.protocol.number();
    let shown = shown.iter().find(|shown| shown.cid == u32::from(wanted.cid));
    let Some(shown) = shown.filter(|shown| shown.protocol != ApnProtocol::None.number()) else {
        let is_same = protocol == ApnProtocol::None.number();
        return if is_same { Written::Not } else { Written::Changed };
    };
    let Some((user, password)) = wanted.login else { return Written::Changed };
    let password = password.expose_secret();
    // In which order they are shown is as different as how they are told.
    let others = || shown.texts.iter().filter(|text| text.as_str() != user);
    let shows_user = shown.texts.iter().any(|text| text.as_str() == user);
    let shows_password = shown.texts.iter().any(|text| text.as_str() == password);
    let hides_password = others().all(|text| text.bytes().all(|byte| byte == b'*'));
    match (shows_user, shows_password || password.is_empty() && hides_password) {
        (true, true) if shown.protocol == protocol => Written::Not,
        // It may tell what it takes, such as either protocol, instead of what was written.
        (true, true) => Written::Unseen,
        (true, false) if hides_password => Written::Unseen,
        (false, _) if shown.texts.is_empty() => Written::Unseen,
        _ => Written::Changed,
    }
}

/// Writes the access point of the fleet file, and brings it into force where that changed something: the network
/// has been told the old one when the modem attached (24.301 §5.5.1.2; in LTE the default bearer comes with the
/// attach).
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
    // Some firmware powers the card anew.
    unlock(core, at, known).await
}

/// The modem and its card, as the ledger knows them.
async fn place(at: &At, known: &Known) -> Result<String, End> {
    let iccid = match known.profile.iccid(at).await {
        Ok(iccid) => iccid,
        Err(error) if error.is_gone() || error.is_boot() => return Err(error.into()),
        Err(_) => "untold".to_owned(),
    };
    Ok(format!("{iccid} in {}", known.imei))
}

/// Whether it was this one that came into force last. Where nobody can note it, it is taken for so: else the modem
/// would be attached anew at each start.
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

/// All that an access point says, as one text.
fn fingerprint(apn: &Apn) -> SecretString {
    let Apn { name, cid, pdp_type, login, auth } = apn;
    let (user, password) = login
        .as_ref()
        .map_or(("", ""), |(user, password)| (user.as_str(), password.expose_secret()));
    let kind = pdp_type.map_or("", PdpType::as_str);
    let auth = auth.map_or(9, ApnProtocol::number);
    // None of them holds a line feed.
    SecretString::from([&cid.to_string(), name, kind, &auth.to_string(), user, password].join("\n"))
}

/// Detaches and attaches; whether that was done. By the radio, which in LTE has the network told the access point anew,
/// and which blocks no port while there is no network; where the modem has no flight mode, by the packet domain
/// (27.007 §10.1.9).
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
            // An answer that stays out does not say that it stayed attached.
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

/// Whether a modem means this access point. While a context is up, some firmware (A76xx) tells its name with
/// the operator's identifier behind it: `cmnet.MNC000.MCC460.GPRS` (23.003 §9.1.2).
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

/// Whether sessions may open, or why not.
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
