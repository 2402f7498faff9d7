//! `http`: where the API listens, and by which names it is asked.

use super::{Build, Place};
use crate::config::fleet::Http;
use crate::config::raw::RawHttp;
use crate::config::words;
use crate::secret::Rule;

/// The most names: each request is compared with all of them.
const MAX_HOSTS: usize = 64;

impl Build<'_> {
    pub(super) fn http(&mut self, raw: &RawHttp, place: &Place<'_>) -> Option<Http> {
        let listen = match &raw.listen {
            Some(_) => self.optional(place, "listen", raw.listen.as_ref(), words::listen),
            None => words::listen("127.0.0.1:9810").ok(),
        };
        let hosts = self.hosts(raw.hosts.as_deref().unwrap_or_default(), &place.at("hosts"));
        let token = self.secret(place, "token", raw.token.as_ref(), Rule::Token);
        let socket = self.socket(place, "socket", raw.socket.as_ref());
        let is_open = listen.is_some_and(|listen| !listen.ip().is_loopback());
        if is_open && raw.token.is_none() {
            let message = "`listen` beyond loopback needs a `token`: the API can publish";
            let help = "add `token: { credential: NAME }`, or listen on 127.0.0.1";
            self.error(&place.at("listen"), message, Some(help.to_owned()));
        }
        Some(Http { listen: listen?, hosts, token, socket })
    }

    fn hosts(&mut self, raw: &[String], place: &Place<'_>) -> Vec<String> {
        if raw.len() > MAX_HOSTS {
            let message = format!("`hosts` has {} names; at most {MAX_HOSTS} are taken", raw.len());
            self.error_at_name(place, message, Some("list those by which the agent is asked"));
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
}
