//! The level of the log, changed while the agent runs.

use std::process::{Command, Output};

use e2e::{Lab, modemfleet, run, until};

fn log(lab: &Lab, args: &[&str]) -> Output {
    let mut command = Command::new(modemfleet());
    command.arg("log").args(args).arg("--config").arg(lab.site.file());
    run(&mut command, b"")
}

#[test]
fn the_at_dialogue_of_one_modem_is_switched_on_and_off() {
    let mut lab = Lab::new(2);
    lab.site.log = "info".to_owned();
    let agent = lab.start();
    let lines_of = |modem: &str| {
        let name = format!("name=\"{modem}\"");
        let is = |line: &&String| line.contains(&name) && line.contains("AT+");
        agent.process.stderr().iter().filter(is).count()
    };
    assert_eq!(lines_of("m0"), 0);
    let on = log(&lab, &["--trace", "m0", "--for", "5m"]);
    let shown = String::from_utf8_lossy(&on.stdout).into_owned();
    assert!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
    assert_eq!(shown, "filter: info\nAT dialogue: m0\n");
    agent.publish("topic=t&session=m0/s", b"x");
    agent.publish("topic=t&session=m1/s", b"x");
    lab.subscriber.wait(2);
    until("the dialogue", || (lines_of("m0") >= 3).then_some(()));
    assert_eq!(lines_of("m1"), 0);
    let off = log(&lab, &["--untrace", "m0"]);
    assert_eq!(String::from_utf8_lossy(&off.stdout), "filter: info\n");
    let before = lines_of("m0");
    agent.publish("topic=t&session=m0/s", b"x");
    lab.subscriber.wait(3);
    assert_eq!(lines_of("m0"), before);
}

#[test]
fn lines_name_their_modem_though_only_warnings_are_logged() {
    let mut lab = Lab::new(1);
    lab.site.log = "warn".to_owned();
    let agent = lab.start();
    assert!(log(&lab, &["--trace", "m0"]).status.success());
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    let names = |line: &String| line.contains("AT+") && line.contains("name=\"m0\"");
    until("the dialogue", || agent.process.stderr().iter().any(names).then_some(()));
}

#[test]
fn a_wrong_wish_is_refused_and_changes_nothing() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    for (args, words) in
        [(["--filter", "mod==fleet"], "filter"), (["--trace", "m7"], "the fleet has no modem")]
    {
        let refused = log(&lab, &args);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(words), "{said}");
    }
    for body in ["", "{}x", "{\"colour\":1}", "{\"trace\":\"m0\",\"for_seconds\":0}"] {
        let answer = agent.http.ask("PUT", "/api/v1/log", &[], body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert!(agent.http.get("/api/v1/log").text().contains("\"debug\""));
}
