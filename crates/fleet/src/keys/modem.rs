//! The keys of a modem and of its sessions.

use std::time::Duration;

use queue::MAX_PRIORITY;

use super::{DAY, HOUR, SECOND};
use crate::aliyun::Method;
use crate::choices::{APN_PROTOCOLS, FLOW_CONTROL, OWNERS, PDP_TYPES, ROAMING, words};
use crate::key::Effect::{Live, Modem, Session};
use crate::key::Leaf::{Boolean, Digits, Form, Name, Number, Qos, Rate, Size, Text, Time, Word};
use crate::key::Shape::{File, List, Map, Named, Scalar, ScalarOr, Secret};
use crate::key::{Keys, Shape, may, must};

#[expect(clippy::as_conversions, reason = "`u64::from` is not const")]
const PRIORITY: u64 = MAX_PRIORITY as u64;
/// A share of a budget.
const PERCENT: Shape = Scalar(Form("1% to 100%", "^([1-9][0-9]?|100)%$"));
/// A name of the fleet.
pub(in super::super) const NAME: &str = "^[A-Za-z0-9_-]{1,32}$";
/// The meaning of a list below the file's own.
pub(super) const GATEWAYS: &str =
    "The gateways of the file that use this entry: names, or patterns with `*` and `?`.";

pub(in super::super) static TLS: Keys = Keys::new(
    "`tls`",
    Session,
    &[
        may("ca", File, "A file with the certificate of the authority that signed the broker's certificate certificate, in PEM. Needed unless `insecure: true`.")
            .like("/etc/modemfleet/other.pem"),
        may("cert", File, "A file with the client's certificate, in PEM.")
            .else_("none")
            .needs("key", "a client certificate has a private key")
            .like("/etc/modemfleet/client.pem"),
        may("key", File, "A file with the private key of `cert`, in PEM, not encrypted.")
            .else_("none")
            .needs("cert", "a private key has a client certificate")
            .like("/etc/modemfleet/client.key"),
        may("insecure", Scalar(Boolean), "True accepts every certificate: a machine on the way can read and change all traffic.")
            .or("false")
            .like("true"),
    ],
);

pub(in super::super) static MODEM: Keys = Keys::new(
    "a modem",
    Modem,
    &[
        must("match", Map(&MATCH), "The device of this entry: all keys that are given must hold.")
            .like("{ imei: \"861234567000000\" }"),
        may("apn", ScalarOr(&APN), "The access point: its name, or a mapping.")
            .else_("the modem's own setting")
            .like("internet"),
        may("pin", Secret, "The SIM's PIN, 4 to 8 digits. The agent tries the PIN once for each SIM, and never again after a refusal.")
            .else_("none")
            .like("{ credential: pin }"),
        may("roaming", Scalar(Word(|| words(&ROAMING))), "`allow` if the modem may use a foreign network.")
            .or("deny")
            .like("allow"),
        may(
            "radio",
            Scalar(Word(|| words(&OWNERS))),
            "The owner of the radio. `leave` if another program, such as ModemManager, switches the radio and writes the access point (AT+CFUN, CGATT, CGDCONT, CGAUTH).",
        )
        .or("ours")
        .like("leave"),
        may("poll", Scalar(Time(SECOND, HOUR)), "The time between two readings of signal and registration.").or("10s").like("30s"),
        may(
            "sms",
            Scalar(Word(|| words(&OWNERS))),
            "The owner of text messages. With `ours` the agent sets AT+CNMI of a modem that prints messages at its port, so that they stay in the modem's store. `leave` if another program reads them from the port.",
        )
        .or("ours")
        .like("leave"),
        may("baud", Scalar(Rate), "The speed of a UART, as set in the modem (AT+IPR). Needs `port` in `match`. The tty of a USB modem ignores the speed.")
            .or("115200")
            .unit("bit/s")
            .like("9600"),
        may(
            "flow_control",
            Scalar(Word(|| words(&FLOW_CONTROL))),
            "The flow control of a UART, as set in the modem (AT+IFC): `none`, `hardware` (RTS and CTS, which must be wired), or `software` (XON and XOFF, which take the bytes 17 and 19 from messages). Without flow control bytes are lost when the gateway is busy. Needs `port` in `match`. A USB modem ignores the setting.",
        )
        .or("none")
        .like("hardware"),
        may("budget", Map(&BUDGET), "The bytes that the modem's SIM may carry in a month. The first `budget` of a fleet restarts all its modems.")
            .else_("no limit")
            .effect(Live)
            .like("{ bytes: 500MB, reset_day: 1, time_zone: Asia/Shanghai }"),
        may("recovery", Map(&RECOVERY), "The steps against a modem that stops answering.").like("{ budget: 3 }"),
        may("telemetry", Map(&TELEMETRY), "The modem's state as messages, by one of its sessions.")
            .else_("none")
            .effect(Session)
            .like("{ every: 5m }"),
        may("gateways", List(&Scalar(Text)), GATEWAYS).else_("all").effect(Live).like("[gw-0?]"),
        may("sessions", Named(&Map(&SESSION)), "The modem's MQTT sessions, by names of your choice.")
            .else_("none: the agent only watches the modem")
            .effect(Live),
    ],
);

