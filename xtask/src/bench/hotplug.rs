//! From the plug to the identified modem, beside `ModemManager`, on a real kernel in a guest.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Arguments of `bench hotplug`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The number of measurements of each.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Unplug and replug two modems this often instead, while messages are handed in.
    #[arg(long, value_name = "COUNT", conflicts_with = "rounds")]
    cycles: Option<u32>,
}

/// The most time of modemfleet relative to `ModemManager`.
const AIM: f64 = 0.1;

/// Longer than a round of both takes on a loaded machine, in seconds.
const ROUND_LIMIT: u32 = 60;

/// Longer than a cycle takes there with all around it, in seconds.
const CYCLE_LIMIT: u32 = 10;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(cycles) = arguments.cycles {
        let limit = cycles.saturating_mul(CYCLE_LIMIT).saturating_add(5 * ROUND_LIMIT);
        return in_guest("cycles.py", "CYCLES", cycles, limit).map(drop);
    }
    let limit = (arguments.rounds.saturating_add(1)).saturating_mul(ROUND_LIMIT);
    let said = in_guest("hotplug.py", "ROUNDS", arguments.rounds, limit)?;
    let ours = median(&said, "modemfleet").context("nothing measured of ours")?;
    let theirs = median(&said, "ModemManager").context("nothing measured of ModemManager")?;
    let kernel = median(&said, "kernel").context("nothing measured of the kernel")?;
    let ratio = ours / theirs;
    println!(
        "of which the kernel takes {kernel:.3} s to make the port; after it modemfleet {:.3} s, \
         ModemManager {:.3} s; ratio {:.3}",
        ours - kernel,
        theirs - kernel,
        (ours - kernel) / (theirs - kernel)
    );
    println!(
        "median: modemfleet {ours:.3} s, ModemManager {theirs:.3} s; ratio {ratio:.3}, aim {AIM}"
    );
    ensure!(ratio <= AIM, "ours takes {ratio:.3} of ModemManager's time, and not {AIM}");
    Ok(())
}

/// Runs a program of `tests/usb` in the guest, with a number, for at most `limit` seconds; returns
/// its output.
fn in_guest(program: &str, name: &str, number: u32, limit: u32) -> anyhow::Result<String> {
    let usb = crate::step::root().join("tests/usb");
    let script = std::env::temp_dir().join(format!("modemfleet-hotplug-{}", std::process::id()));
    let lines = format!(
        "export PYTHONDONTWRITEBYTECODE=1 MODEMFLEET='{}' {name}={number}\nexec python3 '{}'\n",
        super::lab::binary().get_program().display(),
        usb.join(program).display(),
    );
    fs::write(&script, lines)?;
    let done = Command::new(usb.join("boot"))
        .arg(&script)
        .env("MODEMFLEET_BED_SECONDS", limit.to_string())
        .output();
    // If this fails, only a temporary file is left.
    drop(fs::remove_file(&script));
    let done = done.context("cannot start tests/usb/boot")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    print!("{said}");
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load of this machine: {}", load.trim());
    }
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(said)
}

/// Returns the median of the lines `NAME SECONDS` of a name, the lower value of an even count.
fn median(said: &str, name: &str) -> Option<f64> {
    let seconds = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    let mut all: Vec<f64> = said.lines().filter_map(seconds).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_one_name() {
        let said = "modemfleet 3\nModemManager 9\nmodemfleet 1\nnoise\nmodemfleet 2\n";
        assert_eq!(median(said, "modemfleet"), Some(2.0));
        assert_eq!(median(said, "ModemManager"), Some(9.0));
        assert_eq!(median("", "modemfleet"), None);
    }
}
