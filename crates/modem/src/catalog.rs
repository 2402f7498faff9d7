//! Which models there are: the vendors' `models.yaml`, and the profile each model speaks.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::apn::ApnAuth;
use crate::console::{CommandRule, Commands};
pub use crate::identity::normalised;
pub use crate::limits::MqttLimits;
use crate::profile::{Plugin, Profile};
use crate::reply::{Decoder, Domain};
use at::Framing;

/// What a `models.yaml` holds. Unknown keys are refused, so that a typing error is no silent default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelsFile {
    models: Vec<Model>,
    #[serde(default)]
    unsupported: Vec<Unsupported>,
}

/// Models that are known by name and USB id, and that no profile speaks to: they are found and named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    /// The name of each: how its `AT+CGMM` begins, without regard to case and to `SIMCOM_`.
    pub names: Vec<String>,
    /// How they show on USB.
    pub usb: Vec<UsbLayout>,
    /// The known model that they speak like, as far as their manuals say: a file of models may try it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

/// One model: facts about hardware, never wishes of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The word for it on the command line and in metrics: `sim7600`.
    pub id: String,
    /// Who makes it.
    pub manufacturer: String,
    /// How its `AT+CGMM` begins, without regard to case and to `SIMCOM_`.
    pub cgmm: Vec<String>,
    /// The profile that speaks to it.
    pub profile: String,
    /// How it shows on USB. The ids pick the port; only `AT+CGMM` picks the model.
    pub usb: Vec<UsbLayout>,
    /// What its MQTT stack takes.
    pub mqtt: MqttLimits,
    /// Where its registration is looked for, in this order; `+CREG`, which is about speech, counts only where the
    /// modem knows none of the others.
    #[serde(default = "Model::usual_registration")]
    pub registration: Vec<Domain>,
    /// How `AT+CGAUTH` takes user name and password.
    #[serde(default)]
    pub apn_auth: ApnAuth,
    /// What each claim rests on.
    pub evidence: Evidence,
}

/// The serial interfaces of one USB mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsbLayout {
    /// `vendor:product`, four hexadecimal digits each.
    pub id: String,
    /// Number of the primary AT interface.
    pub at: u8,
    /// Number of the secondary AT interface.
    pub secondary: Option<u8>,
    /// In which composition it holds, where one id has several; none is any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// What tells a composition of USB interfaces from others of one id. All of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Interfaces that have no tty: where RNDIS takes 0 and 1, the serial ones follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_tty: Vec<u8>,
    /// Interfaces that have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tty: Vec<u8>,
}

impl UsbLayout {
    /// Reports whether it is a layout of this `vendor:product`.
    pub fn is_of(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id)
    }

    /// The layouts that hold for a device of this id, of those of one model: the first whose condition
    /// does, else all that have no condition, in their order. `has_tty` says which interfaces of the device do.
    pub fn holding<'a>(all: &'a [Self], id: &str, has_tty: impl Fn(u8) -> bool) -> Vec<&'a Self> {
        let own = || all.iter().filter(|layout| layout.is_of(id));
        let holds = |when: &When| {
            when.tty.iter().all(|number| has_tty(*number))
                && !when.no_tty.iter().any(|number| has_tty(*number))
        };
        match own().find(|layout| layout.when.as_ref().is_some_and(holds)) {
            Some(first) => vec![first],
            None => own().filter(|layout| layout.when.is_none()).collect(),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = [(&self.no_tty, "no tty"), (&self.tty, "a tty")];
        let each = each.into_iter().filter(|(numbers, _)| !numbers.is_empty());
        let words = each.map(|(numbers, what)| {
            let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            match &*all {
                [one] => format!("interface {one} has {what}"),
                all => format!("interfaces {} have {what}", all.join(" and ")),
            }
        });
        write!(f, "where {}", words.collect::<Vec<_>>().join(" and "))
    }
}

impl Unsupported {
    /// Which of these calls itself so.
    pub fn named(&self, cgmm: &str) -> Option<&str> {
        let name = normalised(cgmm);
        let mut all = self.names.iter().map(String::as_str);
        all.find(|start| name.starts_with(&normalised(start)))
    }

    /// That it is known, and what may be done.
    pub fn words(&self, name: &str) -> String {
        let hint = self.like.as_ref().map(|like| {
            format!(
                "; by its manual the model is like {like}: try that with a file of models (`like: {like}`)"
            )
        });
        let hint = hint.unwrap_or_default();
        let article = if name.starts_with('E') { "an" } else { "a" };
        format!("{article} {name} is known, but no profile speaks its dialect{hint}")
    }
}

