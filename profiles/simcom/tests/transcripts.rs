//! Replays what real units said, strictly: every line is an answer or unsolicited as the file says,
//! every exchange ends as the file shows, and what the profile reads it can read.
//!
//! A transcript is text. `# source:` tells where its words come from, `# models:` whom they hold for.
//! Then `> ` what was sent, `< ` a line of the answer (a lone `>` is the prompt), `! ` a line that came
//! unasked, `~ N` the N bytes of data that follow a prompt or an announcing line, with their text where
//! it is known. Echoes are lines of the answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use at::{Answer, Engine, Event, Exchange, Failure, FinalCode, Quoted, ResultLine, Ticket, Urc};
use modem::Catalog;
use modem::catalog::{Basis, Evidence};
use modem::profile::{Notice, Profile};
use profile_simcom::PLUGIN;

const PATIENCE: Duration = Duration::from_secs(10);

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Sent(String),
    Answer(String),
    Prompt,
    Unsolicited(String),
    Data(Vec<u8>),
}

struct Transcript {
    name: String,
    models: Vec<String>,
    entries: Vec<Entry>,
}

fn read(path: &Path) -> Transcript {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let source = lines.next().and_then(|line| line.strip_prefix("# source: "));
    assert!(
        source.is_some_and(|source| !source.is_empty()),
        "{name}: the first line is the source"
    );
    let models = lines.next().and_then(|line| line.strip_prefix("# models: "));
    let models = models.unwrap_or_else(|| panic!("{name}: the second line names the models"));
    let entries = lines.map(|line| entry(line).unwrap_or_else(|| panic!("{name}: {line}")));
    let models = models.split(',').map(|model| model.trim().to_owned()).collect();
    Transcript { models, entries: entries.collect(), name }
}

fn entry(line: &str) -> Option<Entry> {
    let (mark, rest) = line.split_once(' ')?;
    Some(match (mark, rest) {
        (">", sent) => Entry::Sent(sent.to_owned()),
        ("<", ">") => Entry::Prompt,
        ("<", line) => Entry::Answer(line.to_owned()),
        ("!", line) => Entry::Unsolicited(line.to_owned()),
        ("~", data) => {
            let (length, text) = data.split_once(' ').unwrap_or((data, ""));
            let length: usize = length.parse().ok()?;
            let mut data = text.as_bytes().to_vec();
            assert!(text.is_empty() || data.len() == length, "{line}: not {length} bytes");
            // Bytes that would matter, were they not data.
            data.extend(b"\r\nOK\r\n>".iter().cycle().take(length - data.len()));
            Entry::Data(data)
        }
        _ => return None,
    })
}

fn transcripts() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// The exchange that the dialect makes of a command: which lines are its answer, and what ends it.
fn exchange(line: &str, data: Option<Vec<u8>>) -> Exchange {
    let exchange = Exchange::new(line, PATIENCE).unwrap();
    let name = line[2..].split(['=', '?']).next().unwrap().to_ascii_uppercase();
    let first = line.split_once('=').and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    let exchange = match name.as_str() {
        "+CMQTTSTART" => exchange.result(result("+CMQTTSTART:", None), PATIENCE),
        "+CMQTTSTOP" => exchange.result(result("+CMQTTSTOP:", None), PATIENCE),
        "+CMQTTCONNECT" => exchange.result(result("+CMQTTCONNECT:", first), PATIENCE),
        "+CMQTTDISC" => exchange.result(result("+CMQTTDISC:", first), PATIENCE),
        "+CMQTTSUB" => exchange.result(result("+CMQTTSUB:", first), PATIENCE),
        "+CMQTTUNSUB" => exchange.result(result("+CMQTTUNSUB:", first), PATIENCE),
        "+CMQTTPUB" => exchange.result(result("+CMQTTPUB:", first), PATIENCE),
        "+CGMM" => exchange.answer(Answer::Bare),
        "+CREG" | "+CGREG" | "+CEREG" => {
            exchange.answer(Answer::Matching(modem::reply::is_solicited))
        }
        "+CPSI" => exchange.answer(Answer::Prefix("+CPSI:")),
        "+CPIN" => exchange.answer(Answer::Prefix("+CPIN:")),
        "+CSQ" => exchange.answer(Answer::Prefix("+CSQ:")),
        "+CNMP" => exchange.answer(Answer::Prefix("+CNMP:")),
        "+CGDCONT" => exchange.answer(Answer::Prefix("+CGDCONT:")),
        "+CGACT" => exchange.answer(Answer::Prefix("+CGACT:")),
        _ => exchange,
    };
    match data {
        Some(data) => exchange.prompt(data),
        None => exchange,
    }
}

