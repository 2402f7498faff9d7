//! The changes of a new fleet file, compared with the running one: a pure value, so that each case is a line of
//! a table test, and `check --diff` prints beforehand the changes of a reload.
//!
//! Entries are compared key by key, secrets by their content as well. The table of keys in `fleet` has the effect
//! of each key; a difference that is not a key ends its entry.

use std::collections::{HashMap, HashSet, VecDeque};

use api::reload::Line;
use fleet::secret::Ref;
use fleet::{
    Access, Effect, Fleet, Http, Modem, MqttListener, Name, Qos, Route, Session, SessionId,
};

/// Words of a plan that are not keys.
const SECRETS: &str = "the content of a secret";
const OF_MODEM: &str = "its modem restarts";
/// A session's key that is compared by itself: the address of the broker has a line of its own.
const BROKER: &str = "broker";

/// The change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is new.
    Add,
    /// It goes.
    Remove,
    /// Nothing of it changes.
    Keep,
    /// It changes while it runs, and nothing is closed. With the keys that change.
    Amend(String),
    /// It is closed in order and opened again. With the keys that change.
    Reopen(String),
}

/// A setting of the agent itself that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Words behind "when the agent restarts", if it changes only then.
    pub at_restart: Option<&'static str>,
}

impl Setting {
    /// A setting that changes now, or at the next start, as the table of keys has it.
    fn of(key: &'static str) -> Self {
        let is_later = fleet::effect(key) == Some(Effect::Agent);
        Self { key, at_restart: is_later.then_some("") }
    }
}

/// The changes of a new fleet file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All modems, those of the new file first.
    pub modems: Vec<(Name, Step)>,
    /// All sessions, those of the new file first.
    pub sessions: Vec<(SessionId, Step)>,
    /// All routes by their topic, those of the new file first.
    pub routes: Vec<(String, Step)>,
    /// Settings that change.
    pub settings: Vec<Setting>,
}

impl Step {
    fn sign(&self) -> char {
        match self {
            Self::Add => '+',
            Self::Remove => '-',
            Self::Keep => '=',
            Self::Amend(_) | Self::Reopen(_) => '~',
        }
    }

    /// Reports whether the running entry of this name has to end.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Remove | Self::Reopen(_))
    }

    /// Reports whether the entry has to be started.
    pub fn begins(&self) -> bool {
        matches!(self, Self::Add | Self::Reopen(_))
    }
}

impl Plan {
    /// Compares the running fleet with a wanted one. `rotated` reports whether the content of a
    /// secret has changed since it was applied.
    pub fn new(old: &Fleet, new: &Fleet, rotated: impl Fn(&Ref) -> bool) -> Self {
        let (olds, news) = (Index::of(old), Index::of(new));
        let pairs = Pairs { old: &olds, new: &news, rotated: &rotated };
        let modems = pairs.modems();
        let sessions = pairs.sessions(&modems);
        Self { sessions, routes: routes(old, new), settings: pairs.settings(), modems }
    }

    /// Adds that other models are known, for which the modems of these names restart.
    pub fn learn(&mut self, restart: &HashSet<String>) {
        let why = "the entry of its model";
        self.settings.push(Setting { key: "models", at_restart: None });
        let goes_on = |step: &Step| matches!(step, Step::Keep | Step::Amend(_));
        for (name, step) in self.modems.iter_mut().filter(|(_, step)| goes_on(step)) {
            if restart.contains(name.as_str()) {
                *step = Step::Reopen(why.to_owned());
            }
        }
        for (id, step) in self.sessions.iter_mut().filter(|(_, step)| goes_on(step)) {
            if restart.contains(id.modem.as_str()) {
                *step = Step::Reopen(OF_MODEM.to_owned());
            }
        }
    }

