//! Reloading from outside: the change of the file, the plan, and its effect at the broker.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{Agent, Http, Lab, Process, Signal, Site, modemfleet, run, until};

const RELOADS: &str = "modemfleet_config_reloads_total";

fn modemfleet_with(args: &[&str], file: &Path) -> Output {
    run(Command::new(modemfleet()).args(args).arg(file), b"")
}

/// Returns the lines of a plan that do not begin with `=`, without the summary.
fn changes(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.starts_with(['+', '-', '~'])).map(str::to_owned).collect()
}

/// Returns the connects and disconnects in order, after the first `from` lines of the broker's log.
fn seen(lab: &Lab, from: usize) -> Vec<String> {
    let event = |line: &String| {
        if line.contains("New client connected") {
            let id = line.split(" as ").nth(1)?.split(' ').next()?;
            return id.starts_with("gw-").then(|| format!("+{}", id.trim_start_matches("gw-")));
        }
        let id = line.split("Client gw-").nth(1)?.split(' ').next()?;
        match line {
            line if line.ends_with(" disconnected.") => Some(format!("-{id}")),
            line if line.contains("closed its connection") => Some(format!("!{id}")),
            _ => None,
        }
    };
    let mut events: Vec<String> = lab.broker.log().iter().skip(from).filter_map(event).collect();
    events.sort();
    events
}

