//! `gateways`: which gateways a file serves, and what of it is for this one.
//!
//! The file lists its gateways once, at the top; a modem, a session or a route may name some of them. What is
//! for others is taken out before the rest is judged: no secret of theirs is read, and no client id compared.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::super::fleet::Name;
use super::super::raw::{RawFleet, RawRoute};
use super::super::words::{self, Fault};
use super::build::{Build, Place};

/// The most gateways that are checked one by one.
const MAX_NAMED: usize = 1000;

/// Where the list at the top is missed.
const LIST_THEM: &str = "add `gateways: [NAME, …]` at the top: all gateways that this file serves";

/// The most pairs of patterns that begin alike and are compared in one file: 9 µs each.
const MAX_COMPARISONS: usize = 100_000;

/// The names and patterns of a list.
#[derive(Default)]
struct Patterns {
    all: Vec<String>,
    /// Places in `all` by the text before the first wildcard; of a name that is the whole.
    begins: BTreeMap<String, Vec<usize>>,
}

impl Patterns {
    fn push(&mut self, pattern: String) {
        self.begins.entry(beginning(&pattern).to_owned()).or_default().push(self.all.len());
        self.all.push(pattern);
    }

    /// Reports whether one of them and `pattern` fit the same gateway. `comparisons` is what is left of them; without any it
    /// says yes.
    fn fit(&self, pattern: &str, comparisons: &mut usize) -> bool {
        let (begin, has_wildcard) = (beginning(pattern), is_wild(pattern));
        let is_near = |other: &str| other == begin || has_wildcard && other.starts_with(begin);
        let shorter = (0..begin.len()).filter_map(|end| self.begins.get(begin.get(..end)?));
        let from = self.begins.range::<str, _>((Bound::Included(begin), Bound::Unbounded));
        let others = shorter.chain(from.take_while(|(other, _)| is_near(other)).map(|(_, at)| at));
        others.flatten().filter_map(|at| self.all.get(*at)).any(|other| {
            if pattern == other || *comparisons == 0 {
                return true;
            }
            // A name that is shorter than the beginning.
            if !is_wild(other) && !is_near(other) {
                return false;
            }
            *comparisons -= 1;
            overlap(pattern, other)
        })
    }
}

