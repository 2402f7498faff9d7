//! Values of sessions.

use super::*;

#[test]
fn values_of_sessions() {
    let long = "c".repeat(129);
    refused(&[
        (session("        broker: ¶lb\n"), "did you mean `lab`"),
        (north("    sessions:\n      ¶s: { keep_alive: 60s }\n"), "`s` needs `broker`"),
        (north("    sessions:\n      ¶\"s 1\": { broker: lab }\n"), "must be a name"),
        (
            session("        broker: lab\n        client_id: ¶\"a\\\"b\"\n"),
            "`client_id` holds a quote",
        ),
        (
            session(&format!("        broker: lab\n        client_id: ¶{long}\n")),
            "the modem takes 128",
        ),
        (session("        broker: lab\n        keep_alive: ¶60\n"), "write `60s`"),
        (session("        broker: lab\n        keep_alive: ¶0s\n"), "must be 1s to 18h"),
        (session("        broker: lab\n        keep_alive: ¶1500ms\n"), "whole seconds"),
        (session("        broker: lab\n        reconnect_max: ¶0s\n"), "must be 1s to 1h"),
        (session("        broker: lab\n        clean_session: ¶yes\n"), "write `true`"),
        (
            session("        broker: lab\n        will: { topic: ¶a/+, payload: p }\n"),
            "not a filter",
        ),
        (session("        broker: lab\n        will: { topic: t, payload: ¶\"\" }\n"), "1 to 1024"),
        (
            session(&format!(
                "        broker: lab\n        will: {{ topic: t, payload: ¶{} }}\n",
                "p".repeat(1025)
            )),
            "1 to 1024",
        ),
        (session("        broker: lab\n        ¶will: { topic: t }\n"), "`will` needs `payload`"),
        (
            session("        broker: lab\n        subscribe: [ { filter: ¶a#, qos: 1 } ]\n"),
            "may hold `#` only",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: ¶a/b+ } ]\n"),
            "may hold `+` only",
        ),
        (session("        broker: lab\n        subscribe: [ { filter: ¶\"a\\0b\" } ]\n"), "NUL"),
        (
            session(&format!(
                "        broker: lab\n        subscribe: [ {{ filter: ¶{} }} ]\n",
                "f".repeat(1025)
            )),
            "1024 bytes",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: a, qos: ¶3 } ]\n"),
            "must be `0`, `1` or `2`",
        ),
        (
            session("        broker: lab\n        subscribe: [ { filter: a }, { filter: ¶a } ]\n"),
            "twice",
        ),
    ]);
}

#[test]
fn values_of_sessions_at_alibaba() {
    refused(&[
        (
            session("        broker: lab\n        ¶product_key: k\n"),
            "needs a broker with `provider: aliyun`",
        ),
        (
            north("    sessions:\n      ¶s: { broker: ali, product_key: k, device_name: n }\n"),
            "`s` needs `device_secret`",
        ),
        (
            session(
                "        broker: ali\n        product_key: k\n        device_name: n\n        device_secret: ¶8f663b38\n",
            ),
            "must not be in this file",
        ),
        (
            session(
                "        broker: ali\n        product_key: ¶k&\n        device_name: n\n        device_secret: { env: X }\n",
            ),
            "letters and digits",
        ),
        (aliyun("        keep_alive: ¶20s\n"), "must be 30s to 20m"),
        (aliyun("        securemode: ¶4\n"), "must be 2 (TLS) or 3 (TCP)"),
        (aliyun("        securemode: ¶2\n"), "TLS needs `tls: { ca: … }`"),
        (aliyun("        ¶tls: { ca: x }\n"), "`tls` needs `securemode: 2`"),
        (aliyun("        signmethod: ¶hmacsha\n"), "did you mean `hmacsha1`"),
        (aliyun("        timestamp: ¶now\n"), "milliseconds"),
        (aliyun("        aliauth: ¶perhaps\n"), "must be `true` or `false`"),
        (aliyun("        aliauth: true\n        ¶signmethod: hmacmd5\n"), "has no effect"),
        (aliyun("        aliauth: true\n        ¶timestamp: 9\n"), "the agent signs"),
        (aliyun("        client_id: ¶a|b\n"), "visible ASCII"),
        (aliyun("        host: ¶a_b/c\n"), "host name"),
    ]);
}

#[test]
fn two_sessions_with_one_identity_at_one_broker() {
    let two = |first: &str, second: &str| {
        format!(
            "gateway: gw\nbrokers: {{ a: {{ url: mqtt://H }}, b: {{ url: \"mqtt://h:1883\" }}, c: {{ url: mqtt://i }}, ali: {{ provider: aliyun, region: cn-shanghai }} }}\nmodems:\n  m:\n    match: {{ port: /a }}\n    sessions:\n      s: {first}\n      t: {second}\n"
        )
    };
    refused(&[
        // One broker under two names; one client id by default and one from the file.
        (
            two("{ broker: a }", "{ broker: b, client_id: ¶gw-m-s }"),
            "m/s has the same client id `gw-m-s`",
        ),
        (
            two(
                "{ broker: ali, product_key: k, device_name: d, device_secret: { env: X } }",
                "{ broker: ali, product_key: k, device_name: ¶d, device_secret: { env: X }, client_id: other }",
            ),
            "m/s has the same device `d&k`",
        ),
    ]);
    assert!(parse(&two("{ broker: a }", "{ broker: c, client_id: gw-m-s }")).is_ok());
}
