//! The commit that a program shows: built from a checkout, a source archive, by a packager, or from
//! neither.
//!
//! The build script is one file without dependencies. It is compiled here and run as cargo would,
//! in repositories made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{modemfleet, run};
use tempfile::TempDir;

/// A folder with the layout of this repository.
struct Tree {
    dir: TempDir,
    script: PathBuf,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/agent");
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-o"]).arg(&script).arg(agent.join("build.rs"));
        let built = run(&mut rustc, b"");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let tree = Self { dir, script };
        fs::create_dir_all(tree.agent().join("src")).unwrap();
        fs::copy(agent.join("commit.txt"), tree.agent().join("commit.txt")).unwrap();
        fs::write(tree.agent().join("src/lib.rs"), "//! One.\n").unwrap();
        let attributes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gitattributes");
        fs::copy(attributes, tree.root().join(".gitattributes")).unwrap();
        tree
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn agent(&self) -> PathBuf {
        self.root().join("crates/agent")
    }

    /// Runs git on the folder, and returns its output.
    fn git(&self, words: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.root()).args(["-c", "user.name=a", "-c", "user.email=a@b.c"]);
        let done = run(git.args(words), b"");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "-m", "one"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn build(&self, agent: &Path, profile: &str, named: Option<&str>) -> Output {
        let mut script = Command::new(&self.script);
        script.current_dir(agent).env("CARGO_MANIFEST_DIR", agent).env("PROFILE", profile);
        script.env("CARGO_PKG_VERSION", "1.2.3").env_remove("MODEMFLEET_COMMIT");
        script.envs(named.map(|named| ("MODEMFLEET_COMMIT", named)));
        run(&mut script, b"")
    }

    /// Returns the version that a program built from `agent` shows.
    fn version(&self, agent: &Path, profile: &str, named: Option<&str>) -> String {
        let done = self.build(agent, profile, named);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8(done.stdout).unwrap();
        let key = "cargo::rustc-env=MODEMFLEET_VERSION=";
        said.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned()
    }
}

#[test]
fn a_release_names_its_commit_and_says_if_it_was_changed() {
    let tree = Tree::new();
    let commit = tree.commit();
    let short = &commit[..12];
    assert_eq!(tree.version(&tree.agent(), "release", None), format!("1.2.3 ({short})"));
    fs::write(tree.root().join("notes"), "no source").unwrap();
    assert_eq!(tree.version(&tree.agent(), "release", None), format!("1.2.3 ({short})"));
    fs::write(tree.agent().join("src/lib.rs"), "//! Two.\n").unwrap();
    assert_eq!(tree.version(&tree.agent(), "release", None), format!("1.2.3 ({short}-modified)"));
    // The build script runs again when its answer can change.
    let said = String::from_utf8(tree.build(&tree.agent(), "release", None).stdout).unwrap();
    for watched in [".git/refs/heads/main", "repository/crates"] {
        let watches =
            |line: &str| line.starts_with("cargo::rerun-if-changed") && line.ends_with(watched);
        assert!(said.lines().any(watches), "{watched} in {said}");
    }
}

#[test]
fn a_development_build_does_not_follow_the_checkout() {
    let tree = Tree::new();
    tree.commit();
    assert_eq!(tree.version(&tree.agent(), "debug", None), "1.2.3");
    let said = String::from_utf8(tree.build(&tree.agent(), "debug", None).stdout).unwrap();
    assert!(!said.contains(".git"), "each commit would build the agent anew: {said}");
}

#[test]
fn a_source_archive_knows_its_commit_and_a_copy_of_the_files_does_not() {
    let tree = Tree::new();
    // Without git, and inside another project's repository.
    assert_eq!(tree.version(&tree.agent(), "release", None), "1.2.3");
    let commit = tree.commit();
    let copy = tree.root().join("vendor/modemfleet/crates/agent");
    fs::create_dir_all(&copy).unwrap();
    assert_eq!(tree.version(&copy, "release", None), "1.2.3");
    // A source archive, into which git wrote the commit.
    let archive = tree.dir.path().join("archive.tar");
    tree.git(&["archive", "--output", archive.to_str().unwrap(), "HEAD"]);
    let out = tree.dir.path().join("unpacked");
    fs::create_dir(&out).unwrap();
    let mut tar = Command::new("tar");
    assert!(run(tar.arg("-xf").arg(&archive).arg("-C").arg(&out), b"").status.success());
    let shown = tree.version(&out.join("crates/agent"), "release", None);
    let digits = shown.strip_prefix("1.2.3 (").and_then(|rest| rest.strip_suffix(')')).unwrap();
    assert!(digits.len() >= 7 && commit.starts_with(digits), "{shown}, {commit}");
}

#[test]
fn whoever_packages_has_the_last_word_and_says_nothing_that_cargo_would_take_for_an_order() {
    let tree = Tree::new();
    tree.commit();
    assert_eq!(tree.version(&tree.agent(), "release", Some("deb-1")), "1.2.3 (deb-1)");
    assert_eq!(tree.version(&tree.agent(), "debug", Some("deb-1")), "1.2.3 (deb-1)");
    for wrong in ["a b", "a\ncargo::rustc-link-lib=x", &"f".repeat(65)] {
        let done = tree.build(&tree.agent(), "release", Some(wrong));
        assert!(!done.status.success(), "{wrong:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("MODEMFLEET_COMMIT"), "{said}");
    }
}

#[test]
fn the_program_says_its_version() {
    let said = run(Command::new(modemfleet()).arg("--version"), b"");
    let said = String::from_utf8(said.stdout).unwrap();
    let shown = said.trim_end().strip_prefix("modemfleet ").unwrap();
    assert!(shown.split(' ').next() == Some(env!("CARGO_PKG_VERSION")), "{said}");
}
