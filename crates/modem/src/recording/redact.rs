//! Removal of secrets and identities from a transcript.

use super::session::{CLIENT_ID, HOST};
use crate::console::Commands;
use crate::transcript::{BLANKED, Entry, Transcript};

/// The replacement of a secret.
const HIDDEN: &str = "***";

/// The fewest digits of a number that identifies a modem, a subscriber or a card: an IMEI without
/// its check digit.
const IDENTITY: usize = 14;

/// The fewest digits of a telephone number after its `+`.
const NUMBER: usize = 5;

/// Lines whose arguments are hidden from a place on, counted from 0: numbers, texts, access points
/// and their logins, positions.
const PRIVATE: &[(&str, usize)] = &[
    ("+CNUM:", 0),
    ("+CSCA:", 0),
    ("+CLIP:", 0),
    ("+CCWA:", 0),
    ("+COLP:", 0),
    ("+CUSD:", 1),
    ("+CMT:", 0),
    ("+CBM:", 0),
    ("+CDS:", 0),
    ("+CMGL:", 1),
    ("+CMGR:", 1),
    ("+CPBR:", 1),
    ("+CGAUTH:", 2),
    ("+QICSGP:", 1),
    ("+CNCFG:", 2),
    ("*MCGDEFCONT:", 1),
    ("+CGPSINFO:", 0),
    ("+CGNSSINFO:", 0),
    ("+CLBS:", 0),
    ("+QGPSLOC:", 0),
    ("+QLBS:", 0),
    ("$G", 0),
];

/// Lines with one argument that is hidden, counted from 0: the access point.
const ACCESS_POINTS: &[(&str, usize)] = &[("+CGDCONT:", 2), ("+CGCONTRDP:", 2)];

/// Lines that a text of a person follows.
const TEXTS: &[&str] = &["+CMT:", "+CBM:", "+CDS:", "+CMGL:", "+CMGR:"];

/// Names before a serial number that is not made of digits alone.
const SERIALS: &[&str] = &["SN:", "S/N:", "MEID:", "ESN:", "SERIAL:", "SERIAL NUMBER:"];

/// Commands whose answers hold versions, which look like addresses.
const VERSIONS: &[&str] = &["ATI", "AT+CGMR", "AT+GMR", "AT+CGMM", "AT+GMM", "AT+CSUB", "AT+QGMR"];

/// Removes secrets and identities by the tables here and those of the console.
pub struct Redaction {
    commands: Commands,
    /// Texts of the session and their replacements.
    names: Vec<(String, &'static str)>,
}

impl Redaction {
    /// Creates a redaction by these tables.
    pub fn new(commands: Commands) -> Self {
        Self { commands, names: Vec::new() }
    }

    /// Also replaces the broker's host and the client id of a session.
    #[must_use]
    pub fn of_session(mut self, host: Option<&str>, client_id: &str) -> Self {
        self.names.extend(host.map(|host| (host.to_owned(), HOST)));
        self.names.push((client_id.to_owned(), CLIENT_ID));
        self
    }

    /// Removes them from all lines.
    pub fn apply(&self, transcript: &mut Transcript) {
        let (mut has_versions, mut text_follows) = (false, false);
        // The session signs in without a login: its commands hold no secret, and a vendor that has no
        // table for them shows their form all the same.
        let session = transcript.session_at().unwrap_or(usize::MAX);
        for (place, entry) in transcript.entries.iter_mut().enumerate() {
            let is_ours = place >= session;
            match entry {
                Entry::Sent(line) => {
                    let command = line.split(['?', '=']).next().unwrap_or_default();
                    has_versions = VERSIONS.iter().any(|each| command.eq_ignore_ascii_case(each));
                    text_follows = false;
                    *line = self.command(line, is_ours);
                }
                Entry::Answer(line) | Entry::Unsolicited(line) => {
                    let begins =
                        |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
                    let is_text = std::mem::replace(&mut text_follows, begins(TEXTS));
                    let is_code = at::FinalCode::parse(line).is_some();
                    *line = match is_text && !is_code {
                        true => {
                            text_follows = true;
                            HIDDEN.to_owned()
                        }
                        false => self.line(line, has_versions, is_ours),
                    };
                }
                Entry::Data(length, Some(text)) => {
                    let shown = self.text(text);
                    if shown != *text {
                        *entry = Entry::Data(*length, None);
                    }
                }
                Entry::Data(_, None) | Entry::Prompt | Entry::Pause(_) => {}
            }
        }
    }

    /// Returns a command without secrets.
    fn command(&self, line: &str, is_ours: bool) -> String {
        if is_ours { self.text(line) } else { self.text(&self.commands.shown(line)) }
    }

