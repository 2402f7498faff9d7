//! The tokens of the API: the requests that each allows, rejected tokens, and the handling of
//! guesses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Answer, Lab, Stopwatch, modemfleet, run, until};

const TOKEN: &str = "a-token-that-is-long-enough";
const PUBLISH: &str = "another-that-may-publish-only";

/// Requests that the publish token allows.
const PUBLISHING: [(&str, &str); 3] = [
    ("POST", "/api/v1/publish?topic=t"),
    ("GET", "/api/v1/messages/01a203c3-b7b7-7337-b698-ea9e58c7533e"),
    ("GET", "/api/v1/outcomes?none"),
];

/// All other requests that need a token.
const THE_REST: [(&str, &str); 28] = [
    ("GET", "/"),
    ("GET", "/page.css"),
    ("GET", "/page.js"),
    ("GET", "/page/client.js"),
    ("GET", "/api/v1/at?modem=m0"),
    ("POST", "/api/v1/at"),
    ("GET", "/api/v1/devices"),
    ("GET", "/api/v1/doctor"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/events/history"),
    ("GET", "/api/v1/inbox?reader=a"),
    ("DELETE", "/api/v1/inbox?reader=a&forget=true"),
    ("GET", "/api/v1/inbox/readers"),
    ("GET", "/api/v1/log"),
    ("PUT", "/api/v1/log"),
    ("GET", "/api/v1/log/recent"),
    ("GET", "/api/v1/messages"),
    ("GET", "/api/v1/modems"),
    ("GET", "/api/v1/modems/m0/history"),
    ("POST", "/api/v1/modems/m0/reset"),
    ("POST", "/api/v1/modems/m0/sessions/s/reconnect"),
    ("POST", "/api/v1/modems/m0/sessions/s/test"),
    ("GET", "/api/v1/queue"),
    ("GET", "/api/v1/queue/messages?payload=true"),
    ("POST", "/api/v1/queue/requeue?all=true"),
    ("POST", "/api/v1/queue/purge?all=true"),
    ("POST", "/api/v1/reload"),
    ("POST", "/api/v1/reload/plan"),
];

fn is_publish_only(answer: &Answer) -> bool {
    answer.status == 403 && answer.text().contains("\"publish_only\"")
}

fn by_token(agent: &Agent, (method, path): (&str, &str), token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    agent.http.ask(method, path, &[("Authorization", &bearer)], b"")
}

/// Sends a request over a unix socket, and returns the whole answer.
fn by_socket(socket: &Path, (method, path): (&str, &str)) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_may_publish_may_publish_and_see_what_became_of_it_and_nothing_else() {
    let mut lab = Lab::without_modems(1);
    let (token, publish) = (lab.site.secret("t", TOKEN), lab.site.secret("p", PUBLISH));
    let (socket, dir) = (lab.site.dir().join("publish.sock"), lab.site.dir().display());
    lab.site.http = format!(
        ", token: {{ file: {} }}, publish_token: {{ file: {} }}, publish_socket: {}, socket: {dir}/api.sock",
        token.display(),
        publish.display(),
        socket.display()
    );
    let agent = lab.site.start();
    for asked in PUBLISHING {
        for (way, status) in [
            ("token", by_token(&agent, asked, TOKEN).status),
            ("publish_token", by_token(&agent, asked, PUBLISH).status),
        ] {
            assert!([202, 400, 404].contains(&status), "{way} {asked:?}: {status}");
        }
        let answer = by_socket(&socket, asked);
        assert!(["202", "404", "400"].contains(&&answer[9..12]), "{asked:?}: {answer}");
    }
    assert_eq!(agent.queued(), 3);
    let mut refusals = 0;
    for asked in THE_REST {
        let answer = by_token(&agent, asked, PUBLISH);
        assert!(is_publish_only(&answer), "{asked:?}: {} {}", answer.status, answer.text());
        let answer = by_socket(&socket, asked);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("publish_only"), "{answer}");
        refusals += 2;
    }
    let counted = agent.sum("modemfleet_http_refused_total", &[("reason", "publish_only")]);
    assert_eq!(counted.to_string(), refusals.to_string());
    assert_eq!(agent.queued(), 3, "nothing was purged");
    for open in ["/metrics", "/livez", "/healthz"] {
        assert!(by_socket(&socket, ("GET", open)).starts_with("HTTP/1.1 200"), "{open}");
        assert_eq!(by_token(&agent, ("GET", open), PUBLISH).status, 200, "{open}");
    }
    assert_eq!(by_token(&agent, ("GET", "/api/v1/modems"), TOKEN).status, 200);
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    // The receipt of the application's own message, and its end by the command line.
    let told = by_token(&agent, ("POST", "/api/v1/publish?topic=mine"), PUBLISH);
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    let receipt = format!("/api/v1/messages/{}", told["id"].as_str().unwrap());
    let receipt = by_token(&agent, ("GET", &receipt), PUBLISH);
    assert!(receipt.text().contains("\"waiting\""), "{}", receipt.text());
    lab.sims.push(lab.plug_in(0, &[]));
    let mut command = Command::new(modemfleet());
    command.args(["publish", "--topic", "t", "--wait=50s", "--url"]);
    command.arg(format!("http://127.0.0.1:{}", lab.site.port()));
    let waited = run(command.arg("--token-file").arg(&publish).arg("x"), b"");
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
}

