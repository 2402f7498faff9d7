//! `hand_in`: the MQTT listener for local applications.

use super::build::{Build, Place};
use crate::fleet::MqttListener;
use crate::secret::Rule;
use crate::words;

impl Build<'_> {
    pub(super) fn mqtt_listener(&mut self, hand_in: &Place<'_>) -> Option<MqttListener> {
        if !hand_in.has("mqtt") {
            return None;
        }
        let place = &hand_in.at("mqtt");
        let listen = self.required(place, "listen", words::listen);
        let list = place.at("users");
        let mut users = Vec::new();
        for (name, user) in list.entries() {
            if self.report.is_over() {
                break;
            }
            let Ok(good) = words::name(name) else {
                // The text in the place of a name may be the password.
                let message = "a user's name must be a name of 1 to 32 letters, digits, `_` or `-`";
                self.error_at_name(&user, message.to_owned(), None);
                continue;
            };
            let secret = self.secret(&list, name, Rule::Text);
            users.extend(secret.map(|secret| (good.to_string(), secret)));
        }
        let open = listen.is_some_and(|listen| !listen.ip().is_loopback());
        if open && list.entries().next().is_none() {
            let message =
                "`listen` beyond loopback needs `users`: everyone who connects can publish";
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
