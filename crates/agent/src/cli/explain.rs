//! `modemfleet explain CODE`: what a code of a modem or a broker means, and what to try.

use std::io::{self, Write};
use std::process::ExitCode;

use modem::Plugin;
use modem::reply::{cme_advice, cme_meaning, cms_meaning};

use super::output_failed;
use crate::{complain, wrong};

const EXAMPLES: &str = "Examples:
  modemfleet explain 32
  modemfleet explain '+CMQTTCONNECT: 0,32'
  modemfleet explain '+CME ERROR: 10'
  modemfleet explain 'CONNACK 5'

A bare number is looked up everywhere. Exit codes: 0 explained, 1 no such code, 2 wrong usage.";

/// Explains a code that a modem or a broker gave.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A number, or the line that the modem printed.
    #[arg(value_name = "CODE", required = true, num_args = 1.., allow_hyphen_values = true)]
    code: Vec<String>,
}

/// One meaning of a code.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    /// Who says it.
    source: String,
    name: String,
    advice: String,
}

/// MQTT 3.1.1 §3.2.2.3.
const CONNACK: [(u16, &str, &str); 6] = [
    (0, "connection accepted", ""),
    (1, "unacceptable protocol version", "the broker does not speak MQTT 3.1.1"),
    (2, "client id rejected", "choose another client id; some brokers tell it to every device"),
    (3, "server unavailable", "the broker is up and does not serve: look at its log"),
    (
        4,
        "bad user name or password",
        "check user and password; for a triple: product, device, secret",
    ),
    (
        5,
        "not authorized",
        "check user name and password, for which some brokers tell this too; else look at the broker's access rules",
    ),
];

/// Prints what `args` ask for.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let asked = args.code.join(" ");
    let Some((line, number)) = parse(&asked) else {
        complain(&format!(
            "{asked:?} holds no code: give a number, or the line that the modem printed"
        ));
        return wrong();
    };
    let meanings = meanings(&line, number, plugins);
    if meanings.is_empty() {
        complain(&format!("no manual that this program knows has a code {number} there"));
        return ExitCode::FAILURE;
    }
    match print(number, &meanings, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output_failed(&error),
    }
}

fn print(number: i32, meanings: &[Meaning], out: &mut impl Write) -> io::Result<()> {
    for Meaning { source, name, advice } in meanings {
        writeln!(out, "{source}, {number}: {name}")?;
        if !advice.is_empty() {
            writeln!(out, "    try: {advice}")?;
        }
    }
    Ok(())
}

/// What a line means by which a modem refused, in sentences; nothing for a line that tells no code.
pub(super) fn of_failure(line: &str, plugins: &[&Plugin]) -> Vec<String> {
    let prefixes = plugins.iter().flat_map(|plugin| plugin.codes).map(|table| table.prefix);
    let is_code =
        prefixes.chain(["+CME ERROR", "+CMS ERROR"]).any(|prefix| line.starts_with(prefix));
    let Some((line, number)) = parse(line).filter(|_| is_code) else { return Vec::new() };
    let mut told = Vec::new();
    // Into memory: it does not fail.
    let _ = print(number, &meanings(&line, number, plugins), &mut told);
    String::from_utf8_lossy(&told).lines().map(str::to_owned).collect()
}

/// The text before the code in capitals, and the code: the last number of the line.
fn parse(asked: &str) -> Option<(String, i32)> {
    let last = asked.trim().rsplit(|c: char| !c.is_ascii_digit()).next()?;
    let number = i32::from(last.parse::<u16>().ok()?);
    let before = asked.trim().strip_suffix(last)?;
    let text = |before: &str| before.trim().to_ascii_uppercase();
    match before.strip_suffix('-') {
        Some(before) if !before.ends_with(char::is_alphanumeric) => Some((text(before), -number)),
        _ => Some((text(before), number)),
    }
}

