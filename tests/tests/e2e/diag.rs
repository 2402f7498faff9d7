//! The support bundle: its content for a running agent, a stopped agent and a broken file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{Lab, modemfleet, run, until};
use serde_json::Value;

fn diag(config: &Path, output: &Path) -> Output {
    let mut command = Command::new(modemfleet());
    run(command.arg("diag").arg("--config").arg(config).arg("-o").arg(output), b"")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the parts of a bundle by their names below its folder.
fn unpacked(archive: &Path) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let done = run(tar.arg("-xzf").arg(archive).arg("-C").arg(dir.path()), b"");
    assert!(done.status.success(), "{}", told(&done));
    let root = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut parts = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                parts.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    parts
}

fn json(parts: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&parts[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_bundle_tells_of_a_running_agent_and_around_a_stopped_one() {
    let mut lab = Lab::new(1);
    lab.site.log = "warn".to_owned();
    let mut agent = lab.start();
    agent.publish("topic=t&qos=1", b"payload that is nobody's business");
    lab.subscriber.wait(1);
    agent.drained();
    let (config, archive) = (lab.site.file(), lab.site.dir().join("bundle.tar.gz"));
    let done = diag(&config, &archive);
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), archive.display().to_string());
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = unpacked(&archive);
    assert_eq!(json(&parts, "status.json")["modems"][0]["name"], "m0");
    assert_eq!(json(&parts, "devices.json")["source"], "agent");
    assert_eq!(json(&parts, "queue.json")["messages"], 0);
    assert_eq!(json(&parts, "logging.json")["filter"], "warn");
    assert!(parts["metrics.txt"].contains("modemfleet_mqtt_connected{"));
    assert!(parts["fleet.yaml"].contains("mqtt://broker.example.com:1883"));
    // The bundle has the dialogue, although the log's filter drops it.
    for line in ["> AT+CMQTTSTART", "> AT+CMQTTCONNECT=0", "< AT+CMQTTPUB=0,1,60: "] {
        assert!(parts["at/m0.txt"].contains(line), "{line}: {}", parts["at/m0.txt"]);
    }
    assert!(parts["log.txt"].contains("INFO m0: connected session="), "{}", parts["log.txt"]);
    assert!(parts["machine/kernel.txt"].starts_with("Linux version"));
    assert!(!parts.values().any(|part| part.contains("nobody's business")));
    is_named(&parts, &told(&done));
    // An existing file is not overwritten.
    let before = fs::read(&archive).unwrap();
    assert_eq!(diag(&config, &archive).status.code(), Some(1));
    assert_eq!(fs::read(&archive).unwrap(), before);
    agent.process.kill();
    around_a_stopped_agent(&lab);
}

/// The manifest names each part, and gives a reason for each that is missing.
fn is_named(parts: &BTreeMap<String, String>, told: &str) {
    let manifest = json(parts, "manifest.json");
    let mut named: Vec<&str> =
        manifest["parts"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    named.push("manifest.json");
    named.sort_unstable();
    assert_eq!(named, parts.keys().map(String::as_str).collect::<Vec<_>>());
    for missing in manifest["missing"].as_array().unwrap() {
        let name = missing["name"].as_str().unwrap();
        assert!(!missing["reason"].as_str().unwrap().is_empty() && !parts.contains_key(name));
        assert!(told.contains(&format!("not in the bundle: {name}: ")), "{told}");
    }
}

fn around_a_stopped_agent(lab: &Lab) {
    let archive = lab.site.dir().join("stopped.tar.gz");
    let done = diag(&lab.site.file(), &archive);
    assert!(done.status.success(), "{}", told(&done));
    let parts = unpacked(&archive);
    assert_eq!(json(&parts, "queue.json")["messages"], 0, "the folder is read itself");
    assert_eq!(json(&parts, "devices.json")["source"], "this process");
    let manifest = json(&parts, "manifest.json");
    for name in ["status.json", "metrics.txt", "log.txt and at/"] {
        let missing = manifest["missing"].as_array().unwrap();
        let missing = missing.iter().find(|missing| missing["name"] == name);
        let reason = missing.unwrap_or_else(|| panic!("{name}: {manifest}"))["reason"].as_str();
        assert!(reason.unwrap().contains("no agent runs"), "{name}: {reason:?}");
    }
}

#[test]
fn a_broken_file_is_told_without_what_it_may_hold() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let file = lab.site.dir().join("broken.yaml");
    for (text, line) in [
        (
            "gateway: gw\nmodems: { m: { match: { port: /tmp/x }, pasword: hunter2 } }\n",
            "pasword: ***",
        ),
        ("gateway: gw\npassword: \"hunter2\nmodems: [\n", "password: ***"),
        ("gateway: \u{1}hunter2\n", "gateway: ***"),
    ] {
        fs::write(&file, text).unwrap();
        let archive = lab.site.dir().join(format!("{}.tar.gz", text.len()));
        let done = diag(&file, &archive);
        assert!(done.status.success(), "{}", told(&done));
        let parts = unpacked(&archive);
        assert!(parts["fleet.yaml"].contains(line), "{}", parts["fleet.yaml"]);
        assert!(!json(&parts, "problems.json").as_array().unwrap().is_empty());
        let all = parts.values().cloned().collect::<String>() + &told(&done);
        assert!(!all.contains("hunter2"), "{all}");
    }
    let absent = diag(Path::new("/no/such/fleet.yaml"), &lab.site.dir().join("absent.tar.gz"));
    assert!(absent.status.success(), "{}", told(&absent));
    assert!(told(&absent).contains("not in the bundle: fleet.yaml: "), "{}", told(&absent));
    until("the agent", || agent.http.try_ask("GET", "/healthz", &[], b""));
}
