//! Parts that the commands of all MQTT dialects share.

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{Connection, MqttError};
use crate::port::{At, Turn};

/// Returns a value in quotation marks.
///
/// # Errors
/// [`MqttError::Unsendable`], which names the value.
pub fn quote(what: &'static str, value: &str) -> Result<String, MqttError> {
    at::quote(value).map_err(|source| MqttError::Unsendable { what, source })
}

/// Appends the connection's user name and password to a command, if it has them. Returns the
/// command, and the command as logs may show it.
///
/// # Errors
/// [`MqttError::Unsendable`].
pub fn with_login(
    command: String,
    connection: &Connection,
) -> Result<(Zeroizing<String>, String), MqttError> {
    let Some(username) = &connection.username else {
        return Ok((Zeroizing::new(command.clone()), command));
    };
    let shown = format!("{command},{}", quote("the user name", username)?);
    let Some(password) = &connection.password else {
        return Ok((Zeroizing::new(shown.clone()), shown));
    };
    let password = Zeroizing::new(quote("the password", password.expose_secret())?);
    Ok((Zeroizing::new(format!("{shown},{}", *password)), format!("{shown},***")))
}

/// Keeps other sessions' commands, and status polls, out of the following steps until the value is
/// dropped.
///
/// # Errors
/// [`MqttError::Exchange`] if the port is gone; `stack` names the dialect.
pub async fn sequence(at: &At, stack: &'static str) -> Result<Turn, MqttError> {
    at.sequence().await.map_err(|source| MqttError::Exchange { operation: stack, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_behind_the_command_and_its_password_is_shown_to_nobody() {
        let with = |username: Option<&str>, password: Option<&str>| {
            let connection = Connection {
                host: "h".to_owned(),
                port: 1883,
                client_id: "c".to_owned(),
                username: username.map(str::to_owned),
                password: password.map(Into::into),
                keep_alive_s: 60,
                clean_session: true,
                will: None,
                tls: None,
                is_shared: false,
                context: 1,
                triple: None,
            };
            with_login("AT+X=0".to_owned(), &connection)
        };
        for (username, password, sent, shown) in [
            (None, None, "AT+X=0", "AT+X=0"),
            // A password requires a user name (MQTT 3.1.1 §3.1.2.9).
            (None, Some("p"), "AT+X=0", "AT+X=0"),
            (Some("u"), None, "AT+X=0,\"u\"", "AT+X=0,\"u\""),
            (Some("u"), Some("p,"), "AT+X=0,\"u\",\"p,\"", "AT+X=0,\"u\",***"),
        ] {
            let (command, told) = with(username, password).unwrap();
            assert_eq!((command.as_str(), told.as_str()), (sent, shown));
        }
        for (username, password) in [("u\"", "p"), ("u", "p\r")] {
            let refused = with(Some(username), Some(password));
            assert!(matches!(refused, Err(MqttError::Unsendable { .. })));
        }
    }
}
