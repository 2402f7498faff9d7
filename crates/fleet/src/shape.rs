//! The keys of the file: which there are, which are still to come, and what stands under each.
//!
//! One walk over the tree finds every unknown key, every list where a mapping belongs and every
//! secret in plain text at once; the typed reading after it would stop at the first.

use std::ops::Range;
use std::rc::Rc;

use super::path::{join, last};
use super::problem::Report;
use super::source::Source;
use super::tree::{Kind, Node, shown_key};
use super::words::{did_you_mean, listed, nearest};

/// What stands under a key.
pub(super) enum Shape {
    /// A single value.
    Scalar,
    /// A reference to a secret.
    Secret,
    /// The path of a file, or a reference to a secret.
    File,
    /// A mapping with these keys.
    Map(&'static Keys),
    /// A single value, or a mapping with these keys.
    ScalarOr(&'static Keys),
    /// A mapping whose keys are names.
    Named(&'static Self),
    /// A list.
    List(&'static Self),
}

/// The keys of one mapping.
pub(super) struct Keys {
    /// How messages call the mapping.
    pub(super) of: &'static str,
    /// Each key and what stands under it.
    pub(super) keys: &'static [(&'static str, Shape)],
}

use Shape::{File, List, Map, Named, Scalar, ScalarOr, Secret};

/// The whole file.
pub(super) static FLEET: Shape = Map(&Keys {
    of: "the file",
    keys: &[
        ("gateway", Scalar),
        ("shutdown_grace", Scalar),
        ("http", Map(&HTTP)),
        ("queue", Map(&QUEUE)),
        ("inbox", Map(&INBOX)),
        ("hand_in", Map(&HAND_IN)),
        ("recovery", Map(&PRIVILEGED)),
        ("brokers", Named(&Map(&BROKER))),
        ("modems", Named(&Map(&MODEM))),
        ("routes", List(&Map(&ROUTE))),
        ("gateways", List(&Scalar)),
    ],
});

pub(super) static HTTP: Keys = Keys {
    of: "`http`",
    keys: &[
        ("listen", Scalar),
        ("hosts", List(&Scalar)),
        ("token", Secret),
        ("publish_token", Secret),
        ("socket", Scalar),
        ("publish_socket", Scalar),
    ],
};

pub(super) static PRIVILEGED: Keys = Keys { of: "`recovery`", keys: &[("socket", Scalar)] };

pub(super) static HAND_IN: Keys = Keys { of: "`hand_in`", keys: &[("mqtt", Map(&MQTT_LISTENER))] };

pub(super) static MQTT_LISTENER: Keys =
    Keys { of: "`mqtt`", keys: &[("listen", Scalar), ("users", Named(&Secret))] };

pub(super) static QUEUE: Keys = Keys {
    of: "`queue`",
    keys: &[
        ("path", Scalar),
        ("max_bytes", Scalar),
        ("max_messages", Scalar),
        ("max_age", Scalar),
        ("when_full", Scalar),
        ("fsync", Scalar),
        ("fsync_interval", Scalar),
    ],
};

pub(super) static INBOX: Keys = Keys {
    of: "`inbox`",
    keys: &[
        ("path", Scalar),
        ("max_bytes", Scalar),
        ("max_age", Scalar),
        ("session_expiry", Scalar),
    ],
};

pub(super) static BROKER: Keys = Keys {
    of: "a broker",
    keys: &[
        ("url", Scalar),
        ("username", Scalar),
        ("password", Secret),
        ("provider", Scalar),
        ("region", Scalar),
        ("instance_id", Scalar),
        ("tls", Map(&TLS)),
    ],
};

pub(super) static TLS: Keys = Keys {
    of: "`tls`",
    keys: &[("ca", File), ("cert", File), ("key", File), ("insecure", Scalar)],
};

pub(super) static MODEM: Keys = Keys {
    of: "a modem",
    keys: &[
        ("match", Map(&MATCH)),
        ("apn", ScalarOr(&APN)),
        ("pin", Secret),
        ("roaming", Scalar),
        ("radio", Scalar),
        ("poll", Scalar),
        ("sms", Scalar),
        ("baud", Scalar),
        ("flow_control", Scalar),
        ("budget", Map(&BUDGET)),
        ("recovery", Map(&RECOVERY)),
        ("telemetry", Map(&TELEMETRY)),
        ("gateways", List(&Scalar)),
        ("sessions", Named(&Map(&SESSION))),
    ],
};

pub(super) static BUDGET: Keys = Keys {
    of: "`budget`",
    keys: &[
        ("bytes", Scalar),
        ("reset_day", Scalar),
        ("time_zone", Scalar),
        ("warn", Scalar),
        ("shed", Map(&SHED)),
        ("stop", Scalar),
        ("urgent", Scalar),
    ],
};

pub(super) static TELEMETRY: Keys = Keys {
    of: "`telemetry`",
    keys: &[
        ("topic", Scalar),
        ("every", Scalar),
        ("qos", Scalar),
        ("retain", Scalar),
        ("session", Scalar),
        ("status", Scalar),
    ],
};

pub(super) static SHED: Keys =
    Keys { of: "`shed`", keys: &[("at", Scalar), ("below_priority", Scalar)] };

pub(super) static RECOVERY: Keys = Keys {
    of: "a modem's `recovery`",
    keys: &[
        ("budget", Scalar),
        ("registration_lost", Scalar),
        ("service_lost", Scalar),
        ("boot", Scalar),
        ("usb_reset", Scalar),
        ("power_script", Scalar),
    ],
};

pub(super) static MATCH: Keys = Keys {
    of: "`match`",
    keys: &[
        ("imei", Scalar),
        ("iccid", Scalar),
        ("usb_path", Scalar),
        ("port", Scalar),
        ("model", Scalar),
    ],
};

pub(super) static APN: Keys = Keys {
    of: "`apn`",
    keys: &[
        ("name", Scalar),
        ("user", Scalar),
        ("password", Secret),
        ("type", Scalar),
        ("auth", Scalar),
        ("cid", Scalar),
    ],
};

pub(super) static SESSION: Keys = Keys {
    of: "a session",
    keys: &[
        ("broker", Scalar),
        ("client_id", Scalar),
        ("keep_alive", Scalar),
        ("clean_session", Scalar),
        ("reconnect_max", Scalar),
        ("will", Map(&WILL)),
        ("subscribe", List(&Map(&SUBSCRIBE))),
        ("vars", Named(&Scalar)),
        ("product_key", Scalar),
        ("device_name", Scalar),
        ("device_secret", Secret),
        ("securemode", Scalar),
        ("signmethod", Scalar),
        ("timestamp", Scalar),
        ("host", Scalar),
        ("instance_id", Scalar),
        ("aliauth", Scalar),
        ("tls", Map(&TLS)),
        ("gateways", List(&Scalar)),
    ],
};

pub(super) static WILL: Keys = Keys {
    of: "`will`",
    keys: &[("topic", Scalar), ("payload", Scalar), ("qos", Scalar), ("retain", Scalar)],
};

pub(super) static SUBSCRIBE: Keys =
    Keys { of: "a subscription", keys: &[("filter", Scalar), ("qos", Scalar)] };

pub(super) static ROUTE: Keys = Keys {
    of: "a route",
    keys: &[
        ("topic", Scalar),
        ("to", List(&Scalar)),
        ("policy", Scalar),
        ("publish_as", Scalar),
        ("hold_down", Scalar),
        ("fail_back", Scalar),
        ("stall", Scalar),
        ("name", Scalar),
        ("batch", Map(&BATCH)),
        ("gateways", List(&Scalar)),
    ],
};

pub(super) static BATCH: Keys = Keys {
    of: "`batch`",
    keys: &[
        ("format", Scalar),
        ("max_messages", Scalar),
        ("max_bytes", Scalar),
        ("max_delay", Scalar),
        ("ids", Scalar),
    ],
};

pub(super) static SECRET: Keys = Keys {
    of: "a secret's place",
    keys: &[("file", Scalar), ("env", Scalar), ("credential", Scalar)],
};

/// Checks `node` and all below it against `shape`. `path` are the keys that lead there.
pub(super) fn check(shape: &Shape, node: &Node, path: &str, source: &Source, report: &mut Report) {
    Walk { source, report }.visit(shape, node, node.span.clone(), path);
}

struct Walk<'a> {
    source: &'a Source,
    report: &'a mut Report,
}

impl Walk<'_> {
    /// `name` is where the key stands, for values that have no place of their own.
    fn visit(&mut self, shape: &Shape, node: &Node, name: Range<usize>, path: &str) {
        let key = last(path);
        if node.kind == Kind::Null && !path.is_empty() {
            let message = format!("`{key}` has no value");
            let help = "give it one, or leave the key out".to_owned();
            return self.report.error(self.source, name, path, message, Some(help));
        }
        match (shape, node.kind) {
            (Scalar | ScalarOr(_), Kind::Scalar) => {}
            (Secret, Kind::Scalar) => self.plain_secret(node, path),
            (File, Kind::Scalar) => self.inline_file(node, path),
            (Secret | File, Kind::Map) => self.secret(node, &name, path),
            (Map(keys) | ScalarOr(keys), Kind::Map) => self.map(keys, node, path),
            (Named(each), Kind::Map) => self.named(each, node, path),
            (List(each), Kind::List) => {
                for (at, item) in node.items.iter().enumerate() {
                    if self.report.is_over() {
                        break;
                    }
                    self.visit(each, item, item.span.clone(), &format!("{path}[{at}]"));
                }
            }
            _ => self.mismatch(shape, node, path),
        }
    }

