//! The meaning of a vendor's lines to the splitter.

use std::borrow::Cow;

/// A line that announces raw bytes after its CR LF, such as `+CMQTTRXPAYLOAD: 0,1500`.
///
/// The announced bytes are data whatever they hold. A CR LF follows them and is not counted in the
/// length; if it is missing, bytes were lost, and the data is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The beginning of the line, colon included.
    pub prefix: &'static str,
    /// The argument, counted from 0, that is the length in bytes.
    pub length_at: usize,
}

impl Announced {
    /// Returns the length in a line; `None` if it is not a number.
    pub fn length(&self, line: &str) -> Option<usize> {
        let argument = line.strip_prefix(self.prefix)?.split(',').nth(self.length_at)?;
        argument.trim().parse().ok()
    }
}

/// A line whose last argument is a string of announced length in quotation marks, such as
/// `+QMTRECV: 0,1,"topic",5,"hello"`: the length is between the string before it and the data.
///
/// Quotation marks inside are not escaped, so only the length shows the end of the data. If the
/// data does not end with a quotation mark and its line, bytes were lost, and the data is damaged.
/// Some firmware begins a new line before the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// The beginning of the line, colon included.
    pub prefix: &'static str,
}

impl Quoted {
    /// Returns the length in a line that ends at the comma before the data; the inner `None` if the
    /// length is beyond all numbers; `None` if it is not there yet.
    pub(crate) fn length(&self, line: &[u8]) -> Option<Option<usize>> {
        let rest = line.strip_prefix(self.prefix.as_bytes())?.strip_suffix(b",")?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, digits) = rest.split_at_checked(rest.len() - digits)?;
        if digits.is_empty() || !before.ends_with(b"\",") {
            return None;
        }
        Some(std::str::from_utf8(digits).ok()?.parse().ok())
    }
}

/// A line that holds a secret, such as the answer to `AT+CMQTTCONNECT?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarded {
    /// The beginning of the line, colon included.
    pub prefix: &'static str,
    /// The first argument, counted from 0, that is hidden; so are all after it. A comma between
    /// quotation marks does not divide arguments.
    pub from: usize,
}

impl Guarded {
    /// Returns the part of the line that may be shown, if it is a guarded line and goes on after
    /// that part.
    fn open_part<'a>(&self, line: &'a str) -> Option<&'a str> {
        let rest = line.strip_prefix(self.prefix)?;
        let (mut commas, mut quoted) = (0, false);
        for (at, byte) in rest.bytes().enumerate() {
            if self.from == commas {
                return line.get(..self.prefix.len() + at);
            }
            match byte {
                b'"' => quoted = !quoted,
                b',' if !quoted => commas += 1,
                _ => {}
            }
        }
        None
    }
}

/// Lines that a modem prints while it updates its firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Their beginning.
    pub prefix: &'static str,
    /// The text that the last of them holds after that.
    pub end: &'static str,
}

/// The meaning of a vendor's lines to the splitter. Profiles declare it; those of all profiles
/// together hold until the model is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framing {
    /// Lines that announce data.
    pub announced: Vec<Announced>,
    /// Lines that hold data of announced length in quotation marks.
    pub quoted: Vec<Quoted>,
    /// Beginnings of lines that are URCs although they have no `+` prefix, such as `SMS DONE`.
    pub urcs: Vec<&'static str>,
    /// Lines that a modem prints when it has booted, such as `RDY`: exchanges in flight are lost,
    /// and another modem may answer now. They count as URCs as well.
    pub boots: Vec<&'static str>,
    /// The longest data that a prompt of this modem asks for, in bytes: the padding that leaves a
    /// data mode of an earlier program.
    pub max_prompt_data: usize,
    /// Lines that hold a secret.
    pub guarded: Vec<Guarded>,
    /// Lines of a firmware update.
    pub updates: Vec<Update>,
    /// Beginnings of lines that belong to a message in several pieces, such as `+CMQTTRXSTART:`.
    /// After a damaged piece, no other lines are believed for a while.
    pub parts: Vec<&'static str>,
}

impl Framing {
    /// Combines both.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        join(&mut self.announced, &other.announced);
        join(&mut self.quoted, &other.quoted);
        join(&mut self.urcs, &other.urcs);
        join(&mut self.boots, &other.boots);
        self.max_prompt_data = self.max_prompt_data.max(other.max_prompt_data);
        join(&mut self.updates, &other.updates);
        join(&mut self.guarded, &other.guarded);
        join(&mut self.parts, &other.parts);
        self
    }

    /// Returns whether a line is the last of a firmware update; `None` if it belongs to none.
    pub fn tells_update(&self, line: &str) -> Option<bool> {
        let rest = |update: &Update| Some(line.strip_prefix(update.prefix)?.contains(update.end));
        self.updates.iter().find_map(rest)
    }

    /// Returns a line as logs and people may be shown it, with `***` in place of a secret and all
    /// after it.
    pub fn shown<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let open = self.guarded.iter().filter_map(|guarded| guarded.open_part(line));
        match open.min_by_key(|open| open.len()) {
            Some(open) => Cow::Owned(format!("{open}***")),
            None => Cow::Borrowed(line),
        }
    }

    /// Reports whether `line` is declared as a URC.
    pub(crate) fn declares(&self, line: &str) -> bool {
        self.urcs.iter().chain(&self.boots).any(|start| line.starts_with(start))
    }

    /// Reports whether `line` means that the modem has booted.
    pub(crate) fn tells_boot(&self, line: &str) -> bool {
        self.boots.iter().any(|start| line.starts_with(start))
    }

    /// Reports whether `line` is a piece of a message.
    pub(crate) fn is_part(&self, line: &str) -> bool {
        let announced = self.announced.iter().map(|announced| &announced.prefix);
        let quoted = self.quoted.iter().map(|quoted| &quoted.prefix);
        self.parts.iter().chain(announced).chain(quoted).any(|start| line.starts_with(start))
    }

    /// Reports whether `line` holds quoted data without its length: the end of the data is unknown.
    /// The text of a USSD message may have line ends (27.007 §7.15).
    pub(crate) fn is_unmeasured(&self, line: &str) -> bool {
        let is_open = || line.matches('"').count() == 1;
        (self.quoted.iter().any(|quoted| line.starts_with(quoted.prefix)) && line.contains('"'))
            || (line.starts_with("+CUSD:") && is_open())
    }
}

/// Adds the entries that are missing.
fn join<T: Copy + PartialEq>(all: &mut Vec<T>, others: &[T]) {
    for other in others {
        if !all.contains(other) {
            all.push(*other);
        }
    }
}