impl Build<'_> {
    /// Takes out of `raw` what is not for `gateway`.
    pub(super) fn select(&mut self, raw: &mut RawFleet, top: &Place<'_>, gateway: Option<&Name>) {
        let mut left = MAX_COMPARISONS;
        let all = self.patterns(raw.gateways.as_deref(), &top.at("gateways"), &[], &mut left);
        self.judge(raw, top, all.as_ref(), &mut left);
        if left == 0 {
            let message = "the patterns of this file are too many to compare each with each";
            let help = "name gateways without `*` and `?`, or one pattern for many".to_owned();
            self.error(&top.at("gateways"), message, Some(help));
        }
        let Some(gateway) = gateway else { return };
        let gateway = gateway.as_str().to_ascii_lowercase();
        if let Some(all) = &all
            && !all.all.is_empty()
            && !all.fit(&gateway, &mut MAX_COMPARISONS.clone())
        {
            let message = format!("this file is not for the gateway `{gateway}`");
            let help = "name it here, or say which one is meant: `--gateway NAME`, or MODEMFLEET_GATEWAY=NAME";
            return self.error(&top.at("gateways"), message, Some(help.to_owned()));
        }
        self.take_out(raw, &gateway);
    }

    /// Every selector, whether or not it names this gateway.
    fn judge(&mut self, raw: &RawFleet, top: &Place<'_>, all: Option<&Patterns>, left: &mut usize) {
        let modems = top.at("modems");
        for (key, modem) in &raw.modems.0 {
            let place = modems.at(key);
            let of_modem = self.selector(modem.gateways.as_deref(), &place, &[all], left);
            let of_modem = &[all, of_modem.as_ref().or(all)];
            let sessions = place.at("sessions");
            for (key, session) in &modem.sessions.0 {
                if self.report.is_over() {
                    return;
                }
                self.selector(session.gateways.as_deref(), &sessions.at(key), of_modem, left);
            }
        }
        let routes = top.at("routes");
        for (index, route) in raw.routes.iter().flatten().enumerate() {
            if self.report.is_over() {
                return;
            }
            self.selector(route.gateways.as_deref(), &routes.item(index), &[all], left);
        }
    }

    fn selector(
        &mut self,
        raw: Option<&[String]>,
        parent: &Place<'_>,
        above: &[Option<&Patterns>],
        left: &mut usize,
    ) -> Option<Patterns> {
        let place = parent.at("gateways");
        if raw.is_some() && above.iter().any(Option::is_none) {
            let message = "the file has no list of its gateways to choose from".to_owned();
            self.error_at_name(&place, message, Some(LIST_THEM));
            return None;
        }
        self.patterns(raw, &place, above, left)
    }

    /// The names and patterns of a list; each must fit a gateway of every list above it.
    fn patterns(
        &mut self,
        raw: Option<&[String]>,
        place: &Place<'_>,
        above: &[Option<&Patterns>],
        left: &mut usize,
    ) -> Option<Patterns> {
        let raw = raw?;
        if raw.is_empty() {
            let message = "`gateways` names none".to_owned();
            let help = "name at least one, or leave the key out: then it is for all";
            self.error_at_name(place, message, Some(help));
        }
        let mut good = Patterns::default();
        for (index, text) in raw.iter().enumerate() {
            if self.report.is_over() {
                break;
            }
            let place = place.item(index);
            match pattern(text) {
                Err(fault) => {
                    let message = format!("`{}` {}", words::shorten(text), fault.text);
                    self.error(&place, message, fault.help);
                }
                Ok(pattern) => {
                    let mut above = above.iter().flatten();
                    if let Some(above) = above.find(|above| !above.fit(&pattern, left)) {
                        self.fits_none(&place, text, &above.all);
                    }
                    good.push(pattern);
                }
            }
        }
        Some(good)
    }

    fn fits_none(&mut self, place: &Place<'_>, text: &str, above: &[String]) {
        let known: Vec<&str> = above.iter().map(String::as_str).collect();
        let message = format!("no gateway that has this is called `{}`", words::shorten(text));
        let meant = self.report.may_suggest().then(|| words::did_you_mean(text, &known)).flatten();
        let help = meant.unwrap_or_else(|| {
            let some: Vec<&str> = known.iter().copied().take(8).collect();
            format!("it is for {}", words::listed(&some, "and"))
        });
        self.error(place, message, Some(help));
    }

    fn take_out(&mut self, raw: &mut RawFleet, gateway: &str) {
        let before = brokers_of(raw);
        for (name, modem) in &mut raw.modems.0 {
            let here = is_here(modem.gateways.as_deref(), gateway);
            for (session, of_session) in &modem.sessions.0 {
                if !here || !is_here(of_session.gateways.as_deref(), gateway) {
                    self.elsewhere.insert(format!("{name}/{session}"));
                }
            }
            modem.sessions.0.retain(|(_, session)| is_here(session.gateways.as_deref(), gateway));
        }
        raw.modems.0.retain(|(_, modem)| is_here(modem.gateways.as_deref(), gateway));
        let after = brokers_of(raw);
        raw.brokers.0.retain(|(name, _)| !before.contains(name) || after.contains(name));
        for route in raw.routes.iter_mut().flatten() {
            route.elsewhere = !is_here(route.gateways.as_deref(), gateway)
                || route.gateways.is_none() && self.leads_elsewhere(route);
        }
    }

    /// Whether all sessions of a route are on other gateways.
    fn leads_elsewhere(&self, route: &RawRoute) -> bool {
        !route.to.is_empty() && route.to.iter().all(|to| self.elsewhere.contains(to))
    }
}

/// Every gateway that a file names without a wildcard, and for each pattern at its top one that fits it: what a
/// check of the whole file goes through. Empty where it lists none.
pub(in super::super) fn named(raw: &RawFleet) -> Vec<String> {
    let read = |list: Option<&Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().filter_map(|text| pattern(text).ok()).collect()
    };
    let all = read(raw.gateways.as_ref());
    let (mut top, mut left) = (Patterns::default(), MAX_COMPARISONS);
    all.iter().cloned().for_each(|pattern| top.push(pattern));
    let mut lists = vec![all.clone()];
    for (_, modem) in &raw.modems.0 {
        lists.push(read(modem.gateways.as_ref()));
        lists.extend(modem.sessions.0.iter().map(|(_, session)| read(session.gateways.as_ref())));
    }
    lists.extend(raw.routes.iter().flatten().map(|route| read(route.gateways.as_ref())));
    let plain = lists.into_iter().flatten().filter(|name| !is_wild(name));
    let stand_ins = all.iter().map(|name| name.replace(['*', '?'], "0"));
    let mut seen = BTreeSet::new();
    plain
        .chain(stand_ins)
        .filter(|name| Name::new(name).is_some() && seen.insert(name.clone()))
        .filter(|name| top.fit(name, &mut left))
        .take(MAX_NAMED)
        .collect()
}

fn brokers_of(raw: &RawFleet) -> BTreeSet<String> {
    let sessions = raw.modems.0.iter().flat_map(|(_, modem)| &modem.sessions.0);
    sessions.filter_map(|(_, session)| session.broker.clone()).collect()
}

fn is_here(raw: Option<&[String]>, gateway: &str) -> bool {
    let Some(raw) = raw else { return true };
    let fits =
        |pattern: &String| gateway.starts_with(beginning(pattern)) && overlap(pattern, gateway);
    raw.iter().filter_map(|text| pattern(text).ok()).any(|pattern| fits(&pattern))
}

fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// The text before the first wildcard.
fn beginning(pattern: &str) -> &str {
    pattern.split(['*', '?']).next().unwrap_or_default()
}

/// A gateway's name, or a pattern with `*` and `?`, in small letters: host names have no case.
fn pattern(text: &str) -> Result<String, Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-*?".contains(c);
    if (1..=32).contains(&text.len()) && text.chars().all(good) {
        return Ok(text.to_ascii_lowercase());
    }
    let fault = "must be a gateway's name, of 1 to 32 letters, digits, `_` or `-`, in which `*` stands for any and \
                 `?` for one of them";
    if text.contains('.') {
        let help = "a gateway's name is its host name up to the first dot";
        return Err(Fault::help(fault, help));
    }
    Err(Fault::new(fault))
}

/// Whether some name fits both patterns; a name is a pattern that fits itself.
fn overlap(one: &str, other: &str) -> bool {
    let other: Vec<char> = other.chars().collect();
    // `row[j]`: whether what is left of `one` overlaps with `other[j..]`; at first nothing is left of it.
    let mut row: Vec<bool> = vec![true];
    row.extend(other.iter().rev().scan(true, |only_stars, c| {
        *only_stars &= *c == '*';
        Some(*only_stars)
    }));
    row.reverse();
    for mine in one.chars().rev() {
        let at = |row: &[bool], index: usize| row.get(index).copied().unwrap_or(false);
        let mut next = vec![false; other.len() + 1];
        let mut after = mine == '*' && at(&row, other.len());
        if let Some(last) = next.last_mut() {
            *last = after;
        }
        for (index, (theirs, slot)) in other.iter().zip(next.iter_mut()).enumerate().rev() {
            let same = mine == *theirs || mine == '?' || *theirs == '?';
            let plain = mine != '*' && *theirs != '*';
            // A star stands for nothing more, or for one more of the other side.
            let star = (mine == '*' || *theirs == '*') && (at(&row, index) || after);
            *slot = star || plain && same && at(&row, index + 1);
            after = *slot;
        }
        row = next;
    }
    at_start(&row)
}

fn at_start(row: &[bool]) -> bool {
    row.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns_and_patterns_each_other() {
        for (one, other, expected) in [
            ("gw-01", "gw-01", true),
            ("gw-01", "gw-02", false),
            ("gw-01", "gw-0", false),
            ("gw-*", "gw-01", true),
            ("gw-*", "gw-", true),
            ("gw-*", "gw", false),
            ("gw-??", "gw-01", true),
            ("gw-?", "gw-01", false),
            ("*", "gw-01", true),
            ("*", "*", true),
            ("*-01", "gw-01", true),
            ("*-01", "gw-02", false),
            ("g*1", "gw-01", true),
            ("**", "a", true),
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("a*c", "a?", true),
            ("a*c", "a", false),
            ("?a", "*b", false),
            ("*ab*", "?", false),
            ("*ab*", "??", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn hostile_patterns_end_at_once() {
        let (one, other) = ("*a".repeat(16), "*b".repeat(16));
        assert!(!overlap(&one, &other), "no name ends with both");
    }

    #[test]
    fn only_what_begins_alike_is_compared() {
        let mut patterns = Patterns::default();
        (0..1000).for_each(|number| patterns.push(format!("w{number}-*")));
        patterns.push("w".to_owned());
        let mut left = 1;
        assert!(!patterns.fit("north", &mut left) && patterns.fit("w", &mut left));
        assert!(!patterns.fit("w1", &mut left) && left == 1);
        assert!(patterns.fit("w77-a", &mut left) && left == 0);
        assert!(patterns.fit("w7-*b", &mut left), "without any left it says yes");
    }

    /// What a pattern means, by trying all ways.
    fn fits(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name))
            }
            ([mine, rest @ ..], [theirs, name @ ..]) => {
                (mine == theirs || *mine == b'?') && fits(rest, name)
            }
            _ => false,
        }
    }

    /// All words of these letters, up to a length.
    fn all(letters: &str, longest: usize) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut from = 0;
        for _ in 0..longest {
            let ends = words.len();
            for index in from..ends {
                words.extend(
                    letters
                        .chars()
                        .map(|letter| format!("{}{letter}", words[index]))
                        .collect::<Vec<_>>(),
                );
            }
            from = ends;
        }
        words
    }

    #[test]
    fn a_name_fits_as_it_does_by_trying_all_ways() {
        let names = all("ab", 4);
        for pattern in all("ab?*", 4) {
            for name in &names {
                let expected = fits(pattern.as_bytes(), name.as_bytes());
                assert_eq!(overlap(&pattern, name), expected, "{pattern} {name}");
                for (one, other) in [(&pattern, name), (name, &pattern)] {
                    let mut patterns = Patterns::default();
                    patterns.push(one.clone());
                    assert_eq!(patterns.fit(other, &mut 100), expected, "{one} {other}");
                }
            }
        }
    }
}
