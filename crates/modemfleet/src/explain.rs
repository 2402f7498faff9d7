//! `modemfleet explain CODE`: the meaning of a code or line of a modem or broker, and advice.

use std::io::{self, Write};
use std::process::ExitCode;

use modem::Plugin;
use modem::mqtt::ResultCode;
use modem::reply::{CmeError, CmsError, cme_advice, cme_meaning, cms_meaning};

use crate::end::{output_failed, wrong};
use fleet::printable::complain;

const EXAMPLES: &str = "Examples:
  modemfleet explain 32
  modemfleet explain '+CMQTTCONNECT: 0,32'
  modemfleet explain '+CMQTTCONNLOST: 0,1'
  modemfleet explain '+QMTCONN: 0,0,5'
  modemfleet explain '+CME ERROR: SIM busy'
  modemfleet explain 'CONNACK 5'

Each kind of line has its own table: a cause is not a result code. A number alone is looked up in \
every table.
Exit codes: 0 explained, 1 unknown code, 2 wrong usage.";

/// Explains a code that a modem or a broker gave, or a line of a modem's MQTT stack.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A number, or the line that the modem printed.
    #[arg(value_name = "CODE", required = true, num_args = 1.., allow_hyphen_values = true)]
    code: Vec<String>,
}

/// One meaning of a code, or of a line.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    /// The origin of the code.
    source: String,
    /// The code; a line may have a meaning without a code.
    number: Option<i32>,
    name: String,
    advice: String,
}

impl Meaning {
    fn new(source: &str, number: Option<i32>, name: &str, advice: &str) -> Self {
        let [source, name, advice] = [source, name, advice].map(str::to_owned);
        Self { source, number, name, advice }
    }

    fn of(whose: &str, code: &ResultCode) -> Self {
        Self::new(whose, Some(code.number), code.name, code.advice)
    }
}

/// MQTT 3.1.1 §3.2.2.3.
const CONNACK: [(i32, &str, &str); 6] = [
    (0, "connection accepted", ""),
    (1, "unacceptable protocol version", "the broker does not speak MQTT 3.1.1"),
    (
        2,
        "client id rejected",
        "choose another client id; some brokers send this code to every device",
    ),
    (3, "server unavailable", "the broker runs but refuses to serve: see its log"),
    (
        4,
        "bad user name or password",
        "check user and password; for a triple: product, device, secret",
    ),
    (
        5,
        "not authorized",
        "check user name and password, since some brokers send this code for them too; else check the broker's access rules",
    ),
];

/// Prints the meanings that match `args`.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let asked = args.code.join(" ");
    let meanings = match meanings(&asked, plugins) {
        Ok(meanings) => meanings,
        Err(Unexplained::NoCode) => {
            complain(&format!(
                "{asked:?} holds no code: give a number, or the line that the modem printed"
            ));
            return wrong();
        }
        Err(Unexplained::Unknown(number)) => {
            complain(&format!("no known manual has a code {number} there"));
            return ExitCode::FAILURE;
        }
    };
    match print(&meanings, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output_failed(&error),
    }
}

fn print(meanings: &[Meaning], out: &mut impl Write) -> io::Result<()> {
    for Meaning { source, number, name, advice } in meanings {
        match number {
            Some(number) => writeln!(out, "{source}, {number}: {name}")?,
            None => writeln!(out, "{source}: {name}")?,
        }
        if !advice.is_empty() {
            writeln!(out, "    try: {advice}")?;
        }
    }
    Ok(())
}

/// Explains a line that reports a failure, in sentences. Any other line gives none.
pub(super) fn of_failure(line: &str, plugins: &[&Plugin]) -> Vec<String> {
    let Asked::Line { name, arguments } = Asked::read(line) else { return Vec::new() };
    let mut meanings = of_line(&name, arguments, plugins);
    meanings.retain(|meaning| meaning.number.is_some_and(|number| number != 0));
    let mut told = Vec::new();
    // Writing into memory does not fail.
    let _ = print(&meanings, &mut told);
    String::from_utf8_lossy(&told).lines().map(str::to_owned).collect()
}

