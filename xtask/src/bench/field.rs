//! All cases of modems outside of a laboratory, also the long ones, against the release binary.

use std::path::PathBuf;

use crate::step::target;

/// Arguments of `bench field`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder with `field` and `cases`, and perhaps `usbfield` and `usb`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    crate::field::run(&arguments.folder, &target().join("release/modemfleet"), f64::INFINITY)
}
