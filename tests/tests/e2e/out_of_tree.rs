//! A profile outside of this repository: its own crate, with its own `main`, on a modem.

use std::fs;
use std::process::Command;

use e2e::{Lab, Sim, acmefleet, run, until};
use serde_json::Value;

#[test]
fn a_program_with_a_profile_of_a_third_party_serves_its_modems() {
    let mut lab = Lab::without_modems(1);
    lab.site.program = Some(acmefleet().to_owned());
    let (models, dir) = (lab.site.dir().join("models.d"), lab.site.dir().join("m0"));
    fs::create_dir(&models).unwrap();
    let acme = "models: [ { like: sim7600, cgmm: [ACME-ONE] } ]";
    fs::write(models.join("acme.yaml"), acme).unwrap();
    // The simulator has no Acme model, but its SIM7600 may have that name.
    let named = ["--models", models.to_str().unwrap()];
    let _sim = Sim::of_model("acme-one", &dir, 1, &lab.broker.address(), &named);

    let agent = lab.site.start();
    agent.connected("m0", "s");
    let info = [("modem", "m0"), ("manufacturer", "Acme"), ("profile", "acme")];
    assert!((agent.sum("modemfleet_modem_info", &info) - 1.0).abs() < 0.1, "{}", agent.log());
    // The temperature comes from the profile's own status.
    until("the temperature", || {
        let celsius = agent.sum("modemfleet_modem_temperature_celsius", &[("modem", "m0")]);
        ((celsius - 29.0).abs() < 0.1).then_some(())
    });
    agent.publish("topic=t&qos=1", b"by a third party");
    agent.drained();
    assert!(lab.subscriber.wait(1)[0].text().contains("by a third party"));

    // The commands know the profile, too.
    let call = |words: &[&str], input: &[u8]| -> Value {
        let output = run(Command::new(acmefleet()).args(words), input);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let told = call(&["profiles", "explain", "--model", "ACME-ONE", "--json"], b"");
    assert_eq!(
        (&told["entries"][0]["profile"], &told["entries"][0]["origin"]),
        (&"acme".into(), &"built in".into())
    );
    let words = ["profiles", "decode", "--model", "acme-one", "--command", "AT+CPMUTEMP"];
    assert_eq!(call(&words, b"+CPMUTEMP: 29\r\nOK\r\n")["celsius"], 29.0);
}
