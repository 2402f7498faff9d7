//! The line editor with its history, and output above the line that is being typed.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustyline::config::Builder;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Cmd, Editor, EventHandler, ExternalPrinter, KeyCode, KeyEvent, Modifiers};
use tokio::sync::mpsc;

use super::error::AtError;

/// The most lines of a history.
const KEPT: usize = 1_000;

/// The most lines that wait for the terminal; a slow terminal misses further lines.
const WAITING: usize = 1_024;

/// The time after Esc in which a further key makes a sequence, in milliseconds.
const ESCAPE: u16 = 50;

type Lines = Editor<(), FileHistory>;

/// A terminal with a line editor.
pub(super) struct Terminal {
    /// Moved to a thread while a line is read.
    lines: Option<Lines>,
    history: Option<PathBuf>,
    above: Above,
}

/// The output above the line that is being typed.
#[derive(Clone)]
pub(super) struct Above(mpsc::Sender<String>);

impl Above {
    pub(super) fn print(&self, line: String) {
        let _ = self.0.try_send(line);
    }
}

/// The operator's input at a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C.
    GivenUp,
    /// Ctrl-D.
    End,
}

impl Terminal {
    pub(super) fn new() -> Result<Self, AtError> {
        let config = Builder::new().auto_add_history(false).max_history_size(KEPT)?.build();
        let mut lines = Lines::with_config(config)?;
        let history = history();
        if let Some(history) = &history {
            // The first run has no history file.
            let _ = lines.load_history(history);
        }
        let mut printer = lines.create_external_printer()?;
        let (above, mut waiting) = mpsc::channel::<String>(WAITING);
        // Printing may block until the editor takes the line; the thread ends with its sender.
        drop(tokio::task::spawn_blocking(move || {
            while let Some(line) = waiting.blocking_recv() {
                if printer.print(line + "\n").is_err() {
                    return;
                }
            }
        }));
        Ok(Self { lines: Some(lines), history, above: Above(above) })
    }

    /// Returns the output above the line that is being typed.
    pub(super) fn above_line(&self) -> Above {
        self.above.clone()
    }

    /// Reads a line.
    ///
    /// # Cancel safety
    /// Not cancel safe: the editor would be lost.
    pub(super) async fn read(&mut self, prompt: String) -> Result<Typed, AtError> {
        let Some(mut lines) = self.lines.take() else { return Ok(Typed::End) };
        let reading = tokio::task::spawn_blocking(move || {
            let typed = lines.readline(&prompt);
            (lines, typed)
        });
        let (lines, typed) = reading.await.map_err(std::io::Error::other)?;
        self.lines = Some(lines);
        typed_line(typed)
    }

    /// Adds a line to the history.
    pub(super) fn keep(&mut self, line: &str) {
        if let Some(lines) = &mut self.lines {
            let _ = lines.add_history_entry(line);
        }
    }

    /// Saves the history. The console works even if that fails.
    pub(super) fn save(&mut self) {
        if let (Some(lines), Some(history)) = (&mut self.lines, &self.history) {
            if let Some(folder) = history.parent() {
                let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            }
            let _ = lines.save_history(history);
        }
    }
}

/// Reads the data for a command, with an editor that has no history. Esc gives up as well.
pub(super) async fn read_data(prompt: String) -> Result<Typed, AtError> {
    let typed = tokio::task::spawn_blocking(move || {
        let config = Builder::new().auto_add_history(false).keyseq_timeout(Some(ESCAPE)).build();
        let mut lines = Lines::with_config(config)?;
        let escape = KeyEvent(KeyCode::Esc, Modifiers::NONE);
        lines.bind_sequence(escape, EventHandler::Simple(Cmd::Interrupt));
        lines.readline(&prompt)
    });
    typed_line(typed.await.map_err(std::io::Error::other)?)
}

fn typed_line(typed: Result<String, ReadlineError>) -> Result<Typed, AtError> {
    match typed {
        Ok(line) => Ok(Typed::Line(line)),
        Err(ReadlineError::Interrupted) => Ok(Typed::GivenUp),
        Err(ReadlineError::Eof) => Ok(Typed::End),
        Err(error) => Err(error.into()),
    }
}

/// Returns the path of the history (XDG Base Directory Specification).
fn history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("modemfleet/at_history"))
}
