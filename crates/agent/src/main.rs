//! The binary `modemfleet`: the agent with the profiles of this repository.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN])
}
