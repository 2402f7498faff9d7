//! The release builds that are packed: static ones for any Linux, and one with glibc and libudev for Debian.
//!
//! Paths of this machine are mapped away, so that the same commit gives the same bytes in any folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::machine::Machine;
use super::release::Release;
use crate::step::{self, Invocation};

/// The features of a static program: libudev cannot be linked into it.
pub(super) const FEATURES: [&str; 2] = ["--features", "lab"];

/// The reason for which there is no program, and the command that would make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// The means to compile for a kind of machine.
struct Toolchain {
    target: &'static str,
    /// Another compiler than cargo's usual one.
    rustc: Option<PathBuf>,
    /// The linker, which compiles C as well.
    linker: Option<&'static str>,
}

/// Builds the static program of the sources in a folder.
///
/// # Errors
/// If the build fails. A machine for which no compiler is here is not an error.
pub(super) fn of_any_linux(
    source: &Path,
    machine: Machine,
    release: &Release,
) -> anyhow::Result<Result<PathBuf, Missing>> {
    let toolchain = match toolchain(machine)? {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Err(missing)),
    };
    let flags = ["-C", "target-feature=+crt-static"];
    build(
        source,
        &toolchain,
        "static",
        &flags,
        &[&["--no-default-features"], &FEATURES[..]].concat(),
        release,
    )
    .map(Ok)
}

/// Builds the program of Debian's package for this kind of machine.
///
/// # Errors
/// If the build fails.
pub(super) fn of_debian(source: &Path, release: &Release) -> anyhow::Result<PathBuf> {
    let toolchain = Toolchain { target: Machine::X86_64.gnu(), rustc: None, linker: None };
    build(source, &toolchain, "debian", &[], &[], release)
}

/// Chooses musl if rustc has its library, else glibc.
fn toolchain(machine: Machine) -> anyhow::Result<Result<Toolchain, Missing>> {
    let has_linker = |linker: &str| Invocation::new("which", &[linker]).succeeds();
    if machine.is_here() {
        if has_library(machine.musl())? && has_linker("musl-gcc") {
            let linker = Some("musl-gcc");
            return Ok(Ok(Toolchain { target: machine.musl(), rustc: None, linker }));
        }
        return Ok(Ok(Toolchain { target: machine.gnu(), rustc: None, linker: None }));
    }
    let Some(linker) = machine.linker() else {
        return Ok(Err(Missing(format!("{machine}: not built here: build it on such a machine"))));
    };
    if has_library(machine.gnu())? && has_linker(linker) {
        return Ok(Ok(Toolchain { target: machine.gnu(), rustc: None, linker: Some(linker) }));
    }
    let fetch = Invocation::new("deploy/cross/toolchain", &[&machine.to_string()]);
    println!("    {fetch}");
    let said = fetch.said()?;
    if said.success {
        let rustc = Some(PathBuf::from(said.output.trim()));
        return Ok(Ok(Toolchain { target: machine.gnu(), rustc, linker: Some(linker) }));
    }
    let why =
        said.errors.trim().lines().last().unwrap_or("deploy/cross/toolchain failed").to_owned();
    let target = machine.gnu();
    Ok(Err(Missing(format!(
        "{machine}: not built here: {why}; `rustup target add {target}` and the linker {linker} would do"
    ))))
}

/// Reports whether the usual compiler has the library of a target.
fn has_library(target: &str) -> anyhow::Result<bool> {
    let said = Invocation::new("rustc", &["--print", "sysroot"]).said()?;
    anyhow::ensure!(said.success, "rustc: {}", said.errors.trim());
    Ok(Path::new(said.output.trim()).join("lib/rustlib").join(target).join("lib").exists())
}

fn build(
    source: &Path,
    toolchain: &Toolchain,
    kind: &str,
    flags: &[&str],
    features: &[&str],
    release: &Release,
) -> anyhow::Result<PathBuf> {
    let target = toolchain.target;
    let folder = source.join("target/dist-build").join(kind);
    let mut cargo = step::cargo();
    cargo.current_dir(source).args(["build", "--locked", "--release", "--package", "modemfleet"]);
    cargo.args(features).args(["--target", target, "--target-dir"]).arg(&folder);
    let maps = [(cargo_home()?, "/cargo"), (source.display().to_string(), "/modemfleet")];
    let mut all: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    all.extend(maps.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
    let c = maps.map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).join(" ");
    let underlined = target.replace('-', "_");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}")).env_remove("RUSTFLAGS");
    cargo.env(format!("CFLAGS_{underlined}"), c);
    cargo.env("MODEMFLEET_COMMIT", &release.commit).env("CARGO_INCREMENTAL", "0");
    cargo.env("SOURCE_DATE_EPOCH", release.seconds.to_string());
    if let Some(linker) = toolchain.linker {
        cargo.env(format!("CARGO_TARGET_{}_LINKER", underlined.to_uppercase()), linker);
        cargo.env(format!("CC_{underlined}"), linker);
    }
    if let Some(rustc) = &toolchain.rustc {
        cargo.env("RUSTC", rustc);
    }
    succeed(&mut cargo)?;
    Ok(folder.join(target).join("release/modemfleet"))
}

fn cargo_home() -> anyhow::Result<String> {
    if let Ok(home) = env::var("CARGO_HOME") {
        return Ok(home);
    }
    Ok(format!("{}/.cargo", env::var("HOME").context("neither CARGO_HOME nor HOME is set")?))
}

/// Runs a command, and prints it before.
///
/// # Errors
/// If it fails.
pub(super) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    println!("    {} {}", command.get_program().display(), words(command));
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn words(command: &Command) -> String {
    command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