    fn named(&mut self, each: &Shape, node: &Node, path: &str) {
        for (name, value) in &node.entries {
            if self.report.is_over() {
                break;
            }
            if self.merge_key(name, path) {
                continue;
            }
            // `users: { hunter2 }` is no user without a password, but a password without its user.
            let is_known = matches!(each, Map(_)).then_some(name.text.as_str());
            let path = join(path, &shown_key(name, value, is_known));
            self.visit(each, value, name.span.clone(), &path);
        }
    }

    fn map(&mut self, keys: &Keys, node: &Node, path: &str) {
        for (name, value) in &node.entries {
            if self.report.is_over() {
                break;
            }
            // A place for YAML anchors, at the top only.
            let is_free = path.is_empty() && name.text.starts_with("x-");
            if is_free || self.merge_key(name, path) {
                continue;
            }
            match keys.keys.iter().find(|(key, _)| *key == name.text) {
                Some((key, shape)) => {
                    self.visit(shape, value, name.span.clone(), &join(path, key));
                }
                None => self.unknown(keys, name, value, path),
            }
        }
    }

    fn unknown(&mut self, keys: &Keys, name: &Node, value: &Node, path: &str) {
        let known: Vec<&str> = keys.keys.iter().map(|(key, _)| *key).collect();
        let meant = nearest(&name.text, &known);
        // `pin: {1234}` is no slip of a key, and `password: { environment: X }` is one.
        let is_word = name.text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let is_slip = meant.is_some() || is_word && value.kind != Kind::Null;
        let is_secret = std::ptr::eq(keys, &SECRET) && !is_slip;
        let shown = if is_secret { "…".to_owned() } else { shown_key(name, value, meant) };
        let help = if shown.ends_with(":…") {
            "after the `:` a blank is missing".to_owned()
        } else {
            did_you_mean(&name.text, &known)
                .unwrap_or_else(|| format!("{} may have {}", keys.of, listed(&known, "and")))
        };
        let message = format!("unknown key `{shown}` in {}", keys.of);
        let path = join(path, &shown);
        self.report.error(self.source, name.span.clone(), &path, message, Some(help));
    }

