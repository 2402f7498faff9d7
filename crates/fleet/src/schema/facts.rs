//! What each key of the file is for, what it takes, and what holds without it.

use queue::MAX_PRIORITY;

use super::super::choices::{
    APN_PROTOCOLS, FLOW_CONTROL, FSYNC, OWNERS, PDP_TYPES, PROVIDERS, ROAMING, WHEN_FULL, words,
};
use super::super::shape::{self, Keys};
use super::super::{BatchFormat, Policy};
use crate::aliyun::Method;

/// What a single value is.
pub(super) enum Leaf {
    /// Any text; a number or a boolean counts as the text that is written.
    Text,
    /// Text of this form.
    Form(&'static str),
    /// A name of the fleet, of which YAML may make a number.
    Name,
    /// Digits, of which YAML may make a number.
    Digits(&'static str),
    /// A whole number of these.
    Number(u8, u8),
    /// `true` or `false`.
    Boolean,
    /// 0, 1 or 2.
    Qos,
    /// A speed of a UART, in bits per second.
    Rate,
    /// A number and its unit.
    Time,
    /// Bytes, with or without a unit.
    Size,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// Nothing: a mapping or a list stands there.
    Inner,
}

/// What is said of one key.
pub(super) struct Fact {
    pub(super) key: &'static str,
    pub(super) leaf: Leaf,
    pub(super) is_required: bool,
    /// A sentence, and behind `Default: ` what holds without the key.
    pub(super) text: &'static str,
}

const fn may(key: &'static str, leaf: Leaf, text: &'static str) -> Fact {
    Fact { key, leaf, is_required: false, text }
}

const fn must(key: &'static str, leaf: Leaf, text: &'static str) -> Fact {
    Fact { key, leaf, is_required: true, text }
}

use Leaf::{Boolean, Digits, Form, Inner, Name, Number, Qos, Rate, Size, Text, Time, Word};

/// A share of a budget.
const PERCENT: &str = "^([1-9][0-9]?|100)%$";

/// A name of the fleet.
pub(super) const NAME: &str = "^[A-Za-z0-9_-]{1,32}$";

/// What a list below the file's own chooses.
const GATEWAYS: &str =
    "Which of the file's gateways have it, by names or patterns with `*` and `?`. Default: all.";

static FLEET: &[Fact] = &[
    may(
        "gateway",
        Name,
        "The gateway's name; not beside `gateways`. Default: the first label of the host name.",
    ),
    may(
        "gateways",
        Inner,
        "The gateways that this file serves, by names or patterns with `*` and `?`; not beside `gateway`. Default: any.",
    ),
    may("shutdown_grace", Time, "How long an orderly end may take, 1s to 10m. Default: 10s."),
    may("http", Inner, "The HTTP listener: metrics, health, API."),
    may("queue", Inner, "The durable store of messages that are on their way."),
    may(
        "inbox",
        Inner,
        "The durable store of what comes down, for consumers that are away. Default: none, and they miss it.",
    ),
    may("hand_in", Inner, "Ways in for local applications beside HTTP. Default: none."),
    may("recovery", Inner, "Who resets USB devices and runs power scripts for the agent."),
    may("brokers", Inner, "The MQTT brokers, by names that the sessions refer to."),
    must("modems", Inner, "The modems, by names of your choice."),
    may(
        "routes",
        Inner,
        "Which sessions carry which topics; the first match wins, and what none takes is refused: end with one of `#`. Default: `#` over all sessions in file order.",
    ),
];

static HTTP: &[Fact] = &[
    may(
        "listen",
        Form("^.+:[0-9]{1,5}$"),
        "ADDRESS:PORT. Beyond loopback it needs a `token`, and the service `IPAddressAllow=`. Default: 127.0.0.1:9810.",
    ),
    may(
        "hosts",
        Inner,
        "Host names by which the API and the status page are asked over TCP, such as a reverse proxy's, without scheme and port; addresses and `localhost` are always taken. Default: none.",
    ),
    may(
        "token",
        Inner,
        "What callers of the API must show as `Authorization: Bearer …`; needed beyond loopback. Default: none.",
    ),
    may(
        "publish_token",
        Inner,
        "Another token, for applications that may publish and see what became of it, and nothing else; it needs `token`. Default: none.",
    ),
    may(
        "socket",
        Form(".+"),
        "The path of a unix socket for the API; who may open it needs no token. Default: none.",
    ),
    may(
        "publish_socket",
        Form(".+"),
        "The path of a second unix socket; who may open it may do what `publish_token` allows. Default: none.",
    ),
];

static HAND_IN: &[Fact] = &[may(
    "mqtt",
    Inner,
    "A listener for MQTT 3.1, 3.1.1 and 5 clients; it is no broker. Default: none.",
)];

static MQTT_LISTENER: &[Fact] = &[
    must(
        "listen",
        Form("^.+:[0-9]{1,5}$"),
        "ADDRESS:PORT, such as 127.0.0.1:1883. Beyond loopback it needs `users`, and the service `IPAddressAllow=`.",
    ),
    may("users", Inner, "Who may connect: names with their passwords. Default: everyone."),
];

static QUEUE: &[Fact] = &[
    may("path", Form(".+"), "Its folder. Default: /var/lib/modemfleet/queue."),
    may("max_bytes", Size, "The most bytes of messages, at least 1MiB. Default: 64MiB."),
    may("max_messages", Digits("^[1-9][0-9]*$"), "The most messages. Default: as many as fit."),
    may(
        "max_age",
        Time,
        "How old a message may become before it is dropped, at least 1m. Default: as old as it likes.",
    ),
    may(
        "when_full",
        Word(|| words(&WHEN_FULL)),
        "What happens to a message that no longer fits: `reject` refuses it, `drop_oldest` deletes what was acknowledged, `drop_newest` drops it and says so. Default: reject.",
    ),
    may(
        "fsync",
        Word(|| words(&FSYNC)),
        "What a power loss takes: `always` nothing that was answered, `interval` what was answered since the last interval, `off` whatever the system had not written, and the file may be torn. A killed agent loses nothing under any of them. Default: always.",
    ),
    may("fsync_interval", Time, "How often `fsync: interval` syncs, 10ms to 10m. Default: 1s."),
];

static INBOX: &[Fact] = &[
    may("path", Form(".+"), "Its folder. Default: /var/lib/modemfleet/inbox."),
    may("max_bytes", Size, "The most bytes of messages, at least 1MiB. Default: 64MiB."),
    may(
        "max_age",
        Time,
        "How old a message may become before it is dropped, and how long a reader is remembered that is not seen, at least 1m. Default: 7d.",
    ),
    may(
        "session_expiry",
        Time,
        "How long an MQTT client's session is kept at most while the client is away, 1m to 365d. Default: 24h.",
    ),
];

static BROKER: &[Fact] = &[
    may(
        "url",
        Form("^mqtts?://[^@/]+/?$"),
        "mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS; the port may be left out where it is 1883, for TLS 8883. Needed but for `provider: aliyun`.",
    ),
    may("username", Text, "The user name of its sessions. Default: none."),
    may("password", Inner, "The password of that user; with `username`. Default: none."),
    may(
        "provider",
        Word(|| PROVIDERS.map(|(word, _)| word).to_vec()),
        "A cloud: of aliyun addresses and signatures are computed, of aws the rules are known. Default: none, a broker of your own.",
    ),
    may(
        "region",
        Text,
        "Alibaba Cloud: the region, such as cn-shanghai; needed where no session names a `host` and there is no `instance_id`.",
    ),
    may(
        "instance_id",
        Text,
        "Alibaba Cloud: the id of an enterprise instance; it replaces the region.",
    ),
    may(
        "tls",
        Inner,
        "TLS, for mqtts, aws and securemode 2; what a session's own `tls` says comes first. Default: none.",
    ),
];

static TLS: &[Fact] = &[
    may(
        "ca",
        Inner,
        "A file with the certificate of the authority that signed the broker's, in PEM; needed unless `insecure: true`.",
    ),
    may("cert", Inner, "A file with the client's certificate, in PEM; with `key`. Default: none."),
    may(
        "key",
        Inner,
        "A file with its private key, in PEM, not encrypted; with `cert`. Default: none.",
    ),
    may(
        "insecure",
        Boolean,
        "Take any certificate: whoever is on the way can read and change everything. Default: false.",
    ),
];

static MODEM: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("match", Inner, "Which device it is: all keys that are given must hold."),
    may(
        "apn",
        Inner,
        "The access point: its name, or a mapping. Default: the modem's own setting.",
    ),
    may(
        "pin",
        Inner,
        "The SIM's PIN, 4 to 8 digits. It is tried once for each SIM, never again after a refusal. Default: none.",
    ),
    may(
        "roaming",
        Word(|| words(&ROAMING)),
        "Whether the modem may serve in a foreign network. Default: deny.",
    ),
    may(
        "radio",
        Word(|| words(&OWNERS)),
        "Whose the radio is: `leave` where another program, such as ModemManager, switches it and writes the access point (AT+CFUN, CGATT, CGDCONT, CGAUTH). Default: ours.",
    ),
    may(
        "poll",
        Time,
        "The time between two readings of signal and registration, 1s to 1h. Default: 10s.",
    ),
    may(
        "sms",
        Word(|| words(&OWNERS)),
        "Whose text messages are: of a modem that prints one at its port the agent sets AT+CNMI, so that they stay in its store; leave: another program reads them from the port. Default: ours.",
    ),
    may(
        "baud",
        Rate,
        "The speed of a UART, as set in the modem (AT+IPR); with `port` in `match`. The tty of a USB modem heeds no speed. Default: 115200.",
    ),
    may(
        "flow_control",
        Word(|| words(&FLOW_CONTROL)),
        "How the ends of a UART hold each other back, as set in the modem (AT+IFC): none, hardware (RTS and CTS, which must be wired), or software (XON and XOFF, which take the bytes 17 and 19 from messages); with `port` in `match`. Without it bytes are lost when the gateway is busy. A USB modem heeds nothing of it. Default: none.",
    ),
    may(
        "budget",
        Inner,
        "How many bytes its SIM may carry in a month. Default: as many as it likes.",
    ),
    may("recovery", Inner, "What may be done to bring it back when it stops answering."),
    may("telemetry", Inner, "What it tells of itself by one of its sessions. Default: nothing."),
    may(
        "sessions",
        Inner,
        "Its MQTT sessions, by names of your choice. Default: none, it is only looked at.",
    ),
];

static TELEMETRY: &[Fact] = &[
    may(
        "topic",
        Text,
        "Where its state is published as JSON, with ${gateway}, ${modem}, ${session} and the session's vars; $$ is a `$`. Default: modemfleet/${gateway}/${modem}/state.",
    ),
    may("every", Time, "The time from one to the next, 1s to 1d. Default: 60s."),
    may("qos", Qos, "Quality of service. Default: 1."),
    may("retain", Boolean, "Whether the broker keeps the state. Default: true."),
    may("session", Name, "Which of its sessions carries it. Default: the first."),
    may(
        "status",
        Text,
        "Where `online` stands, retained, and by the session's will `offline`; `none`: nowhere. Default: `status` in the place of the topic's last level.",
    ),
];

static BUDGET: &[Fact] = &[
    must("bytes", Size, "The bytes of a month, in both directions, as estimated; at least 1kB."),
    may(
        "reset_day",
        Number(1, 31),
        "The day of the month on which the count begins anew; the last day where the month is shorter. Default: 1.",
    ),
    may(
        "time_zone",
        Form("^[A-Za-z]"),
        "Where that day begins, such as Asia/Shanghai. Default: UTC.",
    ),
    may("warn", Form(PERCENT), "From here on it shows: log, status, metrics. Default: 80%."),
    may("shed", Inner, "From where on messages of a low priority wait. Default: they do not."),
    may(
        "stop",
        Form("^(([1-9][0-9]?|100)%|never)$"),
        "From here on messages take another path or wait; `never`: they do not. Default: 100%.",
    ),
    may(
        "urgent",
        Number(0, MAX_PRIORITY),
        "Messages of at least this priority pass even then. Default: none.",
    ),
];

static SHED: &[Fact] = &[
    must("at", Form(PERCENT), "The share of the budget from which on they wait."),
    must(
        "below_priority",
        Number(1, MAX_PRIORITY),
        "Messages below this priority wait; the default of a message is 4.",
    ),
];

static RECOVERY: &[Fact] = &[
    may(
        "budget",
        Digits("^[0-9]+$"),
        "The most actions of recovery within an hour, 1 to 60; then there are attempts only until the hour is over. Default: 6.",
    ),
    may(
        "registration_lost",
        Time,
        "How long it may be without registration before its radio is switched off and on, 1s to 1h. Default: 5m.",
    ),
    may(
        "service_lost",
        Time,
        "How long the network may refuse it data, or its MQTT service fail to start, before more is done than to try again: 1s to 1h. Default: 5m.",
    ),
    may(
        "boot",
        Time,
        "How long it may take from a reset until it answers or is registered, 1s to 10m. Default: 60s.",
    ),
    may(
        "usb_reset",
        Boolean,
        "Whether its USB device may be reset, where modemfleet-recover is installed. Default: true.",
    ),
    may(
        "power_script",
        Name,
        "The name of a script in /etc/modemfleet/power.d that takes its supply away and gives it back. Default: none.",
    ),
];

static PRIVILEGED: &[Fact] = &[may(
    "socket",
    Form(".+"),
    "The unix socket of `modemfleet recover`. Default: /run/modemfleet-recover.sock.",
)];

static MATCH: &[Fact] = &[
    may("imei", Digits("^[0-9]{15}$"), "The device's IMEI, 15 digits."),
    may("iccid", Digits("^[0-9A-Za-z]{18,22}$"), "The number that is printed on the SIM."),
    may(
        "usb_path",
        Form(r"^[0-9]+-[0-9]+(\.[0-9]+)*$"),
        "Where it is plugged in, such as 1-1.2: bus and ports. Whatever has a tty there is asked, also under an id that no profile knows.",
    ),
    may(
        "port",
        Form("^/"),
        "The tty of the AT port, such as /dev/ttyS1, for a modem that is not on USB or is simulated. The numbers of /dev/ttyUSB… change: match those by another key.",
    ),
    may("model", Text, "The beginning of what AT+CGMM answers, without `SIMCOM_`."),
];

static APN: &[Fact] = &[
    must("name", Text, "The access point's name."),
    may("user", Text, "The user, where the network asks for one. Default: none."),
    may("password", Inner, "The password of that user; with `user`. Default: none."),
    may(
        "type",
        Word(|| words(&PDP_TYPES)),
        "The kind of addresses. Default: that of a context of this name, else ip.",
    ),
    may(
        "auth",
        Word(|| words(&APN_PROTOCOLS)),
        "How user and password are told; `none` takes away a login that the modem has. Default: chap with `user` (pap on a SIM7020, which knows no other), else the modem's login is left.",
    ),
    may(
        "cid",
        Number(1, 15),
        "The number of the context, such as 3 for Verizon. Quectel's MQTT then runs over it; SIMCom's runs over context 1 whatever is written here. Default: 1.",
    ),
];

static SESSION: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("broker", Name, "A name among `brokers`."),
    may(
        "client_id",
        Text,
        "The MQTT client id. Default: GATEWAY-MODEM-SESSION; for Alibaba Cloud the device name.",
    ),
    may(
        "keep_alive",
        Time,
        "How often it is shown to be alive: whole seconds, 1s to 18h; 30s to 20m for Alibaba Cloud. Default: 60s.",
    ),
    may(
        "reconnect_max",
        Time,
        "The longest wait before a reconnect, 1s to 1h; the first is about 1s. Default: 60s.",
    ),
    may(
        "clean_session",
        Boolean,
        "Whether the broker forgets the session at its end. Default: true.",
    ),
    may("will", Inner, "What the broker publishes when the session is lost. Default: nothing."),
    may("subscribe", Inner, "What is subscribed. Default: nothing."),
    may("vars", Inner, "Variables for the `publish_as` of routes, by name. Default: none."),
    may("product_key", Text, "Alibaba Cloud: the product's key; needed there."),
    may("device_name", Text, "Alibaba Cloud: the device's name; needed there."),
    may("device_secret", Inner, "Alibaba Cloud: the device's secret; needed there."),
    may("securemode", Digits("^[23]$"), "Alibaba Cloud: 2, TLS, or 3, plain TCP. Default: 3."),
    may(
        "signmethod",
        Word(|| Method::WORDS.to_vec()),
        "Alibaba Cloud: how it signs. Default: hmacsha1.",
    ),
    may(
        "timestamp",
        Digits("^[0-9]+$"),
        "Alibaba Cloud: milliseconds since 1970, signed as well. Default: none.",
    ),
    may(
        "host",
        Text,
        "Alibaba Cloud: HOST or HOST:PORT instead of what follows from product key and region. Default: what follows.",
    ),
    may(
        "instance_id",
        Text,
        "Alibaba Cloud: the id of an enterprise instance; it replaces the region. Default: the broker's.",
    ),
    may(
        "aliauth",
        Boolean,
        "Alibaba Cloud: whether the modem signs, with the device's secret in it. Default: false, the agent does.",
    ),
    may(
        "tls",
        Inner,
        "TLS of this session; what it does not say its broker's `tls` says. Default: the broker's.",
    ),
];

