//! `cargo xtask dist`: everything that is to be downloaded, from the checked-out commit, into `target/dist`.
//!
//! The program is static, so that one file serves every Linux: an archive, a package for OpenWrt and a container image
//! are made of it. Debian's package has a program with glibc and libudev. Two runs give the same bytes.

mod archive;
mod building;
mod contents;
mod ipk;
mod machine;
mod oci;
mod release;
mod sbom;
mod sums;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::package::{self, changes, stage};
use crate::step::{self, Stopwatch};
use archive::Tree;
use building::Missing;
pub(crate) use machine::Machine;
use release::Release;

/// Arguments of `dist`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The machines to build for; may be given more than once.
    #[arg(long, value_enum, default_values_t = [Machine::X86_64, Machine::Aarch64, Machine::Armv7])]
    machine: Vec<Machine>,
    /// The artefacts to make; may be given more than once. All of them without it.
    #[arg(long, value_enum)]
    only: Vec<Kind>,
    /// Pack this static program of this machine's kind instead of a release build: for tests.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    program: Option<PathBuf>,
    /// Succeed although an artefact was not built, for lack of a compiler.
    #[arg(long)]
    allow_missing: bool,
    /// Then build everything again from another folder, and compare byte by byte (twice the time).
    #[arg(long)]
    check: bool,
    /// Then try each artefact in a root of its own; takes root, and for Debian's package its archive.
    #[arg(long = "try")]
    tried: bool,
}

/// A kind of artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The archive with the static program.
    Static,
    /// Debian's package.
    Deb,
    /// OpenWrt's package.
    Ipk,
    /// The container image.
    Oci,
    /// The bill of materials.
    Sbom,
}

/// A file that was made.
#[derive(Debug, Clone)]
struct Artefact {
    kind: Kind,
    machine: Machine,
    path: PathBuf,
}

impl Artefact {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The sources, the folder for the artefacts, and the choice of them.
struct Job<'a> {
    source: &'a Path,
    out: PathBuf,
    release: &'a Release,
    arguments: &'a Arguments,
}

/// Makes the artefacts, prints their sizes, and tries them if that is asked for.
///
/// # Errors
/// That of the failed step; also if an artefact is missing without `--allow-missing`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let release = release::of_the_checkout()?;
    let out = step::root().join("target/dist");
    let job = Job { source: step::root(), out, release: &release, arguments };
    let watch = Stopwatch::start();
    let (artefacts, missing) = job.make()?;
    let sums = job.finish(&artefacts)?;
    println!("\n{}", table(&artefacts)?);
    println!("made in {} from {}", watch.shown(), release.commit);
    if arguments.check {
        check(arguments, &release, &sums)?;
    }
    if arguments.tried {
        trial::run(&artefacts)?;
    }
    missing.iter().for_each(|Missing(why)| println!("{why}"));
    anyhow::ensure!(
        missing.is_empty() || arguments.allow_missing,
        "not everything was built; `--allow-missing` accepts that, `--machine` and `--only` choose"
    );
    Ok(())
}

