//! From the tree to the validated fleet: every value is judged, and all faults are reported.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::choices::{APN_PROTOCOLS, OWNERS, PDP_TYPES, ROAMING};
use super::context::{Context, Secrets};
use super::fleet::{Apn, ApnProtocol, Fleet, Http, Match, Modem, Name, Owner, SessionId};
use super::key::Shape;
use super::keys::{HTTP, MATCH};
use super::problem::Report;
use super::shape;
use super::source::Source;
use super::tree::{Kind, Node};
use super::words::{self, Fault};
use crate::secret::Rule;
use build::{Build, Place};

mod ability;
mod aliauth;
mod batch;
mod budget;
mod build;
mod gateways;
mod hand_in;
mod http;
mod inbox;
mod line;
mod queue;
mod recovery;
mod route;
mod session;
mod telemetry;
mod tls;

/// 24.008 §10.5.6.1: an APN has at most 100 octets.
const MAX_APN: usize = 100;
/// AT+CGAUTH of SIMCom's manuals: user and password of at most 127 bytes.
const MAX_APN_AUTH: usize = 127;

pub(super) use gateways::named;

/// Builds the fleet; `None` only if `report` has an error.
pub(super) fn fleet(
    root: &Node,
    source: &Source,
    context: &Context,
    report: &mut Report,
) -> Option<Fleet> {
    let (mut build, top) = begin(root, source, context, report);
    let gateway = build.gateway(&top);
    build.select(&top, gateway.as_ref());
    let shutdown_grace = build.time(&top, "shutdown_grace");
    let http = build.http(&top.at("http"));
    let queue = build.queue(&top.at("queue"));
    let inbox = top.has("inbox").then(|| build.inbox(&top.at("inbox")));
    let mqtt = build.mqtt_listener(&top.at("hand_in"));
    let brokers = build.brokers(&top);
    let privileged = build.socket(&top.at("recovery"), "socket");
    let modems = build.modems(&top, gateway.as_ref(), &brokers);
    let routes = build.routes(&modems, &top);
    build.resolve_secrets();
    Some(Fleet {
        gateway: gateway?,
        shutdown_grace: shutdown_grace?,
        http: http?,
        queue: queue?,
        inbox: inbox.map_or(Some(None), |inbox| inbox.map(Some))?,
        mqtt,
        privileged: privileged?,
        modems,
        routes,
    })
}

/// Builds the `http` of a file that may have errors elsewhere.
pub(super) fn http(
    root: &Node,
    source: &Source,
    context: &Context,
    report: &mut Report,
) -> Option<Http> {
    let (mut build, top) = begin(root, source, context, report);
    let place = top.at("http");
    let is_whole = place.node.is_none_or(|node| {
        shape::below(&Shape::Map(&HTTP), node, "http", build.source, build.report)
    });
    if is_whole { build.http(&place) } else { None }
}

fn begin<'a>(
    root: &'a Node,
    source: &'a Source,
    context: &'a Context,
    report: &'a mut Report,
) -> (Build<'a>, Place<'a>) {
    let build = Build {
        source,
        context,
        report,
        secrets: Vec::new(),
        certificates: Vec::new(),
        here: None,
        elsewhere: BTreeSet::new(),
        idle: BTreeSet::new(),
    };
    (build, Place::top(root))
}