static WILL: &[Fact] = &[
    must("topic", Text, "The topic, without wildcards."),
    must("payload", Text, "The payload, 1 to 1,024 bytes."),
    may("qos", Qos, "Quality of service. Default: 1."),
    may("retain", Boolean, "Whether the broker keeps it for later subscribers. Default: false."),
];

static SUBSCRIBE: &[Fact] = &[
    must("filter", Text, "The topic filter."),
    may("qos", Qos, "The highest quality of service asked for. Default: 1."),
];

static ROUTE: &[Fact] = &[
    may("gateways", Inner, GATEWAYS),
    must("topic", Text, "The topics it takes, as an MQTT filter."),
    must("to", Inner, "The sessions, as MODEM/SESSION, the preferred one first."),
    may(
        "policy",
        Word(|| Policy::ALL.map(|(word, _)| word).to_vec()),
        "How the sessions share the work: failover (the first that can), spread (by topic), all (a copy to each). Default: failover.",
    ),
    may(
        "publish_as",
        Text,
        "The topic to publish on instead, with ${topic}, ${modem}, ${session}, ${gateway}, ${id} and the sessions' vars; $$ is a `$`. Default: the topic itself.",
    ),
    may(
        "hold_down",
        Time,
        "A path that came back is preferred again after it held for so long, 0s to 1h. Default: 5s.",
    ),
    may(
        "fail_back",
        Boolean,
        "Whether a preferred path that came back is used again. Default: true.",
    ),
    may(
        "stall",
        Time,
        "A message without a result for so long goes to the next path as well, 1s to 10m. Default: 15s.",
    ),
    may("name", Name, "What people call it; `route test` shows it. Default: none."),
    may("batch", Inner, "Several messages of one topic as one publish. Default: each by itself."),
];

