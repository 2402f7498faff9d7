//! `telemetry`: the state of a modem as messages, by one of its sessions.

use super::build::{Build, Place};
use crate::choices::QOS;
use crate::fleet::{Name, Session, Telemetry, Will};
use crate::template::Template;
use crate::words::{self, Fault};
use crate::{Qos, topic::check_name};

/// The variables that a topic of telemetry has beside those of its session.
const VARIABLES: [&str; 3] = ["gateway", "modem", "session"];

/// The words at the status topic.
const OFFLINE: &str = "offline";

impl Build<'_> {
    /// The telemetry of a modem; the session that carries it gets its will.
    pub(super) fn telemetry(
        &mut self,
        modem: &Place<'_>,
        gateway: Option<&Name>,
        sessions: &mut [Session],
    ) -> Option<Telemetry> {
        if !modem.has("telemetry") {
            return None;
        }
        let place = modem.at("telemetry");
        let name = self.telemetry_session(modem, &place);
        let every = self.time(&place, "every")?;
        let qos = self.word(&place, "qos", &QOS)?;
        let retain = self.boolean(&place, "retain")?;
        // A fault of the session or the gateway was reported already.
        let (gateway, name) = (gateway?, name?);
        let session = sessions.iter_mut().find(|session| session.id.session == name)?;
        let topic = place.text_or_default("topic")?;
        let topic = self.telemetry_topic(topic, "topic", &place, gateway, session)?;
        let status = self.status_topic(&place, &topic, gateway, session)?;
        if let Some(status) = &status {
            self.presence_will(status, qos, modem, session);
        }
        Some(Telemetry { session: name, topic, every, qos, retain, status })
    }

    /// The session that carries the messages: the named one, else the first.
    fn telemetry_session(&mut self, modem: &Place<'_>, place: &Place<'_>) -> Option<Name> {
        let names: Vec<&str> =
            self.sessions_here(modem).into_iter().map(|(name, _)| name).collect();
        let Some(first) = names.first() else {
            let message = "`telemetry` needs a session".to_owned();
            self.error_at_name(place, message, Some("add `sessions:` to this modem"));
            return None;
        };
        let Some(session) = place.text("session") else { return Name::new(first) };
        let is_elsewhere = self.elsewhere.contains(&format!("{}/{session}", place.above()));
        let is_known = names.contains(&session);
        let may_suggest = !is_known && !is_elsewhere && self.report.may_suggest();
        self.optional(place, "session", |text| {
            let shown = words::shorten(text);
            if is_elsewhere {
                return Err(Fault::new(format!(
                    "names `{shown}`, which this gateway does not have"
                )));
            }
            let known = names.contains(&text).then(|| Name::new(text)).flatten();
            known.ok_or_else(|| Fault {
                text: format!("names `{shown}`, which is not a session of this modem"),
                help: may_suggest.then(|| words::did_you_mean(text, &names)).flatten(),
            })
        })
    }

    /// A topic with its variables filled in.
    fn telemetry_topic(
        &mut self,
        text: &str,
        key: &str,
        place: &Place<'_>,
        gateway: &Name,
        session: &Session,
    ) -> Option<String> {
        let fill = || {
            let template = Template::parse(text)?;
            let vars = session.vars.keys().map(String::as_str);
            let all: Vec<&str> = VARIABLES.into_iter().chain(vars).collect();
            if let Some(unknown) = template.variables().into_iter().find(|name| !all.contains(name))
            {
                let help = format!("there are {}", words::listed(&all, "and"));
                return Err(Fault::help(format!("has the unknown variable ${{{unknown}}}"), help));
            }
            let topic = template.fill(|name| match name {
                "gateway" => Some(gateway.as_str()),
                "modem" => Some(session.id.modem.as_str()),
                "session" => Some(session.id.session.as_str()),
                name => session.vars.get(name).map(String::as_str),
            });
            check_name(&topic).map_err(Fault::new)?;
            Ok(topic)
        };
        match fill() {
            Ok(topic) => Some(topic),
            Err(fault) => {
                self.fault(&place.at(key), fault);
                None
            }
        }
    }

    /// The topic of `online` and `offline`; `Some(None)` for no such topic.
    fn status_topic(
        &mut self,
        place: &Place<'_>,
        topic: &str,
        gateway: &Name,
        session: &Session,
    ) -> Option<Option<String>> {
        let status = match place.text("status") {
            Some("none") => return Some(None),
            Some(text) => self.telemetry_topic(text, "status", place, gateway, session)?,
            None => match topic.rsplit_once('/') {
                Some((above, _)) => format!("{above}/status"),
                None => format!("{topic}/status"),
            },
        };
        if status == topic {
            let message = format!("`status` is the same topic as the state, `{topic}`");
            let help = "write another topic, `status: …`, or `status: none`".to_owned();
            let key = if place.has("status") { "status" } else { "topic" };
            self.error(&place.at(key), message, Some(help));
            return None;
        }
        Some(Some(status))
    }

    /// A session has one will: its own, or the one that says `offline`.
    fn presence_will(&mut self, status: &str, qos: Qos, modem: &Place<'_>, session: &mut Session) {
        if session.will.is_some() {
            let name = session.id.session.as_str();
            let will = modem.at("sessions").at(name).at("will");
            let message =
                "`will` is not allowed with `telemetry`, which uses the will for `offline`"
                    .to_owned();
            let help = "remove the will, write `status: none` under `telemetry`, or let another \
                        session carry it with `session:`";
            return self.error_at_name(&will, message, Some(help));
        }
        session.will =
            Some(Will { topic: status.to_owned(), payload: OFFLINE.to_owned(), qos, retain: true });
    }
}
