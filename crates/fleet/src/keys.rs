//! The keys of the file. Each is declared here once, with its kind, bounds, meaning, default, unit, example and the
//! effect of a change.
//!
//! The checker, the schema, the reference page, the redaction and the plan of a reload follow from these tables.

mod modem;

use std::time::Duration;

use ::modem::mqtt::MAX_PAYLOAD;

use super::choices::{FSYNC, PROVIDERS, WHEN_FULL, words};
use super::key::Effect::{Agent, Live, Session};
use super::key::Leaf::{Boolean, Form, Name, Number, Size, Text, Time, Word};
use super::key::Shape::{List, Map, Named, Scalar, Secret};
use super::key::{Keys, Shape, may, must};
use super::{BatchFormat, Policy};
use modem::{GATEWAYS, MODEM, TLS};

pub(super) use modem::{MATCH, NAME};
#[cfg(test)]
pub(super) use modem::{SESSION, SUBSCRIBE};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A modem may take a minute to come back, and an application to start: a lower age would drop what could be delivered.
const AGE: Shape = Scalar(Time(MINUTE, Duration::from_secs(10 * 365 * 86_400)));
const STORE: Shape = Scalar(Size(MIB, u64::MAX));
#[expect(clippy::as_conversions, reason = "`u64::try_from` is not const")]
const BATCH_BYTES: u64 = MAX_PAYLOAD as u64;
const ADDRESS: Shape = Scalar(Form("ADDRESS:PORT", "^.+:[0-9]{1,5}$"));
const PATH: Shape = Scalar(Form("path", ".+"));

/// The whole file, as a shape.
pub(super) static FILE: Shape = Map(&FLEET);

/// The whole file.
pub(super) static FLEET: Keys = Keys::new(
    "the file",
    Live,
    &[
        may(
            "gateway",
            Scalar(Name),
            "The gateway's name. Sessions without a `client_id` have theirs from this name, and a change reconnects them. Not together with `gateways`.",
        )
        .else_("the first label of the host name")
        .effect(Session)
        .like("gw-02"),
        may("shutdown_grace", Scalar(Time(SECOND, Duration::from_secs(600))), "The longest time for the agent to end in order.")
            .or("10s")
            .like("20s"),
        may("http", Map(&HTTP), "The HTTP listener: metrics, health, API.")
            .effect(Agent)
            .like("{ listen: 127.0.0.1:9811 }"),
        may("queue", Map(&QUEUE), "The durable store of messages on their way to a broker.")
            .effect(Agent)
            .like("{ max_bytes: 256MiB }"),
        may("inbox", Map(&INBOX), "The durable store of received messages, for applications that are not connected.")
            .else_("none: an application gets messages only while it is connected")
            .effect(Agent)
            .like("{ max_age: 1d }"),
        may("hand_in", Map(&HAND_IN), "Listeners for local applications, in addition to HTTP.")
            .else_("none")
            .effect(Agent)
            .like("{ mqtt: { listen: 127.0.0.1:1884 } }"),
        may("recovery", Map(&PRIVILEGED), "The service that resets USB devices and runs power scripts for the agent.")
            .effect(Agent)
            .like("{ socket: /run/recover.sock }"),
        may("brokers", Named(&Map(&BROKER)), "The MQTT brokers, by names of your choice. Sessions refer to these names."),
        must("modems", Named(&Map(&MODEM)), "The modems, by names of your choice."),
        may(
            "routes",
            List(&Map(&ROUTE)),
            "The sessions for each topic. The first route that matches takes a message, and a message without a route is refused: end the list with a route for `#`.",
        )
        .else_("`#` over all sessions in file order"),
        may(
            "gateways",
            List(&Scalar(Text)),
            "The gateways that this file serves: names, or patterns with `*` and `?`. Not together with `gateway`.",
        )
        .else_("any")
        .like("[gw-07, gw-1*, gw-2*]"),
    ],
);

