//! What modems can do, for a fleet file that says which model a modem is.

use modem::Catalog;
use modem::catalog::{Model, normalised};

/// What the modems of one entry of the catalog can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// The entry.
    pub id: String,
    /// How their `AT+CGMM` begins, as modems are told apart.
    beginnings: Vec<String>,
    /// How many sessions they hold.
    pub sessions: usize,
    /// The longest filter, in bytes.
    pub topic: usize,
    /// Whether their profile speaks TLS.
    pub speaks_tls: bool,
    /// Whether they can sign in at Alibaba Cloud by themselves.
    pub signs_aliyun: bool,
}

impl Ability {
    /// What the modems of each entry can do.
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

    /// Whether a modem of this entry may be meant by `match: { model: … }`. Only modems of an entry are used.
    pub fn may_be(&self, wanted: &str) -> bool {
        let wanted = normalised(wanted);
        let fits = |start: &String| {
            start.starts_with(wanted.as_str()) || wanted.starts_with(start.as_str())
        };
        self.beginnings.iter().any(fits)
    }
}
