//! The style rules of CONTRIBUTING.md that a test of single lines can check.

use crate::tree::{TextFile, text_files};
use crate::{Breach, verdict};

/// The most lines of a file outside its tests: enough for one subject, too few for two.
const CEILING: usize = 600;

/// Files that may be longer: path, lines, reason.
const LONGER: &[(&str, usize, &str)] = &[];

/// Endings that the name of a type or module must not have, since they carry no meaning.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Helper", "Helpers", "Util", "Utils"];

/// Keywords that a name follows.
const DECLARATIONS: &[&str] = &["struct", "enum", "trait", "type", "mod", "union"];

/// Texts that the code of a folder must not contain, tests and comments left out: folder, text,
/// cure.
const UNKNOWN_HERE: &[(&str, &str, &str)] = &[
    ("crates/agent/src/", "\"AT+", "AT commands belong to crates/modem and the profiles"),
    ("crates/api/src/", "\"AT+", "AT commands belong to crates/modem and the profiles"),
    ("crates/discovery/src/", "\"AT+", "AT commands belong to crates/modem and the profiles"),
    ("crates/fleet/src/", "\"AT+", "AT commands belong to crates/modem and the profiles"),
    ("crates/modemfleet/src/", "\"AT+", "AT commands belong to crates/modem and the profiles"),
    ("crates/modem/src/", "SIM7", "a concrete model belongs to its profile"),
    ("crates/modem/src/", "SIM8", "a concrete model belongs to its profile"),
    ("crates/modem/src/", "sim7", "a concrete model belongs to its profile"),
    ("crates/modem/src/", "sim8", "a concrete model belongs to its profile"),
    ("crates/at/src/", "std::fs", "the engine has no I/O: take bytes as an argument"),
    ("crates/at/src/", "std::net", "the engine has no I/O: take bytes as an argument"),
    ("crates/at/src/", "std::thread", "the engine has no tasks: say when to call it again"),
];

/// The lines before and after a `select!` in which the comment on the dropped arms must be.
const NEAR_SELECT: (usize, usize) = (5, 3);

fn is_rust(file: &&TextFile) -> bool {
    file.path.ends_with(".rs")
}

/// Reports whether the file is part of a library or program, and not a file of tests.
fn is_shipped(path: &str) -> bool {
    let ours = path.starts_with("crates/") || path.starts_with("profiles/");
    ours && path.contains("/src/") && !path.contains("/tests/") && !path.ends_with("/tests.rs")
}

/// Returns the lines of a file with their numbers, without modules of tests.
fn shipped_lines(text: &str) -> Vec<(usize, &str)> {
    let mut shipped: Vec<(usize, &str)> = Vec::new();
    let mut in_tests = false;
    for (number, line) in (1..).zip(text.lines()) {
        let opens = line.starts_with("mod ") && line.ends_with('{');
        if opens && shipped.last().is_some_and(|(_, before)| *before == "#[cfg(test)]") {
            shipped.pop();
            in_tests = true;
        }
        if !in_tests {
            shipped.push((number, line));
        }
        // rustfmt puts only the closing bracket of the module at the margin.
        in_tests = in_tests && line != "}";
    }
    shipped
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn no_subject(path: &str, text: &str) -> Vec<Breach> {
    if text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{path}:1: does not say what it is about: begin with `//! Its subject.`")]
}

fn too_long(path: &str, text: &str) -> Vec<Breach> {
    let ceiling =
        LONGER.iter().find(|(file, ..)| *file == path).map_or(CEILING, |(_, lines, _)| *lines);
    let lines = shipped_lines(text).len();
    if !is_shipped(path) || lines <= ceiling {
        return Vec::new();
    }
    vec![format!(
        "{path}: {lines} lines outside its tests, {ceiling} are allowed: split it by subject, or name it in LONGER of the tidy test with a reason"
    )]
}

fn empty_names(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(name) = declared(line)
            && EMPTY_NAMES.iter().any(|word| ends_with_word(name, word))
        {
            breaches.push(format!(
                "{path}:{number}: `{name}` says nothing: name it after what it is or holds"
            ));
        }
    }
    breaches
}

