//! Replies and URCs of modems: every decoder, every listener, every table of codes.

use at::Urc;
use modem::profile::{Notice, Plugin, Profile};
use modem::reply;

use crate::cost::within_memory;

const PLUGINS: [&Plugin; 2] = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];

/// The most URCs of one input: a listener that holds pieces holds few.
const URCS: usize = 200;

/// The mark before the data of a URC.
const DATA: u8 = 0x01;

/// Reads a text as the reply to each command, and its lines as URCs. The part of a line behind a
/// byte 0x01 is the data that its beginning announces.
pub fn run(input: &[u8]) {
    within_memory(input.len(), || {
        let text = String::from_utf8_lossy(input);
        let own = PLUGINS.iter().flat_map(|plugin| plugin.decoders);
        for (_, decoder) in own.chain(reply::DECODERS) {
            // An error is an answer as well.
            drop(decoder(&text).map(|meaning| meaning.to_string()));
        }
        text.lines().for_each(look_up);
        PLUGINS.iter().flat_map(|plugin| plugin.profiles).for_each(|profile| hear(*profile, input));
    });
}

fn look_up(line: &str) {
    drop(Notice::standard(line));
    let Some((name, rest)) = line.split_once(':') else { return };
    for table in PLUGINS.iter().flat_map(|plugin| plugin.codes) {
        let code = rest.split(',').nth(table.at).and_then(|code| code.trim().parse().ok());
        if let Some(code) = code {
            let _ = (table.meaning)(name.trim_start_matches('+'), code);
        }
    }
}

/// Passes the lines of an input to a profile's listener, and panics if a message is larger than the
/// input.
fn hear(profile: &dyn Profile, input: &[u8]) {
    let framing = profile.framing();
    let mut listener = profile.listener();
    for line in input.split(|byte| *byte == b'\n').take(URCS) {
        let (line, data) = match line.iter().position(|byte| *byte == DATA) {
            Some(at) => (&line[..at], Some(line[at + 1..].to_vec())),
            None => (line, None),
        };
        let line = String::from_utf8_lossy(line).trim().to_owned();
        drop((framing.shown(&line), framing.tells_update(&line)));
        if let Some(Notice::Message { message, .. }) = listener.hear(Urc { line, data }) {
            let bytes = message.topic.len() + message.payload.len();
            // A byte that is not UTF-8 is shown as three.
            assert!(bytes <= 3 * input.len(), "{bytes} bytes of {}", input.len());
        }
    }
}
