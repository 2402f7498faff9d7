//! Secrets stay inside: nothing that is printed or served holds one, at the highest level of the log.
#![allow(
    clippy::indexing_slicing,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

use std::time::Duration;

use e2e::{Agent, Mosquitto, Sim, Site, Subscriber, until};

const PASSWORD: &str = "Tr0ub4dor-3xyzzy";
const APN_PASSWORD: &str = "apn-Sesame-77";
const PIN: &str = "40725138";
const TOKEN: &str = "token-9d1f0c7e-visible-ascii";
const DEVICE_SECRET: &str = "8f663b388dee796b931ebcb789b75a39";
const SIGNED: &str = "D48150E8D550607B15C667E100635EE96EA7D512";

/// All of them, the one that is made of another included.
const SECRETS: [&str; 6] = [PASSWORD, APN_PASSWORD, PIN, TOKEN, DEVICE_SECRET, SIGNED];

fn site(broker: &Mosquitto) -> (Site, Sim) {
    let mut site = Site::new();
    let sim = Sim::start(&site.dir().join("sim"), 3, &broker.address(), &["--pin", PIN]);
    let secret = |name, text| site.secret(name, text).display().to_string();
    let (password, pin) = (secret("password", PASSWORD), secret("pin", PIN));
    let (apn, device) = (secret("apn", APN_PASSWORD), secret("device", DEVICE_SECRET));
    let token = secret("token", TOKEN);
    let [first, second, third] = [0, 1, 2].map(|modem| sim.tty(modem).display().to_string());
    site.http = format!(", token: {{ file: {token} }}");
    site.body = format!(
        "brokers:
  lab: {{ url: \"mqtt://b:1883\", username: gw, password: {{ file: {password} }} }}
  ali: {{ provider: aliyun, region: cn-shanghai }}
modems:
  a:
    match: {{ port: {first} }}
    pin: {{ file: {pin} }}
    poll: 1s
    sessions:
      lab: {{ broker: lab, subscribe: [ {{ filter: down, qos: 1 }} ] }}
      ali: {{ broker: ali, product_key: a1mQpKOF9hp, device_name: \"7600\", device_secret: {{ file: {device} }} }}
  b:
    match: {{ port: {second} }}
    pin: {{ file: {pin} }}
    sessions: {{ lab: {{ broker: lab }} }}
  c:
    match: {{ port: {third} }}
    pin: {{ file: {pin} }}
    apn: {{ name: cmnet, user: u, password: {{ file: {apn} }} }}
"
    );
    site.log = "trace".to_owned();
    (site, sim)
}

/// Where a secret stands that should not.
fn leaks(place: &str, text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let mut found = Vec::new();
    for secret in SECRETS {
        if let Some(at) = text.find(&secret.to_lowercase()) {
            let line = text[..at].matches('\n').count();
            found.push(format!("{place}, line {line}: {secret}"));
        }
    }
    found
}

fn served(agent: &Agent) -> Vec<String> {
    let bearer = format!("Bearer {TOKEN}");
    let mut found = Vec::new();
    for path in ["/metrics", "/readyz", "/healthz", "/api/v1/modems", "/nowhere"] {
        let answer = agent.http.ask("GET", path, &[("Authorization", &bearer)], b"");
        found.extend(leaks(path, &answer.text()));
    }
    let wrong = agent.http.ask("GET", "/api/v1/modems", &[("Authorization", "Bearer no")], b"");
    found.extend(leaks("401", &wrong.text()));
    found
}

#[test]
fn no_secret_is_logged_or_served() {
    let users = [("gw", PASSWORD), ("7600&a1mQpKOF9hp", SIGNED), ("w", "w")];
    let mut broker = Some(Mosquitto::with_users(&users));
    let watcher = broker.as_ref().map(|broker| Subscriber::with_login(broker.port(), "w", "w"));
    let (site, sim) = broker.as_ref().map(site).expect("a broker");
    let mut agent = site.start();
    for (modem, session) in [("a", "lab"), ("a", "ali"), ("b", "lab")] {
        agent.connected(modem, session);
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = agent.http.ask("POST", "/api/v1/publish?topic=t", &headers, b"x");
    assert_eq!(answer.status, 202, "{}", answer.text());
    watcher.expect("a watcher").wait(1);
    let mut found = served(&agent);
    // What goes wrong is logged in more words: a broker that goes, a modem that goes.
    broker.take();
    until("the loss", || (!agent.is_connected("a", "ali")).then_some(()));
    until("a refused connect", || {
        (agent.sum("modemfleet_mqtt_connects_total", &[("result", "error")]) > 0.5).then_some(())
    });
    found.extend(served(&agent));
    drop(sim);
    until("the unplug", || {
        (agent.sum("modemfleet_hotplug_events_total", &[("action", "remove")]) > 1.5).then_some(())
    });
    found.extend(served(&agent));
    agent.process.signal(e2e::Signal::TERM);
    assert!(agent.process.end_within(Duration::from_secs(15)).is_some());
    let log = agent.log();
    found.extend(leaks("stderr", &log));
    found.extend(leaks("stdout", &agent.process.stdout().join("\n")));
    assert!(found.is_empty(), "{found:#?}");
    // The log was really that talkative: the dialogue is in it, up to where the secrets go.
    for word in ["CMQTTCONNECT", "CPIN", "CGAUTH", "TRACE"] {
        assert!(log.contains(word), "{word} is not in the log of level trace");
    }
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
    // Three restarts would burn a SIM whose PIN is tried at each; the fourth here has the right one.
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
        assert!(leaks("modems and log", &(modems + &agent.log())).is_empty());
        agent.process.kill();
    }
    let _ = site.secret("pin", "1234");
    site.start().connected("m", "s");
}
