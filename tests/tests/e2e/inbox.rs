//! The inbox from outside: received messages are kept for readers and real MQTT clients that were
//! away.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::mqtt_peer::{MqttPeer, packet, text};
use e2e::{Agent, Disk, Fault, Lab, Port, Process, until};
use serde_json::Value;

/// Makes a lab whose agent has an inbox and listens for MQTT; its sessions subscribe to `down/#`.
fn lab(inbox: &str, users: &str) -> (Lab, Port) {
    let port = Port::free();
    let mut lab = Lab::new(1);
    let folder = lab.site.dir().join("inbox");
    let head = format!(
        "inbox: {{ path: {}{inbox} }}\nhand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\"{users} }} }}\n",
        folder.display(),
        port.number()
    );
    let subscribe = "broker: lab, subscribe: [ { filter: \"down/#\", qos: 1 } ]";
    lab.site.body = head + &lab.site.body.replace("broker: lab", subscribe);
    (lab, port)
}

/// Publishes these payloads at the broker, and waits until the inbox has stored them.
fn send_down(lab: &Lab, agent: &Agent, topic: &str, payloads: &[String]) {
    let stored = || agent.sum("modemfleet_inbox_stored_total", &[]);
    let before = stored();
    publish(lab, topic, payloads);
    let count = f64::from(u32::try_from(payloads.len()).unwrap());
    until("the inbox to take what came down", || (stored() > before + count - 0.5).then_some(()));
}

fn publish(lab: &Lab, topic: &str, payloads: &[String]) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &lab.broker.port().to_string(), "-q", "1", "-t", topic, "-l"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let lines = payloads.join("\n") + "\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn read(agent: &Agent, query: &str) -> Value {
    let answer = agent.http.get(&format!("/api/v1/inbox?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn field(page: &Value, field: &str) -> Vec<String> {
    let messages = page["messages"].as_array().unwrap();
    messages.iter().map(|message| message[field].as_str().unwrap().to_owned()).collect()
}

/// Returns status and error code of a rejected request.
fn refused(agent: &Agent, method: &str, query: &str) -> (u16, String) {
    let answer = agent.http.ask(method, &format!("/api/v1/inbox?{query}"), &[], b"");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, body["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn readers_get_what_came_while_they_were_away_and_what_they_confirm_goes() {
    let (lab, _port) = lab("", "");
    let mut agent = lab.start();
    send_down(&lab, &agent, "down/a", &numbers(0..5));
    let page = read(&agent, "reader=app&after=&limit=3");
    assert_eq!(field(&page, "payload_base64"), ["MA==", "MQ==", "Mg=="]);
    let first = &page["messages"][0];
    let is = |key: &str| first[key].as_str().unwrap();
    assert_eq!((is("topic"), is("modem"), is("session")), ("down/a", "m0", "s"));
    assert_eq!(
        (&first["qos"], &page["missed"], &page["more"]),
        (&1.into(), &0.into(), &true.into())
    );
    assert!(is("at").starts_with("20") && is("at").ends_with('Z'), "{first}");
    let cursors = field(&page, "cursor");
    let rest = read(&agent, &format!("reader=app&after={}", cursors[2]));
    assert_eq!(field(&rest, "payload_base64"), ["Mw==", "NA=="]);
    let delete = format!("/api/v1/inbox?reader=app&through={}", cursors[1]);
    for confirmed in [2, 0] {
        let answer = agent.http.ask("DELETE", &delete, &[], b"");
        assert_eq!((answer.status, answer.text()), (200, format!("{{\"confirmed\":{confirmed}}}")));
    }
    assert!((agent.sum("modemfleet_inbox_messages", &[]) - 3.0).abs() < 0.5);
    agent.process.kill();
    let agent = lab.start();
    for after in ["", "&after=", &format!("&after={}", cursors[1])] {
        let page = read(&agent, &format!("reader=app{after}"));
        assert_eq!(field(&page, "payload_base64"), ["Mg==", "Mw==", "NA=="], "{after}");
    }
    // Another reader begins with the oldest message, and holds it until the reader is deleted.
    assert_eq!(read(&agent, "reader=other")["messages"].as_array().unwrap().len(), 3);
    let answer = agent.http.get("/api/v1/inbox/readers");
    let all: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&all["messages"], all["readers"].as_array().unwrap().len()), (&3.into(), 2));
    assert_eq!(all["readers"][0]["behind"], 3);
    let kind = [("kind", "reader")];
    assert!((agent.sum("modemfleet_inbox_readers", &kind) - 2.0).abs() < 0.5);
    let forget = agent.http.ask("DELETE", "/api/v1/inbox?reader=other&forget=true", &[], b"");
    assert_eq!(forget.status, 200);
    bad_input(&agent, &cursors[2]);
}

