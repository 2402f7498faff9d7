//! One fleet file on two gateways. A name on the command line counts for a reload, too.

use std::fs;
use std::process::Command;

use e2e::{Http, Process, Signal, Site, modemfleet, run, until};

/// Returns the names of the agent's modems.
fn modems(http: &Http) -> Vec<String> {
    let fleet: serde_json::Value =
        serde_json::from_str(&http.get("/api/v1/modems").text()).unwrap();
    let names = fleet["modems"].as_array().unwrap().iter();
    names.map(|modem| modem["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_gateway_runs_its_part_of_the_file_and_reloads_it_under_its_told_name() {
    let mut site = Site::new();
    site.body = "brokers: { lab: { url: \"mqtt://127.0.0.1:1\" } }\ngateways: [gw-a, gw-b]\nmodems:\n  \
                 a: { match: { port: /nowhere/a }, gateways: [gw-a], sessions: { s: { broker: lab } } }\n  \
                 b: { match: { port: /nowhere/b }, gateways: [gw-b], pin: { file: /nowhere/pin }, sessions: { s: { broker: lab } } }\n"
        .to_owned();
    let file = site.file();
    let text = fs::read_to_string(&file).unwrap();
    // The site's file has the key `gateway`, which a file of several gateways must not have.
    fs::write(&file, text.replacen("gateway: gw\n", "", 1)).unwrap();
    let mut command = Command::new(modemfleet());
    command.args(["run", "--gateway", "gw-a", "--config"]).arg(&file);
    let mut agent = Process::start("agent", &mut command);
    let http = Http::new(site.port());
    until("the agent", || http.try_ask("GET", "/healthz", &[], b"").filter(|a| a.status == 200));
    assert_eq!(modems(&http), ["a"]);
    let text = fs::read_to_string(&file).unwrap();
    let further = "  c: { match: { port: /nowhere/c }, sessions: { s: { broker: lab } } }\n  b: {";
    fs::write(&file, text.replace("  b: {", further)).unwrap();
    let mut reload = Command::new(modemfleet());
    reload.args(["reload", "--config"]).arg(&file).env("MODEMFLEET_GATEWAY", "gw-a");
    let reload = run(&mut reload, b"");
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    assert_eq!(modems(&http), ["a", "c"]);
    // Without a name of the list the file is rejected before anything is opened.
    let refused = run(Command::new(modemfleet()).args(["run", "--config"]).arg(&file), b"");
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    agent.signal(Signal::TERM);
    assert!(agent.end_within(e2e::PATIENCE).is_some_and(|status| status.success()));
}