/// Returns the name that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let keyword = words.next()?;
    let name = words.next().filter(|_| DECLARATIONS.contains(&keyword))?;
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// `FleetManager` and `fleet_manager` end with the word `Manager`, but `Futile` does not end with
/// `Util`.
fn ends_with_word(name: &str, word: &str) -> bool {
    let lower = word.to_lowercase();
    name.ends_with(word) || name == lower || name.ends_with(&format!("_{lower}"))
}

fn loose_ends(path: &str, text: &str) -> Vec<Breach> {
    let marks = [["TO", "DO"], ["FIX", "ME"]].map(|pieces| pieces.concat());
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.contains("//")) {
        for mark in &marks {
            let rest = line.split_once(mark).map(|(_, rest)| rest);
            if rest.is_some_and(|rest| !rest.starts_with("(#")) {
                breaches.push(format!(
                    "{path}:{number}: a doubt without an issue: write `{mark}(#123): …`"
                ));
            }
        }
    }
    breaches
}

fn bare_depths(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in shipped_lines(text) {
        let argument = line
            .split_once("channel(")
            .or_else(|| line.split_once("channel::<").and_then(|(_, rest)| rest.split_once(">(")));
        let bare = argument
            .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
        if bare && !is_comment(line) && is_shipped(path) {
            breaches.push(format!(
                "{path}:{number}: a bare channel depth: name it as a constant whose comment says why, and what happens when it is full"
            ));
        }
    }
    breaches
}

fn silent_selects(path: &str, text: &str) -> Vec<Breach> {
    let lines = shipped_lines(text);
    let mut breaches = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        if !is_shipped(path) || is_comment(line) || !line.contains("select! {") {
            continue;
        }
        let (before, after) = NEAR_SELECT;
        let near =
            lines.iter().skip(index.saturating_sub(before)).take(before.min(index) + 1 + after);
        if !near.into_iter().any(|(_, line)| line.contains("// ")) {
            breaches.push(format!(
                "{path}:{number}: `select!` drops the arms that lose: a comment has to say why nothing is lost with them"
            ));
        }
    }
    breaches
}

fn out_of_place(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let code =
        shipped_lines(text).into_iter().filter(|(_, line)| is_shipped(path) && !is_comment(line));
    for (number, line) in code {
        for (folder, word, cure) in UNKNOWN_HERE {
            if path.starts_with(folder) && line.contains(word) {
                breaches.push(format!("{path}:{number}: `{word}` is not known here: {cure}"));
            }
        }
    }
    breaches
}

/// Applies a rule to all Rust files.
fn judge(rule: fn(&str, &str) -> Vec<Breach>) -> anyhow::Result<()> {
    let files = text_files()?;
    let found: Vec<_> =
        files.iter().filter(is_rust).flat_map(|file| rule(&file.path, &file.text)).collect();
    verdict(&found);
    Ok(())
}

#[test]
fn every_file_says_its_subject() -> anyhow::Result<()> {
    judge(no_subject)
}

#[test]
fn files_stay_below_their_ceiling() -> anyhow::Result<()> {
    judge(too_long)
}

#[test]
fn names_say_what_they_name() -> anyhow::Result<()> {
    judge(empty_names)
}

#[test]
fn doubts_have_an_issue() -> anyhow::Result<()> {
    judge(loose_ends)
}

#[test]
fn channel_depths_have_a_name() -> anyhow::Result<()> {
    judge(bare_depths)
}

#[test]
fn selects_say_what_becomes_of_the_losers() -> anyhow::Result<()> {
    judge(silent_selects)
}

#[test]
fn knowledge_stays_where_it_belongs() -> anyhow::Result<()> {
    judge(out_of_place)
}