/// Begins a stream, and returns its connection and the status.
fn stream(agent: &Agent, path: &str, token: &str) -> (TcpStream, u16) {
    let mut stream = agent.http.connect().unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    (stream, String::from_utf8_lossy(&status[9..]).parse().unwrap())
}

#[test]
fn who_may_publish_takes_half_of_the_places_for_streams_at_most() {
    let mut lab = Lab::without_modems(1);
    let (token, publish) = (lab.site.secret("t", TOKEN), lab.site.secret("p", PUBLISH));
    lab.site.http = format!(
        ", token: {{ file: {} }}, publish_token: {{ file: {} }}",
        token.display(),
        publish.display()
    );
    let agent = lab.site.start();
    let begin = |path, token, count: usize| {
        let all: Vec<_> = (0..count).map(|_| stream(&agent, path, token)).collect();
        let streams = all.iter().filter(|(_, status)| *status == 200).count();
        assert!(all.iter().all(|(_, status)| [200, 503].contains(status)));
        (all, streams)
    };
    let (_outcomes, streams) = begin("/api/v1/outcomes", PUBLISH, 128);
    assert_eq!(streams, 64);
    let (_messages, streams) = begin("/api/v1/messages", TOKEN, 70);
    assert_eq!(streams, 64);
}

#[test]
fn a_token_for_publishing_comes_turns_and_goes_by_a_reload() {
    let mut lab = Lab::without_modems(1);
    let (token, publish) = (lab.site.secret("t", TOKEN), lab.site.secret("p", PUBLISH));
    let one = format!(", token: {{ file: {} }}", token.display());
    lab.site.http.clone_from(&one);
    let agent = lab.site.start();
    let asks = |token: &str| by_token(&agent, PUBLISHING[0], token).status;
    let reload = |file: &str, token: &str| {
        let _ = lab.site.secret("p", token);
        std::fs::write(lab.site.file(), file).unwrap();
        by_token(&agent, ("POST", "/api/v1/reload"), TOKEN)
    };
    let without = std::fs::read_to_string(lab.site.file()).unwrap();
    let both = format!("{one}, publish_token: {{ file: {} }}", publish.display());
    let with = without.replace(&one, &both);
    assert_eq!(asks(PUBLISH), 401);
    for (file, content, shown, status) in [
        (&with, PUBLISH, PUBLISH, 202),
        (&with, "one-that-was-turned", PUBLISH, 401),
        (&with, "one-that-was-turned", "one-that-was-turned", 202),
        (&without, "one-that-was-turned", "one-that-was-turned", 401),
        (&with, PUBLISH, PUBLISH, 202),
    ] {
        let answer = reload(file, content);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(asks(shown), status, "{shown}: {}", answer.text());
    }
    // A token that would allow everything, or an invalid one, leaves the old token in force.
    for (content, words) in [
        (TOKEN, "`publish_token` is the same as `token`"),
        ("", "is empty"),
        ("change-this-token-of-the-api", "example of a document"),
    ] {
        let answer = reload(&with, content);
        assert_eq!(answer.status, 422, "{content}");
        assert!(answer.text().contains(words), "{content}: {}", answer.text());
        assert_eq!(asks(PUBLISH), 202);
    }
}

/// Runs `check` with these tokens on an address, and returns its exit code and its output.
fn check(listen: &str, token: &str, publish: Option<&str>) -> (Option<i32>, String) {
    let mut lab = Lab::without_modems(1);
    let file = lab.site.secret("t", token);
    lab.site.http = format!(", token: {{ file: {} }}", file.display());
    if let Some(publish) = publish {
        let file = lab.site.secret("p", publish);
        lab.site.http += &format!(", publish_token: {{ file: {} }}", file.display());
    }
    let path = lab.site.file();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("127.0.0.1:", &format!("{listen}:"), 1)).unwrap();
    let done = run(Command::new(modemfleet()).arg("check").arg(&path), b"");
    let words = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&words).into_owned())
}

/// Tokens from the manifests of earlier versions, and placeholders from documents of other
/// programs.
const EXAMPLES: [&str; 4] =
    ["change-this-token-of-the-api", "CHANGE_ME", "replace-me-please-now", "<your-token>"];

