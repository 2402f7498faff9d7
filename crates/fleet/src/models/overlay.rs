//! Reading one overlay file on top of the models there are: every key and value is judged at its place.

use std::ops::Range;
use std::rc::Rc;

use modem::catalog::{
    ApnAuth, Basis, CatalogError, Evidence, Model, MqttLimits, UsbLayout, When, normalised,
};
use modem::reply::Domain;

use super::known::{Models, Origin};
use crate::key::Leaf::Text;
use crate::key::Shape::{List, Map, Scalar};
use crate::key::{Keys, plain};
use crate::path::join;
use crate::problem::Report;
use crate::shape;
use crate::shown::Shown;
use crate::source::Source;
use crate::tree::{self, Kind, Node};
use crate::words::{Fault, did_you_mean, listed, one_of, quoted, shorten};

static FILE: Keys = Keys::plain("the file", &[plain("models", List(&Map(&ENTRY)))]);

static ENTRY: Keys = Keys::plain(
    "a model",
    &[
        plain("id", Scalar(Text)),
        plain("like", Scalar(Text)),
        plain("manufacturer", Scalar(Text)),
        plain("cgmm", List(&Scalar(Text))),
        plain("profile", Scalar(Text)),
        plain("usb", List(&Map(&LAYOUT))),
        plain("registration", List(&Scalar(Text))),
        plain("mqtt", Map(&LIMITS)),
        plain("apn_auth", Scalar(Text)),
        plain("evidence", Map(&EVIDENCE)),
    ],
);

static LAYOUT: Keys = Keys::plain(
    "a USB layout",
    &[
        plain("id", Scalar(Text)),
        plain("at", Scalar(Text)),
        plain("secondary", Scalar(Text)),
        plain("when", Map(&WHEN)),
    ],
);

static WHEN: Keys = Keys::plain(
    "`when`",
    &[plain("no_tty", List(&Scalar(Text))), plain("tty", List(&Scalar(Text)))],
);

static LIMITS: Keys = Keys::plain(
    "`mqtt`",
    &[plain("clients", Scalar(Text)), plain("topic", Scalar(Text)), plain("payload", Scalar(Text))],
);

static EVIDENCE: Keys = Keys::plain(
    "`evidence`",
    &[
        plain("identification", Scalar(Text)),
        plain("mqtt", Scalar(Text)),
        plain("status", Scalar(Text)),
        plain("tls", Scalar(Text)),
    ],
);

const APN_AUTH: [(&str, ApnAuth); 3] = [
    ("user_first", ApnAuth::UserFirst),
    ("password_first", ApnAuth::PasswordFirst),
    ("user_first_pap", ApnAuth::UserFirstPap),
];

/// In the modem's own words, as a reply begins.
const DOMAINS: [(&str, Domain); 4] = [
    ("+CEREG", Domain::Eps),
    ("+C5GREG", Domain::FiveGs),
    ("+CGREG", Domain::Ps),
    ("+CREG", Domain::Cs),
];

const BASES: [(&str, Basis); 4] = [
    ("manual", Basis::Manual),
    ("transcript", Basis::Transcript),
    ("hardware", Basis::Hardware),
    ("inferred", Basis::Inferred),
];

/// Entries of a file, and values of a list.
const MAX_ENTRIES: usize = 200;
const MAX_VALUES: usize = 16;

/// A shorter beginning would take modems of everybody.
const MIN_BEGINNING: usize = 3;
const MAX_WORDS: usize = 64;
const MAX_ID: usize = 32;

/// USB 2.0 §9.6.3: a byte, and no device has so many.
const MAX_INTERFACE: u64 = 31;

/// MQTT's own bound on a topic (3.1.1 §1.5.3), and more clients than any modem has.
const MAX_TOPIC: usize = 65_535;
const MAX_CLIENTS: u8 = 16;

/// The evidence of an entry without any.
const NOTHING: Evidence = Evidence {
    identification: Basis::Inferred,
    mqtt: Basis::Inferred,
    status: Basis::Inferred,
    tls: None,
};

/// Parts of such a file that may be shown.
pub(super) fn shown(root: &Node, source: &Source) -> Shown {
    Shown::of(root, &FILE, &source.text)
}

/// Adds the entries of a file. Faults go to `report`, and after a fault `models` must not be used. Returns the
/// tree, if there is one.
pub(super) fn take(source: &Source, models: &mut Models, report: &mut Report) -> Option<Rc<Node>> {
    let root = tree::read(source, report)?;
    if root.kind == Kind::Null {
        let help = "write `models:` with a list, or delete the file".to_owned();
        report.error(source, 0..0, "", "the file is empty", Some(help));
        return Some(root);
    }
    shape::check(&FILE, &root, source, report);
    take_entries(&root, source, models, report);
    Some(root)
}

