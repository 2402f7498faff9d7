//! Scripts for the engine, in the form of transcripts: one step per line, so that every transcript
//! is a script.
//!
//! | line | step |
//! |---|---|
//! | `> AT…` | the exchange of this command is submitted, if it may start |
//! | `< …`, `! …` | the modem sends this line; `< >` is a prompt |
//! | `\| …` | the modem sends these bytes, with `\r`, `\n` and `\xNN` for bytes that no line has |
//! | `~ 1.2s` | time passes |
//! | `~ 5 hello` | the modem sends five bytes of data; behind a prompt the engine writes the data |
//! | `=` | the modem answers the question for its identity |
//! | `i`, `f2` | its identity becomes known; its framing is another one |
//! | `d`, `w`, `c` | there is a doubt; a write failed; the port is closed |

use std::sync::Arc;
use std::time::Duration;

use at::{Answer, Exchange, ResultLine};

/// One step.
#[derive(Debug)]
pub(super) enum Op {
    Submit(Box<Exchange>),
    Hear(Vec<u8>),
    Prove,
    Wait(Duration),
    Identify,
    Frame(usize),
    Doubt,
    FailWrite,
    Close,
}

/// The most steps of a script.
const STEPS: usize = 400;

/// The longest wait of one step, in seconds.
const MOST: f32 = 300.0;

/// Returns the steps of a script; other lines are left out.
pub(super) fn ops(input: &[u8]) -> Vec<Op> {
    let mut is_prompted = false;
    let mut ops = Vec::new();
    for line in input.split(|byte| *byte == b'\n').take(STEPS) {
        let Some((mark, rest)) = line.split_first() else { continue };
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let op = op(*mark, rest, is_prompted);
        is_prompted = matches!(mark, b'<' | b'!') && rest == b">";
        ops.extend(op);
    }
    ops
}

fn op(mark: u8, rest: &[u8], is_prompted: bool) -> Option<Op> {
    Some(match mark {
        b'>' => Op::Submit(Box::new(exchange(std::str::from_utf8(rest).ok()?)?)),
        b'<' | b'!' if rest == b">" => Op::Hear(b"\r\n>".to_vec()),
        b'<' | b'!' => Op::Hear([b"\r\n", rest, b"\r\n"].concat()),
        b'|' => Op::Hear(unescaped(rest)),
        b'~' => time(rest).map(Op::Wait).or_else(|| data(rest, is_prompted).map(Op::Hear))?,
        b'=' => Op::Prove,
        b'i' => Op::Identify,
        b'f' => Op::Frame(rest.first().copied().unwrap_or_default().into()),
        b'd' => Op::Doubt,
        b'w' => Op::FailWrite,
        b'c' => Op::Close,
        _ => return None,
    })
}

fn time(rest: &[u8]) -> Option<Duration> {
    let seconds: f32 = std::str::from_utf8(rest).ok()?.trim().strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f32(seconds.min(MOST)).ok()
}

fn data(rest: &[u8], is_prompted: bool) -> Option<Vec<u8>> {
    let blank = rest.iter().position(|byte| *byte == b' ')?;
    let (length, text) = rest.split_at(blank);
    std::str::from_utf8(length).ok()?.parse::<usize>().ok()?;
    let said = [text.strip_prefix(b" ").unwrap_or(text), b"\r\n"].concat();
    (!is_prompted).then_some(said)
}

fn unescaped(rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = rest;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let (byte, used) = match (first, after.first()) {
            (b'\\', Some(b'r')) => (b'\r', 1),
            (b'\\', Some(b'n')) => (b'\n', 1),
            (b'\\', Some(b'x')) => {
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => (byte, 3),
                    None => (b'\\', 0),
                }
            }
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = after.get(used..).unwrap_or_default();
    }
    bytes
}

const CMQTT: &str = "cmqtt";
const SHORT: Duration = Duration::from_secs(3);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns a result line of this prefix with a first argument.
const fn of(prefix: &'static str, first: u8) -> ResultLine {
    ResultLine { prefix, first: Some(first), ..ResultLine::BLANK }
}