#[test]
fn exceptions_are_still_needed() -> anyhow::Result<()> {
    let files = text_files()?;
    for (path, ceiling, reason) in LONGER {
        let file = files.iter().find(|file| file.path == *path);
        let lines = file.map_or(0, |file| shipped_lines(&file.text).len());
        assert!(lines > CEILING, "{path} has {lines} lines: take it out of LONGER");
        assert!(
            *ceiling < 2 * CEILING && !reason.is_empty(),
            "{path}: no exception without bound and reason"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Each rule with an example that breaks it, and a similar example that does not.

    use super::*;

    const FILE: &str = "crates/modem/src/port.rs";

    #[test]
    fn a_file_without_subject() {
        assert_eq!(no_subject(FILE, "use std::fs;\n").len(), 1);
        assert_eq!(no_subject(FILE, "//! The port.\n").len(), 0);
    }

    #[test]
    fn tests_do_not_count_as_lines() {
        let code = "//! x\n".repeat(CEILING);
        let tests = "#[cfg(test)]\nmod tests {\n    fn f() {\n    }\n}\n";
        assert_eq!(too_long(FILE, &format!("{code}{tests}")).len(), 0);
        assert_eq!(too_long(FILE, &format!("{code}{tests}// one more\n")).len(), 1);
        assert_eq!(too_long("crates/modem/src/reply/tests.rs", &code.repeat(2)).len(), 0);
        assert_eq!(too_long("profiles/simcom/src/cpsi.rs", &code.repeat(2)).len(), 1);
    }

    #[test]
    fn names_without_meaning() {
        for bad in
            ["pub struct FleetManager {", "pub(crate) mod utils;", "enum Helper {", "mod at_util {"]
        {
            assert_eq!(empty_names(FILE, bad).len(), 1, "{bad}");
        }
        for good in
            ["struct Futile;", "let manager = 1;", "mod utility_meter;", "/// struct FooManager"]
        {
            assert_eq!(empty_names(FILE, good).len(), 0, "{good}");
        }
    }

    #[test]
    fn doubts() {
        let mark = ["TO", "DO"].concat();
        assert_eq!(loose_ends(FILE, &format!("// {mark}: later")).len(), 1);
        assert_eq!(loose_ends(FILE, &format!("// {mark}(#12): later")).len(), 0);
        assert!(
            loose_ends(FILE, &format!("// {mark} x")).concat().contains(&format!("{mark}(#123)"))
        );
    }

    #[test]
    fn depths() {
        for bad in ["let (a, b) = mpsc::channel(16);", "    channel::<Vec<u8>>(1);"] {
            assert_eq!(bare_depths(FILE, bad).len(), 1, "{bad}");
        }
        for good in ["mpsc::channel(DEPTH);", "// channel(16)", "watch::channel(State::Absent)"] {
            assert_eq!(bare_depths(FILE, good).len(), 0, "{good}");
        }
        let in_tests = "#[cfg(test)]\nmod tests {\n    channel(16);\n}\n";
        assert_eq!(bare_depths(FILE, in_tests).len(), 0);
    }

    #[test]
    fn selects() {
        let bare = "    tokio::select! {\n        x = f() => x,\n    }\n";
        assert_eq!(silent_selects(FILE, bare).len(), 1);
        let said = format!("    // Both arms are cancel safe: they only receive.\n{bare}");
        assert_eq!(silent_selects(FILE, &said).len(), 0);
        let inside = bare.replace("f() => x,", "f() => x, // loses nothing: it only receives");
        assert_eq!(silent_selects(FILE, &inside).len(), 0);
        let far = format!("    // cancel safe\n{}{bare}", "    let x = 1;\n".repeat(NEAR_SELECT.0));
        assert_eq!(silent_selects(FILE, &far).len(), 1);
    }

    #[test]
    fn knowledge() {
        let agent = "crates/agent/src/view.rs";
        assert_eq!(out_of_place(agent, "send(\"AT+CSQ\")").len(), 1);
        assert_eq!(out_of_place(agent, "// as \"AT+CSQ\" says").len(), 0);
        assert_eq!(out_of_place(FILE, "if model == \"sim7600\" {").len(), 1);
        assert_eq!(out_of_place("crates/at/src/engine.rs", "use std::fs;").len(), 1);
    }
}
