//! Set-up and automation of this repository: `cargo xtask …`.
//!
//! One file per subcommand; they share `setup`, `tools` and `step`.
#![expect(clippy::print_stdout, reason = "a tool for people: what it prints is what it is for")]
#![expect(clippy::print_stderr, reason = "errors belong where a pipe does not swallow them")]

mod bench;
mod conformance;
mod dashboards;
mod demo;
mod dist;
mod example;
mod field;
mod fuzz;
mod models;
mod package;
mod reference;
mod setup;
mod site;
mod step;
mod test;
mod tools;
mod vectors;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up and automation of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check for the programs of the build, then format, lint, build, test and document the
    /// workspace.
    Test(test::Arguments),
    /// Show modemfleet at work, without hardware: builds and runs `modemfleet demo`.
    Demo(demo::Arguments),
    /// Write the README's table of models from the profiles' data.
    Models(models::Arguments),
    /// Run the scenarios that every profile must pass, and print model × scenario.
    Conformance(conformance::Arguments),
    /// Write Grafana's dashboards from the list of their panels.
    Dashboards(dashboards::Arguments),
    /// Write the references of the fleet file and of the metrics from the program's own
    /// descriptions.
    Reference(reference::Arguments),
    /// Build and test the example of a profile outside of this repository.
    Example(example::Arguments),
    /// Decode replies with known meanings by `modemfleet profiles decode`, and print the pass rate.
    Vectors(vectors::Arguments),
    /// Fuzz the code that reads from outside, guided by the coverage of each input.
    Fuzz(fuzz::Arguments),
    /// Build the documentation as a site with search, by mdBook.
    Site(site::Arguments),
    /// Make the Debian package, and try it.
    Package(package::Arguments),
    /// Make everything that is to be downloaded, and print the sizes.
    Dist(dist::Arguments),
    /// Measure modemfleet beside a reference.
    Bench {
        /// The benchmark to run.
        #[command(subcommand)]
        bench: bench::Bench,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Dashboards(arguments) => dashboards::run(&arguments),
        Command::Reference(arguments) => reference::run(&arguments),
        Command::Example(arguments) => example::run(&arguments),
        Command::Vectors(arguments) => vectors::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Site(arguments) => site::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Bench { bench } => bench::run(&bench),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::from(failure.downcast_ref().map_or(1, step::Failed::code))
        }
    }
}
