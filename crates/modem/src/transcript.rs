//! Transcripts of real units as text: their form (CONTRIBUTING.md, *Transcripts*), read and written.
//!
//! `# source:` names the origin of the words, `# models:` the models for which they hold. Then `> `
//! is a command, `< ` a line of the answer (a lone `>` is the prompt), and `! ` an unsolicited
//! line. `~ 1.2s` is a pause, and `~ N` the N bytes of data that follow a prompt or an announcing
//! line, with their text if it is known. Echoes are lines of the answer.

use std::fmt;
use std::time::Duration;

/// The beginning of the first line, which names the origin.
const SOURCE: &str = "# source: ";

/// The beginning of the second line, which names the models.
const MODELS: &str = "# models: ";

/// The comment of a transcript that the program itself wrote: it needs no story of its own.
pub const RECORDED: &str = "recorded by modemfleet";

/// The comment before the commands of the MQTT session in a recorded transcript.
pub const SESSION: &str = "one MQTT session with one publish";

/// The number of digits that identify a modem (IMEI), a subscriber (IMSI) or a card (ICCID).
const IDENTITY_DIGITS: std::ops::RangeInclusive<usize> = 15..=20;

/// The end of an identity that names no unit.
pub(crate) const BLANKED: &str = "000000";

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
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    /// The origin of the words.
    pub source: String,
    /// The ids of the models for which it holds.
    pub models: Vec<String>,
    /// Its lines, without comments.
    pub entries: Vec<Entry>,
    /// Its comments below the head, each with the number of entries before it.
    pub notes: Vec<(usize, String)>,
}

/// A fault in a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of its line, from 1.
    pub line: usize,
    /// The fault as text.
    pub words: String,
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// All faults in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let (mut read, mut faults) = (Self::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(words) = read.take(number, line) {
                faults.push(Fault { line: number, words });
            }
        }
        if text.is_empty() {
            faults.push(Fault { line: 1, words: "it is empty".to_owned() });
        }
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        match number {
            1 => {
                let source = line.strip_prefix(SOURCE).filter(|source| !source.is_empty());
                self.source = source.ok_or("it does not begin with `# source: …`")?.to_owned();
            }
            2 => {
                let models = line.strip_prefix(MODELS).ok_or("it is not `# models: …`")?;
                self.models = models.split(',').map(|model| model.trim().to_owned()).collect();
            }
            _ if line.is_empty() => {}
            _ => match line.strip_prefix('#') {
                Some(note) => self.notes.push((self.entries.len(), note.trim().to_owned())),
                None => self.entries.push(entry(line)?),
            },
        }
        if names_an_identity(line) {
            return Err(format!(
                "it names a modem, a card or a subscriber: end the number with {BLANKED}"
            ));
        }
        Ok(())
    }

    /// Reports whether the program itself wrote it.
    pub fn is_recorded(&self) -> bool {
        self.notes.iter().any(|(_, note)| note.starts_with(RECORDED))
    }

    /// Returns the number of entries before the MQTT session, if a recorded transcript has one.
    pub fn session_at(&self) -> Option<usize> {
        self.notes.iter().find(|(_, note)| note.starts_with(SESSION)).map(|(at, _)| *at)
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let no_mark = || "it begins with none of `> `, `< `, `! `, `~ `, `# `".to_owned();
    let (mark, rest) = line.split_once(' ').ok_or_else(no_mark)?;
    Ok(match (mark, rest) {
        (">", sent) => Entry::Sent(sent.to_owned()),
        ("<", ">") => Entry::Prompt,
        ("<", line) => Entry::Answer(line.to_owned()),
        ("!", line) => Entry::Unsolicited(line.to_owned()),
        ("~", pause) if pause.ends_with('s') && !pause.contains(' ') => {
            let seconds: Option<f64> = pause.trim_end_matches('s').parse().ok();
            let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            Entry::Pause(time.ok_or("it is not a pause such as `~ 1.2s`")?)
        }
        ("~", data) => {
            let (length, text) = data.split_once(' ').unwrap_or((data, ""));
            let length: usize =
                length.parse().map_err(|_| "it is not data such as `~ 5 hello`".to_owned())?;
            if !text.is_empty() && text.len() != length {
                return Err(format!("its data has {} bytes, not {length}", text.len()));
            }
            Entry::Data(length, (!text.is_empty()).then(|| text.to_owned()))
        }
        _ => return Err(no_mark()),
    })
}

fn names_an_identity(line: &str) -> bool {
    let numbers = line.split(|letter: char| !letter.is_ascii_digit());
    let long = numbers.filter(|number| IDENTITY_DIGITS.contains(&number.len()));
    long.into_iter().any(|number| !number.ends_with(BLANKED))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(line) => write!(f, "> {line}"),
            Self::Answer(line) => write!(f, "< {line}"),
            Self::Prompt => write!(f, "< >"),
            Self::Unsolicited(line) => write!(f, "! {line}"),
            Self::Pause(time) => write!(f, "~ {:.1}s", time.as_secs_f64()),
            Self::Data(length, Some(text)) => write!(f, "~ {length} {text}"),
            Self::Data(length, None) => write!(f, "~ {length}"),
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{SOURCE}{}", self.source)?;
        writeln!(f, "{MODELS}{}", self.models.join(", "))?;
        let notes_at = |f: &mut fmt::Formatter<'_>, at: usize| {
            let mut here = self.notes.iter().filter(|(number, _)| *number == at);
            here.try_for_each(|(_, note)| writeln!(f, "# {note}"))
        };
        for (at, entry) in self.entries.iter().enumerate() {
            notes_at(f, at)?;
            writeln!(f, "{entry}")?;
        }
        notes_at(f, self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# source: own recording\n# models: a, b\n# recorded by modemfleet 1\n\
        > AT+X=1\n< >\n~ 5 hello\n< OK\n~ 1.2s\n! +Y: 0,3\n~ 3\n# the end\n";

    #[test]
    fn a_transcript_is_written_as_it_was_read() {
        let read = Transcript::parse(TEXT).unwrap();
        assert_eq!(read.to_string(), TEXT);
        assert!(read.is_recorded() && read.session_at().is_none());
        assert_eq!(read.models, ["a", "b"]);
        assert_eq!(read.entries.len(), 7);
        assert_eq!(read.notes[1], (7, "the end".to_owned()));
    }

    #[test]
    fn each_fault_is_found_with_its_line() {
        for (text, line) in [
            ("", 1),
            ("# models: a\n", 1),
            ("# source: x\n> AT\n", 2),
            ("# source: x\n# models: a\nOK\n", 3),
            ("# source: x\n# models: a\n>AT\n", 3),
            ("# source: x\n# models: a\n> AT\n~ -1s\n", 4),
            ("# source: x\n# models: a\n~ inf1s\n", 3),
            ("# source: x\n# models: a\n~ five\n", 3),
            ("# source: x\n# models: a\n~ 5 hell\n", 3),
            ("# source: x\n# models: a\n< 861234567123456\n", 3),
            ("# source: x\n# models: a\n# of 861234567123456\n", 3),
        ] {
            let faults = Transcript::parse(text).unwrap_err();
            assert_eq!(faults[0].line, line, "{text}: {faults:?}");
        }
        let all = "# source: x\n# models: a\n< 861234567000000\n\n! +CMQTTNONET\n";
        assert!(Transcript::parse(all).is_ok());
    }
}
