//! The read and test forms of `AT+CMQTT…`.

use super::{Client, Link, Service};
use crate::{reply::Reply, unit::Unit};

impl Service {
    pub(super) fn read_form(&self, unit: &Unit, word: &str) -> Option<Reply> {
        let line: fn(usize, &Client) -> String = match word {
            "REL" if unit.options.model.is_a76xx() && !self.started => {
                return Some(Reply::error());
            }
            "REL" => return Some(Reply::ok()),
            "ACCQ" => |_, client| match &client.acquired {
                Some(a) if !a.shows_version => format!("\"{}\",{}", a.id, u8::from(a.tls)),
                Some(a) => format!("\"{}\",{},{}", a.id, u8::from(a.tls), a.version),
                None => "\"\",0".to_owned(),
            },
            "CONNECT" => |_, client| match &client.target {
                Some(target) if client.link == Link::Up => {
                    let (url, keep_alive, clean) = (&target.url, target.keep_alive, target.clean);
                    let login = [&target.user, &target.password];
                    let login: String =
                        login.into_iter().flatten().map(|text| format!(",\"{text}\"")).collect();
                    format!("\"{url}\",{keep_alive},{clean}{login}")
                }
                _ => String::new(),
            },
            "DISC" => |_, client| u8::from(client.link != Link::Up).to_string(),
            "CFG" => {
                |_, client| format!("{},{}", u8::from(client.check_utf8), client.operation_timeout)
            }
            "SSLCFG" => |index, client| match client.tls_context {
                Some(context) => format!("[{context}]"),
                None => format!("[{index}]"),
            },
            _ => return None,
        };
        let lines = self.clients.iter().enumerate().map(|(index, client)| {
            let fields = line(index, client);
            let comma = if fields.is_empty() { "" } else { "," };
            format!("+CMQTT{word}: {index}{comma}{fields}")
        });
        Some(Reply::lines(lines.collect()))
    }
}

pub(super) fn test_form(unit: &Unit, word: &str) -> Option<Reply> {
    let is_a76xx = unit.options.model.is_a76xx();
    let ranges = match word {
        "ACCQ" if is_a76xx => "(0-1),(1-128),(0-1)",
        "DISC" if is_a76xx => "(0-1),(0,1-180)",
        "PUB" if is_a76xx => "(0-1),(0-2),(1-180),(0-1),(0-1)",
        "START" | "STOP" => return Some(Reply::ok()),
        "ACCQ" => "(0-1),(1-128),(0-1),(3-4)",
        "REL" => "(0-1)",
        "SSLCFG" => "(0-1),(0-9)",
        "WILLTOPIC" | "TOPIC" | "UNSUBTOPIC" => "(0-1),(1-1024)",
        "WILLMSG" | "SUBTOPIC" => "(0-1),(1-1024),(0-2)",
        "CONNECT" => "(0-1),(9-256),(1-64800),(0-1),(1-256),(1-256)",
        "DISC" => "(0-1),(0,60-180)",
        "PAYLOAD" => "(0-1),(1-10240)",
        "PUB" => "(0-1),(0-2),(60-180),(0-1),(0-1)",
        "SUB" => "(0-1),(1-1024),(0-2),(0-1)",
        "UNSUB" => "(0-1),(1-1024),(0-1)",
        _ => return None,
    };
    Some(Reply::line(format!("+CMQTT{word}: {ranges}")))
}
