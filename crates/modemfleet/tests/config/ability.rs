//! Settings that no modem of the named model supports.

use super::*;

/// Returns a file with a modem that is matched by `matching`, and these sessions.
fn matched(matching: &str, sessions: &str) -> String {
    format!(
        "gateway: gw\nbrokers:\n  lab: {{ url: mqtt://b }}\n  safe: {{ url: mqtts://b, tls: {{ insecure: true }} }}\n  \
         ali: {{ provider: aliyun, region: cn-shanghai }}\nmodems:\n  north:\n    match: {{ {matching} }}\n    sessions:\n{sessions}"
    )
}

const TWO: &str =
    "      a: { broker: lab, client_id: a }\n      ¶b: { broker: lab, client_id: b }\n";

const SIGNS: &str = "      a: { broker: ali, product_key: a1mQpKOF9hp, device_name: d, \
                     device_secret: { env: S }, ¶aliauth: true }\n";

#[test]
fn what_a_sim7020_cannot_do_is_refused_where_the_file_says_that_it_is_one() {
    let nb_iot = |sessions: &str| matched("model: sim7020", sessions);
    let filter =
        format!("      a: {{ broker: lab, subscribe: [ {{ filter: ¶{} }} ] }}\n", "f".repeat(129));
    refused(&[
        (nb_iot(TWO), "`north` has 2 sessions, and its model, sim7020, holds one session"),
        (nb_iot(TWO), "move the session to another modem"),
        (
            matched("port: /dev/ttyS1, model: SIM7020E", TWO),
            "its model, sim7020, holds one session",
        ),
        (nb_iot("      a: { ¶broker: safe }\n"), "TLS is not supported on this model, sim7020"),
        (
            nb_iot("      a: { broker: safe, ¶tls: { insecure: true } }\n"),
            "use a broker with mqtt://",
        ),
        (nb_iot(SIGNS), "this model, sim7020, cannot sign in at Alibaba Cloud by itself"),
        (nb_iot(&filter), "`filter` has 129 bytes, and this model, sim7020, takes 128 at most"),
    ]);
}

/// If the model is not named, named in part, or in no list, the modem may be of any model.
#[test]
fn nothing_is_refused_that_some_modem_that_may_be_meant_can_do() {
    for matching in ["port: /dev/ttyS1", "model: SIM7", "model: sim7600", "model: acme"] {
        for sessions in [TWO, "      a: { broker: safe }\n", SIGNS] {
            let text = matched(matching, sessions).replace(MARK, "");
            let loaded = parse(&text);
            assert!(loaded.is_ok(), "{text}\n{}", loaded.unwrap_err().render(false));
        }
    }
    let three = format!("{TWO}      c: {{ broker: lab, client_id: c }}\n").replace(MARK, "");
    let three = three.replace("      c:", "      ¶c:");
    refused(&[
        (
            matched("model: sim7600", &three),
            "has 3 sessions, and its model, sim7600, holds 2 sessions",
        ),
        (
            matched("model: EC25", SIGNS),
            "this model, ec25, cannot sign in at Alibaba Cloud by itself",
        ),
    ]);
}
