//! The manifests: valid by Kubernetes' own schemas, and with a fleet file that the agent accepts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{modemfleet, run};
use serde_yaml::Value;

/// The oldest minor version that distributions for gateways still ship, and the newest of the
/// schemas.
const VERSIONS: [&str; 2] = ["1.32.0", "1.37.0"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes")
}

fn manifest(name: &str) -> Value {
    serde_yaml::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// Returns the validator, installed in its own folder.
fn validator() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes-validate");
    let program = dir.join("bin/kubernetes-validate");
    if !program.exists() {
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&dir), b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut pip = Command::new(dir.join("bin/python"));
        let got =
            run(pip.args(["-m", "pip", "install", "--quiet", "kubernetes-validate==1.37.0"]), b"");
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    }
    program
}

/// Returns the validator's message if it rejects one of the files.
fn refusal(version: &str, files: &[PathBuf]) -> Option<String> {
    let mut validate = Command::new(validator());
    let said = run(validate.args(["--strict", "-k", version]).args(files), b"");
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    (!said.status.success()).then_some(words)
}

#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    let files = ["namespace.yaml", "configmap.yaml", "daemonset.yaml"];
    let files = files.map(|name| folder().join(name));
    for version in VERSIONS {
        assert_eq!(refusal(version, &files), None, "{version}");
    }
    // An error is detected.
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.yaml");
    let text = fs::read_to_string(folder().join("daemonset.yaml")).unwrap();
    fs::write(&wrong, text.replace("hostNetwork:", "hostNetwrk:")).unwrap();
    assert!(refusal(VERSIONS[1], &[wrong]).is_some_and(|words| words.contains("hostNetwrk")));
}

#[test]
fn what_the_manifests_refer_to_is_there() {
    let pod = &manifest("daemonset.yaml")["spec"]["template"]["spec"];
    let main = &pod["containers"][0];
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_sequence().unwrap().iter();
        list.map(|each| each["name"].as_str().unwrap().to_owned()).collect()
    };
    let volumes = names(&pod["volumes"]);
    assert_eq!(names(&main["volumeMounts"]).len(), volumes.len());
    for mount in names(&main["volumeMounts"]) {
        assert!(volumes.contains(&mount), "{mount}");
    }
    let monitor = &manifest("podmonitor.yaml")["spec"];
    assert_eq!(monitor["podMetricsEndpoints"][0]["port"], main["ports"][0]["name"]);
    let selected = &manifest("daemonset.yaml")["spec"]["selector"]["matchLabels"];
    assert_eq!(&monitor["selector"]["matchLabels"], selected);
    let listed = manifest("kustomization.yaml")["resources"].as_sequence().unwrap().clone();
    for file in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name()) {
        let name = file.to_str().unwrap().to_owned();
        let is_listed = listed.iter().any(|each| each.as_str() == Some(&name));
        assert!(is_listed || ["README.md", "kustomization.yaml"].contains(&&*name), "{name}");
    }
}

#[test]
fn the_agent_takes_the_fleet_file_and_its_secrets_are_those_of_the_secret() {
    let config = manifest("configmap.yaml");
    let fleet = config["data"]["fleet.yaml"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.yaml");
    fs::write(&file, fleet).unwrap();
    let said = run(Command::new(modemfleet()).args(["check", "--all-gateways"]).arg(&file), b"");
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success() && words.contains("ok (1 modem"), "{words}");
    let pod = &manifest("daemonset.yaml")["spec"]["template"]["spec"];
    let port = pod["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap();
    assert!(fleet.contains(&format!(":{port}")), "the fleet file listens elsewhere");
    let generator = &manifest("kustomization.yaml")["secretGenerator"][0];
    let made = generator["files"].as_sequence().unwrap().iter().map(|file| file.as_str().unwrap());
    let mut made: Vec<&str> = made.map(|file| file.strip_prefix("secrets/").unwrap()).collect();
    let named = fleet.split("/run/secrets/modemfleet/").skip(1);
    let mut named: Vec<&str> = named.map(|rest| rest.split(' ').next().unwrap()).collect();
    made.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, made);
    let volume = pod["volumes"].as_sequence().unwrap().iter();
    let mut volume = volume.filter_map(|each| each["secret"]["secretName"].as_str());
    assert_eq!(volume.next(), generator["name"].as_str());
}

/// If a manifest had a token, each deployment would have the same published token.
#[test]
fn the_manifests_bring_no_secret_of_their_own() {
    assert!(
        !folder().join("secrets/token").exists() || is_ignored("deploy/kubernetes/secrets/token")
    );
    for file in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let brings = ["stringData", "kind: Secret", "literals:"].map(|word| text.contains(word));
        assert_eq!(brings, [false; 3], "{}", file.display());
    }
}

/// Reports whether git ignores a file of the repository.
fn is_ignored(path: &str) -> bool {
    let mut git = Command::new("git");
    git.current_dir(folder().join("../..")).args(["check-ignore", "--quiet", path]);
    run(&mut git, b"").status.success()
}
