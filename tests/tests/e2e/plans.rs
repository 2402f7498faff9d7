//! Plans of hostile fleet files: they delay no other work, and take little memory.

#[path = "../../shapes.rs"]
mod shapes;

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Answer, Http, Lab, Stopwatch, until};

const PLAN: &str = "/api/v1/reload/plan";

/// The most memory that plans may add to the agent's own, in KiB.
const MEMORY: u64 = 64 * 1024;

/// The longest time of a reload. It waits for its turn and the disk of a busy machine, but for no
/// plan.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Returns a line of the agent's state, in KiB.
fn memory(agent: &Agent, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the shapes that cost most memory or time, and some others.
fn costly() -> Vec<String> {
    let all = shapes::all().into_iter();
    let costly = all.filter(|(name, _)| {
        [
            "one route to strangers",
            "modems without keys",
            "sessions of one",
            "an anchor each",
            "routes without keys",
        ]
        .iter()
        .any(|begin| name.starts_with(begin))
    });
    let mut texts: Vec<String> = costly.map(|(_, make)| make()).collect();
    texts.push(shapes::sound());
    texts
}

fn is_answer(answer: &Answer) -> bool {
    match answer.status {
        200 | 422 => true,
        429 => {
            assert_eq!(answer.header("retry-after"), Some("1"));
            false
        }
        status => panic!("{status}: {}", answer.text()),
    }
}

#[test]
fn any_plan_takes_little_memory_and_holds_up_no_reload() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let texts = costly();
    let idle = memory(&agent, "VmRSS");
    let port = agent.http.port();
    let (answered, refused) = thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let http = Http::new(port);
                    let answers: Vec<bool> = texts
                        .iter()
                        .map(|text| is_answer(&http.ask("POST", PLAN, &[], text.as_bytes())))
                        .collect();
                    answers
                })
            })
            .collect();
        for _ in 0..20 {
            let watch = Stopwatch::start();
            let answer = agent.http.ask("POST", "/api/v1/reload", &[], b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(watch.elapsed() < AT_ONCE, "a reload took {:?}", watch.elapsed());
        }
        let answers = asking.into_iter().flat_map(|asking| asking.join().unwrap());
        let answers: Vec<bool> = answers.collect();
        let answered = answers.iter().filter(|is_answer| **is_answer).count();
        (answered, answers.len() - answered)
    });
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} told to come again");
    let peak = memory(&agent, "VmHWM") - idle;
    println!("{answered} plans answered, {refused} told to come again, {peak} KiB more than idle");
    assert!(peak < MEMORY, "{peak} KiB");
}

#[test]
fn a_plan_that_nobody_waits_for_makes_room_for_the_next() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let text = shapes::sound();
    for _ in 0..5 {
        let mut stream = agent.http.connect().unwrap();
        let head = format!(
            "POST {PLAN} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        drop(stream);
        until("another plan is made", || {
            let answer = agent.http.ask("POST", PLAN, &[], b"gateway: gw\n");
            (answer.status != 429).then_some(())
        });
    }
    let long = format!("{PLAN}?folder=/{}", "a".repeat(2000));
    let answer = agent.http.ask("POST", &long, &[], b"gateway: gw\n");
    assert_eq!(answer.status, 400, "{}", answer.text());
}

/// `check` and a plan accept the same files, and reject others with the same words.
#[test]
fn check_and_a_plan_refuse_alike() {
    let lab = Lab::without_modems(1);
    let agent = lab.site.start();
    let too_large = format!("gateway: gw #{}\n", "x".repeat(shapes::MAX_BYTES));
    for text in [too_large, shapes::sound().replace("roaming: allow", "roming: allow")] {
        let answer = agent.http.ask("POST", PLAN, &[], text.as_bytes());
        assert!([413, 422].contains(&answer.status), "{}", answer.status);
        let file = lab.site.dir().join("other.yaml");
        fs::write(&file, &text).unwrap();
        let mut check = std::process::Command::new(e2e::modemfleet());
        let output = e2e::run(check.args(["check", "--without-secrets"]).arg(&file), b"");
        assert_eq!(output.status.code(), Some(2));
        let words = String::from_utf8_lossy(&output.stderr);
        if answer.status == 422 {
            assert!(words.contains("the rest of the file is not checked"), "{words}");
            assert!(answer.text().contains("the rest of the file is not checked"));
        }
    }
}