/// The reason why nothing is explained.
#[derive(Debug, PartialEq, Eq)]
enum Unexplained {
    /// The question holds no code.
    NoCode,
    /// The code is in no table.
    Unknown(i32),
}

/// A question.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// A number alone.
    Number(i32),
    /// A name and its number: `CONNACK 5`.
    Named { name: String, number: i32 },
    /// A line: its name in capitals, without the colon, and the text after the colon.
    Line { name: String, arguments: &'a str },
}

impl<'a> Asked<'a> {
    fn read(asked: &'a str) -> Self {
        let asked = asked.trim();
        if let Ok(number) = asked.parse() {
            return Self::Number(number);
        }
        let capitals = |name: &str| name.trim().to_ascii_uppercase();
        if let Some((name, arguments)) = asked.split_once(':') {
            return Self::Line { name: capitals(name), arguments };
        }
        let start = asked.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| {
            at + asked.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
        });
        let (name, digits) = asked.split_at_checked(start).unwrap_or((asked, ""));
        match digits.parse::<i32>() {
            // A sign, not a hyphen: `CONNACK -1`, but not `CONNACK-5`.
            Ok(number) => match name.strip_suffix('-') {
                Some(name) if name.ends_with(char::is_whitespace) => {
                    Self::Named { name: capitals(name), number: -number }
                }
                name => Self::Named {
                    name: capitals(name.unwrap_or_else(|| asked.get(..start).unwrap_or(asked))),
                    number,
                },
            },
            Err(_) => Self::Line { name: capitals(asked), arguments: "" },
        }
    }
}

/// Returns all meanings. A name before the code selects its tables.
fn meanings(asked: &str, plugins: &[&Plugin]) -> Result<Vec<Meaning>, Unexplained> {
    let (all, number) = match Asked::read(asked) {
        Asked::Number(number) => (of_number("", number, plugins), Some(number)),
        Asked::Named { name, number } => (of_number(&name, number, plugins), Some(number)),
        Asked::Line { name, arguments } => {
            (of_line(&name, arguments, plugins), last_number(arguments))
        }
    };
    match number {
        _ if !all.is_empty() => Ok(all),
        Some(number) => Err(Unexplained::Unknown(number)),
        None => Err(Unexplained::NoCode),
    }
}

fn last_number(arguments: &str) -> Option<i32> {
    arguments.rsplit(',').next()?.trim().parse().ok()
}

/// Compares two names of a line, with or without the `+`.
fn same_name(one: &str, other: &str) -> bool {
    one.trim_start_matches('+') == other.trim_start_matches('+')
}

/// Explains a line: first as a whole, then each code in it, in the order of the tables.
fn of_line(name: &str, arguments: &str, plugins: &[&Plugin]) -> Vec<Meaning> {
    let line = format!("{name}: {}", arguments.trim());
    if same_name(name, "CME ERROR") || same_name(name, "CMS ERROR") {
        return of_refusal(name, &line);
    }
    if same_name(name, "CONNACK") {
        return last_number(arguments).map(of_connack).unwrap_or_default();
    }
    let alone = plugins.iter().flat_map(|plugin| plugin.lines);
    let alone = alone.filter(|meaning| same_name(meaning.line, name));
    let alone = alone.map(|it| Meaning::new(it.line, None, it.says, it.advice));
    let tables = plugins.iter().flat_map(|plugin| plugin.codes);
    let tables = tables.filter(|table| table.lines.iter().any(|line| same_name(line, name)));
    let places: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let coded = tables.filter_map(|table| {
        let number = places.get(table.at)?.parse().ok()?;
        let code = (table.meaning)(name.trim_start_matches('+'), number)?;
        Some(Meaning::of(table.whose, &code))
    });
    alone.chain(coded).collect()
}