/// What a claim rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The vendor's manual only.
    Manual,
    /// A transcript of a real unit.
    Transcript,
    /// Our own runs on hardware.
    Hardware,
    /// Our inference from a sibling; not verified.
    Inferred,
}

/// What the support of a model rests on, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Identification and USB layout.
    pub identification: Basis,
    /// The MQTT dialogue.
    pub mqtt: Basis,
    /// Signal and network status.
    pub status: Basis,
    /// TLS on the modem; absent where the profile speaks none. Whether the firmware compares the broker's
    /// host name with its certificate is not known of any model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Basis>,
}

/// Why a catalog could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A `models.yaml` could not be read.
    #[error("models.yaml of the plugin with profile {profile:?} is not valid")]
    Unreadable {
        /// The plugin's first profile.
        profile: &'static str,
        /// What is wrong with it.
        source: serde_yaml::Error,
    },
    /// Two profiles have one id.
    #[error("two profiles have the name {profile:?}")]
    ProfileTwice {
        /// The id.
        profile: &'static str,
    },
    /// A model names a profile that its plugin does not have.
    #[error("model {model:?} names the profile {profile:?}, which its plugin does not have")]
    NoProfile {
        /// The model.
        model: String,
        /// The profile.
        profile: String,
    },
    /// Two entries have one id.
    #[error("two models have the id {id:?}")]
    Twice {
        /// The id.
        id: String,
    },
    /// Two entries want the same modems.
    #[error("the CGMM of {model:?} begins with {beginning:?}, as that of {other:?} does")]
    Claimed {
        /// The model.
        model: String,
        /// How both begin.
        beginning: String,
        /// The model that has it.
        other: String,
    },
}

/// All models, with their profiles.
#[derive(Clone)]
pub struct Catalog {
    entries: Vec<(Model, &'static dyn Profile)>,
    unsupported: Vec<Unsupported>,
    profiles: Vec<&'static dyn Profile>,
    decoders: Vec<(&'static str, Decoder)>,
    commands: Vec<CommandRule>,
}

/// An entry that fits what a modem calls itself.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The entry.
    pub model: &'a Model,
    /// The profile it names.
    pub profile: &'static dyn Profile,
    /// With which of its beginnings it fits: the longest that does.
    pub beginning: &'a str,
}

impl Catalog {
    /// Reads the plugins' models.
    ///
    /// # Errors
    /// [`CatalogError`]: one broken entry refuses the whole, so that none is missing in silence.
    pub fn new(plugins: &[&Plugin]) -> Result<Self, CatalogError> {
        let mut catalog = Self {
            entries: Vec::new(),
            unsupported: Vec::new(),
            profiles: Vec::new(),
            decoders: Vec::new(),
            commands: Vec::new(),
        };
        for plugin in plugins {
            let first = plugin.profiles.first().map_or("", |profile| profile.id());
            let file: ModelsFile = serde_yaml::from_str(plugin.models)
                .map_err(|source| CatalogError::Unreadable { profile: first, source })?;
            for profile in plugin.profiles {
                if catalog.profile(profile.id()).is_some() {
                    return Err(CatalogError::ProfileTwice { profile: profile.id() });
                }
                catalog.profiles.push(*profile);
            }
            for model in file.models {
                if catalog.model(&model.id).is_some() {
                    return Err(CatalogError::Twice { id: model.id });
                }
                // Another vendor's profile speaks another dialect.
                if !plugin.profiles.iter().any(|profile| profile.id() == model.profile) {
                    let Model { id: model, profile, .. } = model;
                    return Err(CatalogError::NoProfile { model, profile });
                }
                catalog.put(model)?;
            }
            catalog.unsupported.extend(file.unsupported);
            catalog.decoders.extend(plugin.decoders);
            catalog.commands.extend(plugin.commands);
        }
        Ok(catalog)
    }

