//! The login of an access point by `AT+QICSGP`, the context of Quectel's TCP/IP stack. Its form in the TCP/IP
//! manuals and in public logs is `<context>,<type>,<name>,<user>,<password>,<authentication>`; it is not
//! verified on a unit.

use modem::attach::{ApnLogin, secretly};
use modem::port::At;
use modem::profile::StepError;
use modem::reply::PdpType;

/// Writes the whole context, since the command has no form for its login alone.
pub(crate) async fn log_in(at: &At, login: &ApnLogin<'_>) -> Result<(), StepError> {
    let [user, password] = login.quoted()?;
    let protocol = login.protocol.number().to_string().into();
    secretly(at, &head(login)?, [&user, &password, &protocol]).await
}

/// Returns the part of the command before the login.
fn head(login: &ApnLogin<'_>) -> Result<String, StepError> {
    let kind = match login.pdp_type {
        PdpType::Ipv6 => 2,
        PdpType::Ipv4v6 => 3,
        _ => 1,
    };
    let name = at::quote(login.apn)
        .map_err(|source| StepError::Unsendable { what: "the access point", source })?;
    Ok(format!("AT+QICSGP={},{kind},{name}", login.cid))
}

#[cfg(test)]
mod tests {
    use modem::attach::ApnProtocol;
    use modem::catalog::ApnAuth;

    use super::*;

    #[test]
    fn a_context_is_told_with_its_type_and_name() {
        for (pdp_type, wanted) in [
            (PdpType::Ipv4, r#"AT+QICSGP=3,1,"private.example""#),
            (PdpType::Ipv6, r#"AT+QICSGP=3,2,"private.example""#),
            (PdpType::Ipv4v6, r#"AT+QICSGP=3,3,"private.example""#),
        ] {
            let (protocol, order) = (ApnProtocol::Chap, ApnAuth::UserFirst);
            let apn = "private.example";
            let login = ApnLogin { cid: 3, apn, pdp_type, protocol, login: None, order };
            assert_eq!(head(&login).unwrap(), wanted);
        }
    }
}
