//! The command line: exit codes, the stream of each output, and known answers.

use std::fs;
use std::process::{Command, Output};

use e2e::{PATIENCE, Port, Process, Signal, Site, modemfleet, run};

const SECRET: &str = "8f663b388dee796b931ebcb789b75a39";

fn modemfleet_with(words: &[&str]) -> Command {
    let mut command = Command::new(modemfleet());
    command.args(words).env_remove("MODEMFLEET_LOG");
    command
}

fn call(words: &[&str]) -> Output {
    run(&mut modemfleet_with(words), b"")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_that_the_readme_names_is_there() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let in_text = readme.split("modemfleet ").skip(1);
    let in_table = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let word =
        |text: &str| -> String { text.chars().take_while(char::is_ascii_lowercase).collect() };
    let known = out(&call(&["--help"]));
    let commands: std::collections::BTreeSet<String> = known
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(word)
        .filter(|w| !w.is_empty())
        .collect();
    assert!(commands.contains("publish") && commands.contains("sim"), "{known}");
    let mut named = 0;
    for text in
        in_text.filter(|text| text.starts_with(|c: char| c.is_ascii_lowercase())).chain(in_table)
    {
        let command = word(text);
        if text.get(command.len()..).is_some_and(|rest| rest.starts_with([' ', '`', '\n', ','])) {
            named += 1;
            assert!(
                commands.contains(&command),
                "README names `modemfleet {command}`; known: {commands:?}"
            );
        }
    }
    assert!(named > 10, "only {named} commands were found in README.md");
}

