//! Other dialects from outside: the same agent, the same fleet file, another modem.

use e2e::Lab;

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
    }
}
