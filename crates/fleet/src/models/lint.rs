//! Effects of entries of the catalog on one another, and claims without a basis.
//!
//! A fault of a single entry is an error when its file is read. These remarks concern several entries.

use modem::catalog::{Model, UsbLayout, normalised};
use serde::Serialize;

use super::Models;

/// A remark for the operator. No remark refuses the models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind: `overlap`, `unreachable`, `usb`, `evidence`, `profile`.
    pub kind: &'static str,
    /// The entry it is about.
    pub model: String,
    /// The origin of that entry.
    pub origin: String,
    /// The finding and its consequence.
    pub message: String,
}

/// Looks at all entries.
pub fn lint(models: &Models) -> Vec<Finding> {
    let all: Vec<&Model> = models.catalog.models().collect();
    let mut findings = Vec::new();
    for (at, model) in all.iter().enumerate() {
        let mut find = |kind, message| {
            let origin = models.origin_words(&model.id);
            findings.push(Finding { kind, model: model.id.clone(), origin, message });
        };
        within(models, model, &mut find);
        for other in &all {
            overlap(model, other, &mut find);
        }
        usb_clash(model, all.iter().take(at).copied(), &mut find);
        let speaks_tls =
            models.catalog.profile(&model.profile).is_some_and(|p| p.mqtt().speaks_tls());
        if model.evidence.tls.is_some() && !speaks_tls {
            let message = format!(
                "the entry has a basis for TLS, and the profile {} opens no session over TLS",
                model.profile
            );
            find("evidence", message);
        }
    }
    let unused = models.catalog.profiles().filter(|p| all.iter().all(|m| m.profile != p.id()));
    findings.extend(unused.map(|profile| Finding {
        kind: "profile",
        model: String::new(),
        origin: "built in".to_owned(),
        message: format!("no model names the profile {}", profile.id()),
    }));
    findings
}

/// Remarks on repetitions in an entry, and on missing parts.
fn within(models: &Models, model: &Model, find: &mut impl FnMut(&'static str, String)) {
    let starts: Vec<String> = model.cgmm.iter().map(|start| normalised(start)).collect();
    for (at, start) in starts.iter().enumerate() {
        let shorter = starts.iter().enumerate().find(|(other, shorter)| {
            let is_prefix = start.starts_with(shorter.as_str());
            is_prefix && (start.len() > shorter.len() || at > *other)
        });
        if let Some((_, shorter)) = shorter {
            let message = format!(
                "`{start}` has no effect: `{shorter}` of the same entry matches the same modems and more"
            );
            find("unreachable", message);
        }
    }
    for (at, layout) in model.usb.iter().enumerate() {
        let mut before = model.usb.iter().take(at).filter(|other| other.is_of(&layout.id));
        if layout.when.is_some() && before.any(|other| other.when == layout.when) {
            let message = format!(
                "{} with AT on interface {} never holds: an earlier layout of the entry has the same condition",
                layout.id, layout.at
            );
            find("usb", message);
        }
    }
    // A family that this build knows on a UART needs none.
    let mut siblings = models.siblings(model).filter_map(|id| models.catalog.model(id));
    if model.usb.is_empty() && !siblings.any(|known| known.usb.is_empty()) {
        let message = "the entry has no USB layout: only `match: { port: … }` finds such a modem";
        find("usb", message.to_owned());
    }
}

/// Reports modems of `other` that `model` takes.
fn overlap(model: &Model, other: &Model, find: &mut impl FnMut(&'static str, String)) {
    for start in model.cgmm.iter().map(|start| normalised(start)) {
        let shorter = other.cgmm.iter().map(|start| normalised(start));
        let shorter = shorter.filter(|s| start.len() > s.len() && start.starts_with(s.as_str()));
        if other.id == model.id {
            continue;
        }
        for shorter in shorter {
            let message = format!(
                "`{start}` overlaps `{shorter}` of {}: what begins with the longer one is {}'s",
                other.id, model.id
            );
            find("overlap", message);
        }
    }
}

/// Reports entries with different AT interfaces for one USB id. Of several entries that agree with each other
/// the first is named.
fn usb_clash<'a>(
    model: &Model,
    others: impl Iterator<Item = &'a Model> + Clone,
    find: &mut impl FnMut(&'static str, String),
) {
    for UsbLayout { id, at, when, .. } in &model.usb {
        let mut told = Vec::new();
        for other in others.clone() {
            // Layouts of different compositions do not meet.
            let of_id = || other.usb.iter().filter(|it| it.is_of(id) && it.when == *when);
            if of_id().any(|layout| layout.at == *at) {
                continue;
            }
            let Some(first) = of_id().next().filter(|first| !told.contains(&first.at)) else {
                continue;
            };
            told.push(first.at);
            let message = format!(
                "{id} has AT on interface {at} here and on {} in {}: they are tried in that order, {} first",
                first.at, other.id, first.at
            );
            find("usb", message);
        }
    }
}
