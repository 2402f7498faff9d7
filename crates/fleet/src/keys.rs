//! The keys of the file: each is declared here, with what it takes, what it is for and what holds without it.
//!
//! The check of keys, the schema, the reference page and what may be shown of a file follow from these tables.

mod modem;

use super::choices::{FSYNC, PROVIDERS, WHEN_FULL, words};
use super::key::Leaf::{Boolean, Digits, Form, Name, Size, Text, Time, Word};
use super::key::Shape::{List, Map, Named, Scalar, Secret};
use super::key::{Keys, may, must};
use super::{BatchFormat, Policy};
use modem::{GATEWAYS, MODEM, TLS};

pub(super) use modem::{MATCH, NAME};
#[cfg(test)]
pub(super) use modem::{SESSION, SUBSCRIBE};

/// The whole file.
pub(super) static FLEET: Keys = Keys::new(
    "the file",
    &[
        may(
            "gateway",
            Scalar(Name),
            "The gateway's name; not beside `gateways`. Default: the first label of the host name.",
        ),
        may(
            "shutdown_grace",
            Scalar(Time),
            "How long an orderly end may take, 1s to 10m. Default: 10s.",
        ),
        may("http", Map(&HTTP), "The HTTP listener: metrics, health, API."),
        may("queue", Map(&QUEUE), "The durable store of messages that are on their way."),
        may(
            "inbox",
            Map(&INBOX),
            "The durable store of what comes down, for consumers that are away. Default: none, and they miss it.",
        ),
        may("hand_in", Map(&HAND_IN), "Ways in for local applications beside HTTP. Default: none."),
        may(
            "recovery",
            Map(&PRIVILEGED),
            "Who resets USB devices and runs power scripts for the agent.",
        ),
        may(
            "brokers",
            Named(&Map(&BROKER)),
            "The MQTT brokers, by names that the sessions refer to.",
        ),
        must("modems", Named(&Map(&MODEM)), "The modems, by names of your choice."),
        may(
            "routes",
            List(&Map(&ROUTE)),
            "Which sessions carry which topics; the first match wins, and what none takes is refused: end with one of `#`. Default: `#` over all sessions in file order.",
        ),
        may(
            "gateways",
            List(&Scalar(Text)),
            "The gateways that this file serves, by names or patterns with `*` and `?`; not beside `gateway`. Default: any.",
        ),
    ],
);

pub(super) static HTTP: Keys = Keys::new(
    "`http`",
    &[
        may(
            "listen",
            Scalar(Form("^.+:[0-9]{1,5}$")),
            "ADDRESS:PORT. Beyond loopback it needs a `token`, and the service `IPAddressAllow=`. Default: 127.0.0.1:9810.",
        ),
        may(
            "hosts",
            List(&Scalar(Text)),
            "Host names by which the API and the status page are asked over TCP, such as a reverse proxy's, without scheme and port; addresses and `localhost` are always taken. Default: none.",
        ),
        may(
            "token",
            Secret,
            "What callers of the API must show as `Authorization: Bearer …`; needed beyond loopback. Default: none.",
        ),
        may(
            "publish_token",
            Secret,
            "Another token, for applications that may publish and see what became of it, and nothing else; it needs `token`. Default: none.",
        ),
        may(
            "socket",
            Scalar(Form(".+")),
            "The path of a unix socket for the API; who may open it needs no token. Default: none.",
        ),
        may(
            "publish_socket",
            Scalar(Form(".+")),
            "The path of a second unix socket; who may open it may do what `publish_token` allows. Default: none.",
        ),
    ],
);

pub(super) static HAND_IN: Keys = Keys::new(
    "`hand_in`",
    &[may(
        "mqtt",
        Map(&MQTT_LISTENER),
        "A listener for MQTT 3.1, 3.1.1 and 5 clients; it is no broker. Default: none.",
    )],
);

pub(super) static MQTT_LISTENER: Keys = Keys::new(
    "`mqtt`",
    &[
        must(
            "listen",
            Scalar(Form("^.+:[0-9]{1,5}$")),
            "ADDRESS:PORT, such as 127.0.0.1:1883. Beyond loopback it needs `users`, and the service `IPAddressAllow=`.",
        ),
        may(
            "users",
            Named(&Secret),
            "Who may connect: names with their passwords. Default: everyone.",
        ),
    ],
);

pub(super) static QUEUE: Keys = Keys::new(
    "`queue`",
    &[
        may("path", Scalar(Form(".+")), "Its folder. Default: /var/lib/modemfleet/queue."),
        may(
            "max_bytes",
            Scalar(Size),
            "The most bytes of messages, at least 1MiB. Default: 64MiB.",
        ),
        may(
            "max_messages",
            Scalar(Digits("^[1-9][0-9]*$")),
            "The most messages. Default: as many as fit.",
        ),
        may(
            "max_age",
            Scalar(Time),
            "How old a message may become before it is dropped, at least 1m. Default: as old as it likes.",
        ),
        may(
            "when_full",
            Scalar(Word(|| words(&WHEN_FULL))),
            "What happens to a message that no longer fits: `reject` refuses it, `drop_oldest` deletes what was acknowledged, `drop_newest` drops it and says so. Default: reject.",
        ),
        may(
            "fsync",
            Scalar(Word(|| words(&FSYNC))),
            "What a power loss takes: `always` nothing that was answered, `interval` what was answered since the last interval, `off` whatever the system had not written, and the file may be torn. A killed agent loses nothing under any of them. Default: always.",
        ),
        may(
            "fsync_interval",
            Scalar(Time),
            "How often `fsync: interval` syncs, 10ms to 10m. Default: 1s.",
        ),
    ],
);

