//! Replays lines of real units to the dialect's own code: see `profiles/conformance/replay.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it did"
)]

use modem::reply::Domain;
use modem_conformance::replay::Step::{
    Close, Hear, Open, Publish, Registration, Reset, Say, Start, Status, Stop, Subscribe,
    Unsubscribe,
};
use modem_conformance::replay::{self, Login, Story};
use modem_conformance::transcript::{self, Entry};
use profile_simcom::PLUGIN;

const PROFILE: &str = env!("CARGO_MANIFEST_DIR");

/// A broker of AWS, and the topic of a device there.
const AWS: &str = "a39i0c3i2yvc9z-ats.iot.ap-south-1.amazonaws.com";
const THING: &str = "aws/things/simcom7600_device01/";

/// A device of Alibaba Cloud.
const DEVICE: &str = "/a1mQpKOF9hp/7600/user/7600";

/// A login with only a client and a host, for a dialogue that begins after the login.
const TLS: Login = Login { tls: true, ..Login::new("c", AWS, 8883) };

/// Answers a command that a transcript lacks. A query is refused, as by a unit that does not know it. The
/// received power is the exception: -73 dBm shows a serving cell that was read although the unit has none. A
/// command that takes data prompts for it. The operations of the MQTT service that a teardown needs succeed.
/// All else is `OK`.
fn default(command: &str) -> Vec<Entry> {
    let line = |text: &str| Entry::Answer(text.to_owned());
    let (name, arguments) = command.split_once('=').unwrap_or((command, ""));
    let arguments: Vec<_> = arguments.split(',').collect();
    if name.ends_with('?') || name == "AT+CPMUTEMP" {
        return vec![line("ERROR")];
    }
    let takes_data = matches!(
        name,
        "AT+CMQTTTOPIC" | "AT+CMQTTPAYLOAD" | "AT+CMQTTSUBTOPIC" | "AT+CMQTTWILLTOPIC"
    );
    if takes_data {
        let length = arguments[1].parse().unwrap();
        return vec![Entry::Prompt, Entry::Data(length, None), line("OK")];
    }
    match name {
        "AT+CSQ" => vec![line("+CSQ: 20,99"), line("OK")],
        "AT+CMQTTSTART" | "AT+CMQTTSTOP" => vec![line("OK"), line(&format!("{}: 0", &name[2..]))],
        "AT+CMQTTDISC" => vec![line("OK"), line(&format!("+CMQTTDISC: {},0", arguments[0]))],
        _ => vec![line("OK")],
    }
}

