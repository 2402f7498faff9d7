//! `http`: the addresses of the API, its host names and its tokens.

use secrecy::{ExposeSecret, SecretString};

use super::build::{Build, Place};
use crate::context::Secrets;
use crate::fleet::Http;
use crate::secret::{Ref, Rule, SHORT_TOKEN};
use crate::words;

/// The most names: each request is compared with all of them.
const MAX_HOSTS: usize = 64;

impl Build<'_> {
    pub(super) fn http(&mut self, place: &Place<'_>) -> Option<Http> {
        let listen = self.value(place, "listen", words::listen);
        let hosts = self.hosts(&place.texts("hosts").unwrap_or_default(), &place.at("hosts"));
        let token = self.secret(place, "token", Rule::Token);
        let publish_token = self.secret(place, "publish_token", Rule::Token);
        let socket = self.socket(place, "socket");
        let publish_socket = self.socket(place, "publish_socket");
        let http = Http { listen: listen?, hosts, token, publish_token, socket, publish_socket };
        self.judge_listener(&http, place);
        self.judge_tokens(&http, place);
        Some(http)
    }

    fn hosts(&mut self, raw: &[&str], place: &Place<'_>) -> Vec<String> {
        if raw.len() > MAX_HOSTS {
            let message =
                format!("`hosts` has {} names; at most {MAX_HOSTS} are allowed", raw.len());
            self.error_at_name(
                place,
                message,
                Some("list the names that requests to the agent have"),
            );
            return Vec::new();
        }
        let mut hosts = Vec::new();
        for (index, text) in raw.iter().enumerate() {
            match words::web_host(text) {
                Ok(host) => hosts.push(host),
                Err(fault) => {
                    let message = format!("`{}` in `hosts` {}", words::shorten(text), fault.text);
                    self.error(&place.item(index), message, fault.help);
                }
            }
        }
        hosts
    }

    fn judge_listener(&mut self, http: &Http, place: &Place<'_>) {
        if http.is_open() && !place.has("token") {
            let message = "`listen` beyond loopback needs a `token`: the API can publish";
            let help = "add `token: { credential: NAME }`, or listen on 127.0.0.1";
            self.error(&place.at("listen"), message, Some(help.to_owned()));
        }
        if http.socket.is_some() && http.socket == http.publish_socket {
            let message = "`publish_socket` is the path of `socket`";
            let help =
                "give `publish_socket` another path, in a folder of the users who may publish";
            self.error(&place.at("publish_socket"), message, Some(help.to_owned()));
        }
    }

    /// Compares the tokens with each other and with the listener's reach, as far as they may be read here.
    fn judge_tokens(&mut self, http: &Http, place: &Place<'_>) {
        let read = |secret: &Option<Ref>| -> Option<SecretString> {
            let may_read = self.context.secrets == Secrets::Read;
            secret.as_ref().filter(|_| may_read).and_then(|secret| secret.read().ok())
        };
        let tokens = [("token", read(&http.token)), ("publish_token", read(&http.publish_token))];
        let sources = http.token.as_ref().zip(http.publish_token.as_ref());
        let is_one_place = sources.is_some_and(|(one, other)| one.source() == other.source());
        let is_one_text = match &tokens {
            [(_, Some(one)), (_, Some(other))] => one.expose_secret() == other.expose_secret(),
            _ => false,
        };
        if is_one_place || is_one_text {
            let message = "`publish_token` is the same as `token`: its callers could do everything";
            let help = "make another token: `openssl rand -hex 32`".to_owned();
            self.error(&place.at("publish_token"), message, Some(help));
        }
        for (key, token) in tokens {
            let length = token.map_or(SHORT_TOKEN, |token| token.expose_secret().len());
            if http.is_open() && length < SHORT_TOKEN {
                let message = format!(
                    "`{key}` has fewer than {SHORT_TOKEN} characters, and other machines can guess the token"
                );
                let help = "make a longer token: `openssl rand -hex 32`".to_owned();
                self.warn(&place.at(key), message, Some(help));
            }
        }
    }
}
