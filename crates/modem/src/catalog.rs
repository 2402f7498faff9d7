//! The catalog: the models of the vendors' `models.yaml`, and the profile of each model.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::apn::ApnAuth;
use crate::console::{CommandRule, Commands};
pub use crate::identity::normalised;
pub use crate::limits::MqttLimits;
use crate::profile::{Plugin, Profile};
use crate::reply::{Decoder, Domain};
use crate::script::{Question, STANDARD};
use at::Framing;

/// The content of a `models.yaml`. Unknown keys are rejected, so that a typing error is not a
/// silent default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelsFile {
    models: Vec<Model>,
    #[serde(default)]
    unsupported: Vec<Unsupported>,
}

/// Models without a profile, known by name and USB id: they are found and named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    /// The names of the models: the beginning of their `AT+CGMM`, without regard to case and to
    /// `SIMCOM_`.
    pub names: Vec<String>,
    /// Their layouts on USB.
    pub usb: Vec<UsbLayout>,
    /// The known model with the same dialect according to the manuals: a file of models may try it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

/// One model: facts about hardware, never wishes of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name on the command line and in metrics: `sim7600`.
    pub id: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// The beginnings of its `AT+CGMM`, without regard to case and to `SIMCOM_`.
    pub cgmm: Vec<String>,
    /// The profile of the model.
    pub profile: String,
    /// Its layouts on USB. The ids pick the port; only `AT+CGMM` picks the model.
    pub usb: Vec<UsbLayout>,
    /// The limits of its MQTT stack.
    pub mqtt: MqttLimits,
    /// The domains in which its registration is looked for, in this order. `+CREG`, which is about
    /// speech, counts only if the modem knows none of the others.
    #[serde(default = "Model::usual_registration")]
    pub registration: Vec<Domain>,
    /// The order of user and password in `AT+CGAUTH`.
    #[serde(default)]
    pub apn_auth: ApnAuth,
    /// The basis of each claim.
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
    /// The composition for which this layout holds, if one id has several; `None` is any
    /// composition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// The condition that distinguishes a composition of USB interfaces from others of the same id. All
/// of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Interfaces without a tty: if RNDIS takes 0 and 1, the serial interfaces follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_tty: Vec<u8>,
    /// Interfaces with a tty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tty: Vec<u8>,
}

impl UsbLayout {
    /// Reports whether it is a layout of this `vendor:product`.
    pub fn is_of(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id)
    }

    /// Returns the layouts of one model that hold for a device of this id. That is the first layout
    /// whose condition holds, or else all layouts without a condition, in their order. `has_tty`
    /// reports whether an interface of the device has a tty.
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
    /// Returns the name of this entry that fits an answer to `AT+CGMM`.
    pub fn named(&self, cgmm: &str) -> Option<&str> {
        let name = normalised(cgmm);
        let mut all = self.names.iter().map(String::as_str);
        all.find(|start| name.starts_with(&normalised(start)))
    }

    /// Returns a sentence that the model is known, with a hint if there is a similar model.
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

/// The basis of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Only the vendor's manual.
    Manual,
    /// A transcript of a real unit.
    Transcript,
    /// Our own runs on hardware.
    Hardware,
    /// Our inference from a related model; not verified.
    Inferred,
}

/// The basis of the support of a model, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Identification and USB layout.
    pub identification: Basis,
    /// The MQTT dialogue.
    pub mqtt: Basis,
    /// Signal and network status.
    pub status: Basis,
    /// TLS on the modem; absent if the profile has no TLS. For no model is it known whether the
    /// firmware compares the broker's host name with its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Basis>,
}

/// The reason why a catalog could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A `models.yaml` could not be read.
    #[error("models.yaml of the plugin with profile {profile:?} is not valid")]
    Unreadable {
        /// The plugin's first profile.
        profile: &'static str,
        /// The fault in it.
        source: serde_yaml::Error,
    },
    /// Two profiles have the same id.
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
    /// Two entries have the same id.
    #[error("two models have the id {id:?}")]
    Twice {
        /// The id.
        id: String,
    },
    /// Two entries claim the same modems.
    #[error("the CGMM of {model:?} begins with {beginning:?}, as that of {other:?} does")]
    Claimed {
        /// The model.
        model: String,
        /// The beginning that both have.
        beginning: String,
        /// The model that has it already.
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
    scripts: Vec<(&'static [&'static dyn Profile], &'static [Question])>,
}

/// An entry that fits a modem's answer to `AT+CGMM`.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The entry.
    pub model: &'a Model,
    /// The profile it names.
    pub profile: &'static dyn Profile,
    /// The beginning that fits, the longest if several do.
    pub beginning: &'a str,
}

