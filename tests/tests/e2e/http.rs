//! The HTTP interface: each wrong call and its answer, the format of metrics, health.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::{Agent, Answer, Lab, Sim, Site, Stopwatch, read_answer, until};

/// Well below the 30 s after which the server gives a request up, also on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Checks the shape of an error, and returns its code.
fn word(answer: &Answer) -> String {
    let json: serde_json::Value = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    let kind = answer.header("content-type");
    assert!(kind.is_some_and(|kind| kind.starts_with("application/json")), "{kind:?}");
    let message = json["message"].as_str().unwrap_or_default();
    assert!(message.len() > 5, "no sentence: {json}");
    assert_eq!(json.as_object().map(|object| object.len()), Some(2), "{json}");
    json["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_wrong_call_has_its_answer() {
    let mut lab = Lab::without_modems(1);
    lab.site.body += "routes: [ { topic: \"known/#\", to: [m0/s] } ]\n";
    let agent = lab.site.start();
    let long = format!("topic={}", "x".repeat(1_025));
    for (query, status, code) in [
        ("", 400, "topic"),
        ("topic=", 400, "topic"),
        ("topic=known/%23", 400, "topic"),
        ("topic=known/%2B/a", 400, "topic"),
        ("topic=a%00b", 400, "topic"),
        ("topic=a%0D%0AAT", 400, "topic"),
        (long.as_str(), 400, "topic"),
        ("topic=known/a&qos=3", 400, "qos"),
        ("topic=known/a&qos=-1", 400, "qos"),
        ("topic=known/a&qos=", 400, "qos"),
        ("topic=known/a&retain=1", 400, "retain"),
        ("topic=known/a&ttl=5", 400, "ttl"),
        ("topic=known/a&ttl=0s", 400, "ttl"),
        ("topic=known/a&ttl=-1s", 400, "ttl"),
        ("topic=known/a&priority=10", 400, "priority"),
        ("topic=known/a&session=m0", 400, "session"),
        ("topic=known/a&session=", 400, "session"),
        ("topic=known/a&colour=red", 400, "parameter"),
        ("topic=known/a&topic=known/b", 400, "parameter"),
        ("topic=%ff", 400, "parameter"),
        ("topic=%4", 400, "parameter"),
        ("topic=known/a&session=m0/t", 404, "unknown_session"),
        ("topic=known/a&session=m1/s", 404, "unknown_session"),
        ("topic=unknown", 422, "no_route"),
    ] {
        let answer = agent.http.publish(query, b"x");
        // `--nocapture` shows a caller's view, as a table.
        println!("| POST publish?{query:.40} | {} | {} |", answer.status, answer.text());
        assert_eq!((answer.status, word(&answer).as_str()), (status, code), "{query}");
    }
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/api/v1/nowhere", 404, "not_found"),
        ("GET", "/api/v1/publish?topic=known/a", 405, "method_not_allowed"),
        ("PUT", "/api/v1/publish?topic=known/a", 405, "method_not_allowed"),
        ("POST", "/metrics", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/modems", 405, "method_not_allowed"),
    ] {
        let answer = agent.http.ask(method, path, &[], b"");
        println!("| {method} {path} | {} | {} |", answer.status, answer.text());
        assert_eq!((answer.status, word(&answer).as_str()), (status, code), "{method} {path}");
    }
    for key in ["", &"k".repeat(257)] {
        let headers = [("Idempotency-Key", key)];
        let answer = agent.http.ask("POST", "/api/v1/publish?topic=known/a", &headers, b"x");
        assert_eq!((answer.status, word(&answer).as_str()), (400, "idempotency_key"), "{key}");
    }
    assert_eq!(agent.queued(), 0, "nothing of all this was taken");
    assert_eq!(
        agent.http.publish("topic=known/a&session=m0/s&ttl=90s&priority=9", b"").status,
        202
    );
}

#[test]
fn devices_are_listed_and_a_caller_can_wait_for_news() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let ask = |query: &str| agent.http.get(&format!("/api/v1/devices{query}"));
    let answer: serde_json::Value = serde_json::from_slice(&ask("").body).unwrap();
    assert!(answer["devices"].is_array() && answer["version"].is_string(), "{answer}");
    // A caller that knows another state than the present one need not wait.
    assert_eq!(ask("?after=0").status, 200);
    let wrong = ask("?before=0");
    assert_eq!((wrong.status, word(&wrong).as_str()), (400, "unknown_parameter"));
}

