//! The gate of the API: the limits of foreign web pages in a browser, and the names under which it
//! answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use e2e::{Agent, Answer, Browser, Lab, Port, until};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-that-is-long-enough";

/// Returns the status and the code of an error.
fn word(answer: &Answer) -> (u16, String) {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, json["error"].as_str().unwrap_or_default().to_owned())
}

fn refused(agent: &Agent, reason: &str) -> f64 {
    agent.sum("modemfleet_http_refused_total", &[("reason", reason)])
}

/// Serves an empty page for every path, until the test ends.
fn empty_page() -> Port {
    let port = Port::free();
    let listener = TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(say_little(stream));
        }
    });
    port
}

fn say_little(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let page = "<!doctype html><title>elsewhere</title><p>elsewhere";
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
    )
}

/// Forwards bytes to a port, as `ssh -L` and a proxy that changes no header do.
fn forwarded(to: u16) -> Port {
    let port = Port::free();
    let listener = TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
            for (mut from, mut into) in [(near, far), back] {
                thread::spawn(move || {
                    drop(io::copy(&mut from, &mut into));
                    drop(into.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    port
}

/// Opens a page of another origin, makes it post a form to the agent, and returns the text of the
/// next page.
fn form(browser: &Browser, page: &Port, target: &str) -> String {
    browser.open(&format!("http://evil.test:{}/", page.number()));
    let script = "const form = document.createElement('form'); form.method = 'POST'; form.enctype = 'text/plain'; \
                  form.action = TARGET; document.body.append(form); form.submit()";
    let _ = browser.script(&script.replace("TARGET", &format!("'{target}'")));
    until("the answer to the form", || Some(browser.text()).filter(|text| text.contains('{')))
}

#[test]
fn a_page_of_another_origin_does_nothing_by_form_or_fetch_and_reads_nothing_by_a_rebound_name() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    agent.publish("topic=t", b"the payload of a message that waits");
    let (browser, page) = (Browser::start(800, 600), empty_page());
    let url = format!("http://127.0.0.1:{}/api/v1", lab.site.port());
    for (count, path) in [
        (1.0, "/publish?topic=t"),
        (2.0, "/queue/purge?all=true"),
        (3.0, "/reload"),
        (4.0, "/reload/plan"),
    ] {
        let shown = form(&browser, &page, &format!("{url}{path}"));
        assert!(shown.contains("foreign_origin"), "{path}: {shown}");
        assert_eq!((refused(&agent, "foreign_origin"), agent.queued()), (count, 1), "{path}");
    }
    browser.open(&format!("http://evil.test:{}/", page.number()));
    let fetch = |method: &str, path: &str| {
        let script = format!(
            "return fetch('{url}{path}', {{ method: '{method}', mode: 'no-cors' }}).then(r => r.type)"
        );
        browser.script(&script)
    };
    // The page does not see the answer to a fetch.
    for (count, method, path) in [
        (5.0, "POST", "/publish?topic=t"),
        (6.0, "POST", "/queue/purge?all=true"),
        (7.0, "GET", "/doctor"),
        (8.0, "GET", "/inbox?reader=evil"),
    ] {
        assert_eq!(fetch(method, path), json!("opaque"), "{path}");
        assert_eq!((refused(&agent, "foreign_origin"), agent.queued()), (count, 1), "{path}");
    }
    assert_eq!(agent.sum("modemfleet_config_reloads_total", &[]), 0.0);
    // The page's own name now resolves to this machine, so the agent is of the page's origin.
    let rebound = format!("http://evil.test:{}", lab.site.port());
    for path in ["/api/v1/queue/messages?payload=true", "/api/v1/modems", "/"] {
        browser.open(&format!("{rebound}{path}"));
        let shown = browser.text();
        assert!(shown.contains("unknown_host"), "{path}: {shown}");
    }
    browser.open(&format!("{rebound}/metrics"));
    let script = "return fetch('/api/v1/publish?topic=t', { method: 'POST' }).then(r => r.status)";
    assert_eq!(browser.script(script), json!(421));
    assert_eq!(agent.queued(), 1);
}

#[test]
fn credentials_that_a_browser_keeps_serve_no_page_of_another_origin() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("token", TOKEN);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let agent = lab.site.start();
    let (browser, page) = (Browser::start(800, 600), empty_page());
    let here = format!("127.0.0.1:{}", lab.site.port());
    browser.open(&format!("http://gw:{TOKEN}@{here}/"));
    until("the page", || browser.text().contains("1 of 1 modem needs attention").then_some(()));
    let shown = form(&browser, &page, &format!("http://{here}/api/v1/publish?topic=t"));
    assert!(shown.contains("foreign_origin"), "{shown}");
    assert_eq!(agent.queued(), 0);
    // The browser does have the credentials: a user who types the address is not asked for them.
    browser.open(&format!("http://{here}/api/v1/modems"));
    assert!(browser.text().contains("\"modems\""), "{}", browser.text());
}

#[test]
fn the_status_page_works_through_a_tunnel_and_behind_a_proxy() {
    let mut lab = Lab::without_modems(1);
    lab.site.http = ", hosts: [gw.test]".to_owned();
    let agent = lab.site.start();
    let (browser, tunnel) = (Browser::start(800, 600), forwarded(lab.site.port()));
    for (count, name) in (1..).zip(["localhost", "127.0.0.1", "gw.test"]) {
        browser.open(&format!("http://{name}:{}/", tunnel.number()));
        until(name, || browser.text().contains("1 of 1 modem needs attention").then_some(()));
        // The browser trusts plain HTTP only under `localhost`. Under other names it sends only
        // `Origin`.
        let script =
            "return fetch('/api/v1/publish?topic=t', { method: 'POST' }).then(r => r.status)";
        assert_eq!(browser.script(script), json!(202), "{name}");
        assert_eq!(agent.queued(), count);
        assert_eq!(browser.console(), Vec::<String>::new(), "{name}");
    }
    browser.open(&format!("http://other.test:{}/", tunnel.number()));
    assert!(browser.text().contains("unknown_host"), "{}", browser.text());
}

/// Returns headers that a browser or another program sends, and whether they come from a foreign
/// page.
fn pages(host: &str) -> Vec<(String, bool)> {
    let cases: [(&[&str], bool); 17] = [
        (&[], false),
        (&["Sec-Fetch-Site: same-origin"], false),
        (&["Sec-Fetch-Site: none"], false),
        (&["Sec-Fetch-Site: cross-site"], true),
        (&["Sec-Fetch-Site: same-site"], true),
        (&["sec-fetch-site: cross-site", "Origin: http://HOST"], true),
        (&["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], true),
        (&["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-origin"], true),
        (&["Sec-Fetch-Site: \u{e9}"], true),
        (&["Sec-Fetch-Site: same-origin", "Origin: null"], false),
        (&["Origin: http://HOST"], false),
        (&["Origin: https://HOST"], false),
        (&["Origin: http://evil.example"], true),
        (&["Origin: http://127.0.0.1:1"], true),
        (&["Origin: null"], true),
        (&["Origin: http://HOST", "Origin: http://HOST"], true),
        (&["Origin: "], true),
    ];
    let head = |lines: &[&str]| {
        lines.iter().map(|line| format!("\r\n{}", line.replace("HOST", host))).collect::<String>()
    };
    cases.iter().map(|(lines, foreign)| (head(lines), *foreign)).collect()
}

#[test]
fn what_a_foreign_page_sends_is_refused_before_any_token_and_with_it() {
    for token in [None, Some(TOKEN)] {
        let mut lab = Lab::without_modems(1);
        let socket = lab.site.dir().join("api.sock");
        lab.site.http = format!(", socket: {}", socket.display());
        if let Some(token) = token {
            let token = lab.site.secret("token", token);
            lab.site.http += &format!(", token: {{ file: {} }}", token.display());
        }
        let agent = lab.site.start();
        let host = format!("localhost:{}", lab.site.port());
        // "any:" and the token.
        let basic = "\r\nAuthorization: Basic YW55OmEtdG9rZW4tdGhhdC1pcy1sb25nLWVub3VnaA==";
        let bearer = format!("\r\nAuthorization: Bearer {TOKEN}");
        let mut foreign = 0;
        for (page, is_foreign) in pages(&host) {
            for shown in ["", basic, &bearer] {
                for path in [
                    "POST /api/v1/publish?topic=t",
                    "POST /api/v1/nowhere",
                    "DELETE /api/v1/inbox?reader=a&through=b",
                    "PUT /api/v1/log",
                    "POST /metrics",
                    "GET /api/v1/doctor",
                    "GET /api/v1/inbox?reader=a",
                    "GET /api/v1/at?modem=m7",
                ] {
                    let head = format!(
                        "{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0{shown}{page}"
                    );
                    let answer = agent.http.say(&head);
                    let is_refused = answer.status == 403;
                    assert_eq!(is_refused, is_foreign, "{head}: {}", answer.text());
                    foreign += usize::from(is_foreign);
                }
            }
            // Reading changes nothing, and a page cannot see the answer.
            let answer = agent.http.say(&format!("GET /healthz HTTP/1.1\r\nHost: {host}{page}"));
            assert_eq!(answer.status, 200, "{page}");
            let answer = agent.http.say(&format!("GET / HTTP/1.1\r\nHost: {host}{bearer}{page}"));
            assert_eq!(answer.status, 200, "{page}: a link elsewhere leads to the status page");
            let line =
                format!("POST /api/v1/queue/requeue?all=true HTTP/1.1\r\nHost: {host}{page}");
            let status = if is_foreign { 403 } else { 200 };
            let by_socket = over(&socket, &line);
            assert!(by_socket.starts_with(&format!("HTTP/1.1 {status}")), "{page}: {by_socket}");
            foreign += usize::from(is_foreign);
        }
        assert_eq!(refused(&agent, "foreign_origin").to_string(), foreign.to_string());
    }
}

/// Sends a head over a unix socket, and returns the whole answer.
fn over(socket: &std::path::Path, head: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_asks_by_a_name_that_is_not_listed_gets_no_answer() {
    let mut lab = Lab::without_modems(1);
    let socket = lab.site.dir().join("api.sock");
    lab.site.http = format!(", socket: {}, hosts: [GW.example.com]", socket.display());
    let agent = lab.site.start();
    let port = lab.site.port();
    let mut unknown = 0;
    for (target, version, hosts, known) in [
        ("/api/v1/modems", "1.1", &["127.0.0.1"][..], true),
        ("/api/v1/modems", "1.1", &["localhost"], true),
        ("/api/v1/modems", "1.1", &["LOCALHOST:1"], true),
        ("/api/v1/modems", "1.1", &["[::1]:9810"], true),
        ("/api/v1/modems", "1.1", &["gw.example.com"], true),
        ("/api/v1/modems", "1.1", &["gw.Example.com.:443"], true),
        ("http://gw.example.com/api/v1/modems", "1.1", &["gw.example.com"], true),
        ("/api/v1/modems", "1.0", &[], true),
        ("/api/v1/modems", "1.1", &[], false),
        ("/api/v1/modems", "1.0", &["evil.example"], false),
        ("/api/v1/modems", "1.1", &["evil.example"], false),
        ("/api/v1/modems", "1.1", &["www.gw.example.com"], false),
        ("/api/v1/modems", "1.1", &["gw.example.com@evil.example"], false),
        ("/api/v1/modems", "1.1", &["localhost", "evil.example"], false),
        ("/api/v1/modems", "1.1", &["localhost", "localhost"], false),
        ("/api/v1/modems", "1.1", &[""], false),
        ("/api/v1/modems", "1.1", &["localhost:x"], false),
        ("http://evil.example/api/v1/modems", "1.1", &["localhost"], false),
        ("http://localhost/api/v1/modems", "1.1", &["evil.example"], false),
        ("http://evil.example/api/v1/modems", "1.0", &[], false),
        ("/", "1.1", &["evil.example"], false),
        ("/page.js", "1.1", &["evil.example"], false),
        ("/nowhere", "1.1", &["evil.example"], false),
        ("/metrics/", "1.1", &["evil.example"], false),
    ] {
        let hosts: String = hosts.iter().map(|host| format!("\r\nHost: {host}")).collect();
        for method in ["GET", "POST"] {
            let answer = agent
                .http
                .say(&format!("{method} {target} HTTP/{version}{hosts}\r\nContent-Length: 0"));
            let is_refused = word(&answer) == (421, "unknown_host".to_owned());
            assert_eq!(is_refused, !known, "{method} {target} {hosts}: {}", answer.text());
            unknown += usize::from(!known);
        }
    }
    assert_eq!(refused(&agent, "unknown_host").to_string(), unknown.to_string());
    for open in ["/metrics", "/livez", "/healthz", "http://evil.example/healthz"] {
        let answer = agent.http.say(&format!("GET {open} HTTP/1.1\r\nHost: probe.example:{port}"));
        assert_eq!(answer.status, 200, "{open}");
    }
    assert_eq!(agent.http.say("GET /readyz HTTP/1.1\r\nHost: probe.example").status, 503);
    let by_socket = over(&socket, "GET /api/v1/modems HTTP/1.1\r\nHost: whatever.example");
    assert!(by_socket.starts_with("HTTP/1.1 200"), "{by_socket}");
}

#[test]
fn names_come_and_go_by_a_reload() {
    let mut lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let ask = || agent.http.say("GET /api/v1/modems HTTP/1.1\r\nHost: gw.example.com").status;
    assert_eq!(ask(), 421);
    for (hosts, status) in [(", hosts: [gw.example.com]", 200), ("", 421)] {
        lab.site.http = hosts.to_owned();
        let _ = lab.site.file();
        let answer = agent.http.ask("POST", "/api/v1/reload", &[], b"");
        assert!(answer.status == 200 && answer.text().contains("http.hosts"), "{}", answer.text());
        assert_eq!(ask(), status, "{hosts}");
    }
}