pub(super) static HTTP: Keys = Keys::new(
    "`http`",
    Live,
    &[
        may("listen", ADDRESS, "The address of the listener. An address beyond loopback needs a `token`, and `IPAddressAllow=` in the service's unit.")
            .or("127.0.0.1:9810")
            .effect(Agent)
            .like("127.0.0.1:9811"),
        may(
            "hosts",
            List(&Scalar(Text)),
            "Host names in requests over TCP, such as the name of a reverse proxy, without scheme and port. Addresses and `localhost` are always accepted.",
        )
        .else_("none")
        .like("[gw.example.com, gw.example.org]"),
        may("token", Secret, "The secret that callers of the API show as `Authorization: Bearer …`. A listener beyond loopback needs one.")
            .else_("none")
            .like("{ credential: api-token }"),
        may(
            "publish_token",
            Secret,
            "A second token, for applications that may publish and read the fate of their messages, and nothing else.",
        )
        .else_("none")
        .needs("token", "without `token` every caller may do everything")
        .like("{ credential: publish-token }"),
        may("socket", PATH, "The path of a unix socket for the API. A user who may open the socket needs no token.")
            .else_("none")
            .effect(Agent)
            .like("/run/modemfleet/other.sock"),
        may("publish_socket", PATH, "The path of a second unix socket, with the rights of `publish_token`.")
            .else_("none")
            .effect(Agent)
            .like("/run/modemfleet/handin.sock"),
    ],
);

pub(super) static HAND_IN: Keys = Keys::new(
    "`hand_in`",
    Agent,
    &[may(
        "mqtt",
        Map(&MQTT_LISTENER),
        "A listener for clients of MQTT 3.1, 3.1.1 and 5. The listener is not a broker.",
    )
    .else_("none")
    .like("{ listen: 127.0.0.1:1884 }")],
);

pub(super) static MQTT_LISTENER: Keys = Keys::new(
    "`mqtt`",
    Agent,
    &[
        must("listen", ADDRESS, "The address of the listener. An address beyond loopback needs `users`, and `IPAddressAllow=` in the service's unit.")
            .like("127.0.0.1:1884"),
        may("users", Named(&Secret), "The users that may connect: names with their passwords.")
            .else_("everyone may connect")
            .effect(Live)
            .like("{ meter: { credential: meter } }"),
    ],
);

pub(super) static QUEUE: Keys = Keys::new(
    "`queue`",
    Agent,
    &[
        may("path", PATH, "The folder of the queue.").or("/var/lib/modemfleet/queue").like("/data/queue"),
        may("max_bytes", STORE, "The most bytes of messages.").or("64MiB").like("256MiB"),
        may("max_messages", Scalar(Number(1, u64::MAX)), "The most messages.")
            .else_("as many as fit into `max_bytes`")
            .unit("messages")
            .like("100000"),
        may("max_age", AGE, "The age at which a message is dropped.").else_("no limit").like("3d"),
        may(
            "when_full",
            Scalar(Word(|| words(&WHEN_FULL))),
            "The treatment of a message that no longer fits: `reject` refuses the message, `drop_oldest` deletes accepted messages, `drop_newest` drops the message and reports the drop.",
        )
        .or("reject")
        .like("drop_newest"),
        may(
            "fsync",
            Scalar(Word(|| words(&FSYNC))),
            "The messages that a power loss may take: `always` none that was accepted, `interval` those accepted since the last interval, `off` all that the system had not written, and the file may be damaged. A killed agent loses nothing with any of them.",
        )
        .or("always")
        .like("interval"),
        may("fsync_interval", Scalar(Time(Duration::from_millis(10), Duration::from_secs(600))), "The time between two syncs of `fsync: interval`.")
            .or("1s")
            .like("5s"),
    ],
);

pub(super) static INBOX: Keys = Keys::new(
    "`inbox`",
    Agent,
    &[
        may("path", PATH, "The folder of the inbox.").or("/var/lib/modemfleet/inbox").like("/data/inbox"),
        may("max_bytes", STORE, "The most bytes of messages.").or("64MiB").like("256MiB"),
        may("max_age", AGE, "The age at which a message is dropped, and the time after which an absent reader is forgotten.")
            .or("7d")
            .like("3d"),
        may(
            "session_expiry",
            Scalar(Time(MINUTE, Duration::from_secs(365 * 86_400))),
            "The longest time for which the session of an absent MQTT client is kept.",
        )
        .or("24h")
        .like("7d"),
    ],
);

