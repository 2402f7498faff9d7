//! Commands that modems have alike, by what they are about.

mod basic;
mod card;
mod network;