#[test]
fn help_and_version_are_answered_for_each_command() {
    for words in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["sign", "--help"],
        &["sign", "aliyun", "--help"],
        &["sim", "--help"],
        &["demo", "--help"],
        &["publish", "--help"],
        &["status", "--help"],
        &["profiles", "decode", "--help"],
        &["schema", "--help"],
    ] {
        let output = call(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(out(&output).contains("Usage: modemfleet"), "{words:?}: {}", out(&output));
        assert!(output.stderr.is_empty(), "{words:?}: {}", err(&output));
    }
    let version = call(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(out(&version).starts_with("modemfleet "), "{}", out(&version));
}

#[test]
fn wrong_usage_ends_with_2_and_says_why_on_stderr() {
    let key = ["--product-key", "k", "--device-name", "n"];
    let sign = |more: &[&str]| call(&[&["sign", "aliyun"][..], &key, more].concat());
    for (what, output) in [
        ("no command", call(&[])),
        ("no such command", call(&["fly"])),
        ("no such option", call(&["run", "--fast"])),
        ("no file to check", call(&["check"])),
        ("no model", call(&["sim", "--broker", "127.0.0.1:1"])),
        ("no such model", call(&["sim", "--model", "sim1", "--broker", "127.0.0.1:1"])),
        ("no such fault", sim_fault("boredom=0.1")),
        ("no probability", sim_fault("late=2")),
        ("no secret", sign(&[])),
        ("two secrets", sign(&["--device-secret-file", "-", "--device-secret-env", "X"])),
        ("no such method", sign(&["--device-secret-file", "-", "--method", "md4"])),
        ("no such mode", sign(&["--device-secret-file", "-", "--securemode", "1"])),
        ("no such file", sign(&["--device-secret-file", "/nowhere/secret"])),
        ("no such variable", sign(&["--device-secret-env", "MODEMFLEET_TEST_NOT_SET"])),
        ("an empty secret", sign(&["--device-secret-file", "-"])),
        ("an empty cloud", call(&["sign"])),
    ] {
        assert_eq!(output.status.code(), Some(2), "{what}: {}", err(&output));
        assert!(!output.stderr.is_empty(), "{what}");
        assert!(output.stdout.is_empty(), "{what}: {}", out(&output));
    }
}

fn sim_fault(fault: &str) -> Output {
    call(&["sim", "--model", "sim7600", "--broker", "127.0.0.1:1", "--fault", fault])
}

#[test]
fn check_tells_good_from_bad_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, more: &[&str]| {
        let file = dir.path().join("fleet.yaml");
        fs::write(&file, text).unwrap();
        call(&[&["check", file.to_str().unwrap()], more].concat())
    };
    let good = "brokers: { b: { url: \"mqtt://h\" } }\nmodems:\n  m: { match: { port: /dev/ttyS9 }, sessions: { s: { broker: b } } }\n";
    let output = check(good, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("1 modem, 1 session, 1 route"), "{}", out(&output));
    let report: serde_json::Value =
        serde_json::from_slice(&check(good, &["--json"]).stdout).unwrap();
    assert_eq!((&report["ok"], &report["modems"]), (&true.into(), &1.into()));

    // Line and column of the wrong value.
    for (bad, place) in [
        (good.replace("broker: b }", "broker: c }"), ":3:62"),
        (good.replace("match:", "macht:"), ":3:8"),
        (good.replace("url", "ulr"), ":1:17"),
        (good.replace("mqtt://h", "ftp://h"), ":1:"),
        (format!("{good}modems: {{}}\n"), ":4:1"),
        (good.replace("  m:", "  m: ["), ":4:1"),
        (format!("http: {{ listen: \"0.0.0.0:9810\" }}\n{good}"), ":1:"),
    ] {
        let output = check(&bad, &[]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        let told = err(&output);
        assert!(told.contains(&format!("fleet.yaml{place}")), "wanted {place} in: {told}");
        assert!(output.stdout.is_empty());
        let json: serde_json::Value =
            serde_json::from_slice(&check(&bad, &["--json"]).stdout).unwrap();
        assert_eq!(json["ok"], false, "{bad}");
        assert!(json["problems"][0]["line"].as_u64() > Some(0), "{json}");
    }
    let missing = call(&["check", "/nowhere/fleet.yaml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", err(&missing));
}

#[test]
fn check_reads_the_secrets_unless_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.yaml");
    fs::write(
        &file,
        "brokers: { b: { url: \"mqtt://h\", username: u, password: { file: /nowhere/password } } }\n\
         modems: { m: { match: { port: /dev/ttyS9 }, sessions: { s: { broker: b } } } }\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = call(&["check", file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("/nowhere/password"), "{}", err(&output));
    assert_eq!(call(&["check", "--without-secrets", file]).status.code(), Some(0));
}

#[test]
fn run_ends_with_2_for_a_bad_file_and_with_1_where_it_cannot_work() {
    for words in [
        &["run", "--config", "/nowhere/fleet.yaml"][..],
        &["run", "--config", "/dev/null", "--log", "=="],
    ] {
        let output = call(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
    }
    let mut site = Site::new();
    site.body = "modems: { m: { match: { port: /dev/ttyS9 } } }\n".to_owned();
    site.log = "info,==".to_owned();
    let mut agent = site.spawn();
    let end = agent.process.end_within(PATIENCE).and_then(|end| end.code());
    assert_eq!(end, Some(2), "a wrong filter is wrong usage: {}", agent.log());

    // Another program has the port.
    site.log = "info".to_owned();
    let _other = std::net::TcpListener::bind(("127.0.0.1", site.port())).unwrap();
    let mut agent = site.spawn();
    let end = agent.process.end_within(PATIENCE).and_then(|end| end.code());
    assert_eq!(end, Some(1), "{}", agent.log());
    assert!(agent.log().contains(&site.port().to_string()), "{}", agent.log());
}

#[test]
fn aliyun_signatures_are_the_published_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let triple = ["sign", "aliyun", "--product-key", "a1mQpKOF9hp", "--device-name", "7600"];
    let sign = |from: &[&str], more: &[&str], input: &str| {
        let words = [&triple[..], from, more].concat();
        let mut command = modemfleet_with(&words);
        let output = run(command.env("TEST_DEVICE_SECRET", SECRET), input.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        assert!(!(out(&output) + &err(&output)).contains(SECRET), "the secret is in the output");
        out(&output)
    };
    let file = ["--device-secret-file", file.to_str().unwrap()];
    let (stdin, env) =
        (["--device-secret-file", "-"], ["--device-secret-env", "TEST_DEVICE_SECRET"]);
    let sha1 = "D48150E8D550607B15C667E100635EE96EA7D512";
    for (from, input) in [(&file, ""), (&stdin, SECRET), (&env, "")] {
        let told = sign(from, &[], input);
        for word in [
            "a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883",
            "7600|securemode=3,signmethod=hmacsha1|",
            "7600&a1mQpKOF9hp",
        ] {
            assert!(told.contains(word), "{word} is not in {told}");
        }
        assert!(told.to_uppercase().contains(sha1), "{told}");
    }
    for (method, password) in [
        ("hmacmd5", "dd2c4151db496f3b4b4563f26004f050"),
        ("hmacsha256", "5dad29464dc054288c376b2a9b6003cc167c38904d264be78f2e48c9cfdf2bac"),
    ] {
        let told = sign(&file, &["--method", method, "--json", "--securemode", "2"], "");
        let json: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert!(json["password"].as_str().unwrap().eq_ignore_ascii_case(password), "{told}");
        let id = format!("7600|securemode=2,signmethod={method}|");
        assert_eq!(json["client_id"], id.as_str());
        assert_eq!(json["username"], "7600&a1mQpKOF9hp");
    }
}

#[test]
fn the_example_of_the_manual_is_signed_as_there() {
    let words = "sign aliyun --product-key pk --device-name device --client-id 12345 \
                 --timestamp 789 --device-secret-file -";
    let words: Vec<_> = words.split_whitespace().collect();
    let told = out(&run(&mut modemfleet_with(&words), b"secret"));
    assert!(told.to_uppercase().contains("FAFD82A3D602B37FB0FA8B7892F24A477F851A14"), "{told}");
    assert!(told.contains("timestamp=789|"), "{told}");
    assert!(told.contains("device&pk"), "{told}");
}

#[test]
fn sim_prints_a_name_and_a_tty_for_each_modem() {
    let dir = tempfile::tempdir().unwrap();
    let broker = format!("127.0.0.1:{}", Port::free().number());
    for (model, count, folder) in [("sim7600", "3", Some(dir.path())), ("a7670", "1", None)] {
        let mut command =
            modemfleet_with(&["sim", "--model", model, "--count", count, "--broker", &broker]);
        if let Some(folder) = folder {
            command.arg("--dir").arg(folder);
        }
        let mut sim = Process::start("sim", &mut command);
        let count: usize = count.parse().unwrap();
        e2e::until("the lines", || (sim.stdout().len() == count).then_some(()));
        for (place, line) in sim.stdout().iter().enumerate() {
            let (name, tty) = line.split_once(' ').unwrap();
            assert_eq!(name, format!("modem{place}"));
            let is_tty = fs::canonicalize(tty).unwrap();
            assert!(is_tty.starts_with("/dev/pts"), "{line}: {}", is_tty.display());
            if let Some(folder) = folder {
                assert_eq!(tty, folder.join(name).to_str().unwrap());
            }
        }
        sim.signal(Signal::TERM);
        let end = sim.end_within(PATIENCE).and_then(|end| end.code());
        assert_eq!(end, Some(0));
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "links stay behind: {left:?}");
}

#[test]
fn sim_on_ttys_that_are_not_there_ends_with_1() {
    let words = ["sim", "--model", "sim7600", "--broker", "127.0.0.1:1", "--tty", "/nowhere/tty"];
    let output = call(&words);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("/nowhere/tty"), "{}", err(&output));
}
