//! The binary `modemfleet`: the agent with the profiles of this repository.

use std::process::ExitCode;

fn main() -> ExitCode {
    modemfleet::main(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN])
}
