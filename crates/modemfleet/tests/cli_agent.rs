//! `modemfleet publish` and `status` with a running agent, without an agent, and with faulty
//! servers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

fn modemfleet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modemfleet"));
    command.env_remove("MODEMFLEET_LOG").env_remove("NO_COLOR");
    command
}

/// Runs `modemfleet` to its end with this input.
fn call(words: &[&str], input: &[u8]) -> Output {
    let mut child = modemfleet()
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that rejects its arguments does not read the input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An agent whose modem is absent, so that messages stay in the queue.
struct Agent {
    dir: TempDir,
    port: u16,
    child: Child,
    _log: BufReader<ChildStderr>,
}

impl Agent {
    /// Starts an agent with further keys of `http:`, each after a comma.
    fn start(http: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.path().display();
        let text = format!(
            "gateway: gw\nhttp: {{ listen: \"127.0.0.1:{port}\"{http} }}\nqueue: {{ path: {at}/queue }}\n\
             brokers: {{ b: {{ url: \"mqtt://127.0.0.1:1\" }} }}\n\
             modems: {{ north: {{ match: {{ port: {at}/none }}, sessions: {{ lab: {{ broker: b }} }} }} }}\n\
             routes: [ {{ topic: \"t/#\", to: [north/lab] }} ]\n"
        );
        fs::write(dir.path().join("fleet.yaml"), text).unwrap();
        fs::write(dir.path().join("token"), "s3cret").unwrap();
        let config = dir.path().join("fleet.yaml");
        let mut child = modemfleet()
            .args(["run", "--log", "info", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("running") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the agent ended");
        }
        Self { dir, port, child, _log: log }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs `modemfleet` with these words and the agent's fleet file.
    fn call(&self, words: &[&str], input: &[u8]) -> Output {
        let config = self.path("fleet.yaml");
        call(&[words, &["--config", &config]].concat(), input)
    }

    fn queued(&self) -> Option<u64> {
        let output = self.call(&["status", "--json"], b"");
        let fleet: Value = serde_json::from_slice(&output.stdout).unwrap();
        fleet["queue"]["messages"].as_u64()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that gives these answers, each on its own connection. It returns the first lines of the
/// requests.
fn server(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        answers.iter().map(|answer| serve(listener.accept().unwrap().0, answer)).collect()
    });
    (url, served)
}

fn serve(stream: TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream);
    exchange(&mut reader, answer)
}

/// Reads a request and sends the answer.
fn exchange(reader: &mut BufReader<TcpStream>, answer: &str) -> String {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    first.trim().to_owned()
}

macro_rules! answer {
    ($status:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n\r\n", $body)
    };
}

const TAKEN: &str = answer!("202 Accepted", "{\"id\":\"i\"}");
const FULL: &str =
    answer!("429 Too Many", "{\"error\":\"full\",\"message\":\"the queue is full\"}");

#[test]
fn a_message_comes_from_the_argument_a_file_or_standard_input() {
    let agent = Agent::start("");
    fs::write(agent.path("payload"), [0_u8, 255, b'\n']).unwrap();
    let file = agent.path("payload");
    let publish = |more: &[&str], input: &[u8]| {
        agent.call(&[&["publish", "--topic", "t/a b&c"][..], more].concat(), input)
    };
    for (words, input) in [
        (&["21.5"][..], &b""[..]),
        (&["-21.5"], b""),
        (&[""], b""),
        (&["-"], b"from stdin"),
        (&["--file", &file], b""),
        (&["x", "--qos", "2", "--retain", "--ttl", "2h", "--priority", "9"], b""),
        (&["x", "--session", "north/lab"], b""),
    ] {
        let output = publish(words, input);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        assert_eq!((out(&output).trim().len(), err(&output).as_str()), (36, ""), "{words:?}");
    }
    assert_eq!(agent.queued(), Some(7));
    let (once, again) = (publish(&["x", "--key", "k1"], b""), publish(&["x", "--key", "k1"], b""));
    assert_eq!(out(&once), out(&again));
    assert_eq!(agent.queued(), Some(8));
}

#[test]
fn each_line_is_a_message() {
    let agent = Agent::start("");
    let output = agent.call(&["publish", "--topic", "t", "--lines"], b"one\ntwo\r\n\nfour");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().count(), 4);
    assert_eq!(err(&output), "4 messages published\n");
    assert_eq!(agent.queued(), Some(4));

    let long = [b"good\n".to_vec(), vec![b'x'; 10_241], b"\nnever\n".to_vec()].concat();
    let output = agent.call(&["publish", "--topic", "t", "--lines"], &long);
    assert_eq!((output.status.code(), out(&output).lines().count()), (Some(1), 1));
    assert!(err(&output).contains("stopped at line 2 (1 published)"), "{}", err(&output));
    assert_eq!(agent.queued(), Some(5));
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_api() {
    let agent = Agent::start("");
    let big = vec![b'x'; 10_241];
    for (words, input, phrases) in [
        (&["--topic", "other", "x"][..], &b""[..], ["no_route", "\"other\""]),
        (&["--topic", "t/#", "x"], b"", ["topic", "t/#"]),
        (&["--topic", "t", "--session", "a/b", "x"], b"", ["unknown_session", "north/lab"]),
        (&["--topic", "t", "-"], &big, ["payload", "10240 bytes"]),
    ] {
        let output = agent.call(&[&["publish"][..], words].concat(), input);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{words:?}");
        for phrase in phrases {
            assert!(err(&output).contains(phrase), "{phrase}: {}", err(&output));
        }
    }
    assert_eq!(agent.queued(), Some(0));
}

#[test]
fn lines_stop_at_the_first_refusal_over_whatever_connections() {
    let (url, served) = server(&[TAKEN, TAKEN, FULL]);
    let output = call(&["publish", "--url", &url, "--topic", "t", "--lines"], b"1\n2\n3\n4\n5\n");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), "i\ni\n"));
    let said = err(&output);
    assert_eq!(said, "stopped at line 3 (2 published): refused: full: the queue is full\n");
    let requests = served.join().unwrap();
    assert_eq!(requests, ["POST /api/v1/publish?topic=t&qos=1 HTTP/1.1"; 3]);
}

