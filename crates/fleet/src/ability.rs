//! Abilities of models, for a fleet file that names the model of a modem.

use modem::Catalog;
use modem::catalog::{Model, normalised};

/// The abilities of the modems of one entry of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// The entry.
    pub id: String,
    /// The beginnings of their answers to `AT+CGMM`, by which modems are identified.
    beginnings: Vec<String>,
    /// The number of sessions that they hold.
    pub sessions: usize,
    /// The longest filter, in bytes.
    pub topic: usize,
    /// True if their profile speaks TLS.
    pub speaks_tls: bool,
    /// True if they can sign in at Alibaba Cloud by themselves.
    pub signs_aliyun: bool,
}

impl Ability {
    /// The abilities of the modems of each entry.
    pub fn all(catalog: &Catalog) -> Vec<Self> {
        catalog.models().map(|model| Self::of(model, catalog)).collect()
    }

    fn of(model: &Model, catalog: &Catalog) -> Self {
        let mqtt = catalog.profile(&model.profile).map(|profile| profile.mqtt());
        Self {
            id: model.id.clone(),
            beginnings: model.cgmm.iter().map(|start| normalised(start)).collect(),
            sessions: model.mqtt.clients.into(),
            topic: model.mqtt.topic,
            speaks_tls: mqtt.is_some_and(|mqtt| mqtt.speaks_tls()),
            signs_aliyun: mqtt.is_some_and(|mqtt| mqtt.signs_aliyun()),
        }
    }

    /// Reports whether `match: { model: … }` may mean a modem of this entry. Only modems of an entry are used.
    pub fn may_be(&self, wanted: &str) -> bool {
        let wanted = normalised(wanted);
        let fits = |start: &String| {
            start.starts_with(wanted.as_str()) || wanted.starts_with(start.as_str())
        };
        self.beginnings.iter().any(fits)
    }
}