fn sorted(words: &str) -> Vec<String> {
    let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

/// A change: its name, the replaced words, the lines of the plan, and the events at the broker.
/// In the plan `{reopened}` is the end of a sentence. An event is `+` for a CONNECT or `-` for a
/// DISCONNECT.
type Row =
    (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static str);

const TABLE: [Row; 10] = [
    ("nothing", &[], &[], ""),
    (
        "m0/s: keep_alive",
        &[(
            "modem0 }, sessions: { s: { broker: lab } }",
            "modem0 }, sessions: { s: { broker: lab, keep_alive: 45s } }",
        )],
        &["~ session m0/s: keep_alive; {reopened}"],
        "-m0-s +m0-s",
    ),
    (
        "m0/t: new",
        &[("keep_alive: 45s }", "keep_alive: 45s }, t: { broker: lab }")],
        &["+ session m0/t"],
        "+m0-t",
    ),
    (
        "m0/t: subscribe",
        &[("t: { broker: lab }", "t: { broker: lab, subscribe: [ { filter: down, qos: 1 } ] }")],
        &["~ session m0/t: subscribe; {reopened}"],
        "-m0-t +m0-t",
    ),
    (
        "m0/t: gone",
        &[(", t: { broker: lab, subscribe: [ { filter: down, qos: 1 } ] }", "")],
        &["- session m0/t: closed in order"],
        "-m0-t",
    ),
    (
        "the content of m1's password",
        &[],
        &["~ session m1/s: the content of a secret; {reopened}"],
        "-m1-s +m1-s",
    ),
    ("m2: new", &[("# third\n", "THIRD")], &["+ modem m2", "+ session m2/s"], "+m2-s"),
    (
        "the route's paths",
        &[("to: [m0/s, m1/s]", "to: [m2/s, m1/s]")],
        &["~ route #: to; nothing is closed"],
        "",
    ),
    (
        "m1: poll",
        &[("m1/modem0 }, sessions", "m1/modem0 }, poll: 20s, sessions")],
        &[
            "~ modem m1: poll; its sessions are closed in order, and the modem restarts",
            "~ session m1/s: its modem restarts; {reopened}",
        ],
        "-m1-s +m1-s",
    ),
    (
        "m2: gone",
        &[("THIRD", "# third\n"), ("[m2/s, m1/s]", "[m0/s, m1/s]")],
        &[
            "- modem m2: its sessions are closed in order",
            "- session m2/s: closed in order",
            "~ route #: to; nothing is closed",
        ],
        "-m2-s",
    ),
];

/// Makes a fleet of two modems, whose second signs in with a password. A third modem is plugged in
/// and not in the file: its entry is returned, to replace `# third`.
fn lab_of_three() -> (Lab, String) {
    let mut lab = Lab::new(3);
    let password = lab.site.secret("password", "one\n");
    let third =
        lab.site.body.lines().find(|line| line.starts_with("  m2:")).unwrap().to_owned() + "\n";
    let other = format!(
        "brokers: {{ other: {{ url: \"mqtt://other.example.com\", username: u, password: {{ file: {} }} }},",
        password.display()
    );
    let body = lab.site.body.replace(&third, "# third\n").replace("brokers: {", &other);
    let (first, second) = body.split_once("m1/modem0").unwrap();
    let second = second.replacen("broker: lab", "broker: other", 1);
    lab.site.body =
        format!("{first}m1/modem0{second}routes: [ {{ topic: \"#\", to: [m0/s, m1/s] }} ]\n");
    (lab, third)
}

/// Returns the plan of `check --diff`, and that of the reload itself.
fn reload(file: &Path) -> [Vec<String>; 2] {
    [&["check", "--diff"], &["reload", "--config"]].map(|args| {
        let output = modemfleet_with(args, file);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        changes(&output)
    })
}

#[test]
fn what_changed_in_the_file_is_what_the_broker_sees_and_nothing_else() {
    let (mut lab, third) = lab_of_three();
    let agent = lab.site.start();
    ["m0", "m1"].iter().for_each(|modem| agent.connected(modem, "s"));
    let mut published = 0;
    for (what, edits, plan, broker) in TABLE {
        let before = lab.broker.log().len();
        for (old, new) in edits {
            let (old, new) = (old.replace("THIRD", &third), new.replace("THIRD", &third));
            assert!(lab.site.body.contains(&old), "{old:?} is not in\n{}", lab.site.body);
            lab.site.body = lab.site.body.replacen(&old, &new, 1);
        }
        if what.contains("password") {
            let _ = lab.site.secret("password", "two\n");
        }
        agent.publish("topic=a", published.to_string().as_bytes());
        let said = reload(&lab.site.file());
        agent.publish("topic=a", (published + 1).to_string().as_bytes());
        published += 2;
        let whole = |line: &&str| line.replace("{reopened}", "closed in order and opened again");
        let plan: Vec<String> = plan.iter().map(whole).collect();
        assert_eq!(said, [plan.clone(), plan.clone()], "{what}");
        until(&format!("{what}: the broker to see {broker:?}"), || {
            (seen(&lab, before).len() >= sorted(broker).len()).then_some(())
        });
        ["m0", "m1"].iter().for_each(|modem| agent.connected(modem, "s"));
        agent.drained();
        assert_eq!(seen(&lab, before), sorted(broker), "{what}: at the broker");
        told(&row(what, &said[1], &seen(&lab, before)));
    }
    let payloads: Vec<String> =
        lab.subscriber.wait(published).iter().map(e2e::Received::text).collect();
    let expected: Vec<String> = (0..published).map(|number| number.to_string()).collect();
    assert_eq!(payloads, expected, "each once, in order");
    nothing_is_left_of_what_is_gone(&agent);
}

/// Makes a line of the table in docs/reload.md.
fn row(what: &str, plan: &[String], broker: &[String]) -> String {
    let said: Vec<String> = plan.iter().map(|line| format!("`{line}`")).collect();
    let event = |event: &String| {
        let (sign, id) = event.split_at(1);
        format!("{} of {id}", if sign == "+" { "CONNECT" } else { "DISCONNECT" })
    };
    let seen: Vec<String> = broker.iter().rev().map(event).collect();
    let or = |text: String, nothing: &str| if text.is_empty() { nothing.to_owned() } else { text };
    format!(
        "| {what} | {} | {} |",
        or(said.join("<br>"), "all `=`"),
        or(seen.join(", "), "nothing")
    )
}

/// Checks that the documentation has this observed line.
fn told(row: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reload.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.lines().any(|line| line == row), "docs/reload.md does not say\n{row}");
}