/// Returns the answer that a command has, and the line that ends its operation.
pub(super) fn expected(line: &str) -> (Answer, Option<ResultLine>) {
    let name = line.get(2..).unwrap_or_default();
    let name = name.split(['=', '?', ';']).next().unwrap_or_default();
    let client = u8::from(line.contains("=1"));
    match name {
        "+CMQTTSTART" => {
            (Answer::None, Some(ResultLine { prefix: "+CMQTTSTART:", ..ResultLine::BLANK }))
        }
        "+CMQTTPUB" => (Answer::None, Some(of("+CMQTTPUB:", client))),
        "+CMQTTSUB" => (Answer::None, Some(of("+CMQTTSUB:", client))),
        "+CMQTTCONNECT" => (Answer::None, Some(of("+CMQTTCONNECT:", client))),
        "+CMQTTTOPIC" | "+CMQTTSUBTOPIC" => (Answer::Prefix("+CMQTTTOPIC:"), None),
        "+QMTPUBEX" => {
            let interim = Some((2, "1"));
            (
                Answer::None,
                Some(ResultLine { second: Some(7), interim, ..of("+QMTPUBEX:", client) }),
            )
        }
        "+QFUPL" => (Answer::Prefix("+QFUPL:"), None),
        "+CREG" => (Answer::Matching(is_registration), None),
        "+CSQ" => (Answer::Prefix("+CSQ:"), None),
        "+CPIN" => (Answer::Prefix("+CPIN:"), None),
        "+CGMM" | "I" | "+CGSN" => (Answer::Bare, None),
        "+CPSI" | "+CEREG" => (Answer::Named(Arc::new([name.to_owned()])), None),
        "+QENG" => (Answer::Any, None),
        _ => (Answer::None, None),
    }
}

fn is_registration(line: &str) -> bool {
    line.starts_with("+CREG:") && line.contains(',')
}

/// Returns the exchange of a command, as the dialects make it; `None` if the line is not a command
/// line.
fn exchange(line: &str) -> Option<Exchange> {
    let (answer, result) = expected(line);
    let exchange = Exchange::new(line, SHORT).ok()?.answer(answer);
    let exchange = match result {
        Some(result) => exchange.result(result, MINUTE).cut_by([of("+CMQTTCONNLOST:", 0)]),
        None => exchange,
    };
    let name = line.get(3..).unwrap_or_default();
    Some(match name.split('=').next().unwrap_or_default() {
        "CMQTTTOPIC" | "CMQTTSUBTOPIC" | "CMQTTPAYLOAD" => {
            exchange.prompt(announced(line)).lane(CMQTT)
        }
        "CMQTTPUB" => exchange.lane(CMQTT).irrevocable(),
        "CMQTTSUB" => exchange.lane(CMQTT).reason_within(SHORT),
        "CMQTTCONNECT" => exchange.lane(CMQTT).shown_as("AT+CMQTTCONNECT=***").at_most(MINUTE),
        "CCERTDOWN" => exchange.prompt(announced(line)).secret(),
        "QMTPUBEX" => exchange.prompt(announced(line)).takes_effect().irrevocable(),
        "QFUPL" => exchange.prompt(announced(line)).after_connect(),
        "CFUN" => exchange.busy_for(MINUTE).undisturbed_for(MINUTE),
        "QENG" => exchange.max_answer(512),
        _ => exchange,
    })
}

/// Returns data of the length that the command's last argument announces, within reason.
fn announced(line: &str) -> Vec<u8> {
    let last = line.rsplit(['=', ',']).next().and_then(|last| last.trim().parse().ok());
    b"payload\r\nOK\r\n>".iter().copied().cycle().take(last.unwrap_or(5).min(10_240)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_a_script() {
        let script = b"# comment\n> AT+CSQ\n< +CSQ: 1,2\n< >\n~ 2 hi\n! +X: 2\n~ 2 hi\n~ 1.5s\n| a\\r\\x00\\q\nf2\nnonsense\n";
        let shown: Vec<String> = ops(script).iter().map(|op| format!("{op:?}")).collect();
        let heard = |bytes: &[u8]| format!("{:?}", Op::Hear(bytes.to_vec()));
        assert_eq!(shown.len(), 8, "{shown:#?}");
        assert!(shown[0].starts_with("Submit"), "{shown:#?}");
        assert_eq!(shown[1], heard(b"\r\n+CSQ: 1,2\r\n"));
        assert_eq!(shown[2..5], [heard(b"\r\n>"), heard(b"\r\n+X: 2\r\n"), heard(b"hi\r\n")]);
        assert_eq!(
            shown[5..],
            ["Wait(1.5s)".to_owned(), heard(b"a\r\0\\q"), "Frame(50)".to_owned()]
        );
    }
}