#[test]
fn the_connection_is_kept_from_line_to_line() {
    const KEPT: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\n{\"id\":\"i\"}";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        // A second connection would not be accepted, and its request not answered.
        let mut only = BufReader::new(listener.accept().unwrap().0);
        drop(listener);
        [exchange(&mut only, KEPT), exchange(&mut only, KEPT)].len()
    });
    let output = call(&["publish", "--url", &url, "--topic", "t", "--lines"], b"1\n2\n");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), "i\ni\n"));
    assert_eq!(served.join().unwrap(), 2);
}

#[test]
fn a_message_in_doubt_is_not_sent_again() {
    for (answer, phrase) in [
        ("", "gave no complete answer"),
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 50\r\n\r\n{", "gave no complete answer"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "is it a modemfleet agent?"),
        ("SSH-2.0-OpenSSH_9\r\n", "gave no complete answer"),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
        let (url, served) = server(answers);
        let output = call(&["publish", "--url", &url, "--topic", "t", "x"], b"");
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{answer:?}");
        assert!(err(&output).contains(phrase), "{answer:?}: {}", err(&output));
        assert!(err(&output).contains("it is not known whether the message was accepted"));
        assert_eq!(served.join().unwrap().len(), 1);
    }
    let (url, served) = server(&[answer!("202 Accepted", "{\"id\":\"i\",\"dropped\":true}")]);
    let output = call(&["publish", "--url", &url, "--topic", "t", "x"], b"");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    assert!(err(&output).starts_with("dropped: "), "{}", err(&output));
    drop(served.join());
}

#[test]
fn without_an_agent_the_code_is_3_and_every_address_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (config, url) = (dir.path().join("fleet.yaml"), format!("http://127.0.0.1:{port}"));
    let text = format!(
        "gateway: g\nhttp: {{ listen: \"127.0.0.1:{port}\", socket: api.sock }}\nmodems: {{ m: {{ match: {{ port: /none }} }} }}\n"
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for words in [
        &["status", "--config", config][..],
        &["status", "--watch", "--config", config],
        &["publish", "--topic", "t", "x", "--config", config],
        &["publish", "--topic", "t", "--lines", "--config", config],
    ] {
        let output = call(words, b"x\n");
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(3), ""), "{words:?}");
        let said = err(&output);
        assert!(said.contains("api.sock (No such file") && said.contains(&url), "{said}");
        assert!(said.contains("modemfleet run --config"), "{said}");
    }
    assert_eq!(call(&["status", "--url", &url], b"").status.code(), Some(3));
}