fn bad_input(agent: &Agent, cursor: &str) {
    let (epoch, number) = cursor.split_once('-').unwrap();
    let beyond = format!("{epoch}-{}", number.parse::<u32>().unwrap() + 1000);
    let elsewhere = format!("00000000-{number}");
    for unknown in [&beyond, &elsewhere, "x", "1", "-1", "%00"] {
        for (method, key) in [("GET", "after"), ("DELETE", "through")] {
            let found = refused(agent, method, &format!("reader=app&{key}={unknown}"));
            assert_eq!(found, (410, "unknown_cursor".to_owned()), "{method} {unknown}");
        }
    }
    for (method, query, status, error) in [
        ("GET", "", 400, "reader"),
        ("GET", "reader=", 400, "reader"),
        ("GET", "reader=a%2Fb", 400, "reader"),
        ("GET", "reader=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 400, "reader"),
        ("GET", "reader=app&limit=0", 400, "limit"),
        ("GET", "reader=app&limit=99999999999999999999", 400, "limit"),
        ("GET", "reader=app&colour=red", 400, "parameter"),
        ("GET", "reader=app&reader=app", 400, "parameter"),
        ("DELETE", "reader=app", 400, "parameter"),
        ("DELETE", &format!("reader=app&through={cursor}&forget=true"), 400, "parameter"),
        ("DELETE", &format!("reader=nobody&through={cursor}"), 404, "unknown_reader"),
        ("DELETE", "reader=nobody&forget=true", 404, "unknown_reader"),
        ("POST", "reader=app", 405, "method_not_allowed"),
    ] {
        let found = refused(agent, method, query);
        assert_eq!(found, (status, error.to_owned()), "{method} {query}");
    }
    let header = [("Sec-Fetch-Site", "cross-site")];
    let foreign = agent.http.ask("GET", "/api/v1/inbox?reader=image", &header, b"");
    assert_eq!(foreign.status, 403);
    for n in 0..63 {
        read(agent, &format!("reader=r{n}"));
    }
    assert_eq!(refused(agent, "GET", "reader=more"), (503, "too_many".to_owned()));
}

#[test]
fn without_an_inbox_nothing_is_kept_and_clients_are_told() {
    let (mut lab, port) = lab("", "");
    let line = lab.site.body.lines().next().unwrap().to_owned() + "\n";
    lab.site.body = lab.site.body.replace(&line, "");
    let agent = lab.site.start();
    assert_eq!(refused(&agent, "GET", "reader=app"), (404, "no_inbox".to_owned()));
    for _ in 0..2 {
        let mut peer = MqttPeer::open(port.number());
        peer.send(&connect(4, "s", false, 0, None));
        assert_eq!(peer.read(), Some((0x20, vec![0, 0])), "no session is present");
    }
    assert!(agent.scrape().find("modemfleet_inbox_messages", &[]).next().is_none());
}

/// Makes a CONNECT with a keep-alive of a minute, `clean` or not, with MQTT 5's session expiry.
fn connect(
    version: u8,
    client: &str,
    clean: bool,
    expiry: u32,
    login: Option<(&str, &str)>,
) -> Vec<u8> {
    let flags = u8::from(clean) << 1 | if login.is_some() { 0xc0 } else { 0 };
    let mut body = [text("MQTT"), vec![version, flags, 0, 60]].concat();
    if version == 5 {
        body.extend([5, 0x11]);
        body.extend(expiry.to_be_bytes());
    }
    body.extend(text(client));
    for word in login.into_iter().flat_map(|(user, password)| [user, password]) {
        body.extend(text(word));
    }
    packet(0x10, &body)
}

/// Signs in, and checks whether a session is present.
#[track_caller]
fn signed_in(port: u16, version: u8, client: &str, clean: bool, present: bool) -> MqttPeer {
    let mut peer = MqttPeer::open(port);
    peer.send(&connect(version, client, clean, 3600, None));
    let (first, body) = peer.read().unwrap();
    assert_eq!((first, &body[..2]), (0x20, &[u8::from(present), 0][..]), "CONNACK");
    peer
}

fn subscribe(peer: &mut MqttPeer, version: u8, filter: &str) {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let body = [&[0, 1], properties, &text(filter), &[1]].concat();
    peer.send(&packet(0x82, &body));
    assert_eq!(peer.read(), Some((0x90, [&[0, 1], properties, &[1]].concat())), "SUBACK");
}

/// Reads a PUBLISH of QoS 1, and returns DUP, the packet identifier and the payload.
#[track_caller]
fn delivery(peer: &mut MqttPeer, version: u8, topic: &str) -> (bool, [u8; 2], String) {
    let (first, body) = peer.read().unwrap();
    assert_eq!(first & 0xf7, 0x32, "PUBLISH with QoS 1, not retained");
    let rest = body.strip_prefix(text(topic).as_slice()).unwrap();
    let payload = if version == 5 { &rest[3..] } else { &rest[2..] };
    (first & 8 != 0, [rest[0], rest[1]], String::from_utf8(payload.to_vec()).unwrap())
}

fn puback(peer: &mut MqttPeer, id: [u8; 2]) {
    peer.send(&packet(0x40, &id));
}

#[test]
fn what_a_client_has_not_acknowledged_comes_again_with_its_number_also_after_a_kill() {
    let (lab, port) = lab("", "");
    let port = port.number();
    let mut agent = lab.start();
    let mut three = signed_in(port, 4, "three", false, false);
    subscribe(&mut three, 4, "down/#");
    let mut five = signed_in(port, 5, "five", true, false);
    subscribe(&mut five, 5, "down/+");
    send_down(&lab, &agent, "down/a", &numbers(0..3));
    let mut ids = Vec::new();
    for n in 0..3 {
        let (dup, id, payload) = delivery(&mut three, 4, "down/a");
        assert_eq!((dup, payload), (false, n.to_string()));
        assert_eq!(delivery(&mut five, 5, "down/a"), (false, id, n.to_string()));
        ids.push(id);
    }
    // The second is acknowledged out of its turn, and then the connection breaks.
    puback(&mut three, ids[1]);
    puback(&mut three, ids[0]);
    three.send(&packet(0xc0, &[]));
    assert_eq!(three.read(), Some((0xd0, vec![])), "PINGRESP: what came before it is seen");
    drop(three);
    let mut three = signed_in(port, 4, "three", false, true);
    assert_eq!(delivery(&mut three, 4, "down/a"), (true, ids[2], "2".to_owned()));
    agent.process.kill();
    let mut agent = lab.start();
    let mut three = signed_in(port, 4, "three", false, true);
    let mut five = signed_in(port, 5, "five", false, true);
    assert_eq!(delivery(&mut three, 4, "down/a"), (true, ids[2], "2".to_owned()));
    puback(&mut three, ids[2]);
    for (id, n) in ids.iter().zip(0..) {
        assert_eq!(delivery(&mut five, 5, "down/a"), (true, *id, n.to_string()));
        puback(&mut five, *id);
    }
    let empty = || (agent.sum("modemfleet_inbox_messages", &[]) < 0.5).then_some(());
    until("all of it to be acknowledged", empty);
    // After that all messages are new, and a kill does not repeat acknowledged messages.
    agent.process.kill();
    let agent = lab.start();
    let mut three = signed_in(port, 4, "three", false, true);
    send_down(&lab, &agent, "down/b", &numbers(7..8));
    let (dup, id, payload) = delivery(&mut three, 4, "down/b");
    assert_eq!((dup, payload.as_str()), (false, "7"));
    puback(&mut three, id);
    // A clean start ends the kept session: the next client finds nothing.
    drop(three);
    drop(signed_in(port, 4, "three", true, false));
    let mut three = signed_in(port, 4, "three", false, false);
    assert!(three.is_silent(Duration::from_millis(300)));
}

#[test]
fn a_session_belongs_to_its_user_and_its_expiry_is_kept() {
    let (mut lab, port) = lab(", session_expiry: 2h", "");
    let secret = lab.site.secret("password", "open sesame\n");
    let secret = format!("{{ file: {} }}", secret.display());
    let users = format!("{}\", users: {{ a: {secret}, b: {secret} }}", port.number());
    lab.site.body = lab.site.body.replacen(&format!("{}\"", port.number()), &users, 1);
    let _agent = lab.site.start();
    let port = port.number();
    let ask = |version, user: &str, clean, expiry| {
        let mut peer = MqttPeer::open(port);
        peer.send(&connect(version, "s", clean, expiry, Some((user, "open sesame"))));
        let (first, body) = peer.read().unwrap();
        assert_eq!(first, 0x20);
        (peer, body)
    };
    let (mut held, body) = ask(5, "a", false, u32::MAX);
    assert_eq!(&body[..2], &[0, 0]);
    let expiry = [&[0x11][..], &7200_u32.to_be_bytes()].concat();
    assert!(body.windows(5).any(|bytes| bytes == expiry), "the bound, and not for ever: {body:?}");
    for clean in [false, true] {
        assert_eq!(ask(4, "b", clean, 0).1, [0, 5], "not authorized");
        assert_eq!(ask(5, "b", clean, 60).1[..2], [0, 0x87]);
    }
    // The owner's connection was not closed for them.
    held.send(&packet(0xc0, &[]));
    assert_eq!(held.read(), Some((0xd0, vec![])));
    // With DISCONNECT its owner ends the session, and then any user may have that name.
    held.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]));
    assert_eq!(held.read(), None);
    until("the session to be gone", || (ask(4, "b", false, 0).1 == [0, 0]).then_some(()));
    assert_eq!(ask(4, "b", false, 0).1, [1, 0], "and keep it");
}

