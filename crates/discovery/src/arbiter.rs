//! The assignment of devices to entries of the fleet file.
//!
//! All keys of an entry must hold. The entry with more keys wins, then the order of the file; of
//! two devices the lower USB path wins. An entry keeps its device while that is plugged in, unless
//! the device turns out to belong to another entry. A device without an identity, such as a boot
//! loader, goes back to the entry that recently had a device at its place. This module is a pure
//! function, tested by a table.

use std::cmp::Reverse;

use modem::probe::Identity;

use fleet::Match;

/// The result of identifying a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It was not probed yet.
    NotYet,
    /// Probing failed: only its place is known.
    Mute,
    /// It was identified.
    Identity(Identity),
}

/// A device that is plugged in, with at least its first AT port.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// The place on USB.
    pub(super) usb_path: String,
    /// The result of its identification.
    pub(super) known: Known,
    /// The index of the entry that has had it since it was plugged in.
    pub(super) holder: Option<usize>,
    /// The index of the entry that had a device at this place a while ago.
    pub(super) was: Option<usize>,
}

/// The decision. Numbers are indices of entries and devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The device of each entry.
    pub(super) given: Vec<Option<usize>>,
    /// Devices that must be identified before more can be decided.
    pub(super) ask: Vec<usize>,
    /// Devices that no entry claims.
    pub(super) unclaimed: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// It depends on the device's identity.
    Open,
    /// It cannot be identified, and is at the place of the entry's earlier device.
    Remembered,
}

/// Decides about entries, given in the order of the file.
pub(super) fn decide(entries: &[&Match], devices: &[Device]) -> Verdict {
    let mut given: Vec<Option<usize>> = (0..entries.len())
        .map(|entry| held(entry, devices).filter(|device| keeps(entry, *device, entries, devices)))
        .collect();
    let mut free: Vec<usize> = (0..devices.len()).filter(|d| !given.contains(&Some(*d))).collect();
    free.sort_by_key(|device| devices.get(*device).map(|device| place(&device.usb_path)));
    let mut ask = Vec::new();
    let mut ranked: Vec<(usize, &&Match)> = entries.iter().enumerate().collect();
    ranked.sort_by_key(|(_, entry)| Reverse(keys(entry)));
    let mut resigned = Vec::new();
    for (index, _) in ranked {
        let Some(slot) = given.get_mut(index).filter(|slot| slot.is_none()) else { continue };
        let fits = |wanted| move |device: &usize| fit(index, *device, entries, devices) == wanted;
        if let Some(found) = free.iter().copied().find(fits(Fit::Yes)) {
            *slot = Some(found);
            free.retain(|device| *device != found);
        } else if free.iter().any(fits(Fit::Open)) {
            // Entries of a lower rank must wait: the device may be this entry's.
            let (open, rest): (Vec<usize>, _) = free.into_iter().partition(fits(Fit::Open));
            free = rest;
            ask.extend(open);
        } else {
            resigned.push(index);
        }
    }
    // A remembered place counts less than an identity, so these entries come last.
    for index in resigned {
        let is_it = |device: &usize| fit(index, *device, entries, devices) == Fit::Remembered;
        let Some(found) = free.iter().copied().find(is_it) else { continue };
        free.retain(|device| *device != found);
        if let Some(slot) = given.get_mut(index) {
            *slot = Some(found);
        }
    }
    Verdict { given, ask, unclaimed: free }
}

/// Returns the device that an entry has.
fn held(entry: usize, devices: &[Device]) -> Option<usize> {
    devices.iter().position(|device| device.holder == Some(entry))
}

/// Reports whether an entry keeps the device that it has.
fn keeps(entry: usize, device: usize, entries: &[&Match], devices: &[Device]) -> bool {
    let fits = |entry, device| fit(entry, device, entries, devices);
    if matches!(fits(entry, device), Fit::Yes | Fit::Open) {
        return true;
    }
    // A device that fits this entry and no entry that holds it.
    let is_better = |other: usize| {
        let holder = devices.get(other).and_then(|device| device.holder);
        fits(entry, other) == Fit::Yes
            && holder.is_none_or(|holder| fits(holder, other) != Fit::Yes)
    };
    if (0..devices.len()).any(is_better) {
        return false;
    }
    let (Some(wanted), Some(Known::Identity(is))) =
        (entries.get(entry), devices.get(device).map(|device| &device.known))
    else {
        return true;
    };
    // A card may be read again, or put in again; a different IMEI means another modem.
    if wanted.usb_path.is_none() && wanted.imei.as_ref().is_some_and(|imei| *imei != is.imei) {
        return false;
    }
    let wants = |other: usize| {
        let has_its_own = held(other, devices).is_some_and(|own| fits(other, own) == Fit::Yes);
        other != entry && fits(other, device) == Fit::Yes && !has_its_own
    };
    !(contradicts(wanted, is) && (0..entries.len()).any(wants))
}

