//! An NB-IoT modem on a UART from outside: small messages up and down, its signal, and its limits.

use e2e::Lab;

#[test]
fn an_nb_iot_modem_carries_messages_both_ways_and_tells_its_signal() {
    let mut lab = Lab::of_model("sim7020", 1);
    lab.site.body = lab.site.body.replace(
        "{ broker: lab }",
        "{ broker: lab, subscribe: [ { filter: \"down/#\", qos: 1 } ] }",
    );
    let agent = lab.start();
    let hostile = b"\r\nOK\r\n+CMQDISCON: 0\r\n\x1a\0\"".as_slice();
    let longest = [0xff; 500];
    for payload in [b"1".as_slice(), hostile, &longest] {
        assert_eq!(agent.http.publish("topic=nb/x", payload).status, 202);
    }
    agent.drained();
    let got: Vec<Vec<u8>> =
        lab.subscriber.wait(3).iter().map(|message| message.payload.clone()).collect();
    assert_eq!(got, [b"1".to_vec(), hostile.to_vec(), longest.to_vec()]);
    // A message that the command has no room for is rejected at hand-in, so it does not wait for
    // ever.
    for (topic, payload) in [("nb/x", &[0; 501][..]), ("nb/x", b""), (&"t".repeat(129), b"1")] {
        let refused = agent.http.publish(&format!("topic={topic}"), payload);
        assert_eq!(refused.status, 413, "{}", refused.text());
        let room = "they take a topic of at most 128 and a payload of 1 to 500 bytes";
        assert!(refused.text().contains(room), "{}", refused.text());
    }
    e2e::until("the signal", || {
        let sum = agent.scrape().sum("modemfleet_signal_rsrp_dbm", &[("rat", "nbiot")]);
        (sum < 0.0).then_some(())
    });
    let before = agent.scrape().sum("modemfleet_mqtt_received_total", &[]);
    // The message goes up and comes down again.
    assert_eq!(agent.http.publish("topic=down/x", hostile).status, 202);
    e2e::until("the message that came down", || {
        let now = agent.scrape().sum("modemfleet_mqtt_received_total", &[]);
        (now > before).then_some(())
    });
}

fn call(words: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(e2e::modemfleet()).args(words).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

/// If the file names the model, the file is rejected. If only the modem reports it, `doctor` names
/// the session.
#[test]
fn what_it_cannot_carry_is_told_before_or_as_soon_as_it_is_known() {
    let mut lab = Lab::of_model("sim7020", 1);
    let both = "sessions: { s: { broker: lab }, more: { broker: lab } }";
    lab.site.body = lab.site.body.replace("sessions: { s: { broker: lab } }", both);
    let told = lab.site.body.replace("match: {", "match: { model: SIM7020,");
    let port_only = std::mem::replace(&mut lab.site.body, told);
    let file = lab.site.file().display().to_string();
    let (code, words) = call(&["check", &file]);
    assert_eq!(code, Some(2), "{words}");
    for word in
        ["its model, sim7020, holds one session", "move the session to another modem", "--> "]
    {
        assert!(words.contains(word), "{word:?} in {words}");
    }
    assert_eq!(call(&["run", "--config", &file]).0, Some(2));

    lab.site.body = port_only;
    let agent = lab.start();
    let file = lab.site.file().display().to_string();
    assert_eq!(call(&["check", &file]).0, Some(0));
    e2e::until("the doctor's word on the second session", || {
        let (_, words) = call(&["doctor", "--config", &file]);
        words.contains("no free client: a sim7020 holds 1").then_some(())
    });
    agent.publish("topic=nb/x", b"the first serves");
    lab.subscriber.wait(1);
}
