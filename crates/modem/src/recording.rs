//! Recording of a transcript: a script of commands that only read, one MQTT session with one
//! publish if a broker is given, and the lines of the port in the form of a transcript.
//!
//! The bytes are taken between the port and its task. So the transcript holds the modem's own
//! lines, its echo included, and no line passes a parser first. The engine's verdict is added: the
//! lines that it took for URCs.

mod bytes;
mod conversation;
mod piece;
mod proof;
mod redact;
mod session;
mod tap;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::catalog::{Catalog, Model};
use crate::chain::Chain;
use crate::console::{ConsoleContext, Outcome, Wish};
use crate::identity::normalised;
use crate::location::Place;
use crate::port::{At, Port, PortEnd, PortEvent};
use crate::probe::ProbeError;
use crate::profile::Profile;
use crate::serial::{self, Line};
use crate::transcript::{RECORDED, SESSION, Transcript};

pub use conversation::Conversation;
pub use redact::Redaction;
pub use session::{CLIENT_ID, HOST, PAYLOAD, Published, TOPIC};
use tap::{Log, Marker, Tap};

/// The number of this script: it grows if the commands change.
pub const SCRIPT: u32 = 1;

/// The time for an answer: as long as a command may take beside sessions.
const PATIENCE: Duration = crate::console::LONGEST_BESIDE;

/// The time for the first answer. A modem that is busy with its boot is asked again.
const FIRST_ANSWER: Duration = Duration::from_secs(30);

/// The time after the last command in which late URCs belong to the recording.
const LINGER: Duration = Duration::from_secs(1);

/// The time to sign out after a stop in the session: a person waits.
const SIGN_OUT: Duration = Duration::from_secs(20);

/// A wish for a recording.
pub struct Plan<'a> {
    /// The known models.
    pub catalog: &'a Catalog,
    /// The model whose dialect an unknown modem speaks.
    pub like: Option<&'a Model>,
    /// The broker of the one publish; `None` records only commands that read.
    pub broker: Option<(String, u16)>,
    /// Receives each command before it is sent.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

/// A recording.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The answer to `AT+CGMM`.
    pub cgmm: String,
    /// The answer to `AT+CGMR`, if there was one.
    pub firmware: Option<String>,
    /// The entry of the catalog that fits the modem.
    pub model: Option<Model>,
    /// The profile whose dialect was spoken.
    pub profile: Option<&'static str>,
    /// The lines. Its source is empty, and its models are the modem's own.
    pub transcript: Transcript,
    /// The outcome of the publish.
    pub published: Published,
    /// The reason why the recording ended early, if it did.
    pub cut: Option<String>,
}

/// The dialect to speak with a modem: its own, or the one that the plan names.
fn dialect<'a>(plan: &Plan<'a>, cgmm: &str) -> (Option<&'a Model>, Option<&'static dyn Profile>) {
    match plan.catalog.identify(cgmm) {
        Some((model, profile)) => (Some(model), Some(profile)),
        None => (None, plan.like.and_then(|model| plan.catalog.profile(&model.profile))),
    }
}

/// Returns the id of a model that has no entry: the letters and digits of its name.
pub fn id_of(cgmm: &str) -> String {
    let letters = normalised(cgmm).to_ascii_lowercase();
    let mut id: String = letters.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    if id.is_empty() {
        id.push_str("unknown");
    }
    id
}

/// Opens a tty that no other program has, records, and closes it. Echo and the form of errors stay
/// as they are. The recording ends early if `stop` resolves.
///
/// # Errors
/// [`ProbeError`] if the tty cannot be opened or no modem answers. A modem that goes later ends the
/// recording, and is not an error.
///
/// # Cancel safety
/// Dropping the future closes the port a moment later; the modem may be left at a prompt. `stop`
/// leaves it in step.
pub async fn on_tty(
    path: &Path,
    baud: u32,
    plan: &Plan<'_>,
    stop: impl Future<Output = ()>,
) -> Result<Recording, ProbeError> {
    let line = Line { baud, ..Line::DEFAULT };
    let mut tty = serial::open(Place { line, ..path.to_owned().into() }).await?.tty;
    let recorded = record(&mut tty, plan, stop).await;
    tty.close().await;
    recorded.ok_or_else(|| ProbeError::Mute { path: path.to_owned() })
}