#[test]
fn mosquitto_gets_what_it_missed_after_a_kill_in_order_and_once() {
    let (lab, port) = lab("", "");
    let port = port.number();
    let mut agent = lab.start();
    let subscriber = |version: &[&str], count: u32| {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port.to_string(), "-q", "1", "-t", "down/#", "-F", "%p", "-W", "60"]);
        command.args(["-C", &count.to_string(), "-c", "-i", version[1]]).args(version);
        Process::start("mosquitto_sub", &mut command)
    };
    let versions = [["-V", "311"].as_slice(), &["-V", "5", "-x", "3600"]];
    let mut subs: Vec<Process> = versions.iter().map(|version| subscriber(version, 1)).collect();
    let sessions = || agent.sum("modemfleet_inbox_readers", &[("kind", "session")]);
    until("both sessions", || (sessions() > 1.5).then_some(()));
    let ended = |sub: &mut Process| sub.end_within(e2e::PATIENCE).is_some_and(|end| end.success());
    // Until both are subscribed; a client that has ended by then gets the message again later.
    until("both to hear something", || {
        send_down(&lab, &agent, "down/first", &numbers(0..1));
        subs.iter_mut().all(|sub| sub.ended().is_some()).then_some(())
    });
    assert!(subs.iter_mut().all(ended));
    send_down(&lab, &agent, "down/x", &numbers(100..120));
    agent.process.kill();
    let agent = lab.start();
    send_down(&lab, &agent, "down/y", &numbers(120..130));
    let expected = numbers(100..130);
    for version in versions {
        // Messages that arrived as it left may come first.
        let mut heard = Vec::new();
        until("all that it missed", || {
            let mut sub = subscriber(version, 1);
            assert!(ended(&mut sub));
            heard.extend(sub.stdout().into_iter().filter(|line| line != "0"));
            (heard.last() == expected.last()).then_some(())
        });
        heard.dedup();
        assert_eq!(heard, expected, "{version:?}");
    }
    until("nothing to be left", || {
        (agent.sum("modemfleet_inbox_messages", &[]) < 0.5).then_some(())
    });
}