#[test]
fn tokens_that_are_none_are_refused_and_weak_ones_are_told() {
    for (token, words) in EXAMPLES
        .map(|example| (example, "example of a document"))
        .into_iter()
        .chain([("", "is empty"), ("\n", "is empty"), (" ", "visible ASCII")])
    {
        for (token, publish) in [(token, None), (TOKEN, Some(token))] {
            let (code, told) = check("127.0.0.1", token, publish);
            assert_eq!(code, Some(2), "{token:?}: {told}");
            assert!(told.contains(words) && told.contains("token"), "{token:?}: {told}");
        }
    }
    let (code, told) = check("127.0.0.1", TOKEN, Some(TOKEN));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("`publish_token` is the same as `token`"), "{told}");
    let weak = |told: &str| told.contains("fewer than 16 characters");
    for (listen, token, publish, is_weak) in [
        ("127.0.0.1", "a", None, false),
        ("[::1]", "a", Some("b"), false),
        ("0.0.0.0", "fifteen-letters", None, true),
        ("0.0.0.0", "sixteen-letters!", None, false),
        ("192.0.2.1", TOKEN, Some("short"), true),
        ("[::]", TOKEN, Some(PUBLISH), false),
    ] {
        let (code, told) = check(listen, token, publish);
        assert_eq!((code, weak(&told)), (Some(0), is_weak), "{listen} {token}: {told}");
    }
}

#[test]
fn an_agent_starts_with_no_example_and_logs_a_weak_token() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("t", EXAMPLES[0]);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let mut refused = lab.site.spawn();
    let code = refused.process.end_within(Duration::from_secs(50)).and_then(|status| status.code());
    assert_eq!(code, Some(2), "{}", refused.log());
    assert!(refused.log().contains("example of a document"), "{}", refused.log());
    let _ = lab.site.secret("t", "short");
    let text = std::fs::read_to_string(lab.site.file()).unwrap();
    let open = lab.site.dir().join("open.yaml");
    std::fs::write(&open, text.replacen("127.0.0.1:", "0.0.0.0:", 1)).unwrap();
    let mut command = Command::new(modemfleet());
    command.args(["run", "--config"]).arg(&open);
    let agent = e2e::Process::start("agent", &mut command);
    agent.line("the warning of the log", |line| {
        line.contains("WARN") && line.contains("fewer than 16 characters")
    });
}

/// Guesses for a while on one connection after another, and returns the number of answers.
fn guess(agent_port: u16, time: Duration) -> usize {
    let (http, start) = (e2e::Http::new(agent_port), Stopwatch::start());
    let mut answered = 0;
    while start.elapsed() < time {
        let wrong = [("Authorization", "Bearer wrong")];
        let answer = http.ask("GET", "/api/v1/modems", &wrong, b"");
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
        answered += 1;
    }
    answered
}

#[test]
fn guesses_are_slow_counted_and_logged_and_a_right_token_waits_for_none_of_them() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("t", TOKEN);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let agent = lab.site.start();
    let (port, time) = (lab.site.port(), Duration::from_secs(3));
    let guessers: Vec<_> = (0..32).map(|_| thread::spawn(move || guess(port, time))).collect();
    let count = |reason| agent.sum("modemfleet_http_refused_total", &[("reason", reason)]);
    until("guesses", || (count("wrong_token") > 30.0).then_some(()));
    // The limit holds on a machine that is busy with other tests as well.
    for _ in 0..10 {
        let start = Stopwatch::start();
        assert_eq!(by_token(&agent, ("GET", "/api/v1/modems"), TOKEN).status, 200);
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    }
    assert_eq!(agent.http.get("/api/v1/modems").status, 401);
    let answered: usize = guessers.into_iter().map(|guesser| guesser.join().unwrap()).sum();
    // Ten a second, and each guesser waits for its last answer.
    assert!((32..=90).contains(&answered), "{answered} guesses in {time:?} by 32 callers");
    assert_eq!((count("wrong_token").to_string(), count("no_token")), (answered.to_string(), 1.0));
    let lines: Vec<_> =
        agent.process.stderr().into_iter().filter(|line| line.contains("wrong tokens")).collect();
    assert_eq!(lines.len(), 1, "a line a minute: {lines:?}");
    assert!(lines[0].contains("127.0.0.1") && lines[0].contains("count="), "{lines:?}");
}

#[test]
fn guesses_whose_callers_hang_up_delay_no_one_else() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("t", TOKEN);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let agent = lab.site.start();
    let count = || agent.sum("modemfleet_http_refused_total", &[("reason", "wrong_token")]);
    let head =
        "GET /api/v1/modems HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n";
    for _ in 0..7 {
        let before = count();
        let guesses: Vec<_> = (0..100)
            .map(|_| {
                let mut stream = agent.http.connect().unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                stream
            })
            .collect();
        until("the guesses to be seen", || (count() > before + 99.5).then_some(()));
        drop(guesses);
    }
    let start = Stopwatch::start();
    assert_eq!(by_token(&agent, ("GET", "/api/v1/modems"), "a-typo").status, 401);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
