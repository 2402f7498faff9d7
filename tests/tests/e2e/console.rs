//! The AT console: a further user of a modem's port, beside the sessions or alone.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use e2e::{Agent, Lab, Mosquitto, Process, Sim, Subscriber, modemfleet, run, until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn command(lab: &Lab, args: &[&str]) -> Command {
    let mut command = Command::new(modemfleet());
    command.arg("at").args(args).arg("--config").arg(lab.site.file());
    command
}

fn at(lab: &Lab, args: &[&str]) -> Output {
    run(&mut command(lab, args), b"")
}

/// Adds a socket: `--dangerous` needs a socket or a token.
fn with_socket(mut lab: Lab) -> Lab {
    lab.site.http = format!(", socket: {}", lab.site.dir().join("api.sock").display());
    lab
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a request to the API, as the command does.
fn post(agent: &Agent, body: &Value) -> (u16, Value) {
    let answer = agent.http.ask("POST", "/api/v1/at", &[JSON], body.to_string().as_bytes());
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or_default())
}

#[test]
fn commands_go_beside_a_load_and_disturb_nothing() {
    const MESSAGES: usize = 60;
    let mut lab = Lab::without_modems(1);
    lab.sims = vec![lab.plug_in(0, &["--latency", "3"])];
    let agent = lab.start();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            for number in 0..MESSAGES {
                agent.publish("topic=t&qos=1", number.to_string().as_bytes());
            }
        });
        for (line, begins) in
            [("AT+CSQ", "+CSQ:"), ("AT+CREG?", "+CREG:"), ("AT+CGMM", "SIMCOM_SIM7600")]
        {
            let agent = &agent;
            scope.spawn(move || {
                for _ in 0..12 {
                    let (status, answer) = post(agent, &json!({ "modem": "m0", "line": line }));
                    assert_eq!(status, 200, "{answer}");
                    assert_eq!(answer["code"], "OK", "{line}: {answer}");
                    let first = answer["lines"][0].as_str().unwrap_or_default();
                    assert!(first.starts_with(begins), "{line}: {answer}");
                }
            });
        }
        load.join().unwrap();
    });
    let seen = lab.subscriber.wait(MESSAGES);
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(seen.iter().map(e2e::Received::text).collect::<Vec<_>>(), expected);
    agent.drained();
    let modem = [("modem", "m0")];
    assert_eq!(agent.queued(), 0);
    assert!(agent.sum("modemfleet_mqtt_connects_total", &modem) < 1.5, "it connected again");
    assert!(agent.sum("modemfleet_mqtt_disconnects_total", &modem) < 0.5);
    assert!(agent.sum("modemfleet_at_desyncs_total", &modem) < 0.5);
}

#[test]
fn what_the_modem_says_is_shown_and_still_reaches_its_session() {
    let mut lab = Lab::without_modems(1);
    lab.site.body = lab
        .site
        .body
        .replace("broker: lab }", "broker: lab, subscribe: [ { filter: down, qos: 1 } ] }");
    lab.sims = vec![lab.plug_in(0, &[])];
    let agent = lab.start();
    let console = Process::start("console", &mut command(&lab, &["m0", "--listen", "60s", "AT"]));
    console.line("the answer", |line| line == "OK");
    agent.publish("topic=down&qos=1", b"hello \x1b[2J");
    console.line("the URC", |line| line.starts_with("! +CMQTTRXPAYLOAD: 0,10"));
    // Control characters would command the terminal, so they are replaced.
    console.line("its data", |line| line == "! hello \u{fffd}[2J");
    until("the session to receive it", || {
        (agent.sum("modemfleet_mqtt_received_total", &[("modem", "m0")]) > 0.5).then_some(())
    });
}