    /// Returns a line of the modem without secrets.
    fn line(&self, line: &str, has_versions: bool, is_ours: bool) -> String {
        // An echo.
        if line.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("AT")) {
            return self.command(line, is_ours);
        }
        let line = self.commands.shown_answer(line);
        let upper = line.trim_start().to_ascii_uppercase();
        if let Some(serial) = SERIALS.iter().find(|serial| upper.starts_with(**serial)) {
            return format!("{serial} {HIDDEN}");
        }
        let starts = |(prefix, _): &&(&str, usize)| line.starts_with(prefix);
        let line = match PRIVATE.iter().find(starts) {
            Some((prefix, from)) => hidden_from(&line, prefix, *from),
            None => match ACCESS_POINTS.iter().find(starts) {
                Some((prefix, place)) => hidden_at(&line, prefix, *place),
                None => line,
            },
        };
        let line = self.text(&line);
        if has_versions { line } else { without_addresses(&line) }
    }

    /// Returns a text without numbers that identify, and without the names of the session.
    pub(super) fn text(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for (name, other) in self.names.iter().filter(|(name, _)| !name.is_empty()) {
            shown = shown.replace(name.as_str(), other);
        }
        without_numbers(&shown)
    }
}

/// Returns the arguments of a line. A comma between quotation marks divides nothing.
fn arguments(rest: &str) -> Vec<&str> {
    let mut quoted = false;
    rest.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

fn hidden_from(line: &str, prefix: &str, from: usize) -> String {
    let rest = line.get(prefix.len()..).unwrap_or_default();
    if from == 0 {
        return format!("{prefix} {HIDDEN}");
    }
    let all = arguments(rest);
    if all.len() <= from {
        return line.to_owned();
    }
    let open: Vec<_> = all.into_iter().take(from).collect();
    format!("{prefix}{},{HIDDEN}", open.join(","))
}

fn hidden_at(line: &str, prefix: &str, place: usize) -> String {
    let rest = line.get(prefix.len()..).unwrap_or_default();
    let hide = |(number, argument): (usize, &str)| match argument.trim() {
        "" | "\"\"" => argument.to_owned(),
        _ if number == place => format!("\"{HIDDEN}\""),
        _ => argument.to_owned(),
    };
    let all: Vec<_> = arguments(rest).into_iter().enumerate().map(hide).collect();
    format!("{prefix}{}", all.join(","))
}

/// Splits a text into pieces whose letters all fit, or all do not.
fn runs(text: &str, fits: impl Fn(char) -> bool) -> Vec<(bool, &str)> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_fit = fits(first);
        let end = rest.find(|c| fits(c) != is_fit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        runs.push((is_fit, run));
        rest = after;
    }
    runs
}

/// Ends identities in six zeros, and replaces telephone numbers.
fn without_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (is_number, run) in runs(text, |c| c.is_ascii_digit()) {
        let is_telephone = is_number && shown.ends_with('+') && run.len() >= NUMBER;
        if is_telephone {
            shown.extend(std::iter::repeat_n('0', run.len().min(IDENTITY)));
        } else if is_number && run.len() >= IDENTITY {
            shown.push_str(run.get(..run.len() - BLANKED.len()).unwrap_or_default());
            shown.push_str(BLANKED);
        } else {
            shown.push_str(run);
        }
    }
    shown
}

/// Replaces addresses by those that are set aside for documentation (RFC 5737, RFC 3849).
fn without_addresses(text: &str) -> String {
    let v6 = |c: char| c.is_ascii_hexdigit() || c == ':';
    let dotted = |c: char| c.is_ascii_digit() || c == '.';
    let mut shown = String::with_capacity(text.len());
    for (is_address, run) in runs(text, v6) {
        let colons = run.matches(':').count();
        let is_address = is_address && (colons >= 3 || (run.contains("::") && run.len() > 2));
        shown.push_str(if is_address { "2001:db8::1" } else { run });
    }
    let runs = runs(&shown, dotted);
    let mut replaced = String::with_capacity(shown.len());
    for (is_dotted, run) in runs {
        match is_dotted.then(|| address(run)).flatten() {
            Some(address) => replaced.push_str(&address),
            None => replaced.push_str(run),
        }
    }
    replaced
}

