//! A session at Alibaba Cloud, against a broker with the single user of the published example.

use e2e::{Mosquitto, Sim, Site, Subscriber};

const SECRET: &str = "8f663b388dee796b931ebcb789b75a39";
const USER: &str = "7600&a1mQpKOF9hp";
const PASSWORD: &str = "D48150E8D550607B15C667E100635EE96EA7D512";
const CLIENT_ID: &str = "7600|securemode=3,signmethod=hmacsha1|";

fn site(broker: &Mosquitto, secret: &str, more: &str) -> (Site, Sim) {
    let mut site = Site::new();
    // The simulated modem's network leads to this broker, for every host name.
    let sim = Sim::start(&site.dir().join("sim"), 1, &broker.address(), &[]);
    let secret = site.secret("secret", secret);
    site.body = format!(
        "brokers: {{ ali: {{ provider: aliyun, region: cn-shanghai }} }}\n\
         modems:\n  north:\n    match: {{ port: {} }}\n    sessions:\n      cloud:\n        \
         broker: ali\n        product_key: a1mQpKOF9hp\n        device_name: \"7600\"\n        \
         device_secret: {{ file: {} }}\n{more}",
        sim.tty(0).display(),
        secret.display()
    );
    (site, sim)
}

#[test]
fn the_triple_signs_in_and_publishes() {
    let broker = Mosquitto::with_users(&[(USER, PASSWORD), ("watcher", "x")]);
    let watcher = Subscriber::with_login(broker.port(), "watcher", "x");
    let (site, _sim) = site(&broker, SECRET, "        keep_alive: 90s\n");
    let agent = site.start();
    agent.connected("north", "cloud");
    let line = broker.logged("New client connected from");
    assert!(!line.contains("gw-"), "{line}");
    // mosquitto: `as ID (pVERSION, cCLEAN, kKEEPALIVE, u'USER').`
    broker.logged(&format!(" as {CLIENT_ID} (p2, c1, k90, u'{USER}')"));
    agent.publish("topic=/a1mQpKOF9hp/7600/user/update", b"{\"t\":1}");
    let message = watcher.wait(1).remove(0);
    assert_eq!(message.topic, "/a1mQpKOF9hp/7600/user/update");
    assert_eq!(message.text(), "{\"t\":1}");
    agent.drained();
}

#[test]
fn the_modem_signs_by_itself_where_it_is_told_to() {
    let broker = Mosquitto::with_users(&[(USER, PASSWORD)]);
    let (mut site, _sim) = site(&broker, SECRET, "        aliauth: true\n");
    site.log = "modemfleet::at=trace".to_owned();
    let agent = site.start();
    agent.connected("north", "cloud");
    broker.logged(&format!(" as {CLIENT_ID} (p2, c1, k60, u'{USER}')"));
    let log = agent.log();
    assert!(log.contains(r#"AT+CMQTTCFG="aliauth",0,"a1mQpKOF9hp","7600",***"#), "{log}");
    assert!(log.contains(r#"AT+CMQTTACCQ=0,"7600",0,4"#), "{log}");
    // The agent computed no password, and its log does not contain the modem's secret.
    assert!(!log.contains(SECRET) && !log.contains(PASSWORD), "{log}");
}

#[test]
fn a_modem_that_cannot_sign_says_so() {
    let broker = Mosquitto::with_users(&[(USER, PASSWORD)]);
    let (mut site, _sim) = site(&broker, SECRET, "        aliauth: true\n");
    let _other = Sim::of_model("ec25", &site.dir().join("sim2"), 1, &broker.address(), &[]);
    site.body = site.body.replace("/sim/", "/sim2/");
    let agent = site.start();
    let words = "remove `aliauth`, and the agent signs";
    e2e::until("the session to fail", || {
        let fleet = agent.http.get("/api/v1/modems").text();
        (fleet.contains("\"phase\":\"failed\"") && fleet.contains(words)).then_some(())
    });
}

#[test]
fn the_wrong_secret_is_refused_by_the_broker_and_backed_off() {
    let broker = Mosquitto::with_users(&[(USER, PASSWORD)]);
    let (site, _sim) = site(&broker, "0000000000000000000000000000000f", "");
    let agent = site.start();
    broker.logged("Sending CONNACK to 127.0.0.1 (0, 5)"); // not authorized; it names no client
    let refused = [("session", "cloud"), ("result", "error")];
    e2e::until("the refusal to be counted", || {
        (agent.sum("modemfleet_mqtt_connects_total", &refused) > 0.5).then_some(())
    });
    assert!(!agent.is_connected("north", "cloud"));
    assert_eq!(agent.http.get("/readyz").status, 503);
}