#[test]
fn what_may_harm_is_refused_here_and_there() {
    let lab = with_socket(Lab::new(1));
    let agent = lab.start();
    for line in ["AT+CFUN=1,1", "at+csq; +cfun = 0", "AT+CMQTTDISC=0,60", "ATE1", "AT+NOSUCH=1"] {
        let refused = at(&lab, &["m0", line]);
        assert_eq!(refused.status.code(), Some(2), "{line}: {}", err(&refused));
        assert!(err(&refused).contains("`--dangerous` sends it"), "{}", err(&refused));
        let (status, answer) = post(&agent, &json!({ "modem": "m0", "line": line }));
        assert_eq!((status, answer["error"].as_str()), (403, Some("dangerous")), "{answer}");
    }
    assert!(agent.is_connected("m0", "s"));
    assert!(!agent.log().contains("> AT+CFUN"), "it was not sent");
    // A dangerous command with `--dangerous` is sent, and logged.
    let sent = at(&lab, &["m0", "--dangerous", "AT+CMQTTDISC=0,60"]);
    assert!(sent.status.success(), "{}", err(&sent));
    assert!(out(&sent).contains("+CMQTTDISC: 0,0"), "{}", out(&sent));
    assert!(agent.log().contains("command sent from the console"));
    for (body, status, word) in [
        (json!({ "modem": "m0", "line": "CSQ" }), 400, "command"),
        (json!({ "modem": "m0", "line": "AT+CSQ", "dangerous": true }), 403, "needs_token"),
        (json!({ "modem": "m0", "line": "AT", "data_base64": "YQ==" }), 400, "command"),
        (json!({ "modem": "m0", "line": "AT", "data_base64": "?" }), 400, "body"),
        (json!({ "modem": "m0", "line": "AT", "timeout_ms": 60_000 }), 403, "dangerous"),
        (json!({ "modem": "m0", "line": "AT", "timeout_ms": 0 }), 400, "command"),
        (json!({ "modem": "m7", "line": "AT" }), 404, "unknown_modem"),
        (json!({ "modem": "m0", "line": "AT", "colour": "red" }), 400, "body"),
        (json!({ "modem": "m0", "line": "A".repeat(30_000) }), 413, "too_large"),
    ] {
        let (got, answer) = post(&agent, &body);
        assert_eq!((got, answer["error"].as_str()), (status, Some(word)), "{body}: {answer}");
    }
    // A page of another origin could make a browser send this.
    let simple = agent.http.ask("POST", "/api/v1/at", &[], b"{\"modem\":\"m0\",\"line\":\"AT\"}");
    assert_eq!(simple.status, 415);
    // A page whose name now resolves to this machine could make a browser send this.
    let mut rebound = agent.http.connect().unwrap();
    let head =
        "POST /api/v1/at HTTP/1.1\r\nHost: evil.example.com\r\nContent-Type: application/json\r\n";
    let body = "{\"modem\":\"m0\",\"line\":\"AT\"}";
    write!(rebound, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let rebound = e2e::read_answer(&mut rebound).expect("an answer");
    assert_eq!(rebound.status, 421, "{}", rebound.text());
    assert_eq!(agent.http.get("/api/v1/at?modem=m7").status, 404);
}

#[test]
fn the_console_needs_the_token_as_the_rest_of_the_api_does() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("token", "visible-ascii-token");
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let agent = lab.site.start();
    let body = json!({ "modem": "m0", "line": "AT" });
    assert_eq!(post(&agent, &body).0, 401);
    assert_eq!(agent.http.get("/api/v1/at?modem=m0").status, 401);
    let bearer = ("Authorization", "Bearer visible-ascii-token");
    let shown = agent.http.ask("POST", "/api/v1/at", &[JSON, bearer], body.to_string().as_bytes());
    assert_eq!(shown.status, 409, "{}", shown.text());
    let insisting = json!({ "modem": "m0", "line": "AT", "dangerous": true }).to_string();
    let shown = agent.http.ask("POST", "/api/v1/at", &[JSON, bearer], insisting.as_bytes());
    assert_eq!(shown.status, 409, "who shows the token may insist: {}", shown.text());
}

