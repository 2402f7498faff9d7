//! Quectel's files (`AT+QF…`) and TLS settings (`AT+QSSLCFG`), from public logs: files outlive a loss of power,
//! settings do not.

use std::collections::BTreeMap;

use crate::{
    broker::Terms,
    command::{Arg, Command, Form},
    prompt::Purpose,
    reply::{Answer, Cme, Reply},
};

/// Options of `QSSLCFG` with their values after a boot.
const OPTIONS: [(&str, &str); 13] = [
    ("sslversion", "4"),
    ("ciphersuite", "0XFFFF"),
    ("seclevel", "0"),
    ("cacert", "\"\""),
    ("clientcert", "\"\""),
    ("clientkey", "\"\""),
    // Seen on an EG800K: dates are checked only on request.
    ("ignorelocaltime", "1"),
    ("sni", "0"),
    // As an EG25-G lists them; their names give the omitted part of the check.
    ("ignoreinvalidcertsign", "0"),
    ("ignoremulticertchainverify", "0"),
    ("ignorecertitem", "0"),
    // Only in some firmware: a BG9x has it, that EG25-G has not.
    ("checkhost", "0"),
    ("negotiatetime", "300"),
];

/// The longest file; the real limit is the size of the flash.
const MAX_FILE: u32 = 1_000_000;

/// Files and TLS contexts of a modem.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    files: BTreeMap<String, Vec<u8>>,
    settings: BTreeMap<(u32, &'static str), String>,
}

impl Storage {
    /// Returns the state after a loss of power.
    pub(crate) fn after_reset(&mut self) -> Self {
        Self { files: std::mem::take(&mut self.files), ..Self::default() }
    }

    /// Returns a value as it is printed.
    fn value(&self, context: u32, (name, at_boot): (&'static str, &'static str)) -> &str {
        self.settings.get(&(context, name)).map_or(at_boot, String::as_str)
    }

    /// Returns the terms of a connection to `host`, at the modem's time `now`.
    pub(crate) fn terms(&self, context: u32, host: &str, now: i64) -> Terms {
        let value = |wanted| {
            let option = OPTIONS.iter().find(|(name, _)| *name == wanted);
            option.map_or("", |option| self.value(context, *option))
        };
        let number = |name| value(name).parse::<u32>().unwrap_or(0);
        let file = |name| self.files.get(in_flash(value(name).trim_matches('"'))).cloned();
        let level = number("seclevel");
        let ignores = ["ignoreinvalidcertsign", "ignoremulticertchainverify", "ignorecertitem"];
        Terms {
            host: host.to_owned(),
            version: number("sslversion"),
            // Each option leaves out a part of the check, and here the whole check: no log shows the part.
            checks_server: level >= 1 && ignores.iter().all(|name| number(name) == 0),
            checks_name: number("checkhost") == 1,
            shows_client: level >= 2,
            ignores_time: number("ignorelocaltime") == 1,
            sends_name: number("sni") == 1,
            ca: file("cacert"),
            cert: file("clientcert"),
            key: file("clientkey"),
            now,
        }
    }

    fn configure(&mut self, args: &[Arg]) -> Option<Reply> {
        let (name, context) = (args.first()?.text()?, args.get(1)?.within(0..=5)?);
        let option = OPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        let (name, _) = *option;
        let value = match args {
            [_, _] => {
                let value = self.value(context, *option);
                return Some(Reply::line(format!("+QSSLCFG: \"{name}\",{context},{value}")));
            }
            [_, _, value] => value,
            _ => return None,
        };
        let valid = match name {
            "sslversion" => value.within(0..=4).is_some(),
            "seclevel" => value.within(0..=2).is_some(),
            "ignorelocaltime"
            | "sni"
            | "ignoreinvalidcertsign"
            | "ignoremulticertchainverify"
            | "checkhost" => value.within(0..=1).is_some(),
            "ignorecertitem" => value.within(0..=1_048_575).is_some(),
            "negotiatetime" => value.within(10..=300).is_some(),
            // In quotation marks it was seen to be refused.
            "ciphersuite" => {
                value.text().is_none() && value.value().to_ascii_uppercase().starts_with("0X")
            }
            _ => value.text().is_some_and(|file| file.len() <= 80),
        };
        let text = value.text().map_or_else(|| value.value().to_owned(), |v| format!("\"{v}\""));
        valid.then(|| {
            self.settings.insert((context, name), text);
            Reply::ok()
        })
    }

    fn list(&self, args: &[Arg]) -> Option<Reply> {
        let pattern = args.first()?.text()?;
        let wanted = |name: &&String| in_flash(pattern) == "*" || in_flash(pattern) == *name;
        let listed = self.files.iter().filter(|(name, _)| wanted(name));
        let lines: Vec<_> =
            listed.map(|(name, data)| format!("+QFLST: \"UFS:{name}\",{}", data.len())).collect();
        let missing = lines.is_empty() && in_flash(pattern) != "*";
        Some(if missing { Reply::cme(Cme::FileNotFound) } else { Reply::lines(lines) })
    }

    fn upload(&self, args: &[Arg]) -> Option<Answer> {
        let name = in_flash(args.first()?.text()?);
        if args.len() > 4 || !(1..=80).contains(&name.len()) {
            return None;
        }
        let length = args.get(1)?.within(1..=MAX_FILE)?;
        for number in args.get(2..)? {
            number.within(0..=65_535)?;
        }
        if self.files.contains_key(name) {
            return Some(Reply::cme(Cme::FileExists).into());
        }
        let length = usize::try_from(length).ok()?;
        Some(Answer::Prompt(length, Purpose::Upload(name.to_owned())))
    }

    /// Stores an uploaded file, and returns its length and check sum.
    pub(crate) fn store(&mut self, name: String, data: Vec<u8>) -> Reply {
        let told = format!("+QFUPL: {},{:x}", data.len(), checksum(&data));
        self.files.insert(name, data);
        Reply::line(told)
    }

    fn delete(&mut self, args: &[Arg]) -> Option<Reply> {
        let [name] = args else { return None };
        match in_flash(name.text()?) {
            "*" => self.files.clear(),
            name if self.files.remove(name).is_some() => {}
            _ => return Some(Reply::cme(Cme::FileNotDeleted)),
        }
        Some(Reply::ok())
    }
}

/// Returns a name without the word for the flash, which is the default place of a file.
fn in_flash(name: &str) -> &str {
    name.strip_prefix("UFS:").unwrap_or(name)
}

/// Combines all pairs of bytes by XOR; a single last byte is the high half of its pair.
fn checksum(data: &[u8]) -> u16 {
    data.chunks(2).fold(0, |sum, pair| {
        let byte = |at: usize| u16::from(pair.get(at).copied().unwrap_or(0));
        sum ^ (byte(0) << 8 | byte(1))
    })
}

impl Storage {
    /// Answers commands about files and TLS.
    pub(crate) fn command(&mut self, command: &Command) -> Option<Answer> {
        let Form::Write(args) = &command.form else { return None };
        match command.name.as_str() {
            "+QFUPL" => self.upload(args),
            "+QFLST" => self.list(args).map(Answer::from),
            "+QFDEL" => self.delete(args).map(Answer::from),
            "+QSSLCFG" => self.configure(args).map(Answer::from),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_manuals() {
        for (data, sum) in [(&b""[..], 0), (b"\x12", 0x1200), (b"\x12\x34\x56", 0x4434)] {
            assert_eq!(checksum(data), sum, "{data:?}");
        }
    }
}
