//! The keys of a modem and of its sessions.

use queue::MAX_PRIORITY;

use crate::aliyun::Method;
use crate::choices::{APN_PROTOCOLS, FLOW_CONTROL, OWNERS, PDP_TYPES, ROAMING, words};
use crate::key::Leaf::{Boolean, Digits, Form, Name, Number, Qos, Rate, Size, Text, Time, Word};
use crate::key::Shape::{File, List, Map, Named, Scalar, ScalarOr, Secret};
use crate::key::{Keys, may, must};

/// A share of a budget.
const PERCENT: &str = "^([1-9][0-9]?|100)%$";

/// A name of the fleet.
pub(in super::super) const NAME: &str = "^[A-Za-z0-9_-]{1,32}$";

/// What a list below the file's own chooses.
pub(super) const GATEWAYS: &str =
    "Which of the file's gateways have it, by names or patterns with `*` and `?`. Default: all.";

pub(in super::super) static TLS: Keys = Keys::new(
    "`tls`",
    &[
        may(
            "ca",
            File,
            "A file with the certificate of the authority that signed the broker's, in PEM; needed unless `insecure: true`.",
        ),
        may(
            "cert",
            File,
            "A file with the client's certificate, in PEM; with `key`. Default: none.",
        ),
        may(
            "key",
            File,
            "A file with its private key, in PEM, not encrypted; with `cert`. Default: none.",
        ),
        may(
            "insecure",
            Scalar(Boolean),
            "Take any certificate: whoever is on the way can read and change everything. Default: false.",
        ),
    ],
);

pub(in super::super) static MODEM: Keys = Keys::new(
    "a modem",
    &[
        must("match", Map(&MATCH), "Which device it is: all keys that are given must hold."),
        may(
            "apn",
            ScalarOr(&APN),
            "The access point: its name, or a mapping. Default: the modem's own setting.",
        ),
        may(
            "pin",
            Secret,
            "The SIM's PIN, 4 to 8 digits. It is tried once for each SIM, never again after a refusal. Default: none.",
        ),
        may(
            "roaming",
            Scalar(Word(|| words(&ROAMING))),
            "Whether the modem may serve in a foreign network. Default: deny.",
        ),
        may(
            "radio",
            Scalar(Word(|| words(&OWNERS))),
            "Whose the radio is: `leave` where another program, such as ModemManager, switches it and writes the access point (AT+CFUN, CGATT, CGDCONT, CGAUTH). Default: ours.",
        ),
        may(
            "poll",
            Scalar(Time),
            "The time between two readings of signal and registration, 1s to 1h. Default: 10s.",
        ),
        may(
            "sms",
            Scalar(Word(|| words(&OWNERS))),
            "Whose text messages are: of a modem that prints one at its port the agent sets AT+CNMI, so that they stay in its store; leave: another program reads them from the port. Default: ours.",
        ),
        may(
            "baud",
            Scalar(Rate),
            "The speed of a UART, as set in the modem (AT+IPR); with `port` in `match`. The tty of a USB modem heeds no speed. Default: 115200.",
        ),
        may(
            "flow_control",
            Scalar(Word(|| words(&FLOW_CONTROL))),
            "How the ends of a UART hold each other back, as set in the modem (AT+IFC): none, hardware (RTS and CTS, which must be wired), or software (XON and XOFF, which take the bytes 17 and 19 from messages); with `port` in `match`. Without it bytes are lost when the gateway is busy. A USB modem heeds nothing of it. Default: none.",
        ),
        may(
            "budget",
            Map(&BUDGET),
            "How many bytes its SIM may carry in a month. Default: as many as it likes.",
        ),
        may(
            "recovery",
            Map(&RECOVERY),
            "What may be done to bring it back when it stops answering.",
        ),
        may(
            "telemetry",
            Map(&TELEMETRY),
            "What it tells of itself by one of its sessions. Default: nothing.",
        ),
        may("gateways", List(&Scalar(Text)), GATEWAYS),
        may(
            "sessions",
            Named(&Map(&SESSION)),
            "Its MQTT sessions, by names of your choice. Default: none, it is only looked at.",
        ),
    ],
);