#[test]
fn a_modem_that_is_absent_unknown_or_mute_is_told_as_such() {
    let mut lab = Lab::without_modems(2);
    lab.sims = vec![lab.plug_in(1, &["--ill", "mute=never"])];
    let agent = lab.site.start();
    for (modem, words) in
        [("m0", "no open port now, it is absent"), ("m7", "the fleet has no modem")]
    {
        let output = at(&lab, &[modem, "AT"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains(words), "{}", err(&output));
    }
    let mute = at(&lab, &["m1", "AT"]);
    let told = err(&mute);
    assert_eq!(mute.status.code(), Some(1), "{told}");
    assert!(told.contains("no complete answer") || told.contains("no open port"), "{told}");
    drop(agent);
    // Without an agent the command opens the tty of the fleet file, if it has one.
    let absent = at(&lab, &["m0", "AT"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(err(&absent).contains("no agent runs: using"), "{}", err(&absent));
    let nobody = at(&lab, &["m7", "AT"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", err(&nobody));
}

/// A caller that leaves at any step leaves the port usable for others.
#[test]
fn a_caller_that_goes_away_wedges_nothing() {
    let mut lab = with_socket(Lab::without_modems(1));
    lab.sims = vec![lab.plug_in(0, &["--latency", "150"])];
    let agent = lab.start();
    for (round, args) in [
        &["m0", "AT+CSQ"][..],
        &["m0", "--dangerous", "AT+CMQTTTOPIC=0,5", "--data", "wrong"],
        &["m0", "--dangerous", "AT+CMQTTSUBTOPIC=0,5,1", "--data", "t/sub"],
    ]
    .iter()
    .enumerate()
    {
        let before = agent.log().matches("command sent from the console").count();
        let mut console = Process::start("console", &mut command(&lab, args));
        until("the command", || {
            (agent.log().matches("command sent from the console").count() > before).then_some(())
        });
        console.kill();
        agent.publish("topic=right&qos=1", round.to_string().as_bytes());
        let next = at(&lab, &["m0", "AT+CSQ"]);
        assert!(next.status.success() && out(&next).starts_with("+CSQ:"), "{}", err(&next));
    }
    let seen = lab.subscriber.wait(3);
    assert!(seen.iter().all(|message| message.topic == "right"), "{seen:?}");
    assert!(agent.sum("modemfleet_mqtt_disconnects_total", &[]) < 0.5);
}

/// More commands at once than people type are rejected, and those under way are answered.
#[test]
fn no_more_commands_wait_than_there_are_places() {
    let mut lab = Lab::without_modems(1);
    lab.sims = vec![lab.plug_in(0, &["--latency", "100"])];
    let agent = lab.start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || post(&agent, &json!({ "modem": "m0", "line": "AT+CSQ" })).0;
        let asking: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|got| **got == status).count();
    assert!(count(200) >= 16 && count(429) >= 1, "{statuses:?}");
    assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
    assert_eq!(post(&agent, &json!({ "modem": "m0", "line": "AT" })).0, 200);
}

/// The dialogue of the vendor's tutorial, typed into a terminal program with pauses.
const TUTORIAL: &str = "# the service, a client, the connection
at+cmqttstart
at+cmqttaccq=0,\"7600|securemode=3,signmethod=hmacsha1|\"
at+cmqttconnect=0,\"tcp://a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883\",60,1,\"7600&a1mQpKOF9hp\",\"D48150E8D550607B15C667E100635EE96EA7D512\"
AT+CMQTTSUB=0,27,1,1
/a1mQpKOF9hp/7600/user/7600

AT+CMQTTTOPIC=0,27
/a1mQpKOF9hp/7600/user/7600
AT+CMQTTPAYLOAD=0,7
21.5\r\nC
AT+CMQTTPUB=0,1,60
AT+CMQTTCONNECT?
";

const SIGNED: &str = "D48150E8D550607B15C667E100635EE96EA7D512";

#[test]
fn the_tutorial_is_done_on_a_tty_of_ones_own() {
    let broker = Mosquitto::with_users(&[("7600&a1mQpKOF9hp", SIGNED), ("w", "w")]);
    let watcher = Subscriber::with_login(broker.port(), "w", "w");
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_model("sim8200", dir.path(), 1, &broker.address(), &[]);
    let tty = sim.tty(0).display().to_string();
    let mut console = Command::new(modemfleet());
    let done = run(console.args(["at", &tty]), TUTORIAL.as_bytes());
    let (said, told) = (out(&done), err(&done));
    assert!(done.status.success(), "{said}\n{told}");
    let seen = watcher.wait(1);
    assert_eq!(seen[0].topic, "/a1mQpKOF9hp/7600/user/7600");
    assert_eq!(seen[0].payload, b"21.5\r\nC");
    for line in ["+CMQTTSTART: 0", "+CMQTTCONNECT: 0,0", "+CMQTTSUB: 0,0", "+CMQTTPUB: 0,0"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert!(said.contains("\"7600&a1mQpKOF9hp\",***"), "{said}");
    assert!(!(said.clone() + &told).contains(SIGNED), "{said}{told}");
    // A refusal is explained, and ends the run.
    let mut console = Command::new(modemfleet());
    let again = run(console.args(["at", &tty, "AT+CMQTTSTART", "AT+CSQ"]), b"");
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("23: network is opened"), "{}", err(&again));
    assert!(!out(&again).contains("+CSQ"), "{}", out(&again));
    for (args, words) in [
        (&["AT+CMQTTTOPIC=0,3"][..], "asks for 3 bytes of data"),
        (&["AT+CMQTTTOPIC=0,3", "--data", "abcd"], "announces 3 bytes, but the data has 4"),
        (&["AT+CRESET"], "`--dangerous` sends it"),
    ] {
        let refused = run(Command::new(modemfleet()).args(["at", &tty]).args(args), b"");
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        assert!(err(&refused).contains(words), "{}", err(&refused));
    }
    let short = run(Command::new(modemfleet()).args(["at", &tty]), b"AT\nAT+CMQTTTOPIC=0,9\nabc");
    assert!(err(&short).contains("line 2 of the script needs 9 bytes"), "{}", err(&short));
}

#[test]
fn a_tty_that_an_agent_has_is_refused_with_its_holder() {
    let lab = Lab::new(1);
    let agent = lab.start();
    let tty = lab.sims[0].tty(0).display().to_string();
    let refused = run(Command::new(modemfleet()).args(["at", &tty, "AT"]), b"");
    let told = err(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    // The simulator has the tty open as well, and may be named first.
    assert!(told.contains("is in use by modemfleet (pid "), "{told}");
    assert!(told.contains("if that process is an agent"), "{told}");
    assert!(agent.is_connected("m0", "s"));
}

/// A console on a terminal.
struct Screen {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(command: &mut Command, state: &Path) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(path).unwrap();
        command.stdin(tty.try_clone().unwrap()).stdout(tty.try_clone().unwrap()).stderr(tty);
        let child = command.env("XDG_STATE_HOME", state).env("TERM", "xterm").spawn().unwrap();
        let keys = File::from(master);
        let mut screen = keys.try_clone().unwrap();
        let shown = Arc::default();
        let sink: Arc<Mutex<Vec<u8>>> = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..count]);
            }
        });
        Self { child, keys, shown }
    }

    fn text(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Types keys, and waits for `shows` in the output behind them.
    #[track_caller]
    fn types(&mut self, keys: &str, shows: &str) {
        let before = self.text().len();
        self.keys.write_all(keys.as_bytes()).unwrap();
        until(&format!("{shows:?} after {keys:?}"), || {
            self.text().get(before..).is_some_and(|new| new.contains(shows)).then_some(())
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.text());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn on_a_terminal_lines_are_edited_urcs_shown_above_and_data_is_asked_for() {
    let mut lab = with_socket(Lab::without_modems(1));
    lab.site.body = lab
        .site
        .body
        .replace("broker: lab }", "broker: lab, subscribe: [ { filter: down, qos: 1 } ] }");
    lab.sims = vec![lab.plug_in(0, &["--pin", "4072"])];
    let pin = lab.site.secret("pin", "4072");
    lab.site.body = lab
        .site
        .body
        .replace("sessions:", &format!("pin: {{ file: {} }}, sessions:", pin.display()));
    let agent = lab.start();
    let state = lab.site.dir().join("state");
    let mut screen = Screen::start(&mut command(&lab, &["m0"]), &state);
    until("the prompt", || screen.text().contains("m0> ").then_some(()));
    // The cursor goes back by one: the line is edited before it is sent.
    screen.types("AT+CQ\x1b[DS\r", "+CSQ: ");
    agent.publish("topic=down&qos=1", b"while nobody types");
    until("the URC", || screen.text().contains("! while nobody types").then_some(()));
    screen.types("AT+CMQTTTOPIC=0,3\r", "not sent");
    screen.types("--dangerous AT+CMQTTTOPIC=0,3\r", "3 bytes of data");
    screen.types("ab\r", "that is 2 bytes");
    screen.types("\x1b", "cancelled; nothing was sent");
    screen.types("--dangerous AT+CMQTTTOPIC=0,3\r", "3 bytes of data");
    screen.types("a/b\r", "OK");
    screen.types("AT+CPIN=\"99999999\"\r", "`--dangerous` sends it");
    screen.types("\x03", "m0> ");
    agent.publish("topic=t&qos=1", b"and the sessions go on");
    until("the message", || {
        lab.subscriber.distinct().contains("and the sessions go on").then_some(())
    });
    screen.keys.write_all(b"\x04").unwrap();
    until("its end", || screen.child.try_wait().unwrap().map(|status| assert!(status.success())));
    let history = std::fs::read_to_string(state.join("modemfleet/at_history")).unwrap();
    assert!(history.contains("AT+CSQ") && !history.contains("99999999"), "{history}");
    assert!(agent.sum("modemfleet_mqtt_disconnects_total", &[]) < 0.5);
}