    /// Reports whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let keeps = |step: &Step| *step == Step::Keep;
        self.settings.is_empty()
            && self.modems.iter().all(|(_, step)| keeps(step))
            && self.sessions.iter().all(|(_, step)| keeps(step))
            && self.routes.iter().all(|(_, step)| keeps(step))
    }

    /// The change of a modem.
    pub fn modem(&self, name: &Name) -> Option<&Step> {
        self.modems.iter().find(|(other, _)| other == name).map(|(_, step)| step)
    }

    /// The new fleet as it can run now: with the old values of settings that change only at the next start.
    pub fn applicable(&self, old: &Fleet, new: Fleet) -> Fleet {
        let stays =
            |key: &str| self.settings.iter().any(|s| s.key == key && s.at_restart.is_some());
        let mut fleet = new;
        if ["http.listen", "http.socket", "http.publish_socket"].into_iter().any(stays) {
            fleet.http = old.http.clone();
        }
        if stays("queue") {
            fleet.queue = old.queue.clone();
        }
        if stays("inbox") {
            fleet.inbox.clone_from(&old.inbox);
        }
        if stays("hand_in.mqtt") {
            fleet.mqtt.clone_from(&old.mqtt);
        }
        if stays("recovery.socket") {
            fleet.privileged.clone_from(&old.privileged);
        }
        fleet
    }

    /// Secrets of the running fleet whose content changes at the next start only.
    pub fn not_applied<'a>(&self, fleet: &'a Fleet) -> Vec<&'a Ref> {
        let stays =
            |key: &str| self.settings.iter().any(|s| s.key == key && s.at_restart.is_some());
        let token = fleet.http.token.iter().filter(|_| stays("http.token"));
        let publish = fleet.http.publish_token.iter().filter(|_| stays("http.publish_token"));
        let token = token.chain(publish);
        let users = fleet.mqtt.iter().filter(|_| stays("hand_in.mqtt"));
        token.chain(users.flat_map(|mqtt| mqtt.users.iter().map(|(_, secret)| secret))).collect()
    }

    /// The plan line by line: changes first, in the order of the file.
    pub fn lines(&self) -> Vec<Line> {
        let line = |kind: &str, name: String, step: &Step| Line {
            sign: step.sign(),
            kind: kind.to_owned(),
            name,
            note: step.note(kind),
            at_restart: false,
        };
        let modems = self.modems.iter().map(|(name, step)| line("modem", name.to_string(), step));
        let sessions = self.sessions.iter().map(|(id, step)| line("session", id.to_string(), step));
        let routes = self.routes.iter().map(|(topic, step)| line("route", topic.clone(), step));
        let settings = self.settings.iter().map(|setting| Line {
            sign: '~',
            kind: "setting".to_owned(),
            name: setting.key.to_owned(),
            note: setting
                .at_restart
                .map_or_else(String::new, |why| format!("applies when the agent restarts{why}")),
            at_restart: setting.at_restart.is_some(),
        });
        let mut lines: Vec<Line> = settings.chain(modems).chain(sessions).chain(routes).collect();
        lines.sort_by_key(|line| line.sign == '=');
        lines
    }
}

impl Step {
    fn note(&self, kind: &str) -> String {
        match (self, kind) {
            (Self::Remove, "modem") => "its sessions are closed in order".to_owned(),
            (Self::Remove, "session") => "closed in order".to_owned(),
            (Self::Remove, "route") => {
                "its waiting messages take the routes that match now".to_owned()
            }
            (Self::Add | Self::Remove | Self::Keep, _) => String::new(),
            (Self::Amend(what), _) => format!("{what}; nothing is closed"),
            (Self::Reopen(why), "modem") => {
                format!("{why}; its sessions are closed in order, and the modem restarts")
            }
            (Self::Reopen(why), _) => format!("{why}; closed in order and opened again"),
        }
    }
}

/// A fleet, and its entries by their names: there may be thousands.
struct Index<'a> {
    fleet: &'a Fleet,
    modems: HashMap<&'a Name, &'a Modem>,
    sessions: HashMap<&'a SessionId, &'a Session>,
}

impl<'a> Index<'a> {
    fn of(fleet: &'a Fleet) -> Self {
        let modems = fleet.modems.iter().map(|modem| (&modem.name, modem)).collect();
        let sessions = fleet.sessions().map(|session| (&session.id, session)).collect();
        Self { fleet, modems, sessions }
    }

    /// Announcements of a session when it comes and goes.
    fn presence(&self, session: &Session) -> Option<(&'a str, Qos)> {
        let telemetry = self.modems.get(&session.id.modem)?.telemetry.as_ref()?;
        let is_it = telemetry.session == session.id.session;
        telemetry.status.as_deref().filter(|_| is_it).map(|topic| (topic, telemetry.qos))
    }
}

/// The two fleets side by side.
struct Pairs<'a, F> {
    old: &'a Index<'a>,
    new: &'a Index<'a>,
    rotated: &'a F,
}

