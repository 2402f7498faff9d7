//! Answers as values, and their form on the wire (V.250 with verbose results).

use crate::prompt::Purpose;

/// The final result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Final {
    Ok,
    Error,
    /// `+CME ERROR`, in the form set by `CMEE`.
    Cme(Cme),
}

/// The mobile equipment errors of the simulator (SIM7600 manual p.80; those of files are Quectel's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cme {
    NotAllowed,
    SimNotInserted,
    SimPinRequired,
    SimPukRequired,
    SimFailure,
    SimBusy,
    IncorrectPassword,
    FileNotFound,
    FileExists,
    FileNotDeleted,
}

impl Cme {
    fn number(self) -> u16 {
        match self {
            Self::NotAllowed => 3,
            Self::SimNotInserted => 10,
            Self::SimPinRequired => 11,
            Self::SimPukRequired => 12,
            Self::SimFailure => 13,
            Self::SimBusy => 14,
            Self::IncorrectPassword => 16,
            Self::FileNotFound => 405,
            Self::FileExists => 407,
            Self::FileNotDeleted => 418,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotAllowed => "operation not allowed",
            Self::SimNotInserted => "SIM not inserted",
            Self::SimPinRequired => "SIM PIN required",
            Self::SimPukRequired => "SIM PUK required",
            Self::SimFailure => "SIM failure",
            Self::SimBusy => "SIM busy",
            Self::IncorrectPassword => "incorrect password",
            Self::FileNotFound => "File not found",
            Self::FileExists => "File already existed",
            Self::FileNotDeleted => "Delete the file failed",
        }
    }
}

/// Lines and a final result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The lines before the final result.
    pub(crate) info: Vec<String>,
    pub(crate) end: Final,
    /// The results after `OK`.
    pub(crate) after: Vec<String>,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self { info: Vec::new(), end: Final::Ok, after: Vec::new() }
    }

    pub(crate) fn error() -> Self {
        Self { end: Final::Error, ..Self::ok() }
    }

    pub(crate) fn cme(error: Cme) -> Self {
        Self { end: Final::Cme(error), ..Self::ok() }
    }

    /// Returns a line and `OK`.
    pub(crate) fn line(line: impl Into<String>) -> Self {
        Self { info: vec![line.into()], ..Self::ok() }
    }

    /// Returns lines and `OK`.
    pub(crate) fn lines(info: Vec<String>) -> Self {
        Self { info, ..Self::ok() }
    }

    /// Returns a line and `ERROR`.
    pub(crate) fn refused(line: impl Into<String>) -> Self {
        Self { info: vec![line.into()], ..Self::error() }
    }

    /// Returns the information lines as bytes: an empty line before the first only.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        if !self.info.is_empty() {
            head.extend_from_slice(b"\r\n");
        }
        for line in &self.info {
            head.extend_from_slice(line.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head
    }

    /// Returns the final result and the lines after it.
    pub(crate) fn tail(&self, cmee: u8) -> Vec<u8> {
        let mut tail = match self.end {
            Final::Ok => framed("OK"),
            Final::Cme(cme) if cmee == 1 => framed(&format!("+CME ERROR: {}", cme.number())),
            Final::Cme(cme) if cmee == 2 => framed(&format!("+CME ERROR: {}", cme.text())),
            Final::Cme(_) | Final::Error => framed("ERROR"),
        };
        for line in &self.after {
            tail.extend(framed(line));
        }
        tail
    }
}

/// Returns `line` between its line ends.
pub(crate) fn framed(line: &str) -> Vec<u8> {
    [b"\r\n", line.as_bytes(), b"\r\n"].concat()
}

/// The immediate answer to a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A whole answer.
    Reply(Reply),
    /// A prompt, then this many bytes of data.
    Prompt(usize, Purpose),
    /// A prompt, then data up to Ctrl-Z; ESC cancels it.
    TextPrompt(Purpose),
    /// A whole answer, with which the MQTT service has ended.
    ServiceStopped(Reply),
    /// The answer comes when an operation ends; the port takes no command until then.
    Deferred,
    /// `OK`, then the modem boots.
    Reboot,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