pub(super) static INBOX: Keys = Keys::new(
    "`inbox`",
    &[
        may("path", Scalar(Form(".+")), "Its folder. Default: /var/lib/modemfleet/inbox."),
        may(
            "max_bytes",
            Scalar(Size),
            "The most bytes of messages, at least 1MiB. Default: 64MiB.",
        ),
        may(
            "max_age",
            Scalar(Time),
            "How old a message may become before it is dropped, and how long a reader is remembered that is not seen, at least 1m. Default: 7d.",
        ),
        may(
            "session_expiry",
            Scalar(Time),
            "How long an MQTT client's session is kept at most while the client is away, 1m to 365d. Default: 24h.",
        ),
    ],
);

pub(super) static BROKER: Keys = Keys::new(
    "a broker",
    &[
        may(
            "url",
            Scalar(Form("^mqtts?://[^@/]+/?$")),
            "mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS; the port may be left out where it is 1883, for TLS 8883. Needed but for `provider: aliyun`.",
        ),
        may("username", Scalar(Text), "The user name of its sessions. Default: none."),
        may("password", Secret, "The password of that user; with `username`. Default: none."),
        may(
            "provider",
            Scalar(Word(|| words(&PROVIDERS))),
            "A cloud: of aliyun addresses and signatures are computed, of aws the rules are known. Default: none, a broker of your own.",
        ),
        may(
            "region",
            Scalar(Text),
            "Alibaba Cloud: the region, such as cn-shanghai; needed where no session names a `host` and there is no `instance_id`.",
        ),
        may(
            "instance_id",
            Scalar(Text),
            "Alibaba Cloud: the id of an enterprise instance; it replaces the region.",
        ),
        may(
            "tls",
            Map(&TLS),
            "TLS, for mqtts, aws and securemode 2; what a session's own `tls` says comes first. Default: none.",
        ),
    ],
);

pub(super) static PRIVILEGED: Keys = Keys::new(
    "`recovery`",
    &[may(
        "socket",
        Scalar(Form(".+")),
        "The unix socket of `modemfleet recover`. Default: /run/modemfleet-recover.sock.",
    )],
);

pub(super) static ROUTE: Keys = Keys::new(
    "a route",
    &[
        must("topic", Scalar(Text), "The topics it takes, as an MQTT filter."),
        must("to", List(&Scalar(Text)), "The sessions, as MODEM/SESSION, the preferred one first."),
        may(
            "policy",
            Scalar(Word(|| words(&Policy::ALL))),
            "How the sessions share the work: failover (the first that can), spread (by topic), all (a copy to each). Default: failover.",
        ),
        may(
            "publish_as",
            Scalar(Text),
            "The topic to publish on instead, with ${topic}, ${modem}, ${session}, ${gateway}, ${id} and the sessions' vars; $$ is a `$`. Default: the topic itself.",
        ),
        may(
            "hold_down",
            Scalar(Time),
            "A path that came back is preferred again after it held for so long, 0s to 1h. Default: 5s.",
        ),
        may(
            "fail_back",
            Scalar(Boolean),
            "Whether a preferred path that came back is used again. Default: true.",
        ),
        may(
            "stall",
            Scalar(Time),
            "A message without a result for so long goes to the next path as well, 1s to 10m. Default: 15s.",
        ),
        may("name", Scalar(Name), "What people call it; `route test` shows it. Default: none."),
        may(
            "batch",
            Map(&BATCH),
            "Several messages of one topic as one publish. Default: each by itself.",
        ),
        may("gateways", List(&Scalar(Text)), GATEWAYS),
    ],
);

pub(super) static BATCH: Keys = Keys::new(
    "`batch`",
    &[
        must(
            "format",
            Scalar(Word(|| words(&BatchFormat::ALL))),
            "What a batch looks like: json_array (payloads that are JSON), lines (payloads without line feeds).",
        ),
        may(
            "max_messages",
            Scalar(Digits("^[1-9][0-9]*$")),
            "The most messages, 2 to 256. Default: 100.",
        ),
        may(
            "max_bytes",
            Scalar(Size),
            "The most bytes, 128 to 10240; never more than the modem takes. Default: 10240.",
        ),
        may(
            "max_delay",
            Scalar(Time),
            "How long a message waits for others, 10ms to 4m. Default: 1s.",
        ),
        may(
            "ids",
            Scalar(Boolean),
            "Whether each message carries its id, by which a receiver knows duplicates. Default: false.",
        ),
    ],
);

pub(super) static SECRET: Keys = Keys::new(
    "a secret's place",
    &[
        may("file", Scalar(Form(".+")), "A file that holds the secret and nothing else."),
        may("env", Scalar(Form("^[A-Za-z0-9_]+$")), "An environment variable of the agent."),
        may(
            "credential",
            Scalar(Form("^[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*$")),
            "A systemd credential; with the package a file of /etc/modemfleet/credentials.",
        ),
    ],
);