fn nothing_is_left_of_what_is_gone(agent: &Agent) {
    let scrape = agent.scrape();
    assert_eq!(scrape.sum(RELOADS, &[("result", "applied")]), 10.0);
    assert_eq!(scrape.sum(RELOADS, &[("result", "refused")]), 0.0);
    let text = agent.http.get("/metrics").text();
    let is_gone = |line: &&str| line.contains("\"m2\"") || line.contains("session=\"t\"");
    assert_eq!(text.lines().filter(is_gone).collect::<Vec<_>>(), Vec::<&str>::new());
    let modems = agent.http.get("/api/v1/modems").text();
    assert!(modems.contains("\"m1\"") && !modems.contains("\"m2\""), "{modems}");
    let refused = agent.http.publish("topic=a&session=m2/s", b"x");
    assert_eq!(refused.status, 404, "{}", refused.text());
}

/// Sets `to` of the only route.
fn routed(lab: &mut Lab, topic: &str, to: &str) {
    let modems = lab.site.body.split("routes:").next().unwrap().to_owned();
    lab.site.body = format!("{modems}routes: [ {{ topic: \"{topic}\", to: [{to}] }} ]\n");
}

#[test]
fn what_waits_for_a_route_that_goes_takes_the_one_that_matches_now_in_its_order() {
    let mut lab = Lab::without_modems(2);
    lab.sims.push(lab.plug_in(1, &[]));
    routed(&mut lab, "a/+", "m0/s");
    let agent = lab.site.start();
    agent.connected("m1", "s");
    for number in 0..20 {
        agent.publish("topic=a/b", number.to_string().as_bytes());
    }
    agent.publish("topic=a/b&session=m0/s", b"pinned");
    assert_eq!(agent.queued(), 21);
    routed(&mut lab, "#", "m1/s");
    let file = lab.site.file();
    let done = modemfleet_with(&["reload", "--config"], &file);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for number in 20..40 {
        agent.publish("topic=a/b", number.to_string().as_bytes());
    }
    let payloads: Vec<String> = lab.subscriber.wait(40).iter().map(e2e::Received::text).collect();
    assert_eq!(payloads, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
    // A message for one session waits for that session, also while the fleet has no such session.
    let line = lab.site.body.lines().find(|line| line.starts_with("  m0:")).unwrap().to_owned();
    lab.site.body = lab.site.body.replace(&format!("{line}\n"), "");
    let done = modemfleet_with(&["reload", "--config"], &lab.site.file());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(agent.queued(), 1);
    lab.site.body = lab.site.body.replace("routes:", &format!("{line}\nroutes:"));
    lab.sims.push(lab.plug_in(0, &[]));
    assert!(modemfleet_with(&["reload", "--config"], &lab.site.file()).status.success());
    agent.drained();
    assert_eq!(lab.subscriber.wait(41)[40].text(), "pinned");
}

#[test]
fn what_waits_for_a_route_that_is_split_goes_by_both_parts_in_the_order_of_each_topic() {
    let mut lab = Lab::without_modems(2);
    lab.sims.push(lab.plug_in(1, &[]));
    let modems = lab.site.body.clone();
    let routes = |all: &[[&str; 2]]| {
        let line = |[topic, to]: &[&str; 2]| format!("  - {{ topic: \"{topic}\", to: [{to}] }}\n");
        format!("{modems}routes:\n{}", all.iter().map(line).collect::<String>())
    };
    lab.site.body = routes(&[["a/#", "m0/s"], ["b", "m1/s"]]);
    let agent = lab.site.start();
    agent.connected("m1", "s");
    let put = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let topic = format!("topic=a/{}", number % 2);
            agent.publish(&topic, number.to_string().as_bytes());
        }
    };
    put(0..60);
    lab.site.body = routes(&[["a/0", "m1/s"], ["a/+", "m1/s"], ["b", "m1/s"]]);
    let file = lab.site.file();
    assert!(modemfleet_with(&["reload", "--config"], &file).status.success());
    put(60..80);
    agent.publish("topic=b", b"other");
    let arrived = lab.subscriber.wait(81);
    for part in [0, 1] {
        let of_part = arrived.iter().filter(|message| message.topic == format!("a/{part}"));
        let texts: Vec<String> = of_part.map(e2e::Received::text).collect();
        let want: Vec<String> = (0..80).filter(|n| n % 2 == part).map(|n| n.to_string()).collect();
        assert_eq!(texts, want);
    }
    agent
        .process
        .line("what was done in the log", |line| line.contains("were moved to other lanes"));
    agent.drained();
}