fn take_entries(root: &Node, source: &Source, models: &mut Models, report: &mut Report) {
    let Some((key, list)) = root.entry("models") else {
        if !report.has_errors() {
            let help = "write `models:` and a list of entries below it".to_owned();
            report.error(source, 0..0, "", "the file has no `models`", Some(help));
        }
        return;
    };
    if list.items.len() > MAX_ENTRIES {
        let message = format!("`models` has more than {MAX_ENTRIES} entries");
        return report.error(source, key.span.clone(), "models", message, None);
    }
    for (at, node) in list.items.iter().enumerate().filter(|(_, node)| node.kind == Kind::Map) {
        Entry { node, path: format!("models[{at}]"), source, models, report }.take();
    }
}

/// One entry of the list.
struct Entry<'a> {
    node: &'a Node,
    path: String,
    source: &'a Source,
    models: &'a mut Models,
    report: &'a mut Report,
}

/// The base of an entry.
enum Base {
    /// A known model, of which it changes something.
    Amends(Model),
    /// Nothing, or another model of which it takes the rest.
    New(Option<Model>),
}

impl Entry<'_> {
    fn take(mut self) {
        let errors = self.report.errors();
        let base = self.base();
        let model = base.and_then(|base| self.model(base));
        let (Some((model, amends)), true) = (model, self.report.errors() == errors) else { return };
        let id = model.id.clone();
        if let Err(error) = self.models.catalog.put(model) {
            return self.refused(&error);
        }
        // An amended entry of this folder does not become one of the build.
        let amends = amends && self.models.built_in.contains(&id);
        let (line, _) = self.source.position(self.node.span.start);
        self.models.origins.insert(id, Origin { file: self.source.file.clone(), line, amends });
    }

    fn base(&mut self) -> Option<Base> {
        let known = |entry: &Self| -> Vec<String> {
            entry.models.catalog.models().map(|model| model.id.clone()).collect()
        };
        let id = self.value(self.node, "", "id", id);
        let like = self.value(self.node, "", "like", id_of_any);
        let Some(like) = like else {
            let amended = id.as_deref().and_then(|id| self.models.catalog.model(id)).cloned();
            return Some(amended.map_or(Base::New(None), Base::Amends));
        };
        let Some(model) = self.models.catalog.model(&like).cloned() else {
            let known = known(self);
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = did_you_mean(&like, &known)
                .unwrap_or_else(|| format!("known are {}", listed(&known, "and")));
            self.error("like", format!("there is no model `{}`", shorten(&like)), Some(help));
            return None;
        };
        Some(Base::New(Some(model)))
    }

    /// The whole model, and true if it amends another; `None` if something is missing or wrong.
    fn model(&mut self, base: Base) -> Option<(Model, bool)> {
        let cgmm = self.list("cgmm", beginning);
        let usb = self.layouts();
        let (base, amends) = match base {
            Base::Amends(model) => (Some(model), true),
            Base::New(model) => (model, false),
        };
        if !amends && cgmm.is_none() {
            let help = "write `cgmm: [NAME]`, as `AT+CGMM` answers".to_owned();
            self.missing("cgmm", Some(help));
        }
        let (mut beginnings, mut layouts) = (cgmm.unwrap_or_default(), usb.unwrap_or_default());
        let default_id = beginnings.first().map(|name| id_from(name));
        if let Some(base) = base.as_ref().filter(|_| amends) {
            let other =
                |name: &&String| !beginnings.iter().any(|n| normalised(n) == normalised(name));
            let kept: Vec<String> = base.cgmm.iter().filter(other).cloned().collect();
            beginnings = [kept, beginnings].concat();
            // The layouts of the file replace all those of a USB id.
            let other = |old: &&UsbLayout| !layouts.iter().any(|new| new.id == old.id);
            let kept: Vec<UsbLayout> = base.usb.iter().filter(other).cloned().collect();
            layouts = [layouts, kept].concat();
        } else if self.node.entry("usb").is_none() {
            layouts = base.as_ref().map(|base| base.usb.clone()).unwrap_or_default();
        }
        let id = self.value(self.node, "", "id", id).or(default_id);
        if let Some(id) = id.as_ref().filter(|id| !amends && self.is_known(id)) {
            let key = if self.node.entry("id").is_some() { "id" } else { "cgmm" };
            let help =
                format!("amend that model by `id: {id}` without `like`, or choose another `id`");
            self.error(key, format!("the model `{id}` exists already"), Some(help));
        }
        let manufacturer = self.value(self.node, "", "manufacturer", words);
        let manufacturer = manufacturer.or_else(|| Some(base.as_ref()?.manufacturer.clone()));
        let profile = self.profile(base.as_ref());
        let evidence = self.evidence(base.as_ref().filter(|_| amends));
        let mqtt = self.limits(base.as_ref(), profile.as_deref());
        let registration = self.list("registration", |text| one_of(text, &DOMAINS));
        let registration = registration
            .or_else(|| Some(base.as_ref()?.registration.clone()))
            .unwrap_or_else(Model::usual_registration);
        let apn_auth = self.value(self.node, "", "apn_auth", |text| one_of(text, &APN_AUTH));
        let apn_auth = apn_auth.or(base.as_ref().map(|base| base.apn_auth)).unwrap_or_default();
        if manufacturer.is_none() && self.node.entry("manufacturer").is_none() {
            self.missing("manufacturer", None);
        }
        let model = Model {
            id: id?,
            manufacturer: manufacturer?,
            cgmm: beginnings,
            profile: profile?,
            usb: layouts,
            mqtt: mqtt?,
            registration,
            apn_auth,
            evidence,
        };
        Some((model, amends))
    }

    fn profile(&mut self, base: Option<&Model>) -> Option<String> {
        let Some(name) = self.value(self.node, "", "profile", id_of_any) else {
            if base.is_none() && self.node.entry("profile").is_none() {
                let help = "begin with `like: MODEL` to take all of a known model".to_owned();
                self.missing("profile", Some(help));
            }
            return base.map(|base| base.profile.clone());
        };
        let known: Vec<&str> = self.models.catalog.profiles().map(|profile| profile.id()).collect();
        if known.contains(&name.as_str()) {
            return Some(name);
        }
        let help = did_you_mean(&name, &known)
            .unwrap_or_else(|| format!("known are {}", listed(&known, "and")));
        self.error("profile", format!("there is no profile `{}`", shorten(&name)), Some(help));
        None
    }

    fn layouts(&mut self) -> Option<Vec<UsbLayout>> {
        let (key, list) = self.node.entry("usb")?;
        if list.items.len() > MAX_VALUES {
            let message = format!("`usb` has more than {MAX_VALUES} layouts");
            self.report.error(self.source, key.span.clone(), &self.at("usb"), message, None);
            return None;
        }
        let mut layouts: Vec<UsbLayout> = Vec::new();
        let maps = list.items.iter().enumerate().filter(|(_, node)| node.kind == Kind::Map);
        for (at, node) in maps {
            let Some(layout) = self.layout(node, &format!("usb[{at}]")) else { continue };
            let is_same = |other: &UsbLayout| {
                (&other.id, other.at, &other.when) == (&layout.id, layout.at, &layout.when)
            };
            if layouts.iter().any(is_same) {
                let message = format!("`{}` with AT on {} stands twice", layout.id, layout.at);
                let path = self.at(&format!("usb[{at}]"));
                self.report.error(self.source, node.span.clone(), &path, message, None);
            }
            layouts.push(layout);
        }
        Some(layouts)
    }

    fn layout(&mut self, node: &Node, below: &str) -> Option<UsbLayout> {
        let id = self.value(node, below, "id", usb_id);
        let at = self.value(node, below, "at", interface);
        let secondary = self.value(node, below, "secondary", interface);
        for (key, help) in [
            ("id", "`lsusb` shows the USB id as VENDOR:PRODUCT"),
            (
                "at",
                "write the number of the USB interface that answers AT commands; `modemfleet scan` shows the ports",
            ),
        ] {
            if node.entry(key).is_none() {
                let message = format!("this layout has no `{key}`");
                let path = self.at(below);
                self.report.error(
                    self.source,
                    node.span.clone(),
                    &path,
                    message,
                    Some(help.to_owned()),
                );
            }
        }
        if at.is_some() && at == secondary {
            let message = "`secondary` is the same interface as `at`";
            let path = join(&self.at(below), "secondary");
            let span = span_of(node, "secondary");
            self.report.error(self.source, span, &path, message, Some("leave it out".to_owned()));
        }
        let when = self.when(node, below);
        Some(UsbLayout { id: id?, at: at?, secondary, when })
    }

    /// In which composition a layout holds.
    fn when(&mut self, node: &Node, below: &str) -> Option<When> {
        let (key, when) = node.entry("when").filter(|(_, when)| when.kind == Kind::Map)?;
        let below = join(below, "when");
        let mut numbers = |key: &str| {
            let found = when.entry(key)?;
            self.values(found, &join(&below, key), key, interface)
        };
        let when = When {
            no_tty: numbers("no_tty").unwrap_or_default(),
            tty: numbers("tty").unwrap_or_default(),
        };
        if when == When::default() {
            let help = "write `when: { no_tty: [0, 1] }` for a device whose interfaces 0 and 1 have no tty";
            let message = "`when` has no condition".to_owned();
            let path = self.at(&below);
            self.report.error(self.source, key.span.clone(), &path, message, Some(help.to_owned()));
        }
        Some(when)
    }

    fn limits(&mut self, base: Option<&Model>, profile: Option<&str>) -> Option<MqttLimits> {
        let most = profile.map(|profile| self.most(profile));
        let node =
            self.node.entry("mqtt").map(|(_, node)| node).filter(|node| node.kind == Kind::Map);
        let mut limit = |key: &str, most: Option<usize>, base: Option<usize>| {
            let most = most.unwrap_or(usize::MAX);
            let given =
                node.and_then(|node| self.value(node, "mqtt", key, |text| number(text, most)));
            if given.is_none()
                && base.is_none()
                && node.is_none_or(|node| node.entry(key).is_none())
            {
                self.missing(&format!("mqtt.{key}"), None);
            }
            given.or(base)
        };
        let mqtt = base.map(|base| base.mqtt);
        let clients = limit(
            "clients",
            most.map(|most| usize::from(most.clients)),
            mqtt.map(|mqtt| usize::from(mqtt.clients)),
        );
        let topic = limit("topic", most.map(|most| most.topic), mqtt.map(|mqtt| mqtt.topic));
        let payload =
            limit("payload", most.map(|most| most.payload), mqtt.map(|mqtt| mqtt.payload));
        let clients = u8::try_from(clients?).ok()?;
        // A stack that cannot send an empty payload cannot send one for a sibling either.
        let least_payload = mqtt.or(most).map_or(0, |mqtt| mqtt.least_payload);
        Some(MqttLimits { clients, topic: topic?, payload: payload?, least_payload })
    }

    /// The limits of a profile: the most of any model of this build with this profile.
    fn most(&self, profile: &str) -> MqttLimits {
        let speaks = |id: &&String| {
            self.models.catalog.model(id).is_some_and(|model| model.profile == profile)
        };
        let known = self.models.built_in.iter().filter(speaks);
        let known = known.filter_map(|id| Some(self.models.catalog.model(id)?.mqtt));
        let most = known.reduce(|a, b| MqttLimits {
            clients: a.clients.max(b.clients),
            topic: a.topic.max(b.topic),
            payload: a.payload.max(b.payload),
            least_payload: a.least_payload.min(b.least_payload),
        });
        let framing = self.models.catalog.profile(profile).map(|profile| profile.framing());
        let payload = framing.map_or(0, |framing| framing.max_prompt_data);
        most.unwrap_or(MqttLimits {
            clients: MAX_CLIENTS,
            topic: MAX_TOPIC,
            payload,
            least_payload: 0,
        })
    }

    /// Evidence that the file leaves out is absent; for an amended entry the earlier evidence stays.
    fn evidence(&mut self, amended: Option<&Model>) -> Evidence {
        let mut evidence = amended.map_or(NOTHING, |model| model.evidence);
        let Some((_, node)) = self.node.entry("evidence") else { return evidence };
        let mut basis = |key| self.value(node, "evidence", key, |text| one_of(text, &BASES));
        evidence.identification = basis("identification").unwrap_or(evidence.identification);
        evidence.mqtt = basis("mqtt").unwrap_or(evidence.mqtt);
        evidence.status = basis("status").unwrap_or(evidence.status);
        evidence.tls = basis("tls").or(evidence.tls);
        evidence
    }

    /// Why the catalog does not take it.
    fn refused(&mut self, error: &CatalogError) {
        let help = match error {
            CatalogError::Claimed { other, .. } => {
                format!("amend that entry with `id: {other}`, or give a longer beginning")
            }
            _ => "choose another id".to_owned(),
        };
        let key = if matches!(error, CatalogError::Claimed { .. }) { "cgmm" } else { "id" };
        self.error(key, error.to_string(), Some(help));
    }

    /// A single value of a mapping, judged; `below` are the keys from the entry to the mapping.
    fn value<T>(
        &mut self,
        node: &Node,
        below: &str,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let (_, value) = node.entry(key)?;
        if value.kind != Kind::Scalar {
            return None;
        }
        let path = join(&self.at(below), key);
        self.judged(value, &path, key, read)
    }

    /// A list of single values, each judged.
    fn list<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, Fault>) -> Option<Vec<T>> {
        let found = self.node.entry(key)?;
        self.values(found, key, key, read)
    }

    /// The values of a list below a key.
    fn values<T>(
        &mut self,
        (name, list): &(Rc<Node>, Rc<Node>),
        below: &str,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        if list.kind != Kind::List {
            return None;
        }
        if list.items.is_empty() || list.items.len() > MAX_VALUES {
            let message = format!("`{key}` must have 1 to {MAX_VALUES} values");
            self.report.error(self.source, name.span.clone(), &self.at(below), message, None);
            return None;
        }
        let mut values = Vec::new();
        for (at, item) in list.items.iter().enumerate().filter(|(_, i)| i.kind == Kind::Scalar) {
            let path = format!("{}[{at}]", self.at(below));
            values.extend(self.judged(item, &path, key, &read));
        }
        Some(values)
    }

    fn judged<T>(
        &mut self,
        value: &Node,
        path: &str,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let fault = match read(&value.text) {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        let message = format!("`{key}` {}", fault.text);
        self.report.error(self.source, value.span.clone(), path, message, fault.help);
        None
    }

    fn missing(&mut self, key: &str, help: Option<String>) {
        let span = self.node.span.clone();
        let (path, message) = (self.path.clone(), format!("this model has no `{key}`"));
        self.report.error(self.source, span, &path, message, help);
    }

    /// An error at the value of `key`, or at the entry if the key has none.
    fn error(&mut self, key: &str, message: String, help: Option<String>) {
        let span = span_of(self.node, key);
        let path = self.at(key);
        self.report.error(self.source, span, &path, message, help);
    }

    fn is_known(&self, id: &str) -> bool {
        self.models.catalog.model(id).is_some()
    }

    fn at(&self, below: &str) -> String {
        if below.is_empty() { self.path.clone() } else { join(&self.path, below) }
    }
}

