//! `modemfleet route test TOPIC`: the path of a topic, and the reason.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::end::{output_failed, wrong};
use agent::messages::forward::{Variables, lanes};
use api::client::{Call, DEFAULT_CONFIG, Target, converse};
use fleet::printable::complain;
use fleet::printable::printable;
use fleet::{Context, Fleet, Policy, Route, Secrets, SessionId};

const EXAMPLES: &str = "Examples:
  modemfleet route test sensors/t1
  modemfleet route test sensors/t1 --config ./fleet.yaml

If the agent of the fleet file runs, the state of each session is printed too.
Exit codes: 0 the topic has a path, 1 it has none, 2 wrong usage or configuration.";

/// Looks at routes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the path that a topic takes, and the reason.
    Test(Test),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Test {
    /// The topic of a message.
    topic: String,
    /// The fleet file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The gateway of the file to use [default: the host name].
    #[arg(long, value_name = "NAME", env = fleet::GATEWAY)]
    gateway: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let Command::Test(test) = &args.command;
    let context = Context::named(&test.config, Secrets::Skip, test.gateway.clone());
    let fleet = match fleet::load_in(&test.config, &context) {
        Ok(loaded) => loaded.fleet,
        Err(problems) => {
            complain(problems.render(false).trim_end());
            return wrong();
        }
    };
    if let Err(fault) = fleet::check_name(&test.topic) {
        complain(&format!("the topic {:?} {fault}", test.topic));
        return wrong();
    }
    let states = converse(states(&test.config)).unwrap_or_default();
    let (words, found) = explained(&fleet, &test.topic, &states);
    match write!(io::stdout(), "{words}") {
        Ok(()) if found => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => output_failed(&error),
    }
}

/// Returns the running agent's words about each session; empty if no agent runs.
async fn states(file: &std::path::Path) -> BTreeMap<String, String> {
    let target = Target { config: Some(file.to_owned()), ..Target::default() };
    let Ok(mut client) = target.client() else { return BTreeMap::new() };
    let Ok(fleet) = client.json(&Call::get("/api/v1/modems")).await else { return BTreeMap::new() };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(printable);
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let mut states = BTreeMap::new();
    for modem in list(&fleet, "modems").unwrap_or_default() {
        let budget = modem.get("budget").and_then(|budget| text(budget, "reason"));
        let budget = budget.map(|why| format!("; {why}")).unwrap_or_default();
        for session in list(&modem, "sessions").unwrap_or_default() {
            if let (Some(modem), Some(name)) = (text(&modem, "name"), text(&session, "name")) {
                let phase = text(&session, "phase").unwrap_or_default();
                let reason = text(&session, "reason").map(|why| format!(" ({why})"));
                states.insert(
                    format!("{modem}/{name}"),
                    phase + &reason.unwrap_or_default() + &budget,
                );
            }
        }
    }
    states
}

/// Returns the path in words, and true if there is one.
fn explained(fleet: &Fleet, topic: &str, states: &BTreeMap<String, String>) -> (String, bool) {
    let mut words = String::new();
    for (number, route) in fleet.routes().iter().enumerate() {
        let name = route.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let route_words = format!("routes[{number}]{name} {}", route.topic);
        if !fleet::topic_matches(&route.topic, topic) {
            words += &format!("{route_words}: does not match\n");
            continue;
        }
        words += &format!("{route_words}: matches; the first match is used\n");
        if route.to.is_empty() {
            words += "  the route has no session: the message is refused\n";
            return (words, false);
        }
        words += &format!("  {}\n", why(route));
        if route.to.len() > 1 && route.policy != Policy::All {
            let stall = humantime::format_duration(route.stall);
            words += &format!(
                "  without a result after {stall}: the next session too, with the same id\n"
            );
        }
        if let Some(batch) = &route.batch {
            let (most, delay) = (batch.max_messages, humantime::format_duration(batch.max_delay));
            words +=
                &format!("  in batches of at most {most} messages, each waiting at most {delay}\n");
        }
        for lane in lanes::of_topic(route, topic) {
            for (place, session) in (1..).zip(&lane.to) {
                words += &path(fleet, route, topic, place, session, states);
            }
        }
        return (words, true);
    }
    words += "no route matches: the message is refused (422; MQTT 5: 0x87)\n";
    (words, false)
}

fn why(route: &Route) -> String {
    match route.policy {
        Policy::Failover if route.fail_back => format!(
            "failover: the first connected session; one that comes back after {}",
            humantime::format_duration(route.hold_down)
        ),
        Policy::Failover => {
            "failover: the first connected session, which is kept while it is connected".into()
        }
        Policy::Spread => "spread: the topic's hash selects the first of these".to_owned(),
        Policy::All => "all: a copy to each of these".to_owned(),
    }
}

fn path(
    fleet: &Fleet,
    route: &Route,
    topic: &str,
    place: usize,
    session: &SessionId,
    states: &BTreeMap<String, String>,
) -> String {
    let mut line = format!("  {place}. {session}");
    if let Some(known) = fleet.sessions().find(|known| known.id == *session)
        && route.publish_as.is_some()
    {
        let (id, gateway) = ("<id>", fleet.gateway.as_str());
        let variables = Variables { topic, id, gateway, session, vars: &known.vars };
        line += &format!(" as {:?}", variables.fill(route.publish_as.as_ref()));
    }
    if let Some(state) = states.get(&session.to_string()) {
        line += &format!(": {state}");
    }
    line + "\n"
}
