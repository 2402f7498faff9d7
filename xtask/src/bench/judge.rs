//! The time and memory of `modemfleet check` for a mebibyte of any shape.

#[path = "../../../tests/shapes.rs"]
mod shapes;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;

use super::lab::{Lab, Process, now, thread_sleep};

/// The aims: seconds for a file, and MiB beyond those for a file of one line.
const AIM: (f64, f64) = (2.0, 64.0);

/// Arguments of `bench judge`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A binary of another commit that checks each file too.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// The longest time of that binary, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// The cost of a file.
struct Cost {
    seconds: f64,
    mebibytes: f64,
    /// True if the check was given up.
    is_cut: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let file = lab.path("judged.yaml");
    let ours = crate::step::target().join("release/modemfleet");
    let patience = Duration::from_secs(arguments.patience);
    let judged = |program: &Path, text: &str| {
        std::fs::write(&file, text)?;
        judge(program, &file, patience)
    };
    let base = judged(&ours, "modems: { m: { match: { port: /dev/ttyUSB2 } } }\n")?;
    println!("a file of one line: {:.3} s, {:.1} MiB", base.seconds, base.mebibytes);
    println!("| shape | seconds | MiB more than a file of one line | beside: seconds | MiB |");
    println!("|---|--:|--:|--:|--:|");
    let sound: (String, Box<dyn Fn() -> String>) =
        ("a sound file".to_owned(), Box::new(shapes::sound));
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for (name, make) in std::iter::once(sound).chain(shapes::all()) {
        let text = make();
        ensure!(text.len() <= shapes::MAX_BYTES, "{name} is too large");
        let cost = judged(&ours, &text)?;
        let more = cost.mebibytes - base.mebibytes;
        let beside = match &arguments.beside {
            None => "| |".to_owned(),
            Some(program) => {
                let Cost { seconds, mebibytes, is_cut } = judged(program, &text)?;
                let over = if is_cut { "> " } else { "" };
                format!("{over}{seconds:.3} | {:.1} |", mebibytes - base.mebibytes)
            }
        };
        println!("| {name} | {:.3} | {more:.1} | {beside}", cost.seconds);
        (slowest, largest) = (slowest.max(cost.seconds), largest.max(more));
    }
    println!("the slowest {slowest:.3} s, the largest {largest:.1} MiB");
    ensure!(slowest < AIM.0, "a file took {slowest:.3} s, the aim is {} s", AIM.0);
    ensure!(largest < AIM.1, "a file took {largest:.1} MiB, the aim is {} MiB", AIM.1);
    Ok(())
}

/// Runs a check. Its memory is read each millisecond.
fn judge(program: &Path, file: &Path, patience: Duration) -> anyhow::Result<Cost> {
    let mut command = Command::new(program);
    command.args(["check", "--without-secrets", "--gateway", "gw"]).arg(file);
    let started = now();
    let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut mebibytes = 0.0;
    loop {
        if let Ok(now) = process.resident("VmHWM") {
            mebibytes = now;
        }
        let is_over = process.is_over();
        let is_cut = !is_over && started.elapsed() > patience;
        if is_over || is_cut {
            process.kill()?;
            return Ok(Cost { seconds: started.elapsed().as_secs_f64(), mebibytes, is_cut });
        }
        thread_sleep(Duration::from_millis(1));
    }
}