impl Build<'_> {
    fn resolve_secrets(&mut self) {
        if self.context.secrets == Secrets::Skip {
            return;
        }
        // A file that thousands of keys name is read once.
        let mut good = HashSet::new();
        for (secret, span, path) in std::mem::take(&mut self.secrets) {
            if self.report.is_over() {
                break;
            }
            if !good.contains(&secret.use_of()) {
                match secret.read() {
                    Ok(_) => drop(good.insert(secret.use_of())),
                    Err(error) => {
                        let message = error.to_string();
                        self.report.error(self.source, span.clone(), &path, message, None);
                    }
                }
            }
            if let Some(file) = secret.world_readable() {
                let file = file.display();
                let message = format!("every user of this machine may read {file}");
                let help = format!("chmod o-rwx {file}");
                self.report.warn(self.source, span, &path, message, Some(help));
            }
        }
        self.judge_certificates(SystemTime::now());
    }

    /// The name of this gateway: from the command line, else from the file, else the host name.
    fn gateway(&mut self, top: &Place<'_>) -> Option<Name> {
        if top.has("gateway") && top.has("gateways") {
            let message = "`gateway` names one gateway, and `gateways` names many".to_owned();
            let help = "leave `gateway` out: each gateway takes its host name, or the name after `--gateway`";
            self.error_at_name(&top.at("gateway"), message, Some(help));
        }
        if let Some(given) = &self.context.gateway {
            let name = Name::new(given);
            if name.is_none() {
                let given = words::shorten(given);
                let message = format!("`{given}` is not a name of a gateway");
                let help =
                    "`--gateway` and MODEMFLEET_GATEWAY take 1 to 32 letters, digits, `_` or `-`";
                self.error_at_name(top, message, Some(help));
            }
            return name;
        }
        if top.has("gateway") {
            return self.optional(top, "gateway", words::name);
        }
        let host = self.context.host_name.as_deref().unwrap_or_default();
        // The domain says nothing that a fleet's own name would not.
        let name = Name::new(host.split('.').next().unwrap_or_default());
        if name.is_none() && !top.at("gateway").exists() {
            let host = words::shorten(host);
            let message = format!("`gateway` is missing, and the host name `{host}` is not a name");
            let help = "add `gateway: NAME` with 1 to 32 letters, digits, `_` or `-`";
            self.error_at_name(top, message, Some(help));
        }
        name
    }

    fn modems(
        &mut self,
        top: &Place<'_>,
        gateway: Option<&Name>,
        brokers: &session::Brokers,
    ) -> Vec<Modem> {
        let place = top.at("modems");
        let all = self.modems_here(top);
        if all.is_empty() && !self.elsewhere.is_empty() {
            let gateway = gateway.map_or("", Name::as_str);
            let message = format!("no modem of this file is for the gateway `{gateway}`");
            self.error_at_name(
                &place,
                message,
                Some("add the gateway to the `gateways` of a modem"),
            );
        } else if all.is_empty() {
            let message = "the file has no modems".to_owned();
            let help = "add `modems:` with at least one, such as `north: { match: { port: /dev/ttyUSB2 } }`";
            self.error_at_name(&place, message, Some(help));
        }
        let mut modems: Vec<Modem> = Vec::new();
        for (key, place) in &all {
            if self.report.is_over() {
                break;
            }
            modems.extend(self.modem(key, place, gateway, brokers));
        }
        self.distinct(&modems, &place);
        self.client_ids(&modems, &place);
        self.abilities(&modems, &place);
        modems
    }

    /// Two modems with the same `match`: one of the two modems would never be used.
    fn distinct(&mut self, modems: &[Modem], place: &Place<'_>) {
        let mut seen: HashMap<&Match, &Name> = HashMap::new();
        for modem in modems {
            if self.report.is_over() {
                break;
            }
            let name = &modem.name;
            // Of one model there may be several, and one entry for each.
            if matches!(
                &modem.matching,
                Match { port: None, usb_path: None, imei: None, iccid: None, .. }
            ) {
                continue;
            }
            if let Some(same) = seen.insert(&modem.matching, name) {
                let message = format!("`{name}` matches the same modem as `{same}`");
                let place = place.at(name.as_str()).at("match");
                self.error_at_name(
                    &place,
                    message,
                    Some("one of the two modems would never be used"),
                );
            }
        }
    }

    fn modem(
        &mut self,
        key: &str,
        place: &Place<'_>,
        gateway: Option<&Name>,
        brokers: &session::Brokers,
    ) -> Option<Modem> {
        let name = self.name(key, place);
        let matching = self.matching(place);
        let apn = place.has("apn").then(|| self.apn(&place.at("apn")));
        let pin = self.secret(place, "pin", Rule::Pin);
        let roaming = self.word(place, "roaming", &ROAMING);
        let radio = self.radio(place);
        let poll = self.time(place, "poll");
        let sms = self.word(place, "sms", &OWNERS);
        let line = self.line(place);
        let budget = place.has("budget").then(|| self.budget(&place.at("budget")));
        let recovery = self.recovery(&place.at("recovery"));
        // A stand-in replaces a bad name, so that faults of the sessions are reported too.
        let stand_in = name.clone().or_else(|| Name::new("modem"))?;
        let mut sessions = Vec::new();
        for (key, place) in self.sessions_here(place) {
            if self.report.is_over() {
                break;
            }
            let Some(session) = self.name(key, &place) else { continue };
            let id = SessionId { modem: stand_in.clone(), session };
            sessions.extend(self.session(id, &place, gateway, brokers));
        }
        let telemetry = self.telemetry(place, gateway, &mut sessions);
        let apn = apn.map_or(Some(None), |apn| apn.map(Some))?;
        let budget = budget.map_or(Some(None), |budget| budget.map(Some))?;
        let (name, matching) = (name?, matching?);
        Some(Modem {
            name,
            matching,
            apn,
            pin,
            roaming: roaming?,
            radio: radio?,
            poll: poll?,
            sms: sms?,
            line: line?,
            budget,
            recovery: recovery?,
            telemetry,
            sessions,
        })
    }

    fn matching(&mut self, modem: &Place<'_>) -> Option<Match> {
        let place = modem.at("match");
        let port = self.optional(&place, "port", |text| {
            let good = Path::new(text).is_absolute() && !text.chars().any(char::is_control);
            if good { Ok(PathBuf::from(text)) } else { Err(Fault::new("must be an absolute path")) }
        });
        let usb_path = self.optional(&place, "usb_path", words::usb_path);
        if !MATCH.names().into_iter().any(|key| place.has(key)) {
            let message = format!("`{}` needs a key in its `match`", modem.key());
            let help = "name the device by any of imei, iccid, usb_path, port and model, such \
                        as `match: { imei: \"861234567000000\" }`; all that are given must hold";
            self.error_at_name(&place, message, Some(help));
            return None;
        }
        let imei = self.optional(&place, "imei", |text| words::digits(text, 15, 15));
        let iccid = self.optional(&place, "iccid", |text| {
            let good =
                (18..=22).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
            let fault = Fault::new("must be the 18 to 22 digits that are printed on the SIM");
            if good { Ok(text.to_owned()) } else { Err(fault) }
        });
        let model = self.optional(&place, "model", |text| {
            let text = words::quoted(text, 64)?;
            match text.get(..7) {
                Some(brand) if brand.eq_ignore_ascii_case("SIMCOM_") => {
                    Err(Fault::new("must be written without `SIMCOM_`"))
                }
                _ => Ok(text),
            }
        });
        // A key that is wrong must not be taken for one that is not given.
        let wrong = (place.has("port") && port.is_none())
            || (place.has("usb_path") && usb_path.is_none())
            || (place.has("imei") && imei.is_none())
            || (place.has("iccid") && iccid.is_none())
            || (place.has("model") && model.is_none());
        (!wrong).then_some(Match { port, usb_path, imei, iccid, model })
    }

    fn apn(&mut self, place: &Place<'_>) -> Option<Apn> {
        let read = |text: &str| words::quoted(text, MAX_APN);
        let name = match place.node {
            Some(Node { kind: Kind::Scalar, text, .. }) => {
                read(text).map_err(|fault| self.fault(place, fault)).ok()
            }
            _ => self.required(place, "name", read),
        };
        let user = self.optional(place, "user", |text| words::quoted(text, MAX_APN_AUTH));
        let rule = Rule::Quoted(MAX_APN_AUTH);
        let password = self.secret(place, "password", rule);
        let kind = self.optional(place, "type", |text| words::one_of(text, &PDP_TYPES));
        let auth = self.optional(place, "auth", |text| words::one_of(text, &APN_PROTOCOLS));
        match (auth, place.text("user")) {
            (Some(ApnProtocol::None), Some(_)) => {
                let help = "leave out `auth`, or `user` and `password`".to_owned();
                self.error(&place.at("auth"), "`auth: none` contradicts `user`", Some(help));
            }
            (Some(ApnProtocol::Pap | ApnProtocol::Chap), None) => {
                self.error_at_name(&place.at("auth"), "`auth` needs `user`".to_owned(), None);
            }
            _ => {}
        }
        let cid = self.number(place, "cid");
        Some(Apn { name: name?, user, password, kind, auth, cid: cid? })
    }

    fn radio(&mut self, place: &Place<'_>) -> Option<Owner> {
        let radio = self.word(place, "radio", &OWNERS);
        if radio == Some(Owner::Leave) && place.has("apn") {
            let message = "`apn` has no effect beside `radio: leave`: another program writes it";
            let help = "set the access point in that program, or leave out `radio`".to_owned();
            self.warn(&place.at("apn"), message, Some(help));
        }
        radio
    }
}