impl<F: Fn(&Ref) -> bool> Pairs<'_, F> {
    fn modems(&self) -> Vec<(Name, Step)> {
        let has_budget = |fleet: &Fleet| fleet.modems.iter().any(|modem| modem.budget.is_some());
        let is_first_budget = has_budget(self.new.fleet) && !has_budget(self.old.fleet);
        let step = |modem: &Modem| match self.old.modems.get(&modem.name) {
            None => Step::Add,
            Some(old) => match self.modem(old, modem) {
                // The bytes of the SIMs were not counted so far, and a SIM may move between modems.
                Step::Keep | Step::Amend(_) if is_first_budget => {
                    Step::Reopen("the first `budget` of the fleet".to_owned())
                }
                step => step,
            },
        };
        let now = self.new.fleet.modems.iter().map(|modem| (modem.name.clone(), step(modem)));
        let olds = self.old.fleet.modems.iter();
        let gone = olds.filter(|old| !self.new.modems.contains_key(&old.name));
        now.chain(gone.map(|modem| (modem.name.clone(), Step::Remove))).collect()
    }

    fn modem(&self, old: &Modem, new: &Modem) -> Step {
        // All fields, so that a new one has to be added here. Sessions have lines of their own.
        let Modem {
            name: _,
            matching,
            apn,
            pin,
            roaming,
            radio,
            poll,
            sms,
            line,
            budget,
            recovery,
            telemetry,
            sessions: _,
        } = new;
        let parts = [
            ("match", *matching != old.matching),
            ("apn", *apn != old.apn),
            ("pin", *pin != old.pin),
            ("roaming", *roaming != old.roaming),
            ("radio", *radio != old.radio),
            ("poll", *poll != old.poll),
            ("sms", *sms != old.sms),
            ("baud", line.baud != old.line.baud),
            ("flow_control", line.flow_control != old.line.flow_control),
            ("recovery", *recovery != old.recovery),
            ("budget", *budget != old.budget),
            ("telemetry", *telemetry != old.telemetry),
            (SECRETS, new.secrets().into_iter().any(self.rotated)),
        ];
        step(parts, |key| ends("modems.*", key, Effect::Modem))
    }

    fn sessions(&self, modems: &[(Name, Step)]) -> Vec<(SessionId, Step)> {
        let reopened: HashSet<&Name> = modems
            .iter()
            .filter_map(|(name, step)| matches!(step, Step::Reopen(_)).then_some(name))
            .collect();
        let step = |session: &Session| match self.old.sessions.get(&session.id) {
            None => Step::Add,
            Some(old) => match self.session(old, session) {
                Step::Keep | Step::Amend(_) if reopened.contains(&session.id.modem) => {
                    Step::Reopen(OF_MODEM.to_owned())
                }
                step => step,
            },
        };
        let now = self.new.fleet.sessions().map(|session| (session.id.clone(), step(session)));
        let olds = self.old.fleet.sessions();
        let gone = olds.filter(|old| !self.new.sessions.contains_key(&old.id));
        now.chain(gone.map(|session| (session.id.clone(), Step::Remove))).collect()
    }

    fn session(&self, old: &Session, new: &Session) -> Step {
        // All fields, so that a new one has to be added here.
        let Session {
            id: _,
            broker,
            access,
            tls,
            keep_alive,
            clean_session,
            reconnect_max,
            will,
            subscribe,
            vars,
        } = new;
        let announces = self.old.presence(old) != self.new.presence(new);
        let parts = [
            ("the broker's address", new.address() != old.address()),
            ("client_id", new.client_id() != old.client_id()),
            ("the login", logs_in_otherwise(&old.access, access)),
            ("tls", *tls != old.tls),
            ("keep_alive", *keep_alive != old.keep_alive),
            ("clean_session", *clean_session != old.clean_session),
            ("reconnect_max", *reconnect_max != old.reconnect_max),
            // Telemetry makes a will of its own.
            ("will", *will != old.will && !announces),
            ("subscribe", *subscribe != old.subscribe),
            ("telemetry", announces),
            (BROKER, *broker != old.broker),
            ("vars", *vars != old.vars),
            (SECRETS, new.secrets().into_iter().any(self.rotated)),
        ];
        // Another name alone does not make another broker.
        let ends = |key: &str| key != BROKER && ends("modems.*.sessions.*", key, Effect::Session);
        step(parts, ends)
    }

    fn settings(&self) -> Vec<Setting> {
        // All fields, so that a new one has to be added here.
        let Fleet {
            gateway,
            shutdown_grace,
            http,
            queue,
            inbox,
            mqtt,
            privileged,
            modems: _,
            routes: _,
        } = self.new.fleet;
        let old = self.old.fleet;
        let of_file = [
            ("gateway", *gateway != old.gateway),
            ("shutdown_grace", *shutdown_grace != old.shutdown_grace),
            ("routes", order_differs(old, self.new.fleet)),
            ("queue", *queue != old.queue),
            ("inbox", *inbox != old.inbox),
            ("recovery.socket", *privileged != old.privileged),
        ];
        let of_file = of_file.into_iter().filter(|(_, differs)| *differs);
        let mut settings: Vec<Setting> = of_file.map(|(key, _)| Setting::of(key)).collect();
        settings.extend(self.http(&old.http, http));
        settings.extend(self.mqtt(old.mqtt.as_ref(), mqtt.as_ref()));
        settings
    }

    /// A listener that keeps its address keeps its tokens and names too.
    fn http(&self, old: &Http, new: &Http) -> Vec<Setting> {
        let Http { listen, hosts, token, publish_token, socket, publish_socket } = new;
        let is_rotated = |token: &Option<Ref>| token.as_ref().is_some_and(self.rotated);
        let keys = [
            ("http.listen", *listen != old.listen),
            ("http.socket", *socket != old.socket),
            ("http.publish_socket", *publish_socket != old.publish_socket),
            ("http.hosts", *hosts != old.hosts),
            ("http.token", *token != old.token || is_rotated(token)),
            (
                "http.publish_token",
                *publish_token != old.publish_token || is_rotated(publish_token),
            ),
        ];
        let differing = keys.into_iter().filter(|(_, differs)| *differs);
        let mut settings: Vec<Setting> = differing.map(|(key, _)| Setting::of(key)).collect();
        if settings.iter().any(|setting| setting.at_restart.is_some()) {
            for setting in settings.iter_mut().filter(|setting| setting.at_restart.is_none()) {
                setting.at_restart = Some(", together with the listener");
            }
        }
        settings
    }

    fn mqtt(&self, old: Option<&MqttListener>, new: Option<&MqttListener>) -> Option<Setting> {
        match (old, new) {
            (None, None) => None,
            (Some(MqttListener { listen, users }), Some(new)) if *listen == new.listen => {
                let rotated = new.users.iter().any(|(_, secret)| (self.rotated)(secret));
                let differs = *users != new.users || rotated;
                differs.then(|| Setting::of("hand_in.mqtt.users"))
            }
            _ => Some(Setting::of("hand_in.mqtt")),
        }
    }
}