fn span_of(node: &Node, key: &str) -> Range<usize> {
    node.entry(key).map_or_else(|| node.span.clone(), |(_, value)| value.span.clone())
}

/// The word for a model on the command line and in metrics.
fn id(text: &str) -> Result<String, Fault> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    if (1..=MAX_ID).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("must be 1 to {MAX_ID} small letters, digits, `_` or `-`")))
}

/// A word that is looked for among known ones.
fn id_of_any(text: &str) -> Result<String, Fault> {
    Ok(text.to_owned())
}

/// An id made of how a modem calls itself.
fn id_from(cgmm: &str) -> String {
    let name = normalised(cgmm).to_ascii_lowercase();
    let word = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    word.take(MAX_ID).collect()
}

fn words(text: &str) -> Result<String, Fault> {
    let fits = !text.trim().is_empty() && text.chars().count() <= MAX_WORDS;
    if fits && !text.chars().any(char::is_control) {
        return Ok(text.trim().to_owned());
    }
    Err(Fault::new(format!("must be 1 to {MAX_WORDS} characters")))
}

/// The beginning of an answer to `AT+CGMM`.
fn beginning(text: &str) -> Result<String, Fault> {
    let text = quoted(text, MAX_WORDS)?;
    if normalised(&text).len() < MIN_BEGINNING {
        let help = "write enough of the answer to `AT+CGMM` to distinguish this model from others";
        let fault = format!("must have at least {MIN_BEGINNING} characters after `SIMCOM_`");
        return Err(Fault::help(fault, help));
    }
    Ok(text)
}

fn usb_id(text: &str) -> Result<String, Fault> {
    let hex = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.split_once(':') {
        Some((vendor, product)) if hex(vendor) && hex(product) => Ok(text.to_ascii_lowercase()),
        _ => Err(Fault::help(
            "must be VENDOR:PRODUCT, four hexadecimal digits each",
            "write the USB id in quotes, as `lsusb` shows it: `\"1e0e:9001\"`",
        )),
    }
}

fn interface(text: &str) -> Result<u8, Fault> {
    let number = modem::reply::parse_uint(text).filter(|number| *number <= MAX_INTERFACE);
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
        Fault::new(format!("must be the number of a USB interface, 0 to {MAX_INTERFACE}"))
    })
}

fn number(text: &str, most: usize) -> Result<usize, Fault> {
    let number = modem::reply::parse_uint(text).and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| Fault::new(format!("must be 1 to {most}, the most of this profile")))
}