/// Records over a byte stream; `None` if no modem answers there.
///
/// # Cancel safety
/// See [`on_tty`].
pub async fn record<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    plan: &Plan<'_>,
    stop: impl Future<Output = ()>,
) -> Option<Recording> {
    let log = Arc::new(Log::default());
    let tap = Tap::new(stream, Arc::clone(&log));
    let marker = Arc::new(Marker(Arc::clone(&log)));
    let (port, at, mut events) = Port::new(tap, plan.catalog.framing(), marker);
    let (mut port, mut stop) = (std::pin::pin!(port.run()), std::pin::pin!(stop));
    // All arms are cancel safe: an end or a stop before the first answer leaves nothing to keep.
    let cgmm = tokio::select! {
        _ = &mut port => None,
        () = &mut stop => None,
        first = timeout(FIRST_ANSWER, first_answer(&mut events, &log)) => first.ok().flatten(),
    }?;
    let (_, profile) = dialect(plan, &cgmm);
    let start = log.begin();
    let client_id = format!("modemfleet-{:08x}", fastrand::u32(..));
    let mut is_gone = {
        let talk = std::pin::pin!(talk(&at, plan, profile, &client_id, &log));
        while_open(port.as_mut(), &mut events, talk, stop, &log).await
    };
    if let (false, true, Some(profile)) = (is_gone, log.is_in_session(), profile) {
        let out = std::pin::pin!(session::sign_out(&at, profile.mqtt()));
        let late = std::pin::pin!(tokio::time::sleep(SIGN_OUT));
        is_gone = while_open(port.as_mut(), &mut events, out, late, &log).await;
    }
    drop(at);
    if !is_gone {
        let finished = async { tokio::join!(port, hear(&mut events, &log)) };
        let _ = timeout(crate::console::PATIENCE, finished).await;
    }
    while let Ok(event) = events.try_recv() {
        log.event(event);
    }
    let framing = profile.map_or_else(|| plan.catalog.framing(), Profile::framing);
    let (transcript, done) = log.transcript(start, &framing);
    let published = match (plan.broker.is_some(), profile) {
        (false, _) => Published::NotAsked,
        (true, None) => Published::NoDialect,
        (true, Some(_)) => done.published.unwrap_or(Published::NotReached),
    };
    let broker = plan.broker.as_ref().map(|(host, _)| host.as_str());
    let redaction = Redaction::new(plan.catalog.commands()).of_session(broker, &client_id);
    let heard = Heard { cgmm, firmware: done.firmware, transcript, published, cut: done.cut };
    Some(Recording::of(heard, plan, &redaction))
}

/// Talks until that is done, the port ends or `stop` resolves; true if the port has ended. An
/// exchange in flight is left to the port, which finishes it: the modem is not left at a prompt.
async fn while_open(
    mut port: Pin<&mut impl Future<Output = PortEnd>>,
    events: &mut mpsc::Receiver<PortEvent>,
    mut talk: Pin<&mut impl Future<Output = ()>>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    log: &Log,
) -> bool {
    loop {
        // All arms are cancel safe or polled again, and none awaits in its body.
        tokio::select! {
            biased;
            Some(event) = events.recv() => log.event(event),
            end = &mut port => {
                log.cut(words_of(&end));
                return true;
            }
            () = &mut talk => return false,
            () = &mut stop => {
                log.cut("it was stopped".to_owned());
                return false;
            }
        }
    }
}

/// Keeps events until the port ends.
async fn hear(events: &mut mpsc::Receiver<PortEvent>, log: &Log) {
    while let Some(event) = events.recv().await {
        log.event(event);
    }
}

