//! Brokers and sessions: their logins, and no two with the same identity.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::super::fleet::{Access, Modem, Name, Session, SessionId, Subscription, Will};
use super::super::template::OF_EVERY_MESSAGE;
use super::super::tls::Tls;
use super::super::words::{self, BrokerUrl, Fault};
use super::build::{Build, Place, name_or_dots};
use super::tls::TlsKeys;
use crate::aliyun::{self, Device, Endpoint, Method, SecureMode};
use crate::choices::{PROVIDERS, Provider, QOS};
use crate::secret::{Ref, Rule};

/// AT+CMQTTACCQ: a client id of 1 to 128 bytes.
const MAX_CLIENT_ID: usize = 128;
/// AT+CMQTTCONNECT: user name and password of 1 to 256 bytes.
const MAX_USER: usize = 256;
/// Alibaba Cloud refuses a CONNECT with another keep-alive.
const ALIYUN_KEEP_ALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(1200));
/// AT+CMQTTWILLMSG: 1 to 1,024 bytes.
const MAX_WILL: usize = 1024;

/// The keys of a session that only Alibaba Cloud has.
const ALIYUN_KEYS: [&str; 9] = [
    "product_key",
    "device_name",
    "device_secret",
    "securemode",
    "signmethod",
    "timestamp",
    "host",
    "instance_id",
    "aliauth",
];

/// The brokers by name; `None` for one with a fault, which its sessions need not repeat.
pub(super) type Brokers = BTreeMap<String, Option<Broker>>;

/// A broker of the file.
#[derive(Clone)]
pub(super) struct Broker {
    kind: Kind,
    tls: TlsKeys,
}

#[derive(Clone)]
enum Kind {
    Plain {
        url: BrokerUrl,
        username: Option<String>,
        password: Option<Ref>,
    },
    Aliyun {
        region: Option<String>,
        instance_id: Option<String>,
    },
    /// AWS IoT Core: the client's certificate identifies the device.
    Aws {
        url: BrokerUrl,
    },
}

