//! Demands of the file that no modem of the named model can meet.

use std::collections::HashMap;

use super::super::ability::Ability;
use super::super::fleet::{Access, Modem, Session};
use super::build::{Build, Place};

impl Build<'_> {
    /// Refuses demands that the named model of a modem cannot meet. For a modem that is matched by
    /// another key, the model is known when the modem answers. Its session reports the fault then.
    pub(super) fn abilities(&mut self, modems: &[Modem], places: &Place<'_>) {
        let context = self.context;
        let able = |wanted: &str| -> Vec<&Ability> {
            context.abilities.iter().filter(|able| able.may_be(wanted)).collect()
        };
        let mut known: HashMap<&str, Vec<&Ability>> = HashMap::new();
        for modem in modems {
            let Some(wanted) = modem.matching.model.as_deref() else { continue };
            let able = known.entry(wanted).or_insert_with(|| able(wanted));
            if able.is_empty() {
                continue;
            }
            let place = places.at(modem.name.as_str()).at("sessions");
            self.too_many(modem, able, &place);
            for session in &modem.sessions {
                if self.report.is_over() {
                    return;
                }
                self.beyond(session, able, &place.at(session.id.session.as_str()));
            }
        }
    }

    fn too_many(&mut self, modem: &Modem, able: &[&Ability], place: &Place<'_>) {
        let most = able.iter().map(|able| able.sessions).max().unwrap_or(usize::MAX);
        let Some(first) = modem.sessions.get(most) else { return };
        let words = if most == 1 { "one session" } else { &format!("{most} sessions") };
        let message = format!(
            "`{}` has {} sessions, and its model, {}, holds {words}",
            modem.name,
            modem.sessions.len(),
            named(able)
        );
        let help = "move the session to another modem; `modemfleet profiles list` shows how many each model holds";
        self.error_at_name(&place.at(first.id.session.as_str()), message, Some(help));
    }

    fn beyond(&mut self, session: &Session, able: &[&Ability], place: &Place<'_>) {
        let key = |keys: &[&str]| {
            let mut at = keys.iter().map(|key| place.at(key)).filter(Place::exists);
            at.next().unwrap_or_else(|| place.clone())
        };
        if session.tls.is_some() && !able.iter().any(|able| able.speaks_tls) {
            let message = format!("TLS is not supported on this model, {}", named(able));
            let help = "use a broker with mqtt://, or a modem whose profile speaks TLS";
            self.error_at_name(&key(&["tls", "securemode", "broker"]), message, Some(help));
        }
        let modem_signs = matches!(session.access, Access::Aliyun { modem_signs: true, .. });
        if modem_signs && !able.iter().any(|able| able.signs_aliyun) {
            let message =
                format!("this model, {}, cannot sign in at Alibaba Cloud by itself", named(able));
            let help = "leave `aliauth` out, and the agent signs";
            self.error_at_name(&key(&["aliauth"]), message, Some(help));
        }
        let longest = able.iter().map(|able| able.topic).max().unwrap_or(usize::MAX);
        for (index, subscription) in session.subscribe.iter().enumerate() {
            let length = subscription.filter.len();
            if length > longest {
                let message = format!(
                    "`filter` has {length} bytes, and this model, {}, takes {longest} at most",
                    named(able)
                );
                let at = place.at("subscribe").item(index).at("filter");
                self.error(&at, message, Some("subscribe to a shorter filter".to_owned()));
            }
        }
    }
}

/// The models that may be meant.
fn named(able: &[&Ability]) -> String {
    able.iter().map(|able| able.id.as_str()).collect::<Vec<_>>().join(" or ")
}
