//! The console on a terminal.

use zeroize::Zeroizing;

use super::args::Args;
use super::console::{Console, Verdict, lines};
use super::editor::{Terminal, Typed, read_data};
use super::error::AtError;
use fleet::printable::complain;
use modem::session::Chain;

/// The prefix that permits one line, as the option permits all.
const INSIST: &str = "--dangerous ";

/// Reads commands until Ctrl-D. A failed command does not end the console.
pub(super) async fn run(console: &mut Console<'_>, args: &Args) -> Result<Verdict, AtError> {
    let mut terminal = Terminal::new()?;
    complain("Ctrl-D ends the console; `--dangerous LINE` sends also a line that may do harm");
    let done = ask(console, &mut terminal, args).await;
    terminal.save();
    done
}

async fn ask(
    console: &mut Console<'_>,
    terminal: &mut Terminal,
    args: &Args,
) -> Result<Verdict, AtError> {
    let prompt = format!("{}> ", args.modem.rsplit('/').next().unwrap_or("at"));
    loop {
        let line = match type_line(console, terminal, prompt.clone()).await? {
            Typed::Line(line) => Zeroizing::new(line),
            Typed::GivenUp => continue,
            Typed::End => return Ok(Verdict::Good),
        };
        let typed = line.trim();
        if matches!(typed, "exit" | "quit") {
            return Ok(Verdict::Good);
        }
        if typed.is_empty() {
            continue;
        }
        let command = typed.strip_prefix(INSIST).map_or(typed, str::trim);
        // A command with parts that logs hide is not kept in the history.
        if console.client.commands.shown(command) == command {
            terminal.keep(typed);
        }
        match send(console, command, typed != command).await {
            Ok(()) => {}
            Err(AtError::Client(error)) if error.is_lasting() => return Err(error.into()),
            Err(error @ (AtError::Refused { .. } | AtError::Client(_))) => {
                complain(&Chain(&error).to_string());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends a line, with its data if it needs any.
async fn send(console: &mut Console<'_>, command: &str, insists: bool) -> Result<(), AtError> {
    let mut wish = console.wish(command, None);
    wish.dangerous |= insists;
    console.client.check(command, wish.dangerous)?;
    if let Some(length) = console.client.commands.data_length(command) {
        let Some(data) = data(length).await? else {
            complain("cancelled; nothing was sent");
            return Ok(());
        };
        wish.data = Some(data);
    }
    console.say(wish).await.map(drop)
}

/// Reads a line, and prints URCs meanwhile.
async fn type_line(
    console: &mut Console<'_>,
    terminal: &mut Terminal,
    prompt: String,
) -> Result<Typed, AtError> {
    let above = terminal.above_line();
    let mut reading = std::pin::pin!(terminal.read(prompt));
    loop {
        // The read is polled again, the other arm is cancel safe; none awaits in its body.
        tokio::select! {
            typed = &mut reading => return typed,
            said = console.urcs.next() => lines(&said).into_iter().for_each(|line| above.print(line)),
        }
    }
}

/// Reads the data for a command; `None` if the operator gave up. The command is sent only after
/// that: typing does not block the port.
async fn data(length: usize) -> Result<Option<Zeroizing<Vec<u8>>>, AtError> {
    loop {
        complain(&format!("{length} bytes of data; Esc or Ctrl-C cancels, and nothing is sent"));
        let Typed::Line(line) = read_data("> ".to_owned()).await? else { return Ok(None) };
        let data = Zeroizing::new(line.into_bytes());
        if data.len() == length {
            return Ok(Some(data));
        }
        complain(&format!("that is {} bytes", data.len()));
    }
}