pub(in super::super) static TELEMETRY: Keys = Keys::new(
    "`telemetry`",
    Session,
    &[
        may(
            "topic",
            Scalar(Text),
            "The topic of the state, which is JSON, with ${gateway}, ${modem}, ${session} and the session's `vars`; $$ is a `$`.",
        )
        .or("modemfleet/${gateway}/${modem}/state")
        .like("site-7/${modem}/state"),
        // The state is read every second at most.
        may("every", Scalar(Time(SECOND, DAY)), "The time between two messages.").or("60s").effect(Live).like("5m"),
        may("qos", Scalar(Qos), "The quality of service.").or("1").like("0"),
        may("retain", Scalar(Boolean), "True if the broker keeps the state for later subscribers.").or("true").effect(Live).like("false"),
        may("session", Scalar(Name), "The session of this modem that carries the messages.").else_("the first").like("lab"),
        may("status", Scalar(Text), "The topic of `online`, retained, and of `offline` by the session's will; `none` for no such topic.")
            .else_("`topic` with `status` as its last level")
            .like("none"),
    ],
);

pub(in super::super) static BUDGET: Keys = Keys::new(
    "`budget`",
    Live,
    &[
        // Less would not pay for one connect.
        must(
            "bytes",
            Scalar(Size(1_000, u64::MAX)),
            "The bytes of a month, in both directions, as estimated.",
        )
        .like("1GB"),
        may(
            "reset_day",
            Scalar(Number(1, 31)),
            "The day of the month on which the count restarts; the last day of a shorter month.",
        )
        .or("1")
        .unit("day of the month")
        .like("15"),
        may("time_zone", Scalar(Form("time zone", "^[A-Za-z]")), "The time zone of that day.")
            .or("UTC")
            .like("Europe/Berlin"),
        may("warn", PERCENT, "The share from which log, status and metrics show a warning.")
            .or("80%")
            .like("70%"),
        may("shed", Map(&SHED), "The share from which messages of a low priority wait.")
            .else_("they do not wait")
            .like("{ at: 90%, below_priority: 3 }"),
        may(
            "stop",
            Scalar(Form("1% to 100%, or `never`", "^(([1-9][0-9]?|100)%|never)$")),
            "The share from which messages take another path or wait; `never` for no such share.",
        )
        .or("100%")
        .like("95%"),
        may(
            "urgent",
            Scalar(Number(0, PRIORITY)),
            "The lowest priority of messages that pass after `stop`.",
        )
        .else_("none passes")
        .unit("priority")
        .like("9"),
    ],
);

pub(in super::super) static SHED: Keys = Keys::new(
    "`shed`",
    Live,
    &[
        must("at", PERCENT, "The share of the budget from which messages wait.").like("85%"),
        must(
            "below_priority",
            Scalar(Number(1, PRIORITY)),
            "Messages below this priority wait. A message has the priority 4 by default.",
        )
        .unit("priority")
        .like("3"),
    ],
);