/// Reports whether a device's identity differs from the entry's keys. A missing ICCID does not
/// differ.
fn contradicts(entry: &Match, is: &Identity) -> bool {
    let other_card = || entry.iccid.as_ref().zip(is.iccid.as_ref()).is_some_and(|(a, b)| a != b);
    entry.imei.as_ref().is_some_and(|imei| *imei != is.imei)
        || entry.model.as_ref().is_some_and(|model| !is.is_model(model))
        || other_card()
}

/// Reports whether an entry with an ICCID has no device with that card. The cards of devices are
/// then read again.
pub(super) fn misses_a_card(
    entries: &[&Match],
    devices: &[Device],
    given: &[Option<usize>],
) -> bool {
    entries.iter().enumerate().filter(|(_, entry)| entry.iccid.is_some()).any(|(index, _)| {
        let device = given.get(index).copied().flatten();
        device.is_none_or(|device| fit(index, device, entries, devices) == Fit::No)
    })
}

fn keys(entry: &Match) -> usize {
    let Match { port, usb_path, imei, iccid, model } = entry;
    usize::from(port.is_some())
        + [usb_path, imei, iccid, model].into_iter().filter(|key| key.is_some()).count()
}

/// Compares an entry's keys with a device, as far as the device is known.
fn fit(index: usize, device: usize, all: &[&Match], devices: &[Device]) -> Fit {
    let (Some(entry), Some(device)) = (all.get(index), devices.get(device)) else {
        return Fit::No;
    };
    let near = |entry: &Match| entry.usb_path.as_ref().is_none_or(|path| *path == device.usb_path);
    if !near(entry) {
        return Fit::No;
    }
    if entry.imei.is_none() && entry.iccid.is_none() && entry.model.is_none() {
        return Fit::Yes;
    }
    let is_here = entry.usb_path.is_some();
    match &device.known {
        // If the identity differs, the modem's own task reports it.
        Known::Mute if is_here => Fit::Yes,
        Known::Mute if device.was == Some(index) => Fit::Remembered,
        Known::Mute => Fit::No,
        // No other entry could claim it, so it need not be probed twice.
        Known::NotYet if is_here && all.iter().filter(|other| near(other)).count() == 1 => Fit::Yes,
        Known::NotYet => Fit::Open,
        Known::Identity(identity) => {
            let holds = entry.imei.as_ref().is_none_or(|imei| *imei == identity.imei)
                && entry.iccid.as_ref().is_none_or(|iccid| Some(iccid) == identity.iccid.as_ref())
                && entry.model.as_ref().is_none_or(|model| identity.is_model(model));
            if holds { Fit::Yes } else { Fit::No }
        }
    }
}

