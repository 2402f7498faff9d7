//! The cases of a folder that shows modems outside of a laboratory, run by that folder's own
//! scripts.
//!
//! The folder holds `field` and `cases/`, and perhaps `usbfield` and `usb/` for devices on a
//! simulated USB. The scripts share no code with this repository: they start a built `modemfleet`
//! and judge it from outside.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};

use crate::step::{Invocation, Said};

/// Modems at the same time. With more on two processors, the load of some would change the times of
/// others.
const AT_A_TIME: usize = 4;

/// The longest case of `cargo xtask test`, in seconds; `cargo xtask bench field` runs the others
/// too.
pub(crate) const A_MINUTE: f64 = 60.0;

/// Prints each case's name and its `SECONDS`. A case is a program, and has that number only when it
/// runs.
const LIST: &str = "\
import importlib.util, pathlib, sys
folder = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(folder.parent))
for path in sorted(folder.glob('*.py')):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    case = importlib.util.module_from_spec(spec); spec.loader.exec_module(case)
    print(path.stem, float(case.SECONDS))
";

/// Mounts a file system over /sys in its own mount namespace, as `usbfield` does.
const OWN_SYS: [&str; 8] =
    ["-m", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/sys"];

/// A script of the folder, and its cases to run.
struct Part {
    script: PathBuf,
    run: Vec<String>,
    /// Cases that take longer than the limit.
    left_out: Vec<String>,
}

/// Runs the cases that take at most `longest` seconds against this binary, and prints each outcome.
///
/// # Errors
/// If the folder has no cases, a script does not run, or a case falls short.
pub(crate) fn run(folder: &Path, binary: &Path, longest: f64) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("no {}", folder.display()))?;
    let field = Part::of(&folder, "field", "cases", longest)?
        .with_context(|| format!("{} holds no `field` and `cases`", folder.display()))?;
    // Without names the script would run all cases.
    ensure!(!field.run.is_empty(), "{}: no case takes at most {longest} s", folder.display());
    let mut usb = Part::of(&folder, "usbfield", "usb", longest)?;
    if usb.is_some() && !Invocation::new("unshare", &OWN_SYS).succeeds() {
        println!("    left out: usbfield, which needs root and a mount namespace of its own");
        usb = None;
    }
    for part in
        [Some(&field), usb.as_ref()].into_iter().flatten().filter(|p| !p.left_out.is_empty())
    {
        println!(
            "    left out, since they take longer than {longest} s (`cargo xtask bench field {}`): {}",
            folder.display(),
            part.left_out.join(", ")
        );
    }
    // usbfield runs one case after another, and takes one of the places.
    let usb = usb.filter(|part| !part.run.is_empty());
    let places = (AT_A_TIME - usize::from(usb.is_some())).to_string();
    let (of_field, of_usb) = thread::scope(|scope| {
        let of_usb = usb.as_ref().map(|part| scope.spawn(|| part.perform(binary, &[])));
        (field.perform(binary, &["-j", &places]), of_usb.map(thread::ScopedJoinHandle::join))
    });
    let mut sum = Sum::default();
    sum.add(&field, &of_field?)?;
    if let (Some(part), Some(said)) = (&usb, of_usb) {
        sum.add(part, &said.map_err(|_| anyhow!("usbfield's thread panicked"))??)?;
    }
    sum.judge()
}

impl Part {
    /// Lists the cases of a script; `None` if the folder has no such script.
    fn of(folder: &Path, script: &str, cases: &str, longest: f64) -> anyhow::Result<Option<Self>> {
        let (script, cases) = (folder.join(script), folder.join(cases));
        if !script.is_file() || !cases.is_dir() {
            return Ok(None);
        }
        let cases = cases.to_string_lossy();
        let said = python(&["-c", LIST, &cases]).said()?;
        ensure!(said.success, "{cases}: a case cannot be read:\n{}", said.errors);
        let (run, left_out) = listed(&said.output, longest).context(said.output)?;
        Ok(Some(Self { script, run, left_out }))
    }

    fn perform(&self, binary: &Path, more: &[&str]) -> anyhow::Result<Said> {
        let (script, binary) = (self.script.to_string_lossy(), binary.to_string_lossy());
        let mut words = vec![&*script, &*binary];
        words.extend(self.run.iter().map(String::as_str));
        words.extend(more);
        python(&words).said()
    }
}

/// Returns a Python 3 command, which set-up installs for other tests. It leaves no files in a
/// foreign folder.
fn python(arguments: &[&str]) -> Invocation {
    Invocation::new("python3", arguments).env("PYTHONDONTWRITEBYTECODE", "1")
}

/// Returns the names of the cases that take at most `longest` seconds, and those of the others.
fn listed(said: &str, longest: f64) -> Option<(Vec<String>, Vec<String>)> {
    let cases: Option<Vec<(String, f64)>> = said
        .lines()
        .map(|line| {
            let (name, seconds) = line.split_once(' ')?;
            Some((name.to_owned(), seconds.parse().ok()?))
        })
        .collect();
    let (run, left_out): (Vec<_>, Vec<_>) =
        cases?.into_iter().partition(|(_, seconds)| *seconds <= longest);
    let names = |cases: Vec<(String, f64)>| cases.into_iter().map(|(name, _)| name).collect();
    Some((names(run), names(left_out)))
}

