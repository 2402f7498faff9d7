//! `modemfleet status`: the fleet in the running agent, once or repeatedly.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use modem::session::Chain;
use serde_json::Value;
use tokio::signal::unix::{self, SignalKind};

use super::scan;
use super::table::{Cell, Table, Tone};
use crate::end::{output_failed, wrong};
use agent::modems::devices::{Claim, DeviceReport};
use api::client::{Call, Client, ClientError, Target, TargetError, converse};
use api::devices::Devices;
use api::modems::{Fleet, Modem, Queue, Registration, Session, Signal};
use fleet::printable::complain;
use fleet::printable::printable;

/// The interval of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

const MODEMS: &str = "/api/v1/modems";

const EXAMPLES: &str = "Examples:
  modemfleet status
  modemfleet status --watch
  modemfleet status --json | jq '.modems[] | select(.state != \"serving\")'

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no agent runs.";

/// Shows modems, sessions and the queue of the running agent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print the API's answer as JSON; with `--watch`, one line for each change.
    #[arg(long)]
    pub json: bool,
    /// Refresh each second, until Ctrl-C. On a terminal the table is updated in place; elsewhere a
    /// table is printed for each change.
    #[arg(long)]
    pub watch: bool,
    /// The address of the agent.
    #[command(flatten)]
    pub target: Target,
}

/// The reason why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The agent's address is not known.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The agent did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not a fleet.
    #[error("the server at {MODEMS} is not a modemfleet agent, or has another version")]
    Strange(#[from] serde_json::Error),
    /// An error of the output, or of the signal that ends the watch.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let shown = converse(show(args)).map_err(StatusError::Io).and_then(|shown| shown);
    let Err(error) = shown else { return ExitCode::SUCCESS };
    let code = match &error {
        StatusError::Io(error) => return output_failed(error),
        StatusError::Target(_) => wrong(),
        StatusError::Client(error) => error.code(),
        StatusError::Strange(_) => ExitCode::FAILURE,
    };
    complain(&Chain(&error).to_string());
    code
}

async fn show(args: &Args) -> Result<(), StatusError> {
    let mut client = args.target.client()?;
    let screen = Screen::of_stdout();
    let first = look(&mut client, args, &screen).await?;
    if !args.watch {
        return Ok(writeln!(io::stdout(), "{}", first.trim_end())?);
    }
    let mut interrupt = unix::signal(SignalKind::interrupt())?;
    watch(first, &mut client, args, &screen, &mut interrupt).await
}

/// Repeats the picture until Ctrl-C, also while the agent is away.
async fn watch(
    first: String,
    client: &mut Client,
    args: &Args,
    screen: &Screen,
    interrupt: &mut unix::Signal,
) -> Result<(), StatusError> {
    let mut picture = first;
    let mut shown = None;
    loop {
        if shown.as_ref() != Some(&picture) {
            screen.draw(&picture, shown.is_none())?;
            shown = Some(picture);
        }
        // Both arms are cancel safe: a request changes nothing in the agent.
        let next = async {
            tokio::time::sleep(PERIOD).await;
            look(client, args, screen).await
        };
        picture = tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            next = next => match next {
                Ok(picture) => picture,
                Err(StatusError::Client(error)) => absent(&error, args.json),
                Err(error) => return Err(error),
            },
        };
    }
}

/// Returns the picture while the agent does not answer, in the form of the others.
fn absent(error: &ClientError, json: bool) -> String {
    let words = printable(&Chain(error).to_string());
    if json { serde_json::json!({ "error": words }).to_string() } else { words + "\n" }
}

/// Returns one picture of the fleet.
async fn look(client: &mut Client, args: &Args, screen: &Screen) -> Result<String, StatusError> {
    let document = client.json(&Call::get(MODEMS)).await?;
    let fleet: Fleet = serde_json::from_value(document.clone())?;
    if args.json {
        let text = if args.watch { Ok(document.to_string()) } else { pretty(&document) };
        return Ok(text?);
    }
    let metrics = client.text(&Call::get("/metrics")).await?;
    let mut picture = picture(&fleet, &acknowledged(&metrics), screen);
    picture.push_str(&usb(client).await?);
    Ok(picture)
}

/// Returns remarks about USB modems: without an entry, present twice, or in use by another program.
async fn usb(client: &mut Client) -> Result<String, StatusError> {
    let told = match client.json(&Call::get(scan::DEVICES)).await {
        // An agent of an earlier version has no such path.
        Err(ClientError::Refused { code, .. }) if code == "not_found" => return Ok(String::new()),
        told => told?,
    };
    let Devices::<DeviceReport> { devices, .. } = serde_json::from_value(told)?;
    let lines = devices.iter().flat_map(|device| {
        let nobodys = (device.claim == Claim::Unclaimed).then(|| {
            let model = device.model.as_deref().unwrap_or("a modem without a known identity");
            let imei =
                device.imei.as_ref().map(|imei| format!(", IMEI {imei}")).unwrap_or_default();
            format!("no entry claims it: {model}{imei}")
        });
        let twice =
            device.duplicate_imei.then(|| "another modem here reports the same IMEI".to_owned());
        let busy = device.busy().map(|busy| busy.to_string());
        let words: Vec<String> = nobodys.into_iter().chain(twice).chain(busy).collect();
        words.into_iter().map(|words| format!("USB {}: {}\n", device.usb_path, printable(&words)))
    });
    let lines: String = lines.collect();
    Ok(if lines.is_empty() { lines } else { format!("\n{lines}") })
}