#[test]
fn wrong_usage_ends_with_2_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fleet.yaml");
    fs::write(&config, "gatway: x\n").unwrap();
    let config = config.to_str().unwrap();
    // A file that is not YAML, or has a wrong `http`, names no agent; the default agent must not be
    // used.
    let [torn, http, bomb] = ["torn", "http", "bomb"].map(|name| dir.path().join(name));
    fs::write(&torn, "gateway: {\n").unwrap();
    fs::write(&http, "http: { listen: nowhere }\n").unwrap();
    let many = |what: &str| vec![what; 100_000].join(",");
    fs::write(&bomb, format!("a: &x [{}]\nb: [{}]\n", many("0"), many("*x"))).unwrap();
    let [torn, http, bomb] = [&torn, &http, &bomb].map(|path| path.to_str().unwrap());
    let publish = ["publish", "--topic", "t", "--url", "http://127.0.0.1:1"];
    for words in [
        &["status", "--config", config][..],
        &["status", "--config", "/none/fleet.yaml"],
        &["status", "--config", torn],
        &["status", "--config", http],
        &["status", "--config", bomb],
        &["status", "--url", "https://gw"],
        &["status", "--url", "http://a", "--config", config],
        &[&publish[..], &[]].concat(),
        &[&publish[..], &["x", "--qos", "3"]].concat(),
        &[&publish[..], &["x", "--priority", "10"]].concat(),
        &[&publish[..], &["x", "--ttl", "5"]].concat(),
        &[&publish[..], &["x", "--session", "north"]].concat(),
        &[&publish[..], &["x", "--key", "a\nb"]].concat(),
        &[&publish[..], &["x", "--lines"]].concat(),
        &[&publish[..], &["--lines", "--key", "k"]].concat(),
        &[&publish[..], &["--file", "/none/payload"]].concat(),
        &["publish", "x"],
        &["publish", "x", "--topic", &"t".repeat(100_000)],
    ] {
        let output = call(words, b"");
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn the_token_is_shown_over_tcp_and_not_needed_on_the_socket() {
    let agent = Agent::start(", token: { file: token }");
    let url = agent.url();
    let bare = call(&["status", "--url", &url], b"");
    assert_eq!(bare.status.code(), Some(1));
    assert!(err(&bare).contains("refused: unauthorized"), "{}", err(&bare));
    let token = agent.path("token");
    let with = call(&["status", "--url", &url, "--token-file", &token], b"");
    assert_eq!(with.status.code(), Some(0), "{}", err(&with));
    assert_eq!(agent.call(&["status"], b"").status.code(), Some(0));
    fs::remove_file(&token).unwrap();
    let gone = agent.call(&["publish", "--topic", "t", "x"], b"");
    assert_eq!(gone.status.code(), Some(2), "{}", err(&gone));
    assert!(!err(&gone).contains("s3cret"));

    let agent = Agent::start(", token: { file: token }, socket: api.sock");
    fs::remove_file(agent.path("token")).unwrap();
    let by_socket = agent.call(&["publish", "--topic", "t", "x"], b"");
    assert_eq!(by_socket.status.code(), Some(0), "{}", err(&by_socket));
}

#[test]
fn the_status_is_a_table_or_json() {
    let agent = Agent::start("");
    let table = agent.call(&["status"], b"");
    assert_eq!((table.status.code(), err(&table).as_str()), (Some(0), ""));
    let text = out(&table);
    let row = text.lines().find(|line| line.starts_with("north")).unwrap();
    for word in ["absent", "lab", "waiting"] {
        assert!(row.contains(word), "{word}: {text}");
    }
    assert!(text.contains("queue: 0 messages"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let json = agent.call(&["status", "--json"], b"");
    let fleet: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(fleet["modems"][0]["sessions"][0]["name"], "lab");
    assert_eq!(fleet["queue"]["dropped"]["full"], 0);
}

#[test]
fn the_watch_shows_each_change_and_outlives_the_agent() {
    let mut agent = Agent::start("");
    let mut watch = modemfleet()
        .args(["status", "--watch", "--json", "--url", &agent.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("\"messages\":0"));
    agent.child.kill().unwrap();
    let away = lines.find(|line| line.contains("\"error\"")).unwrap();
    assert!(away.contains("no agent runs"), "{away}");
    let pid = Pid::from_child(&watch);
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

/// Runs a command on a pty until it has printed `wanted`.
fn on_terminal(command: &mut Command, wanted: &str) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = PathBuf::from(ptsname(&master, Vec::new()).unwrap().to_str().unwrap());
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let mut child = command.stdout(terminal).spawn().unwrap();
    let (mut screen, mut seen, mut piece) = (File::from(master), Vec::new(), [0; 4_096]);
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let count = screen.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    String::from_utf8(seen).unwrap()
}

#[test]
fn a_terminal_is_drawn_in_place_and_no_color_is_honoured() {
    let agent = Agent::start("");
    let mut command = modemfleet();
    command.args(["status", "--watch", "--url", &agent.url()]);
    let screen = on_terminal(&mut command, "queue: 0");
    assert!(screen.starts_with("\u{1b}[2J\u{1b}[HMODEM"), "{screen:?}");
    assert!(screen.contains("\u{1b}[31mabsent\u{1b}[0m"), "{screen:?}");
    let plain = on_terminal(command.env("NO_COLOR", "1"), "queue: 0");
    assert!(plain.contains("absent") && !plain.contains("\u{1b}[31m"), "{plain:?}");
}
