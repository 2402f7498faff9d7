//! Receipts, the stream of outcomes and `modemfleet publish --wait`, from an application's view.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use e2e::{Agent, Lab, PATIENCE, Process, Signal, Sim, Site, modemfleet, run, until};
use serde_json::{Value, json};

/// The number of event streams at the same time.
const READERS: usize = 128;

/// Hands a message in, and returns the answer.
#[track_caller]
fn hand_in(agent: &Agent, query: &str) -> Value {
    let answer = agent.http.publish(query, b"x");
    assert_eq!(answer.status, 202, "{query}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[track_caller]
fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn receipt(agent: &Agent, id: &str) -> Value {
    let answer = agent.http.get(&format!("/api/v1/messages/{id}"));
    assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Waits for a state, and returns the receipt.
#[track_caller]
fn becomes(agent: &Agent, id: &str, state: &str) -> Value {
    until(&format!("{id} to be {state}"), || {
        let receipt = receipt(agent, id);
        (receipt["state"] == state).then_some(receipt)
    })
}

/// Returns a receipt without its time, which is rounded again at each request.
fn timeless(receipt: &Value) -> Value {
    let mut receipt = receipt.clone();
    assert!(receipt.as_object_mut().is_some_and(|receipt| receipt.remove("at").is_some()));
    receipt
}

/// Returns the outcomes from now on.
#[track_caller]
fn outcomes(agent: &Agent) -> mpsc::Receiver<Value> {
    let (_, mut lines) = open(agent);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        while matches!(lines.read_line(&mut line), Ok(1..)) {
            if let Some(data) = line.strip_prefix("data: ") {
                drop(sender.send(serde_json::from_str(data).unwrap()));
            }
            line.clear();
        }
    });
    receiver
}

/// Opens a stream of outcomes, and returns the status and the rest of the answer.
#[track_caller]
fn open(agent: &Agent) -> (u16, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(("127.0.0.1", agent.http.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /api/v1/outcomes HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    (line.get(9..12).unwrap().parse().unwrap(), lines)
}

fn publish(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new(modemfleet());
    command.arg("publish").arg("--config").arg(site.file()).args(["--topic", "t"]).args(words);
    command.env_remove("MODEMFLEET_LOG");
    command
}

/// Returns exit code and standard error.
fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn published(site: &Site, words: &[&str], input: &[u8]) -> (Option<i32>, String) {
    ended(&run(&mut publish(site, words), input))
}

/// Starts a `publish` that waits, and returns it with the message's id.
#[track_caller]
fn waiting(site: &Site, words: &[&str]) -> (Process, String) {
    let process = Process::start("publish", &mut publish(site, words));
    let id = until("the message to be handed in", || process.stdout().first().cloned());
    (process, id)
}

#[track_caller]
fn end(mut process: Process) -> (Option<i32>, String) {
    let status = process.end_within(PATIENCE).unwrap_or_else(|| panic!("it waits on"));
    (status.code(), process.stderr().join("\n"))
}

#[test]
fn a_receipt_follows_a_message_to_its_acknowledgement() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let first = id(&hand_in(&agent, "topic=t&qos=1"));
    let waiting = receipt(&agent, &first);
    let appended = waiting["appended"].clone();
    assert!(appended.as_str().is_some_and(|at| at.ends_with('Z')), "{waiting}");
    let expected = json!({ "id": first, "qos": 1, "state": "waiting", "appended": appended });
    assert_eq!(waiting, expected);

    let _sim = lab.plug_in(0, &[]);
    let done = becomes(&agent, &first, "acknowledged");
    assert!(done["at"].as_str() >= appended.as_str(), "{done}");
    assert_eq!((&done["path"], &done["by"]), (&json!("m0/s"), &json!("broker")), "{done}");

    // The broker is paused, so its acknowledgement is late.
    lab.broker.signal(Signal::STOP);
    let second = id(&hand_in(&agent, "topic=t&qos=2"));
    let given = becomes(&agent, &second, "given");
    let expected = json!({
        "id": second, "qos": 2, "state": "given", "appended": given["appended"], "path": "m0/s"
    });
    assert_eq!(given, expected);
    lab.broker.signal(Signal::CONT);
    assert_eq!(becomes(&agent, &second, "acknowledged")["by"], "broker");

    let third = id(&hand_in(&agent, "topic=t&qos=0"));
    let done = becomes(&agent, &third, "acknowledged");
    assert_eq!((&done["qos"], &done["by"]), (&json!(0), &json!("modem")), "no broker said so");
}

#[test]
fn an_id_that_nobody_gave_is_not_found_and_what_is_none_is_refused() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let known = id(&hand_in(&agent, "topic=t"));
    assert_eq!(receipt(&agent, &known.to_uppercase())["id"], known.as_str());
    let long = "0".repeat(8_000);
    let wrong = [
        "1",
        "-",
        "..%2Fmodems",
        "%00",
        "%ff",
        "%zz",
        "é",
        "%F0%9F%98%80",
        "nil",
        &long,
        &format!("{known}0"),
        &format!("{known}%00"),
        &format!("{known}/"),
        &format!("%7B{known}%7D"),
        &format!("urn:uuid:{known}"),
        &known.replace('-', ""),
    ];
    for wrong in wrong {
        let answer = agent.http.get(&format!("/api/v1/messages/{wrong}"));
        let shown = wrong.get(..wrong.len().min(60));
        let error: Value = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|fault| panic!("{shown:?}: {fault}: {}", answer.text()));
        // A path of another shape is not a path of the API.
        let expected = if wrong.ends_with('/') { (404, "not_found") } else { (400, "id") };
        assert_eq!((answer.status, error["error"].as_str().unwrap()), expected, "{shown:?}");
        assert!(answer.body.len() < 300, "{shown:?}: it is not repeated");
    }
    let nobody = "00000000-0000-7000-8000-000000000000";
    let answer = agent.http.get(&format!("/api/v1/messages/{nobody}"));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.text().contains("unknown_message"), "{}", answer.text());
    for (method, path) in [("POST", "/api/v1/outcomes"), ("DELETE", "/api/v1/messages/x")] {
        assert_eq!(agent.http.ask(method, path, &[], b"").status, 405, "{method} {path}");
    }
    let with_parameters = ["/api/v1/outcomes?since=0", &format!("/api/v1/messages/{known}?copies")];
    assert!(with_parameters.iter().all(|path| agent.http.get(path).status == 400));
}