/// A client in Python with a kept session. It reconnects by itself, and prints each payload.
const PAHO: &str = "\
import sys, paho.mqtt.client as m
version = m.MQTTv5 if sys.argv[2] == '5' else m.MQTTv311
c = m.Client('paho' + sys.argv[2], protocol=version, **({} if version == m.MQTTv5 else {'clean_session': False}))
c.on_message = lambda c, u, message: print(message.payload.decode(), flush=True)
c.on_connect = lambda c, u, flags, *more: (print('present', flags['session present'], flush=True), c.subscribe('down/#', 1))
c.reconnect_delay_set(1, 1)
more = {}
if version == m.MQTTv5:
    from paho.mqtt.properties import Properties
    from paho.mqtt.packettypes import PacketTypes
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    more = {'clean_start': False, 'properties': properties}
c.connect('127.0.0.1', int(sys.argv[1]), **more)
c.loop_forever(retry_first_connection=True)
";

#[test]
fn paho_loses_nothing_that_was_stored_over_kills_of_the_agent() {
    let (lab, port) = lab("", "");
    let mut agent = lab.start();
    // Debian's own interpreter: other interpreters do not have the package.
    let clients: Vec<Process> = ["311", "5"]
        .iter()
        .map(|version| {
            let mut python = Command::new("/usr/bin/python3");
            python.args(["-c", PAHO, &port.number().to_string(), version]);
            Process::start("paho", &mut python)
        })
        .collect();
    let heard = |client: &Process, text: &str| client.stdout().iter().any(|line| line == text);
    for client in &clients {
        until("a session", || heard(client, "present 0").then_some(()));
    }
    let mut stored = BTreeSet::new();
    let mut next = 0;
    // The subscription may come after the first message.
    until("both to be subscribed", || {
        send_down(&lab, &agent, "down/first", &["first".to_owned()]);
        clients.iter().all(|client| heard(client, "first")).then_some(())
    });
    for _ in 0..4 {
        let batch = numbers(next..next + 40);
        next += 40;
        send_down(&lab, &agent, "down/x", &batch);
        stored.extend(batch);
        // At once: deliveries and acknowledgements on their way are lost.
        agent.process.kill();
        agent = lab.start();
    }
    let mut again = Vec::new();
    for client in &clients {
        until("all that was stored", || {
            let heard: BTreeSet<String> = client.stdout().into_iter().collect();
            stored.is_subset(&heard).then_some(())
        });
        let lines = client.stdout();
        let numbers: Vec<u32> = lines.iter().filter_map(|line| line.parse().ok()).collect();
        let mut firsts = Vec::new();
        for number in &numbers {
            if !firsts.contains(number) {
                firsts.push(*number);
            }
        }
        assert!(firsts.is_sorted(), "in order at their first arrival: {numbers:?}");
        assert!(heard(client, "present 1"));
        again.push(numbers.len() - firsts.len());
    }
    // At most a window of 32 for each kill.
    assert!(again.iter().all(|again| *again <= 4 * 32), "{again:?} came again");
    eprintln!("of {next} messages {again:?} came again in 4 kills");
}

