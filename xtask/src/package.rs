//! `cargo xtask package`: the Debian package, made by cargo-deb from staged files.

pub(crate) mod changes;
pub(crate) mod notices;
pub(crate) mod stage;
pub(crate) mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::step::{self, Invocation};
use crate::tools;
use stage::{Program, Tools};

/// Arguments of `package`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The machine to build for; may be given more than once. `arm64` is built by deploy/cross.
    #[arg(long, value_enum, default_values_t = [Arch::Amd64])]
    arch: Vec<Arch>,
    /// Pack this program of this machine's kind instead of a release build; packed fast and large,
    /// for tests.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Then try the package: installed in an empty Debian, started there by systemd in a guest with
    /// USB modems (minutes, root, and Debian's archive).
    #[arg(long = "try")]
    tried: bool,
}

/// A kind of machine, by Debian's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    const fn word(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns its name in Rust.
    const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// Makes a package for each requested machine, and prints its path and size.
///
/// # Errors
/// That of the failed step.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tools::package()?;
    let mut native = None;
    if arguments.program.is_some() {
        anyhow::ensure!(arguments.arch == [Arch::Amd64], "--program is packed for amd64 alone");
    }
    for &arch in &arguments.arch {
        let package = make(arch, arguments.program.as_deref())?;
        if arch == Arch::Amd64 {
            native = Some(package);
        }
    }
    match native {
        Some(package) if arguments.tried => trial::run(&package),
        None if arguments.tried => {
            anyhow::bail!("--try needs a package of this machine's kind: add --arch amd64")
        }
        _ => Ok(()),
    }
}

fn make(arch: Arch, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match given {
        Some(path) => {
            Program { path: path.to_owned(), target: arch.target(), tools: Tools::NATIVE }
        }
        None => built(arch)?,
    };
    pack(arch, &program, given.is_some())
}

/// Packs a built program of this machine's kind, well and slowly.
///
/// # Errors
/// That of the failed step.
pub(crate) fn amd64(program: &Path) -> anyhow::Result<PathBuf> {
    tools::package()?;
    let arch = Arch::Amd64;
    let program = Program { path: program.to_owned(), target: arch.target(), tools: Tools::NATIVE };
    pack(arch, &program, false)
}

fn pack(arch: Arch, program: &Program, is_fast: bool) -> anyhow::Result<PathBuf> {
    let changes = changes::of_the_newest_release()?;
    stage::fill(program, &changes)?;
    let folder = step::root().join("target/package");
    let package = folder.join(format!("modemfleet_{}-1_{}.deb", changes.version, arch.word()));
    let path = package.display().to_string();
    let mut words =
        vec!["deb", "--quiet", "--locked", "--package", "modemfleet", "--output", &path];
    // The program is already built, stripped and staged.
    words.extend(["--no-build", "--no-strip", "--no-dbgsym", "--target", arch.target()]);
    words.extend(is_fast.then_some("--fast"));
    let seconds = changes.seconds()?.to_string();
    let deb = Invocation::cargo(&words).env("SOURCE_DATE_EPOCH", &seconds);
    println!("    {deb}");
    deb.run()?;
    let size = |path: &Path| fs::metadata(path).map(|data| data.len());
    let (whole, inside) = (size(&package)?, size(&stage::program())?);
    println!("{}: {whole} bytes, the program in it {inside}", package.display());
    Ok(package)
}

/// Builds the program for release.
fn built(arch: Arch) -> anyhow::Result<Program> {
    let (build, place, tools) = match arch {
        Arch::Amd64 => {
            anyhow::ensure!(cfg!(target_arch = "x86_64"), "amd64 is built on amd64");
            let words = ["build", "--locked", "--package", "modemfleet", "--release"];
            (Invocation::cargo(&words), PathBuf::from("release"), Tools::NATIVE)
        }
        Arch::Arm64 => {
            let build = Invocation::new("deploy/cross/build", &[arch.word()]);
            (build, Path::new(arch.target()).join("release"), Tools::ARM64)
        }
    };
    println!("    {build}");
    build.run().context("the program is not built")?;
    let path = step::target().join(place).join("modemfleet");
    Ok(Program { path, target: arch.target(), tools })
}
