//! `modemfleet publish`: publishes messages through the running agent's API.

mod wait;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::slice;
use std::time::Duration;

use bytes::Bytes;
use clap::builder::RangedU64ValueParser;
use hyper::Method;
use hyper::header::HeaderValue;
use modem::mqtt::MAX_PAYLOAD;
use modem::session::Chain;
use queue::{MAX_NAME, MAX_PRIORITY};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::wait::{HANDED, Handed, Watch};
use crate::end::wrong;
use api::client::{Call, Client, ClientError, Target, TargetError, converse, encode};
use api::messages::Taken;
use fleet::Name;
use fleet::printable::{complain, printable};

/// The most bytes of a topic that is sent to the agent. A modem accepts 1,024.
const MAX_REQUEST: usize = 8 * 1024;

const EXAMPLES: &str = "Examples:
  modemfleet publish --topic sensors/t1 21.5
  modemfleet publish --topic images/door --qos 2 --file door.jpg
  sensor | modemfleet publish --topic sensors/t1 --lines
  modemfleet publish --topic alarm --session north/cloud --ttl 10m --priority 9 open
  modemfleet publish --topic alarm --wait=30s open && echo the broker has it

The id is printed once the message is on the agent's disk. From then on the agent delivers it, also \
if `--wait` ends without an acknowledgement.
Exit codes: 0 accepted (with `--wait`: acknowledged), 1 refused (with `--wait`: or not acknowledged \
in time, made a dead letter, or dropped), 2 wrong usage or configuration, 3 no agent runs.";

/// Hands messages to the running agent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct Args {
    /// The topic.
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub topic: String,
    /// The quality of service: 0, 1 or 2.
    #[arg(long, value_name = "QOS", default_value_t = 1, value_parser = RangedU64ValueParser::<u8>::new().range(0..=2))]
    pub qos: u8,
    /// Ask the broker to keep the message for later subscribers.
    #[arg(long)]
    pub retain: bool,
    /// The session that carries the message, instead of the routes' choice.
    #[arg(long, value_name = "MODEM/SESSION", value_parser = session)]
    pub session: Option<String>,
    /// Drop the message if it is not delivered within this time, such as 90s or 2h.
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    pub ttl: Option<String>,
    /// The priority, 0 to 9; higher ones are delivered first.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u8>::new().range(0..=u64::from(MAX_PRIORITY)))]
    pub priority: Option<u8>,
    /// An idempotency key of your choice: a second message with the same key is not stored again.
    #[arg(long, value_name = "KEY", value_parser = key, conflicts_with = "lines")]
    pub key: Option<HeaderValue>,
    /// Publish each line as a message, before the next line is read. Stop at the first refusal.
    #[arg(long, group = "what")]
    pub lines: bool,
    /// Wait until the broker has acknowledged each message and each of its copies. TIME, such as 30s
    /// or 5m, is counted from the last message and is unlimited by default. A message of QoS 0, which
    /// no broker acknowledges, counts once a modem has accepted it.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = patience)]
    pub wait: Option<Option<Duration>>,
    /// Read from this file instead of standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
    /// The payload, or `-` for standard input.
    #[arg(value_name = "PAYLOAD", group = "what", conflicts_with_all = ["lines", "file"], allow_negative_numbers = true)]
    pub payload: Option<OsString>,
    /// The address of the agent.
    #[command(flatten)]
    pub target: Target,
}

/// The reason why a message was not published, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The agent's address is not known.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The agent did not accept it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The agent accepted it and discarded it.
    #[error("dropped: the queue is full, and its policy is to drop new messages")]
    Dropped,
    /// The answer is not the agent's.
    #[error(
        "the answer names no message, so the server is not an agent; the message does not count as published"
    )]
    Stranger,
    /// The payload could not be read.
    #[error("could not read the payload from {from}")]
    Payload {
        /// The source of the payload.
        from: String,
        /// The system's error.
        source: io::Error,
    },
    /// It is too large for any modem.
    #[error("the payload has more than {MAX_PAYLOAD} bytes")]
    TooLarge,
    /// It was published, but the broker did not acknowledge it, or not in time. Each such message
    /// was printed.
    #[error("{acknowledged} of {all} acknowledged")]
    Unacknowledged {
        /// The number of acknowledged messages.
        acknowledged: u64,
        /// The number of all messages; each copy counts.
        all: u64,
    },
    /// The agent has no receipts.
    #[error("this agent is too old for `--wait`; nothing was published")]
    NoReceipts,
    /// A line was not published; the lines before it were.
    #[error("stopped at line {number} ({before} published)", before = number.saturating_sub(1))]
    Line {
        /// The line's number, counted from 1.
        number: u64,
        /// The reason.
        source: Box<Self>,
    },
}

