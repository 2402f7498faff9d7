//! Transcripts of real units in a profile's folder, and the checks of all of them.

use std::path::Path;

use modem::catalog::{Basis, Catalog, Evidence, Model};
use modem::profile::Plugin;
use modem::transcript as text;
pub use modem::transcript::Entry;

/// A transcript of a profile.
pub struct Transcript {
    /// The name of its file.
    pub name: String,
    /// The ids of the models for which it holds.
    pub models: Vec<String>,
    /// Its lines.
    pub entries: Vec<Entry>,
    /// The story of a transcript that `modemfleet record` wrote, for which none is needed.
    pub recorded: Option<Recorded>,
}

/// The parts of a recorded transcript.
#[derive(Debug, Clone, Copy)]
pub struct Recorded {
    /// The number of lines before the MQTT session.
    pub session_at: usize,
    /// True if the session has its publish, and came to its end.
    pub is_whole: bool,
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
    parse(name, &text)
}

/// Parses the text of a transcript.
pub fn parse(name: String, text: &str) -> Transcript {
    let read = text::Transcript::parse(text).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
    let failed = |(_, note): &(usize, String)| {
        note.starts_with("the session failed") || note.starts_with("the recording ends early")
    };
    let recorded = read.is_recorded().then(|| Recorded {
        session_at: read.session_at().unwrap_or(read.entries.len()),
        is_whole: read.session_at().is_some() && !read.notes.iter().any(failed),
    });
    Transcript { name, models: read.models, entries: read.entries, recorded }
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