/// The outcome of the cases of all scripts.
#[derive(Debug, Default)]
struct Sum {
    cases: usize,
    /// The names of the cases that fell short.
    short: Vec<String>,
}

impl Sum {
    /// Prints a script's output, and counts its cases: each has a line with `ok` or `SHORT` and its
    /// name.
    fn add(&mut self, part: &Part, said: &Said) -> anyhow::Result<()> {
        let name = part.script.file_name().unwrap_or_default().to_string_lossy();
        let mut shown = format!("    {name}:\n");
        let mut judged = Vec::new();
        for line in said.output.lines() {
            let mut words = line.split_whitespace();
            let case = match (words.next(), words.next()) {
                (Some(word @ ("ok" | "SHORT")), Some(case)) => Some((word, case)),
                _ => None,
            };
            if let Some((word, case)) =
                case.filter(|(_, case)| part.run.iter().any(|is| is == case))
            {
                judged.push(case);
                if word == "SHORT" {
                    self.short.push(format!("{name} {case}"));
                }
            }
            // Writing to a string cannot fail.
            let _ = writeln!(shown, "    {line}");
        }
        print!("{shown}");
        self.cases += part.run.len();
        let silent: Vec<_> =
            part.run.iter().filter(|case| !judged.contains(&case.as_str())).collect();
        ensure!(silent.is_empty(), "{name} printed nothing about {silent:?}:\n{}", said.errors);
        ensure!(said.success || !self.short.is_empty(), "{name} failed:\n{}", said.errors);
        Ok(())
    }

    fn judge(self) -> anyhow::Result<()> {
        if self.short.is_empty() {
            println!("    all {} cases hold", self.cases);
            return Ok(());
        }
        bail!("{} of {} cases fall short: {}", self.short.len(), self.cases, self.short.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(success: bool, output: &str) -> Said {
        Said { success, output: output.to_owned(), errors: "Traceback".to_owned() }
    }

    fn part(cases: &[&str]) -> Part {
        let run = cases.iter().map(|case| (*case).to_owned()).collect();
        Part { script: PathBuf::from("/x/field"), run, left_out: Vec::new() }
    }

    #[test]
    fn a_case_of_a_minute_runs_and_a_longer_one_does_not() {
        let (run, left_out) = listed("a 12.0\nb 60.0\nc 60.5\n", A_MINUTE).unwrap();
        assert_eq!((run, left_out), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
        assert!(listed("a 12.0\nnoise\n", A_MINUTE).is_none());
        let (run, left_out) = listed("c 520.0\n", f64::INFINITY).unwrap();
        assert_eq!((run.len(), left_out.len()), (1, 0));
    }

    #[test]
    fn a_case_that_falls_short_is_named() {
        let mut sum = Sum::default();
        let output = "ok    healthy      holds\nSHORT slow   ok was late\n1 of 2 hold\n";
        sum.add(&part(&["healthy", "slow"]), &said(false, output)).unwrap();
        assert_eq!(sum.judge().unwrap_err().to_string(), "1 of 2 cases fall short: field slow");
        let mut sum = Sum::default();
        sum.add(&part(&["healthy"]), &said(true, "ok    healthy      holds\n1 of 1 hold\n"))
            .unwrap();
        sum.judge().unwrap();
    }

    /// A script that breaks off judges nothing. A script that fails without a failed case is
    /// broken.
    #[test]
    fn a_case_of_which_nothing_is_said_does_not_hold() {
        let add = |success, output| Sum::default().add(&part(&["a", "b"]), &said(success, output));
        assert!(add(true, "ok a fine\n").unwrap_err().to_string().contains("\"b\""));
        assert!(
            add(false, "ok a fine\nok b fine\n").unwrap_err().to_string().contains("Traceback")
        );
        assert!(add(true, "ok a fine\nok b fine\n").is_ok());
    }

    /// As the folder's own scripts do, with a stand-in for the program under test.
    #[test]
    fn a_folder_is_run_by_its_own_script() {
        let folder = std::env::temp_dir().join(format!("xtask-field-{}", std::process::id()));
        let put = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.join("cases")).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        put("modem.py", "LONG = 90\n");
        put("cases/good.py", "SECONDS, MODEM = 5, 'x'\n");
        put("cases/long.py", "from modem import *\nSECONDS = LONG\n");
        put(
            "field",
            "import sys\nfor case in sys.argv[2:-2]: print('ok   ', case, *sys.argv[-2:])\n",
        );
        let binary = Path::new("/bin/true");
        let held = run(&folder, binary, A_MINUTE);
        put("field", "import sys\nfor case in sys.argv[2:-2]: print('SHORT', case)\nsys.exit(1)\n");
        let short = run(&folder, binary, f64::INFINITY).unwrap_err().to_string();
        std::fs::remove_dir_all(folder.join("cases")).unwrap();
        let empty = run(&folder, binary, A_MINUTE);
        std::fs::remove_dir_all(&folder).unwrap();
        held.unwrap();
        assert_eq!(short, "2 of 2 cases fall short: field good, field long");
        assert!(empty.unwrap_err().to_string().contains("holds no `field` and `cases`"));
        assert!(run(&folder, binary, A_MINUTE).is_err(), "no folder");
    }
}