#[test]
fn a_payload_has_10240_bytes_and_not_one_more() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    assert_eq!(agent.http.publish("topic=t", &[0; 10_240]).status, 202);
    let start = Stopwatch::start();
    for size in [10_241, 10_242, 1_000_000] {
        let answer = agent.http.publish("topic=t", &vec![0; size]);
        assert_eq!((answer.status, word(&answer).as_str()), (413, "too_large"), "{size}");
    }
    // A body without an announced length.
    let mut stream = agent.http.connect().unwrap();
    let head = "POST /api/v1/publish?topic=t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[0; 0x1000], b"\r\n"].concat();
    for _ in 0..4 {
        // The server may cut it off in the middle.
        drop(stream.write_all(&chunk));
    }
    let answer = read_answer(&mut stream).expect("an answer");
    assert_eq!((answer.status, word(&answer).as_str()), (413, "too_large"));
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(agent.queued(), 1);
}

/// Sends a head that announces a body of this length, without the body, and returns the answer.
fn claim(agent: &Agent, path: &str, length: u64) -> Answer {
    let mut stream = agent.http.connect().unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
    read_answer(&mut stream).expect("an answer")
}

#[test]
fn what_is_announced_as_too_large_is_refused_at_once() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let start = Stopwatch::start();
    for (path, most) in [
        ("/api/v1/publish?topic=t", "a payload has at most 10240 bytes"),
        ("/api/v1/reload/plan?name=x", "a fleet file has at most 1048576 bytes"),
        ("/api/v1/at", "a command and its data have at most 24576 bytes"),
    ] {
        let answer = claim(&agent, path, 1 << 30);
        assert_eq!((answer.status, word(&answer).as_str()), (413, "too_large"));
        let text = answer.text();
        assert!(text.contains(most), "{path}: {text}");
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_token_is_asked_for_where_one_is_configured() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("token", "s3cret-token\n");
    let socket = lab.site.dir().join("api.sock");
    lab.site.http =
        format!(", token: {{ file: {} }}, socket: {}", token.display(), socket.display());
    let agent = lab.site.start();
    let publish = "/api/v1/publish?topic=t";
    for shown in [
        None,
        Some("Bearer wrong"),
        Some("Bearer s3cret-token-and-more"),
        Some("Bearer"),
        Some("Basic s3cret-token"),
        Some("s3cret-token"),
    ] {
        let headers: Vec<_> = shown.map(|shown| ("Authorization", shown)).into_iter().collect();
        for (method, path) in [("POST", publish), ("GET", "/api/v1/modems")] {
            let answer = agent.http.ask(method, path, &headers, b"x");
            let found = (answer.status, word(&answer));
            assert_eq!(found, (401, "unauthorized".to_owned()), "{shown:?}");
        }
    }
    let headers = [("Authorization", "Bearer s3cret-token")];
    assert_eq!(agent.http.ask("POST", publish, &headers, b"x").status, 202);
    assert_eq!(agent.http.ask("GET", "/api/v1/modems", &headers, b"").status, 200);
    for open in ["/metrics", "/healthz"] {
        assert_eq!(agent.http.get(open).status, 200, "{open}");
    }
    assert_eq!(agent.http.get("/readyz").status, 503);
    // On the socket the file mode decides.
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}: not for everybody");
    let mut stream = UnixStream::connect(&socket).unwrap();
    let request = format!(
        "POST {publish} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

fn fill(agent: &Agent) -> (usize, Answer) {
    for taken in 0..500 {
        let answer = agent.http.publish("topic=t", &[0; 10_000]);
        if answer.status != 202 || answer.text().contains("dropped") {
            return (taken, answer);
        }
    }
    panic!("5 MB fit into 1 MiB");
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let mut lab = Lab::without_modems(1);
    lab.site.queue = ", max_bytes: 1MiB".to_owned();
    let agent = lab.site.start();
    let (taken, answer) = fill(&agent);
    assert_eq!((answer.status, word(&answer).as_str()), (429, "full"));
    assert!((50..=104).contains(&taken), "{taken} messages of 10 kB in 1 MiB");
    assert_eq!(agent.queued(), taken);
    assert!(agent.sum("modemfleet_queue_bytes", &[]) <= 1_048_576.0);
    // Accepted messages still go out, and then there is room again.
    let _sim = lab.plug_in(0, &[]);
    agent.drained();
    assert_eq!(lab.subscriber.wait(taken).len(), taken);
    agent.publish("topic=t", b"room");
}

#[test]
fn a_full_queue_drops_where_it_is_told_to() {
    let mut lab = Lab::without_modems(1);
    lab.site.queue = ", max_bytes: 1MiB, when_full: drop_newest".to_owned();
    let agent = lab.site.start();
    let (taken, answer) = fill(&agent);
    assert_eq!(answer.status, 202);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["dropped"], true, "{json}");
    assert_eq!(agent.queued(), taken);
    assert_eq!(agent.sum("modemfleet_queue_dropped_total", &[("reason", "full")]), 1.0);
}