/// A recording before its secrets are removed.
struct Heard {
    cgmm: String,
    firmware: Option<String>,
    transcript: Transcript,
    published: Published,
    cut: Option<String>,
}

impl Recording {
    fn of(heard: Heard, plan: &Plan<'_>, redaction: &Redaction) -> Self {
        let Heard { cgmm, firmware, mut transcript, published, cut } = heard;
        let (model, profile) = dialect(plan, &cgmm);
        redaction.apply(&mut transcript);
        transcript.models = vec![model.map_or_else(|| id_of(&cgmm), |model| model.id.clone())];
        transcript.notes.insert(0, (0, format!("{RECORDED}, script {SCRIPT}")));
        if let Some(cut) = &cut {
            let end = (transcript.entries.len(), format!("the recording ends early: {cut}"));
            transcript.notes.push(end);
        }
        if let Published::Failed(failure) = &published {
            let words = format!("the session failed: {}", redaction.text(failure));
            transcript.notes.push((transcript.entries.len(), words));
        }
        Self {
            firmware: firmware.map(|text| redaction.text(&text)),
            model: model.cloned(),
            profile: profile.map(Profile::id),
            transcript,
            published,
            cut,
            cgmm,
        }
    }
}

fn words_of(end: &PortEnd) -> String {
    match end {
        PortEnd::Gone(error) => format!("the port is gone ({error})"),
        PortEnd::Mute => "the modem answers nothing any more".to_owned(),
        PortEnd::Foreign(protocol) => format!("the port {}", protocol.as_str()),
        PortEnd::Released => "the port closed".to_owned(),
    }
}

/// Waits until the modem is in step, and returns its model line.
async fn first_answer(events: &mut mpsc::Receiver<PortEvent>, log: &Log) -> Option<String> {
    loop {
        match events.recv().await? {
            PortEvent::InStep { answer } => return Some(answer),
            other => log.event(other),
        }
    }
}

/// Asks all questions, and then opens the session. The first answer that stays out ends it.
async fn talk(
    at: &At,
    plan: &Plan<'_>,
    profile: Option<&'static dyn Profile>,
    client_id: &str,
    log: &Log,
) {
    if let Some(profile) = profile {
        at.set_framing(profile.framing()).await;
    }
    ask(at, plan, profile, client_id, log).await;
    tokio::time::sleep(LINGER).await;
}

async fn ask(
    at: &At,
    plan: &Plan<'_>,
    profile: Option<&'static dyn Profile>,
    client_id: &str,
    log: &Log,
) {
    let commands = plan.catalog.commands();
    for question in plan.catalog.script(profile.map(Profile::id)) {
        (plan.progress)(question.command);
        let line = Zeroizing::new(question.command.to_owned());
        let wish = Wish { line, timeout: Some(PATIENCE), ..Wish::default() };
        // The tables refuse a command that does more than read, and a test holds that none is here.
        let Ok(order) = commands.order(wish, ConsoleContext::Shared) else { continue };
        let outcome = commands.run(at, order).await;
        if question.command == "AT+CGMR" {
            log.firmware(firmware(&outcome));
        }
        if let Some(failure) = outcome.failure {
            log.cut(format!("{} had no whole answer: {failure}", question.command));
            return;
        }
    }
    let (Some((host, port)), Some(profile)) = (&plan.broker, profile) else { return };
    log.note(SESSION.to_owned());
    let published = session::run(
        at,
        profile.mqtt(),
        &session::connection(host, *port, client_id),
        plan.progress,
    )
    .await;
    log.published(match published {
        Ok(()) => Published::Acknowledged,
        Err(error) => Published::Failed(Chain(&error).to_string()),
    });
}

/// Returns the firmware in the answer to `AT+CGMR`.
pub fn firmware(outcome: &Outcome) -> Option<String> {
    let line = outcome.lines.iter().find(|line| !line.is_empty() && outcome.ok)?;
    Some(line.strip_prefix("+CGMR:").unwrap_or(line).trim().to_owned())
}