#[test]
fn a_full_inbox_gives_up_the_oldest_and_tells_those_who_never_confirm() {
    let (lab, port) = lab(", max_bytes: 1MiB", "");
    let agent = lab.start();
    let mut peer = signed_in(port.number(), 4, "never", false, false);
    subscribe(&mut peer, 4, "down/#");
    send_down(&lab, &agent, "down/a", &["first".to_owned()]);
    let cursors = field(&read(&agent, "reader=never"), "cursor");
    let payloads: Vec<String> = (0..120).map(|n| format!("{n:09000}")).collect();
    send_down(&lab, &agent, "down/a", &payloads);
    let full = [("reason", "full")];
    let figures = || {
        let scrape = agent.scrape();
        let dropped = scrape.sum("modemfleet_inbox_dropped_total", &full);
        let (held, bytes) = ("modemfleet_inbox_messages", "modemfleet_inbox_bytes");
        (dropped, scrape.sum(held, &[]), scrape.sum(bytes, &[]))
    };
    // The bound is enforced with the next commit.
    let dropped = until("the oldest to go", || {
        let (dropped, held, bytes) = figures();
        assert!((dropped + held - 121.0).abs() < 0.5, "{dropped} {held}");
        (bytes <= 1_048_576.0 && dropped > 0.5).then_some(dropped)
    });
    assert!(figures().2 > 1_000_000.0, "no more than has to");
    for (method, key) in [("GET", "after"), ("DELETE", "through")] {
        let found = refused(&agent, method, &format!("reader=never&{key}={}", cursors[0]));
        assert_eq!(found, (410, "unknown_cursor".to_owned()));
    }
    let page = read(&agent, "reader=never&limit=1");
    assert!((page["missed"].as_f64().unwrap() - dropped).abs() < 0.5, "{}", page["missed"]);
    // The newest messages are kept, and delivered.
    let last = read(&agent, "reader=late&limit=1000");
    assert_eq!(last["missed"], 0, "a new one misses nothing");
    let (_, id, payload) = delivery(&mut peer, 4, "down/a");
    assert_eq!(payload, "first", "it was in flight before it was given up");
    puback(&mut peer, id);
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_stream_gets_what_comes() {
    let (lab, _port) = lab("", "");
    let folder = lab.site.dir().join("inbox");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("inbox.db"), "no database, but somebody's text".repeat(100))
        .unwrap();
    let agent = lab.start();
    assert!((agent.sum("modemfleet_inbox_corruptions_total", &[]) - 1.0).abs() < 0.5);
    assert!(agent.log().contains("the inbox's file is damaged"), "{}", agent.log());
    let mut kept = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.find(|path| path.to_string_lossy().contains("damaged-")).unwrap();
    let text = std::fs::read_to_string(kept.join("inbox.db")).unwrap();
    assert!(text.starts_with("no database"));
    let stream = stream(&agent);
    until("an event", || {
        send_down(&lab, &agent, "down/a", &["live".to_owned()]);
        let live = |line: &String| line.starts_with("data: ") && line.contains("bGl2ZQ==");
        stream.stdout().iter().any(live).then_some(())
    });
    let reasons = agent.http.get("/readyz").text();
    assert!(!reasons.contains("stored"), "{reasons}");
}