const STORIES: &[Story] = &[
    Story {
        file: "a7600-boot-lines.txt",
        steps: &[Hear],
        outcome: &["Booted", "BootDone", "BootDone"],
        leaves: &[],
    },
    Story {
        file: "a7600-cpsi-lte.txt",
        steps: &[Status, Say("AT+CGDCONT?")],
        outcome: &[
            "status: lte rssi -68 rsrp -104 rsrq -14",
            "say: +CGDCONT: 1,\"IP\",\"nodata.MNC011.MCC460.GPRS\",\"10.63.231.228\",0,0,,,, +CGDCONT: 8,\"IPV4V6\",\"IMS\",\"254.128.0.0.0.0.0.0.24.72.135.247.235.115.194.34\",0,0,0,2,1,1 OK",
        ],
        leaves: &[],
    },
    Story {
        file: "a7608-boot-to-cpsi.txt",
        steps: &[
            Say("AT+CPIN?"),
            Say("AT+CPIN?"),
            Say("AT+CPIN?"),
            Say("AT+CNMP=2"),
            Registration(Domain::Eps),
            Status,
        ],
        outcome: &[
            "say: +CME ERROR: 313",
            "say: +CME ERROR: 14",
            "say: +CPIN: READY OK",
            "say: OK",
            "registration: registered",
            "status: lte rssi -62 rsrp -92 rsrq -8",
        ],
        leaves: &[],
    },
    Story {
        file: "a7670-boot-sim-failure.txt",
        steps: &[Hear, Say("AT+CPIN?"), Say("AT+CPIN?"), Registration(Domain::Eps), Status],
        outcome: &[
            "Booted",
            "say: +CME ERROR: SIM failure",
            "say: +CME ERROR: SIM busy",
            "BootDone",
            "registration: registered",
            "status: lte rssi -73 rsrp -102 rsrq -13",
        ],
        leaves: &[],
    },
    Story {
        file: "a7670-connect-fails-without-ok.txt",
        steps: &[
            Say("AT+CPIN?"),
            Status,
            Start,
            Open(Login { keep_alive_s: 20, ..Login::new("a1accq", "192.168.43.128", 1883) }),
        ],
        outcome: &[
            "say: +CPIN: READY OK",
            "status: lte rssi -55 rsrp -90 rsrq -16",
            "start: ok",
            "open: CMQTTCONNECT 3",
        ],
        leaves: &["AT+CMQTTCFG=\"argtopic\",0,1,1"],
    },
    Story {
        file: "a7670-cpsi-gsm.txt",
        steps: &[Status],
        outcome: &["status: gsm rssi -73"],
        leaves: &[],
    },
    // Its author writes topics in commands, and the dialect sends them as data: the answer to SUB fits all the
    // same.
    Story {
        file: "a7670-in-one-line.txt",
        steps: &[
            Start,
            Open(Login {
                keep_alive_s: 100,
                user: Some(("user", "pass")),
                tls: true,
                ..Login::new("A76XX", "host", 8883)
            }),
            Subscribe(&["cmd/#", "another"]),
            Close,
        ],
        outcome: &[
            "start: ok",
            "open: ok",
            "subscribe: ok",
            "message: cmd/config/heater_ss_min_on_sec/set 40",
            "message: cmd/cancel_overrides/set GO",
            "message: cmd/config/wake_interval_sec/set 630",
            "message: cmd/cancel_overrides/set",
        ],
        leaves: &[
            "AT+CMQTTCFG=\"argtopic\",0,1,1",
            "AT+CMQTTPUB=0,\"state/config/bat_low_mv\",1,4,1",
        ],
    },
    // The dialect asks for TLS 1.2, the transcript's author for any version.
    Story {
        file: "sim7600-boot-lines.txt",
        steps: &[
            Hear,
            Close,
            Open(Login { tls: true, ..Login::new("Sim7600_fa7d2288", "broker.emqx.io", 8883) }),
        ],
        outcome: &["Booted", "BootDone", "BootDone", "open: ok"],
        leaves: &["AT+CSSLCFG=\"sslversion\",0,4"],
    },
    Story {
        file: "sim7600-boot-sim-busy.txt",
        steps: &[
            Hear,
            Say("AT"),
            Say("AT+CPIN?"),
            Say("AT+CNMP=2"),
            Say("AT+CNMP?"),
            Registration(Domain::Ps),
            Status,
            Registration(Domain::Ps),
        ],
        outcome: &[
            "Booted",
            "say: OK",
            "say: +CME ERROR: SIM busy",
            "say: OK",
            "say: +CNMP: 2 OK",
            "registration: not registered",
            "registration: registered",
        ],
        leaves: &[],
    },
    Story {
        file: "sim7600-connect-26.txt",
        steps: &[
            Start,
            Open(Login {
                will: Some((THING, "SIMCom Connected!")),
                tls: true,
                ..Login::new("SIMCom_client01", AWS, 8883)
            }),
        ],
        outcome: &["start: ok", "open: CMQTTCONNECT 26"],
        leaves: &[],
    },
    Story {
        file: "sim7600-cpsi-lte.txt",
        steps: &[Status, Status],
        outcome: &[
            "status: lte rssi -54.9 rsrp -82.2 rsrq -8.4",
            "status: lte rssi -78.9 rsrp -118.5 rsrq -17.8",
        ],
        leaves: &[],
    },
    Story {
        file: "sim7600-publish-echo-arrives-first.txt",
        steps: &[Publish("topic", "payload")],
        outcome: &["publish: ok"],
        leaves: &[],
    },
    Story {
        file: "sim7600-publish-ok.txt",
        steps: &[
            Open(TLS),
            Subscribe(&[THING, "another"]),
            Publish(THING, "{\"message\":\"Hello from SIMCom Module\"}"),
        ],
        outcome: &["open: ok", "subscribe: ok", "publish: ok"],
        leaves: &[],
    },
    Story {
        file: "sim7600-reset-while-connected.txt",
        steps: &[Reset],
        outcome: &["reset: ok", "lost", "ServiceLost", "Booted", "BootDone", "BootDone"],
        leaves: &[],
    },
    Story {
        file: "sim7600-rx-before-sub-result.txt",
        steps: &[Subscribe(&["test1z", "another"])],
        outcome: &["subscribe: ok", "message: 6 + 18 bytes"],
        leaves: &[],
    },
    Story {
        file: "sim7600-rx-two-pieces.txt",
        steps: &[Hear],
        outcome: &["message: 22 + 1520 bytes"],
        leaves: &[],
    },
    Story { file: "sim7600-start-23.txt", steps: &[Start], outcome: &["start: ok"], leaves: &[] },
    Story {
        file: "sim7600-start-result-first.txt",
        steps: &[
            Say("AT+CPIN?"),
            Registration(Domain::Cs),
            Say("AT+CGDCONT?"),
            Say("AT+CGACT?"),
            Start,
        ],
        outcome: &[
            "say: +CPIN: READY OK",
            "registration: registered",
            "say: +CGDCONT: 1,\"IP\",\"jionet\",\"0.0.0.0\",0,0,0,0 +CGDCONT: 2,\"IPV4V6\",\"ims\",\"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0\",0,0,0,0 +CGDCONT: 3,\"IPV4V6\",\"SOS\",\"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0\",0,0,0,1 OK",
            "say: +CGACT: 1,1 +CGACT: 2,1 +CGACT: 3,0 OK",
            "start: ok",
        ],
        leaves: &[],
    },
    Story {
        file: "sim7600-urc-inside-an-answer.txt",
        steps: &[Status, Registration(Domain::Ps), Start],
        outcome: &["registration: registered", "start: ok", "BootDone"],
        leaves: &[],
    },
    Story {
        file: "sim8200-alibaba.txt",
        steps: &[
            Start,
            Open(Login {
                user: Some(("7600&a1mQpKOF9hp", "D48150E8D550607B15C667E100635EE96EA7D512")),
                ..Login::new(
                    "7600|securemode=3,signmethod=hmacsha1|",
                    "iot-as-mqtt.cn-shanghai.aliyuncs.com",
                    1883,
                )
            }),
            Subscribe(&[DEVICE]),
            Publish(DEVICE, "hello"),
            Unsubscribe(DEVICE),
            Close,
            Stop,
        ],
        outcome: &[
            "start: ok",
            "open: ok",
            "subscribe: ok",
            "publish: ok",
            "message: /a1mQpKOF9hp/7600/user/7600 hello",
            "unsubscribe: ok",
        ],
        leaves: &[],
    },
    Story {
        file: "sim8200-cpsi-nsa.txt",
        steps: &[Status, Status, Status, Status],
        outcome: &[
            "status: lte rssi -54.5 rsrp -85 rsrq -9.4, nr rsrp -86 rsrq -12 sinr 8.5",
            "status: lte rssi -54.5 rsrp -85 rsrq -9.4, nr rsrp -86 rsrq -12 sinr 8.5",
            "status: lte rssi -54.5 rsrp -85 rsrq -9.4, nr rsrp -96 rsrq -12 sinr 9.5",
            "status: lte rssi -54.5 rsrp -85 rsrq -9.4, nr rsrp -76 rsrq -11",
        ],
        leaves: &[],
    },
    Story {
        file: "sim8200-cpsi-sa.txt",
        steps: &[Status, Status],
        outcome: &["status: nr rsrp -77 rsrq -11 sinr 29", "status: nr rsrp -74 rsrq -11 sinr 24"],
        leaves: &[],
    },
];

#[tokio::test(start_paused = true)]
async fn every_transcript_drives_the_dialect_to_what_the_unit_did() {
    replay::replay(PROFILE, &PLUGIN, STORIES, default).await;
}

#[test]
fn answers_that_the_profile_reads_are_readable() {
    let read = transcript::answers_are_readable(PROFILE, &PLUGIN);
    assert!(read >= 12, "only {read} answers were read");
}

#[test]
fn a_model_that_claims_a_transcript_has_one() {
    transcript::claims_are_proven(PROFILE, &PLUGIN);
}
