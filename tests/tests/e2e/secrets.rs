//! Secrets stay inside: no output and no answer contains one, at the highest level of the log.

use std::process::Command;

use e2e::{
    Agent, Authority, Mosquitto, PATIENCE, Pair, Sim, Site, Subscriber, modemfleet, run, until,
};

const PASSWORD: &str = "Tr0ub4dor-3xyzzy";
const APN_PASSWORD: &str = "apn-Sesame-77";
const PIN: &str = "40725138";
const TOKEN: &str = "token-9d1f0c7e-visible-ascii";
const DEVICE_SECRET: &str = "8f663b388dee796b931ebcb789b75a39";
const SIGNED: &str = "D48150E8D550607B15C667E100635EE96EA7D512";

/// All secrets, including the one derived from another.
const SECRETS: [&str; 6] = [PASSWORD, APN_PASSWORD, PIN, TOKEN, DEVICE_SECRET, SIGNED];

fn site(broker: &Mosquitto, authority: &Authority, own: &Pair) -> (Site, [Sim; 2]) {
    let mut site = Site::new();
    let sim = Sim::start(&site.dir().join("sim"), 3, &broker.address(), &["--pin", PIN]);
    // Its card has the number of the first modem's card, so a remembered PIN would apply to both.
    let other = Sim::of_model("ec25", &site.dir().join("q"), 1, &broker.address(), &[]);
    let secret = |name, text| site.secret(name, text).display().to_string();
    let (password, pin) = (secret("password", PASSWORD), secret("pin", PIN));
    let (apn, device) = (secret("apn", APN_PASSWORD), secret("device", DEVICE_SECRET));
    let token = secret("token", TOKEN);
    let (ca, cert, key) =
        (secret("ca", &authority.pem), secret("cert", &own.cert), secret("key", &own.key));
    let [first, second, third] = [0, 1, 2].map(|modem| sim.tty(modem).display().to_string());
    let fourth = other.tty(0).display().to_string();
    site.http = format!(", token: {{ file: {token} }}");
    site.body = format!(
        "brokers:
  lab:
    url: \"mqtts://b:8883\"
    username: gw
    password: {{ file: {password} }}
    tls: {{ ca: {ca}, cert: {cert}, key: {key} }}
  ali: {{ provider: aliyun, region: cn-shanghai, tls: {{ ca: {ca} }} }}
modems:
  a:
    match: {{ port: {first} }}
    pin: {{ file: {pin} }}
    poll: 1s
    sessions:
      lab: {{ broker: lab, subscribe: [ {{ filter: down, qos: 1 }} ] }}
      ali: {{ broker: ali, product_key: a1mQpKOF9hp, device_name: \"7600\", device_secret: {{ file: {device} }}, securemode: 2 }}
  b:
    match: {{ port: {second} }}
    pin: {{ file: {pin} }}
    sessions: {{ lab: {{ broker: lab }} }}
  c:
    match: {{ port: {third} }}
    pin: {{ file: {pin} }}
    apn: {{ name: cmnet, user: u, password: {{ file: {apn} }} }}
  q:
    match: {{ port: {fourth} }}
    sessions: {{ lab: {{ broker: lab }} }}
"
    );
    site.log = "trace".to_owned();
    (site, [sim, other])
}

/// The secrets to look for, in lower case.
struct Secrets(Vec<String>);

impl Secrets {
    /// Returns all of [`SECRETS`], and each line of a private key, since a log breaks the key up.
    fn with_key(own: &Pair) -> Self {
        let lines = own.key.lines().filter(|line| !line.starts_with("-----"));
        let all = SECRETS.into_iter().chain(lines).map(str::to_lowercase);
        Self(all.collect())
    }

    /// Returns the places of a text that contain a secret.
    fn leaks(&self, place: &str, text: &str) -> Vec<String> {
        let text = text.to_lowercase();
        let mut found = Vec::new();
        for secret in &self.0 {
            if let Some(at) = text.find(secret) {
                let line = text[..at].matches('\n').count();
                found.push(format!("{place}, line {line}: {secret}"));
            }
        }
        found
    }

    fn served(&self, agent: &Agent) -> Vec<String> {
        let bearer = format!("Bearer {TOKEN}");
        let mut found = Vec::new();
        for path in [
            "/metrics",
            "/readyz",
            "/healthz",
            "/",
            "/api/v1/modems",
            "/api/v1/log",
            "/api/v1/queue",
            "/nowhere",
        ] {
            let answer = agent.http.ask("GET", path, &[("Authorization", &bearer)], b"");
            found.extend(self.leaks(path, &answer.text()));
        }
        let wrong = agent.http.ask("GET", "/api/v1/modems", &[("Authorization", "Bearer no")], b"");
        found.extend(self.leaks("401", &wrong.text()));
        found
    }

    /// Looks at the output of commands that ask the agent, or read its file.
    fn told(&self, site: &Site) -> Vec<String> {
        let (file, url) = (site.file(), format!("http://127.0.0.1:{}", site.port()));
        let (file, token) = (file.to_str().unwrap(), site.dir().join("token"));
        let agent = ["--url", &url, "--token-file", token.to_str().unwrap()];
        let mut found = Vec::new();
        for args in [
            &["check", file][..],
            &["check", "--json", file],
            &[&["status"], &agent[..]].concat(),
            &[&["status", "--json"], &agent[..]].concat(),
            &[&["log", "--trace", "a"], &agent[..]].concat(),
            &[&["queue", "stat"], &agent[..]].concat(),
        ] {
            let output = run(Command::new(modemfleet()).args(args), b"");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(output.status.success(), "{args:?}: {text}");
            found.extend(self.leaks(&args.join(" "), &text));
        }
        found
    }

    /// Looks at the console, for commands that contain a secret or ask for one.
    fn typed(&self, site: &Site, own: &Pair) -> Vec<String> {
        let length = own.key.len();
        let stored = format!("+QFUPL: {length},");
        let upload = format!("AT+QFUPL=\"typed.pem\",{length},10");
        let key = site.dir().join("key").display().to_string();
        let args = ["--dangerous", &upload, "--data-file", &key];
        let (code, text) = typed_at("q", &args, site);
        assert!(code == Some(0) && text.contains(&stored), "{text}");
        let mut found = self.leaks("the console of q", &text);
        found.extend(self.typed_at_a(site, own));
        found
    }

    fn typed_at_a(&self, site: &Site, own: &Pair) -> Vec<String> {
        let key = site.dir().join("key").display().to_string();
        let upload = format!("AT+CCERTDOWN=\"typed.pem\",{}", own.key.len());
        let mut found = Vec::new();
        let unknown = format!("AT+NOSUCH=\"{PASSWORD}\"");
        let broken = format!("AT+NOSUCH=\"{PASSWORD}");
        let pin = format!("AT+CPIN=\"{PIN}\"");
        for (code, args) in [
            (0, &["AT+CMQTTCONNECT?"][..]),
            (2, &[&pin]),
            (1, &["--dangerous", &pin]),
            (2, &[&unknown]),
            (1, &["--dangerous", &unknown]),
            (1, &["--dangerous", &broken]),
            (0, &["--dangerous", &upload, "--data-file", &key]),
        ] {
            let (ended, text) = typed_at("a", args, site);
            assert_eq!(ended, Some(code), "{args:?}: {text}");
            found.extend(self.leaks(&format!("the console, {code}"), &text));
        }
        found
    }

    /// Looks at a support bundle, of a running agent or a stopped one.
    fn bundled(&self, site: &Site, is_running: bool) -> Vec<String> {
        let mut command = Command::new(modemfleet());
        command.args(["diag", "-o", "-", "--config"]).arg(site.file());
        let output = run(&mut command, b"");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let mut unpack = Command::new("tar");
        let text = run(unpack.args(["-xzO"]), &output.stdout).stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        // The bundle is as detailed as expected.
        for word in ["SIMCOM_SIM7600", "AT+CMQTTCONNECT=", "modemfleet_at_commands_total"] {
            assert_eq!(text.contains(word), is_running, "{word}");
        }
        assert!(text.contains("device_secret: { file:"), "{text}");
        let mut found = self.leaks("the bundle", &text);
        found.extend(self.leaks("diag", &told));
        found
    }
}

/// Runs `at` on a modem, and returns its exit code and its output.
fn typed_at(modem: &str, args: &[&str], site: &Site) -> (Option<i32>, String) {
    let (url, token) = (format!("http://127.0.0.1:{}", site.port()), site.dir().join("token"));
    let mut command = Command::new(modemfleet());
    command.args(["at", modem]).args(args).args(["--url", &url]);
    let output = run(command.arg("--token-file").arg(&token), b"");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn no_secret_is_logged_or_served() {
    let users = [("gw", PASSWORD), ("7600&a1mQpKOF9hp", SIGNED), ("w", "w")];
    let authority = Authority::new();
    let own = authority.sign("gw");
    let secrets = Secrets::with_key(&own);
    let broker = Mosquitto::over_tls(&authority.sign("b"), None, &users);
    let watcher = Subscriber::with_login(broker.plain_port(), "w", "w");
    let (site, sims) = site(&broker, &authority, &own);
    let mut agent = site.start();
    for (modem, session) in [("a", "lab"), ("a", "ali"), ("b", "lab"), ("q", "lab")] {
        agent.connected(modem, session);
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, b"x");
    assert_eq!(answer.status, 202, "{}", answer.text());
    watcher.wait(1);
    let mut found = secrets.served(&agent);
    found.extend(secrets.told(&site));
    found.extend(secrets.typed(&site, &own));
    found.extend(secrets.bundled(&site, true));
    // Failures are logged in more detail: the broker stops, and a modem is unplugged.
    drop(broker);
    until("the loss", || (!agent.is_connected("a", "ali")).then_some(()));
    until("a refused connect", || {
        (agent.sum("modemfleet_mqtt_connects_total", &[("result", "error")]) > 0.5).then_some(())
    });
    found.extend(secrets.served(&agent));
    drop(sims);
    until("the unplug", || {
        (agent.sum("modemfleet_hotplug_events_total", &[("action", "remove")]) > 1.5).then_some(())
    });
    found.extend(secrets.served(&agent));
    agent.process.signal(e2e::Signal::TERM);
    assert!(agent.process.end_within(PATIENCE).is_some());
    found.extend(secrets.bundled(&site, false));
    let log = agent.log();
    found.extend(secrets.leaks("stderr", &log));
    found.extend(secrets.leaks("stdout", &agent.process.stdout().join("\n")));
    assert!(found.is_empty(), "{found:#?}");
    // The log is as detailed as expected: it contains the dialogue, up to the commands with
    // secrets.
    for word in
        ["CMQTTCONNECT", "CPIN", "CGAUTH", "CCERTDOWN=\"mf0-key-", "QFUPL=\"mf0-key-", "TRACE"]
    {
        assert!(log.contains(word), "{word} is not in the log of level trace");
    }
}

/// Unusable secrets are rejected by name and place, at the check and at the start.
#[test]
fn a_secret_that_is_refused_is_not_shown() {
    let authority = Authority::new();
    let own = authority.sign("gw");
    let (broker, secrets) = (Mosquitto::open(), Secrets::with_key(&own));
    let (site, _sims) = site(&broker, &authority, &own);
    for (name, text, want) in [
        ("password", format!("{PASSWORD}\""), "holds a quote"),
        ("pin", format!("{PIN}{PIN}"), "must be 4 to 8 digits"),
        ("token", format!("{TOKEN} {TOKEN}"), "visible ASCII"),
        ("device", DEVICE_SECRET.repeat(200), "more than 4096 bytes"),
        ("key", own.key.replace("-----END PRIVATE KEY-----", ""), "without its -----END"),
        ("key", own.key.repeat(2), "more than one private key"),
        ("cert", own.key.clone(), "holds no certificate"),
    ] {
        let before = std::fs::read_to_string(site.dir().join(name)).unwrap_or_default();
        let _ = site.secret(name, &text);
        let file = site.file();
        for args in [&["check"][..], &["check", "--json"], &["run", "--config"]] {
            let output = run(Command::new(modemfleet()).args(args).arg(&file), b"");
            assert_eq!(output.status.code(), Some(2), "{name} {args:?}");
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(text.contains(want), "{name} {args:?}: {text}");
            let found = secrets.leaks(name, &text);
            assert!(found.is_empty(), "{found:#?}");
        }
        let _ = site.secret(name, &before);
    }
}

/// Fleet files in which a possible secret also stands in a visible place, by an alias or a copy.
const REPEATED: [&str; 13] = [
    "x-a: &hunter2 gw\ngateway: *hunter2\nmodems: { m: { match: { port: a }, poll: *hunter2 } }\n",
    "x-a: &hunter2 gw\nmodems: { *hunter2 : { match: { prot: /a } } }\n",
    "x-a: &hunter2 gw\ngateways: [*hunter2, a.b]\nmodems: { m: { match: { port: /a } } }\n",
    "x-a: &p hunter2\nmodems: { m: { match: { port: /a }, pin: *p, sessions: { s: { broker: *p } } } }\n",
    "x-a: &p hunter2\nmodems: { m: { match: { port: /a }, sessions: { s: { broker: *p, vars: { a: *p } } } } }\n",
    "x-a: &p hunter2\nmodems: { m: { match: { port: /a }, pin: hunter2, sessions: { s: { broker: *p } } } }\n",
    "gateways: [&p Hunter2]\nmodems: { m: { match: { port: /a }, pin: *p, gateways: [nope] } }\n",
    "x-a: &p Hunter2\ngateways: [*p]\nmodems: { m: { match: { port: /a }, pin: *p, gateways: [nope] } }\n",
    "x-a: &p \"tcp://hunter2\"\nbrokers: { b: { url: *p, password: *p } }\nmodems: { m: { match: { port: /a } } }\n",
    "x-a: &p \"http://hunter2:8\"\nhttp: { hosts: [*p], token: *p }\nmodems: { m: { match: { port: /a } } }\n",
    "brokers: { b: { url: &p \"tcp://hunter2\", password: *p } }\nmodems: { m: { match: { port: /a } } }\n",
    "modems: { m: { match: { port: /a }, pin: &p hunter2, sessions: { *p : { broker: c } } } }\n",
    "modems: { m: { match: { port: &p hunter2-and-more-than-forty-characters-of-it }, pin: *p } }\n",
];

/// A value that is secret in one place of a file is shown in no other.
#[test]
fn what_stands_in_a_secrets_place_is_not_shown_where_else_it_stands() {
    let lab = e2e::Lab::without_modems(1);
    let mut agent = lab.site.start();
    let (secrets, file) = (Secrets(vec!["hunter2".to_owned()]), lab.site.dir().join("fleet.yaml"));
    let path = file.to_str().unwrap();
    let mut found = Vec::new();
    for text in REPEATED {
        std::fs::write(&file, text).unwrap();
        for args in [
            &["check", path][..],
            &["check", "--json", path],
            &["run", "--config", path],
            &["diag", "-o", "-", "--config", path],
        ] {
            let output = run(Command::new(modemfleet()).args(args), b"");
            let bundle = run(Command::new("tar").arg("-xzO"), &output.stdout).stdout;
            let said = [output.stdout, output.stderr, bundle].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("fleet.yaml"), "{text}{args:?}: {said}");
            found.extend(secrets.leaks(&format!("{text}{args:?}"), &said));
        }
        for target in ["/api/v1/reload/plan", "/api/v1/reload"] {
            let answer = agent.http.ask("POST", target, &[], text.as_bytes());
            assert_eq!(answer.status, 422, "{text}{}", answer.text());
            found.extend(secrets.leaks(&format!("{text}{target}"), &answer.text()));
        }
    }
    agent.process.kill();
    let log = agent.log();
    assert!(log.contains("fleet.yaml"), "{log}");
    found.extend(secrets.leaks("the log", &log));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_wrong_pin_is_tried_once_and_never_again() {
    let broker = Mosquitto::open();
    let mut site = Site::new();
    let sim = Sim::start(&site.dir().join("sim"), 1, &broker.address(), &["--pin", "1234"]);
    let pin = site.secret("pin", PIN);
    site.body = format!(
        "brokers: {{ lab: {{ url: \"mqtt://b\" }} }}\nmodems: {{ m: {{ match: {{ port: {} }}, \
         pin: {{ file: {} }}, sessions: {{ s: {{ broker: lab }} }} }} }}\n",
        sim.tty(0).display(),
        pin.display()
    );
    site.log = "trace".to_owned();
    // A card is blocked after three wrong PINs. Four starts try the wrong PIN once; the next has
    // the right one.
    for _ in 0..4 {
        let mut agent = site.start();
        until("the refusal", || agent.log().contains("PIN").then_some(()));
        let failed = [("modem", "m"), ("state", "failed")];
        let sim_state = [("modem", "m"), ("state", "sim")];
        until("the modem to wait", || {
            let scrape = agent.scrape();
            let stands = |labels: &[_]| scrape.sum("modemfleet_modem_state", labels) > 0.5;
            (stands(&failed) || stands(&sim_state)).then_some(())
        });
        let modems = agent.http.get("/api/v1/modems").text();
        assert!(!(modems + &agent.log()).contains(PIN));
        agent.process.kill();
    }
    let _ = site.secret("pin", "1234");
    site.start().connected("m", "s");
}