fn pretty(document: &Value) -> serde_json::Result<String> {
    serde_json::to_string_pretty(document)
}

/// The output for pictures.
pub(super) struct Screen {
    is_terminal: bool,
    /// True if words are coloured.
    pub(super) colour: bool,
    /// The terminal's columns.
    width: Option<usize>,
}

impl Screen {
    pub(super) fn of_stdout() -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        // By no-color.org any value but an empty one counts.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let size = rustix::termios::tcgetwinsize(&out).ok().filter(|size| size.ws_col > 0);
        let width = size.map(|size| usize::from(size.ws_col)).filter(|_| is_terminal);
        Self { is_terminal, colour: is_terminal && !plain, width }
    }

    /// Draws over the last picture on a terminal, and below it otherwise.
    fn draw(&self, picture: &str, is_first: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.is_terminal {
            writeln!(out, "{picture}")?;
            return out.flush();
        }
        // Home, then each line clears the rest of the earlier one, so that the picture does not
        // flicker.
        write!(out, "{}\x1b[H", if is_first { "\x1b[2J" } else { "" })?;
        for line in picture.lines() {
            write!(out, "{line}\x1b[K\r\n")?;
        }
        write!(out, "\x1b[J")?;
        out.flush()
    }
}

/// Publishes that the broker acknowledged, by modem and session.
type Acknowledged = HashMap<(String, String), u64>;

const HEAD: [&str; 11] = [
    "MODEM", "STATE", "MODEL", "OPERATOR", "SIGNAL", "NETWORK", "TEMP", "SESSION", "PHASE",
    "ACKED", "REASON",
];

fn picture(fleet: &Fleet, acknowledged: &Acknowledged, screen: &Screen) -> String {
    let mut table = Table::new(&HEAD);
    for modem in &fleet.modems {
        rows(modem, acknowledged, &mut table);
    }
    let mut picture = table.render(screen.colour, screen.width);
    if let Some(queue) = &fleet.queue {
        picture.push_str(&format!("\n{}\n", line(queue)));
    }
    picture
}

/// Adds a row for each session; the first has the modem's cells too.
fn rows(modem: &Modem, acknowledged: &Acknowledged, table: &mut Table) {
    let mut first = Some(cells(modem));
    let mut own_reason = own_reason(modem);
    for session in &modem.sessions {
        let mut row = first.take().unwrap_or_else(|| vec![Cell::default(); 7]);
        let key = (modem.name.clone(), session.name.clone());
        // The series appears with the first publish.
        let count = acknowledged.get(&key).copied().unwrap_or_default().to_string();
        let reason = match (own_reason.take(), session.reason.clone()) {
            // A session often waits for the reason that its modem already shows.
            (Some(modem), Some(session)) if !modem.ends_with(&session) => {
                format!("{modem}; {session}")
            }
            (modem, session) => modem.or(session).unwrap_or_default(),
        };
        row.extend([
            Cell::new(&session.name),
            phase(session),
            Cell::new(&count),
            Cell::new(&reason),
        ]);
        table.push(row);
    }
    if let Some(mut row) = first {
        row.extend(vec![Cell::default(); 3]);
        row.push(Cell::new(&own_reason.unwrap_or_default()));
        table.push(row);
    }
}