#[test]
fn outcomes_come_as_they_happen_and_say_what_the_receipts_say() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let before = id(&hand_in(&agent, "topic=before"));
    let stream = outcomes(&agent);
    let next = || stream.recv_timeout(PATIENCE).unwrap();

    let purged = id(&hand_in(&agent, "topic=purged"));
    let answer = agent.http.ask("POST", &format!("/api/v1/queue/purge?id={purged}"), &[], b"");
    assert_eq!(answer.status, 200);
    let told = next();
    assert_eq!((&told["id"], &told["reason"]), (&json!(purged), &json!("purged")), "{told}");
    assert_eq!(timeless(&told), timeless(&receipt(&agent, &purged)));

    let expired = id(&hand_in(&agent, "topic=expired&ttl=1s"));
    let told = next();
    assert_eq!((&told["id"], &told["reason"]), (&json!(expired), &json!("expired")), "{told}");
    assert_eq!(told["state"], "dropped");
    assert_eq!(timeless(&told), timeless(&receipt(&agent, &expired)));

    let _sim = lab.plug_in(0, &[]);
    let told = next();
    assert_eq!((&told["id"], &told["state"]), (&json!(before), &json!("acknowledged")), "{told}");
    assert_eq!(timeless(&told), timeless(&receipt(&agent, &before)));
}

