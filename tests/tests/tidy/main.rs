//! The rules of this repository, as tests: each failure names the file and the cure.
//!
//! Every rule is a function from text to breaches with a bad example of its own, so that a rule that
//! can no longer fail is a failing test.

mod architecture;
mod circles;
mod edges;
mod links;
mod manifests;
mod pages;
mod plugin;
mod sources;
mod text;
mod transcripts;
mod tree;
mod words;

/// One broken rule: `file:line: what is wrong: the cure`.
type Breach = String;

/// Passes where nothing is broken, and lists what is.
#[track_caller]
fn verdict(breaches: &[Breach]) {
    assert!(breaches.is_empty(), "{} in all:\n{}\n", breaches.len(), breaches.join("\n"));
}
