//! Routes: the sessions of a topic, their policy, and the topic at the broker.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::fleet::{Modem, Name, Policy, Route, Session, SessionId};
use super::super::template::{OF_EVERY_MESSAGE, Template};
use super::super::words;
use super::build::{Build, Place};

impl Build<'_> {
    /// The sessions of the text, not those that were built: a session with a fault is known too.
    fn known_sessions(&self, top: &Place<'_>) -> Known {
        let mut known = Known::new();
        for (modem, place) in self.modems_here(top) {
            for (session, _) in self.sessions_here(&place) {
                if let (Some(modem), Some(session)) = (Name::new(modem), Name::new(session)) {
                    let id = SessionId { modem, session };
                    known.insert(id.to_string(), id);
                }
            }
        }
        known
    }

    pub(super) fn routes(&mut self, modems: &[Modem], top: &Place<'_>) -> Vec<Route> {
        let place = &top.at("routes");
        if !top.has("routes") {
            let all = modems.iter().flat_map(|modem| &modem.sessions);
            let to = all.map(|session| session.id.clone()).collect();
            return self.settled("#".to_owned(), to, &place.item(0)).into_iter().collect();
        }
        let known = self.known_sessions(top);
        let sessions = modems.iter().flat_map(|modem| &modem.sessions);
        let sessions = sessions.map(|session| (&session.id, session)).collect();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut names: HashSet<&str> = HashSet::new();
        let mut built = Vec::new();
        let (mut all, mut is_here) = (0, false);
        for (index, place) in place.items().enumerate() {
            if self.report.is_over() {
                break;
            }
            all += 1;
            if self.is_route_elsewhere(&place) {
                continue;
            }
            is_here = true;
            built.extend(self.route(&place, &known, &sessions));
            if let Some(name) = place.text("name").filter(|name| !names.insert(name)) {
                let message = format!("another route is called `{}` as well", words::shorten(name));
                self.error(&place.at("name"), message, None);
            }
            let Some(topic) = place.text("topic") else { continue };
            // `#` does not reach the topics that begin with `$`.
            let all = seen.get("#").filter(|_| !topic.starts_with('$'));
            if let Some(first) = seen.get(topic).or(all) {
                let message =
                    format!("no message takes this route: routes[{first}] takes all its topics");
                self.warn(&place.at("topic"), message, None);
            }
            seen.entry(topic).or_insert(index);
        }
        if all > 0 && !is_here {
            let message = "no route of this file is for this gateway".to_owned();
            let help =
                "add a route, such as `{ topic: \"#\", to: [modem/session], gateways: [NAME] }`";
            self.error_at_name(place, message, Some(help));
        }
        built
    }

    fn route(
        &mut self,
        place: &Place<'_>,
        known: &Known,
        sessions: &Sessions<'_>,
    ) -> Option<Route> {
        let topic = self.required(place, "topic", words::topic_filter);
        let to = self.route_targets(place, known);
        let route = self.settled(String::new(), to, place);
        let batch = place.has("batch").then(|| self.batch(&place.at("batch")));
        let publish_as = route.as_ref().and_then(|route| route.publish_as.as_ref());
        let to = route.as_ref().map_or(&[][..], |route| &route.to);
        if let Some(template) = publish_as {
            self.variables(template, to, sessions, place);
        }
        self.no_id_of_a_batch(publish_as, place);
        for key in ["hold_down", "fail_back"] {
            let is_all = route.as_ref().is_some_and(|route| route.policy == Policy::All);
            if is_all && place.at(key).exists() {
                let message = format!("`{key}` has no effect with `policy: all`");
                self.error_at_name(&place.at(key), message, None);
            }
        }
        let batch = batch.map_or(Some(None), |batch| batch.map(Some))?;
        Some(Route { topic: topic?, batch, ..route? })
    }

    /// A route with its keys but for the batch.
    fn settled(&mut self, topic: String, to: Vec<SessionId>, place: &Place<'_>) -> Option<Route> {
        let policy = self.word(place, "policy", &Policy::ALL)?;
        let publish_as = self.optional(place, "publish_as", Template::parse);
        let hold_down = self.time(place, "hold_down")?;
        let fail_back = self.boolean(place, "fail_back")?;
        let stall = self.time(place, "stall")?;
        let (name, batch) = (self.optional(place, "name", words::name), None);
        Some(Route { topic, to, policy, publish_as, hold_down, fail_back, stall, name, batch })
    }

    /// Each variable must have a value on each path.
    fn variables(
        &mut self,
        template: &Template,
        to: &[SessionId],
        sessions: &Sessions<'_>,
        place: &Place<'_>,
    ) {
        let sessions = to.iter().filter_map(|id| sessions.get(id));
        // The values of a message are not known here.
        let first = |vars: &BTreeMap<String, String>| {
            template.first(|name| vars.get(name).map_or("x", String::as_str))
        };
        if sessions.clone().any(|session| first(&session.vars) == Some('$')) {
            let message = "`publish_as` makes topics that begin with `$`";
            let help =
                "brokers reserve such topics, and a subscriber of `#` or `+/…` does not get them";
            self.warn(&place.at("publish_as"), message, Some(help.to_owned()));
        }
        let names = template.variables();
        for session in sessions {
            for name in names.iter().copied() {
                if OF_EVERY_MESSAGE.contains(&name) || session.vars.contains_key(name) {
                    continue;
                }
                let message =
                    format!("`publish_as` has ${{{name}}}, which {} does not have", session.id);
                let of_session = session.vars.keys().map(String::as_str);
                let all: Vec<&str> = OF_EVERY_MESSAGE.into_iter().chain(of_session).collect();
                let help =
                    format!("the session has {}; its `vars` adds more", words::listed(&all, "and"));
                return self.error(&place.at("publish_as"), message, Some(help));
            }
        }
    }

    fn route_targets(&mut self, place: &Place<'_>, known: &Known) -> Vec<SessionId> {
        let list = place.at("to");
        let texts = place.texts("to").unwrap_or_default();
        if texts.is_empty() {
            let message = "a route needs `to` with at least one session".to_owned();
            self.error_at_name(&list, message, Some("write `to: [modem/session]`"));
        }
        let (mut to, mut seen) = (Vec::new(), HashSet::new());
        for (index, text) in texts.iter().copied().enumerate() {
            if self.report.is_over() {
                break;
            }
            let place = list.item(index);
            match known.get(text) {
                None if self.elsewhere.contains(text) => {}
                Some(id) if !seen.insert(id) => {
                    self.error(
                        &place,
                        format!("`{}` stands twice in this route", words::shorten(text)),
                        None,
                    );
                }
                Some(id) => to.push(id.clone()),
                None => self.unknown_session(&place, text, known),
            }
        }
        if to.is_empty() && texts.iter().any(|text| self.elsewhere.contains(*text)) {
            let message = "no session of this route is on a gateway of the route".to_owned();
            let help =
                "add a session of that gateway, or remove the gateway from the route's `gateways`";
            self.error_at_name(&list, message, Some(help));
        }
        to
    }

    fn unknown_session(&mut self, place: &Place<'_>, text: &str, known: &Known) {
        let message = format!("there is no session `{}`", words::shorten(text));
        if !self.report.may_suggest() {
            return self.error(place, message, None);
        }
        let ids: Vec<&str> = known.keys().map(String::as_str).collect();
        let of_modem = ids.iter().copied().find(|id| id.split('/').next() == Some(text));
        let help = match of_modem {
            Some(id) => Some(format!("name a session of that modem: `{id}`")),
            None => words::did_you_mean(text, &ids),
        };
        self.error(place, message, help);
    }
}

/// The sessions without a fault.
type Sessions<'a> = HashMap<&'a SessionId, &'a Session>;

/// Every session that the file names, by its text `modem/session`.
type Known = BTreeMap<String, SessionId>;
