//! Transcripts of real units: their form (CONTRIBUTING.md, *Transcripts*), and the checks of all
//! transcripts of a profile.
//!
//! `# source:` names the origin of the words, `# models:` the models for which they hold. Then `> `
//! is a command, `< ` a line of the answer (a lone `>` is the prompt), and `! ` an unsolicited
//! line. `~ 1.2s` is a pause, and `~ N` the N bytes of data that follow a prompt or an announcing
//! line, with their text if it is known. Echoes are lines of the answer.

use std::path::Path;
use std::time::Duration;

use modem::catalog::{Basis, Catalog, Evidence, Model};
use modem::profile::Plugin;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A command.
    Sent(String),
    /// A line of its answer.
    Answer(String),
    /// The prompt for data.
    Prompt,
    /// An unsolicited line.
    Unsolicited(String),
    /// A pause.
    Pause(Duration),
    /// Its length, and its text if it is known.
    Data(usize, Option<String>),
}

/// A transcript.
pub struct Transcript {
    /// The name of its file.
    pub name: String,
    /// The ids of the models for which it holds.
    pub models: Vec<String>,
    /// Its lines.
    pub entries: Vec<Entry>,
}

/// All transcripts of a profile.
pub fn transcripts(profile: &str) -> Vec<Transcript> {
    let folder = Path::new(profile).join("transcripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Transcript {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let source = lines.next().and_then(|line| line.strip_prefix("# source: "));
    assert!(
        source.is_some_and(|source| !source.is_empty()),
        "{name}: the first line is the source"
    );
    let models = lines.next().and_then(|line| line.strip_prefix("# models: "));
    let models = models.unwrap_or_else(|| panic!("{name}: the second line names the models"));
    let models = models.split(',').map(|model| model.trim().to_owned()).collect();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries = lines.map(|line| entry(line).unwrap_or_else(|| panic!("{name}: {line}")));
    Transcript { models, entries: entries.collect(), name }
}

fn entry(line: &str) -> Option<Entry> {
    let (mark, rest) = line.split_once(' ')?;
    Some(match (mark, rest) {
        (">", sent) => Entry::Sent(sent.to_owned()),
        ("<", ">") => Entry::Prompt,
        ("<", line) => Entry::Answer(line.to_owned()),
        ("!", line) => Entry::Unsolicited(line.to_owned()),
        ("~", pause) if pause.ends_with('s') && !pause.contains(' ') => {
            Entry::Pause(Duration::from_secs_f64(pause.trim_end_matches('s').parse().ok()?))
        }
        ("~", data) => {
            let (length, text) = data.split_once(' ').unwrap_or((data, ""));
            let length: usize = length.parse().ok()?;
            assert!(text.is_empty() || text.len() == length, "{line}: not {length} bytes");
            Entry::Data(length, (!text.is_empty()).then(|| text.to_owned()))
        }
        _ => return None,
    })
}

/// A command and the modem's lines after it; without a command, the lines before the first command.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The command; empty before the first.
    pub command: String,
    /// The lines that followed.
    pub entries: Vec<Entry>,
}

/// Splits the lines of a transcript at its commands.
pub fn turns(entries: &[Entry]) -> Vec<Turn> {
    let mut turns = vec![Turn { command: String::new(), entries: Vec::new() }];
    for entry in entries {
        match entry {
            Entry::Sent(command) => {
                turns.push(Turn { command: command.clone(), entries: Vec::new() });
            }
            entry => turns.last_mut().unwrap().entries.push(entry.clone()),
        }
    }
    turns
}

/// Splits a command into its name and its arguments. A comma in quotation marks does not end an
/// argument.
fn parts(command: &str) -> (String, Vec<String>) {
    let (name, rest) = command.split_once('=').unwrap_or((command, ""));
    let mut quoted = false;
    let mut arguments = vec![String::new()];
    for letter in rest.chars() {
        quoted ^= letter == '"';
        match letter {
            ',' if !quoted => arguments.push(String::new()),
            letter => arguments.last_mut().unwrap().push(letter),
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    (name.to_ascii_uppercase(), arguments)
}

/// Compares a transcript's command with one that was sent. They are the same if their names agree,
/// and their arguments as far as both have them. The last arguments differ among firmwares and
/// among authors of transcripts.
pub fn is_same(transcripts: &str, sent: &str) -> bool {
    let ((name, arguments), (other_name, others)) = (parts(transcripts), parts(sent));
    name == other_name && arguments.iter().zip(&others).all(|(one, other)| one == other)
}

/// Reads each answer with the profile's own decoder, if it has one for the command, and returns the
/// number of answers.
pub fn answers_are_readable(profile: &str, plugin: &'static Plugin) -> usize {
    let catalog = Catalog::new(&[plugin]).unwrap();
    let mut read = 0;
    for transcript in transcripts(profile) {
        for turn in turns(&transcript.entries) {
            let Some(decoder) = catalog.decoder(&turn.command) else { continue };
            let lines: Vec<_> = turn
                .entries
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Answer(line) | Entry::Unsolicited(line) => Some(line.as_str()),
                    _ => None,
                })
                .collect();
            let decoded = decoder(&lines.join("\r\n"));
            let refused = lines.iter().any(|line| line.contains("ERROR"));
            assert!(decoded.is_ok() || refused, "{}: {decoded:?}", transcript.name);
            read += 1;
        }
    }
    read
}

/// Checks that each model that claims a transcript has one, and that each transcript names models
/// of the catalog.
pub fn claims_are_proven(profile: &str, plugin: &'static Plugin) {
    let catalog = Catalog::new(&[plugin]).unwrap();
    let transcripts = transcripts(profile);
    let claims = |model: &&Model| {
        let Evidence { identification, mqtt, status, tls } = model.evidence;
        [Some(identification), Some(mqtt), Some(status), tls].contains(&Some(Basis::Transcript))
    };
    for model in catalog.models().filter(claims) {
        assert!(transcripts.iter().any(|t| t.models.contains(&model.id)), "{}", model.id);
    }
    for transcript in &transcripts {
        for model in &transcript.models {
            assert!(catalog.model(model).is_some(), "{}: {model}", transcript.name);
        }
    }
}
