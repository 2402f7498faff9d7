//! The console on a terminal.

use zeroize::Zeroizing;

use super::args::Args;
use super::console::{Console, Verdict, lines};
use super::editor::{Terminal, Typed, read_data};
use super::error::AtError;
use fleet::printable::complain;
use modem::session::Chain;

/// Insists for one line, as the option does for all.
const INSIST: &str = "--dangerous ";

/// Asks for commands until Ctrl-D. A command that fails ends nothing.
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
        // What no log would show, no history keeps.
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

/// Sends a line, with the data that it asks for.
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

/// Reads a line, and prints meanwhile what the modem says.
async fn type_line(
    console: &mut Console<'_>,
    terminal: &mut Terminal,
    prompt: String,
) -> Result<Typed, AtError> {
    let above = terminal.above_line();
    let mut reading = std::pin::pin!(terminal.read(prompt));
    loop {
        // The reading is asked again, the other arm is cancel safe; none awaits in its body.
        tokio::select! {
            typed = &mut reading => return typed,
            said = console.urcs.next() => lines(&said).into_iter().for_each(|line| above.print(line)),
        }
    }
}

/// What a command asks for; `None` where somebody gave up. The modem is asked once the data is there:
/// nobody else waits while somebody types.
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
