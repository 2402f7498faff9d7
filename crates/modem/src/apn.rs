//! The access point of a modem, and its login.

use at::{Answer, Exchange};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::port::{At, Kind};
use crate::reply::PdpType;
use crate::step::{PATIENCE, StepError, run};

/// The context that SIMCom's MQTT service activates, and with which LTE attaches.
pub const CONTEXT: u8 = 1;

/// An access point.
#[derive(Debug, Clone)]
pub struct Apn {
    /// Its name.
    pub name: String,
    /// The number of its context, from 1 to 15.
    pub cid: u8,
    /// Address family. `None` keeps the family of a context of this name, and is IPv4 for a new
    /// context.
    pub pdp_type: Option<PdpType>,
    /// User and password, for operators that ask for a login.
    pub login: Option<(String, SecretString)>,
    /// The protocol of the login. `None` leaves a context without login as it is.
    pub auth: Option<ApnProtocol>,
}

/// Protocols of `AT+CGAUTH` (27.007 §10.1.31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApnProtocol {
    /// There is no login.
    None,
    /// The password is sent in clear text.
    Pap,
    /// The password is proved, not sent.
    Chap,
}

impl ApnProtocol {
    /// Returns the protocol's number in `AT+CGAUTH` and in most vendors' commands.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Pap => 1,
            Self::Chap => 2,
        }
    }
}

/// A login of an access point, as a profile writes it.
#[derive(Debug)]
pub struct ApnLogin<'a> {
    /// The number of its context.
    pub cid: u8,
    /// The access point's name.
    pub apn: &'a str,
    /// Its address family.
    pub pdp_type: PdpType,
    /// The protocol of the login.
    pub protocol: ApnProtocol,
    /// User and password; `None` if the protocol is none.
    pub login: Option<(&'a str, &'a SecretString)>,
    /// The form of `AT+CGAUTH` on this model.
    pub order: ApnAuth,
}

/// The form of `AT+CGAUTH`: the order of user and password, and the protocol. The protocol is CHAP
/// unless the model only has PAP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApnAuth {
    /// The order of 27.007 §10.1.31.
    #[default]
    UserFirst,
    /// SIMCom's order.
    PasswordFirst,
    /// 27.007's order, with PAP only (SIM7020 manual V1.05 §3.2.45).
    UserFirstPap,
}

impl ApnLogin<'_> {
    /// Returns user and password in quotation marks, both empty if there is no login.
    ///
    /// # Errors
    /// [`StepError::Unsendable`].
    pub fn quoted(&self) -> Result<[Zeroizing<String>; 2], StepError> {
        let (user, password) =
            self.login.map_or(("", ""), |(user, password)| (user, password.expose_secret()));
        Ok([quoted(user)?, quoted(password)?])
    }
}

/// Writes a login as in 27.007 §10.1.31, in the order of the model.
///
/// # Errors
/// [`StepError`].
pub async fn authenticate(at: &At, login: &ApnLogin<'_>) -> Result<(), StepError> {
    let head = format!("AT+CGAUTH={},{}", login.cid, login.protocol.number());
    if login.login.is_none() {
        run(at, Kind::Basic, &head, Answer::None).await?;
        return Ok(());
    }
    let [user, password] = login.quoted()?;
    match login.order {
        ApnAuth::PasswordFirst => secretly(at, &head, [&password, &user]).await,
        ApnAuth::UserFirst | ApnAuth::UserFirstPap => secretly(at, &head, [&user, &password]).await,
    }
}

/// Sends a command whose last arguments are secret: logs show `***` for them.
///
/// # Errors
/// [`StepError`].
pub async fn secretly<'a>(
    at: &At,
    head: &str,
    secrets: impl IntoIterator<Item = &'a Zeroizing<String>> + Send,
) -> Result<(), StepError> {
    let mut line = Zeroizing::new(head.to_owned());
    for secret in secrets {
        line.push(',');
        line.push_str(secret);
    }
    let exchange = Exchange::new(line.as_str(), PATIENCE)
        .map_err(|source| StepError::Unsendable { what: "the login of the access point", source })?
        .shown_as(format!("{head},***"));
    at.run(Kind::Basic, exchange).await?;
    Ok(())
}

pub(crate) fn quoted(value: &str) -> Result<Zeroizing<String>, StepError> {
    at::quote(value)
        .map(Zeroizing::new)
        .map_err(|source| StepError::Unsendable { what: "the access point", source })
}