fn result(prefix: &'static str, first: Option<u8>) -> ResultLine {
    ResultLine { prefix, first, ..ResultLine::BLANK }
}

/// An engine at the other end of a transcript.
struct Replay<'a> {
    name: &'a str,
    engine: Engine,
    quoted: Vec<Quoted>,
    now: Instant,
    chunk: usize,
    events: Vec<Event>,
    written: Vec<u8>,
}

impl<'a> Replay<'a> {
    #[expect(clippy::disallowed_methods, reason = "the engine wants a time; it passes nowhere")]
    fn new(name: &'a str, profile: &dyn Profile, chunk: usize) -> Self {
        let now = Instant::now();
        let engine = Engine::new(profile.framing(), now);
        let quoted = profile.framing().quoted;
        let (events, written) = (Vec::new(), Vec::new());
        let mut replay = Self { name, engine, quoted, now, chunk, events, written };
        replay.get_in_step();
        replay
    }

    /// Feeds bytes in pieces, and collects what becomes of them.
    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.chunk) {
            self.engine.receive(piece, self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.engine.poll_transmit() {
            self.written.extend(bytes);
        }
        self.events.extend(std::iter::from_fn(|| self.engine.poll_event()));
    }

    /// Answers the question that the engine asks when it was opened, and after a boot.
    fn get_in_step(&mut self) {
        self.drain();
        assert!(self.written.ends_with(b"AT+CGMM\r"), "{}: no question", self.name);
        self.feed(b"\r\nSIMCOM_UNIT\r\n\r\nOK\r\n");
        // A question that is older than the boot may be answered too; it is given up after a while.
        for _ in 0..30 {
            self.now += Duration::from_secs(1);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.engine.is_idle(), "{}: not in step", self.name);
        self.events.retain(|event| !matches!(event, Event::Desync(_) | Event::InStep { .. }));
        self.written.clear();
    }

    /// Plays one command, or what came before the first, and gives what came unasked.
    fn turn(&mut self, turn: &[Entry]) -> Vec<Urc> {
        let (mut expected, mut ticket) = (Expected::default(), None);
        let mut prompted = false;
        for (at, entry) in turn.iter().enumerate() {
            match entry {
                Entry::Sent(line) => {
                    let exchange = exchange(line, data_after_prompt(turn));
                    ticket = Some(self.engine.submit(exchange, self.now).expect("it may start"));
                    self.drain();
                    assert_eq!(self.written, format!("{line}\r").into_bytes());
                    self.written.clear();
                    expected.command = line.clone();
                }
                Entry::Answer(line) => {
                    self.feed(format!("\r\n{line}\r\n").as_bytes());
                    expected.answered(line);
                }
                Entry::Prompt => {
                    self.feed(b"\r\n>");
                    prompted = true;
                }
                Entry::Data(data) if prompted => {
                    assert_eq!(&self.written, data, "{}: data at the prompt", self.name);
                    self.written.clear();
                    prompted = false;
                }
                Entry::Data(data) => self.feed(&[data, b"\r\n".as_slice()].concat()),
                Entry::Unsolicited(line) => {
                    let data = match turn.get(at + 1) {
                        Some(Entry::Data(data)) => Some(data.clone()),
                        _ => None,
                    };
                    self.feed(format!("\r\n{line}\r\n").as_bytes());
                    expected.urcs.push(match self.quoted(line) {
                        Some(urc) => urc,
                        None => Urc { line: line.clone(), data },
                    });
                    if self.events.iter().any(|event| matches!(event, Event::Desync(_))) {
                        self.get_in_step();
                    }
                }
            }
        }
        self.check(expected, ticket)
    }

    /// A line whose last argument is data in quotation marks.
    fn quoted(&self, line: &str) -> Option<Urc> {
        self.quoted.iter().find(|quoted| line.starts_with(quoted.prefix))?;
        let (line, data) = line.strip_suffix('"')?.split_at(line.rfind(",\"")?);
        Some(Urc { line: line.to_owned(), data: Some(data.as_bytes()[2..].to_vec()) })
    }

    fn check(&mut self, expected: Expected, ticket: Option<Ticket>) -> Vec<Urc> {
        let name = self.name;
        assert!(self.engine.is_idle(), "{name}: {} did not end", expected.command);
        let (mut urcs, mut ends) = (Vec::new(), Vec::new());
        for event in self.events.drain(..) {
            match event {
                Event::Urc(urc) => urcs.push(urc),
                Event::Completed(which, outcome) => ends.push((which, outcome)),
                other => panic!("{name}: {other:?} after {}", expected.command),
            }
        }
        assert_eq!(urcs, expected.urcs, "{name}: unsolicited at {}", expected.command);
        let Some(ticket) = ticket else {
            assert_eq!(ends, []);
            return urcs;
        };
        let [(which, outcome)] = ends.as_slice() else { panic!("{name}: {ends:?}") };
        assert_eq!(*which, ticket);
        let (code, lines, result) = match outcome {
            Ok(reply) => (FinalCode::Ok, reply.lines.clone(), reply.result.clone()),
            Err(Failure::Refused { code, lines, result }) => {
                (code.clone(), lines.clone(), result.clone())
            }
            Err(failure) => panic!("{name}: {}: {failure}", expected.command),
        };
        assert_eq!(Some(code), expected.code, "{name}: {}", expected.command);
        assert_eq!(lines, expected.lines, "{name}: {}", expected.command);
        assert_eq!(result, expected.result, "{name}: {}", expected.command);
        urcs
    }
}

