//! Attacks on the HTTP server from outside: connections, descriptors and memory remain for other
//! clients.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e::mqtt_peer::{MqttPeer, connect};
use e2e::{Agent, Http, Lab, Stopwatch, modemfleet, pause, read_answer, until};
use serde_json::Value;

/// Longer than an answer takes on a busy machine, and shorter than each time-out of the server.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A head without its end.
const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-a: b\r\n";

/// Unfinished requests, each of which is repeated as soon as it is cut off.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(http: Http, count: usize, half: &'static [u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut all: Vec<Option<TcpStream>> = (0..count).map(|_| begun(http, half)).collect();
        let is_over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for one in &mut all {
                    if one.as_mut().is_none_or(is_closed) {
                        *one = begun(http, half);
                    }
                }
                pause(Duration::from_millis(20));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Opens a connection and sends the beginning of a request. The server may have closed it already.
fn begun(http: Http, half: &[u8]) -> Option<TcpStream> {
    let mut stream = http.connect().ok()?;
    stream.write_all(half).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

/// Reports whether the peer has closed the connection. Its answers are skipped.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 512]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Returns the status of an answer on the unix socket.
fn by_socket(socket: &Path) -> Option<u16> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(AT_ONCE)).ok()?;
    let request = "GET /api/v1/modems HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.get(9..12)?.parse().ok()
}

/// Returns the agent's peak memory so far, in KiB (proc(5)).
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Makes a program that runs the agent with few descriptors.
fn with_descriptors(lab: &mut Lab, count: u32) {
    let program = lab.site.dir().join("few");
    let text = format!("#!/bin/sh\nulimit -n {count}\nexec '{}' \"$@\"\n", modemfleet().display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    lab.site.program = Some(program);
}

/// Checks that all other clients are served, and that a modem that is plugged in serves.
#[track_caller]
fn all_others_are_served(lab: &Lab, agent: &Agent, socket: &Path) {
    for _ in 0..5 {
        for path in ["/healthz", "/livez", "/metrics"] {
            let start = Stopwatch::start();
            let answer = agent.http.try_ask("GET", path, &[], b"");
            assert_eq!(answer.map(|answer| answer.status), Some(200), "{path}");
            assert!(start.elapsed() < AT_ONCE, "{path}: {:?}", start.elapsed());
        }
        assert_eq!(by_socket(socket), Some(200));
    }
    let _sim = lab.plug_in(0, &[]);
    agent.connected("m0", "s");
    agent.publish("topic=t", b"x");
    agent.drained();
}

fn refused(agent: &Agent) -> f64 {
    agent.sum("modemfleet_http_refused_total", &[("reason", "connections")])
}

#[test]
fn unfinished_requests_keep_no_one_out_and_leave_descriptors_to_modems() {
    for half in [
        HALF,
        b"POST /api/v1/publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ] {
        let mut lab = Lab::without_modems(1);
        let socket = lab.site.dir().join("api.sock");
        lab.site.http = format!(", socket: {}", socket.display());
        with_descriptors(&mut lab, 256);
        let agent = lab.site.start();
        let flood = Flood::start(agent.http, 300, half);
        all_others_are_served(&lab, &agent, &socket);
        assert!(refused(&agent) > 100.0);
        until("its cause in the log", || {
            agent.log().contains("more HTTP connections than").then_some(())
        });
        drop(flood);
    }
}

#[test]
fn idle_and_unfinished_connections_of_a_socket_keep_no_one_out() {
    let mut lab = Lab::without_modems(1);
    let [main, publish] = ["api.sock", "publish.sock"].map(|name| lab.site.dir().join(name));
    lab.site.http = format!(", socket: {}, publish_socket: {}", main.display(), publish.display());
    let agent = lab.site.start();
    let whole = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (socket, is_idle) in [(&main, true), (&main, false), (&publish, true), (&publish, false)] {
        let begun = |_| {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(AT_ONCE)).unwrap();
            stream.write_all(if is_idle { whole } else { HALF }).unwrap();
            assert!(!is_idle || stream.read(&mut [0; 512]).unwrap() > 0);
            stream
        };
        let all: Vec<UnixStream> = (0..300).map(begun).collect();
        for path in ["/healthz", "/api/v1/modems"] {
            let answer = agent.http.try_ask("GET", path, &[], b"");
            assert_eq!(answer.map(|answer| answer.status), Some(200), "{path}, {socket:?}");
        }
        assert_eq!(by_socket(&main), Some(200), "{} on {socket:?}", all.len());
    }
}

