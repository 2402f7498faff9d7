//! The story of a transcript that `modemfleet record` wrote: it needs no other.

use modem::profile::Plugin;
use modem::recording;

use super::{Login, PIECES, Step, Story, play_story};
use crate::transcript::{Entry, Recorded, Transcript, turns};

/// Replays a transcript that `modemfleet record` wrote: its commands are said again, and its session
/// is opened again. The answers have to be the recorded ones, the session has to end as it did, and
/// the same lines have to be unsolicited.
pub async fn replay(transcript: &Transcript, plugin: &'static Plugin) {
    let Some(recorded) = transcript.recorded else { panic!("{}: not recorded", transcript.name) };
    let story = story(transcript, recorded);
    let mut faults = Vec::new();
    for model in &transcript.models {
        for piece in PIECES {
            let found = play_story(transcript, &story, plugin, model, piece, refused).await;
            let size = if piece == usize::MAX { "any size".to_owned() } else { piece.to_string() };
            let about = format!("{} on {model}, reads of {size}: ", transcript.name);
            faults.extend(found.into_iter().map(|fault| about.clone() + &fault));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Answers a command that a recording lacks.
fn refused(_: &str) -> Vec<Entry> {
    vec![Entry::Answer("ERROR".to_owned())]
}

/// Makes the story of a recorded transcript. Its texts last as long as the test.
fn story(transcript: &Transcript, recorded: Recorded) -> Story {
    let keep = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let (mut steps, mut outcome) = (Vec::new(), Vec::new());
    let (asked, session) = transcript.entries.split_at(recorded.session_at);
    let mut has_named = false;
    for turn in turns(asked) {
        if turn.command.is_empty() {
            if !turn.entries.is_empty() {
                steps.push(Step::Hear);
            }
            continue;
        }
        // The first question for the model is answered while the port gets in step.
        if turn.command == "AT+CGMM" && !std::mem::replace(&mut has_named, true) {
            continue;
        }
        let lines = turn.entries.iter().filter_map(|entry| match entry {
            Entry::Answer(line) if !line.starts_with("AT") => Some(line.trim()),
            _ => None,
        });
        let lines: Vec<_> = lines.collect();
        // The last command of a recording that was cut has no answer.
        if lines.is_empty() {
            continue;
        }
        outcome.push(keep(format!("say: {}", lines.join(" "))));
        steps.push(Step::Say(keep(turn.command)));
    }
    if !session.is_empty() {
        let login = Login::new(recording::CLIENT_ID, recording::HOST, port(session));
        let publish = Step::Publish(recording::TOPIC, recording::PAYLOAD);
        steps.extend([Step::Start, Step::Open(login), publish, Step::Close, Step::Stop]);
        outcome.extend(["start: ok", "open: ok", "publish: ok"]);
    }
    Story {
        file: keep(transcript.name.clone()),
        steps: steps.leak(),
        outcome: outcome.leak(),
        leaves: &[],
    }
}

/// Returns the broker's port in the commands of a session.
fn port(session: &[Entry]) -> u16 {
    let digits = session.iter().find_map(|entry| match entry {
        Entry::Sent(line) => {
            let rest = line.split(recording::HOST).nth(1)?.trim_start_matches(['"', ',', ':']);
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        }
        _ => None,
    });
    digits.unwrap_or(1883)
}
