//! What a vendor's lines mean to the splitter.

use std::borrow::Cow;

/// A line that announces raw bytes after its CR LF, such as `+CMQTTRXPAYLOAD: 0,1500`.
///
/// The announced bytes are data whatever they hold. CR LF comes after them, which is not counted in the length;
/// where it does not, bytes were lost, and the data is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// How the line begins, colon included.
    pub prefix: &'static str,
    /// Which argument, counted from 0, is the length in bytes.
    pub length_at: usize,
}

impl Announced {
    /// The length that a line tells; `None` where it is not a number.
    pub(crate) fn length(&self, line: &str) -> Option<usize> {
        let argument = line.strip_prefix(self.prefix)?.split(',').nth(self.length_at)?;
        argument.trim().parse().ok()
    }
}

/// A line whose last argument is a string of announced length in quotation marks, such as
/// `+QMTRECV: 0,1,"topic",5,"hello"`: the length stands between the string before it and the data.
///
/// Quotation marks inside are not escaped, so only the length tells where the data ends; where it does not end with a
/// quotation mark and its line, bytes were lost, and the data is damaged. Some firmware begins a new line before
/// the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// How the line begins, colon included.
    pub prefix: &'static str,
}

impl Quoted {
    /// The length in a line that goes up to the comma before the data, and `None` within where it is beyond all
    /// numbers; `None` where it is not there yet.
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
    /// How the line begins, colon included.
    pub prefix: &'static str,
    /// From which argument on, counted from 0, nobody is shown it. Commas between quotation marks divide
    /// no arguments.
    pub from: usize,
}

impl Guarded {
    /// How much of the line may be shown, where it is one and goes on after that.
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
    /// How they begin.
    pub prefix: &'static str,
    /// What the last of them holds behind that.
    pub end: &'static str,
}

/// What a vendor's lines mean to the splitter. Declared by profiles; those of all profiles together
/// hold until the model is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framing {
    /// Lines that announce data.
    pub announced: Vec<Announced>,
    /// Lines that hold data of announced length in quotation marks.
    pub quoted: Vec<Quoted>,
    /// Beginnings of lines that are URCs although they have no `+` prefix, such as `SMS DONE`.
    pub urcs: Vec<&'static str>,
    /// Lines that a modem prints when it has booted, such as `RDY`: what was in flight is gone, and
    /// another modem may answer now. They count as URCs as well.
    pub boots: Vec<&'static str>,
    /// The longest data a prompt of this modem asks for, in bytes: what it takes to leave a data mode
    /// that an earlier program entered.
    pub max_prompt_data: usize,
    /// Lines that hold a secret.
    pub guarded: Vec<Guarded>,
    /// Lines of a firmware update.
    pub updates: Vec<Update>,
    /// Beginnings of lines that belong to a message which comes in pieces, such as `+CMQTTRXSTART:`. Of what
    /// follows a damaged piece, nothing else is believed for a while.
    pub parts: Vec<&'static str>,
}

impl Framing {
    /// Both together.
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

    /// Reports whether a line is of a firmware update; `true` for the last of them.
    pub fn tells_update(&self, line: &str) -> Option<bool> {
        let rest = |update: &Update| Some(line.strip_prefix(update.prefix)?.contains(update.end));
        self.updates.iter().find_map(rest)
    }

    /// A line as logs and people may be shown it: from the place on where a secret begins, `***`.
    pub fn shown<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let open = self.guarded.iter().filter_map(|guarded| guarded.open_part(line));
        match open.min_by_key(|open| open.len()) {
            Some(open) => Cow::Owned(format!("{open}***")),
            None => Cow::Borrowed(line),
        }
    }

    /// Whether `line` is declared as a URC.
    pub(crate) fn declares(&self, line: &str) -> bool {
        self.urcs.iter().chain(&self.boots).any(|start| line.starts_with(start))
    }

    /// Whether `line` tells that the modem has booted.
    pub(crate) fn tells_boot(&self, line: &str) -> bool {
        self.boots.iter().any(|start| line.starts_with(start))
    }

    /// Reports whether `line` is a piece of a message.
    pub(crate) fn is_part(&self, line: &str) -> bool {
        let announced = self.announced.iter().map(|announced| &announced.prefix);
        let quoted = self.quoted.iter().map(|quoted| &quoted.prefix);
        self.parts.iter().chain(announced).chain(quoted).any(|start| line.starts_with(start))
    }

    /// Whether `line` holds quoted data without its length: nothing tells where the data ends. The text of a USSD
    /// message may have line ends (27.007 §7.15).
    pub(crate) fn is_unmeasured(&self, line: &str) -> bool {
        let is_open = || line.matches('"').count() == 1;
        (self.quoted.iter().any(|quoted| line.starts_with(quoted.prefix)) && line.contains('"'))
            || (line.starts_with("+CUSD:") && is_open())
    }
}

/// Adds what is not there yet.
fn join<T: Copy + PartialEq>(all: &mut Vec<T>, others: &[T]) {
    for other in others {
        if !all.contains(other) {
            all.push(*other);
        }
    }
}
