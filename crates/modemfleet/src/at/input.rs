//! Commands from the command line, and from a script on standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use modem::console::MAX_DATA;
use zeroize::Zeroizing;

use super::args::Args;
use super::console::{Console, Verdict};
use super::error::AtError;
use fleet::printable::printable;

/// The longest line of a script in bytes, longer than any command line.
const MAX_LINE: usize = 4 * 1024;

/// Runs the commands of the command line, one after the other, until one fails.
pub(super) async fn arguments(console: &mut Console<'_>, args: &Args) -> Result<Verdict, AtError> {
    let data = match (&args.data, &args.data_file) {
        (Some(text), _) => Some(Zeroizing::new(text.clone().into_bytes())),
        (None, Some(path)) => Some(file(path)?),
        (None, None) => None,
    };
    for line in &args.commands {
        let wish = console.wish(line, data.clone());
        if console.say(wish).await? == Verdict::Bad {
            return Ok(Verdict::Bad);
        }
    }
    Ok(Verdict::Good)
}

fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, AtError> {
    let failed = |source| AtError::Input { from: path.display().to_string(), source };
    let mut data = Zeroizing::new(Vec::new());
    // One byte more than allowed, so that too much data is refused and not cut.
    let most = u64::try_from(MAX_DATA).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut data)).map_err(failed)?;
    Ok(data)
}

type Input = BufReader<io::Stdin>;

/// Runs the lines of standard input until one fails. Blank lines and lines that begin with `#` are
/// skipped. If a command announces data, that many bytes below it are its data.
pub(super) async fn script(console: &mut Console<'_>) -> Result<Verdict, AtError> {
    let mut input = BufReader::new(io::stdin());
    let mut number = 0_u64;
    loop {
        let (back, line) = off_the_runtime(input, next_line).await?;
        input = back;
        number = number.saturating_add(1);
        let Some(line) = line else { return Ok(Verdict::Good) };
        let line = Zeroizing::new(line.trim().to_owned());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let commands = console.client.commands;
        {
            let mut out = io::stdout().lock();
            writeln!(out, "> {}", printable(&commands.shown(&line)))?;
            out.flush()?;
        }
        let data = match commands.data_length(&line) {
            None => None,
            Some(length) => {
                let (back, data) =
                    off_the_runtime(input, move |input| next_bytes(input, length)).await?;
                input = back;
                Some(data.ok_or(AtError::ShortScript { number, length })?)
            }
        };
        number = number.saturating_add(data.as_ref().map_or(0, |data| lines(data)));
        let wish = console.wish(&line, data);
        if console.say(wish).await? == Verdict::Bad {
            return Ok(Verdict::Bad);
        }
    }
}

/// Returns the number of a script's lines that this data takes.
fn lines(data: &[u8]) -> u64 {
    let ends = data.iter().filter(|byte| **byte == b'\n').count();
    u64::try_from(ends).unwrap_or(u64::MAX).saturating_add(1)
}

/// Reads on a thread of its own: the writer of the script may be slow.
async fn off_the_runtime<T: Send + 'static>(
    mut input: Input,
    read: impl FnOnce(&mut Input) -> io::Result<T> + Send + 'static,
) -> Result<(Input, T), AtError> {
    let failed = |source| AtError::Input { from: "standard input".to_owned(), source };
    let reading = tokio::task::spawn_blocking(move || {
        let read = read(&mut input);
        (input, read)
    });
    let (input, read) = reading.await.map_err(|error| failed(io::Error::other(error)))?;
    Ok((input, read.map_err(failed)?))
}

/// Returns the next line; `None` at the end. A line that is too long is cut, and no modem accepts
/// it.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Zeroizing<String>>> {
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut line = Zeroizing::new(Vec::new());
    if input.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = std::str::from_utf8(&line)
        .map_err(|_fault| io::Error::new(io::ErrorKind::InvalidData, "a line is not text"))?;
    Ok(Some(Zeroizing::new(line.to_owned())))
}

/// Returns this many bytes, and skips the end of line after them; `None` if there are fewer.
fn next_bytes(input: &mut impl BufRead, length: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut data = Zeroizing::new(vec![0; length]);
    match input.read_exact(&mut data) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let end: usize = match input.fill_buf()? {
        [b'\r', b'\n', ..] => 2,
        [b'\n' | b'\r', ..] => 1,
        _ => 0,
    };
    input.consume(end);
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_taken_by_its_length_and_its_line_ends_behind_it() {
        let mut input: &[u8] = b"AT+X=0,5\r\na\nb>c\r\nAT\nxy";
        assert_eq!(next_line(&mut input).unwrap().unwrap().trim(), "AT+X=0,5");
        assert_eq!(**next_bytes(&mut input, 5).unwrap().unwrap(), *b"a\nb>c");
        assert_eq!(next_line(&mut input).unwrap().unwrap().as_str(), "AT\n");
        assert_eq!(next_bytes(&mut input, 3).unwrap(), None);
        assert_eq!(next_line(&mut input).unwrap(), None);
        assert_eq!((lines(b"a"), lines(b"a\nb")), (1, 2));
    }

    #[test]
    fn a_line_without_end_is_cut_and_one_that_is_no_text_refused() {
        let long = vec![b'A'; 10 * MAX_LINE];
        assert_eq!(next_line(&mut long.as_slice()).unwrap().unwrap().len(), MAX_LINE);
        assert!(next_line(&mut &b"AT\xff\n"[..]).is_err());
    }
}