impl Build<'_> {
    pub(super) fn brokers(&mut self, top: &Place<'_>) -> Brokers {
        let mut brokers = Brokers::new();
        let judged = self.judged_by_sessions(top);
        for (key, place) in self.brokers_here(top) {
            if self.report.is_over() {
                break;
            }
            let name = self.name(key, &place);
            let tls = self.tls_keys(&place.at("tls"));
            let provider =
                self.optional(&place, "provider", |text| words::one_of(text, &PROVIDERS));
            let kind = match provider {
                Some(Provider::Aliyun) => self.aliyun_broker(&place),
                Some(Provider::Aws) => self.aws_broker(&place),
                None if place.has("provider") => None,
                None => self.plain_broker(&place),
            };
            let left_open = kind.as_ref().is_some_and(Kind::is_secured)
                && !tls.judges()
                && !judged.contains(key);
            if left_open {
                self.wants_ca(&place.at("url"));
            } else if let Some(Kind::Plain { url: BrokerUrl { secured: false, host, .. }, .. }) =
                &kind
                && place.has("tls")
            {
                let help = format!("write `url: mqtts://{host}:8883`, or leave `tls` out");
                let message = "`tls` has no effect with mqtt://, which is plain TCP".to_owned();
                self.error_at_name(&place.at("tls"), message, Some(&help));
            }
            let kind = kind.filter(|_| !left_open);
            brokers.insert(key.to_owned(), name.and(kind).map(|kind| Broker { kind, tls }));
        }
        brokers
    }

    /// The brokers that have sessions, each with a `tls` of its own, which is then asked for the CA.
    fn judged_by_sessions<'a>(&self, top: &Place<'a>) -> HashSet<&'a str> {
        let (mut with, mut without) = (HashSet::new(), HashSet::new());
        for (_, modem) in self.modems_here(top) {
            for (_, session) in self.sessions_here(&modem) {
                let names = if session.has("tls") { &mut with } else { &mut without };
                names.extend(session.text("broker"));
            }
        }
        with.difference(&without).copied().collect()
    }

    /// Reports a connection that does not authenticate the broker.
    fn wants_ca(&mut self, place: &Place<'_>) {
        let message = "TLS needs `tls: { ca: … }`, the certificate of the authority that signed the broker's certificate";
        let help = "without `ca` every machine could pretend to be the broker; `tls: { insecure: true }` accepts that";
        self.error(place, message, Some(help.to_owned()));
    }

    fn aliyun_broker(&mut self, place: &Place<'_>) -> Option<Kind> {
        for key in ["url", "username", "password"] {
            if place.at(key).exists() {
                let message = format!("`{key}` is not allowed with `provider: aliyun`");
                let help = format!(
                    "leave `{key}` out: the session's `product_key` and `device_name` take its place"
                );
                self.error_at_name(&place.at(key), message, Some(&help));
            }
        }
        let check = |endpoint: Endpoint| aliyun::Options::new(endpoint).check().map_err(fault_of);
        let region = self.optional(place, "region", |text| {
            check(Endpoint::Region(text.to_owned())).map(|()| text.to_owned())
        });
        let instance_id = self.optional(place, "instance_id", |text| {
            check(Endpoint::Instance(text.to_owned())).map(|()| text.to_owned())
        });
        if place.has("region") && region.is_none() {
            return None;
        }
        Some(Kind::Aliyun { region, instance_id })
    }

    fn aws_broker(&mut self, place: &Place<'_>) -> Option<Kind> {
        for key in ["username", "password", "region", "instance_id"] {
            if place.at(key).exists() {
                let message = format!("`{key}` is not allowed with `provider: aws`");
                let help = "a device signs in with its certificate: `tls: { cert, key }`";
                self.error_at_name(&place.at(key), message, Some(help));
            }
        }
        let url = self.required(place, "url", |text| {
            let url = words::broker_url(text)?;
            if !url.secured {
                let help = format!("write `mqtts://{}:8883`", url.host);
                return Err(Fault::help("must begin with mqtts://", help));
            }
            if is_ats_endpoint(&url.host) { Ok(url) } else { Err(no_ats_endpoint()) }
        });
        Some(Kind::Aws { url: url? })
    }

    fn plain_broker(&mut self, place: &Place<'_>) -> Option<Kind> {
        for key in ["region", "instance_id"] {
            if place.at(key).exists() {
                let message = format!("`{key}` needs `provider: aliyun`");
                self.error_at_name(&place.at(key), message, None);
            }
        }
        let url = self.required(place, "url", words::broker_url);
        let username = self.optional(place, "username", |text| words::quoted(text, MAX_USER));
        let rule = Rule::Quoted(MAX_USER);
        let password = self.secret(place, "password", rule);
        Some(Kind::Plain { url: url?, username, password })
    }

    /// The TLS of a session that is `secured`; `Some(None)` for plain TCP, `None` after an error.
    fn session_tls(
        &mut self,
        place: &Place<'_>,
        secured: Result<(), &str>,
        own: TlsKeys,
        broker: &TlsKeys,
    ) -> Option<Option<Tls>> {
        if let Err(needed) = secured {
            if !place.at("tls").exists() {
                return Some(None);
            }
            let message = format!("`tls` needs {needed}");
            self.error_at_name(&place.at("tls"), message, None);
            return None;
        }
        let keys = own.over(broker);
        if !keys.judges() {
            let at = ["tls", "securemode", "broker"].map(|key| place.at(key));
            let at = at.into_iter().find(Place::exists);
            self.wants_ca(&at.unwrap_or_else(|| place.clone()));
        }
        keys.tls().map(Some)
    }

    /// Without a certificate of its own no client gets in.
    fn wants_identity(&mut self, place: &Place<'_>, own: &TlsKeys, broker: &TlsKeys) -> Option<()> {
        if own.has_identity() || broker.has_identity() {
            return Some(());
        }
        let message = format!("`{}` needs `tls: {{ cert: …, key: … }}`", place.key());
        let help = "AWS IoT Core identifies a device by its certificate";
        self.error_at_name(place, message, Some(help));
        None
    }

    pub(super) fn session(
        &mut self,
        id: SessionId,
        place: &Place<'_>,
        gateway: Option<&Name>,
        brokers: &Brokers,
    ) -> Option<Session> {
        let broker = self.broker_of(place, brokers);
        let is_aliyun = matches!(broker, Some((_, Some(Broker { kind: Kind::Aliyun { .. }, .. }))));
        let keep_alive = self.keep_alive(place, is_aliyun);
        let reconnect_max = self.time(place, "reconnect_max");
        let clean_session = self.boolean(place, "clean_session");
        let will = place.has("will").then(|| self.will(&place.at("will")));
        let subscribe = self.subscriptions(&place.at("subscribe"));
        let own_tls = self.tls_keys(&place.at("tls"));
        let (broker, Some(Broker { kind, tls })) = broker? else { return None };
        let (access, tls) = match kind {
            Kind::Plain { url, username, password } => {
                self.refuse_aliyun_keys(place);
                let client_id = self.plain_client_id(&id, place, gateway);
                let is_secured =
                    if url.secured { Ok(()) } else { Err("a broker with `url: mqtts://…`") };
                let tls = self.session_tls(place, is_secured, own_tls, &tls);
                let BrokerUrl { host, port, .. } = url;
                (Access::Plain { host, port, client_id: client_id?, username, password }, tls?)
            }
            Kind::Aws { url: BrokerUrl { host, port, .. } } => {
                self.refuse_aliyun_keys(place);
                let client_id = self.plain_client_id(&id, place, gateway);
                let identity = self.wants_identity(place, &own_tls, &tls);
                let tls = self.session_tls(place, Ok(()), own_tls, &tls);
                identity?;
                let (client_id, username, password) = (client_id?, None, None);
                (Access::Plain { host, port, client_id, username, password }, tls?)
            }
            Kind::Aliyun { region, instance_id } => {
                let access = self.aliyun(place, region, instance_id);
                let is_secured = match &access {
                    Some(Access::Aliyun { options, .. })
                        if options.secure_mode == SecureMode::Tcp =>
                    {
                        Err("`securemode: 2`")
                    }
                    // A session that is refused for another fault does not need this message.
                    None if !place.has("securemode") => Err("`securemode: 2`"),
                    _ => Ok(()),
                };
                let tls = self.session_tls(place, is_secured, own_tls, &tls);
                (access?, tls?)
            }
        };
        let will = will.map_or(Some(None), |will| will.map(Some))?;
        let vars = self.vars(&access, &place.at("vars"));
        Some(Session {
            id,
            broker,
            access,
            tls,
            keep_alive: keep_alive?,
            clean_session: clean_session?,
            reconnect_max: reconnect_max?,
            will,
            subscribe,
            vars,
        })
    }

    /// Whole seconds, since MQTT and the modems count in seconds (3.1.1 §3.1.2.10).
    fn keep_alive(&mut self, place: &Place<'_>, is_aliyun: bool) -> Option<Duration> {
        let (min, max) = if is_aliyun { ALIYUN_KEEP_ALIVE } else { place.times("keep_alive") };
        self.value(place, "keep_alive", |text| {
            let time = words::duration(text, min, max)?;
            let is_whole = time.subsec_nanos() == 0;
            if is_whole { Ok(time) } else { Err(Fault::new("must be whole seconds")) }
        })
    }

    /// The variables of a session: its own, and those of every device of Alibaba Cloud.
    fn vars(&mut self, access: &Access, places: &Place<'_>) -> BTreeMap<String, String> {
        let mut vars = BTreeMap::new();
        if let Access::Aliyun { device, .. } = access {
            vars.insert("product_key".to_owned(), device.product_key().to_owned());
            vars.insert("device_name".to_owned(), device.device_name().to_owned());
        }
        for (name, place) in places.entries() {
            if self.report.is_over() {
                break;
            }
            let value = place.node.map_or("", |node| node.text.as_str());
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if name.is_empty() || name.len() > Name::MAX_BYTES || !name.bytes().all(good) {
                let message = format!("`{}` is not a name of a variable", name_or_dots(name));
                self.error_at_name(&place, message, Some("use a-z, 0-9 and _"));
            } else if OF_EVERY_MESSAGE.contains(&name) || vars.contains_key(name) {
                let message = format!("`{name}` is already a variable of every message");
                self.error_at_name(&place, message, None);
            } else if let Err(fault) = words::topic_name(value) {
                self.fault(&place, fault);
            } else {
                vars.insert(name.to_owned(), value.to_owned());
            }
        }
        vars
    }

    /// The session's broker and its name.
    fn broker_of(
        &mut self,
        place: &Place<'_>,
        brokers: &Brokers,
    ) -> Option<(Name, Option<Broker>)> {
        let is_unknown = place.text("broker").is_some_and(|name| !brokers.contains_key(name));
        let may_suggest = is_unknown && self.report.may_suggest();
        self.required(place, "broker", |text| {
            let unknown = || {
                let shown = words::shorten(text);
                let mut fault =
                    Fault::new(format!("names `{shown}`, which is not among `brokers`"));
                if may_suggest {
                    let names: Vec<&str> = brokers.keys().map(String::as_str).collect();
                    fault.help = words::did_you_mean(text, &names);
                }
                fault
            };
            let broker = brokers.get(text).ok_or_else(unknown)?;
            Ok((words::name(text)?, broker.clone()))
        })
    }

    fn refuse_aliyun_keys(&mut self, session: &Place<'_>) {
        for place in ALIYUN_KEYS.map(|key| session.at(key)) {
            if place.exists() {
                let message = format!("`{}` needs a broker with `provider: aliyun`", place.key());
                self.error_at_name(&place, message, None);
            }
        }
    }

    fn plain_client_id(
        &mut self,
        id: &SessionId,
        place: &Place<'_>,
        gateway: Option<&Name>,
    ) -> Option<String> {
        if place.has("client_id") {
            return self.optional(place, "client_id", |text| words::quoted(text, MAX_CLIENT_ID));
        }
        Some(format!("{}-{}-{}", gateway?, id.modem, id.session))
    }

    fn aliyun(
        &mut self,
        place: &Place<'_>,
        region: Option<String>,
        instance_id: Option<String>,
    ) -> Option<Access> {
        let text = |text: &str| Ok(text.to_owned());
        let product_key = self.required(place, "product_key", text);
        let device_name = self.required(place, "device_name", text);
        if !place.at("device_secret").exists() {
            let message = format!("`{}` needs `device_secret`", place.key());
            let help = "write `device_secret: { file: … }`";
            self.error_at_name(place, message, Some(help));
        }
        let (modem_signs, rule) = self.aliauth(place);
        let secret = self.secret(place, "device_secret", rule);
        let method = self.value(place, "signmethod", |text| {
            let words = Method::WORDS.map(|word| (word, word));
            words::one_of(text, &words)?.parse::<Method>().map_err(fault_of)
        });
        let secure_mode = self.value(place, "securemode", |text| match text {
            "2" => Ok(SecureMode::Tls),
            "3" => Ok(SecureMode::Tcp),
            _ => Err(Fault::new("must be 2 (TLS) or 3 (TCP)")),
        })?;
        let timestamp = self.optional(place, "timestamp", |text| {
            text.parse().map_err(|_fault| Fault::new("must be milliseconds since 1970"))
        });
        let endpoint = self.endpoint(place, secure_mode, region, instance_id);
        let (product_key, device_name) = (product_key?, device_name?);
        let device = self.checked(place, Device::new(&product_key, &device_name))?;
        self.foreign_host(place, &device);
        let options = aliyun::Options {
            client_id: place.text("client_id").map(str::to_owned),
            method: method?,
            secure_mode,
            timestamp,
            endpoint: endpoint?,
        };
        self.checked(place, options.check())?;
        if device.client_id(&options).len() > MAX_CLIENT_ID {
            let message = "`client_id` and its parameters have more than 128 bytes together";
            self.error(&place.at("client_id"), message, None);
        }
        Some(Access::Aliyun { device, options, secret: secret?, modem_signs })
    }

    fn endpoint(
        &mut self,
        place: &Place<'_>,
        secure_mode: SecureMode,
        region: Option<String>,
        instance_id: Option<String>,
    ) -> Option<Endpoint> {
        if place.has("host") {
            return self.optional(place, "host", |text| {
                let (host, port) = words::host_port(text, secure_mode.port())?;
                Ok(Endpoint::Host(host, port))
            });
        }
        let instance =
            place.text("instance_id").map(str::to_owned).or(instance_id).map(Endpoint::Instance);
        let endpoint = instance.or(region.map(Endpoint::Region));
        if endpoint.is_none() {
            let message = "the broker of this session has no `region`".to_owned();
            let help = "add `region: cn-shanghai` (or the one of your console) to the broker";
            self.error_at_name(&place.at("broker"), message, Some(help));
        }
        endpoint
    }

    fn foreign_host(&mut self, place: &Place<'_>, device: &Device) {
        let foreign = place.text("host").and_then(|host| device.foreign_host(host));
        if let Some(owner) = foreign {
            let own = device.product_key();
            let message = format!("`host` belongs to the product `{owner}`, not to `{own}`");
            let help = "leave `host` out: it follows from the product key and the region";
            self.warn(&place.at("host"), message, Some(help.to_owned()));
        }
    }

    /// Reports a value that Alibaba's rules refuse at its key.
    fn checked<T>(
        &mut self,
        place: &Place<'_>,
        result: Result<T, aliyun::FieldError>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(&place.at(error.field), fault_of(error));
                None
            }
        }
    }

    fn will(&mut self, place: &Place<'_>) -> Option<Will> {
        let topic = self.required(place, "topic", words::topic_name);
        let payload = self.required(place, "payload", |text| {
            if (1..=MAX_WILL).contains(&text.len()) {
                return Ok(text.to_owned());
            }
            Err(Fault::new(format!("has {} bytes; the modem takes 1 to 1024", text.len())))
        });
        let qos = self.word(place, "qos", &QOS);
        let retain = self.boolean(place, "retain");
        Some(Will { topic: topic?, payload: payload?, qos: qos?, retain: retain? })
    }

    fn subscriptions(&mut self, place: &Place<'_>) -> Vec<Subscription> {
        let (mut list, mut seen) = (Vec::new(), HashSet::new());
        for place in place.items() {
            if self.report.is_over() {
                break;
            }
            let filter = self.required(&place, "filter", words::topic_filter);
            let qos = self.word(&place, "qos", &QOS);
            let (Some(filter), Some(qos)) = (filter, qos) else { continue };
            if !seen.insert(filter.clone()) {
                let message = format!("`{}` is subscribed twice", words::shorten(&filter));
                self.error(&place.at("filter"), message, None);
            }
            list.push(Subscription { filter, qos });
        }
        list
    }

    /// A broker closes the older of two connections with one client id, and Alibaba Cloud the older
    /// of two with one device. Two such sessions would close each other for ever.
    pub(super) fn client_ids(&mut self, modems: &[Modem], place: &Place<'_>) {
        let mut taken: HashMap<(String, u16, String), &SessionId> = HashMap::new();
        for session in modems.iter().flat_map(|modem| &modem.sessions) {
            if self.report.is_over() {
                break;
            }
            let (host, port) = session.address();
            let identity = match &session.access {
                Access::Plain { client_id, .. } => client_id.clone(),
                Access::Aliyun { device, .. } => device.username(),
            };
            let key = (host.to_ascii_lowercase(), port, identity);
            let Some(first) = taken.get(&key) else {
                taken.insert(key, &session.id);
                continue;
            };
            let id = &session.id;
            let mine = place.at(id.modem.as_str()).at("sessions").at(id.session.as_str());
            let (word, at) = match &session.access {
                Access::Plain { .. } => ("client id", mine.at("client_id")),
                Access::Aliyun { .. } => ("device", mine.at("device_name")),
            };
            let message = format!("{first} has the same {word} `{}` at this broker", key.2);
            let help = "the broker would close each session when the other one connects";
            self.error(&at, message, Some(help.to_owned()));
        }
    }
}

fn fault_of(error: aliyun::FieldError) -> Fault {
    Fault::new(error.fault)
}

impl Kind {
    /// Reports whether all its sessions are over TLS.
    fn is_secured(&self) -> bool {
        match self {
            Self::Plain { url, .. } | Self::Aws { url } => url.secured,
            Self::Aliyun { .. } => false,
        }
    }
}

/// Reports whether a host is an endpoint of AWS IoT Core with a certificate of Amazon's own authorities:
/// `a1b2-ats.iot.REGION.amazonaws.com`, in China `a1b2.ats.iot.REGION.amazonaws.com.cn`.
fn is_ats_endpoint(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        [id, "iot", _, "amazonaws", "com"] => id.ends_with("-ats"),
        [_, "ats", "iot", _, "amazonaws", "com", "cn"] => true,
        _ => false,
    }
}

fn no_ats_endpoint() -> Fault {
    Fault::help(
        "must be an ATS endpoint, such as mqtts://a1b2c3-ats.iot.eu-central-1.amazonaws.com",
        "`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints the endpoint; with a domain of your own leave \
         `provider` out",
    )
}
