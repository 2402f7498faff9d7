//! Text messages that the modem prints as they arrive: it is set to store them instead.
//!
//! An earlier program may have left `AT+CNMI=2,2`, or saved it in the modem. The text of such a
//! message is never taken for an answer (`at`). But the end of a text of unknown length is not
//! certain, so a result that comes in one read with it is not believed. A port that prints no
//! messages is left as it is.

use at::Answer;
use tokio::sync::Notify;

use crate::chain::Chain;
use crate::end::End;
use crate::port::{At, Kind};
use crate::profile::{StepError, run};

/// The lines that are printed with a text (3GPP TS 27.005 §3.4.1).
const PRINTED: [&str; 3] = ["+CMT:", "+CBM:", "+CDS:"];

/// Reports whether a URC is a text message with its text.
pub(crate) fn is_printed(line: &str) -> bool {
    PRINTED.iter().any(|start| line.starts_with(start))
}

/// Waits until a message was printed, and has the next messages stored. It does so once for each
/// start of the modem: if another program sets it back, that program wins.
pub(crate) async fn store_messages(at: &At, printed: &Notify) -> End {
    printed.notified().await;
    match store(at).await {
        Ok(command) => tracing::info!(
            "the modem printed a text message at this port; with {command} it keeps them in its store (`sms: leave` switches this off)"
        ),
        Err(error) if error.is_gone() || error.is_boot() => {}
        Err(error) => tracing::warn!(
            "the modem prints text messages at this port and refuses to keep them in its store: {}",
            Chain(&error)
        ),
    }
    std::future::pending().await
}

/// Has messages stored. Returns the command that did it.
async fn store(at: &At) -> Result<String, StepError> {
    let set = run(at, Kind::Status, "AT+CNMI?", Answer::Prefix("+CNMI:")).await;
    let command = match set {
        Ok(lines) => command(lines.first().map_or("", String::as_str)),
        Err(error) if error.is_gone() || error.is_boot() => return Err(error),
        Err(_) => command(""),
    };
    run(at, Kind::Status, &command, Answer::None).await?;
    Ok(command)
}

/// Returns the command that stores the messages that are printed now, given the present setting.
/// `<mode>` and `<bfr>` stay, since modems differ in the values that they accept. Settings that
/// print no text stay, too. `<mt>` 1 stores a message and announces its place (`+CMTI`), as modems
/// do when they leave the factory. `<bm>` 0 and `<ds>` 0 print neither broadcasts nor reports.
fn command(set: &str) -> String {
    let set: Vec<u8> = set
        .trim_start_matches("+CNMI:")
        .split(',')
        .map_while(|number| number.trim().parse().ok())
        .collect();
    let [mode, mt, bm, ds, rest @ ..] = set.as_slice() else {
        return "AT+CNMI=2,1,0,0".to_owned();
    };
    let (mt, bm, ds) = ((*mt).min(1), if *bm == 1 { 1 } else { 0 }, if *ds == 2 { 2 } else { 0 });
    let bfr = rest.first().map(|bfr| format!(",{bfr}")).unwrap_or_default();
    format!("AT+CNMI={mode},{mt},{bm},{ds}{bfr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_texts_is_switched_off_and_nothing_else() {
        for (set, wanted) in [
            ("+CNMI: 2,2,0,1,0", "AT+CNMI=2,1,0,0,0"),
            ("+CNMI: 1,3,2,2,1", "AT+CNMI=1,1,0,2,1"),
            ("+CNMI: 2,0,3,1,1", "AT+CNMI=2,0,0,0,1"),
            ("+CNMI:3,2,1,0", "AT+CNMI=3,1,1,0"),
            ("+CNMI: 2,2", "AT+CNMI=2,1,0,0"),
            ("+CNMI: (0-2),(0-3)", "AT+CNMI=2,1,0,0"),
            ("", "AT+CNMI=2,1,0,0"),
        ] {
            assert_eq!(command(set), wanted, "{set}");
        }
    }

    #[test]
    fn only_messages_with_their_text_are_printed() {
        for line in ["+CMT: ,24", "+CBM: 88", "+CDS: 25"] {
            assert!(is_printed(line), "{line}");
        }
        for line in ["+CMTI: \"SM\",1", "+CDSI: \"SM\",1", "+CMT", "RDY"] {
            assert!(!is_printed(line), "{line}");
        }
    }
}