    /// Reports `<<`, which serde_yaml would take for a key of that name.
    fn merge_key(&mut self, name: &Node, path: &str) -> bool {
        if name.text == "<<" {
            let message = "merge keys (`<<`) are not supported; write the keys out";
            let help = "an alias may stand for a whole value: `will: *last_will`".to_owned();
            self.report.error(self.source, name.span.clone(), path, message, Some(help));
        }
        name.text == "<<"
    }

    fn plain_secret(&mut self, node: &Node, path: &str) {
        let key = last(path);
        let message = format!("`{key}` must not stand in this file in plain text");
        let help = format!(
            "put it into a file of its own, with the package /etc/modemfleet/credentials/{key}, and write \
             `{key}: {{ credential: {key} }}`; `{{ file: PATH }}` and `{{ env: NAME }}` work too"
        );
        self.report.error(self.source, node.span.clone(), path, message, Some(help));
    }

    /// A path is no certificate: whoever writes one here may write a private key as well.
    fn inline_file(&mut self, node: &Node, path: &str) {
        if !node.text.contains("-----") && !node.text.contains('\n') {
            return;
        }
        let key = last(path);
        let message = format!("`{key}` must be the path of a file, not what is in it");
        let help = format!("write `{key}: /etc/modemfleet/{key}.pem`, or `{key}: {{ file: … }}`");
        self.report.error(self.source, node.span.clone(), path, message, Some(help));
    }

    fn secret(&mut self, node: &Node, name: &Range<usize>, path: &str) {
        self.map(&SECRET, node, path);
        let known = |(key, _): &&(Rc<Node>, Rc<Node>)| {
            SECRET.keys.iter().any(|(known, _)| *known == key.text)
        };
        if node.entries.iter().filter(known).count() != 1 {
            let message =
                format!("`{}` needs exactly one of `file`, `env` and `credential`", last(path));
            self.report.error(self.source, name.clone(), path, message, None);
        }
    }

    fn mismatch(&mut self, shape: &Shape, node: &Node, path: &str) {
        let wanted = match shape {
            Scalar => "a single value",
            Secret => "`{ file: … }`, `{ env: … }` or `{ credential: … }`",
            File => "the path of a file, `{ file: … }`, `{ env: … }` or `{ credential: … }`",
            Map(_) => "a mapping of keys to values",
            ScalarOr(_) => "a single value or a mapping",
            Named(_) => "a mapping of names to their settings",
            List(_) => "a list, `[ … ]`",
        };
        let subject =
            if path.is_empty() { "the file".to_owned() } else { format!("`{}`", last(path)) };
        let message = format!("{subject} must be {wanted}, not {}", node.noun());
        self.report.error(self.source, node.span.clone(), path, message, None);
    }
}

/// The keys whose values are secrets.
pub(super) const SECRET_KEYS: [&str; 5] =
    ["password", "device_secret", "pin", "token", "publish_token"];