pub(super) static BROKER: Keys = Keys::new(
    "a broker",
    Session,
    &[
        may(
            "url",
            Scalar(Form("URL", "^mqtts?://[^@/]+/?$")),
            "The broker's address: mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS. The default port is 1883, and 8883 for TLS. Only `provider: aliyun` needs no `url`.",
        )
        .like("mqtts://broker.example.com"),
        may("username", Scalar(Text), "The user name of the broker's sessions.").else_("none").like("gateway"),
        may("password", Secret, "The password of `username`.")
            .else_("none")
            .needs("username", "")
            .like("{ credential: broker-password }"),
        may(
            "provider",
            Scalar(Word(|| words(&PROVIDERS))),
            "A cloud. For `aliyun` the agent computes addresses and signatures; for `aws` it checks the cloud's rules.",
        )
        .else_("none: a broker of your own")
        .like("aliyun"),
        may(
            "region",
            Scalar(Text),
            "Alibaba Cloud: the region, such as cn-shanghai. Needed unless there is an `instance_id`, or each session has a `host`.",
        )
        .like("cn-beijing"),
        may("instance_id", Scalar(Text), "Alibaba Cloud: the id of an enterprise instance, in place of the region.")
            .like("iot-060a0bgx"),
        may("tls", Map(&TLS), "TLS, for mqtts, `provider: aws` and `securemode: 2`. The `tls` of a session has priority.")
            .else_("none")
            .like("{ ca: /etc/modemfleet/other.pem }"),
    ],
)
.any_of(&["url", "provider"]);

pub(super) static PRIVILEGED: Keys = Keys::new(
    "`recovery`",
    Agent,
    &[may("socket", PATH, "The unix socket of `modemfleet recover`.")
        .or("/run/modemfleet-recover.sock")
        .like("/run/recover.sock")],
);

pub(super) static ROUTE: Keys = Keys::new(
    "a route",
    Live,
    &[
        must("topic", Scalar(Text), "The topics of the route, as an MQTT filter.").like("alarms/#"),
        must("to", List(&Scalar(Text)), "The sessions, as MODEM/SESSION, the preferred one first.").like("[bench/lab]"),
        may(
            "policy",
            Scalar(Word(|| words(&Policy::ALL))),
            "The use of the sessions: `failover` takes the first that is connected, `spread` shares out the topics, `all` sends a copy to each.",
        )
        .or("failover")
        .like("spread"),
        may(
            "publish_as",
            Scalar(Text),
            "The topic at the broker, with ${topic}, ${modem}, ${session}, ${gateway}, ${id} and the sessions' `vars`; $$ is a `$`.",
        )
        .else_("the topic of the message")
        .like("site-7/${topic}"),
        // Long enough for a session that flaps to show it.
        may("hold_down", Scalar(Time(Duration::ZERO, HOUR)), "The time for which a path that came back must stay connected before the route prefers it again.")
            .or("5s")
            .like("30s"),
        may("fail_back", Scalar(Boolean), "True if a preferred path is used again after it came back.").or("true").like("false"),
        // Shorter than the round trip of a bad cell, each message would go out twice.
        may("stall", Scalar(Time(SECOND, Duration::from_secs(600))), "The time without a result after which a message goes to the next path too.")
            .or("15s")
            .like("30s"),
        may("name", Scalar(Name), "A name for people; `modemfleet route test` prints it.").else_("none").like("alarms"),
        may("batch", Map(&BATCH), "Several messages of one topic as one publish.")
            .else_("one publish for each message")
            .like("{ format: json_array }"),
        may("gateways", List(&Scalar(Text)), GATEWAYS).else_("all").like("[gw-0?]"),
    ],
);

pub(super) static BATCH: Keys = Keys::new(
    "`batch`",
    Live,
    &[
        must(
            "format",
            Scalar(Word(|| words(&BatchFormat::ALL))),
            "The form of a batch: `json_array` for payloads that are JSON, `lines` for payloads without line feeds.",
        )
        .like("json_array"),
        may("max_messages", Scalar(Number(2, 256)), "The most messages of a batch.").or("100").unit("messages").like("50"),
        may("max_bytes", Scalar(Size(128, BATCH_BYTES)), "The most bytes of a batch; never more than the modem accepts.")
            .or("10240")
            .like("4kB"),
        // After five minutes the session would look like one that does not deliver.
        may("max_delay", Scalar(Time(Duration::from_millis(10), Duration::from_secs(240))), "The longest time for which a message waits for others.")
            .or("1s")
            .like("5s"),
        may("ids", Scalar(Boolean), "True if each message in the batch carries its id, by which a receiver finds duplicates.")
            .or("false")
            .like("true"),
    ],
);

pub(super) static SECRET: Keys = Keys::plain(
    "a secret's place",
    &[
        may("file", PATH, "A file that holds the secret and nothing else."),
        may(
            "env",
            Scalar(Form("text", "^[A-Za-z0-9_]+$")),
            "An environment variable of the agent.",
        ),
        may(
            "credential",
            Scalar(Form("text", "^[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*$")),
            "A systemd credential; with the package a file of /etc/modemfleet/credentials.",
        ),
    ],
);
