//! The line editor, its history, and what is printed above the line while somebody types.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustyline::config::Builder;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Cmd, Editor, EventHandler, ExternalPrinter, KeyCode, KeyEvent, Modifiers};
use tokio::sync::mpsc;

use super::error::AtError;

/// Lines that a history keeps.
const KEPT: usize = 1_000;

/// Lines that wait to be printed; a terminal that is slower misses some.
const WAITING: usize = 1_024;

/// After Esc, how long another key may follow that would make it a sequence, in milliseconds.
const ESCAPE: u16 = 50;

type Lines = Editor<(), FileHistory>;

/// A terminal on which somebody types.
pub(super) struct Terminal {
    /// Lent to a thread while a line is read.
    lines: Option<Lines>,
    history: Option<PathBuf>,
    above: Above,
}

/// What is printed above the line that is being typed.
#[derive(Clone)]
pub(super) struct Above(mpsc::Sender<String>);

impl Above {
    pub(super) fn print(&self, line: String) {
        let _ = self.0.try_send(line);
    }
}

/// What somebody did at a prompt.
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
            // There is none at the first time.
            let _ = lines.load_history(history);
        }
        let mut printer = lines.create_external_printer()?;
        let (above, mut waiting) = mpsc::channel::<String>(WAITING);
        // It may block until the editor takes the line; the thread ends with its sender.
        drop(tokio::task::spawn_blocking(move || {
            while let Some(line) = waiting.blocking_recv() {
                if printer.print(line + "\n").is_err() {
                    return;
                }
            }
        }));
        Ok(Self { lines: Some(lines), history, above: Above(above) })
    }

    /// Where lines are printed while one is being typed.
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

    /// Keeps a line for the next time.
    pub(super) fn keep(&mut self, line: &str) {
        if let Some(lines) = &mut self.lines {
            let _ = lines.add_history_entry(line);
        }
    }

    /// Writes the history down. A console without one is a console all the same.
    pub(super) fn save(&mut self) {
        if let (Some(lines), Some(history)) = (&mut self.lines, &self.history) {
            if let Some(folder) = history.parent() {
                let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            }
            let _ = lines.save_history(history);
        }
    }
}

/// Reads what a command asks for, on a line of its own that no history keeps. Esc gives up as well.
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

/// Where the history lies (XDG Base Directory Specification).
fn history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("modemfleet/at_history"))
}
