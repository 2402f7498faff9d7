//! TLS inside the modem: connections that work, and the code and message of those that fail.

use std::fmt::Write as _;

use e2e::{Agent, Authority, Mosquitto, Pair, Port, Sim, Site, modemfleet, until};
use serde_json::Value;

const HOST: &str = "broker.example.com";

/// A session, each on its own modem, whose network leads to `broker`.
struct Case {
    name: &'static str,
    model: &'static str,
    broker: String,
    /// Further keys of the broker in the fleet file.
    keys: String,
    /// Expected part of the session's reason; empty if it must connect.
    reason: &'static str,
}

/// The files of a site.
struct Files<'a>(&'a Site);

impl Files<'_> {
    fn ca(&self, name: &str, authority: &Authority) -> String {
        format!("ca: {}", self.0.secret(name, &authority.pem).display())
    }

    fn pair(&self, name: &str, pair: &Pair) -> String {
        let cert = self.0.secret(&format!("{name}.pem"), &pair.cert);
        let key = self.0.secret(&format!("{name}.key"), &pair.key);
        format!("cert: {}, key: {{ file: {} }}", cert.display(), key.display())
    }
}

/// Returns a session's phase and reason.
fn stands(agent: &Agent, modem: &str) -> (String, String) {
    let fleet: Value = serde_json::from_str(&agent.http.get("/api/v1/modems").text()).unwrap();
    let modem = fleet["modems"].as_array().unwrap().iter().find(|m| m["name"] == modem).unwrap();
    let session = &modem["sessions"][0];
    let text = |key: &str| session[key].as_str().unwrap_or_default().to_owned();
    (text("phase"), text("reason"))
}

/// Writes the fleet file of all cases, and starts their modems.
fn fleet(site: &mut Site, cases: &[Case]) -> Vec<Sim> {
    let (mut brokers, mut modems) = (String::new(), String::new());
    let mut sims = Vec::new();
    for Case { name, model, broker, keys, .. } in cases {
        let sim = Sim::of_model(model, &site.dir().join(name), 1, broker, &[]);
        let _ = writeln!(brokers, "  {name}: {{ url: \"mqtts://{HOST}\", {keys} }}");
        let _ = writeln!(
            modems,
            "  {name}: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: {name}, reconnect_max: 1s }} }} }}",
            sim.tty(0).display()
        );
        sims.push(sim);
    }
    site.body = format!("brokers:\n{brokers}modems:\n{modems}");
    sims
}

#[test]
fn what_works_and_how_the_rest_fails() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = ours.sign(HOST);
    let open = Mosquitto::over_tls(&server, None, &[]);
    let mutual = Mosquitto::over_tls(&server, Some(&ours), &[]);
    let users = Mosquitto::over_tls(&server, None, &[("gw", "right")]);
    let expired = Mosquitto::over_tls(&ours.sign_until(HOST, 2021), None, &[]);
    let plain = Mosquitto::open();
    let closed = Port::free();
    let mut site = Site::new();
    let files = Files(&site);
    let (right, wrong) = (files.ca("ca.pem", &ours), files.ca("other.pem", &other));
    let (own, strange) =
        (files.pair("own", &ours.sign("north")), files.pair("strange", &other.sign("north")));
    let secret = |name: &str, text: &str| site.secret(name, text).display().to_string();
    let login = |password: String| format!("username: gw, password: {{ file: {password} }}");
    let (good, bad) = (login(secret("good", "right")), login(secret("bad", "wrong")));
    let case = |name, broker: String, keys: String, reason| Case {
        name,
        model: "sim7600",
        broker,
        keys,
        reason,
    };
    let tls = |keys: &str| format!("tls: {{ {keys} }}");
    let both = |one: &str, two: &str| tls(&format!("{one}, {two}"));
    let to = Mosquitto::address;
    let handshake = "CMQTTCONNECT failed with code 32 (TLS handshake failed): check tls.ca against the broker's certificate and its dates, tls.cert and tls.key";
    let without_reason = "QMTOPEN failed with code -1 (failed to open the network): over TLS mostly the handshake failed: check tls.ca against the broker's certificate, its host name and its dates";
    let cases = [
        case("one-way", to(&open), tls(&right), ""),
        case("mutual", to(&mutual), both(&right, &own), ""),
        case("login", to(&users), format!("{}, {good}", tls(&right)), ""),
        case("insecure", to(&open), tls("insecure: true"), ""),
        case("wrong-ca", to(&open), tls(&wrong), handshake),
        case("expired", to(&expired), tls(&right), handshake),
        case("no-client-cert", to(&mutual), tls(&right), handshake),
        case("strange-client-cert", to(&mutual), both(&right, &strange), handshake),
        case("no-tls-there", to(&plain), tls(&right), handshake),
        case(
            "wrong-password",
            to(&users),
            format!("{}, {bad}", tls(&right)),
            // mosquitto uses this code; other brokers use "bad user name or password" (30).
            "failed with code 31 (refused: not authorized)",
        ),
        case(
            "port-closed",
            format!("127.0.0.1:{}", closed.number()),
            tls(&right),
            "failed with code 3 (socket connect failed): check the broker's address and port",
        ),
        Case { model: "ec25", ..case("q-mutual", to(&mutual), both(&right, &own), "") },
        Case { model: "rm520n", ..case("q-insecure", to(&open), tls("insecure: true"), "") },
        Case { model: "ec25", ..case("q-wrong-ca", to(&open), tls(&wrong), without_reason) },
        Case { model: "ec200", ..case("q-expired", to(&expired), tls(&right), without_reason) },
        Case {
            model: "sim7020",
            ..case("no-dialect", to(&open), tls(&right), "TLS is not supported on this modem")
        },
    ];
    let _sims = fleet(&mut site, &cases);
    let agent = site.start();
    all_stand_as_expected(&agent, &cases);
    agent.publish("topic=t&session=mutual/s", b"over TLS");
    mutual.logged("Received PUBLISH from gw-mutual-s");
    agent.publish("topic=t&session=q-mutual/s", b"over TLS");
    mutual.logged("Received PUBLISH from gw-q-mutual-s");
    agent.drained();
    the_insecure_one_shows(&agent, &site);

    // The next attempt uses a corrected certificate.
    let _ = site.secret("other.pem", &ours.pem);
    agent.connected("wrong-ca", "s");
    agent.connected("q-wrong-ca", "s");
}

