//! Repeated power cuts, with the queue on a disk of the guest.

use anyhow::{Context as _, ensure};

/// Arguments of `bench power-cut`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The number of power cuts; each takes a boot.
    #[arg(long, default_value_t = 20)]
    cuts: u32,
}

/// Runs the test that cuts once, with more cuts and the release binary.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = std::process::Command::new("cargo");
    command
        .args(["nextest", "run", "--package", "e2e", "--test", "usb", "--no-capture"])
        .arg("what_was_answered_survives_a_power_cut")
        .current_dir(crate::step::root())
        .env("MODEMFLEET_BINARY", super::lab::binary().get_program())
        .env("MODEMFLEET_CUTS", arguments.cuts.to_string());
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "a cut lost something, or did not take place");
    Ok(())
}