/// Returns the replacement of an address in dotted form, also with its mask, and of IPv6 in the
/// form of 27.007 §10.1.1 (16 numbers). `None` for anything else, and for "no address".
fn address(run: &str) -> Option<String> {
    const V6: &str = "32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1";
    let numbers: Vec<u8> = run.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    if numbers.iter().all(|number| *number == 0) {
        return None;
    }
    let mask = |from: usize| run.split('.').skip(from).collect::<Vec<_>>().join(".");
    Some(match numbers.len() {
        4 => "192.0.2.1".to_owned(),
        8 => format!("192.0.2.1.{}", mask(4)),
        16 => V6.to_owned(),
        32 => format!("{V6}.{}", mask(16)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use at::{Framing, Guarded};

    use super::*;
    use crate::console::CommandRule;

    fn redaction() -> Redaction {
        let rules = [CommandRule::uses("+XCONN", "is a test").secret_from(2)];
        let guarded = vec![Guarded { prefix: "+XCONN:", from: 2 }];
        let framing = Framing { guarded, ..Framing::default() };
        Redaction::new(Commands::new(&rules, framing))
            .of_session(Some("10.1.2.3"), "modemfleet-1a2b3c4d")
    }

    fn shown(command: &str, line: &str) -> String {
        let entries = vec![Entry::Sent(command.to_owned()), Entry::Answer(line.to_owned())];
        let mut transcript = Transcript { entries, ..Transcript::default() };
        redaction().apply(&mut transcript);
        transcript.entries[1].to_string()[2..].to_owned()
    }

    #[test]
    fn identities_end_in_zeros_and_secrets_are_hidden() {
        for (line, expected) in [
            ("861234567123456", "861234567000000"),
            ("+ICCID: 89860012345678901234", "+ICCID: 89860012345678000000"),
            ("+ICCID: 8986001234567890123F", "+ICCID: 8986001234567000000F"),
            ("IMEI: 861234567123456", "IMEI: 861234567000000"),
            ("SN: MP06211FC1A2B3C", "SN: ***"),
            ("MEID: A1000012345678", "MEID: ***"),
            ("+CNUM: ,\"+4915112345678\",145", "+CNUM: ***"),
            ("RING +4915112345678", "RING +0000000000000"),
            (
                "+CGDCONT: 1,\"IP\",\"acme.iot\",\"10.9.8.7\",0,0",
                "+CGDCONT: 1,\"IP\",\"***\",\"192.0.2.1\",0,0",
            ),
            ("+CGDCONT: 2,\"IP\",\"\",\"0.0.0.0\",0,0", "+CGDCONT: 2,\"IP\",\"\",\"0.0.0.0\",0,0"),
            ("+CGAUTH: 1,1,\"pw\",\"user\"", "+CGAUTH: 1,1,***"),
            ("+QICSGP: 1,1,\"acme\",\"u\",\"p\",1", "+QICSGP: 1,***"),
            ("+XCONN: 0,\"u\",\"pw\"", "+XCONN: 0,\"u\",***"),
            ("+CGPADDR: 1,10.63.231.228", "+CGPADDR: 1,192.0.2.1"),
            (
                "+CGPADDR: 1,\"254.128.0.0.0.0.0.0.24.72.135.247.235.115.194.34\"",
                "+CGPADDR: 1,\"32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1\"",
            ),
            ("+CGPADDR: 1,\"2a02:3030:a:b::1\"", "+CGPADDR: 1,\"2001:db8::1\""),
            (
                "+CGCONTRDP: 1,5,\"acme\",\"10.1.2.4.255.0.0.0\",\"10.1.2.1\"",
                "+CGCONTRDP: 1,5,\"***\",\"192.0.2.1.255.0.0.0\",\"192.0.2.1\"",
            ),
            ("$GPGGA,123519,4807.038,N", "$G ***"),
            (
                "+CMQTTCONNECT: 0,\"tcp://10.1.2.3:1883\"",
                "+CMQTTCONNECT: 0,\"tcp://broker.example.com:1883\"",
            ),
        ] {
            assert_eq!(shown("AT+X?", line), expected);
        }
    }

    #[test]
    fn readings_stay_as_they_are() {
        for line in [
            "+CPSI: LTE,Online,460-00,0x3100,136092930,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15",
            "+CREG: 2,1,\"3100\",\"08119123\",7",
            "+COPS: 0,2,\"46000\",7",
            "+CCLK: \"26/11/30,12:30:45+04\"",
            "+CSQ: 20,99",
            "+CME ERROR: 10",
            "OK",
        ] {
            assert_eq!(shown("AT+X?", line), line);
        }
        assert_eq!(shown("AT+CGMR", "+CGMR: 1.2.3.4"), "+CGMR: 1.2.3.4", "a version");
    }

    #[test]
    fn a_person_s_message_and_a_password_are_hidden() {
        let text = "# source: x\n# models: a\n> AT+XCONN=0,\"u\",\"pw\"\n< OK\n! +CMT: \"+49151\",,\"x\"\n! hi there\n> AT\n< OK\n";
        let mut transcript = Transcript::parse(text).unwrap();
        redaction().apply(&mut transcript);
        let expected = "# source: x\n# models: a\n> AT+XCONN=0,\"u\",***\n< OK\n! +CMT: ***\n! ***\n> AT\n< OK\n";
        assert_eq!(transcript.to_string(), expected);
    }
}