fn data_after_prompt(turn: &[Entry]) -> Option<Vec<u8>> {
    let prompt = turn.iter().position(|entry| *entry == Entry::Prompt)?;
    match turn.get(prompt + 1) {
        Some(Entry::Data(data)) => Some(data.clone()),
        _ => panic!("no data after a prompt"),
    }
}

/// How a turn must end.
#[derive(Default)]
struct Expected {
    command: String,
    lines: Vec<String>,
    code: Option<FinalCode>,
    result: Option<String>,
    urcs: Vec<Urc>,
}

impl Expected {
    fn answered(&mut self, line: &str) {
        // The engine's own reading of final codes is not asked here.
        let code = match line {
            "OK" => Some(FinalCode::Ok),
            "ERROR" => Some(FinalCode::Error(line.to_owned())),
            _ => line.strip_prefix("+CME ERROR: ").map(|text| FinalCode::Cme(text.to_owned())),
        };
        let name = self.command[2..].split(['=', '?']).next().unwrap().to_ascii_uppercase();
        if code.is_some() {
            self.code = code;
        } else if name.starts_with("+CMQTT") && line.starts_with(&format!("{name}: ")) {
            self.result = Some(line.to_owned());
        } else if line != self.command {
            self.lines.push(line.to_owned());
        }
    }
}

/// A transcript in turns: what came first, then each command with what followed it.
fn turns(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut starts: Vec<usize> = (0..entries.len())
        .filter(|at| *at == 0 || matches!(entries[*at], Entry::Sent(_)))
        .collect();
    starts.push(entries.len());
    starts.windows(2).map(|pair| &entries[pair[0]..pair[1]]).collect()
}

