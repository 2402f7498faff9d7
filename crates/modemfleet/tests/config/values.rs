//! Keys, and values of gateway, brokers and modems.

use super::*;

#[test]
fn keys_that_are_unknown_misplaced_or_still_to_come() {
    refused(&[
        (top("¶gatway: gw"), "did you mean `gateway`"),
        (top("¶temperature: 3"), "the file may have `gateway`"),
        (top("http: { ¶listn: 127.0.0.1:1 }"), "did you mean `listen`"),
        (session("        broker: lab\n        ¶keepalive: 60s\n"), "did you mean `keep_alive`"),
        (
            session("        broker: lab\n        will: { topic: t, payload: p, ¶quos: 1 }\n"),
            "did you mean `qos`",
        ),
        (north("    ¶IMEI: 1\n"), "unknown key `IMEI` in a modem"),
        (top("hand_in: { ¶http: {} }"), "unknown key `http` in `hand_in`"),
        (top("hand_in: { ¶mqtt: {} }"), "`mqtt` needs `listen`"),
        (top("hand_in: { mqtt: { listen: ¶1883 } }"), "must be ADDRESS:PORT"),
        (top("hand_in: { mqtt: { listen: ¶0.0.0.0:1883 } }"), "needs `users`"),
        (
            top("hand_in: { mqtt: { listen: 127.0.0.1:1883, users: { ¶a b: { env: A } } } }"),
            "must be a name of 1 to 32",
        ),
        (
            top("hand_in: { mqtt: { listen: 127.0.0.1:1883, users: { a: ¶hunter2 } } }"),
            "must not be in this file",
        ),
        (top("gateways: ¶{}"), "`gateways` must be a list"),
        (broker("{ provider: ¶alyun }"), "did you mean `aliyun`"),
        (top("¶<<: { a: 1 }"), "merge keys"),
        (session("        ¶<<: { broker: lab }\n"), "merge keys"),
        (top("http: ¶[1, 2]"), "`http` must be a mapping of keys to values, not a list"),
        (top("gateway: ¶{ a: 1 }"), "`gateway` must be a single value, not a mapping"),
        (top("routes: ¶all"), "must be a list"),
        (top("brokers: ¶[ lab ]"), "a mapping of names"),
        (top("¶gateway:"), "`gateway` has no value"),
        (top("gateway: a\n¶gateway: b"), "duplicate key `gateway`"),
        (
            "modems:\n  m: { match: { port: /a } }\n  ¶m: { match: { port: /b } }\n".to_owned(),
            "duplicate key `m`",
        ),
        (
            "modems:\n  7: { match: { port: /a } }\n  ¶\"7\": { match: { port: /b } }\n".to_owned(),
            "duplicate key `7`",
        ),
        ("¶- a\n- b\n".to_owned(), "the file must be a mapping"),
    ]);
}

