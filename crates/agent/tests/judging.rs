//! Time and memory for judging a fleet file stay in proportion to its size, whatever its shape.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy.toml frees only the test functions"
)]

#[path = "../../../tests/shapes.rs"]
mod shapes;

use std::fs;
use std::time::Duration;

use agent::reload::Plan;
use fleet::models::Models;
use fleet::{Context, MAX_PROBLEMS, Problems, Secrets};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// The most memory for judging one file, in KiB.
const MEMORY: u64 = 64 * 1024;

/// The longest time for a shape, in multiples of the time for a sound file of as many values.
const TIMES: u32 = 5;

fn context() -> Context {
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    Context { host_name: Some("gw".to_owned()), secrets: Secrets::Read, ..Context::default() }
        .with_models(&modem::Catalog::new(&plugins).unwrap())
}

/// Returns a line of this process's state, in KiB.
fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the processor time of this thread: other work of the machine does not count.
fn spent() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Does all that `check` and a plan do with a file.
fn judge(text: &str, context: &Context) -> Result<usize, Problems> {
    let loaded = fleet::parse("fleet.yaml", text.as_bytes().to_vec(), context);
    match loaded {
        Ok(loaded) => {
            let lines = Plan::new(&loaded.fleet, &loaded.fleet, |_| false).lines();
            Ok(lines.len() + loaded.warnings.render(true).len())
        }
        Err(problems) => {
            assert!(problems.iter().count() <= 2 * MAX_PROBLEMS);
            let rendered = problems.render(true);
            assert!(rendered.len() < 400_000, "{} bytes of words", rendered.len());
            Err(problems)
        }
    }
}

/// Judges every fourth of the shapes: all of them take long in a build without optimization.
fn proportion(part: usize) {
    let (context, sound) = (context(), shapes::sound());
    let measured = |text: &str| {
        let before = spent();
        let judged = judge(text, &context);
        (spent() - before, judged)
    };
    let idle = status("VmRSS");
    let (_, judged) = measured(&sound);
    judged.expect("a sound file");
    let yardstick = (0..2).map(|_| measured(&sound).0).min().unwrap();
    println!("{yardstick:?} {} KiB  a sound file", status("VmHWM") - idle);
    for (name, make) in shapes::all().into_iter().skip(part).step_by(4) {
        let text = make();
        assert!(text.len() <= shapes::MAX_BYTES, "{name}: {}", text.len());
        let (took, _) = measured(&text);
        let peak = status("VmHWM").saturating_sub(idle);
        println!("{took:?} {peak} KiB  {name}");
        assert!(took < yardstick * TIMES, "{name}: {took:?}, and a sound file {yardstick:?}");
        assert!(peak < MEMORY, "{name}: {peak} KiB");
    }
}

#[test]
fn a_first_fourth_of_the_shapes_is_judged_in_proportion() {
    proportion(0);
}

#[test]
fn a_second_fourth_of_the_shapes_is_judged_in_proportion() {
    proportion(1);
}

#[test]
fn a_third_fourth_of_the_shapes_is_judged_in_proportion() {
    proportion(2);
}

#[test]
fn the_last_fourth_of_the_shapes_is_judged_in_proportion() {
    proportion(3);
}

#[test]
fn a_reading_that_nobody_waits_for_ends() {
    let stop = CancellationToken::new();
    stop.cancel();
    let context = Context { stop, ..context() };
    for text in [shapes::sound(), "routes: [{ topik: a }, { topik: b }]".to_owned()] {
        let problems = judge(&text, &context).expect_err("nobody waits");
        assert!(problems.is_empty(), "it went on: {problems}");
    }
}

#[test]
fn so_is_any_file_of_models() {
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    let built_in = Models::built_in(&plugins).unwrap();
    let took = |text: &str| {
        let before = spent();
        let mut models = built_in.clone();
        let taken = models.amend("models.d/a.yaml", text.as_bytes().to_vec());
        assert!(taken.is_err() || models.catalog.models().count() > 20);
        spent() - before
    };
    let yardstick = (0..3).map(|_| took(&shapes::sound())).max().unwrap();
    // The shapes of keys and values that any file may have.
    for (name, make) in shapes::all().into_iter().filter(|(name, _)| name.starts_with("a")) {
        let took = took(&make());
        assert!(took < yardstick * TIMES, "{name}: {took:?}, and a fleet file {yardstick:?}");
    }
}