fn all_stand_as_expected(agent: &Agent, cases: &[Case]) {
    println!("| case | phase | what the user sees |\n|---|---|---|");
    for Case { name, reason, .. } in cases {
        let (phase, seen) = until(&format!("{name}: {reason:?}"), || {
            let (phase, seen) = stands(agent, name);
            let is_there =
                if reason.is_empty() { phase == "connected" } else { seen.contains(reason) };
            is_there.then_some((phase, seen))
        });
        let failed = *name == "no-dialect";
        assert_eq!(phase == "failed", failed, "{name}: {phase}");
        println!("| {name} | {phase} | {seen} |");
    }
}

fn the_insecure_one_shows(agent: &Agent, site: &Site) {
    let insecure = agent.scrape();
    for modem in ["insecure", "q-insecure"] {
        let labels = [("modem", modem), ("session", "s")];
        assert_eq!(insecure.sum("modemfleet_tls_insecure", &labels), 1.0, "{modem}");
    }
    assert_eq!(insecure.sum("modemfleet_tls_insecure", &[]), 2.0, "of the others it has no series");
    let target = format!("http://127.0.0.1:{}", site.port());
    let status = std::process::Command::new(modemfleet())
        .args(["status", "--url", &target])
        .output()
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.matches("connected, insecure").count(), 2, "{status}");
    assert!(agent.log().contains("the broker's certificate is not checked"));
}

/// Alibaba Cloud's securemode 2, with a user and a signature, and AWS, with a certificate alone.
#[test]
fn the_clouds_sign_in_over_tls() {
    let ours = Authority::new();
    let user = ("7600&a1mQpKOF9hp", "D48150E8D550607B15C667E100635EE96EA7D512");
    let ali = Mosquitto::over_tls(
        &ours.sign("*.mqtt.iothub.aliyuncs.com"),
        None,
        &[user, ("watcher", "x")],
    );
    let aws = Mosquitto::over_tls(&ours.sign("*.iot.eu-central-1.amazonaws.com"), Some(&ours), &[]);
    let mut site = Site::new();
    let files = Files(&site);
    let (ca, pair) = (files.ca("ca.pem", &ours), files.pair("thing", &ours.sign("thing")));
    let secret = site.secret("secret", "8f663b388dee796b931ebcb789b75a39");
    let cases = [("sim8200", &ali), ("sim8200", &aws), ("eg25", &aws)];
    let sims = cases.map(|(model, broker)| {
        let dir = site.dir().join(format!("{model}-{}", broker.port()));
        Sim::of_model(model, &dir, 1, &broker.address(), &[])
    });
    let [first, second, third] = sims.each_ref().map(|sim| sim.tty(0).display().to_string());
    site.body = format!(
        "brokers:
  ali: {{ provider: aliyun, instance_id: iot-060a0abc, tls: {{ {ca} }} }}
  aws: {{ provider: aws, url: \"mqtts://a1b2-ats.iot.eu-central-1.amazonaws.com\", tls: {{ {ca} }} }}
modems:
  ali:
    match: {{ port: {first} }}
    sessions:
      s:
        broker: ali
        product_key: a1mQpKOF9hp
        device_name: \"7600\"
        device_secret: {{ file: {secret} }}
        securemode: 2
  aws:
    match: {{ port: {second} }}
    sessions: {{ s: {{ broker: aws, client_id: thing, tls: {{ {pair} }} }} }}
  q-aws:
    match: {{ port: {third} }}
    sessions: {{ s: {{ broker: aws, client_id: other, tls: {{ {pair} }} }} }}
",
        secret = secret.display(),
    );
    site.log = "modemfleet::at=trace".to_owned();
    let agent = site.start();
    agent.connected("ali", "s");
    agent.connected("aws", "s");
    agent.connected("q-aws", "s");
    ali.logged(" as 7600|securemode=2,signmethod=hmacsha1| (p2, c1, k60, u'7600&a1mQpKOF9hp')");
    aws.logged(" as thing (p2, c1, k60).");
    aws.logged(" as other (p2, c1, k60).");
    let log = agent.log();
    assert!(log.contains("tcp://iot-060a0abc.mqtt.iothub.aliyuncs.com:8883"), "{log}");
    assert!(log.contains("AT+QMTOPEN=0,\"a1b2-ats.iot.eu-central-1.amazonaws.com\",8883"), "{log}");
    assert!(log.contains("tcp://a1b2-ats.iot.eu-central-1.amazonaws.com:8883"), "{log}");
}