#[test]
fn values_of_the_gateway() {
    let long = "x".repeat(33);
    refused(&[
        (top("gateway: ¶gw 1"), "1 to 32 letters"),
        (top(&format!("gateway: ¶{long}")), "1 to 32 letters"),
        (top("shutdown_grace: ¶10"), "write `10s`"),
        (top("shutdown_grace: ¶soon"), "is not a time"),
        (top("shutdown_grace: ¶1h"), "must be 1s to 10m"),
        (top("http: { listen: ¶0.0.0.0:9810 }"), "needs a `token`"),
        (top("http: { listen: ¶localhost:9810 }"), "must be ADDRESS:PORT"),
        (top("http: { token: ¶hunter2 }"), "must not be in this file"),
        (top("http: { ¶token: {} }"), "exactly one of"),
        (top("http: { ¶token: { file: a, env: B } }"), "exactly one of"),
        (top("http: { token: { file: a, ¶environment: B } }"), "unknown key `environment`"),
        (top("http: { token: { ¶hunter2 } }"), "unknown key `…` in a secret's place"),
        (
            top("http: { ¶token:hunter2 }"),
            "unknown key `token:…` in `http` / add a blank after the `:`",
        ),
        (top("http: { token: { env: ¶A-B } }"), "name of an environment variable"),
        (top("http: { token: { credential: ¶../shadow } }"), "without folders"),
        (top(&format!("http: {{ socket: ¶/{} }}", "x".repeat(107))), "107 bytes"),
        (top(&format!("http: {{ publish_socket: ¶/{} }}", "x".repeat(107))), "107 bytes"),
        (top("http: { socket: /run/a, publish_socket: ¶/run/a }"), "is the path of `socket`"),
        (top("http: { ¶publish_token: { env: A } }"), "`publish_token` needs `token`"),
        (
            top("http: { token: { env: A }, publish_token: ¶{ env: A } }"),
            "`publish_token` is the same as `token`",
        ),
        (top("http: { token: { env: A }, publish_token: ¶hunter2 }"), "must not be in this file"),
        (top("http: { hosts: ¶gw.example.com }"), "`hosts` must be a list"),
        (top("http: { hosts: [ a, ¶{ a: b } ] }"), "must be a single value"),
        (
            top("http: { hosts: [ a, ¶\"*.example.com\" ] }"),
            "must be a whole host name / list each",
        ),
        (top("http: { hosts: [ ¶http://gw/ ] }"), "without a scheme / write `gw`"),
        (top("http: { hosts: [ ¶gw:9810 ] }"), "without a port / write `gw`"),
        (
            top("http: { hosts: [ ¶192.0.2.1 ] }"),
            "is an address, not a host name / leave the address out",
        ),
        (top("http: { hosts: [ ¶\"\" ] }"), "must be a host name"),
        (top(&format!("http: {{ ¶hosts: [ {} ] }}", "a, ".repeat(65))), "at most 64"),
        (top("queue: { max_bytes: ¶lots }"), "such as `64MiB`"),
        (top("queue: { max_bytes: ¶10 }"), "at least 1"),
        (top("queue: { when_full: ¶drop-oldest }"), "did you mean `drop_oldest`"),
        (top("queue: { max_messages: ¶0 }"), "at least 1"),
        (top("queue: { max_messages: ¶many }"), "must be a whole number of at least 1"),
        (top("queue: { max_age: ¶1s }"), "must be 1m to"),
        (top("inbox: { max_bytes: ¶10 }"), "at least 1"),
        (top("inbox: { max_age: ¶1s }"), "must be 1m to"),
        (top("inbox: { session_expiry: ¶400d }"), "must be 1m to"),
        (top("inbox: { ¶fsync: always }"), "unknown key `fsync`"),
        (top("queue: { fsync: ¶sometimes }"), "must be `always`, `interval` or `off`"),
        (top("queue: { fsync: interval, fsync_interval: ¶1h }"), "must be 10ms to 10m"),
        (top("queue: { ¶fsync_interval: 1s }"), "has no effect without `fsync: interval`"),
        ("gateway: g\n¶modems: {}\n".to_owned(), "the file has no modems"),
    ]);
}