#[test]
fn a_slow_client_holds_up_nobody() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = agent.http.connect().unwrap();
            let head =
                "POST /api/v1/publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n0";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let start = Stopwatch::start();
    for _ in 0..10 {
        agent.publish("topic=t", b"x");
        assert_eq!(agent.http.get("/metrics").status, 200);
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(agent.queued(), 10, "half a body is no message");
    drop(slow);
    assert_eq!(agent.http.get("/healthz").status, 200);
}

#[test]
fn health_and_readiness_follow_the_sessions() {
    let mut lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let ready = || {
        let answer = agent.http.get("/readyz");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, json["reasons"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(ready(), (503, 1));
    lab.sims.push(lab.plug_in(0, &[]));
    agent.connected("m0", "s");
    assert_eq!(ready(), (200, 0));
    lab.sims.clear();
    until("the session to go", || (ready() == (503, 1)).then_some(()));
    assert_eq!(agent.http.get("/healthz").status, 200, "a missing modem is no fault of the agent");
}

#[test]
fn modems_are_listed_with_what_is_known() {
    let mut lab = Lab::without_modems(2);
    lab.sims.push(lab.plug_in(0, &[]));
    let agent = lab.start();
    let json: serde_json::Value =
        serde_json::from_slice(&agent.http.get("/api/v1/modems").body).unwrap();
    let modems = json["modems"].as_array().unwrap();
    let names: Vec<_> = modems.iter().map(|modem| modem["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["m0", "m1"], "in the order of the file");
    assert_eq!(modems[0]["state"], "serving");
    assert_eq!(modems[0]["identified"]["profile"], "sim7600");
    assert_eq!(modems[0]["sessions"][0]["connected"], true);
    assert_eq!(modems[1]["state"], "absent");
    assert!(modems[1].get("identified").is_none(), "what is not known is absent: {}", modems[1]);
    assert_eq!(modems[1]["sessions"][0]["connected"], false);
}

/// The families of the contract that exist from the start.
const AT_START: &[(&str, &str)] = &[
    ("build_info", "gauge"),
    ("modem_present", "gauge"),
    ("modem_up", "gauge"),
    ("modem_state", "gauge"),
    ("detection_duration_seconds", "histogram"),
    ("ready_duration_seconds", "histogram"),
    ("hotplug_events_total", "counter"),
    ("at_commands_total", "counter"),
    ("at_urcs_total", "counter"),
    ("at_desyncs_total", "counter"),
    ("mqtt_connected", "gauge"),
    ("mqtt_connects_total", "counter"),
    ("mqtt_disconnects_total", "counter"),
    ("mqtt_received_total", "counter"),
    ("received_damaged_total", "counter"),
    ("queue_messages", "gauge"),
    ("queue_bytes", "gauge"),
    ("queue_dropped_total", "counter"),
];

/// The families that come with a modem in service and its first message.
const IN_SERVICE: &[(&str, &str)] = &[
    ("modem_info", "gauge"),
    ("registered", "gauge"),
    ("signal_rsrp_dbm", "gauge"),
    ("signal_rsrq_db", "gauge"),
    ("signal_rssi_dbm", "gauge"),
    ("modem_temperature_celsius", "gauge"),
    ("modem_last_detection_seconds", "gauge"),
    ("modem_last_ready_seconds", "gauge"),
    ("at_command_duration_seconds", "histogram"),
    ("mqtt_publishes_total", "counter"),
    ("mqtt_publish_duration_seconds", "histogram"),
    ("mqtt_last_ack_timestamp_seconds", "gauge"),
];

fn has(agent: &Agent, families: &[(&str, &str)]) {
    let scrape = agent.scrape();
    for (name, kind) in families {
        let found = scrape.types.get(&format!("modemfleet_{name}")).map(String::as_str);
        assert_eq!(found, Some(*kind), "{name}");
    }
}

#[test]
fn metrics_have_the_names_of_the_contract_and_no_unknown_values() {
    let mut lab = Lab::without_modems(1);
    lab.site.body = lab.site.body.replace("match:", "poll: 1s, match:");
    let agent = lab.site.start();
    has(&agent, AT_START);
    let text = agent.http.get("/metrics");
    let kind = text.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    // A modem that is not plugged in has no such metrics.
    let scrape = agent.scrape();
    for (name, _) in IN_SERVICE {
        assert_eq!(scrape.find(&format!("modemfleet_{name}"), &[]).count(), 0, "{name}");
    }
    assert_eq!(scrape.find("modemfleet_queue_oldest_timestamp_seconds", &[]).count(), 0);
    for (name, labels, values) in [
        ("at_commands_total", "command", &["basic", "status", "setup", "prompt", "publish"][..]),
        ("at_commands_total", "result", &["ok", "error", "timeout"]),
        ("mqtt_connects_total", "result", &["ok", "error"]),
        ("mqtt_disconnects_total", "reason", &["broker", "network", "agent", "unplug"]),
        ("hotplug_events_total", "action", &["add", "remove"]),
        ("queue_dropped_total", "reason", &["age", "damaged", "expired", "full", "purged"]),
        (
            "modem_state",
            "state",
            &["absent", "identifying", "sim", "searching", "serving", "recovering", "failed"],
        ),
    ] {
        let name = format!("modemfleet_{name}");
        let found: BTreeSet<_> =
            scrape.find(&name, &[]).map(|sample| sample.labels[labels].as_str()).collect();
        assert_eq!(found, values.iter().copied().collect(), "{name} starts at 0 for each");
    }

    lab.sims.push(lab.plug_in(0, &[]));
    agent.connected("m0", "s");
    agent.publish("topic=t", b"x");
    agent.drained();
    until("the first poll", || {
        (agent.scrape().find("modemfleet_modem_temperature_celsius", &[]).count() > 0).then_some(())
    });
    has(&agent, IN_SERVICE);
    let scrape = agent.scrape();
    let rats: BTreeSet<_> = scrape
        .samples
        .iter()
        .filter(|sample| sample.name.starts_with("modemfleet_signal_"))
        .map(|sample| sample.labels["rat"].as_str())
        .collect();
    assert_eq!(rats, BTreeSet::from(["lte"]), "no series for what the modem does not use");
    assert!((scrape.sum("modemfleet_signal_rsrp_dbm", &[("rat", "lte")]) + 85.0).abs() < 0.1);
    assert_eq!(scrape.sum("modemfleet_modem_state", &[("modem", "m0")]), 1.0, "one state");
    let foreign: Vec<_> =
        scrape.types.keys().filter(|name| !name.starts_with("modemfleet_")).collect();
    assert!(foreign.iter().all(|name| name.starts_with("process_")), "{foreign:?}");

    // After the unplug these metrics are gone, too.
    lab.sims.clear();
    let absent = [("modem", "m0"), ("state", "absent")];
    until("m0 to go", || (agent.sum("modemfleet_modem_state", &absent) > 0.5).then_some(()));
    let scrape = agent.scrape();
    for name in ["signal_rsrp_dbm", "modem_temperature_celsius", "registered", "modem_info"] {
        assert_eq!(scrape.find(&format!("modemfleet_{name}"), &[]).count(), 0, "{name}");
    }
    assert_eq!(scrape.sum("modemfleet_modem_up", &[]), 0.0);
}

#[test]
fn a_modem_adds_at_most_150_series_with_one_session_and_220_with_two() {
    let broker = e2e::Mosquitto::open();
    for (sessions, limit) in
        [("{ s: { broker: b } }", 150), ("{ s: { broker: b }, t: { broker: b } }", 220)]
    {
        let mut site = Site::new();
        // The model with the most series: two radio technologies at a time.
        let dir = site.dir().join("sim");
        let sim = Sim::of_model("sim8200", &dir, 1, &broker.address(), &[]);
        site.body = format!(
            "brokers: {{ b: {{ url: \"mqtt://h\" }} }}\nmodems: {{ m: {{ match: {{ port: {} }}, poll: 1s, budget: {{ bytes: 1GB }}, sessions: {sessions} }} }}\n",
            sim.tty(0).display()
        );
        let agent = site.start();
        agent.connected("m", "s");
        for session in ["s", "t"].iter().take(if limit == 150 { 1 } else { 2 }) {
            agent.connected("m", session);
            for qos in 0..3 {
                agent.publish(&format!("topic=t&qos={qos}&session=m/{session}"), b"x");
            }
        }
        agent.drained();
        until("both radios", || {
            let rsrp = "modemfleet_signal_rsrp_dbm";
            (agent.scrape().find(rsrp, &[]).count() == 2).then_some(())
        });
        let scrape = agent.scrape();
        // Only the ratio of New Radio is certainly in decibels; that of LTE has a unit of the
        // modem's own.
        let ratio = scrape.find("modemfleet_signal_sinr_db", &[]).map(|s| s.labels["rat"].as_str());
        assert_eq!(ratio.collect::<Vec<_>>(), ["nr"]);
        let series = scrape.samples.iter().filter(|s| s.has(&[("modem", "m")])).count();
        assert!(series <= limit, "{series} series, {limit} are allowed");
        assert!(series > 60, "{series}: this counts something else");
        let hidden = ["861234", "8986"];
        let told: Vec<_> = scrape
            .samples
            .iter()
            .flat_map(|sample| sample.labels.values())
            .filter(|value| hidden.iter().any(|hidden| value.contains(hidden)))
            .collect();
        assert!(told.is_empty(), "no IMEI and no ICCID in a label: {told:?}");
    }
}