impl PublishError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Target(_) | Self::Payload { .. } => wrong(),
            Self::Client(error) => error.code(),
            Self::Dropped
            | Self::Stranger
            | Self::TooLarge
            | Self::Unacknowledged { .. }
            | Self::NoReceipts => ExitCode::FAILURE,
            Self::Line { source, .. } => source.code(),
        }
    }

    /// Reports whether all was printed already: a single message needs no sum.
    fn is_said(&self) -> bool {
        matches!(self, Self::Unacknowledged { all: 1, .. })
    }

    fn is_in_doubt(&self) -> bool {
        match self {
            Self::Client(error) => error.is_in_doubt(),
            Self::Line { source, .. } => source.is_in_doubt(),
            _ => false,
        }
    }
}

/// Publishes the messages in `args`, and prints their ids on standard output.
pub fn run(args: &Args) -> ExitCode {
    let done = match converse(hand_in(args)) {
        Ok(done) => done,
        Err(error) => {
            complain(&format!("could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if !error.is_said() {
        complain(&Chain(&error).to_string());
    }
    if error.is_in_doubt() {
        complain(
            "it is not known whether the message was accepted; with `--key` it can be sent again safely",
        );
    }
    error.code()
}

async fn hand_in(args: &Args) -> Result<(), PublishError> {
    let client = args.target.client()?;
    match args.wait {
        Some(patience) => send_and_wait(args, client, patience).await,
        None => send(args, client, None).await,
    }
}

/// Publishes, and reports each published message if its end is awaited.
async fn send(
    args: &Args,
    client: Client,
    told: Option<mpsc::Sender<Handed>>,
) -> Result<(), PublishError> {
    let mut sender = Sender { client, path: path(args), key: args.key.as_ref(), told };
    if args.lines {
        return lines(args.file.as_deref(), &mut sender).await;
    }
    print_id(&sender.send(payload(args)?, None).await?);
    Ok(())
}

/// Publishes and waits for the acknowledgements, at most this long after the last publish.
async fn send_and_wait(
    args: &Args,
    client: Client,
    patience: Option<Duration>,
) -> Result<(), PublishError> {
    // On a second connection, since receipts are read while lines are published.
    let sending = client.another();
    let mut watch = Watch::open(client).await.map_err(|error| match error {
        error if error.is_refusal_of("not_found") => PublishError::NoReceipts,
        error => error.into(),
    })?;
    let (told, handed) = mpsc::channel(HANDED);
    let late = {
        let mut ended = pin!(watch.follow(handed));
        // The second arm is polled again below, and does not end before the first: nothing is lost.
        let is_over = tokio::select! {
            sent = send(args, sending, Some(told)) => sent.map(|()| false)?,
            () = &mut ended => true,
        };
        match patience {
            _ if is_over => None,
            Some(patience) => timeout(patience, ended).await.err().map(|_| patience),
            None => {
                ended.await;
                None
            }
        }
    };
    if let Some(patience) = late {
        watch.give_up(&humantime::format_duration(patience).to_string()).await;
    }
    let (acknowledged, all) = watch.tally();
    if acknowledged < all {
        return Err(PublishError::Unacknowledged { acknowledged, all });
    }
    if args.lines {
        complain(&format!("{} acknowledged", count(all)));
    }
    Ok(())
}

fn count(messages: u64) -> String {
    format!("{messages} message{}", if messages == 1 { "" } else { "s" })
}

/// Publishes line by line. If the reader of the ids closes its pipe, publishing continues: the
/// messages matter.
async fn lines(file: Option<&Path>, sender: &mut Sender<'_>) -> Result<(), PublishError> {
    let (mut input, from) = open(file)?;
    let mut number = 0_u64;
    loop {
        number += 1;
        let at_line = |error| PublishError::Line { number, source: Box::new(error) };
        // On a thread of its own: the connection must be served while a sensor is slow.
        let read = tokio::task::spawn_blocking(move || {
            let line = next_line(&mut input);
            (input, line)
        });
        let (back, line) = read.await.map_err(|error| {
            let source = io::Error::other(error);
            at_line(PublishError::Payload { from: from.clone(), source })
        })?;
        input = back;
        let failed = |source| PublishError::Payload { from: from.clone(), source };
        let Some(line) = line.map_err(|error| at_line(failed(error)))? else { break };
        let line = checked(line).map_err(at_line)?;
        print_id(&sender.send(line, Some(number)).await.map_err(at_line)?);
    }
    complain(&format!("{} published", count(number.saturating_sub(1))));
    Ok(())
}

/// Returns the next line without its end. A line that is too long for a payload is cut to one byte
/// too many.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    // Room for CR, LF and the one byte too many.
    let limit = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX).saturating_add(3);
    let mut line = Vec::new();
    if input.take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Some(line))
}