#[test]
fn who_waits_learns_that_the_broker_has_it() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("token", "s3cret-token\n");
    let socket = lab.site.dir().join("api.sock");
    lab.site.http =
        format!(", token: {{ file: {} }}, socket: {}", token.display(), socket.display());
    let agent = lab.site.start();
    // The command waits while no modem is plugged in, and prints the acknowledgement after that.
    let (over_socket, id) = waiting(&lab.site, &["--wait", "one"]);
    let _sim = lab.plug_in(0, &[]);
    let (code, told) = end(over_socket);
    assert_eq!((code, told), (Some(0), format!("{id}: acknowledged by the broker of m0/s")));
    assert_eq!(lab.subscriber.wait(1)[0].text(), "one");

    let mut over_tcp = Command::new(modemfleet());
    let url = format!("http://127.0.0.1:{}", lab.site.port());
    over_tcp.args(["publish", "--topic", "t", "--wait=1m", "--url", &url, "two"]);
    let (code, told) = ended(&run(&mut over_tcp, b""));
    assert_eq!(code, Some(1), "the token is missing: {told}");
    over_tcp.arg("--token-file").arg(&token);
    let (code, told) = ended(&run(&mut over_tcp, b""));
    assert_eq!(code, Some(0), "{told}");

    let (code, told) = published(&lab.site, &["--wait=1m", "--qos", "0", "three"], b"");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("accepted by the modem of m0/s; at QoS 0 no broker"), "{told}");

    // The last line has no line end.
    let output =
        run(&mut publish(&lab.site, &["--wait=1m", "--lines"]), "4\n5\n".repeat(20).as_bytes());
    let (code, told) = ended(&output);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told, "40 messages published\n40 messages acknowledged\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 40);
    assert_eq!(lab.subscriber.wait(43).len(), 43);
    assert_eq!(agent.queued(), 0);
}

#[test]
fn who_waits_in_vain_learns_why() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let (code, told) = published(&lab.site, &["--wait=1s", "late"], b"");
    assert_eq!(code, Some(1));
    assert!(
        told.contains("no acknowledgement within 1s: the message waits in the queue"),
        "{told}"
    );
    assert_eq!(agent.queued(), 1, "it is still to be delivered");

    let (code, told) = published(&lab.site, &["--wait", "--ttl", "1s", "brief"], b"");
    assert_eq!(code, Some(1));
    assert!(told.contains("dropped: its time to live had passed"), "{told}");

    let (process, id) = waiting(&lab.site, &["--wait", "unwanted"]);
    let purge = format!("/api/v1/queue/purge?id={id}");
    assert_eq!(agent.http.ask("POST", &purge, &[], b"").status, 200);
    let (code, told) = end(process);
    let expected = format!("{id}: dropped: an operator removed it");
    assert_eq!((code, told), (Some(1), expected));

    // A message that no modem of its route accepts is set aside once the modem is known.
    let large = "x".repeat(5_000);
    let (process, id) = waiting(&lab.site, &["--wait", &large]);
    let dir = lab.site.dir().join("m0");
    let _sim = Sim::of_model("ec25", &dir, 1, &lab.broker.address(), &[]);
    let (code, told) = end(process);
    assert_eq!(code, Some(1));
    assert!(told.starts_with(&format!("{id}: dead letter (refused): ")), "{told}");
    let dead = receipt(&agent, &id);
    assert_eq!((&dead["state"], &dead["reason"]), (&json!("dead_letter"), &json!("refused")));
    assert!(dead["words"].as_str().is_some_and(|words| words.contains("5000 bytes")), "{dead}");

    for wrong in ["--wait=5", "--wait=0s", "--wait=-1s", "--wait="] {
        assert_eq!(published(&lab.site, &[wrong, "x"], b"").0, Some(2), "{wrong}");
    }
}

#[test]
fn of_several_lines_each_that_is_lost_is_named() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let lines = ["--wait=1s", "--lines", "--ttl", "1h"];
    let (code, told) = published(&lab.site, &lines, b"a\nb\nc\n");
    assert_eq!(code, Some(1), "{told}");
    for line in ["line 1, ", "line 2, ", "line 3, ", "0 of 3 acknowledged"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert_eq!(agent.queued(), 3);
}