#[test]
fn a_head_has_its_time_and_a_pause_between_requests_or_events_is_none() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut half = begun(agent.http, HALF).unwrap();
    let mut silent = begun(agent.http, b"").unwrap();
    let mut idle = agent.http.connect().unwrap();
    idle.write_all(ask).unwrap();
    assert_eq!(read_answer(&mut idle).unwrap().status, 200);
    let stream = "GET /api/v1/messages HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = begun(agent.http, stream.as_bytes()).unwrap();
    let start = Stopwatch::start();
    until("both to be cut off", || {
        // A head that arrives byte by byte does not count as progress.
        drop(half.write_all(b"X: y\r\n"));
        (is_closed(&mut half) && is_closed(&mut silent)).then_some(())
    });
    assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(!is_closed(&mut stream), "nothing happened, which is no fault of its reader");
    idle.write_all(ask).unwrap();
    assert_eq!(read_answer(&mut idle).unwrap().status, 200);
}

#[test]
fn a_head_is_at_most_16_kib() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    for (bytes, status) in [(12_000, 200), (20_000, 431)] {
        let mut stream = agent.http.connect().unwrap();
        let value = "b".repeat(bytes);
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-a: {value}\r\n\r\n");
        drop(stream.write_all(head.as_bytes()));
        assert_eq!(read_answer(&mut stream).map(|answer| answer.status), Some(status), "{bytes}");
    }
}

/// Returns the number of all messages of the queue, read page by page.
fn listed(agent: &Agent) -> usize {
    let (mut count, mut after) = (0, 0);
    loop {
        let path = format!("/api/v1/queue/messages?payload=true&after={after}");
        let answer = agent.http.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page: Value = serde_json::from_slice(&answer.body).unwrap();
        let messages = page["messages"].as_array().unwrap();
        assert!(answer.body.len() < 2_000_000, "{}", answer.body.len());
        count += messages.len();
        match page["next"].as_i64() {
            Some(next) => after = next,
            None => return count,
        }
    }
}

#[test]
fn answers_that_are_not_read_take_bounded_memory() {
    const MESSAGES: usize = 300;
    let mut lab = Lab::without_modems(1);
    lab.site.queue = ", fsync: off".to_owned();
    let agent = lab.site.start();
    for _ in 0..MESSAGES {
        agent.publish("topic=t", &[b'x'; 10_240]);
    }
    assert_eq!(listed(&agent), MESSAGES);
    let before = peak(&agent);
    let ask = b"GET /api/v1/queue/messages?payload=true HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let unread: Vec<_> = (0..40).map(|_| begun(agent.http, ask).unwrap()).collect();
    // Each of them is processed before this request, or rejected.
    until("a page for who reads", || {
        let answer = agent.http.get("/api/v1/queue/messages?payload=true");
        (answer.status == 200).then_some(())
    });
    assert_eq!(agent.http.get("/healthz").status, 200);
    let grown = peak(&agent) - before;
    assert!(grown < 64 * 1024, "{grown} KiB for {} answers", unread.len());
    assert!(refused(&agent) > 10.0);
}

#[test]
fn streams_take_no_place_from_who_publishes() {
    let mut lab = Lab::without_modems(1);
    let port = e2e::Port::free();
    lab.site.body +=
        &format!("hand_in: {{ mqtt: {{ listen: \"127.0.0.1:{}\" }} }}\n", port.number());
    let agent = lab.site.start();
    let stream = b"GET /api/v1/messages HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let readers: Vec<_> = (0..520).map(|_| begun(agent.http, stream)).collect();
    agent.publish("topic=t", b"x");
    let mut client = MqttPeer::open(port.number());
    client.send(&connect(4, "plc"));
    assert_eq!(client.read(), Some((0x20, vec![0, 0])), "{} readers", readers.len());
}

#[test]
fn if_all_connections_wait_for_answers_a_few_are_kept_for_who_watches() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let devices: Value = serde_json::from_slice(&agent.http.get("/api/v1/devices").body).unwrap();
    let version = devices["version"].as_str().unwrap();
    let ask = format!("GET /api/v1/devices?after={version} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let waiting: Vec<_> = (0..208).map(|_| begun(agent.http, ask.as_bytes()).unwrap()).collect();
    let answer = until("the places to be taken", || {
        let answer = agent.http.get("/api/v1/modems");
        (answer.status != 200).then_some(answer)
    });
    assert!(answer.status == 503 && answer.text().contains("too_many"), "{}", answer.text());
    for path in ["/healthz", "/livez", "/metrics"] {
        assert_eq!(agent.http.get(path).status, 200, "{path}");
    }
    drop(waiting);
    until("places", || (agent.http.get("/api/v1/modems").status == 200).then_some(()));
}