fn payload(args: &Args) -> Result<Vec<u8>, PublishError> {
    if let Some(text) = args.payload.clone().filter(|text| text != "-") {
        return checked(text.into_vec());
    }
    let (input, from) = open(args.file.as_deref())?;
    let limit = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = input.take(limit).read_to_end(&mut bytes);
    read.map_err(|source| PublishError::Payload { from, source })?;
    checked(bytes)
}

fn checked(payload: Vec<u8>) -> Result<Vec<u8>, PublishError> {
    if payload.len() > MAX_PAYLOAD { Err(PublishError::TooLarge) } else { Ok(payload) }
}

type Input = BufReader<Box<dyn Read + Send>>;

/// Opens the input, and returns its name for messages.
fn open(file: Option<&Path>) -> Result<(Input, String), PublishError> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok((BufReader::new(Box::new(io::stdin())), "standard input".to_owned()));
    };
    let from = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok((BufReader::new(Box::new(file)), from)),
        Err(source) => Err(PublishError::Payload { from, source }),
    }
}

/// The state that all messages of one call share.
struct Sender<'a> {
    client: Client,
    path: String,
    key: Option<&'a HeaderValue>,
    /// The task that waits for the end of each message.
    told: Option<mpsc::Sender<Handed>>,
}

impl Sender<'_> {
    /// Publishes one message, and returns its id once it is on disk.
    async fn send(&mut self, payload: Vec<u8>, line: Option<u64>) -> Result<String, PublishError> {
        let body = Bytes::from(payload);
        let call = Call { method: Method::POST, path: &self.path, key: self.key, body };
        let answer = self.client.json(&call).await?;
        let taken =
            serde_json::from_value(answer).ok().filter(|taken: &Taken| !taken.id.is_empty());
        let Taken { id, dropped, copies } = taken.ok_or(PublishError::Stranger)?;
        if dropped {
            return Err(PublishError::Dropped);
        }
        let id = printable(&id);
        if let Some(told) = &self.told {
            let all = if copies.is_empty() { slice::from_ref(&id) } else { &copies };
            for id in all {
                // The receiver lives as long as this sender.
                drop(told.send(Handed { id: printable(id), line }).await);
            }
        }
        Ok(id)
    }
}

fn path(args: &Args) -> String {
    let mut path = format!("/api/v1/publish?topic={}&qos={}", encode(&args.topic), args.qos);
    let retain = args.retain.then(|| "true".to_owned());
    let priority = args.priority.map(|priority| priority.to_string());
    let optional = [
        ("retain", retain.as_deref()),
        ("session", args.session.as_deref()),
        ("ttl", args.ttl.as_deref()),
        ("priority", priority.as_deref()),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", encode(value)));
        }
    }
    path
}

fn print_id(id: &str) {
    let mut out = io::stdout();
    // The reader of the ids may have closed its pipe; the messages are published anyway.
    let _ = writeln!(out, "{id}").and_then(|()| out.flush());
}

/// Checks only that the topic fits into a request; the agent checks the rest.
fn topic(text: &str) -> Result<String, &'static str> {
    if text.len() > MAX_REQUEST {
        Err("the topic is longer than any modem accepts")
    } else {
        Ok(text.to_owned())
    }
}

fn session(text: &str) -> Result<String, &'static str> {
    let both = text.split_once('/');
    both.filter(|(modem, session)| Name::new(modem).is_some() && Name::new(session).is_some())
        .map(|_| text.to_owned())
        .ok_or("the value must be MODEM/SESSION, two names of the fleet file")
}

fn ttl(text: &str) -> Result<String, &'static str> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.map(|_| text.to_owned()).ok_or("the value must be a time with its unit, such as 90s or 2h")
}

fn patience(text: &str) -> Result<Duration, &'static str> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or("the value must be a time with its unit, such as 30s or 5m")
}

fn key(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("the value must have 1 to {MAX_NAME} visible ASCII characters");
    let good = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if good { HeaderValue::from_str(text).map_err(|_fault| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let mut input: &[u8] = b"a\r\n\nb\rc\n \xff";
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"a"[..], b"", b"b\rc", b" \xff"]);
    }

    #[test]
    fn a_line_without_end_is_not_read_to_it() {
        let fits = [vec![b'x'; MAX_PAYLOAD], b"\r\n".to_vec()].concat();
        let line = next_line(&mut fits.as_slice()).unwrap().unwrap();
        assert!(checked(line).is_ok());
        let line = next_line(&mut BufReader::new(io::repeat(b'x'))).unwrap().unwrap();
        assert!(line.len() < MAX_PAYLOAD + 10 && checked(line).is_err());
    }
}
