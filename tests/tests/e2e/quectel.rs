//! Other dialects from outside: the same agent, the same fleet file, another modem.

use e2e::Lab;
use serde_json::Value;

#[test]
fn a_modem_of_another_dialect_carries_messages_and_tells_its_signal() {
    for model in ["ec25", "rm520n", "a7672"] {
        let lab = Lab::of_model(model, 1);
        let agent = lab.start();
        let hostile = b"\r\nOK\r\n>\x1a\x1b\0\"+QMTPUBEX: 0,1,2\r\n".as_slice();
        for payload in [b"one".as_slice(), b"", hostile] {
            assert_eq!(agent.http.publish("topic=q/x", payload).status, 202);
        }
        agent.drained();
        let got: Vec<Vec<u8>> =
            lab.subscriber.wait(3).iter().map(|message| message.payload.clone()).collect();
        assert_eq!(got, [b"one".to_vec(), b"".to_vec(), hostile.to_vec()], "{model}");
        let rat = if model == "rm520n" { "nr" } else { "lte" };
        e2e::until("the signal", || {
            let sum = agent.scrape().sum("modemfleet_signal_rsrp_dbm", &[("rat", rat)]);
            (sum < 0.0).then_some(())
        });
        // Only 5G modules are asked for their carriers; those of category 4 have one.
        let fleet: Value = serde_json::from_slice(&agent.http.get("/api/v1/modems").body).unwrap();
        let carriers = &fleet["modems"][0]["carriers"];
        if model == "rm520n" {
            assert_eq!((&carriers[0]["role"], &carriers[0]["band"]), (&"pcc".into(), &3.into()));
            let nr = (&carriers[1]["rat"], &carriers[1]["bandwidth_mhz"]);
            assert_eq!(nr, (&"nr".into(), &100.0.into()), "{carriers}");
        } else {
            assert!(carriers.is_null(), "{model}: {carriers}");
        }
    }
}
