//! `AT+CMQTTCFG="aliauth"`: a device that signs in at Alibaba Cloud by itself.
//!
//! No manual gives the values that the unit then puts into its CONNECT. This unit follows the platform's own
//! rules for a device with a secret of its own: HMAC-SHA1, no time stamp, the id of ACCQ before the bars.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{broker, command::Arg};

/// Product key, device name and device secret.
#[derive(Clone)]
pub(super) struct Triple {
    product: String,
    device: String,
    secret: String,
}

impl std::fmt::Debug for Triple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Triple({}, {}, ***)", self.product, self.device)
    }
}

impl Triple {
    /// Reads the last three arguments of the command.
    pub(super) fn of(args: &[Arg]) -> Option<Self> {
        let [product, device, secret] = args else { return None };
        let text =
            |arg: &Arg| arg.text().filter(|text| (1..=64).contains(&text.len())).map(str::to_owned);
        Some(Self { product: text(product)?, device: text(device)?, secret: text(secret)? })
    }

    /// Signs a CONNECT.
    pub(super) fn sign(&self, order: &mut broker::Connect, secure: bool) {
        let Self { product, device, secret } = self;
        let id = std::mem::take(&mut order.client_id);
        let content = format!("clientId{id}deviceName{device}productKey{product}");
        let mode = if secure { 2 } else { 3 };
        order.client_id = format!("{id}|securemode={mode},signmethod=hmacsha1|");
        order.user = Some(format!("{device}&{product}"));
        order.password = sign(secret, &content);
    }
}

/// Returns the signature. HMAC takes keys of any length, so there always is a signature.
fn sign(secret: &str, content: &str) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(content.as_bytes());
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02X}");
    }
    Some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example() {
        let content = "clientId7600deviceName7600productKeya1mQpKOF9hp";
        let signed = sign("8f663b388dee796b931ebcb789b75a39", content);
        assert_eq!(signed.as_deref(), Some("D48150E8D550607B15C667E100635EE96EA7D512"));
    }
}