#[test]
fn copies_are_named_and_all_of_them_waited_for() {
    let mut lab = Lab::without_modems(2);
    lab.site.body += "routes: [ { topic: \"#\", to: [m0/s, m1/s], policy: all } ]\n";
    let agent = lab.site.start();
    let answer = hand_in(&agent, "topic=t");
    let copies = answer["copies"].as_array().unwrap();
    assert_eq!((copies.len(), &copies[0]), (2, &answer["id"]), "{answer}");
    assert_ne!(copies[0], copies[1]);

    let _first = lab.plug_in(0, &[]);
    let done = becomes(&agent, copies[0].as_str().unwrap(), "acknowledged");
    assert_eq!(done["path"], "m0/s");
    assert_eq!(receipt(&agent, copies[1].as_str().unwrap())["state"], "waiting");
    let (mut process, _) = waiting(&lab.site, &["--wait", "x"]);
    process.line("the first copy", |line| line.ends_with("acknowledged by the broker of m0/s"));
    assert_eq!(process.ended(), None, "the second has not come");
    let _second = lab.plug_in(1, &[]);
    let (code, told) = end(process);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with("acknowledged by the broker of m1/s"), "{told}");
}

#[test]
fn who_waits_outlives_the_agent() {
    let lab = Lab::without_modems(1);
    let mut agent = lab.site.start();
    let (process, id) = waiting(&lab.site, &["--wait", "x"]);
    // An open stream does not delay the agent's end.
    agent.process.signal(Signal::TERM);
    let status = agent.process.end_within(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0));
    process.line("it to notice", |line| line.contains("stream of outcomes was interrupted"));
    lab.site.start().process.kill();
    let _agent = lab.site.start();
    let _sim = lab.plug_in(0, &[]);
    let (code, told) = end(process);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with(&format!("{id}: acknowledged by the broker of m0/s")), "{told}");
}

#[test]
fn without_a_place_at_the_stream_receipts_are_asked_for() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let readers: Vec<_> = (0..READERS).map(|_| open(&agent)).collect();
    assert!(readers.iter().all(|(status, _)| *status == 200));
    assert_eq!(open(&agent).0, 503, "one more");
    let _sim = lab.plug_in(0, &[]);
    let (code, told) = published(&lab.site, &["--wait=1m", "x"], b"");
    assert_eq!(code, Some(0), "{told}");
    drop(readers);
    // Places are free again once the agent notices.
    until("a place", || (open(&agent).0 == 200).then_some(()));
}

#[test]
fn a_receipt_outlives_the_agent() {
    let lab = Lab::new(1);
    let mut agent = lab.start();
    let acknowledged = id(&hand_in(&agent, "topic=t"));
    let done = becomes(&agent, &acknowledged, "acknowledged");
    agent.process.kill();
    let agent = lab.site.start();
    assert_eq!(timeless(&receipt(&agent, &acknowledged)), timeless(&done));
}

#[test]
fn a_key_stands_for_all_that_makes_the_message() {
    let lab = Lab::without_modems(2);
    let agent = lab.site.start();
    let ask = |query: &str, payload: &[u8]| {
        let key = [("Idempotency-Key", "event-17")];
        agent.http.ask("POST", &format!("/api/v1/publish?{query}"), &key, payload)
    };
    let first = "topic=t&session=m0/s&qos=1&ttl=1h&priority=5";
    let answer = ask(first, b"x");
    assert_eq!(answer.status, 202);
    assert_eq!(ask(first, b"x").body, answer.body, "the same");
    for (other, payload) in [
        ("topic=u&session=m0/s&qos=1&ttl=1h&priority=5", b"x"),
        ("topic=t&session=m1/s&qos=1&ttl=1h&priority=5", b"x"),
        ("topic=t&qos=1&ttl=1h&priority=5", b"x"),
        ("topic=t&session=m0/s&qos=2&ttl=1h&priority=5", b"x"),
        ("topic=t&session=m0/s&qos=1&ttl=2h&priority=5", b"x"),
        ("topic=t&session=m0/s&qos=1&priority=5", b"x"),
        ("topic=t&session=m0/s&qos=1&ttl=1h&priority=6", b"x"),
        ("topic=t&session=m0/s&qos=1&ttl=1h&priority=5&retain=true", b"x"),
        (first, b"y"),
    ] {
        let answer = ask(other, payload);
        assert_eq!((answer.status, answer.text().contains("key_reused")), (422, true), "{other}");
    }
    // With or without its defaults, the message is the same.
    assert_eq!(ask("topic=t&session=m0/s&ttl=60m&priority=5&retain=false", b"x").body, answer.body);
    assert_eq!(agent.queued(), 1);
}