impl Catalog {
    /// Reads the plugins' models.
    ///
    /// # Errors
    /// [`CatalogError`]: one broken entry rejects the whole, so that none is missing in silence.
    pub fn new(plugins: &[&Plugin]) -> Result<Self, CatalogError> {
        let mut catalog = Self {
            entries: Vec::new(),
            unsupported: Vec::new(),
            profiles: Vec::new(),
            decoders: Vec::new(),
            commands: Vec::new(),
            scripts: Vec::new(),
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
                // A profile of another vendor has another dialect.
                if !plugin.profiles.iter().any(|profile| profile.id() == model.profile) {
                    let Model { id: model, profile, .. } = model;
                    return Err(CatalogError::NoProfile { model, profile });
                }
                catalog.put(model)?;
            }
            catalog.unsupported.extend(file.unsupported);
            catalog.decoders.extend(plugin.decoders);
            catalog.commands.extend(plugin.commands);
            catalog.scripts.push((plugin.profiles, plugin.script));
        }
        Ok(catalog)
    }

    /// Adds an entry, or replaces the entry with the same id.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing has changed then.
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

    /// Returns all models, in the order of their files.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.entries.iter().map(|(model, _)| model)
    }

    /// Returns the models that have no profile, in the order of their files.
    pub fn unsupported(&self) -> impl Iterator<Item = &Unsupported> {
        self.unsupported.iter()
    }

    /// Returns the USB layouts of each model; models with a profile come first.
    pub fn layouts(&self) -> impl Iterator<Item = &[UsbLayout]> {
        let known = self.models().map(|model| &*model.usb);
        known.chain(self.unsupported().map(|model| &*model.usb))
    }

    /// Returns a sentence about a USB id that only models without a profile have.
    pub fn unsupported_id(&self, id: &str) -> Option<String> {
        let is_of = |usb: &[UsbLayout]| usb.iter().any(|layout| layout.is_of(id));
        if self.models().any(|model| is_of(&model.usb)) {
            return None;
        }
        let model = self.unsupported().find(|model| is_of(&model.usb))?;
        Some(model.words(&model.names.join(" or ")))
    }

    /// Returns a sentence about a model that has no profile.
    pub fn without_profile(&self, cgmm: &str) -> Option<String> {
        self.unsupported().find_map(|model| Some(model.words(model.named(cgmm)?)))
    }

    /// Returns all profiles, in the order of their plugins.
    pub fn profiles(&self) -> impl Iterator<Item = &'static dyn Profile> {
        self.profiles.iter().copied()
    }

    /// Returns the profile of this id.
    pub fn profile(&self, id: &str) -> Option<&'static dyn Profile> {
        self.profiles().find(|profile| profile.id() == id)
    }

    /// Returns all entries that fit an answer to `AT+CGMM`. The first entry is the best: it has the
    /// longest beginning.
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

    /// Returns the model that fits an answer to `AT+CGMM` best: the longest beginning wins.
    pub fn identify(&self, cgmm: &str) -> Option<(&Model, &'static dyn Profile)> {
        self.fits(cgmm).first().map(|fit| (fit.model, fit.profile))
    }

    /// Returns the model of this id.
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models().find(|model| model.id == id)
    }

    /// Returns the union of all profiles' framings. It holds until the model is known, since the
    /// messages of a subscription that an earlier run left behind arrive first.
    pub fn framing(&self) -> Framing {
        self.entries
            .iter()
            .fold(Framing::default(), |all, (_, profile)| all.union(&profile.framing()))
    }

    /// Returns the rules for a person's own commands.
    pub fn commands(&self) -> Commands {
        Commands::new(&self.commands, self.framing())
    }

    /// Returns the script of a recording: the standards' commands, and those of the profile's vendor.
    pub fn script(&self, profile: Option<&str>) -> impl Iterator<Item = &'static Question> {
        let is_of =
            move |profiles: &[&dyn Profile]| profiles.iter().any(|each| Some(each.id()) == profile);
        let vendors = self.scripts.iter().find(move |(profiles, _)| is_of(profiles));
        STANDARD.iter().chain(vendors.map_or(&[][..], |(_, script)| *script))
    }

    /// Returns the vendors' parts of the script, each with the manufacturer of its models.
    pub fn vendors_scripts(&self) -> impl Iterator<Item = (&str, &'static [Question])> {
        self.scripts.iter().filter(|(_, script)| !script.is_empty()).map(|(profiles, script)| {
            let is_of = |model: &&Model| profiles.iter().any(|each| each.id() == model.profile);
            let manufacturer = self.models().find(is_of).map(|model| &*model.manufacturer);
            (manufacturer.unwrap_or("another vendor"), *script)
        })
    }

    /// Returns the decoder of a command's reply: the vendor's own, else 27.007's.
    pub fn decoder(&self, command: &str) -> Option<Decoder> {
        crate::reply::decoder(&self.decoders, command)
            .or_else(|| crate::reply::decoder(crate::reply::DECODERS, command))
    }
}

impl Model {
    /// Returns the domains of registration for a modem for LTE and below.
    pub fn usual_registration() -> Vec<Domain> {
        vec![Domain::Eps, Domain::Ps]
    }

    /// Reports whether one of the model's beginnings is this one, after normalisation.
    fn claims(&self, beginning: &str) -> bool {
        let wanted = normalised(beginning);
        self.cgmm.iter().any(|mine| normalised(mine) == wanted)
    }
}