static BATCH: &[Fact] = &[
    must(
        "format",
        Word(|| words(&BatchFormat::ALL)),
        "What a batch looks like: json_array (payloads that are JSON), lines (payloads without line feeds).",
    ),
    may("max_messages", Digits("^[1-9][0-9]*$"), "The most messages, 2 to 256. Default: 100."),
    may(
        "max_bytes",
        Size,
        "The most bytes, 128 to 10240; never more than the modem takes. Default: 10240.",
    ),
    may("max_delay", Time, "How long a message waits for others, 10ms to 4m. Default: 1s."),
    may(
        "ids",
        Boolean,
        "Whether each message carries its id, by which a receiver knows duplicates. Default: false.",
    ),
];

static SECRET: &[Fact] = &[
    may("file", Form(".+"), "A file that holds the secret and nothing else."),
    may("env", Form("^[A-Za-z0-9_]+$"), "An environment variable of the agent."),
    may(
        "credential",
        Form("^[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*$"),
        "A systemd credential; with the package a file of /etc/modemfleet/credentials.",
    ),
];

/// What is said of each mapping's keys.
pub(super) static ALL: [(&Keys, &[Fact]); 21] = [
    (&shape::HTTP, HTTP),
    (&shape::HAND_IN, HAND_IN),
    (&shape::MQTT_LISTENER, MQTT_LISTENER),
    (&shape::QUEUE, QUEUE),
    (&shape::INBOX, INBOX),
    (&shape::BROKER, BROKER),
    (&shape::TLS, TLS),
    (&shape::MODEM, MODEM),
    (&shape::BUDGET, BUDGET),
    (&shape::SHED, SHED),
    (&shape::RECOVERY, RECOVERY),
    (&shape::PRIVILEGED, PRIVILEGED),
    (&shape::TELEMETRY, TELEMETRY),
    (&shape::MATCH, MATCH),
    (&shape::APN, APN),
    (&shape::SESSION, SESSION),
    (&shape::WILL, WILL),
    (&shape::SUBSCRIBE, SUBSCRIBE),
    (&shape::ROUTE, ROUTE),
    (&shape::BATCH, BATCH),
    (&shape::SECRET, SECRET),
];

/// The facts of a mapping; the whole file's where it is none of those inside.
pub(super) fn facts(keys: &Keys) -> &'static [Fact] {
    ALL.iter().find(|(known, _)| known.of == keys.of).map_or(FLEET, |(_, facts)| facts)
}
