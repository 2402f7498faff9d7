//! Commands that modems have in common, by subject.

mod basic;
mod card;
mod network;
