//! The network: an APN that is written only where it differs, and what the registration means.

use at::{Answer, Exchange};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::catalog::ApnAuth;
use crate::port::{At, Kind};
use crate::profile::{self, PATIENCE, StepError};
use crate::reply::{self, PdpType, Registration};

/// The context that SIMCom's MQTT service activates, and that LTE attaches with.
pub(crate) const CONTEXT: u32 = 1;

/// Protocols of `AT+CGAUTH` (27.007 §10.1.31).
const PAP: u8 = 1;
const CHAP: u8 = 2;

/// An access point.
#[derive(Debug, Clone)]
pub struct Apn {
    /// Its name.
    pub name: String,
    /// Address family.
    pub pdp_type: PdpType,
    /// User and password, for operators that ask for them.
    pub login: Option<(String, SecretString)>,
}

/// Sets the access point of context 1 where it is another one now (27.007 §10.1.1). Writing it anew
/// would drop the session of a network that is up.
///
/// # Errors
/// [`StepError`].
pub async fn set_apn(at: &At, apn: &Apn, order: ApnAuth) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Basic, "AT+CGDCONT?", Answer::Prefix("+CGDCONT:")).await?;
    let current = reply::contexts(&lines)?.into_iter().find(|context| context.cid == CONTEXT);
    let same = current.is_some_and(|context| {
        let name = context.apn.unwrap_or_default();
        is_same_name(&name, &apn.name) && context.pdp_type == Some(apn.pdp_type)
    });
    if !same {
        let line = format!(
            "AT+CGDCONT={CONTEXT},{},{}",
            *quoted(apn.pdp_type.as_str())?,
            *quoted(&apn.name)?
        );
        profile::run(at, Kind::Basic, &line, Answer::None).await?;
        tracing::info!(apn = apn.name, "access point written");
    }
    match &apn.login {
        Some((user, password)) => log_in(at, user, password, order).await,
        None => Ok(()),
    }
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

/// Sets user and password, by CHAP (27.007 §10.1.31: 2) where the modem knows it. It lives in RAM, so it is written each time.
async fn log_in(
    at: &At,
    user: &str,
    password: &SecretString,
    order: ApnAuth,
) -> Result<(), StepError> {
    let (user, password) = (quoted(user)?, quoted(password.expose_secret())?);
    let (protocol, first, second) = match order {
        ApnAuth::UserFirst => (CHAP, user, password),
        ApnAuth::PasswordFirst => (CHAP, password, user),
        ApnAuth::UserFirstPap => (PAP, user, password),
    };
    let line = format!("AT+CGAUTH={CONTEXT},{protocol},{},{}", *first, *second);
    let exchange = Exchange::new(line, PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "the login of the access point", source })?
        .shown_as(format!("AT+CGAUTH={CONTEXT},{protocol},***"));
    at.run(Kind::Basic, exchange).await?;
    Ok(())
}

fn quoted(value: &str) -> Result<Zeroizing<String>, StepError> {
    at::quote(value)
        .map(Zeroizing::new)
        .map_err(|source| StepError::Unsendable { what: "the access point", source })
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
        return Err("registered, but roaming, which `roaming: deny` forbids".to_owned());
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