    /// Adds an entry, or puts it in the place of the one with its id.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is changed.
    pub fn put(&mut self, model: Model) -> Result<(), CatalogError> {
        let Some(profile) = self.profile(&model.profile) else {
            let Model { id: model, profile, .. } = model;
            return Err(CatalogError::NoProfile { model, profile });
        };
        for other in self.models().filter(|other| other.id != model.id) {
            if let Some(beginning) = model.cgmm.iter().find(|mine| other.claims(mine)) {
                return Err(CatalogError::Claimed {
                    model: model.id.clone(),
                    beginning: beginning.clone(),
                    other: other.id.clone(),
                });
            }
        }
        match self.entries.iter_mut().find(|(known, _)| known.id == model.id) {
            Some(entry) => *entry = (model, profile),
            None => self.entries.push((model, profile)),
        }
        Ok(())
    }

    /// All models, in the order of their files.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.entries.iter().map(|(model, _)| model)
    }

    /// Models that are known and that no profile speaks to, in the order of their files.
    pub fn unsupported(&self) -> impl Iterator<Item = &Unsupported> {
        self.unsupported.iter()
    }

    /// The USB layouts of each model, those that a profile speaks to in front.
    pub fn layouts(&self) -> impl Iterator<Item = &[UsbLayout]> {
        let known = self.models().map(|model| &*model.usb);
        known.chain(self.unsupported().map(|model| &*model.usb))
    }

    /// Of a USB id that only models without a profile have: that, in words.
    pub fn unsupported_id(&self, id: &str) -> Option<String> {
        let is_of = |usb: &[UsbLayout]| usb.iter().any(|layout| layout.is_of(id));
        if self.models().any(|model| is_of(&model.usb)) {
            return None;
        }
        let model = self.unsupported().find(|model| is_of(&model.usb))?;
        Some(model.words(&model.names.join(" or ")))
    }

    /// Of a model that is known and that no profile speaks to: that, in words.
    pub fn without_profile(&self, cgmm: &str) -> Option<String> {
        self.unsupported().find_map(|model| Some(model.words(model.named(cgmm)?)))
    }

    /// All profiles, in the order of their plugins.
    pub fn profiles(&self) -> impl Iterator<Item = &'static dyn Profile> {
        self.profiles.iter().copied()
    }

    /// The profile of this id.
    pub fn profile(&self, id: &str) -> Option<&'static dyn Profile> {
        self.profiles().find(|profile| profile.id() == id)
    }

    /// All entries that fit an answer to `AT+CGMM`; the one that wins, which is the one with the longest
    /// beginning, is the first.
    pub fn fits(&self, cgmm: &str) -> Vec<Fit<'_>> {
        let name = normalised(cgmm);
        let mut fits: Vec<(usize, Fit<'_>)> = self
            .entries
            .iter()
            .filter_map(|(model, profile)| {
                let starts = model.cgmm.iter().map(|start| (normalised(start), start));
                let fitting = starts.filter(|(start, _)| name.starts_with(start.as_str()));
                let (start, beginning) = fitting.max_by_key(|(start, _)| start.len())?;
                Some((start.len(), Fit { model, profile: *profile, beginning }))
            })
            .collect();
        fits.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        fits.into_iter().map(|(_, fit)| fit).collect()
    }

    /// The model whose entry fits an answer to `AT+CGMM` best: the longest beginning wins.
    pub fn identify(&self, cgmm: &str) -> Option<(&Model, &'static dyn Profile)> {
        self.fits(cgmm).first().map(|fit| (fit.model, fit.profile))
    }

    /// The model of this id.
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models().find(|model| model.id == id)
    }

    /// What all profiles declare of their lines together: it holds until the model is known, since an
    /// earlier run may have left a subscription behind whose messages arrive first.
    pub fn framing(&self) -> Framing {
        self.entries
            .iter()
            .fold(Framing::default(), |all, (_, profile)| all.union(&profile.framing()))
    }

    /// What is known of a person's own commands.
    pub fn commands(&self) -> Commands {
        Commands::new(&self.commands, self.framing())
    }

    /// The reader for a command's reply: the vendor's own, else 27.007's.
    pub fn decoder(&self, command: &str) -> Option<Decoder> {
        crate::reply::decoder(&self.decoders, command)
            .or_else(|| crate::reply::decoder(crate::reply::DECODERS, command))
    }
}

impl Model {
    /// Where the registration of a modem for LTE and below is looked for.
    pub fn usual_registration() -> Vec<Domain> {
        vec![Domain::Eps, Domain::Ps]
    }

    /// Whether one of its beginnings is this one, as modems are told apart.
    fn claims(&self, beginning: &str) -> bool {
        let wanted = normalised(beginning);
        self.cgmm.iter().any(|mine| normalised(mine) == wanted)
    }
}
