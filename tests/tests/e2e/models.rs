//! Models in the field: a file in a folder makes a rebadged modem serve, without a build and a
//! restart.

use std::fs;
use std::process::{Command, Output};

use e2e::{Lab, Sim, modemfleet, run, until};
use serde_json::Value;

/// A model file for a SIM7600 under another name.
const ACME: &str = "models:
  - like: sim7600
    cgmm: [ACME-4G]
";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_file_of_three_lines_makes_a_rebadged_modem_serve_and_a_wrong_one_changes_nothing() {
    let mut lab = Lab::without_modems(1);
    let folder = |name: &str| {
        let folder = lab.site.dir().join(name);
        fs::create_dir(&folder).unwrap();
        folder.to_str().unwrap().to_owned()
    };
    let (models, others) = (folder("models.d"), folder("others.d"));
    lab.site.arguments = vec!["--models".to_owned(), models.clone()];
    let (file, dir) = (lab.site.file(), lab.site.dir().join("m0"));
    fs::write(format!("{others}/acme.yaml"), ACME).unwrap();
    let sim = Sim::of_model("acme-4g", &dir, 1, &lab.broker.address(), &["--models", &others]);
    let call = |words: &[&str]| -> Output { run(Command::new(modemfleet()).args(words), b"") };
    let reload = || call(&["reload", "--config", file.to_str().unwrap()]);
    let check = || call(&["check", "--models", &models, file.to_str().unwrap()]);
    let explain = |models: &str| {
        let tty = sim.tty(0);
        call(&["profiles", "explain", tty.to_str().unwrap(), "--models", models])
    };

    // No profile knows the model. `explain` works without the agent, which has closed the port.
    let agent = lab.site.start();
    let failed = [("modem", "m0"), ("state", "failed")];
    until("the modem to be given up", || {
        (agent.sum("modemfleet_modem_state", &failed) > 0.5).then_some(())
    });
    let modem =
        || -> Value { serde_json::from_str(&agent.http.get("/api/v1/modems").text()).unwrap() };
    let shown = modem().to_string();
    assert!(shown.contains("no profile knows the model") && shown.contains("ACME-4G"), "{shown}");
    let told = explain(&models);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stdout));
    assert!(text(&told.stdout).contains("CGMM     ACME-4G\n\nno entry matches"), "{told:?}");
    let told = explain(&others);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stdout));
    assert!(text(&told.stdout).contains("winner   acme-4g: begins with ACME-4G"), "{told:?}");

    // The file is added, and a reload.
    fs::write(format!("{models}/acme.yaml"), ACME).unwrap();
    let done = reload();
    let plan = text(&done.stdout);
    assert!(done.status.success(), "{done:?}");
    assert!(plan.contains("~ setting models\n"), "{plan}");
    assert!(plan.contains("~ modem m0: the entry of its model; "), "{plan}");
    agent.connected("m0", "s");
    assert!(modem().to_string().contains("\"acme-4g\""), "{}", modem());

    // Another file is wrong: nothing changes, and the command names the place of the error.
    let bad = format!("{models}/bad.yaml");
    fs::write(
        &bad,
        "models:\n  - like: sim7600\n    cgmm: [ACME-5G]\n    usb: [{ id: \"1e0e:9001\" }]\n",
    )
    .unwrap();
    let refused = reload();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    for refused in [refused, check()] {
        let words = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{words}");
        assert!(words.contains("bad.yaml:4:11") && words.contains("has no `at`"), "{words}");
    }
    assert!(agent.is_connected("m0", "s"));
    agent.publish("topic=t&qos=1", b"it serves on");
    agent.drained();
    let labels = |result| [("result", result)];
    assert!((agent.sum("modemfleet_config_reloads_total", &labels("refused")) - 1.0).abs() < 0.1);

    // The wrong file is removed, and nothing changes.
    fs::remove_file(&bad).unwrap();
    assert!(check().status.success());
    assert!(!text(&reload().stdout).contains("models"), "nothing changed");
    assert!(agent.is_connected("m0", "s"));
}
