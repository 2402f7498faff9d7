//! The history of events, and actions on modems and sessions, from outside.

use e2e::{Agent, Answer, Lab, until};
use serde_json::Value;

const TOKEN: &str = "a-token-that-is-long-enough";

fn ask(agent: &Agent, method: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    agent.http.ask(method, path, &[("Authorization", &bearer)], b"")
}

fn events(agent: &Agent, query: &str) -> Vec<Value> {
    let answer = ask(agent, "GET", &format!("/api/v1/events/history?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    json["events"].as_array().cloned().unwrap()
}

/// Waits for an event of this kind whose sentence contains these words.
#[track_caller]
fn happened(agent: &Agent, kind: &str, words: &str) -> Value {
    until(&format!("{kind}: {words}"), || {
        let fits = |event: &Value| {
            event["kind"] == kind && event["words"].as_str().is_some_and(|is| is.contains(words))
        };
        events(agent, "limit=500").into_iter().find(fits)
    })
}

fn code(answer: &Answer) -> (u16, String) {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, json["error"].as_str().unwrap_or_default().to_owned())
}

fn with_token(mut lab: Lab) -> Lab {
    let token = lab.site.secret("token", TOKEN);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    lab
}

#[test]
fn what_happened_is_told_over_a_crash_and_bounded_by_pages() {
    let mut lab = with_token(Lab::new(2));
    let mut agent = lab.start();
    happened(&agent, "connected", "connected");
    lab.sims[1].unplug();
    let gone = happened(&agent, "unplugged", "gone");
    assert_eq!((&gone["modem"], &gone["level"]), (&"m1".into(), &"bad".into()));
    let lost = happened(&agent, "disconnected", "disconnected: the modem is gone");
    assert_eq!(lost["session"], "s");
    let file = lab.site.dir().join("queue/events.jsonl");
    until("the file", || {
        std::fs::read_to_string(&file).ok().filter(|text| text.contains("unplugged"))
    });
    agent.process.kill();
    drop(agent);
    let agent = lab.site.start();
    happened(&agent, "agent", "did not end in order");
    happened(&agent, "unplugged", "gone");
    let of_m1 = events(&agent, "modem=m1");
    assert!(of_m1.iter().all(|event| event["modem"] == "m1") && !of_m1.is_empty(), "{of_m1:?}");
    let newest = events(&agent, "limit=1");
    let older = events(&agent, &format!("limit=500&before={}", newest[0]["id"]));
    assert!(older.iter().all(|event| event["id"].as_u64() < newest[0]["id"].as_u64()));
    for query in ["limit=0", "limit=501", "before=x", "colour=red"] {
        let answer = ask(&agent, "GET", &format!("/api/v1/events/history?{query}"));
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!(ask(&agent, "GET", "/api/v1/modems/other/history").status, 404);
    let course = ask(&agent, "GET", "/api/v1/modems/m0/history");
    let course: Value = serde_json::from_slice(&course.body).unwrap();
    assert_eq!(course["hour"]["step_seconds"], 60);
    let answer = ask(&agent, "POST", "/api/v1/reload");
    assert_eq!(answer.status, 200, "{}", answer.text());
    happened(&agent, "reload", "reload applied");
    let asked = happened(&agent, "action", "asked for a reload");
    assert_eq!(asked["by"], "http.token");
}

#[test]
fn a_person_reconnects_a_session_and_resets_a_modem() {
    let lab = with_token(Lab::new(1));
    let agent = lab.start();
    let connects = || {
        agent
            .sum("modemfleet_mqtt_connects_total", &[("modem", "m0"), ("result", "ok")])
            .to_string()
    };
    assert_eq!(connects(), "1");
    let answer = ask(&agent, "POST", "/api/v1/modems/m0/sessions/s/reconnect");
    assert_eq!(answer.status, 202, "{}", answer.text());
    until("the second CONNECT", || (connects() == "2").then_some(()));
    happened(&agent, "disconnected", "a person asked for a new connection");
    agent.connected("m0", "s");
    let answer = ask(&agent, "POST", "/api/v1/modems/m0/reset");
    assert_eq!(answer.status, 202, "{}", answer.text());
    until("the modem to come back", || (connects() == "3").then_some(()));
    agent.connected("m0", "s");
    let cured = [("action", "modem_reset"), ("outcome", "cured")];
    until("the count", || {
        (agent.sum("modemfleet_recovery_actions_total", &cured) > 0.5).then_some(())
    });
    let event = happened(&agent, "action", "reset the modem");
    assert_eq!((&event["by"], &event["modem"]), (&"http.token".into(), &"m0".into()));
    happened(&agent, "recovery", "a reset of the modem brought it back");
    for (path, status) in [
        ("/api/v1/modems/other/reset", 404),
        ("/api/v1/modems/other/sessions/s/reconnect", 404),
        ("/api/v1/modems/m0/sessions/other/reconnect", 404),
        ("/api/v1/modems/m0/sessions/other/test", 404),
        ("/api/v1/modems/m0/sessions/s/test?topic=a/%23", 400),
    ] {
        assert_eq!(ask(&agent, "POST", path).status, status, "{path}");
    }
}

#[test]
fn a_reset_is_refused_without_a_token_for_a_radio_of_others_and_for_an_absent_modem() {
    let lab = Lab::new(1);
    let agent = lab.start();
    for path in ["reset", "sessions/s/reconnect", "sessions/s/test"] {
        let answer = agent.http.ask("POST", &format!("/api/v1/modems/m0/{path}"), &[], b"");
        assert_eq!(code(&answer), (403, "needs_token".to_owned()), "{path}");
    }
    drop(agent);
    let mut lab = with_token(Lab::new(2));
    lab.site.body = lab.site.body.replacen("sessions:", "radio: leave, sessions:", 1);
    let agent = lab.start();
    let answer = ask(&agent, "POST", "/api/v1/modems/m0/reset");
    assert_eq!(code(&answer), (409, "not_now".to_owned()));
    assert!(answer.text().contains("radio: leave"), "{}", answer.text());
    lab.sims[1].unplug();
    happened(&agent, "unplugged", "gone");
    for path in ["reset", "sessions/s/reconnect"] {
        let answer = ask(&agent, "POST", &format!("/api/v1/modems/m1/{path}"));
        assert_eq!(code(&answer), (409, "not_now".to_owned()), "{path}");
    }
    assert!(agent.is_connected("m0", "s"), "what was refused changed nothing");
}
