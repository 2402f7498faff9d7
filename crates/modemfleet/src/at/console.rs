//! A conversation with a modem: it sends commands and prints answers, their meaning, and URCs.

use std::io::{self, Write};
use std::time::Duration;

use modem::Plugin;
use modem::console::{Heard, Outcome, Wish};
use tokio::signal::unix::Signal;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::args::Args;
use super::error::AtError;
use super::port::{AtClient, Said, UrcListener};
use crate::explain;
use fleet::printable::complain;
use fleet::printable::printable;

/// The most bytes of data that are shown in full.
const SHOWN_DATA: usize = 512;

/// The result of a conversation: good if every command succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
}

/// A conversation with one modem.
pub(super) struct Console<'a> {
    pub(super) client: AtClient<'a>,
    pub(super) urcs: UrcListener,
    pub(super) interrupt: Signal,
    timeout: Option<Duration>,
    dangerous: bool,
    plugins: &'a [&'a Plugin],
}

impl<'a> Console<'a> {
    pub(super) fn new(
        client: AtClient<'a>,
        urcs: UrcListener,
        interrupt: Signal,
        args: &Args,
        plugins: &'a [&'a Plugin],
    ) -> Self {
        let (timeout, dangerous) = (args.timeout, args.dangerous);
        Self { client, urcs, interrupt, timeout, dangerous, plugins }
    }

    /// Returns a command with the options' timeout and permission.
    pub(super) fn wish(&self, line: &str, data: Option<Zeroizing<Vec<u8>>>) -> Wish {
        let line = Zeroizing::new(line.to_owned());
        Wish { line, data, timeout: self.timeout, dangerous: self.dangerous }
    }

    /// Sends a command, and prints the URCs meanwhile and then the outcome. Ctrl-C gives the
    /// command up: the task that has the port withdraws it, or finishes it for the modem's sake.
    pub(super) async fn say(&mut self, wish: Wish) -> Result<Verdict, AtError> {
        let outcome = {
            let mut saying = std::pin::pin!(self.client.say(wish));
            loop {
                // All arms are cancel safe or polled again, and none awaits in its body.
                tokio::select! {
                    outcome = &mut saying => break outcome?,
                    said = self.urcs.next() => show(&said)?,
                    _ = self.interrupt.recv() => {
                        complain("stopped waiting; the port finishes the command");
                        return Ok(Verdict::Bad);
                    }
                }
            }
        };
        let until = Instant::now() + self.urcs.lag();
        while let Ok(said) = timeout_at(until, self.urcs.next()).await {
            show(&said)?;
        }
        self.show(&outcome)
    }

    /// Prints the modem's URCs for this time, or until Ctrl-C.
    pub(super) async fn listen(&mut self, time: Duration) -> Result<(), AtError> {
        let until = Instant::now() + time;
        loop {
            // All arms are cancel safe, and none awaits in its body.
            tokio::select! {
                said = self.urcs.next() => show(&said)?,
                () = tokio::time::sleep_until(until) => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
            }
        }
    }

    fn show(&self, outcome: &Outcome) -> Result<Verdict, AtError> {
        let mut out = io::stdout().lock();
        let ends = outcome.code.iter().chain(&outcome.result);
        for line in outcome.lines.iter().chain(ends) {
            writeln!(out, "{}", printable(line))?;
        }
        out.flush()?;
        if let Some(failure) = &outcome.failure {
            complain(&format!("no complete answer: {}", printable(failure)));
        }
        if outcome.ok {
            return Ok(Verdict::Good);
        }
        let told = outcome.code.iter().chain(&outcome.result).chain(&outcome.lines);
        for meaning in told.flat_map(|line| explain::of_failure(line, self.plugins)) {
            complain(&meaning);
        }
        Ok(Verdict::Bad)
    }
}

/// Prints a URC, marked as in transcripts.
fn show(said: &Said) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines(said) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Returns the lines that show a URC on a terminal.
pub(super) fn lines(said: &Said) -> Vec<String> {
    match said {
        Said::Urc(Heard { line, data: None }) => vec![format!("! {}", printable(line))],
        Said::Urc(Heard { line, data: Some(data) }) => {
            vec![format!("! {}", printable(line)), format!("! {}", payload(data))]
        }
        Said::Missed(count) => vec![format!("! ({count} more lines were missed)")],
        Said::End => {
            vec!["! (no more unsolicited lines: the port or the agent is gone)".to_owned()]
        }
    }
}

fn payload(data: &[u8]) -> String {
    let shown = data.get(..SHOWN_DATA).unwrap_or(data);
    let rest = data.len().saturating_sub(shown.len());
    let more = if rest == 0 { String::new() } else { format!(" … ({rest} more bytes)") };
    format!("{}{more}", printable(&String::from_utf8_lossy(shown)))
}
