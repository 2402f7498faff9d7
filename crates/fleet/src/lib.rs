//! `fleet.yaml`: reading and checking, with each fault at its place.
//!
//! One path for `run`, `reload` and `check`: read (at most [`MAX_BYTES`]) → the tree with places
//! (`tree`) → every unknown or misplaced key at once (`shape`, by the tables of `keys`) → every value at once
//! (`check`) → the secrets. A file with one error is refused as
//! a whole. A key that this version does not know is refused at its place, never ignored.

mod ability;
pub mod accounts;
pub mod aliyun;
mod check;
mod choices;
mod context;
mod fleet;
mod key;
mod keys;
pub mod models;
mod name;
mod path;
pub mod pem;
pub mod printable;
pub mod private;
mod problem;
mod problems;
mod redact;
mod schema;
pub mod secret;
mod shape;
mod shown;
mod source;
mod template;
mod tls;
mod topic;
mod tree;
mod userinfo;
mod words;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use ability::Ability;
pub use context::{Context, GATEWAY, Secrets};
pub use fleet::{
    Access, Apn, ApnProtocol, Batch, BatchFormat, Budget, Fleet, Fsync, Http, Inbox, Login,
    LoginError, Match, Modem, MqttListener, Name, Owner, PdpType, Policy, Qos, Queue, Recovery,
    Roaming, Route, Session, SessionId, Shed, Subscription, Telemetry, WhenFull, Will,
};
pub use key::Effect;
pub use problem::{MAX_PROBLEMS, Problem, Severity};
pub use problems::Problems;
pub use redact::{Redacted, redacted};
pub use schema::schema;
pub use shape::{Declared, effect, keys};
pub use template::Template;
pub use tls::{Identity, Tls};
pub use topic::{check_filter, check_name, check_received, filters_overlap, topic_matches};
pub use words::{did_you_mean, is_usb_path};

use keys::FLEET;
use problem::Report;
use shown::Shown;
use source::Source;
use tree::Kind;

/// The largest file that is read.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// A file that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked file.
    pub fleet: Fleet,
    /// Warnings for the operator; none of them is an error.
    pub warnings: Problems,
}

/// The gateways that the file at `path` names, for a check for each of them. For a pattern there is
/// one name that fits the pattern. Empty if the file lists none or cannot be read.
pub fn gateways(path: &Path) -> Vec<String> {
    let Ok(bytes) = read(path) else { return Vec::new() };
    let Ok(source) = text("", bytes) else { return Vec::new() };
    // The tree refuses hostile files, and the check of each gateway reads the tree again.
    let mut report = Report::default();
    tree::read(&source, &mut report).map_or_else(Vec::new, |root| check::named(&root))
}

/// Reads and checks the file at `path`, and the secrets it refers to.
///
/// # Errors
/// All the problems found, warnings among them; at least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_with(path, Secrets::Read)
}

/// [`load`], with a choice about the secrets.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    load_in(path, &Context::of(path, secrets))
}

/// [`load`], with all that the file's text does not say.
///
/// # Errors
/// As [`load`].
pub fn load_in(path: &Path, context: &Context) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    match read(path) {
        Ok(bytes) => parse(&name, bytes, context),
        Err(error) => {
            let message = format!("cannot read the configuration: {error}");
            Err(refuse(&Source::new(&name, String::new()), 0, message, None))
        }
    }
}

/// The bytes of a file, at most one more than a fleet file may have.
///
/// # Errors
/// The error of the system.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte beyond the limit distinguishes "too large" from "just fits".
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The listener of a fleet file with errors, if its `http` is good: a slip elsewhere in the
/// file must not hide the agent that runs.
pub fn http_of_faulty(path: &Path) -> Option<Http> {
    let source = text("", read(path).ok()?).ok()?;
    let root = tree::read(&source, &mut Report::default())?;
    let context = Context::named(path, Secrets::Skip, Some("any".to_owned()));
    let mut report = Report::default();
    check::http(&root, &source, &context, &mut report).filter(|_| !report.has_errors())
}

/// Checks `bytes` as the content of the file `name`.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, bytes: Vec<u8>, context: &Context) -> Result<Loaded, Problems> {
    let source = text(name, bytes)?;
    let mut report = Report::until(context.stop.clone());
    let Some(root) = tree::read(&source, &mut report) else {
        return Err(Problems::of(report, &source, || Shown::Keys));
    };
    if root.kind == Kind::Null {
        let help = "write at least `modems:` with one modem".to_owned();
        return Err(refuse(&source, 0, "the file is empty", Some(help)));
    }
    let is_whole = shape::check(&FLEET, &root, &source, &mut report);
    let is_whole = is_whole && !report.is_over() && is_plain_yaml(&source, &mut report);
    let fleet = is_whole.then(|| check::fleet(&root, &source, context, &mut report)).flatten();
    let fleet = fleet.filter(|_| !report.has_errors() && !report.is_over());
    let problems = Problems::of(report, &source, || Shown::of(&root, &FLEET, &source.text));
    match fleet {
        Some(fleet) => Ok(Loaded { fleet, warnings: problems }),
        None => Err(problems),
    }
}

/// The text of the file.
fn text(name: &str, bytes: Vec<u8>) -> Result<Source, Problems> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        let message = "the file is larger than 1 MiB, and a fleet file is smaller";
        return Err(refuse(&Source::new(name, String::new()), 0, message, None));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let good = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let source = Source::new(name, good.into_owned());
        let end = source.text.len();
        refuse(&source, end, "the file is not UTF-8 text from here on", None)
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    let source = Source::new(name, text);
    if let Some((at, c)) = source.text.char_indices().find(|(_, c)| is_refused(*c)) {
        let message = format!("the file holds the character U+{:04X} here", u32::from(c));
        let help = "write the character as an escape in double quotes".to_owned();
        return Err(refuse(&source, at, message, Some(help)));
    }
    Ok(source)
}

/// Reports whether a fleet file may not hold this character.
fn is_refused(c: char) -> bool {
    // YAML 1.1 and 1.2 differ on these two, and on U+0085, as line ends, and so would the two readings here.
    let is_line_end = matches!(c, '\u{2028}' | '\u{2029}');
    // YAML has no such characters.
    let is_none = matches!(c, '\u{fffe}' | '\u{ffff}');
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || is_line_end || is_none
}

/// A refusal for a single reason.
fn refuse(
    source: &Source,
    at: usize,
    message: impl Into<String>,
    help: Option<String>,
) -> Problems {
    let mut report = Report::default();
    report.error(source, at..at, "", message, help);
    Problems::of(report, source, || Shown::Keys)
}

/// Reports whether serde_yaml accepts the file too. Files of models are read by serde_yaml, as other programs do:
/// a file that it refuses is refused here too.
fn is_plain_yaml(source: &Source, report: &mut Report) -> bool {
    let reader = serde_yaml::Deserializer::from_str(&source.text);
    let Err(error) = IgnoredAny::deserialize(reader) else { return true };
    if !report.has_errors() {
        let at = error.location().map_or(0, |place| place.index());
        let message = "the two readers of YAML disagree on this text";
        report.error(source, at..at, "", message, None);
    }
    false
}