/// Returns the reasons why the modem does not serve, or why its messages wait.
fn own_reason(modem: &Modem) -> Option<String> {
    let budget = modem.budget.as_ref().and_then(|budget| budget.reason.clone());
    let reasons: Vec<String> = modem.snapshot.reason.iter().cloned().chain(budget).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn cells(modem: &Modem) -> Vec<Cell> {
    let is = &modem.snapshot;
    let model = is.identified.as_ref().map(|is| is.model.as_str());
    let network = is.registration.as_ref().map(network);
    let warmth = is.temperature_celsius.map(|celsius| format!("{celsius:.0} °C"));
    let signals: Vec<String> = is.signals.iter().map(signal).collect();
    vec![
        Cell::new(&modem.name),
        Cell::new(&is.state).toned(tone(&is.state)),
        Cell::new(model.unwrap_or_default()),
        Cell::new(is.operator.as_deref().unwrap_or_default()),
        Cell::new(&signals.join(", ")),
        Cell::new(network.as_deref().unwrap_or_default()),
        Cell::new(warmth.as_deref().unwrap_or_default()),
    ]
}

fn network(registration: &Registration) -> String {
    let voice = if registration.voice_only { ", voice only" } else { "" };
    format!("{}{voice}", registration.state)
}

/// Returns the phase, and `insecure` as a warning if any certificate is accepted.
fn phase(session: &Session) -> Cell {
    let phase = &session.phase;
    if session.tls.as_deref() == Some("insecure") {
        return Cell::new(&format!("{phase}, insecure")).toned(Tone::Warning);
    }
    Cell::new(phase).toned(tone(phase))
}

/// Returns the tone of a state or a phase.
fn tone(word: &str) -> Tone {
    match word {
        "serving" | "connected" => Tone::Good,
        "failed" | "absent" => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// Returns the best measure of the signal: the reference signal's power if the radio has it.
fn signal(signal: &Signal) -> String {
    match (signal.rsrp_dbm, signal.rssi_dbm) {
        (Some(rsrp), _) => format!("{} rsrp {rsrp:.0}", signal.rat),
        (None, Some(rssi)) => format!("{} rssi {rssi:.0}", signal.rat),
        (None, None) => signal.rat.clone(),
    }
}

fn line(queue: &Queue) -> String {
    let words = if queue.messages == 1 { "message" } else { "messages" };
    let size = bytesize::ByteSize::b(queue.bytes);
    let mut line = format!("queue: {} {words}, {size}", queue.messages);
    if let Some(age) = queue.oldest_age_seconds.filter(|_| queue.messages > 0) {
        let age = humantime::format_duration(Duration::from_secs(age));
        line.push_str(&format!(", oldest {age} old"));
    }
    let dropped: u64 = queue.dropped.values().copied().fold(0, u64::saturating_add);
    if dropped > 0 {
        line.push_str(&format!(", {dropped} dropped"));
    }
    line
}

/// Sums the acknowledged publishes of all qualities of service from the text format.
///
/// Names of modems and sessions hold no quotes, so a split at quotes finds them.
fn acknowledged(metrics: &str) -> Acknowledged {
    let mut all = Acknowledged::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("modemfleet_mqtt_publishes_total{") else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        let label = |name: &str| {
            let of =
                labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""));
            of.and_then(|value| value.strip_suffix('"'))
        };
        if label("result") != Some("ok") {
            continue;
        }
        if let (Some(modem), Some(session), Ok(count)) =
            (label("modem"), label("session"), value.trim().parse::<u64>())
        {
            let sum = all.entry((modem.to_owned(), session.to_owned())).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picture(colour: bool) -> String {
        let fleet: Fleet = serde_json::from_value(json!({
            "modems": [
                {
                    "name": "north", "state": "serving", "operator": "中国移动",
                    "identified": { "model": "SIMCOM_SIM8200EA-M2", "imei": "1" },
                    "budget": { "bytes": 9, "stage": "stopped", "reason": "used up" },
                    "signals": [{ "rat": "lte", "rsrp_dbm": -95.5, "rssi_dbm": -63.0 }, { "rat": "nr" }],
                    "registration": { "stat": 1, "state": "home" }, "temperature_celsius": 38.0,
                    "sessions": [
                        { "name": "cloud", "phase": "connected", "tls": "on" },
                        { "name": "lab", "phase": "backing_off", "tls": "insecure", "reason": "refused\u{1b}[31m with 26" },
                    ],
                },
                {
                    "name": "bench", "state": "absent", "reason": "no tty", "sessions": [],
                    "registration": { "stat": 3, "state": "denied", "voice_only": true },
                },
            ],
            "queue": { "messages": 3, "bytes": 4096, "oldest_age_seconds": 65, "dropped": { "full": 2, "expired": 1 } },
        }))
        .unwrap();
        let counts = acknowledged(
            "# TYPE modemfleet_mqtt_publishes_total counter\n\
             modemfleet_mqtt_publishes_total{modem=\"north\",qos=\"1\",result=\"ok\",session=\"cloud\"} 7\n\
             modemfleet_mqtt_publishes_total{modem=\"north\",qos=\"2\",result=\"ok\",session=\"cloud\"} 5\n\
             modemfleet_mqtt_publishes_total{modem=\"north\",qos=\"1\",result=\"error\",session=\"cloud\"} 9\n",
        );
        super::picture(&fleet, &counts, &Screen { is_terminal: true, colour, width: None })
    }

    #[test]
    fn the_table_says_what_is_known_and_leaves_the_rest_empty() {
        assert_eq!(
            picture(false),
            "\
MODEM  STATE    MODEL                OPERATOR  SIGNAL            NETWORK             TEMP   SESSION  PHASE                  ACKED  REASON
north  serving  SIMCOM_SIM8200EA-M2  中国移动  lte rsrp -96, nr  home                38 °C  cloud    connected              12     used up
                                                                                            lab      backing_off, insecure  0      refused\u{fffd}[31m with 26
bench  absent                                                    denied, voice only                                                no tty

queue: 3 messages, 4.0 KiB, oldest 1m 5s old, 3 dropped
"
        );
    }

    #[test]
    fn colours_change_nothing_but_colour() {
        let coloured = picture(true);
        assert!(coloured.contains("\u{1b}[32mserving\u{1b}[0m"), "{coloured}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, picture(false));
    }
}
