//! The agent with the profiles of the repository and with Acme's.

use std::process::ExitCode;

fn main() -> ExitCode {
    modemfleet::main(&[&acme::PLUGIN, &profile_simcom::PLUGIN, &profile_quectel::PLUGIN])
}