#[test]
fn values_of_brokers_and_modems() {
    refused(&[
        (broker("{ url: ¶tcp://b }"), "write `mqtt://b`"),
        (
            broker("{ url: \"¶mqtt://u:secretword@b\" }".replace("\"¶", "¶\"").as_str()),
            "must not hold a user name",
        ),
        (broker("{ url: mqtt://b, username: ¶\"a\\\"b\" }"), "`username` holds a quote"),
        (
            broker("{ url: mqtt://b, username: ¶\"a\\rAT+CFUN=0\" }"),
            "`username` holds the control character U+000D",
        ),
        (broker("{ url: mqtt://b, username: ¶\"a\\0\" }"), "U+0000"),
        (
            broker(&format!("{{ url: mqtt://b, username: ¶{} }}", "u".repeat(257))),
            "the modem takes 256",
        ),
        (broker("{ url: mqtt://b, username: u, password: ¶hunter2 }"), "must not be in this file"),
        (broker("{ url: mqtt://b, ¶password: { env: X } }"), "`password` needs `username`"),
        (top("brokers:\n  ¶lab: { username: u }"), "`lab` needs `url`"),
        (broker("{ url: mqtt://b, ¶region: x }"), "needs `provider: aliyun`"),
        (broker("{ provider: aliyun, ¶url: mqtt://b }"), "not allowed with `provider: aliyun`"),
        (broker("{ provider: aliyun, region: ¶cn/shanghai }"), "region id"),
        (top("brokers:\n  ¶\"la b\": { url: mqtt://b }"), "`la b` must be a name"),
        (north("    apn: ¶\"cm\\\"net\"\n"), "`apn` holds a quote"),
        (north("    apn: { name: ¶\"cm\\nnet\" }\n"), "`name` holds the control character U+000A"),
        (north("    apn: { name: a, user: ¶\"b\\\"\" }\n"), "`user` holds a quote"),
        (north("    apn: { name: a, user: u, type: ¶ipv4 }\n"), "did you mean `ip"),
        (north("    ¶apn: { user: u }\n"), "`apn` needs `name`"),
        (north("    apn: { name: a, user: u, auth: ¶chp }\n"), "did you mean `chap`"),
        (north("    apn: { name: a, ¶auth: pap }\n"), "`auth` needs `user`"),
        (north("    apn: { name: a, user: u, auth: ¶none }\n"), "contradicts `user`"),
        (north("    apn: { name: a, cid: ¶0 }\n"), "must be a whole number of 1 to 15"),
        (north("    apn: { name: a, cid: ¶16 }\n"), "must be a whole number of 1 to 15"),
        (north("    apn: { name: a, cid: ¶third }\n"), "must be a whole number of 1 to 15"),
        (north("    radio: ¶leav\n"), "did you mean `leave`"),
        (north("    pin: ¶1234\n"), "`pin` must not be in this file"),
        (north("    roaming: ¶dney\n"), "did you mean `deny`"),
        (north("    poll: ¶10\n"), "write `10s`"),
        (north("    sms: ¶leav\n"), "did you mean `leave`"),
        (north("    baud: ¶12345\n"), "`baud` must be one of 1200, 2400"),
        (north("    baud: ¶fast\n"), "`baud` must be one of 1200, 2400"),
        (north("    flow_control: ¶rts\n"), "must be `none`, `hardware` or `software`, not `rts`"),
        (
            "modems:\n  m:\n    match: { model: SIM7600 }\n    ¶baud: 9600\n".to_owned(),
            "`baud` needs `port` in `match`",
        ),
        (
            "modems:\n  m:\n    match: { usb_path: 1-1 }\n    ¶flow_control: none\n".to_owned(),
            "`flow_control` needs `port` in `match`",
        ),
        (north("    recovery: { budget: ¶0 }\n"), "must be a whole number of 1 to 60"),
        (north("    recovery: { budget: ¶many }\n"), "must be a whole number of 1 to 60"),
        (north("    recovery: { boot: ¶11m }\n"), "must be 1s to 10m"),
        (north("    recovery: { registration_lost: ¶10ms }\n"), "must be 1s to 1h"),
        (north("    recovery: { usb_reset: ¶no }\n"), "write `false`"),
        (north("    recovery: { power_script: ¶../north }\n"), "must be a name"),
        (north("    recovery: { power_script: ¶/bin/sh }\n"), "must be a name"),
        (north("    recovery: ¶3\n"), "must be a mapping"),
        (north("    recovery: { ¶power: north }\n"), "power_script"),
        ("modems:\n  m:\n    ¶match: {}\n".to_owned(), "needs a key in its `match`"),
        (
            "modems:\n  m:\n    match: { usb_path: ¶/dev/ttyUSB2 }\n".to_owned(),
            "must be a bus and its ports",
        ),
        ("modems:\n  m:\n    match: { port: /a, imei: ¶12345 }\n".to_owned(), "must be 15 digits"),
        ("modems:\n  m:\n    match: { port: ¶ttyUSB2 }\n".to_owned(), "absolute path"),
        (
            "modems:\n  m:\n    match: { port: /a, model: ¶SIMCOM_SIM7600 }\n".to_owned(),
            "without `SIMCOM_`",
        ),
        ("modems:\n  ¶\"a/b\": { match: { port: /a } }\n".to_owned(), "`a/b` must be a name"),
        (
            "modems:\n  a: { match: { port: /a } }\n  b: { ¶match: { port: /a } }\n".to_owned(),
            "same modem as `a`",
        ),
    ]);
}
