//! The built binary from outside, one module for each subject.
//!
//! All modules are one program, so that it is linked once and not fifty times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

mod aliyun;
mod ansible;
mod answers;
mod bad_disk;
mod batch;
mod budget;
mod cli;
mod console;
mod delivery;
mod demo;
mod diag;
mod doctor;
mod documents;
mod durability;
mod faults;
mod forbidden;
mod gateways;
mod grafana;
mod history;
mod home_assistant;
mod hostile_modem;
mod http;
mod http_attack;
mod inbox;
mod kubernetes;
mod log;
mod mock;
mod models;
mod mqtt;
mod mqtt_leaving;
mod mqtt_refused;
mod out_of_tree;
mod page;
mod plans;
mod prometheus;
mod quectel;
mod queue;
mod receipts;
mod record;
mod recovery;
mod reload;
mod rights;
mod routes;
mod secrets;
mod shutdown;
mod sim7020;
mod systemd;
mod telemetry;
mod tls;
mod tokens;
mod unplug;
mod venv;
mod version;
mod web;

/// A file that is not named above would not be built, and its tests would not run.
#[test]
fn each_file_here_is_a_module() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e");
    for file in std::fs::read_dir(here).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let line = format!("\nmod {};\n", file.trim_end_matches(".rs"));
        assert!(file == "main.rs" || include_str!("main.rs").contains(&line), "{file}");
    }
}