#[test]
fn an_inbox_in_an_impossible_place_is_refused_by_name() {
    let (mut lab, port) = lab("", "");
    // No folder can be made there, now or later, so a retry would be useless.
    let place = lab.site.dir().join("inbox");
    lab.site.body = lab.site.body.replace(&place.display().to_string(), "/dev/full/inbox");
    let mut refused = lab.site.spawn();
    assert!(refused.process.end_within(e2e::PATIENCE).is_some_and(|end| end.code() == Some(1)));
    assert!(refused.log().contains("could not prepare the inbox"), "{}", refused.log());
    drop((refused, port));
}

/// Makes a disk with faults for the inbox's folder alone.
fn disk_of_inbox(lab: &mut Lab) -> Disk {
    let disk = Disk::under(&mut lab.site);
    let folder = lab.site.dir().join("inbox");
    for (name, value) in &mut lab.site.environment {
        if name == "FAULTY_DISK_FOLDER" {
            value.clone_from(&folder);
        }
    }
    disk
}

/// Starts a reader of the live stream.
fn stream(agent: &Agent) -> Process {
    let mut curl = Command::new("curl");
    let url = format!("http://127.0.0.1:{}/api/v1/messages", agent.http.port());
    Process::start("curl", curl.args(["-sN", &url]))
}

#[test]
fn a_disk_that_refuses_stops_nothing_is_told_and_is_made_up_for() {
    let (mut lab, port) = lab("", "");
    let disk = disk_of_inbox(&mut lab);
    let agent = lab.start();
    let mut peer = signed_in(port.number(), 4, "kept", false, false);
    subscribe(&mut peer, 4, "down/#");
    let stream = stream(&agent);
    let heard = |payload: &str| stream.stdout().iter().any(|line| line.contains(payload));
    until("the stream", || {
        send_down(&lab, &agent, "down/a", &["live".to_owned()]);
        let (_, id, _) = delivery(&mut peer, 4, "down/a");
        puback(&mut peer, id);
        heard("bGl2ZQ==").then_some(())
    });
    let refuse = |what: u32| match what {
        0 => disk.is_full(true),
        1 => disk.writes_fail(Some(Fault::Io)),
        _ => disk.writes_fail(Some(Fault::ReadOnly)),
    };
    for (what, base64) in (0..).zip(["cmVmdXNlZDA=", "cmVmdXNlZDE=", "cmVmdXNlZDI="]) {
        refuse(what);
        publish(&lab, "down/a", &[format!("refused{what}")]);
        let (_, id, payload) = delivery(&mut peer, 4, "down/a");
        assert_eq!(payload, format!("refused{what}"), "it comes by the live way");
        puback(&mut peer, id);
        until("the stream to have it", || heard(base64).then_some(()));
        let failed = agent.sum("modemfleet_inbox_dropped_total", &[("reason", "failed")]);
        assert!((failed - f64::from(what) - 1.0).abs() < 0.5, "{what}: {failed}");
        assert!(agent.http.get("/readyz").text().contains("received messages cannot be stored"));
        let health = agent.http.get("/healthz");
        assert!(health.status == 503 && health.text().contains("\"inbox\""), "{}", health.text());
        assert_eq!(agent.http.get("/livez").status, 200, "a restart would free no disk");
        // A reader with a name gets stored messages, and a new client is accepted.
        assert_eq!(read(&agent, "reader=app")["missed"], 0);
        drop(signed_in(port.number(), 4, "passing", true, false));
        disk.is_full(false);
        disk.writes_fail(None);
        send_down(&lab, &agent, "down/b", &[format!("stored{what}")]);
        let (_, id, payload) = delivery(&mut peer, 4, "down/b");
        assert_eq!(payload, format!("stored{what}"));
        puback(&mut peer, id);
        assert!(!agent.http.get("/readyz").text().contains("stored"));
    }
    assert!(agent.sum("modemfleet_inbox_commit_errors_total", &[]) > 2.5);
}

