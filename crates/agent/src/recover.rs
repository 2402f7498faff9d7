//! Actions that need more rights than the agent has: resets of USB devices, and power scripts.
//!
//! The agent ([`Recoverer`]) asks over a unix socket with one line, `usb-reset 1-1.2` or
//! `power north`. For that connection systemd starts `modemfleet recover` as root
//! (`crates/modemfleet`), which acts and answers with one line. Any program may ask, so a line is
//! short and its words are only names. The names stand for devices and scripts that root laid out.

mod client;

use std::fmt;
use std::str::FromStr;

pub use client::Recoverer;

use fleet::Name;
use fleet::printable::printable;

/// The longest line, in bytes, in either direction.
pub const MAX_LINE: u64 = 512;

/// An action that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivilegedAction {
    /// A reset of the USB device at this path.
    UsbReset(UsbPath),
    /// The power script of this name.
    Power(Name),
}

/// The USB path of a device, such as `1-1.2`: digits, one `-` and dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbPath(String);

/// A line that is not a known request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a request: write `usb-reset BUS-PORT` or `power NAME`")]
pub struct NoDeed;

/// The answer to a request, with the reason if it was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The action is done.
    Done,
    /// The action is not available here; nothing was done.
    Unavailable(String),
    /// Another program holds the device: not now.
    Busy(String),
    /// The action failed.
    Failed(String),
}

impl UsbPath {
    /// Returns the path, or `None` if `text` is not a USB path.
    pub fn new(text: &str) -> Option<Self> {
        fleet::is_usb_path(text).then(|| Self(text.to_owned()))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrivilegedAction {
    type Err = NoDeed;

    fn from_str(line: &str) -> Result<Self, NoDeed> {
        match line.trim_end_matches(['\r', '\n']).split_once(' ') {
            Some(("usb-reset", place)) => UsbPath::new(place).map(Self::UsbReset),
            Some(("power", script)) => Name::new(script).map(Self::Power),
            _ => None,
        }
        .ok_or(NoDeed)
    }
}

impl fmt::Display for PrivilegedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsbReset(UsbPath(place)) => write!(f, "usb-reset {place}"),
            Self::Power(script) => write!(f, "power {script}"),
        }
    }
}

impl Answer {
    /// Reads an answer from a line; `None` if it is not an answer.
    pub fn of_line(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end().split_once(':').unwrap_or((line.trim_end(), ""));
        // The words come from another process, and are shown later.
        let words = printable(rest.trim());
        match word {
            "done" => Some(Self::Done),
            "unavailable" => Some(Self::Unavailable(words)),
            "busy" => Some(Self::Busy(words)),
            "failed" => Some(Self::Failed(words)),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Unavailable(words) => write!(f, "unavailable: {words}"),
            Self::Busy(words) => write!(f, "busy: {words}"),
            Self::Failed(words) => write!(f, "failed: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_name_or_a_place_and_nothing_else() {
        for good in ["usb-reset 1-1", "usb-reset 3-1.4.2", "power north", "power a_b-C1"] {
            assert_eq!(good.parse::<PrivilegedAction>().unwrap().to_string(), good);
            assert_eq!(format!("{good}\n").parse::<PrivilegedAction>().unwrap().to_string(), good);
        }
        let long = format!("power {}", "a".repeat(33));
        let bad = [
            "",
            "\n",
            "usb-reset",
            "usb-reset ",
            "usb-reset 1",
            "usb-reset usb1",
            "usb-reset 1-1:1.0",
            "usb-reset 1-1/..",
            "usb-reset ../1-1",
            "usb-reset 1-1.",
            "usb-reset 1-1 ",
            "usb-reset  1-1",
            "usb-reset 1-1.1.1.1.1.1.1.1",
            "usb-reset 1-1\n2-2",
            "power",
            "power ",
            "power .",
            "power ..",
            "power a/b",
            "power /bin/sh",
            "power a b",
            "power a\0b",
            "power -",
            "power ä",
            "POWER a",
            "reboot now",
            "power a;b",
            &long,
        ];
        for line in bad {
            let refused = line.parse::<PrivilegedAction>();
            // `-` is a name of the fleet file; as a file name it stays in the folder.
            assert!(refused.is_err() || line == "power -", "{line:?}: {refused:?}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let failed = Answer::Failed("exit status: 3".to_owned());
        let busy = Answer::Busy("held by qfirehose".to_owned());
        let unavailable = Answer::Unavailable("no such script".to_owned());
        for answer in [Answer::Done, failed, busy, unavailable] {
            assert_eq!(Answer::of_line(&format!("{answer}\n")), Some(answer));
        }
        assert_eq!(
            Answer::of_line("failed: a\x1b[31mb"),
            Some(Answer::Failed("a\u{fffd}[31mb".to_owned()))
        );
        for other in ["", "ok", "Done", "<html>"] {
            assert_eq!(Answer::of_line(other), None, "{other}");
        }
    }
}