pub(in super::super) static RECOVERY: Keys = Keys::new(
    "a modem's `recovery`",
    Modem,
    &[
        may(
            "budget",
            Scalar(Number(1, 60)),
            "The most actions of recovery within an hour. After them the agent only tries to connect until the hour is over.",
        )
        .or("6")
        .unit("actions an hour")
        .like("3"),
        may("registration_lost", Scalar(Time(SECOND, HOUR)), "The time without registration after which the agent switches the radio off and on.")
            .or("5m")
            .like("10m"),
        may(
            "service_lost",
            Scalar(Time(SECOND, HOUR)),
            "The time for which the network may refuse data, or the MQTT service may fail to start, before the agent does more than try again.",
        )
        .or("5m")
        .like("10m"),
        may("boot", Scalar(Time(SECOND, Duration::from_secs(600))), "The time from a reset until the modem must answer and be registered.")
            .or("60s")
            .like("90s"),
        may("usb_reset", Scalar(Boolean), "True if modemfleet-recover may reset the USB device.").or("true").like("false"),
        may("power_script", Scalar(Name), "The name of a script in /etc/modemfleet/power.d that switches the modem's supply off and on.")
            .else_("none")
            .like("relay"),
    ],
);

pub(in super::super) static MATCH: Keys = Keys::new(
    "`match`",
    Modem,
    &[
        may("imei", Scalar(Digits("^[0-9]{15}$")), "The device's IMEI, 15 digits.").like("\"861234567000018\""),
        may("iccid", Scalar(Digits("^[0-9A-Za-z]{18,22}$")), "The number that is printed on the SIM.").like("\"89860000000000000018\""),
        may(
            "usb_path",
            Scalar(Form("text", r"^[0-9]+-[0-9]+(\.[0-9]+)*$")),
            "The USB port of the modem, such as 1-1.2: bus and ports. Each device with a tty there is asked, also under a USB id that no profile has.",
        )
        .like("1-1.3"),
        may(
            "port",
            Scalar(Form("path", "^/")),
            "The tty of the AT port, such as /dev/ttyS1, for a modem that is not on USB or is simulated. The numbers of /dev/ttyUSB… change: match USB modems by another key.",
        )
        .like("/dev/ttyS2"),
        may("model", Scalar(Text), "The beginning of the answer to AT+CGMM, without `SIMCOM_`.").like("SIM7600"),
    ],
)
.any_of(&["imei", "iccid", "usb_path", "port", "model"]);

pub(in super::super) static APN: Keys = Keys::new(
    "`apn`",
    Modem,
    &[
        must("name", Scalar(Text), "The access point's name.").like("private.example"),
        may("user", Scalar(Text), "The user, if the network asks for one.").else_("none").like("gw"),
        may("password", Secret, "The password of `user`.").else_("none").needs("user", "").like("{ credential: apn }"),
        may("type", Scalar(Word(|| words(&PDP_TYPES))), "The kind of addresses.")
            .else_("that of a context of this name, else `ip`")
            .like("ipv6"),
        may(
            "auth",
            Scalar(Word(|| words(&APN_PROTOCOLS))),
            "The protocol for user and password. `none` deletes a login that the modem has.",
        )
        .else_("`chap` with `user` (`pap` on a SIM7020, which has no other), else the modem's login stays")
        .like("pap"),
        may(
            "cid",
            Scalar(Number(1, 15)),
            "The number of the context, such as 3 for Verizon. Quectel's MQTT uses this context. SIMCom's MQTT always uses context 1.",
        )
        .or("1")
        .like("3"),
    ],
);

