//! What entries of the catalog do to one another, and claims that nothing can be behind.
//!
//! What is wrong with one entry by itself is an error where it is read; here is what only shows beside others.

use modem::catalog::{Model, UsbLayout, normalised};
use serde::Serialize;

use super::Models;

/// One thing that somebody should look at. None refuses the models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind: `overlap`, `unreachable`, `usb`, `evidence`, `profile`.
    pub kind: &'static str,
    /// The entry it is about.
    pub model: String,
    /// Where that entry comes from.
    pub origin: String,
    /// What was found, and what follows from it.
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
                "it claims something for TLS, and the profile {} opens no session over TLS",
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

/// What an entry says more than once, or leaves out.
fn within(models: &Models, model: &Model, find: &mut impl FnMut(&'static str, String)) {
    let starts: Vec<String> = model.cgmm.iter().map(|start| normalised(start)).collect();
    for (at, start) in starts.iter().enumerate() {
        let shorter = starts.iter().enumerate().find(|(other, shorter)| {
            let is_prefix = start.starts_with(shorter.as_str());
            is_prefix && (start.len() > shorter.len() || at > *other)
        });
        if let Some((_, shorter)) = shorter {
            let message = format!(
                "`{start}` is never what decides: `{shorter}` of the same entry fits all that it fits"
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
    // Of a family that this build knows on a UART nobody expects one.
    let mut siblings = models.siblings(model).filter_map(|id| models.catalog.model(id));
    if model.usb.is_empty() && !siblings.any(|known| known.usb.is_empty()) {
        let message = "it has no USB layout: such a modem is reached by `match: { port: … }` only";
        find("usb", message.to_owned());
    }
}

/// Whether `model` takes modems that `other` would take.
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

/// Whether entries put the AT port of one USB id at different interfaces. Of several that agree with each other
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