/// Reports whether the login differs in more than address and client id.
fn logs_in_otherwise(old: &Access, new: &Access) -> bool {
    match (old, new) {
        (
            Access::Plain { username, password, .. },
            Access::Plain { username: name, password: secret, .. },
        ) => (username, password) != (name, secret),
        _ => old != new,
    }
}

/// The step of an entry whose parts differ, or not.
fn step<const N: usize>(parts: [(&str, bool); N], ends: impl Fn(&str) -> bool) -> Step {
    let differing = parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
    let (why, what): (Vec<&str>, Vec<&str>) = differing.partition(|name| ends(name));
    match (why.as_slice(), what.as_slice()) {
        ([], []) => Step::Keep,
        ([], what) => Step::Amend(what.join(", ")),
        (why, _) => Step::Reopen(why.join(", ")),
    }
}

/// Reports whether the table of keys ends an entry for another value of a key. Parts that are not keys do.
fn ends(entry: &str, key: &str, least: Effect) -> bool {
    fleet::effect(&format!("{entry}.{key}")).is_none_or(|effect| effect >= least)
}

fn routes(old: &Fleet, new: &Fleet) -> Vec<(String, Step)> {
    // A topic may be there twice: the second one is compared with the second one.
    let mut left: HashMap<&str, VecDeque<&Route>> = HashMap::new();
    for route in old.routes() {
        left.entry(&route.topic).or_default().push_back(route);
    }
    let mut all = Vec::new();
    for route in new.routes() {
        let known = left.get_mut(route.topic.as_str()).and_then(VecDeque::pop_front);
        let step = known.map_or(Step::Add, |old| self::route(old, route));
        all.push((route.topic.clone(), step));
    }
    // Of one topic the last ones are left.
    let mut gone: Vec<&Route> = old.routes().iter().rev().collect();
    gone.retain(|route| {
        left.get_mut(route.topic.as_str()).is_some_and(|same| same.pop_back().is_some())
    });
    all.extend(gone.into_iter().rev().map(|route| (route.topic.clone(), Step::Remove)));
    all
}

fn route(old: &Route, new: &Route) -> Step {
    // All fields, so that a new one has to be added here.
    let Route { topic: _, to, policy, publish_as, hold_down, fail_back, stall, name, batch } = new;
    let parts = [
        ("to", *to != old.to),
        ("policy", *policy != old.policy),
        ("publish_as", *publish_as != old.publish_as),
        ("hold_down", *hold_down != old.hold_down),
        ("fail_back", *fail_back != old.fail_back),
        ("stall", *stall != old.stall),
        ("name", *name != old.name),
        ("batch", *batch != old.batch),
    ];
    step(parts, |key| ends("routes.*", key, Effect::Session))
}

/// Reports whether the common routes are in another order: the first one that matches counts.
fn order_differs(old: &Fleet, new: &Fleet) -> bool {
    let topics = |fleet: &'_ Fleet| -> Vec<String> {
        fleet.routes().iter().map(|route| route.topic.clone()).collect()
    };
    let (old, new) = (topics(old), topics(new));
    let common = |one: &[String], other: &[String]| -> Vec<String> {
        let known: HashSet<&String> = other.iter().collect();
        one.iter().filter(|topic| known.contains(topic)).cloned().collect()
    };
    common(&old, &new) != common(&new, &old)
}

#[cfg(test)]
mod tests;