pub(in super::super) static TELEMETRY: Keys = Keys::new(
    "`telemetry`",
    &[
        may(
            "topic",
            Scalar(Text),
            "Where its state is published as JSON, with ${gateway}, ${modem}, ${session} and the session's vars; $$ is a `$`. Default: modemfleet/${gateway}/${modem}/state.",
        ),
        may("every", Scalar(Time), "The time from one to the next, 1s to 1d. Default: 60s."),
        may("qos", Scalar(Qos), "Quality of service. Default: 1."),
        may("retain", Scalar(Boolean), "Whether the broker keeps the state. Default: true."),
        may("session", Scalar(Name), "Which of its sessions carries it. Default: the first."),
        may(
            "status",
            Scalar(Text),
            "Where `online` stands, retained, and by the session's will `offline`; `none`: nowhere. Default: `status` in the place of the topic's last level.",
        ),
    ],
);

pub(in super::super) static BUDGET: Keys = Keys::new(
    "`budget`",
    &[
        must(
            "bytes",
            Scalar(Size),
            "The bytes of a month, in both directions, as estimated; at least 1kB.",
        ),
        may(
            "reset_day",
            Scalar(Number(1, 31)),
            "The day of the month on which the count begins anew; the last day where the month is shorter. Default: 1.",
        ),
        may(
            "time_zone",
            Scalar(Form("^[A-Za-z]")),
            "Where that day begins, such as Asia/Shanghai. Default: UTC.",
        ),
        may(
            "warn",
            Scalar(Form(PERCENT)),
            "From here on it shows: log, status, metrics. Default: 80%.",
        ),
        may(
            "shed",
            Map(&SHED),
            "From where on messages of a low priority wait. Default: they do not.",
        ),
        may(
            "stop",
            Scalar(Form("^(([1-9][0-9]?|100)%|never)$")),
            "From here on messages take another path or wait; `never`: they do not. Default: 100%.",
        ),
        may(
            "urgent",
            Scalar(Number(0, MAX_PRIORITY)),
            "Messages of at least this priority pass even then. Default: none.",
        ),
    ],
);

pub(in super::super) static SHED: Keys = Keys::new(
    "`shed`",
    &[
        must("at", Scalar(Form(PERCENT)), "The share of the budget from which on they wait."),
        must(
            "below_priority",
            Scalar(Number(1, MAX_PRIORITY)),
            "Messages below this priority wait; the default of a message is 4.",
        ),
    ],
);

pub(in super::super) static RECOVERY: Keys = Keys::new(
    "a modem's `recovery`",
    &[
        may(
            "budget",
            Scalar(Digits("^[0-9]+$")),
            "The most actions of recovery within an hour, 1 to 60; then there are attempts only until the hour is over. Default: 6.",
        ),
        may(
            "registration_lost",
            Scalar(Time),
            "How long it may be without registration before its radio is switched off and on, 1s to 1h. Default: 5m.",
        ),
        may(
            "service_lost",
            Scalar(Time),
            "How long the network may refuse it data, or its MQTT service fail to start, before more is done than to try again: 1s to 1h. Default: 5m.",
        ),
        may(
            "boot",
            Scalar(Time),
            "How long it may take from a reset until it answers or is registered, 1s to 10m. Default: 60s.",
        ),
        may(
            "usb_reset",
            Scalar(Boolean),
            "Whether its USB device may be reset, where modemfleet-recover is installed. Default: true.",
        ),
        may(
            "power_script",
            Scalar(Name),
            "The name of a script in /etc/modemfleet/power.d that takes its supply away and gives it back. Default: none.",
        ),
    ],
);

pub(in super::super) static MATCH: Keys = Keys::new(
    "`match`",
    &[
        may("imei", Scalar(Digits("^[0-9]{15}$")), "The device's IMEI, 15 digits."),
        may(
            "iccid",
            Scalar(Digits("^[0-9A-Za-z]{18,22}$")),
            "The number that is printed on the SIM.",
        ),
        may(
            "usb_path",
            Scalar(Form(r"^[0-9]+-[0-9]+(\.[0-9]+)*$")),
            "Where it is plugged in, such as 1-1.2: bus and ports. Whatever has a tty there is asked, also under an id that no profile knows.",
        ),
        may(
            "port",
            Scalar(Form("^/")),
            "The tty of the AT port, such as /dev/ttyS1, for a modem that is not on USB or is simulated. The numbers of /dev/ttyUSB… change: match those by another key.",
        ),
        may("model", Scalar(Text), "The beginning of what AT+CGMM answers, without `SIMCOM_`."),
    ],
);