#[test]
fn a_file_with_errors_is_refused_and_the_old_fleet_runs_on() {
    let mut lab = Lab::new(1);
    let agent = lab.start();
    let good = lab.site.body.clone();
    lab.site.body = good.replace("broker: lab", "broker: nobody");
    let commented = |line: &str| {
        let comment = if line.contains("broker: nobody") { " # was hunter2" } else { "" };
        format!("{line}{comment}\n")
    };
    lab.site.body = lab.site.body.lines().map(commented).collect();
    let file = lab.site.file();
    let url = format!("http://127.0.0.1:{}", lab.site.port());
    let refused = run(Command::new(modemfleet()).args(["reload", "--url", &url]), b"");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("fleet.yaml:") && words.contains("nobody"), "{words}");
    assert_eq!(agent.sum(RELOADS, &[("result", "refused")]), 1.0);
    let refusal = |line: &str| line.contains("the reload is refused") && line.contains("nobody");
    agent.process.line("the refusal in the log", refusal);
    assert!(!agent.log().contains("hunter2"), "a comment is in the log: {}", agent.log());
    // The file still has the agent's address, so the command reaches the agent, which counts the
    // refusal.
    let refused = modemfleet_with(&["reload", "--config"], &file);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nobody"));
    assert_eq!(agent.sum(RELOADS, &[("result", "refused")]), 2.0);
    for command in [&["status", "--config"][..], &["queue", "stat", "--config"]] {
        let asked = modemfleet_with(command, &file);
        let words = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert!(asked.status.success() && words.contains("has errors"), "{words}");
    }
    assert_eq!(modemfleet_with(&["check", "--diff"], &file).status.code(), Some(2));
    agent.publish("topic=a", b"x");
    lab.subscriber.wait(1);
    assert_eq!(seen(&lab, 0), ["+m0-s"]);
    // The old file is not a change.
    lab.site.body = good;
    let done = modemfleet_with(&["reload", "--config"], &lab.site.file());
    assert!(done.status.success() && changes(&done).is_empty());
}

#[test]
fn what_needs_a_restart_is_named_with_its_reason_and_the_rest_is_done() {
    let lab = Lab::new(1);
    let agent = lab.start();
    let file = lab.site.file();
    let other = e2e::Port::free();
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace(&format!(":{}\"", lab.site.port()), &format!(":{}\"", other.number()))
        .replace("queue: {", "queue: { max_messages: 10,")
        .replace("gateway: gw", "gateway: gw\nshutdown_grace: 3s");
    let old = lab.site.dir().join("old.yaml");
    fs::copy(&file, &old).unwrap();
    fs::write(&file, text).unwrap();
    let url = format!("http://127.0.0.1:{}", lab.site.port());
    let done = run(Command::new(modemfleet()).args(["reload", "--json", "--url", &url]), b"");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let plan = answer["plan"].as_array().unwrap();
    let later = |name: &str| {
        plan.iter().find(|line| line["name"] == name).unwrap()["at_restart"].as_bool().unwrap()
    };
    assert!(later("http.listen") && later("queue") && !later("shutdown_grace"), "{answer}");
    // A comparison of two files needs no agent.
    let diff = run(Command::new(modemfleet()).args(["check", "--diff"]).arg(&old).arg(&file), b"");
    let said = changes(&diff);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().any(|l| l.contains("http.listen: applies when the agent restarts")));
    for number in 0..12 {
        agent.publish("topic=a", number.to_string().as_bytes());
    }
    lab.subscriber.wait(12);
    assert_eq!(seen(&lab, 0), ["+m0-s"]);
    drop(agent);
    let alone = modemfleet_with(&["reload", "--config"], &old);
    assert_eq!(alone.status.code(), Some(3), "no agent runs");
}