#[test]
fn when_the_disk_is_slower_than_what_comes_the_newest_are_lost_and_counted() {
    let (mut lab, port) = lab("", "");
    let disk = disk_of_inbox(&mut lab);
    let agent = lab.start();
    let mut peer = signed_in(port.number(), 4, "kept", false, false);
    subscribe(&mut peer, 4, "down/#");
    disk.sync_takes(Duration::from_secs(600));
    let slow = || agent.sum("modemfleet_inbox_dropped_total", &[("reason", "slow")]);
    let received = || agent.sum("modemfleet_mqtt_received_total", &[]);
    let mut sent = 0;
    until("some to be lost", || {
        // The broker holds few messages for a slow client, so not more are sent at once.
        publish(&lab, "down/a", &numbers(sent..sent + 50));
        sent += 50;
        until("the modem to hand them on", || (received() > f64::from(sent) - 0.5).then_some(()));
        (slow() > 0.5).then_some(())
    });
    assert_eq!(agent.http.get("/metrics").status, 200, "nothing waits for that disk");
    assert!(peer.is_silent(Duration::from_millis(100)), "nothing is delivered before it is stored");
    disk.sync_takes(Duration::ZERO);
    let kept = f64::from(sent) - slow();
    let stored = || agent.sum("modemfleet_inbox_stored_total", &[]);
    until("the rest to be stored", || (stored() > kept - 0.5).then_some(()));
    assert!((stored() - kept).abs() < 0.5 && slow() < f64::from(sent) - 511.0);
    // The newest messages are missing.
    let mut expected = 0;
    while f64::from(expected) < kept - 0.5 {
        let (_, id, payload) = delivery(&mut peer, 4, "down/a");
        assert_eq!(payload, expected.to_string());
        puback(&mut peer, id);
        expected += 1;
    }
    assert!(peer.is_silent(Duration::from_millis(100)));
}

#[test]
fn a_kill_between_modem_and_inbox_takes_nothing_that_was_stored() {
    let (mut lab, _port) = lab("", "");
    let disk = disk_of_inbox(&mut lab);
    let mut agent = lab.start();
    let (mut stored, mut at_risk) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let safe = numbers(round * 10..round * 10 + 5);
        send_down(&lab, &agent, "down/a", &safe);
        stored.extend(safe);
        // In the middle of the sync of the next messages.
        disk.sync_takes(Duration::from_secs(600));
        let (begun, _) = disk.syncs();
        let risky = numbers(round * 10 + 5..round * 10 + 10);
        publish(&lab, "down/a", &risky);
        at_risk.extend(risky);
        until("a sync to begin", || (disk.syncs().0 > begun).then_some(()));
        agent.process.kill();
        disk.sync_takes(Duration::ZERO);
        agent = lab.start();
    }
    let page = read(&agent, "reader=app&limit=1000");
    let found = field(&page, "payload_base64");
    let decode = |text: &String| {
        use base64::Engine as _;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
    };
    let found: Vec<String> = found.iter().map(decode).collect();
    let lost: Vec<_> = stored.iter().filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "{lost:?} were stored");
    assert!(found.iter().all(|number| stored.contains(number) || at_risk.contains(number)));
    let once: BTreeSet<_> = found.iter().collect();
    assert_eq!(once.len(), found.len(), "each once");
}
