//! `hand_in`: the MQTT listener for local applications.

use super::build::{Build, Place};
use crate::fleet::MqttListener;
use crate::raw::RawMqttListener;
use crate::secret::Rule;
use crate::words;

impl Build<'_> {
    pub(super) fn mqtt_listener(
        &mut self,
        raw: &RawMqttListener,
        place: &Place<'_>,
    ) -> Option<MqttListener> {
        let listen = self.required(place, "listen", raw.listen.as_ref(), words::listen);
        let list = place.at("users");
        let mut users = Vec::new();
        for (name, secret) in &raw.users.0 {
            if self.report.is_over() {
                break;
            }
            let user = list.at(name);
            let Ok(good) = words::name(name) else {
                // What stands in the place of a name may be the password.
                let message = "a user's name must be a name of 1 to 32 letters, digits, `_` or `-`";
                self.error_at_name(&user, message.to_owned(), None);
                continue;
            };
            let secret = self.secret(&list, name, Some(secret), Rule::Text);
            users.extend(secret.map(|secret| (good.to_string(), secret)));
        }
        let open = listen.is_some_and(|listen| !listen.ip().is_loopback());
        if open && raw.users.0.is_empty() {
            let message = "`listen` beyond loopback needs `users`: who connects can publish";
            let help = "add `users: { NAME: { credential: NAME } }`, or listen on 127.0.0.1";
            self.error(&place.at("listen"), message, Some(help.to_owned()));
        } else if open {
            let message = "passwords and messages cross the network unencrypted";
            let help = "listen on 127.0.0.1, or put a tunnel or a TLS proxy in front".to_owned();
            self.warn(&place.at("listen"), message, Some(help));
        }
        Some(MqttListener { listen: listen?, users })
    }
}