/// The fleet file is a pipe: its reader waits for its writer.
#[test]
fn a_reload_that_is_asked_for_while_the_agent_starts_is_not_lost() {
    let site = {
        let mut site = Site::new();
        site.body = "modems: { m0: { match: { port: /nowhere } } }\n".into();
        site
    };
    let text = fs::read_to_string(site.file()).unwrap();
    let pipe = site.dir().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(modemfleet());
    command.args(["run", "--log", "debug", "--config"]).arg(&pipe);
    let agent = Process::start("agent", &mut command);
    let handles_hang_up = || {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim();
        (u64::from_str_radix(caught, 16).ok()? & 1 == 1).then_some(())
    };
    until("the agent to listen for SIGHUP", handles_hang_up);
    agent.signal(Signal::HUP);
    let write = || {
        let mut pipe = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        pipe.write_all(text.as_bytes()).unwrap();
    };
    write();
    let agent = Agent { process: agent, http: Http::new(site.port()) };
    until("the agent", || {
        agent.http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 200)
    });
    // It has read the file and serves; now it reads the file again.
    write();
    until("the reload", || {
        let answer = agent.http.try_ask("GET", "/metrics", &[], b"")?;
        let line = format!("{RELOADS}{{result=\"applied\"}} 1");
        answer.text().contains(&line).then_some(())
    });
}

/// Many requests at once, by signal and by the API, while messages flow: reloads run one after
/// another.
#[test]
fn reloads_are_done_one_after_the_other_and_lose_nothing() {
    let mut lab = Lab::new(2);
    routed(&mut lab, "#", "m0/s, m1/s");
    let agent = lab.start();
    let file = lab.site.file();
    let texts = ["60s", "61s"].map(|keep_alive| {
        let text = fs::read_to_string(&file).unwrap();
        text.replacen(
            "s: { broker: lab }",
            &format!("s: {{ broker: lab, keep_alive: {keep_alive} }}"),
            1,
        )
    });
    let mut published = 0;
    for turn in 0..6 {
        let new = file.with_extension("new");
        fs::write(&new, &texts[turn % 2]).unwrap();
        fs::rename(&new, &file).unwrap();
        agent.process.signal(Signal::HUP);
        let asked: Vec<_> = (0..2)
            .map(|_| {
                let mut command = Command::new(modemfleet());
                command.args(["reload", "--config"]).arg(&file);
                Process::start("reload", &mut command)
            })
            .collect();
        for _ in 0..10 {
            agent.publish("topic=a", published.to_string().as_bytes());
            published += 1;
        }
        for mut asked in asked {
            let ended = asked.end_within(e2e::PATIENCE);
            assert!(ended.is_some_and(|status| status.success()), "{:?}", asked.stderr());
        }
    }
    agent.drained();
    assert_eq!(lab.subscriber.distinct().len(), published);
    assert_eq!(agent.sum(RELOADS, &[("result", "refused")]), 0.0);
    let connects = seen(&lab, 0);
    assert!(connects.iter().filter(|event| *event == "+m0-s").count() >= 6, "{connects:?}");
    assert_eq!(connects.iter().filter(|event| *event == "+m1-s").count(), 1, "{connects:?}");
    assert!(!connects.iter().any(|event| event.starts_with('!')), "{connects:?}");
}