impl Job<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.contains(&kind)
    }

    /// Makes all that is wanted; the second list says what could not be built.
    fn make(&self) -> anyhow::Result<(Vec<Artefact>, Vec<Missing>)> {
        if self.out.exists() {
            fs::remove_dir_all(&self.out)?;
        }
        fs::create_dir_all(&self.out)?;
        let (mut artefacts, mut missing) = (Vec::new(), Vec::new());
        let is_static = [Kind::Static, Kind::Ipk, Kind::Oci, Kind::Sbom];
        // This machine's own program comes first: it writes the manual for all.
        let mut machines = self.arguments.machine.clone();
        machines.sort_by_key(|machine| !machine.is_here());
        for machine in machines {
            if is_static.into_iter().any(|kind| self.wants(kind)) {
                match self.program(machine)? {
                    Ok(program) => artefacts.extend(self.pack(machine, &program)?),
                    Err(why) => missing.push(why),
                }
            }
            if self.wants(Kind::Deb) {
                match self.debian(machine)? {
                    Ok(package) => artefacts.push(package),
                    Err(why) => missing.push(why),
                }
            }
        }
        Ok((artefacts, missing))
    }

    fn program(&self, machine: Machine) -> anyhow::Result<Result<PathBuf, Missing>> {
        match &self.arguments.program {
            Some(program) if machine.is_here() => Ok(Ok(program.clone())),
            Some(_) => Ok(Err(Missing(format!("{machine}: --program is of another machine")))),
            None => building::of_any_linux(self.source, machine, self.release),
        }
    }

    /// Packs a static program in each wanted way.
    fn pack(&self, machine: Machine, program: &Path) -> anyhow::Result<Vec<Artefact>> {
        let Release { version, commit, seconds } = self.release;
        let mut made = Vec::new();
        let mut keep = |kind, name: String, content: &[u8]| -> anyhow::Result<()> {
            let path = self.out.join(name);
            fs::write(&path, content).with_context(|| path.display().to_string())?;
            made.push(Artefact { kind, machine, path });
            Ok(())
        };
        let base = format!("modemfleet-{version}-linux-{machine}");
        if self.wants(Kind::Static) {
            let tree = self.archive(machine, program)?;
            keep(
                Kind::Static,
                format!("{base}.tar.gz"),
                &tree.tar_gz(&format!("{base}/"), *seconds)?,
            )?;
        }
        if self.wants(Kind::Ipk) {
            let files = ipk::files(self.source, program)?;
            let name = format!("modemfleet_{version}-1_{}.ipk", machine.openwrt());
            keep(Kind::Ipk, name, &ipk::pack(&files, machine, version, *seconds)?)?;
        }
        if self.wants(Kind::Oci) {
            let image = oci::pack(&oci::files(program)?, machine, version, commit, *seconds)?;
            keep(Kind::Oci, format!("{base}.oci.tar"), &image)?;
        }
        if self.wants(Kind::Sbom) {
            let (target, features) = (machine.gnu(), &building::FEATURES);
            let bill = sbom::document(self.source, target, features, version, *seconds)?;
            keep(Kind::Sbom, format!("{base}.cdx.json"), &bill)?;
        }
        Ok(made)
    }

    /// The archive's files. What the program itself writes comes from one that runs here.
    fn archive(&self, machine: Machine, program: &Path) -> anyhow::Result<Tree> {
        if machine.is_here() {
            let (path, target) = (program.to_owned(), machine.gnu());
            let program = stage::Program { path, target, tools: stage::Tools::NATIVE };
            stage::fill(&program, &changes::of_the_newest_release()?)?;
        }
        contents::of_any_linux(self.source, &stage::folder(), program)
            .context("the archive needs this machine's own program as well, for its manual")
    }

    /// Debian's package of this machine's kind.
    fn debian(&self, machine: Machine) -> anyhow::Result<Result<Artefact, Missing>> {
        if machine != Machine::X86_64 || !machine.is_here() {
            let why = "its program needs the libudev of that machine";
            let how =
                "`cargo xtask package --arch arm64` builds it with a rustup that has the target";
            return Ok(Err(Missing(format!("{machine}: no Debian package here: {why}; {how}"))));
        }
        let package = package::amd64(&building::of_debian(self.source, self.release)?)?;
        let path = self.out.join(package.file_name().context("a package has a name")?);
        fs::copy(&package, &path)?;
        Ok(Ok(Artefact { kind: Kind::Deb, machine, path }))
    }

    /// Writes the checksums, and returns them.
    fn finish(&self, artefacts: &[Artefact]) -> anyhow::Result<String> {
        let read = |artefact: &Artefact| -> anyhow::Result<(String, Vec<u8>)> {
            Ok((artefact.name(), fs::read(&artefact.path)?))
        };
        let files = artefacts.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let page = sums::page(files);
        fs::write(self.out.join("SHA256SUMS"), &page)?;
        Ok(page)
    }
}

/// Builds the commit again from another folder, and compares the checksums.
fn check(arguments: &Arguments, release: &Release, sums: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !release.commit.ends_with("-modified"),
        "--check builds the commit again, and this checkout differs from it"
    );
    let place = step::root().join("target/dist-check");
    let (source, out) = (place.join("another-folder"), place.join("out"));
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    let mut copy = Command::new("sh");
    copy.current_dir(step::root()).args(["-euc", "git archive HEAD | tar -x -C \"$1\"", "sh"]);
    building::succeed(copy.arg(&source))?;
    let watch = Stopwatch::start();
    let job = Job { source: &source, out, release, arguments };
    let (artefacts, _) = job.make()?;
    let again = job.finish(&artefacts)?;
    let differ: Vec<&str> =
        sums.lines().filter(|line| !again.lines().any(|it| it == *line)).collect();
    anyhow::ensure!(differ.is_empty(), "these differ from a second build:\n{}", differ.join("\n"));
    println!("a second build from another folder has the same bytes ({})", watch.shown());
    Ok(())
}

/// Returns the names and sizes, aligned.
fn table(artefacts: &[Artefact]) -> anyhow::Result<String> {
    let mut text = String::new();
    for artefact in artefacts {
        let bytes = fs::metadata(&artefact.path)?.len();
        let (whole, tenth) = (bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        text.push_str(&format!("{whole:>4}.{tenth} MB  {}\n", artefact.name()));
    }
    Ok(text)
}