/// Explains a number by all tables, or by the tables with this `name`.
fn of_number(name: &str, number: i32, plugins: &[&Plugin]) -> Vec<Meaning> {
    let is_asked = |line: &str| name.is_empty() || same_name(line, name);
    let tables = plugins.iter().flat_map(|plugin| plugin.codes);
    let tables = tables.filter(|table| table.lines.iter().any(|line| is_asked(line)));
    let mut all: Vec<Meaning> = tables
        .filter_map(|table| {
            let operation = name.trim_start_matches('+');
            Some(Meaning::of(table.whose, &(table.meaning)(operation, number)?))
        })
        .collect();
    if is_asked("CME ERROR") || name == "CME" {
        all.extend(of_cme(number));
    }
    if same_name(name, "CMS ERROR") || name == "CMS" {
        all.extend(of_cms(number));
    }
    if is_asked("CONNACK") {
        all.extend(of_connack(number));
    }
    // One stack may have the same code in several tables.
    let mut seen = Vec::new();
    all.retain(|meaning| {
        let is_new = !seen.contains(&(meaning.source.clone(), meaning.name.clone()));
        seen.push((meaning.source.clone(), meaning.name.clone()));
        is_new
    });
    all
}

/// `+CME ERROR` and `+CMS ERROR` with a number or a text (`AT+CMEE=2`).
fn of_refusal(name: &str, line: &str) -> Vec<Meaning> {
    let line = format!("+{}", line.trim_start_matches('+'));
    let found = if name.contains("CME") {
        CmeError::of_line(&line).ok().and_then(|error| error.code).map(i32::from).map(of_cme)
    } else {
        CmsError::of_line(&line).ok().and_then(|error| error.code).map(i32::from).map(of_cms)
    };
    found.unwrap_or_default()
}

fn of_cme(number: i32) -> Vec<Meaning> {
    let source = "+CME ERROR (3GPP TS 27.007 §9.2)";
    let code = u16::try_from(number).ok();
    let name = code.and_then(cme_meaning);
    let advice = code.and_then(cme_advice).unwrap_or_default();
    name.map(|name| Meaning::new(source, Some(number), name, advice)).into_iter().collect()
}

fn of_cms(number: i32) -> Vec<Meaning> {
    let source = "+CMS ERROR (3GPP TS 27.005 §3.2.5)";
    let name = u16::try_from(number).ok().and_then(cms_meaning);
    name.map(|name| Meaning::new(source, Some(number), name, "")).into_iter().collect()
}