pub(in super::super) static APN: Keys = Keys::new(
    "`apn`",
    &[
        must("name", Scalar(Text), "The access point's name."),
        may("user", Scalar(Text), "The user, where the network asks for one. Default: none."),
        may("password", Secret, "The password of that user; with `user`. Default: none."),
        may(
            "type",
            Scalar(Word(|| words(&PDP_TYPES))),
            "The kind of addresses. Default: that of a context of this name, else ip.",
        ),
        may(
            "auth",
            Scalar(Word(|| words(&APN_PROTOCOLS))),
            "How user and password are told; `none` takes away a login that the modem has. Default: chap with `user` (pap on a SIM7020, which knows no other), else the modem's login is left.",
        ),
        may(
            "cid",
            Scalar(Number(1, 15)),
            "The number of the context, such as 3 for Verizon. Quectel's MQTT then runs over it; SIMCom's runs over context 1 whatever is written here. Default: 1.",
        ),
    ],
);

pub(in super::super) static SESSION: Keys = Keys::new(
    "a session",
    &[
        must("broker", Scalar(Name), "A name among `brokers`."),
        may(
            "client_id",
            Scalar(Text),
            "The MQTT client id. Default: GATEWAY-MODEM-SESSION; for Alibaba Cloud the device name.",
        ),
        may(
            "keep_alive",
            Scalar(Time),
            "How often it is shown to be alive: whole seconds, 1s to 18h; 30s to 20m for Alibaba Cloud. Default: 60s.",
        ),
        may(
            "clean_session",
            Scalar(Boolean),
            "Whether the broker forgets the session at its end. Default: true.",
        ),
        may(
            "reconnect_max",
            Scalar(Time),
            "The longest wait before a reconnect, 1s to 1h; the first is about 1s. Default: 60s.",
        ),
        may(
            "will",
            Map(&WILL),
            "What the broker publishes when the session is lost. Default: nothing.",
        ),
        may("subscribe", List(&Map(&SUBSCRIBE)), "What is subscribed. Default: nothing."),
        may(
            "vars",
            Named(&Scalar(Text)),
            "Variables for the `publish_as` of routes, by name. Default: none.",
        ),
        may("product_key", Scalar(Text), "Alibaba Cloud: the product's key; needed there."),
        may("device_name", Scalar(Text), "Alibaba Cloud: the device's name; needed there."),
        may("device_secret", Secret, "Alibaba Cloud: the device's secret; needed there."),
        may(
            "securemode",
            Scalar(Digits("^[23]$")),
            "Alibaba Cloud: 2, TLS, or 3, plain TCP. Default: 3.",
        ),
        may(
            "signmethod",
            Scalar(Word(|| Method::WORDS.to_vec())),
            "Alibaba Cloud: how it signs. Default: hmacsha1.",
        ),
        may(
            "timestamp",
            Scalar(Digits("^[0-9]+$")),
            "Alibaba Cloud: milliseconds since 1970, signed as well. Default: none.",
        ),
        may(
            "host",
            Scalar(Text),
            "Alibaba Cloud: HOST or HOST:PORT instead of what follows from product key and region. Default: what follows.",
        ),
        may(
            "instance_id",
            Scalar(Text),
            "Alibaba Cloud: the id of an enterprise instance; it replaces the region. Default: the broker's.",
        ),
        may(
            "aliauth",
            Scalar(Boolean),
            "Alibaba Cloud: whether the modem signs, with the device's secret in it. Default: false, the agent does.",
        ),
        may(
            "tls",
            Map(&TLS),
            "TLS of this session; what it does not say its broker's `tls` says. Default: the broker's.",
        ),
        may("gateways", List(&Scalar(Text)), GATEWAYS),
    ],
);

pub(in super::super) static WILL: Keys = Keys::new(
    "`will`",
    &[
        must("topic", Scalar(Text), "The topic, without wildcards."),
        must("payload", Scalar(Text), "The payload, 1 to 1,024 bytes."),
        may("qos", Scalar(Qos), "Quality of service. Default: 1."),
        may(
            "retain",
            Scalar(Boolean),
            "Whether the broker keeps it for later subscribers. Default: false.",
        ),
    ],
);

pub(in super::super) static SUBSCRIBE: Keys = Keys::new(
    "a subscription",
    &[
        must("filter", Scalar(Text), "The topic filter."),
        may("qos", Scalar(Qos), "The highest quality of service asked for. Default: 1."),
    ],
);