fn profile_of(catalog: &Catalog, model: &str) -> &'static dyn Profile {
    let cgmm = &catalog.model(model).unwrap_or_else(|| panic!("no model {model}")).cgmm[0];
    catalog.identify(cgmm).unwrap().1
}

#[test]
fn every_line_is_what_its_transcript_says() {
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    for transcript in transcripts() {
        for model in &transcript.models {
            // However the reads cut it: whole, in halves of a line, byte by byte.
            for chunk in [usize::MAX, 7, 1] {
                let profile = profile_of(&catalog, model);
                let mut replay = Replay::new(&transcript.name, profile, chunk);
                for turn in turns(&transcript.entries) {
                    replay.turn(turn);
                }
            }
        }
    }
}

#[test]
fn answers_that_the_profile_reads_are_readable() {
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let mut read = 0;
    for transcript in transcripts() {
        for turn in turns(&transcript.entries) {
            let Some(Entry::Sent(command)) = turn.first() else { continue };
            let Some(decoder) = catalog.decoder(command) else { continue };
            let lines: Vec<_> = turn
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Answer(line) | Entry::Unsolicited(line) => Some(line.as_str()),
                    _ => None,
                })
                .collect();
            let decoded = decoder(&lines.join("\r\n"));
            let refused = lines.iter().any(|line| line.contains("ERROR"));
            assert!(decoded.is_ok() || refused, "{}: {decoded:?}", transcript.name);
            read += 1;
        }
    }
    assert!(read >= 12, "only {read} answers were read");
}

#[test]
fn what_came_unasked_means_what_happened() {
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let notices = |name: &str| {
        let transcripts = transcripts();
        let transcript = transcripts.iter().find(|t| t.name == name).unwrap();
        let profile = profile_of(&catalog, &transcript.models[0]);
        let mut replay = Replay::new(name, profile, 5);
        let mut listener = profile.listener();
        let turns = turns(&transcript.entries);
        let urcs = turns.into_iter().flat_map(|turn| replay.turn(turn)).collect::<Vec<_>>();
        urcs.into_iter().filter_map(|urc| listener.hear(urc)).collect::<Vec<_>>()
    };
    let reset = notices("sim7600-reset-while-connected.txt");
    let [Notice::Lost { by_broker: false, .. }, Notice::ServiceLost, Notice::Booted] =
        reset.as_slice()
    else {
        panic!("{reset:?}")
    };
    for (name, topic, payload) in [
        ("sim7600-rx-two-pieces.txt", 22, 1_520),
        ("sim7600-rx-before-sub-result.txt", 6, 18),
        ("sim8200-alibaba.txt", 27, 5),
    ] {
        let heard = notices(name);
        let [Notice::Message { message, .. }] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((message.topic.len(), message.payload.len()), (topic, payload), "{name}");
    }
    let heard = notices("a7670-in-one-line.txt");
    let payload = |notice: &Notice| match notice {
        Notice::Message { message, .. } => message.payload.clone(),
        other => panic!("{other:?}"),
    };
    let payloads: Vec<_> = heard.iter().map(payload).collect();
    assert_eq!(payloads, [&b"40"[..], b"GO", b"630", b""]);
}

#[test]
fn a_model_that_claims_a_transcript_has_one() {
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    let transcripts = transcripts();
    let claims = |model: &&modem::catalog::Model| {
        let Evidence { identification, mqtt, status, tls } = model.evidence;
        [Some(identification), Some(mqtt), Some(status), tls].contains(&Some(Basis::Transcript))
    };
    for model in catalog.models().filter(claims) {
        assert!(transcripts.iter().any(|t| t.models.contains(&model.id)), "{}", model.id);
    }
    for transcript in &transcripts {
        for model in &transcript.models {
            assert!(catalog.model(model).is_some(), "{}: {model}", transcript.name);
        }
    }
}