pub(in super::super) static SESSION: Keys = Keys::new(
    "a session",
    Session,
    &[
        must("broker", Scalar(Name), "A name among `brokers`.").like("spare"),
        may("client_id", Scalar(Text), "The MQTT client id.")
            .else_("GATEWAY-MODEM-SESSION; for Alibaba Cloud the device name")
            .like("north-1"),
        // AT+CMQTTCONNECT: 1 to 64,800 s.
        may(
            "keep_alive",
            Scalar(Time(SECOND, Duration::from_secs(64_800))),
            "The MQTT keep-alive, in whole seconds; for Alibaba Cloud 30s to 20m.",
        )
        .or("60s")
        .like("5m"),
        may("clean_session", Scalar(Boolean), "True if the broker forgets the session at its end.").or("true").like("false"),
        // Shorter would not be a back-off, and a longer wait would look like a dead session.
        may("reconnect_max", Scalar(Time(SECOND, HOUR)), "The longest wait before a reconnect. The first wait is about 1s.")
            .or("60s")
            .like("5m"),
        may("will", Map(&WILL), "The message that the broker publishes when the session is lost.")
            .else_("none")
            .like("{ topic: gateways/north, payload: lost }"),
        may("subscribe", List(&Map(&SUBSCRIBE)), "The subscriptions.").else_("none").like("[{ filter: \"commands/#\", qos: 1 }]"),
        may("vars", Named(&Scalar(Text)), "Variables for the `publish_as` of routes, by name.")
            .else_("none")
            .effect(Live)
            .like("{ site: west }"),
        may("product_key", Scalar(Text), "Alibaba Cloud: the product's key; needed there.").like("a1mQpKOF9hq"),
        may("device_name", Scalar(Text), "Alibaba Cloud: the device's name; needed there.").like("\"7601\""),
        may("device_secret", Secret, "Alibaba Cloud: the device's secret; needed there.").like("{ credential: north }"),
        may("securemode", Scalar(Digits("^[23]$")), "Alibaba Cloud: 2 for TLS, 3 for plain TCP.").or("3").like("3"),
        may("signmethod", Scalar(Word(|| Method::WORDS.to_vec())), "Alibaba Cloud: the algorithm of the signature.")
            .or("hmacsha1")
            .like("hmacmd5"),
        may("timestamp", Scalar(Digits("^[0-9]+$")), "Alibaba Cloud: a time since 1970, which is signed as well.")
            .else_("none")
            .unit("ms")
            .like("1700000000001"),
        may("host", Scalar(Text), "Alibaba Cloud: HOST or HOST:PORT.")
            .else_("the host of product key and region")
            .like("a1mQpKOF9hp.iot-as-mqtt.cn-beijing.aliyuncs.com"),
        may("instance_id", Scalar(Text), "Alibaba Cloud: the id of an enterprise instance, in place of the region.")
            .else_("the broker's")
            .like("iot-060a0bgx"),
        may("aliauth", Scalar(Boolean), "Alibaba Cloud: true if the modem signs, with the device's secret in the modem; false if the agent signs.")
            .or("false")
            .like("true"),
        may("tls", Map(&TLS), "TLS of this session. Its keys have priority over those of the broker's `tls`.")
            .else_("the broker's")
            .like("{ ca: /etc/modemfleet/other.pem }"),
        may("gateways", List(&Scalar(Text)), GATEWAYS).else_("all").effect(Live).like("[gw-0*]"),
    ],
);

pub(in super::super) static WILL: Keys = Keys::new(
    "`will`",
    Session,
    &[
        must("topic", Scalar(Text), "The topic, without wildcards.").like("gateways/north"),
        must("payload", Scalar(Text), "The payload, 1 to 1,024 bytes.").like("lost"),
        may("qos", Scalar(Qos), "The quality of service.").or("1").like("0"),
        may("retain", Scalar(Boolean), "True if the broker keeps the will for later subscribers.")
            .or("false")
            .like("false"),
    ],
);

pub(in super::super) static SUBSCRIBE: Keys = Keys::new(
    "a subscription",
    Session,
    &[
        must("filter", Scalar(Text), "The topic filter.").like("commands/#"),
        may("qos", Scalar(Qos), "The highest quality of service that is asked for.")
            .or("1")
            .like("0"),
    ],
);
