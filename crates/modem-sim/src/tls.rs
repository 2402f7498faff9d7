//! TLS settings and certificate files.

use std::collections::BTreeMap;

use crate::{
    broker::Terms,
    command::{Arg, Command, Form},
    prompt::Purpose,
    reply::{Answer, Reply},
};

/// Options of `CSSLCFG` with their factory values, in the order in which `?` prints them.
const OPTIONS: [(&str, &str); 10] = [
    ("sslversion", "4"),
    ("authmode", "0"),
    ("ignorelocaltime", "1"),
    ("negotiatetime", "300"),
    ("cacert", "\"\""),
    ("clientcert", "\"\""),
    ("clientkey", "\"\""),
    ("enableSNI", "0"),
    ("keypwd", "\"\""),
    ("ciphersuites", "0xFFFF"),
];

/// The number of files that fit; the real limit is the size of the flash.
const MAX_FILES: usize = 32;

/// The ten TLS contexts and the files they name. All of it outlives a loss of power.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    values: BTreeMap<(u32, usize), String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Contexts {
    fn line(&self, context: u32) -> String {
        let values: Vec<&str> = OPTIONS.iter().map(|(name, _)| self.value(context, name)).collect();
        format!("+CSSLCFG: {context},{}", values.join(","))
    }

    /// Returns a value as it is printed.
    fn value(&self, context: u32, name: &str) -> &str {
        let place = OPTIONS.iter().position(|(known, _)| *known == name);
        let set = place.and_then(|place| self.values.get(&(context, place)));
        let factory = place.and_then(|place| OPTIONS.get(place)).map_or("", |(_, value)| value);
        set.map_or(factory, String::as_str)
    }

    /// Returns the terms of a connection to `host`, at the modem's time `now`.
    pub(crate) fn terms(&self, context: u32, host: &str, now: i64) -> Terms {
        let number = |name| self.value(context, name).parse::<u32>().unwrap_or(0);
        let file = |name| self.files.get(self.value(context, name).trim_matches('"')).cloned();
        let authmode = number("authmode");
        Terms {
            host: host.to_owned(),
            version: number("sslversion"),
            checks_server: matches!(authmode, 1 | 2),
            checks_name: false,
            shows_client: matches!(authmode, 2 | 3),
            ignores_time: number("ignorelocaltime") == 1,
            sends_name: number("enableSNI") == 1,
            ca: file("cacert"),
            cert: file("clientcert"),
            key: file("clientkey"),
            now,
        }
    }

    fn set(&mut self, args: &[Arg]) -> Option<Reply> {
        let (name, context, value) = match args {
            [context] => return Some(Reply::line(self.line(context.within(0..=9)?))),
            [name, context, value] => (name.text()?, context.within(0..=9)?, value),
            _ => return None,
        };
        let place = OPTIONS.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        let (name, _) = OPTIONS.get(place)?;
        let valid = match *name {
            "sslversion" => value.within(0..=4).is_some(),
            "authmode" => value.within(0..=3).is_some(),
            "ignorelocaltime" | "enableSNI" => value.within(0..=1).is_some(),
            "negotiatetime" => value.within(10..=300).is_some(),
            "ciphersuites" => value.text().is_none() && value.value().starts_with("0x"),
            "keypwd" => value.text().is_some_and(|password| password.len() <= 128),
            _ => value.text().is_some_and(|file| (5..=128).contains(&file.len())),
        };
        let text = value.text().map_or_else(|| value.value().to_owned(), |v| format!("\"{v}\""));
        valid.then(|| {
            self.values.insert((context, place), text);
            Reply::ok()
        })
    }

    fn download(&self, args: &[Arg]) -> Option<Answer> {
        let [name, length] = args else { return None };
        let name = name.text().filter(|name| (5..=128).contains(&name.len()))?;
        let length = usize::try_from(length.within(1..=10_240)?).ok()?;
        let full = self.files.len() >= MAX_FILES && !self.files.contains_key(name);
        (!full).then(|| Answer::Prompt(length, Purpose::Certificate(name.to_owned())))
    }

    /// Stores a downloaded file.
    pub(crate) fn store(&mut self, name: String, data: Vec<u8>) {
        self.files.insert(name, data);
    }

    /// Answers commands about TLS.
    pub(crate) fn command(&mut self, command: &Command) -> Option<Answer> {
        let reply = match (command.name.as_str(), &command.form) {
            ("+CSSLCFG", Form::Read) => Reply::lines((0..10).map(|c| self.line(c)).collect()),
            ("+CSSLCFG", Form::Write(args)) => self.set(args)?,
            ("+CCERTDOWN", Form::Write(args)) => return self.download(args),
            ("+CCERTLIST", Form::Execute) => {
                Reply::lines(self.files.keys().map(|f| format!("+CCERTLIST: \"{f}\"")).collect())
            }
            ("+CCERTDELE", Form::Write(args)) => {
                let name = args.first().and_then(Arg::text)?;
                self.files.remove(name).map(|_| Reply::ok())?
            }
            _ => return None,
        };
        Some(reply.into())
    }
}
