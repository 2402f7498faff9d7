//! `gateways`: the gateways that a file serves, and the entries for this gateway.
//!
//! The file lists its gateways once, at the top; a modem, a session or a route may name some of them. Entries
//! for others are removed before the rest is checked: none of their secrets is read, and no client id compared.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::super::fleet::Name;
use super::super::words::{self, Fault};
use super::build::{Build, Place};
use crate::tree::Node;

/// The most gateways that are checked one by one.
const MAX_NAMED: usize = 1000;

/// Help if the list at the top is missing.
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

    /// Reports whether one of them and `pattern` fit the same gateway. `comparisons` counts down; at 0 the answer
    /// is yes.
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
    /// Excludes everything that is not for `gateway` from the checks that follow.
    pub(super) fn select(&mut self, top: &Place<'_>, gateway: Option<&Name>) {
        let mut left = MAX_COMPARISONS;
        let all = self.patterns(top, &[], &mut left);
        self.judge(top, all.as_ref(), &mut left);
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
            let help = "add the gateway here, or name another one: `--gateway NAME`, or MODEMFLEET_GATEWAY=NAME";
            return self.error(&top.at("gateways"), message, Some(help.to_owned()));
        }
        self.leave_out(top, gateway);
    }

    /// Checks every selector, also those that do not name this gateway.
    fn judge(&mut self, top: &Place<'_>, all: Option<&Patterns>, left: &mut usize) {
        for (_, modem) in top.at("modems").entries() {
            let of_modem = self.selector(&modem, &[all], left);
            let of_modem = &[all, of_modem.as_ref().or(all)];
            for (_, session) in modem.at("sessions").entries() {
                if self.report.is_over() {
                    return;
                }
                self.selector(&session, of_modem, left);
            }
        }
        for route in top.at("routes").items() {
            if self.report.is_over() {
                return;
            }
            self.selector(&route, &[all], left);
        }
    }

    fn selector(
        &mut self,
        parent: &Place<'_>,
        above: &[Option<&Patterns>],
        left: &mut usize,
    ) -> Option<Patterns> {
        if parent.has("gateways") && above.iter().any(Option::is_none) {
            let message = "the file has no list of its gateways to choose from".to_owned();
            self.error_at_name(&parent.at("gateways"), message, Some(LIST_THEM));
            return None;
        }
        self.patterns(parent, above, left)
    }

    /// The names and patterns of a list; each must fit a gateway of every list above it.
    fn patterns(
        &mut self,
        parent: &Place<'_>,
        above: &[Option<&Patterns>],
        left: &mut usize,
    ) -> Option<Patterns> {
        let (texts, place) = (parent.texts("gateways")?, &parent.at("gateways"));
        if texts.is_empty() {
            let message = "`gateways` is empty".to_owned();
            let help = "name at least one, or leave the key out for all gateways";
            self.error_at_name(place, message, Some(help));
        }
        let mut good = Patterns::default();
        for (index, text) in texts.into_iter().enumerate() {
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
        let message = format!("no gateway of the list above fits `{}`", words::shorten(text));
        let meant = self.report.may_suggest().then(|| words::did_you_mean(text, &known)).flatten();
        let help = meant.unwrap_or_else(|| {
            let some: Vec<&str> = known.iter().copied().take(8).collect();
            format!("the list above has {}", words::listed(&some, "and"))
        });
        self.error(place, message, Some(help));
    }

    fn leave_out(&mut self, top: &Place<'_>, gateway: String) {
        let before = self.brokers_in_use(top);
        self.here = Some(gateway);
        for (name, modem) in top.at("modems").entries() {
            let is_here = self.is_here(&modem);
            for (session, place) in modem.at("sessions").entries() {
                if !is_here || !self.is_here(&place) {
                    self.elsewhere.insert(format!("{name}/{session}"));
                }
            }
        }
        let after = self.brokers_in_use(top);
        self.idle = before.difference(&after).map(|name| (*name).to_owned()).collect();
    }

    fn brokers_in_use<'a>(&self, top: &Place<'a>) -> BTreeSet<&'a str> {
        let modems = self.modems_here(top).into_iter();
        let sessions = modems.flat_map(|(_, modem)| self.sessions_here(&modem));
        sessions.filter_map(|(_, session)| session.text("broker")).collect()
    }

    /// The modems of the file that are for this gateway.
    pub(super) fn modems_here<'a>(&self, top: &Place<'a>) -> Vec<(&'a str, Place<'a>)> {
        top.at("modems").entries().filter(|(_, modem)| self.is_here(modem)).collect()
    }

    /// The sessions of a modem that are for this gateway.
    pub(super) fn sessions_here<'a>(&self, modem: &Place<'a>) -> Vec<(&'a str, Place<'a>)> {
        modem.at("sessions").entries().filter(|(_, session)| self.is_here(session)).collect()
    }

    /// The brokers of the file but for those that only sessions of other gateways name.
    pub(super) fn brokers_here<'a>(&self, top: &Place<'a>) -> Vec<(&'a str, Place<'a>)> {
        top.at("brokers").entries().filter(|(name, _)| !self.idle.contains(*name)).collect()
    }

    /// Reports whether a route is for other gateways, or all its sessions are there.
    pub(super) fn is_route_elsewhere(&self, route: &Place<'_>) -> bool {
        let leads_elsewhere = || {
            let to = route.texts("to").unwrap_or_default();
            !to.is_empty() && to.iter().all(|to| self.elsewhere.contains(*to))
        };
        !self.is_here(route) || !route.has("gateways") && leads_elsewhere()
    }

    fn is_here(&self, place: &Place<'_>) -> bool {
        let (Some(gateway), Some(texts)) = (&self.here, place.texts("gateways")) else {
            return true;
        };
        let fits =
            |pattern: &String| gateway.starts_with(beginning(pattern)) && overlap(pattern, gateway);
        texts.into_iter().filter_map(|text| pattern(text).ok()).any(|pattern| fits(&pattern))
    }
}

/// Every gateway that a file names without a wildcard, and one name for each pattern at its top. A check of the
/// whole file goes through them. Empty if the file lists none.
pub(in super::super) fn named(root: &Node) -> Vec<String> {
    let file = Place::top(root);
    let read = |place: &Place<'_>| -> Vec<String> {
        let texts = place.texts("gateways").unwrap_or_default().into_iter();
        texts.filter_map(|text| pattern(text).ok()).collect()
    };
    let all = read(&file);
    let (mut top, mut left) = (Patterns::default(), MAX_COMPARISONS);
    all.iter().cloned().for_each(|pattern| top.push(pattern));
    let mut lists = vec![all.clone()];
    for (_, modem) in file.at("modems").entries() {
        lists.push(read(&modem));
        lists.extend(modem.at("sessions").entries().map(|(_, session)| read(&session)));
    }
    lists.extend(file.at("routes").items().map(|route| read(&route)));
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

/// Reports whether some name fits both patterns. A name is a pattern that fits itself.
fn overlap(one: &str, other: &str) -> bool {
    let other: Vec<char> = other.chars().collect();
    // `row[j]`: true if the rest of `one` overlaps with `other[j..]`; at first the rest is empty.
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

    /// Matches by trying all ways.
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
