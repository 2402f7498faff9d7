//! Discovery messages for Home Assistant, made from a running agent, against the states that it
//! publishes.

use std::path::Path;
use std::process::Command;

use e2e::{Agent, Lab, Received, Subscriber, run, until};
use serde_json::{Value, json};

use crate::venv;

const TOPIC: &str = "homeassistant/device/modemfleet_gw_m0/config";

/// The most bytes that a Quectel takes as a payload.
const QUECTEL: usize = 1_500;

/// Renders templates as Home Assistant does: the state is `value_json`.
const RENDER: &str = "
import jinja2, json, sys
work = json.load(sys.stdin)
render = lambda text: jinja2.Environment().from_string(text).render(value_json=work['state'])
json.dump({name: render(text) for name, text in work['templates'].items()}, sys.stdout)
";

fn script(arguments: &[&str]) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/home-assistant/discovery.py");
    let mut script = Command::new(file);
    script.args(arguments);
    script
}

/// Runs the script, and returns its output.
fn output(lab: &Lab, arguments: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{}", lab.site.port());
    let output = run(script(&["--url", &url]).args(arguments), b"");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn lab() -> (Lab, Agent) {
    let mut lab = Lab::without_modems(1);
    lab.site.body = lab.site.body.replace("match:", "telemetry: { every: 1s }, poll: 1s, match:");
    lab.sims = vec![lab.plug_in(0, &[])];
    let agent = lab.start();
    // The announcement holds the firmware, which is read after the model.
    until("the firmware", || {
        agent.http.get("/api/v1/modems").text().contains("\"firmware\"").then_some(())
    });
    (lab, agent)
}

fn of<'a>(all: &'a [Received], topic: &str) -> Vec<&'a Received> {
    all.iter().filter(|message| message.topic == topic).collect()
}

/// Returns the entities with their templates rendered.
fn rendered(config: &Value, state: &Value) -> Value {
    let entities = config["cmps"].as_object().unwrap().iter();
    let templates: Value = entities.map(|(name, e)| (name.clone(), e["val_tpl"].clone())).collect();
    let python = venv::with("jinja", "jinja2", "jinja2");
    let work = json!({ "templates": templates, "state": state }).to_string();
    let output = run(Command::new(python).args(["-c", RENDER]), work.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_modem_is_announced_once_and_its_entities_read_its_states() {
    let (lab, agent) = lab();
    let printed = output(&lab, &["--every", "1"]);
    assert!(printed.starts_with("m0: "), "{printed}");
    let late = until("the retained message", || {
        let late = Subscriber::new(lab.broker.port()).wait(1);
        of(&late, TOPIC).first().map(|message| (*message).clone())
    });
    assert!(late.retain && late.payload.len() < QUECTEL, "{} bytes", late.payload.len());
    let config: Value = serde_json::from_slice(&late.payload).unwrap();
    assert_eq!(config["dev"]["mf"], "SIMCom");
    let ids: Vec<_> = config["cmps"].as_object().unwrap().values().map(|e| &e["uniq_id"]).collect();
    assert_eq!((ids.len(), ids[0]), (5, &json!("mf_gw_m0_operator")));

    // The topics are those that the agent publishes on.
    let (states, status) = (config["stat_t"].as_str().unwrap(), config["avty_t"].as_str().unwrap());
    let state = until("a state with all values", || {
        let all = lab.subscriber.messages();
        let states = of(&all, states).into_iter().rev();
        let mut states = states.map(|m| serde_json::from_slice::<Value>(&m.payload).unwrap());
        states.find(|state| state["operator"].is_string() && state["signals"].is_array())
    });
    assert_eq!(of(&lab.subscriber.messages(), status)[0].text(), "online");
    let wanted = json!({ "state": "serving", "signal": "-85.0", "operator": "CHINA MOBILE",
        "registration": "home", "temperature": "29.0" });
    assert_eq!(rendered(&config, &state), wanted);

    // A second run repeats nothing, and `--again` does.
    assert_eq!(output(&lab, &["--every", "1"]), printed);
    agent.drained();
    assert_eq!(of(&lab.subscriber.messages(), TOPIC).len(), 1);
    assert_ne!(output(&lab, &["--every", "1", "--again", "--session", "s"]), printed);
    until("it again", || (of(&lab.subscriber.messages(), TOPIC).len() == 2).then_some(()));
}

#[test]
fn values_that_are_missing_are_unknown_and_older_networks_have_a_signal() {
    let (lab, _agent) = lab();
    let printed = output(&lab, &["--print", "m0", "--topic", "t/${modem}", "--status", "none"]);
    let (topic, config) = printed.split_once(' ').unwrap();
    let config: Value = serde_json::from_str(config).unwrap();
    assert_eq!((topic, &config["stat_t"]), (TOPIC, &json!("t/m0")));
    assert!(config["avty_t"].is_null(), "without a status no entity may depend on it");
    let absent = rendered(&config, &json!({ "state": "absent" }));
    let wanted = json!({ "state": "absent", "signal": "None", "operator": "None",
        "registration": "None", "temperature": "None" });
    assert_eq!(absent, wanted, "Home Assistant takes None for unknown");
    for (signal, dbm) in [
        (json!({ "rat": "umts", "rscp_dbm": -90.0, "rssi_dbm": -80.0 }), "-90.0"),
        (json!({ "rat": "gsm", "rssi_dbm": -77.0 }), "-77.0"),
        (json!({ "rat": "gsm" }), "None"),
    ] {
        let rendered = rendered(&config, &json!({ "state": "serving", "signals": [signal] }));
        assert_eq!(rendered["signal"], dbm);
    }
}

#[test]
fn the_announcement_reports_a_wrong_name_and_an_absent_agent() {
    let (lab, _agent) = lab();
    let url = format!("http://127.0.0.1:{}", lab.site.port());
    for (arguments, words) in [
        (["m7", "--url", &*url], "no modem with sessions is called m7; there are: m0"),
        (["m0", "--url", "http://127.0.0.1:1"], "the agent does not answer at http://127.0.0.1:1"),
    ] {
        let output = run(&mut script(&arguments), b"");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(words) && !errors.contains("Traceback"), "{errors}");
    }
}
