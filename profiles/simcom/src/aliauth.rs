//! `AT+CMQTTCFG="aliauth"`: the modem signs in at Alibaba Cloud by itself (SIM82xx manual V1.02 p. 340;
//! listed, not described, in the SIM7500/7600 manual V3.00 p. 363; not in firmware of 2018).
//!
//! No transcript shows the client id that the modem then sends, or its way to sign. The secret stays in the
//! modem until the client is released.

use modem::mqtt::command::quote;
use modem::mqtt::{Client, MqttError, Triple};
use modem::port::{At, Kind};
use modem::profile::PATIENCE;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::exchange::{exchange, outcome, persist};

/// Gives the modem the device's identity, between ACCQ and CONNECT.
pub(crate) async fn introduce(at: &At, client: Client, triple: &Triple) -> Result<(), MqttError> {
    let shown = format!(
        "AT+CMQTTCFG=\"aliauth\",{},{},{}",
        client.0,
        quote("the product key", &triple.product_key)?,
        quote("the device name", &triple.device_name)?,
    );
    let secret = quote("the device secret", triple.device_secret.expose_secret())?;
    let secret = Zeroizing::new(secret);
    let command = Zeroizing::new(format!("{shown},{}", *secret));
    let exchange = exchange("CMQTTCFG", &command, PATIENCE)?.shown_as(format!("{shown},***"));
    match outcome("CMQTTCFG", persist(at, Kind::Setup, exchange).await) {
        // Firmware refuses an unknown setting without a code; it also does so if it cannot apply the setting
        // just now.
        Err(MqttError::NoCode { operation, .. }) => Err(MqttError::AliauthRefused { operation }),
        ended => ended,
    }
}