fn of_connack(number: i32) -> Vec<Meaning> {
    let source = "CONNACK of the broker (MQTT 3.1.1 §3.2.2.3)";
    let known = CONNACK.iter().filter(|(code, ..)| *code == number);
    known.map(|(_, name, advice)| Meaning::new(source, Some(number), name, advice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGINS: [&Plugin; 2] = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];

    fn told(asked: &str) -> String {
        match meanings(asked, &PLUGINS) {
            Ok(meanings) => {
                let mut told = Vec::new();
                print(&meanings, &mut told).unwrap();
                String::from_utf8(told).unwrap()
            }
            Err(unexplained) => format!("{unexplained:?}"),
        }
    }

    #[test]
    fn a_line_is_read_by_its_own_table() {
        for (asked, want) in [
            ("+CMQTTCONNECT: 0,32", "SIMCom's MQTT stack (AT+CMQTT…), 32: TLS handshake failed"),
            (
                " +cmqttconnect: 0,32\r\n",
                "SIMCom's MQTT stack (AT+CMQTT…), 32: TLS handshake failed",
            ),
            ("+CMQTTCONNECT: 0,12", "keep-alive of 1 to 64800 s"),
            ("+CMQTTSTART: 23", "SIMCom's MQTT stack (AT+CMQTT…), 23: network is opened"),
            ("+CMQTTCONNLOST: 0,1", "+CMQTTCONNLOST, 1: the broker closed the connection"),
            ("+CMQTTPING: 0,1", "the broker did not answer the modem's keep-alive"),
            ("+CMQTTNONET", "lost its network"),
            ("+CMQTTRECV: 0,\"t\",1,\"1\"", "a received message in one line"),
            ("+CMQTTPUB: 0,-1", "-1: failed without a reason"),
            ("+CMQTTDISC: 0,0", "the answer to SIMCom's AT+CMQTTDISC?, 0: connected"),
            ("+QMTOPEN: 0,-1", "Quectel's AT+QMTOPEN, -1: failed to open the network"),
            ("+QMTCONN: 0,0,5", "the broker's answer, 5: refused: not authorized"),
            ("+QMTCONN: 0,2", "the packet, 2: packet not sent or not answered"),
            ("+QMTSTAT: 0,1", "+QMTSTAT, 1: the broker closed or reset the connection"),
            ("+QMTPUBEX: 0,7,2", "2: packet not sent or not answered"),
            ("+QMTPUB: 0,7,1,2", "1: sent again"),
            ("+QMTSUB: 0,1,0,128", "128: the broker refused the filter"),
            ("+QMTUNS: 0,1,2", "2: packet not sent or not answered"),
            ("+QMTCLOSE: 0,-1", "-1: failed"),
            ("+CME ERROR: 10", "+CME ERROR (3GPP TS 27.007 §9.2), 10: SIM not inserted"),
            ("+CME ERROR: SIM busy", "14: SIM busy"),
            ("+CMS ERROR: 331", "331: No network"),
            ("connack 5", "5: not authorized"),
            ("connack-5", "5: not authorized"),
            ("CMQTTCONNECT 32", "32: TLS handshake failed"),
        ] {
            assert!(told(asked).contains(want), "{asked}: {}", told(asked));
        }
    }

    #[test]
    fn what_is_of_another_table_is_not_told() {
        for (asked, wrong) in [
            ("+CMQTTCONNLOST: 0,1", ": failed"),
            ("+CMQTTPING: 0,1", ": failed"),
            ("+QMTCONN: 0,0,5", "network error"),
            ("+CMQTTSTART: 3", "CONNACK"),
        ] {
            assert!(!told(asked).contains(wrong), "{asked}: {}", told(asked));
        }
        for asked in ["+QMTOPEN: 0,-2", "+CMQTTCONNLOSS: 0,1", "+CME ERROR: -1", "9999"] {
            assert!(told(asked).starts_with("Unknown("), "{asked}: {}", told(asked));
        }
        for asked in ["", "ERROR", "+CME ERROR: what is this", "99999999999", "-", "é"] {
            assert_eq!(told(asked), "NoCode", "{asked}");
        }
    }

    #[test]
    fn a_number_is_looked_up_everywhere() {
        let told = told("3");
        for whose in
            ["SIMCom's MQTT stack", "+CMQTTCONNLOST", "QMTOPEN", "+QMTSTAT", "CME", "CONNACK"]
        {
            assert!(told.contains(whose), "{whose}: {told}");
        }
        assert_eq!(told.matches("SIMCom's MQTT stack").count(), 1, "{told}");
    }

    #[test]
    fn what_an_operator_can_cure_comes_with_the_cure() {
        for asked in [
            "+CMQTTCONNECT: 0,3",
            "+CMQTTCONNECT: 0,12",
            "+CMQTTCONNECT: 0,30",
            "+CMQTTCONNECT: 0,32",
            "+QMTOPEN: 0,-1",
            "+CME ERROR: 12",
            "CONNACK 4",
        ] {
            let all = meanings(asked, &PLUGINS).unwrap();
            assert!(all.iter().all(|meaning| meaning.advice.len() > 10), "{asked}: {all:?}");
        }
    }

    /// The console explains failures only.
    #[test]
    fn of_a_failed_command_only_failures_are_explained() {
        assert_eq!(of_failure("+CMQTTDISC: 0,0", &PLUGINS), [""; 0]);
        assert_eq!(of_failure("OK", &PLUGINS), [""; 0]);
        assert!(of_failure("+CMQTTSTART: 23", &PLUGINS)[0].contains("23: network is opened"));
        assert!(of_failure("+QMTPUBEX: 0,7,2", &PLUGINS)[0].contains("2: packet not sent"));
        assert!(of_failure("+CME ERROR: 10", &PLUGINS)[0].contains("SIM not inserted"));
    }
}
