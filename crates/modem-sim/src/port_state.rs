//! An AT port of the firmware: the processing of its input, and its output.

use tokio::time::{Duration, Instant};

use crate::{output::Output, prompt::Purpose};

/// A longer command line is garbage. The longest real one, CONNECT, takes under 900 bytes.
const MAX_LINE: usize = 2_048;

/// A port with this much unread input is not read further.
const MAX_INPUT: usize = 64 * 1024;

/// The current meaning of a port's input.
#[derive(Debug, Default)]
pub(crate) enum Mode {
    /// Command lines.
    #[default]
    Command,
    /// The rest of a line that was too long.
    Overlong,
    /// Prompt data, counted.
    Data { left: usize, data: Vec<u8>, purpose: Purpose },
    /// Prompt data up to a control character.
    Text { data: Vec<u8>, purpose: Purpose },
}

/// An AT port.
#[derive(Debug)]
pub(crate) struct PortState {
    pub(crate) input: Vec<u8>,
    line: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) echo: bool,
    /// True if a deferred answer is pending.
    pub(crate) blocked: bool,
    pub(crate) output: Output,
}

impl PortState {
    pub(crate) fn new() -> Self {
        Self {
            input: Vec::new(),
            line: Vec::new(),
            mode: Mode::Command,
            echo: true,
            blocked: false,
            output: Output::default(),
        }
    }

    /// Reports whether the port accepts more input.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.len() < MAX_INPUT
    }

    /// Resets the port after a loss of power. Output that is already under way stays.
    pub(crate) fn reset(&mut self) {
        let output = std::mem::take(&mut self.output);
        *self = Self { output, ..Self::new() };
    }
}

/// A step through the input of a port.
pub(crate) enum Step {
    /// Bytes were taken, nothing is complete.
    More,
    Line(Vec<u8>),
    Data(Purpose, Vec<u8>),
}

impl PortState {
    /// Takes the next piece of input; `None` if there is none or it has to wait.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step> {
        if self.input.is_empty() || self.blocked || self.output.is_full() {
            return None;
        }
        match &mut self.mode {
            Mode::Data { left, .. } => {
                let count = (*left).min(self.input.len());
                let taken: Vec<u8> = self.input.drain(..count).collect();
                self.echo(now, &taken);
                self.take_data(&taken)
            }
            Mode::Text { .. } => {
                let end = self.input.iter().position(|byte| matches!(byte, 0x1a | 0x1b));
                let count = end.map_or(self.input.len(), |end| end + 1);
                let taken: Vec<u8> = self.input.drain(..count).collect();
                self.echo(now, &taken);
                Some(self.take_text(taken))
            }
            Mode::Command | Mode::Overlong => {
                let end = self.input.iter().position(|byte| *byte == b'\r');
                let count = end.map_or(self.input.len(), |end| end + 1);
                let taken: Vec<u8> = self.input.drain(..count).collect();
                self.echo(now, &taken);
                Some(self.take_line(&taken, end.is_some()))
            }
        }
    }

    fn take_data(&mut self, taken: &[u8]) -> Option<Step> {
        let Mode::Data { left, data, .. } = &mut self.mode else { return None };
        data.extend_from_slice(taken);
        *left -= taken.len().min(*left);
        if *left > 0 {
            return Some(Step::More);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Data { data, purpose, .. } => Some(Step::Data(purpose, data)),
            Mode::Command | Mode::Overlong | Mode::Text { .. } => None,
        }
    }

    fn take_text(&mut self, mut taken: Vec<u8>) -> Step {
        let Mode::Text { data, .. } = &mut self.mode else { return Step::More };
        let end = taken.pop_if(|last| matches!(last, 0x1a | 0x1b));
        data.extend(taken);
        // More than any message, so it will not end.
        let overflows = data.len() > MAX_INPUT;
        match (end, std::mem::take(&mut self.mode)) {
            (Some(0x1a), Mode::Text { data, purpose }) => Step::Data(purpose, data),
            (None, mode) if !overflows => {
                self.mode = mode;
                Step::More
            }
            _ => Step::Line(b"?".to_vec()),
        }
    }

    /// Takes bytes of a line. V.250 §5.2.2: control characters in a line are ignored, and a backspace removes a
    /// character.
    fn take_line(&mut self, taken: &[u8], complete: bool) -> Step {
        for byte in taken {
            match byte {
                0x08 => drop(self.line.pop()),
                0..0x20 => {}
                _ if self.line.len() < MAX_LINE => self.line.push(*byte),
                _ => self.mode = Mode::Overlong,
            }
        }
        if !complete {
            return Step::More;
        }
        let line = std::mem::take(&mut self.line);
        match std::mem::take(&mut self.mode) {
            // An overlong line is not a command, whatever its beginning.
            Mode::Overlong => Step::Line(b"?".to_vec()),
            Mode::Command | Mode::Data { .. } | Mode::Text { .. } => Step::Line(line),
        }
    }

    fn echo(&mut self, now: Instant, bytes: &[u8]) {
        if self.echo {
            // Echo is part of the input's hardware path: it waits for earlier output only.
            self.output.push(now, Duration::ZERO, bytes);
        }
    }
}