/// Returns a USB path as numbers, so that `1-10` comes after `1-2`.
fn place(usb_path: &str) -> Vec<u32> {
    usb_path.split(['-', '.']).map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `imei=1 usb=1-1 model=sim7600`; each key may be absent.
    fn entry(text: &str) -> Match {
        let key =
            |name: &str| text.split(' ').find_map(|word| Some(word.strip_prefix(name)?.to_owned()));
        Match {
            port: None,
            usb_path: key("usb="),
            imei: key("imei="),
            iccid: key("iccid="),
            model: key("model="),
        }
    }

    /// Parses `1-1 imei/iccid`, `1-1 ?` or `1-1 mute`, then optionally the earlier entry `~1` and
    /// the holder `<2`.
    fn device(text: &str) -> Device {
        fn behind<'a>(text: &'a str, mark: &str) -> (&'a str, Option<usize>) {
            let split = text.split_once(mark);
            split.map_or((text, None), |(text, number)| (text, Some(number.parse().unwrap())))
        }
        let (text, holder) = behind(text, " <");
        let (text, was) = behind(text, " ~");
        let (usb_path, known) = text.split_once(' ').unwrap();
        let known = match known {
            "?" => Known::NotYet,
            "mute" => Known::Mute,
            told => {
                let (imei, iccid) = told.split_once('/').unwrap();
                let iccid = (!iccid.is_empty()).then(|| iccid.to_owned());
                let model = "SIMCOM_SIM7600G-H".to_owned();
                Known::Identity(Identity { model, imei: imei.to_owned(), iccid })
            }
        };
        Device { was, usb_path: usb_path.to_owned(), known, holder }
    }

    #[test]
    fn who_gets_what() {
        // Name, entries, devices, the device of each entry (-: none), those to probe, those without
        // an entry.
        let cases = [
            ("an IMEI, wherever it is", "imei=8", "1-1 7/, 1-2 8/", "1", "", "0"),
            ("all keys must hold", "imei=8 model=sim8200", "1-1 8/", "-", "", "0"),
            ("the SIM", "iccid=5", "1-1 7/, 1-2 8/5", "1", "", "0"),
            ("more keys win", "model=sim7600, imei=8 model=sim7600", "1-1 8/", "- 0", "", ""),
            ("then the order of the file", "model=sim7600, imei=8", "1-1 8/", "0 -", "", ""),
            (
                "the lower path, by number",
                "model=SIM7600",
                "1-10 7/, 1-2.4 8/, 1-2.1 9/",
                "2",
                "",
                "1 0",
            ),
            ("two entries share", "model=sim7600, model=sim76", "1-2 7/, 1-1 8/", "1 0", "", ""),
            ("who has it keeps it", "model=sim7600", "1-1 7/, 1-2 8/ <0", "1", "", "0"),
            ("also against more keys", "usb=1-1, imei=8 model=sim7600", "1-1 8/ <0", "0 -", "", ""),
            ("one that was not asked is asked", "imei=8", "1-1 ?, 1-2 ?", "-", "0 1", ""),
            ("nobody is asked in vain", "imei=8", "1-1 ?, 1-2 8/", "1", "", "0"),
            ("a place needs no question", "usb=1-1", "1-1 ?, 1-2 ?", "0", "", "1"),
            ("nor with an IMEI, alone", "usb=1-1 imei=8", "1-1 ?", "0", "", ""),
            ("but where another may want it", "usb=1-1 imei=8, imei=7", "1-1 ?", "- -", "0", ""),
            ("and then it is the other's", "usb=1-1 imei=8, imei=7", "1-1 7/", "- 0", "", ""),
            ("a place waits for its betters", "imei=8, usb=1-1", "1-1 ?", "- -", "0", ""),
            ("until they have theirs", "imei=8, usb=1-1", "1-1 ?, 1-2 8/ <0", "1 0", "", ""),
            ("a mute one is its place's", "imei=8, usb=1-1", "1-1 mute", "- 0", "", ""),
            ("one that is held is not asked", "imei=8, usb=1-1", "1-1 ? <1", "- 0", "", ""),
            ("a mute one is nobody's by its IMEI", "imei=8", "1-1 mute", "-", "", "0"),
            ("but where its device was", "imei=8", "1-1 mute ~0", "0", "", ""),
            ("of two entries that one's", "imei=7, imei=8", "1-1 mute ~1", "- 0", "", ""),
            ("once all others were asked", "imei=8", "1-1 mute ~0, 1-2 ?", "-", "1", "0"),
            ("not where another is it", "imei=8", "1-1 mute ~0, 1-2 8/", "1", "", "0"),
            ("it is kept", "imei=8", "1-1 mute ~0 <0, 1-2 7/", "0", "", "1"),
            ("until the right one comes", "imei=8", "1-1 mute ~0 <0, 1-2 8/", "1", "", "0"),
            ("or it turns out to be another", "imei=8", "1-1 7/ ~0 <0", "-", "", "0"),
            ("a place first", "imei=8, usb=1-1", "1-1 mute ~0", "- 0", "", ""),
            ("another IMEI at its place", "usb=1-1 imei=8", "1-1 7/ <0", "0", "", ""),
            ("which another wants", "usb=1-1 imei=8, imei=7", "1-1 7/ <0", "- 0", "", ""),
            ("and has already", "usb=1-1 imei=8, imei=7", "1-1 7/ <0, 1-2 7/ <1", "0 1", "", ""),
            ("another card in service", "iccid=5, iccid=6", "1-1 8/6 <0", "- 0", "", ""),
            (
                "two that were exchanged",
                "iccid=5, iccid=6",
                "1-1 8/6 <0, 1-2 7/5 <1",
                "1 0",
                "",
                "",
            ),
            ("a card that nobody wants", "iccid=5", "1-1 8/6 <0", "0", "", ""),
            ("a card that is out for now", "iccid=5, model=sim7600", "1-1 8/ <0", "0 -", "", ""),
            ("a card that is in another", "iccid=5", "1-1 8/ <0, 1-2 7/5", "1", "", "0"),
        ];
        let numbers = |numbers: &[usize]| {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (what, entries, devices, given, ask, unclaimed) in cases {
            let entries: Vec<Match> = entries.split(", ").map(entry).collect();
            let devices: Vec<Device> = devices.split(", ").map(device).collect();
            let verdict = decide(&entries.iter().collect::<Vec<_>>(), &devices);
            let of_each: Vec<String> =
                verdict.given.iter().map(|d| d.map_or("-".to_owned(), |d| d.to_string())).collect();
            assert_eq!(of_each.join(" "), given, "given: {what}");
            assert_eq!(numbers(&verdict.ask), ask, "ask: {what}");
            assert_eq!(numbers(&verdict.unclaimed), unclaimed, "unclaimed: {what}");
        }
    }
}
