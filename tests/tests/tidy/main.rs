//! The rules of this repository, as tests: each failure names the file and the cure.
//!
//! Every rule is a function from text to breaches, with its own bad example. So a rule that can no
//! longer fail is a failing test.

mod architecture;
mod circles;
mod edges;
mod links;
mod manifests;
mod pages;
mod plugin;
mod site;
mod sources;
mod text;
mod transcripts;
mod tree;
mod words;

/// A broken rule: `file:line: the fault: the cure`.
type Breach = String;

/// Passes if no rule is broken; otherwise lists all breaches.
#[track_caller]
fn verdict(breaches: &[Breach]) {
    assert!(breaches.is_empty(), "{} in all:\n{}\n", breaches.len(), breaches.join("\n"));
}
