//! A modem with hostile answers: its own name reaches the metrics, and each line of them stays
//! valid.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;

use e2e::{Lab, run, until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Quotes, backslashes, controls, marks of bidirectional text, line ends of Unicode, and invalid
/// UTF-8.
const HOSTILE: &[u8] =
    b"X\"\\n\\\" } 1 \x1b[2J\x07\x7f\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8\xc2\x85\xff\xfe";

/// Lines of a page of metrics.
const LINES: &[u8] = b"\r\n# HELP modemfleet_evil x\r\nmodemfleet_evil{a=\"b\"} 7 ";

/// Opens a tty without echo and translation.
fn raw(path: &Path) -> File {
    let tty = File::options().read(true).write(true).open(path).unwrap();
    let mut settings = tcgetattr(&tty).unwrap();
    settings.make_raw();
    tcsetattr(&tty, OptionalActions::Now, &settings).unwrap();
    tty
}

/// Puts a tty at `link`, behind which the modem at `sim` answers. `amended` may change each line.
fn between(sim: &Path, link: &Path, amended: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let held = raw(path.as_ref());
    symlink(&path, link).unwrap();
    let (mut agent, mut modem) = (File::from(master), raw(sim));
    let (mut from_agent, mut to_modem) = (agent.try_clone().unwrap(), modem.try_clone().unwrap());
    thread::spawn(move || std::io::copy(&mut from_agent, &mut to_modem));
    thread::spawn(move || {
        let (mut line, mut buffer, _held) = (Vec::new(), [0; 1024], held);
        while let Ok(count @ 1..) = modem.read(&mut buffer) {
            for byte in buffer.iter().take(count) {
                line.push(*byte);
                // A prompt has no line end.
                if *byte == b'\n' || line == b">" {
                    let line = std::mem::take(&mut line);
                    agent.write_all(&amended(&line).unwrap_or(line)).unwrap();
                }
            }
        }
    });
}

/// Returns the page of metrics of an agent with such a modem, once `is_there` holds.
fn page(amended: fn(&[u8]) -> Option<Vec<u8>>, is_there: fn(&e2e::Scrape) -> bool) -> e2e::Scrape {
    let lab = Lab::without_modems(1);
    let hidden = lab.site.dir().join("hidden");
    let sim = e2e::Sim::start(&hidden, 1, &lab.broker.address(), &[]);
    std::fs::create_dir(lab.site.dir().join("m0")).unwrap();
    between(&sim.tty(0), &lab.site.dir().join("m0/modem0"), amended);
    let agent = lab.site.start();
    let body = until("what the modem calls itself", || {
        let body = agent.http.get("/metrics").body;
        let text = String::from_utf8(body.clone()).unwrap();
        let scrape = e2e::Scrape::parse(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        is_there(&scrape).then_some((body, scrape))
    });
    let output = run(Command::new("promtool").args(["check", "metrics"]), &body.0);
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
    body.1
}

/// Checks that no name or label comes from the modem, and that no value commands or deceives a
/// terminal.
fn is_sound(scrape: &e2e::Scrape) {
    for sample in &scrape.samples {
        assert!(!sample.name.contains("evil"), "{sample:?}");
        for value in sample.labels.values() {
            let is_odd = |c: char| c.is_control() || "\u{202e}\u{2066}\u{2028}".contains(c);
            assert!(value.len() <= 1024 && !value.contains(is_odd), "{sample:?}");
        }
    }
}

/// Returns an answer with this beginning and a hostile end.
fn hostile(line: &[u8], begin: &[u8], long: usize) -> Option<Vec<u8>> {
    line.starts_with(begin).then(|| {
        let lines = if long == 0 { LINES } else { b"" };
        [begin, HOSTILE, lines, &b"long".repeat(long), b"\r\n"].concat()
    })
}

#[test]
fn metrics_stay_sound_whatever_the_firmware_is_called() {
    let amended =
        |line: &[u8]| hostile(line, b"+CGMR: ", 10).or_else(|| hostile(line, b"+COPS: 0,0,\"", 10));
    let scrape = page(amended, |scrape| {
        scrape.find("modemfleet_modem_info", &[]).any(|it| {
            let firmware = &it.labels["firmware"];
            firmware.starts_with("X\"\\n") && firmware.ends_with("long")
        })
    });
    is_sound(&scrape);
}

#[test]
fn metrics_stay_sound_where_an_answer_is_too_long_for_a_line() {
    let amended = |line: &[u8]| hostile(line, b"+CGMR: ", 2500);
    let scrape = page(amended, |scrape| {
        scrape.find("modemfleet_at_commands_total", &[]).any(|it| it.value > 3.0)
    });
    is_sound(&scrape);
}

#[test]
fn metrics_stay_sound_whatever_the_model_is_called() {
    let amended = |line: &[u8]| hostile(line, b"SIMCOM_SIM7600", 0);
    let scrape = page(amended, |scrape| {
        scrape.find("modemfleet_modem_state", &[("state", "failed")]).any(|it| it.value > 0.5)
            || scrape.find("modemfleet_modem_info", &[]).next().is_some()
    });
    is_sound(&scrape);
}