/// All that the code may mean. What stands before it says whose it is.
fn meanings(line: &str, number: i32, plugins: &[&Plugin]) -> Vec<Meaning> {
    let asked = |word: &str| line.is_empty() || line.contains(word);
    let tables = plugins.iter().flat_map(|plugin| plugin.codes).filter(|table| asked(table.prefix));
    let mut all = Vec::new();
    let mut add = |source: &str, name: &str, advice: &str| {
        let [source, name, advice] = [source, name, advice].map(str::to_owned);
        all.push(Meaning { source, name, advice });
    };
    let Ok(number) = u16::try_from(number) else {
        for table in tables.filter(|_| number == -1) {
            if let Some(advice) = table.unexplained {
                add(table.stack, "failed, and the modem tells no reason", advice);
            }
        }
        return all;
    };
    for table in tables {
        if let Some(code) = (table.meaning)(number) {
            add(table.stack, code.name, code.advice);
        }
    }
    if let Some(name) = cme_meaning(number).filter(|_| asked("CME")) {
        add("+CME ERROR (3GPP TS 27.007 §9.2)", name, cme_advice(number).unwrap_or_default());
    }
    if let Some(name) = cms_meaning(number).filter(|_| line.contains("CMS")) {
        add("+CMS ERROR (3GPP TS 27.005 §3.2.5)", name, "");
    }
    if let Some((_, name, advice)) =
        CONNACK.iter().find(|(code, ..)| *code == number).filter(|_| asked("CONNACK"))
    {
        add("CONNACK of the broker (MQTT 3.1.1 §3.2.2.3)", name, advice);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(asked: &str) -> Vec<String> {
        let Some((line, number)) = parse(asked) else { return vec!["?".to_owned()] };
        let all = meanings(&line, number, &[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]);
        all.into_iter().map(|meaning| format!("{}: {}", meaning.source, meaning.name)).collect()
    }

    #[test]
    fn a_line_says_whose_code_it_is_and_a_number_is_looked_up_everywhere() {
        let simcom = "SIMCom's MQTT stack (AT+CMQTT…)";
        for asked in ["+CMQTTCONNECT: 0,32", " +cmqttconnect: 0,32\r\n"] {
            assert_eq!(sources(asked), [format!("{simcom}: TLS handshake failed")], "{asked}");
        }
        assert_eq!(
            sources("+CME ERROR: 10"),
            ["+CME ERROR (3GPP TS 27.007 §9.2): SIM not inserted"]
        );
        assert_eq!(sources("connack 5").len(), 1);
        assert_eq!(sources("3").len(), 5);
        let unexplained = ["Quectel's AT+QMTOPEN: failed, and the modem tells no reason"];
        for asked in ["+QMTOPEN: 0,-1", "-1"] {
            assert_eq!(sources(asked), unexplained, "{asked}");
        }
        for asked in ["+QMTOPEN: 0,-2", "+CMQTTPUB: 0,-1", "+CME ERROR: -1"] {
            assert_eq!(sources(asked), [""; 0], "{asked}");
        }
        assert_eq!(sources("connack-5").len(), 1);
        assert_eq!(sources("9999"), [""; 0]);
        for nothing in ["", "ERROR", "+CME ERROR: SIM busy", "99999999"] {
            assert_eq!(sources(nothing), ["?"], "{nothing}");
        }
    }

    #[test]
    fn what_an_operator_can_cure_comes_with_the_cure() {
        for asked in [
            "+CMQTTCONNECT: 0,3",
            "+CMQTTCONNECT: 0,30",
            "+CMQTTCONNECT: 0,32",
            "+QMTOPEN: 0,-1",
            "+CME ERROR: 12",
            "CONNACK 4",
        ] {
            let (line, number) = parse(asked).unwrap_or_default();
            let all = meanings(&line, number, &[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]);
            assert!(!all.is_empty());
            assert!(all.iter().all(|meaning| meaning.advice.len() > 10), "{asked}: {all:?}");
        }
    }
}
